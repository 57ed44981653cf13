"""Read and write safetensors files: the header's length in eight bytes, the header in JSON, contiguous tensors.

Unlike in the reference implementation, duplicate names are an error.
Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from netdsl.base.dtypes import SAFETENSORS, stored, widened
from netdsl.base.files import open_file
from netdsl.weights.file import MAX_AXES, Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array

MAX_HEADER_BYTES = 25_000_000


class SafetensorsWeights(WeightFile):
    """The tensors of a safetensors file."""

    __slots__ = ("_begins", "_metadata")

    def __init__(self, path: str) -> None:
        self.path = path
        with open_file(path) as file:
            whole = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if whole < 8:
                raise self.damaged(f"it has {whole} bytes")
            if length > min(whole - 8, MAX_HEADER_BYTES):
                raise self.damaged(f"its header should be {length:,} bytes long, but the whole file has {whole:,}")
            declared = self._parse(file.read(length))
        about = declared.get("__metadata__")
        about = about if isinstance(about, dict) else {}
        self._metadata = {key: text for key, text in about.items() if isinstance(text, str)}
        self.entries: dict[str, Entry] = {}
        self._begins: dict[str, int] = {}
        ranges = sorted((*self._admit(key, value), key) for key, value in declared.items() if key != "__metadata__")
        self._check_ranges(ranges, whole - 8 - length)
        for begin, _, key in ranges:
            self._begins[key] = 8 + length + begin

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def _parse(self, header: bytes) -> dict[str, object]:
        declared = self.parse_json(header, "its header")
        if not isinstance(declared, dict):
            raise self.damaged("its header is not a JSON object")
        return declared

    def _admit(self, key: str, value: object) -> tuple[int, int]:
        """Record a tensor of the header, and return the range of its bytes."""
        match value:
            case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)], **rest} if not rest:
                pass
            case _:
                raise self.damaged(f"the entry of `{key}` does not describe a tensor")
        if kind not in SAFETENSORS:
            raise self.damaged(f"`{key}` has the unknown type {kind}")
        if len(shape) > MAX_AXES or any(type(size) is not int or not 0 <= size < 2**63 for size in shape):
            raise self.damaged(f"`{key}` has an invalid shape: {str(shape)[:80]}")
        self.entries[key] = Entry(SAFETENSORS[kind], tuple(shape))
        if end - begin != self.entries[key].size:
            raise self.damaged(f"`{key}` is {kind} of shape {shape}, but has {end - begin:,} bytes")
        return begin, end

    def _check_ranges(self, ranges: list[tuple[int, int, str]], size: int) -> None:
        """Check that the tensors fill the file without gaps or overlaps."""
        at = 0
        for begin, end, key in ranges:
            if begin != at:
                raise self.damaged(f"`{key}` begins at byte {begin:,} of the data, where {at:,} was expected")
            at = end
        if at != size:
            raise self.damaged(f"its tensors take {at:,} bytes, but it has {size:,}")

    def read(self, key: str) -> Array:
        entry = self.entries[key]
        dtype = np.dtype(stored(entry.dtype)).newbyteorder("<")
        with open_file(self.path) as file:
            file.seek(self._begins[key])
            array = np.fromfile(file, dtype, math.prod(entry.shape))
        if array.size < math.prod(entry.shape):
            raise self.damaged(f"it was truncated while `{key}` was read")
        return widened(array, entry.dtype).reshape(entry.shape)


NAMES = {numpy_name: name for name, numpy_name in SAFETENSORS.items()}
ALIGNMENT = 8


def write_tensors(file: BinaryIO, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays by name, and metadata. Equal arguments give equal bytes.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, array in arrays.items():
        assert name != "__metadata__"
        header[name] = {
            "dtype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
