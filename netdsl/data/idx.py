"""The idx files of MNIST and its kin, gzipped or not: a magic number, sizes, then the numbers, all big-endian.

Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
from typing import BinaryIO

import numpy as np

from netdsl.data.errors import BadData
from netdsl.data.reader import Dims
from netdsl.data.stream import StreamReader, damage_is_told
from netdsl.diagnostics.terminal import escape
from netdsl.files import open_file

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(head: bytes) -> bool:
    """Whether a file that begins so is an idx file: two zeros, a type, a rank of at least one."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in TYPES and head[3] > 0


class _Gzip(gzip.GzipFile):
    """Closes the file below as well."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self.myfileobj = file  # type: ignore[assignment]


def open_idx(path: str, shape: Dims, dtype: str) -> StreamReader:
    """A reader of an idx file."""

    def open_stream() -> BinaryIO:
        file = open_file(path)
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return _Gzip(file) if gzipped else file  # type: ignore[return-value]

    with open_stream() as stream, damage_is_told(path):
        head = stream.read(4)
        if not is_idx(head):
            raise BadData(f"{escape(path)} is not an idx file: it begins with 0x{head.hex()}")
        sizes = stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise BadData(f"{escape(path)} is cut short in its header")
    found = np.dtype(TYPES[head[2]]), tuple(map(int, np.frombuffer(sizes, ">u4")))
    return StreamReader(path, shape, dtype, found=found, offset=4 + len(sizes), open_stream=open_stream)
