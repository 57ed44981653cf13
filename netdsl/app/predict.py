"""Run a model over all examples, or a shard of them, a batch at a time."""

from __future__ import annotations

import os
from contextlib import nullcontext
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.archive import output_archive
from netdsl.app.output import is_on_disk
from netdsl.backend.session import WrongFeed
from netdsl.base.user_error import UserError
from netdsl.data.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import BinaryIO

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
    session: Session, readers: Mapping[str, Reader], batch: int, others: Collection[str] = ()
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """Yield what is read and the outputs, a batch at a time. `others` are read, but are no inputs of the model."""
    assert batch > 0
    counts = check_lengths(readers)
    for name in readers:
        fixed = session.inputs[name].shape[0] if name in session.inputs and session.inputs[name].shape else None
        if fixed is not None and (batch != fixed or counts[name] % fixed):
            raise WrongFeed(
                f"{session.name} requires batches of exactly {fixed}, but got {counts[name]:,} examples "
                f"in batches of {batch}",
            )
    streams = [reader.batches(batch) for reader in readers.values()]
    for number, arrays in enumerate(zip(*streams, strict=True)):
        feeds = dict(zip(readers, arrays, strict=True))
        given = {name: array for name, array in feeds.items() if name not in others}
        yield feeds, session.run(given, number * batch)


def run_batches(
    session: Session, readers: Mapping[str, Reader], size: int | None, file: BinaryIO | None = None
) -> Iterator[Batch]:
    """Yield the examples in batches, whose outputs are also written to the file. The first reader is for an input of
    the model; others can be for none, whose arrays are only in the batch."""
    name, first = next(iter(readers.items()))
    fixed = session.inputs[name].shape[0] if session.inputs[name].shape else None
    size = size or fixed or RUN_BATCH
    if size == fixed:
        readers = {name: PaddedReader(reader, size) for name, reader in readers.items()}
    done, others = 0, readers.keys() - session.inputs.keys()
    with output_archive(file) if file is not None else nullcontext() as write:
        for feeds, outputs in _feeds_and_outputs(session, readers, size, others):
            count = min(size, len(first) - done)
            computed = size if size == fixed else count
            kept = {name: _part(name, array, computed, count) for name, array in outputs.items()}
            inputs = {name: array[:count] for name, array in feeds.items()}
            yield Batch([first.name(at) for at in range(done, done + count)], inputs, kept)
            done += count
            if write is not None:
                write(kept)
        if write is not None and not done:
            write(_nothing(session))


def _part(name: str, array: Array, wanted: int, count: int) -> Array:
    """Return the first `count` results of an output, which must have `wanted` entries."""
    shape = getattr(array, "shape", ())
    if not shape or shape[0] != wanted or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {'x'.join(map(str, shape))}" if hasattr(array, "dtype") else "no array"
        raise OddOutput(f"the output `{name}` is {kind}, not an array of numbers with {wanted} entries")
    return array[:count]


def _nothing(session: Session) -> dict[str, Array]:
    """Return the outputs of an empty shard, so that it can be concatenated with the others."""
    return {name: np.empty((0, *(size or 0 for size in x.shape[1:])), x.dtype) for name, x in session.outputs.items()}


def require_space(path: str, session: Session, count: int) -> None:
    """Raise OSError where the outputs of `count` examples, as far as their sizes are known, do not fit on a disk."""
    from netdsl.base import files

    if is_on_disk(path):
        outputs = [x for x in session.outputs.values() if x.dtype in np.sctypeDict]
        shapes = [(np.dtype(x.dtype).itemsize, *x.shape[1:]) for x in outputs]
        files.require_space(os.path.realpath(path), count * sum(prod(size or 0 for size in shape) for shape in shapes))


def sharded(readers: Mapping[str, Reader], index: int, count: int) -> dict[str, Reader]:
    """Return block `index` of `count` of the examples. Raises WrongFeed."""
    check_lengths(readers)
    return {name: Shard(reader, index, count) for name, reader in readers.items()}


class Shard(Reader):
    """Block i of n of another reader's examples; blocks differ in length by at most one."""

    __slots__ = ("_first", "_reader", "_stop")

    def __init__(self, reader: Reader, index: int, count: int) -> None:
        super().__init__(reader.path, reader.shape, str(reader.dtype))
        self._reader = reader
        self._first = index * len(reader) // count
        self._stop = (index + 1) * len(reader) // count

    def __len__(self) -> int:
        return self._stop - self._first

    def name(self, index: int) -> str:
        return self._reader.name(self._first + index)

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        end = self._stop if stop is None else self._first + stop
        return self._reader.batches(size, self._first + first, end)


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
