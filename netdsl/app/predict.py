"""Run a model over all examples, or a shard of them, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.backend.session import WrongFeed
from netdsl.data.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.backend.session import Array, Session


def check_lengths(readers: Mapping[str, Reader]) -> dict[str, int]:
    """Return the number of examples, which must be the same for each input. Raises WrongFeed."""
    counts = {name: len(reader) for name, reader in readers.items()}
    if len(set(counts.values())) > 1:
        raise WrongFeed("the inputs differ in length: " + ", ".join(f"{k} has {n:,}" for k, n in counts.items()))
    return counts


def predict(session: Session, readers: Mapping[str, Reader], batch: int) -> Iterator[dict[str, Array]]:
    """Yield the outputs of all examples, a batch at a time. A model with a fixed batch size needs full batches."""
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
    for arrays in zip(*streams, strict=True):
        yield session.run(dict(zip(readers, arrays, strict=True)))


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
