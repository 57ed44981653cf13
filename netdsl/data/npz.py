"""NumPy's `.npz` archives: zip files whose members are checked before one is read."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.terminal import escape
from netdsl.data.errors import CONVERT, BadData, NoSuchMember
from netdsl.data.npy import Header, map_array, read_header
from netdsl.data.reader import Dims
from netdsl.data.stream import StreamReader, damage_is_told, shape_is_told, unpacked

if TYPE_CHECKING:
    from netdsl.data.reader import Array


class Archive:
    """The arrays of an `.npz` file by name. Nothing is written to disk, and nothing is unpickled."""

    __slots__ = ("_zip", "members", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        open_file(path).close()  # tells what is wrong with the path
        with damage_is_told(path):
            self._zip = zipfile.ZipFile(path)
        self.members: dict[str, zipfile.ZipInfo] = {}
        if any(name.endswith(".pkl") for name in self._zip.namelist()):
            raise BadData(f"{escape(path)} holds pickled objects, which are never read: they can run programs", CONVERT)
        for member in self._zip.infolist():
            self._admit(member)

    def _admit(self, member: zipfile.ZipInfo) -> None:
        name, where = member.filename, f"{escape(self.path)}: member {escape(member.filename)}"
        parts = name.replace("\\", "/").split("/")
        if not name.endswith(".npy"):
            raise BadData(f"{where} is not an array")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise BadData(f"{where} has a path that leads out of the archive")
        if member.flag_bits & 1:
            raise BadData(f"{where} is encrypted")
        if self.members.setdefault(name.removesuffix(".npy"), member) is not member:
            raise BadData(f"{where} is there twice")

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading its bytes."""
        with damage_is_told(self.path):
            return self._zip.open(self.members[name])  # type: ignore[return-value]

    def load(self, name: str) -> Array:
        """Return a member's array: memory-mapped if it is stored uncompressed, otherwise read."""
        member, what = self.members[name], f"{self.path}: {name}"
        if member.compress_type == zipfile.ZIP_STORED:
            with open_file(self.path) as file, damage_is_told(self.path):
                start = _data_of(file, member)
                header = read_header(file, what, member.file_size)
                if start + member.file_size > os.fstat(file.fileno()).st_size:
                    raise BadData(f"{escape(what)} is cut short")
                return map_array(file, header, what, start)
        with self.open(name) as stream, damage_is_told(self.path):
            header = read_header(stream, what, member.file_size)
            if not header.dtype.itemsize:
                raise BadData(f"{escape(what)} holds elements of no size")
            flat = np.frombuffer(unpacked(stream, header.size, what), header.dtype)
        with shape_is_told(what):
            return flat.reshape(header.shape, order="F" if header.fortran else "C")

    def header(self, name: str) -> Header:
        """Return a member's header, checked against the size that the archive declares."""
        with self.open(name) as stream, damage_is_told(self.path):
            return read_header(stream, f"{self.path}: {name}", self.members[name].file_size)


def _data_of(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Seek to the bytes of a member, after its local header, and return their offset.

    Source: APPNOTE.TXT of PKWARE, 4.3.7: 30 bytes, the name, the extra field; their lengths are at 26 and 28.
    """
    file.seek(member.header_offset + 26)
    lengths = file.read(4)
    start = member.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    file.seek(start)
    return start


def open_npz(path: str, shape: Dims, dtype: str, name: str | None) -> StreamReader:
    """Return a reader of the member called `name`, or of the only one."""
    archive = Archive(path)
    if name not in archive.members:
        if len(archive.members) != 1:
            held = ", ".join(map(escape, sorted(archive.members)[:10])) or "nothing"
            raise NoSuchMember(f"{escape(path)} has no array `{name}`: it holds {held}")
        (name,) = archive.members
    assert name is not None
    member = name
    header = archive.header(member)
    if header.fortran:
        raise BadData(
            f"{escape(path)}: {escape(member)} is in Fortran order, which cannot be streamed",
            "save it with `numpy.ascontiguousarray(array)`, or as .npy",
        )
    found = header.dtype, header.shape
    return StreamReader(path, shape, dtype, found=found, offset=header.offset, open_stream=lambda: archive.open(member))
