"""NumPy's `.npy` format: a header, checked before anything is allocated, then the bytes.

Source: numpy.lib.format, versions 1.0 to 3.0.
"""

from __future__ import annotations

import math
import os
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.terminal import escape
from netdsl.data.errors import BadData
from netdsl.data.reader import Reader, check_types, convert, fit
from netdsl.data.stream import shape_is_told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.data.reader import Array, Dims

LONGEST_HEADER = 65_536


class Header:
    """The header of an array file. `offset` is where its bytes begin, `size` their number."""

    __slots__ = ("dtype", "fortran", "offset", "shape", "size")

    def __init__(self, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], offset: int) -> None:
        self.shape = shape
        self.fortran = fortran and len(shape) > 1
        self.dtype = dtype
        self.offset = offset
        self.size = math.prod(shape) * dtype.itemsize


def read_header(stream: BinaryIO, name: str, length: int) -> Header:
    """Read the header of an array in a file of `length` bytes, which must match what it declares."""
    head = stream.read(12)
    width = 2 if head[6:7] == b"\x01" else 4
    size = int.from_bytes(head[8 : 8 + width], "little")
    if head[:6] != b"\x93NUMPY" or head[6:7] not in (b"\x01", b"\x02", b"\x03") or size > LONGEST_HEADER:
        raise BadData(f"{escape(name)} is damaged, or not a NumPy array")
    text = head + stream.read(max(0, 8 + width + size - len(head)))
    buffer = BytesIO(text)
    try:
        version = np.lib.format.read_magic(buffer)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            shape, fortran, dtype = read(buffer)
    except Exception as error:  # the header is a Python literal: a hostile one fails in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadData(f"{escape(name)} has a header that cannot be read: {escape(reason)}") from None
    header = Header(shape, fortran, dtype, len(text))
    if dtype.hasobject:
        raise BadData(f"{escape(name)} holds pickled Python objects, which are never read: they can run programs")
    if min(shape, default=0) < 0:
        raise BadData(f"{escape(name)} declares the shape {shape}, which none can have")
    if header.size != length - header.offset:
        raise BadData(f"{escape(name)} declares {header.size:,} bytes of data and has {length - header.offset:,}")
    return header


def map_npy(path: str) -> Array:
    """Return the array of an `.npy` file, memory-mapped."""
    with open_file(path) as file:
        return map_array(file, read_header(file, path, os.fstat(file.fileno()).st_size), path)


def map_array(file: BinaryIO, header: Header, path: str, start: int = 0) -> Array:
    """Return the memory-mapped array whose header begins at `start` in a file."""
    if not header.dtype.itemsize:
        raise BadData(f"{escape(path)} holds elements of no size")
    with shape_is_told(path):
        if header.size == 0:
            return np.empty(header.shape, header.dtype)
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        return np.memmap(file, header.dtype, "r", start + header.offset, header.shape, order)


class NpyReader(Reader):
    """An `.npy` file, memory-mapped."""

    __slots__ = ("_array",)

    def __init__(self, path: str, shape: Dims, dtype: str) -> None:
        super().__init__(path, shape, dtype)
        array = map_npy(path)
        check_types(path, array.dtype, self.dtype)
        count, example = fit(path, array.shape, shape)
        self._array = array.reshape(count, *example)

    def __len__(self) -> int:
        return len(self._array)

    def name(self, index: int) -> str:
        return f"{self.path}[{index}]"

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        for at, end in self.spans(size, first, stop):
            yield convert(self, np.asarray(self._array[at:end]), at)
