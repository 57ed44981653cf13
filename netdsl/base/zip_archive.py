"""Zip files from untrusted sources: every member is checked before one is read, and nothing is unpacked to disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from contextlib import contextmanager
from mmap import ACCESS_READ, ALLOCATIONGRANULARITY, mmap
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.limits import UNPACKED_BYTES
from netdsl.base.threads import thread_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from netdsl.base.user_error import UserError

    Bytes = NDArray[np.uint8]

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
PIECE_BYTES = 2**19
"""Number of bytes processed at a time, chosen to fit a processor's cache."""


class ZipArchive:
    """The members of a zip file by name. A file with an inconsistent directory is refused entirely.

    `damaged` returns the error to raise for a reason.
    """

    __slots__ = ("_checked", "_damaged", "_size", "_zip", "members", "path")

    def __init__(self, path: str, damaged: Callable[[str], UserError]) -> None:
        self.path = path
        self.members: dict[str, zipfile.ZipInfo] = {}
        self._damaged = damaged
        self._checked: set[str] = set()
        self._zip: zipfile.ZipFile | None = None
        with open_file(path) as file:
            self._size = os.fstat(file.fileno()).st_size
            try:
                with zipfile.ZipFile(file) as archive:
                    found = archive.infolist()
            except MemoryError:
                raise
            except Exception as error:  # a hostile directory fails in many ways
                raise damaged(f"it cannot be read as a zip file: {error}") from None
        for member in found:
            self._admit(member)

    def _admit(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise self._damaged(f"its member {name} has a path that leads out of the archive")
        if member.flag_bits & 1:
            raise self._damaged(f"its member {name} is encrypted")
        if member.compress_type not in METHODS:
            raise self._damaged(f"its member {name} uses the unsupported compression method {member.compress_type}")
        packed = member.compress_type != zipfile.ZIP_STORED
        if not 0 <= member.header_offset <= self._size - member.compress_size or (
            not packed and member.compress_size != member.file_size
        ):
            raise self._damaged(f"its member {name} declares {member.file_size:,} bytes, which are missing")
        if self.members.setdefault(name, member) is not member:
            raise self._damaged(f"its member {name} occurs twice")

    def is_stored(self, name: str) -> bool:
        """Return whether a member is not compressed."""
        return self.members[name].compress_type == zipfile.ZIP_STORED

    def open(self, name: str) -> BinaryIO:
        """Open a member to read its bytes in order, decompressed and never more than it declares. The checksum is
        verified at the end; errors while reading are those of `zipfile`."""
        try:
            if self._zip is None:
                self._zip = zipfile.ZipFile(self.path)
            return self._zip.open(self.members[name])  # type: ignore[return-value]
        except MemoryError:
            raise
        except Exception as error:
            raise self._damaged(f"its member {name} cannot be read: {error}") from None

    def read(self, name: str, most: int) -> bytes:
        """Return all bytes of a member, which must not declare more than `most`."""
        size = self.members[name].file_size
        if size > most:
            raise self._damaged(f"its member {name} declares {size:,} bytes; the limit is {most:,}")
        return self.map(name).tobytes()

    def map(self, name: str, begin: int = 0, end: int | None = None) -> Bytes:
        """Return bytes `begin` to `end` of a member: memory-mapped if it is stored, otherwise decompressed. The
        checksum of the whole member is verified first, once for a stored one."""
        member = self.members[name]
        end = member.file_size if end is None else end
        if not self.is_stored(name):
            return np.frombuffer(self._unpacked(member, begin, end), np.uint8)
        with open_file(self.path) as file:
            start = self._start(file, member)
            if name not in self._checked:
                self._verify([name])
                self._checked.add(name)
            return mapped(file, start + begin, end - begin)

    def _unpacked(self, member: zipfile.ZipInfo, begin: int, end: int) -> bytearray:
        name, size = member.filename, member.file_size
        if size > UNPACKED_BYTES:
            raise self._damaged(f"its member {name} declares {size:,} bytes, too many to decompress into memory")
        data = bytearray()
        at = 0
        try:
            with self.open(name) as stream:
                while part := stream.read(PIECE_BYTES):
                    data += part[max(0, begin - at) : max(0, end - at)]
                    at += len(part)
        except MemoryError:
            raise
        except Exception as error:
            raise self._damaged(f"its member {name} cannot be decompressed: {error}") from None
        if at != size:
            raise self._damaged(f"its member {name} declares {size:,} bytes and has {at:,}")
        return data

    @contextmanager
    def verified(self, names: Iterable[str]) -> Iterator[None]:
        """Verify the checksums of stored members in a thread while the block runs, since that takes as long as reading
        and writing. The block ends once all are correct, or fails."""
        stop = Event()
        pool = thread_pool(1, "netdsl-checksums")
        try:
            found = pool.submit(self._verify, names, stop)
            yield
            found.result()
        finally:
            stop.set()
            pool.shutdown()

    def _verify(self, names: Iterable[str], stop: Event | None = None) -> None:
        buffer = np.empty(PIECE_BYTES, np.uint8)
        with open_file(self.path) as file:
            for name in names:
                for _ in self.pieces(file, name, buffer):
                    if stop is not None and stop.is_set():
                        return

    def pieces(self, file: BinaryIO, name: str, buffer: Bytes, *, verify: bool = True) -> Iterator[Bytes]:
        """Yield all of a stored member in pieces, in the same buffer; `file` is the open archive. The checksum is
        verified after the last piece, unless that is done elsewhere."""
        member = self.members[name]
        checksum = 0
        file.seek(self._start(file, member))
        for at in range(0, member.file_size, buffer.size):
            piece = buffer[: member.file_size - at]
            if file.readinto(piece.data) < piece.size:  # type: ignore[attr-defined]
                raise self._damaged(f"it was truncated while its member {name} was read")
            if verify:
                checksum = zlib.crc32(piece.data, checksum)
            yield piece
        if verify and checksum != member.CRC:
            raise self._damaged(f"its member {name} has a wrong checksum")

    def _start(self, file: BinaryIO, member: zipfile.ZipInfo) -> int:
        """Return where a member's bytes begin, after its local header, which must have the same name.

        Source: APPNOTE.TXT of PKWARE, 4.3.7: 30 bytes, the name, the extra field; their lengths are at 26 and 28.
        """
        size = os.fstat(file.fileno()).st_size  # it may have changed since
        file.seek(member.header_offset)
        head = file.read(30)
        name_length = int.from_bytes(head[26:28], "little")
        start = member.header_offset + 30 + name_length + int.from_bytes(head[28:30], "little")
        name = file.read(name_length)
        said = member.orig_filename.encode("utf-8", "surrogateescape"), member.orig_filename.encode("cp437", "replace")
        if head[:4] != b"PK\x03\x04" or name not in said or start + member.compress_size > size:
            raise self._damaged(f"its member {member.filename} is not where the directory of the archive says")
        return start


def mapped(file: BinaryIO, start: int, size: int) -> Bytes:
    """Memory-map bytes of a file for as long as they are referenced. This is ten times as fast as `np.memmap`."""
    if not size:
        return np.empty(0, np.uint8)
    before = start % ALLOCATIONGRANULARITY
    view = mmap(file.fileno(), before + size, access=ACCESS_READ, offset=start - before)
    return np.frombuffer(view, np.uint8, size, before)
