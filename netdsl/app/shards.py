"""Select a part of the examples for one of several jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.data.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.backend.session import Array


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
