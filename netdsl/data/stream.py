"""Arrays that are read sequentially, such as compressed files: one batch at a time, and never more than declared."""

from __future__ import annotations

import math
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.base.limits import UNPACKED_BYTES
from netdsl.data.errors import BadData
from netdsl.data.reader import Reader, check_types, convert, match_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.base.dtypes import Array, DType
    from netdsl.data.reader import Dims

    Open = Callable[[], BinaryIO]

DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    UnicodeDecodeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of the standard library for compressed files that are damaged, encrypted or unsupported."""

PIECE = 2**24
"""Maximum number of bytes read at a time."""


@contextmanager
def damage_is_told(path: str) -> Iterator[None]:
    """Turn errors of decompression into BadData."""
    try:
        yield
    except DAMAGE as error:
        raise BadData(f"{path} is damaged: {str(error).rstrip('.') or type(error).__name__}") from None


class StreamReader(Reader):
    """`count` examples in C order after a header of `offset` bytes, in a stream that can be reopened."""

    __slots__ = ("_count", "_example", "_found", "_offset", "_open")

    def __init__(
        self,
        path: str,
        shape: Dims,
        dtype: str,
        *,
        found: tuple[DType, tuple[int, ...]],
        offset: int,
        open_stream: Open,
    ) -> None:
        super().__init__(path, shape, dtype)
        self._found, whole = found
        check_types(path, self._found, self.dtype)
        self._count, self._example = match_shape(path, whole, shape)
        self._offset = offset
        self._open = open_stream

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"{self.path}[{index}]"

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        one = math.prod(self._example) * self._found.itemsize
        with self._open() as stream:
            with damage_is_told(self.path):
                stream.read(self._offset)
                skipped = _skip(stream, first * one)
            if skipped < first * one:
                raise self._short(skipped // one)
            for at, end in self.spans(size, first, stop):
                with damage_is_told(self.path):
                    data = read(stream, (end - at) * one)
                if len(data) < (end - at) * one:
                    raise self._short(at + len(data) // one)
                batch = np.frombuffer(data, self._found).reshape(end - at, *self._example)
                yield convert(self, batch, at)
            with damage_is_told(self.path):
                rest = b"" if stop is not None and stop < self._count else stream.read(1)
            if rest:
                raise BadData(f"{self.path} has more than the {self._count:,} examples that it declares")

    def _short(self, at: int) -> BadData:
        return BadData(f"{self.path} is truncated: it declares {self._count:,} examples, but ends in number {at:,}")


def _skip(stream: BinaryIO, size: int) -> int:
    """Read and discard bytes; return how many there were."""
    left = size
    while left and (part := stream.read(min(left, PIECE))):
        left -= len(part)
    return size - left


def read(stream: BinaryIO, size: int) -> bytes | bytearray:
    """Return `size` bytes, or fewer at the end of the stream. Reads in pieces: `stream.read(size)` would allocate a
    size that a damaged file only claims."""
    if size <= PIECE:
        return stream.read(size)
    data = bytearray()
    while len(data) < size and (part := stream.read(min(size - len(data), PIECE))):
        data += part
    return data


def unpacked(stream: BinaryIO, size: int, path: str) -> bytes | bytearray:
    """Return the next `size` bytes of a compressed file. Raises BadData if there are fewer, or too many."""
    if size > UNPACKED_BYTES:
        raise BadData(f"{path} declares {size:,} bytes, too many to decompress into memory", "unpack it first")
    with damage_is_told(path):
        data = read(stream, size)
    if len(data) < size:
        raise BadData(f"{path} is truncated: it declares {size:,} bytes of numbers, but has {len(data):,}")
    return data


@contextmanager
def shape_is_told(path: str) -> Iterator[None]:
    """Turn NumPy's error for a shape with too many axes or elements into BadData."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise BadData(f"{path} declares an impossible shape: {error}") from None
