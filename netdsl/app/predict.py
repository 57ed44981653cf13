"""Run a model over all examples, or some of them, a batch at a time."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.output import is_on_disk
from netdsl.backend.session import WrongFeed
from netdsl.base.user_error import UserError
from netdsl.data.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from netdsl.backend.session import Array, Session


RUN_BATCH = 32


class OddOutput(UserError, code="E0620", title="an unsupported kind of output"):
    """A model from another tool has an output that is not an array of numbers with one entry per example."""


class Batch(NamedTuple):
    """A batch of examples: their names, and arrays by input and output."""

    names: list[str]
    inputs: dict[str, Array]
    outputs: dict[str, Array]


def check_lengths(readers: Mapping[str, Reader]) -> dict[str, int]:
    """Return the number of examples, which must be the same for each input. Raises WrongFeed."""
    counts = {name: len(reader) for name, reader in readers.items()}
    if len(set(counts.values())) > 1:
        raise WrongFeed("the inputs differ in length: " + ", ".join(f"{k} has {n:,}" for k, n in counts.items()))
    return counts


def predict(session: Session, readers: Mapping[str, Reader], batch: int) -> Iterator[dict[str, Array]]:
    """Yield the outputs of all examples, a batch at a time. A model with a fixed batch size needs full batches."""
    return (outputs for _, outputs in _feeds_and_outputs(session, readers, batch))


def _feeds_and_outputs(
    session: Session,
    readers: Mapping[str, Reader],
    batch: int,
    others: Collection[str] = (),
    first: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """Yield what is read from `first` to `stop` and the outputs, a batch at a time. `others` are read, but are no
    inputs of the model."""
    assert batch > 0
    counts = check_lengths(readers)
    for name in readers:
        fixed = session.inputs[name].shape[0] if name in session.inputs and session.inputs[name].shape else None
        if fixed is not None and (batch != fixed or counts[name] % fixed):
            raise WrongFeed(
                f"{session.name} requires batches of exactly {fixed}, but got {counts[name]:,} examples "
                f"in batches of {batch}",
            )
    streams = [reader.batches(batch, first, stop) for reader in readers.values()]
    for number, arrays in enumerate(zip(*streams, strict=True)):
        feeds = dict(zip(readers, arrays, strict=True))
        given = {name: array for name, array in feeds.items() if name not in others}
        yield feeds, session.run(given, first + number * batch)


def batch_size(session: Session, readers: Mapping[str, Reader], size: int | None) -> tuple[int, bool]:
    """Return the number of examples in a batch, and whether the model fixes it. The first reader is for an input."""
    shape = session.inputs[next(iter(readers))].shape
    fixed = shape[0] if shape else None
    size = size or fixed or RUN_BATCH
    return size, size == fixed


def run_batches(
    session: Session, readers: Mapping[str, Reader], size: int | None, rows: range | None = None
) -> Iterator[Batch]:
    """Yield the examples in batches, or only those of `rows`. The first reader is for an input of the model; others can
    be for none, whose arrays are only in the batch.

    The model runs on the same batches for any `rows`, those at their ends included, since its last bits can depend on
    the other examples of a batch. Empty `rows` yield a batch without examples, which has the shapes of the outputs.
    """
    first = next(iter(readers.values()))
    total = len(first)
    rows = range(total) if rows is None else rows
    size, is_fixed = batch_size(session, readers, size)
    if is_fixed:
        readers = {name: PaddedReader(reader, size) for name, reader in readers.items()}
    begin, stop = rows.start // size * size, min(-(-max(rows.stop, rows.start + 1) // size) * size, total)
    others = readers.keys() - session.inputs.keys()
    starts = range(begin, stop, size)
    for at, (feeds, outputs) in zip(
        starts, _feeds_and_outputs(session, readers, size, others, begin, stop), strict=True
    ):
        computed = size if is_fixed else min(size, total - at)
        low, high = max(rows.start, at), min(rows.stop, at + size)
        own = slice(low - at, high - at)
        kept = {name: _checked(name, array, computed)[own] for name, array in outputs.items()}
        inputs = {name: array[own] for name, array in feeds.items()}
        yield Batch([first.name(at) for at in range(low, high)], inputs, kept)


def _checked(name: str, array: Array, wanted: int) -> Array:
    """Return an output, which must have `wanted` entries."""
    shape = getattr(array, "shape", ())
    if not shape or shape[0] != wanted or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {'x'.join(map(str, shape))}" if hasattr(array, "dtype") else "no array"
        raise OddOutput(f"the output `{name}` is {kind}, not an array of numbers with {wanted} entries")
    return array


def require_space(path: str, session: Session, count: int) -> None:
    """Raise OSError where the outputs of `count` examples, as far as their sizes are known, do not fit on a disk."""
    from netdsl.base import files

    if is_on_disk(path):
        outputs = [x for x in session.outputs.values() if x.dtype in np.sctypeDict]
        shapes = [(np.dtype(x.dtype).itemsize, *x.shape[1:]) for x in outputs]
        files.require_space(os.path.realpath(path), count * sum(prod(size or 0 for size in shape) for shape in shapes))


class PaddedReader(Reader):
    """Examples for a model with a fixed batch size: the last batch is padded with its last example."""

    __slots__ = ("_reader", "_size")

    def __init__(self, reader: Reader, size: int) -> None:
        super().__init__(reader.path, reader.shape, str(reader.dtype))
        self._reader = reader
        self._size = size

    def __len__(self) -> int:
        return -(-len(self._reader) // self._size) * self._size

    def name(self, index: int) -> str:
        return self._reader.name(min(index, len(self._reader) - 1))

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        assert size == self._size
        for batch in self._reader.batches(size, first, stop):
            lacking = size - len(batch)
            yield np.concatenate([batch, np.repeat(batch[-1:], lacking, 0)]) if lacking else batch
