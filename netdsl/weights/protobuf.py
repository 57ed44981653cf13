"""Parse protobuf's wire format in place, without copying.

A field is a tag, `number << 3 | wire type`, followed by its value: a varint, 4 or 8 bytes, or a length and that many
bytes.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Field = tuple[int, int, int, int]
    Bytes = NDArray[np.uint8]

VARINT, FIXED64, MESSAGE, FIXED32 = 0, 1, 2, 5
MAX_INTEGERS = 4096
"""Maximum number of elements read from a list of integers."""


class Protobuf:
    """A message in memory. `bad` creates the exception to raise, from a reason."""

    __slots__ = ("_bad", "data")

    def __init__(self, data: Bytes, bad: Callable[[str], Exception]) -> None:
        self.data = data
        self._bad = bad

    def fields(self, at: int, end: int) -> Iterator[Field]:
        """Yield the number, the wire type, and the begin and end offsets of the value of each field."""
        while at < end:
            tag, at = self.varint(at, end)
            kind = tag & 7
            if kind == VARINT:
                begin, at = at, self.varint(at, end)[1]
                yield tag >> 3, kind, begin, at
                continue
            if kind == MESSAGE:
                length, at = self.varint(at, end)
            else:
                length = {FIXED64: 8, FIXED32: 4}.get(kind, -1)
            if length < 0 or at + length > end:
                raise self._bad("a field reaches beyond its message")
            yield tag >> 3, kind, at, at + length
            at += length

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Decode an unsigned varint. Return it, and the offset after it."""
        number = shift = 0
        while at < end and shift < 64:
            byte = int(self.data[at])
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number, at
        raise self._bad("a number has no end")

    def text(self, begin: int, end: int) -> str:
        return self.data[begin:end].tobytes().decode("utf-8")

    def integers(self, at: int, stop: int) -> list[int]:
        """Decode the signed varints of a field, packed or single; at most MAX_INTEGERS."""
        found: list[int] = []
        while at < stop and len(found) <= MAX_INTEGERS:
            number, at = self.varint(at, stop)
            found.append(number - 2**64 if number >= 2**63 else number)
        return found

    def varints(self, begin: int, end: int) -> NDArray[np.int64]:
        """Decode packed signed varints of any number, vectorized."""
        data = self.data[begin:end]
        ends = np.flatnonzero(data < 128)
        if not ends.size or ends[-1] != data.size - 1:
            raise self._bad("a number has no end")
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts + 1
        if lengths.max() > 10:
            raise self._bad("a number has no end")
        numbers = np.zeros(ends.size, np.uint64)
        for at in range(int(lengths.max())):
            more = lengths > at
            numbers[more] |= (data[starts[more] + at] & 127).astype(np.uint64) << np.uint64(7 * at)
        return numbers.view(np.int64)
