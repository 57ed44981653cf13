"""The idx files of MNIST and similar data sets, optionally gzipped: a magic number, sizes, and big-endian numbers.

Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
import math
import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.base.files import open_file
from netdsl.data.errors import BadData
from netdsl.data.stream import StreamReader, damage_is_told, shape_is_told, unpacked

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array, DType
    from netdsl.data.reader import Dims

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(head: bytes) -> bool:
    """Return whether a file with these first bytes is an idx file: two zeros, a type, a rank of at least one."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in TYPES and head[3] > 0


class _Gzip(gzip.GzipFile):
    """A gzip stream that also closes the underlying file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self.myfileobj = file  # type: ignore[assignment]


def _open(path: str) -> BinaryIO:
    """Open the stream of numbers, gzipped or not."""
    file = open_file(path)
    gzipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return _Gzip(file) if gzipped else file  # type: ignore[return-value]


def _header(stream: BinaryIO, path: str) -> tuple[DType, tuple[int, ...], int]:
    """Read type, shape, and the offset of the numbers."""
    with damage_is_told(path):
        head = stream.read(4)
        if not is_idx(head):
            raise BadData(f"{path} is not an idx file")
        sizes = stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise BadData(f"{path} is truncated in its header")
    return np.dtype(TYPES[head[2]]), tuple(map(int, np.frombuffer(sizes, ">u4"))), 4 + len(sizes)


def open_idx(path: str, shape: Dims, dtype: str) -> StreamReader:
    """Return a reader of an idx file."""
    with _open(path) as stream:
        found, sizes, offset = _header(stream, path)
    return StreamReader(path, shape, dtype, found=(found, sizes), offset=offset, open_stream=lambda: _open(path))


def load_idx(path: str) -> Array:
    """Return the array of an idx file: memory-mapped, or read if it is gzipped."""
    with _open(path) as stream:
        dtype, shape, offset = _header(stream, path)
        size = math.prod(shape) * dtype.itemsize
        with shape_is_told(path):
            if not isinstance(stream, _Gzip):
                _check_size(path, size, os.fstat(stream.fileno()).st_size - offset)
                return np.memmap(stream, dtype, "r", offset, shape) if size else np.empty(shape, dtype)
            data = unpacked(stream, size, path)
            with damage_is_told(path):
                _check_size(path, size, size + len(stream.read(1)))
            return np.frombuffer(data, dtype).reshape(shape)


def _check_size(path: str, declared: int, there: int) -> None:
    if there < declared:
        raise BadData(f"{path} is truncated: it declares {declared:,} bytes of numbers, but has {there:,}")
    if there > declared:
        raise BadData(f"{path} has more than the {declared:,} bytes of numbers that it declares")
