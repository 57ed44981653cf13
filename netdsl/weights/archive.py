"""Zip files of weights: every member is checked before one is read, and nothing is unpacked to disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from mmap import ACCESS_READ, ALLOCATIONGRANULARITY, mmap
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.terminal import escape
from netdsl.weights.errors import BadWeightFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netdsl.weights.file import Array

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
PIECE = 2**19
"""Number of bytes processed at a time, chosen to fit a processor's cache."""

UNPACKED = 2**34
"""Maximum number of bytes decompressed into memory."""


class ZipMembers:
    """The members of a zip file by name. A file with an inconsistent directory is refused entirely."""

    __slots__ = ("_checked", "_size", "members", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._checked: set[str] = set()
        self.members: dict[str, zipfile.ZipInfo] = {}
        with open_file(path) as file:
            self._size = os.fstat(file.fileno()).st_size
            try:
                with zipfile.ZipFile(file) as archive:
                    found = archive.infolist()
            except MemoryError:
                raise
            except Exception as error:  # the directory of a hostile one fails in many ways
                raise self.bad(f"as a zip file it cannot be read: {error}") from None
        for member in found:
            self._admit(member)

    def bad(self, reason: str, *helps: str) -> BadWeightFile:
        return BadWeightFile(f"{escape(self.path)} is damaged: {escape(reason)}", *helps)

    def _admit(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise self.bad(f"its member {name} has a path that leads out of the archive")
        if member.flag_bits & 1:
            raise self.bad(f"its member {name} is encrypted")
        if member.compress_type not in METHODS:
            raise self.bad(f"its member {name} is compressed by the unknown method {member.compress_type}")
        packed = member.compress_type != zipfile.ZIP_STORED
        if not 0 <= member.header_offset <= self._size - member.compress_size or (
            not packed and member.compress_size != member.file_size
        ):
            raise self.bad(f"its member {name} declares {member.file_size:,} bytes that are not there")
        if self.members.setdefault(name, member) is not member:
            raise self.bad(f"its member {name} is there twice")

    def read(self, name: str, most: int) -> bytes:
        """Return all bytes of a member, which must not declare more than `most`."""
        member = self.members[name]
        if member.file_size > most:
            raise self.bad(f"its member {name} declares {member.file_size:,} bytes, more than can be meant")
        return self.map(name, 0, member.file_size).tobytes()

    def is_stored(self, name: str) -> bool:
        """Return whether a member is not compressed."""
        return self.members[name].compress_type == zipfile.ZIP_STORED

    def map(self, name: str, begin: int, end: int) -> Bytes:
        """Return bytes `begin` to `end` of a member: memory-mapped if it is stored, otherwise decompressed up to there.
        The member's checksum is verified once."""
        member = self.members[name]
        if not self.is_stored(name):
            return np.frombuffer(self._unpacked(member), np.uint8)[begin:end]
        with open_file(self.path) as file:
            start = self._start(file, member)
            if name not in self._checked:
                self._test([name])
                self._checked.add(name)
            return mapped(file, start + begin, end - begin)

    @contextmanager
    def tested(self, names: Iterable[str]) -> Iterator[None]:
        """Verify the checksums of stored members in a thread while the block runs, since that takes as long as reading
        and writing. The block ends once all are correct, or fails."""
        stop = Event()
        pool = ThreadPoolExecutor(1, "netdsl-weights")
        try:
            found = pool.submit(self._test, names, stop)
            yield
            found.result()
        finally:
            stop.set()
            pool.shutdown()

    def _test(self, names: Iterable[str], stop: Event | None = None) -> None:
        buffer = np.empty(PIECE, np.uint8)
        with open_file(self.path) as file:
            for name in names:
                for _ in self.pieces(file, name, buffer):
                    if stop is not None and stop.is_set():
                        return

    def pieces(self, file: BinaryIO, name: str, buffer: Bytes, *, test: bool = True) -> Iterator[Bytes]:
        """Yield all of a stored member in pieces, in the same buffer; `file` is the open archive. After the last one
        its checksum is verified, unless that is done elsewhere."""
        member = self.members[name]
        checksum = 0
        file.seek(self._start(file, member))
        for at in range(0, member.file_size, buffer.size):
            piece = buffer[: member.file_size - at]
            if file.readinto(piece.data) < piece.size:  # type: ignore[attr-defined]
                raise self.bad(f"it was cut short while its member {name} was read")
            if test:
                checksum = zlib.crc32(piece.data, checksum)
            yield piece
        if test and checksum != member.CRC:
            raise self.bad(f"its member {name} has a wrong checksum")

    def _start(self, file: Any, member: zipfile.ZipInfo) -> int:
        """Return where a member's bytes begin, after its local header, which must have the same name.

        Source: APPNOTE.TXT of PKWARE, 4.3.7: 30 bytes, the name, the extra field; their lengths are at 26 and 28.
        """
        size = os.fstat(file.fileno()).st_size  # it may have changed since
        file.seek(member.header_offset)
        head = file.read(30)
        name_length = int.from_bytes(head[26:28], "little")
        start: int = member.header_offset + 30 + name_length + int.from_bytes(head[28:30], "little")
        name = file.read(name_length)
        said = member.orig_filename.encode("utf-8", "surrogateescape"), member.orig_filename.encode("cp437", "replace")
        if head[:4] != b"PK\x03\x04" or name not in said or start + member.compress_size > size:
            raise self.bad(f"its member {member.filename} is not where its directory says")
        return start

    def _unpacked(self, member: zipfile.ZipInfo) -> bytes:
        if member.file_size > UNPACKED:
            raise self.bad(f"its member {member.filename} declares {member.file_size:,} bytes, too many to unpack")
        parts: list[bytes] = []
        left = member.file_size
        with open_file(self.path) as file:
            try:
                with zipfile.ZipFile(file) as archive, archive.open(member) as stream:
                    while left and (part := stream.read(min(left, PIECE))):
                        parts.append(part)
                        left -= len(part)
                    more = stream.read(1)  # which tests the checksum
            except MemoryError:
                raise
            except Exception as error:
                raise self.bad(f"its member {member.filename} cannot be unpacked: {error}") from None
        if left or more:
            raise self.bad(f"its member {member.filename} has not the {member.file_size:,} bytes that it declares")
        return b"".join(parts)


def mapped(file: Any, start: int, size: int) -> Bytes:
    """Memory-map bytes of a file for as long as they are referenced."""
    if not size:
        return np.empty(0, np.uint8)
    before = start % ALLOCATIONGRANULARITY
    view = mmap(
        file.fileno(), before + size, access=ACCESS_READ, offset=start - before
    )  # np.memmap takes ten times that
    return np.frombuffer(view, np.uint8, size, before)


def strided(data: Bytes, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Return an array over bytes with non-negative strides in elements; the caller has checked that they fit."""
    flat = data.view(dtype)
    steps = tuple(step * dtype.itemsize for step in strides)
    return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
