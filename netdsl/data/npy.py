"""NumPy's `.npy` and `.npz` files: headers are checked before anything is allocated, and objects are never unpickled.

Source: numpy.lib.format, versions 1.0 to 3.0. An `.npz` file is a zip archive of `.npy` files.
"""

from __future__ import annotations

import math
import os
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.zip_archive import ZipArchive
from netdsl.data.errors import CONVERT, BadData, NoSuchMember
from netdsl.data.reader import Reader, check_types, convert, match_shape
from netdsl.data.stream import StreamReader, damage_is_told, shape_is_told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.dtypes import Array, DType
    from netdsl.data.reader import Dims

LONGEST_HEADER = 65_536
"""Maximum size of a header in bytes."""


class Header:
    """The header of an array file. The array's data are `size` bytes, starting at `offset`."""

    __slots__ = ("dtype", "fortran", "offset", "shape", "size")

    def __init__(self, shape: tuple[int, ...], fortran: bool, dtype: DType, offset: int) -> None:
        self.shape = shape
        self.fortran = fortran and len(shape) > 1
        self.dtype = dtype
        self.offset = offset
        self.size = math.prod(shape) * dtype.itemsize

    @property
    def order(self) -> Literal["F", "C"]:
        return "F" if self.fortran else "C"


def read_header(stream: BinaryIO, name: str, length: int) -> Header:
    """Read the header of an array in a file of `length` bytes, which must match what it declares."""
    head = stream.read(12)
    width = 2 if head[6:7] == b"\x01" else 4
    size = int.from_bytes(head[8 : 8 + width], "little")
    if head[:6] != b"\x93NUMPY" or head[6:7] not in (b"\x01", b"\x02", b"\x03") or size > LONGEST_HEADER:
        raise BadData(f"{name} is damaged, or not a NumPy array")
    text = head + stream.read(max(0, 8 + width + size - len(head)))
    buffer = BytesIO(text)
    try:
        version = np.lib.format.read_magic(buffer)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers written by Python 2
            shape, fortran, dtype = read(buffer)
    except Exception as error:  # the header is a Python literal: a hostile one fails in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadData(f"{name} has a header that cannot be read: {reason}") from None
    header = Header(shape, fortran, dtype, len(text))
    if dtype.hasobject:
        raise BadData(f"{name} contains pickled Python objects, which are never loaded, since they can run code")
    if min(shape, default=0) < 0:
        raise BadData(f"{name} declares the impossible shape {shape}")
    if header.size != length - header.offset:
        raise BadData(f"{name} declares {header.size:,} bytes of data, but has {length - header.offset:,}")
    return header


def map_npy(path: str) -> Array:
    """Return the array of an `.npy` file, memory-mapped."""
    with open_file(path) as file:
        header = read_header(file, path, os.fstat(file.fileno()).st_size)
        _check_element_size(header, path)
        with shape_is_told(path):
            if header.size == 0:
                return np.empty(header.shape, header.dtype)
            return np.memmap(file, header.dtype, "r", header.offset, header.shape, header.order)


def _check_element_size(header: Header, name: str) -> None:
    if not header.dtype.itemsize:
        raise BadData(f"{name} has elements of size 0")


class NpyReader(Reader):
    """An `.npy` file, memory-mapped."""

    __slots__ = ("_array",)

    def __init__(self, path: str, shape: Dims, dtype: str) -> None:
        super().__init__(path, shape, dtype)
        array = map_npy(path)
        check_types(path, array.dtype, self.dtype)
        count, example = match_shape(path, array.shape, shape)
        self._array = array.reshape(count, *example)

    def __len__(self) -> int:
        return len(self._array)

    def name(self, index: int) -> str:
        return f"{self.path}[{index}]"

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        for at, end in self.spans(size, first, stop):
            yield convert(self, np.asarray(self._array[at:end]), at)


class NpzArchive:
    """The arrays of an `.npz` file by name."""

    __slots__ = ("_zip", "names", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._zip = ZipArchive(path, lambda reason: BadData(f"{path} is damaged: {reason}"))
        if any(name.endswith(".pkl") for name in self._zip.members):
            raise BadData(f"{path} contains pickled objects, which are never loaded, since they can run code", CONVERT)
        for name in self._zip.members:
            if not name.endswith(".npy"):
                raise BadData(f"{path}: its member {name} is not an array")
        self.names = tuple(name.removesuffix(".npy") for name in self._zip.members)

    def open(self, name: str) -> BinaryIO:
        """Open an array's `.npy` file."""
        return self._zip.open(f"{name}.npy")

    def header(self, name: str) -> Header:
        """Return an array's header, checked against the size that the archive declares."""
        with self.open(name) as stream, damage_is_told(self.path):
            return read_header(stream, f"{self.path}: {name}", self._zip.members[f"{name}.npy"].file_size)

    def load(self, name: str) -> Array:
        """Return an array: memory-mapped if it is stored uncompressed, otherwise read."""
        header, what = self.header(name), f"{self.path}: {name}"
        _check_element_size(header, what)
        flat = self._zip.map(f"{name}.npy", header.offset).view(header.dtype)
        with shape_is_told(what):
            return flat.reshape(header.shape, order=header.order)


def open_npz(path: str, shape: Dims, dtype: str, name: str | None) -> StreamReader:
    """Return a reader of the member called `name`, or of the only one."""
    archive = NpzArchive(path)
    if name not in archive.names:
        if len(archive.names) != 1:
            held = ", ".join(sorted(archive.names)[:10]) or "none"
            raise NoSuchMember(f"{path} has no array `{name}` (available: {held})")
        (name,) = archive.names
    assert name is not None
    member = name
    header = archive.header(member)
    if header.fortran:
        raise BadData(
            f"{path}: {member} is in Fortran order, which cannot be streamed",
            "save it with `numpy.ascontiguousarray(array)`, or as .npy",
        )
    found = header.dtype, header.shape
    return StreamReader(path, shape, dtype, found=found, offset=header.offset, open_stream=lambda: archive.open(member))
