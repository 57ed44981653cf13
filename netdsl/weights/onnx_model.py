"""The initialisers of an ONNX model as weights: the model is looked through where it lies, and never held whole.

Source: onnx.proto, and protobuf's wire format: a field is a tag (number << 3 | type), and a varint, 4 or 8 bytes, or a
length and so many bytes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.diagnostics.terminal import escape
from netdsl.files import open_file
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.external import data_file
from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.weights.file import Array

    Field = tuple[int, int, int, int]

MOST_AXES = 32
TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    23: "float4_e2m1",
    24: "float8_e8m0",
}
"""NumPy's name of an element's type, by its number in TensorProto."""

PRODUCER, GRAPH, METADATA, INITIALIZER = 2, 7, 14, 5
DIMS, DATA_TYPE, FLOATS, NAME, RAW, DOUBLES, EXTERNAL, LOCATION = 1, 2, 4, 8, 9, 10, 13, 14
LISTED = {FLOATS: "float32", DOUBLES: "float64"}


class _Tensor:
    __slots__ = ("dtype", "file", "length", "name", "shape", "start")

    def __init__(self) -> None:
        self.name = ""
        self.dtype = 0
        self.shape: list[int] = []
        self.file: str | None = None
        self.start = -1
        self.length = 0


class OnnxWeights(WeightFile):
    """The float initialisers of a model, but for the constants beside the weights: whole numbers and single ones, and
    in a model of netdsl's what is called after a place in the graph, `normalize1/constant`."""

    __slots__ = ("_data", "_is_ours", "_metadata", "_tensors")

    def __init__(self, path: str) -> None:
        self.path = path
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            self._data = np.memmap(file, np.uint8, "r") if size else np.empty(0, np.uint8)
        self._is_ours = False
        self._metadata: dict[str, str] = {}
        self._tensors: dict[str, _Tensor] = {}
        self.entries: dict[str, Entry] = {}
        try:
            for field, kind, begin, end in self._fields(0, size):
                if (field, kind) == (PRODUCER, 2):
                    self._is_ours = self._text(begin, end) == "netdsl"
                if (field, kind) == (GRAPH, 2):
                    self._graph(begin, end)
                if (field, kind) == (METADATA, 2):
                    pair = self._pair(begin, end)
                    self._metadata[pair.get(1, "")] = pair.get(2, "")
        except (IndexError, UnicodeDecodeError):
            raise self._bad("it is cut short, or no ONNX model") from None
        if not self._tensors:
            raise BadWeightFile(f"{escape(path)} is no ONNX model with weights in it")

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def _bad(self, reason: str) -> BadWeightFile:
        return BadWeightFile(f"{escape(self.path)} is damaged: {escape(reason)}")

    def _graph(self, begin: int, end: int) -> None:
        for field, kind, at, stop in self._fields(begin, end):
            if (field, kind) == (INITIALIZER, 2):
                tensor = self._tensor(at, stop)
                self._check(tensor)

    def _fields(self, at: int, end: int) -> Iterator[Field]:
        """The fields of a message: number, type, and where their bytes are."""
        while at < end:
            tag, at = self._varint(at, end)
            kind = tag & 7
            if kind == 0:
                begin, at = at, self._varint(at, end)[1]
                yield tag >> 3, kind, begin, at
                continue
            if kind == 2:
                length, at = self._varint(at, end)
            else:
                length = {1: 8, 5: 4}.get(kind, -1)
            if length < 0 or at + length > end:
                raise self._bad("a field reaches beyond its message")
            yield tag >> 3, kind, at, at + length
            at += length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        number = shift = 0
        while at < end and shift < 64:
            byte = int(self._data[at])
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number, at
        raise self._bad("a number has no end")

    def _text(self, begin: int, end: int) -> str:
        return self._data[begin:end].tobytes().decode("utf-8")

    def _pair(self, begin: int, end: int) -> dict[int, str]:
        """Return the texts of a StringStringEntryProto by their numbers: the key is 1, the value 2."""
        return {number: self._text(a, b) for number, wire, a, b in self._fields(begin, end) if wire == 2}

    def _tensor(self, begin: int, end: int) -> _Tensor:
        tensor = _Tensor()
        external: dict[str, str] = {}
        for field, kind, at, stop in self._fields(begin, end):
            if field == DIMS:
                tensor.shape += self._numbers(kind, at, stop)
            elif field == DATA_TYPE and kind == 0:
                tensor.dtype = self._varint(at, stop)[0]
            elif field == NAME and kind == 2:
                tensor.name = self._text(at, stop)
            elif field in (RAW, FLOATS, DOUBLES) and kind == 2 and tensor.start < 0:
                tensor.start, tensor.length = at, stop - at
            elif field == EXTERNAL and kind == 2:
                pair = self._pair(at, stop)
                external[pair.get(1, "")] = pair.get(2, "")
        if external:
            self._place(tensor, external)
        return tensor

    def _numbers(self, kind: int, at: int, stop: int) -> list[int]:
        found: list[int] = []
        while at < stop and len(found) <= MOST_AXES:
            number, at = self._varint(at, stop)
            found.append(number)
        return found

    def _place(self, tensor: _Tensor, external: dict[str, str]) -> None:
        """Note where a tensor lies in the file of data."""
        name = external.get("location", "")
        numbers = [external.get(key, "0") for key in ("offset", "length")]
        if not all(number.isdecimal() and len(number) < 20 for number in numbers):
            raise self._bad(f"the place of `{tensor.name}` in {name} is no number")
        tensor.file = data_file(self.path, name)
        tensor.start, tensor.length = map(int, numbers)

    def _check(self, tensor: _Tensor) -> None:
        """Note a tensor as a weight, where it can be one."""
        name, dtype = tensor.name, TYPES.get(tensor.dtype)
        if dtype is None or dtype.startswith(("int", "uint", "bool")) or not tensor.shape:
            return
        if self._is_ours and "/" in name:
            return
        if len(tensor.shape) > MOST_AXES or max(tensor.shape) >= 2**63:
            raise self._bad(f"`{name}` has a shape that is none")
        entry = Entry(dtype, tuple(tensor.shape))
        if entry.size != max(tensor.length, 0) and not dtype.startswith(("float8", "float4")):
            raise self._bad(f"`{name}` of shape {tensor.shape} has {tensor.length:,} bytes of {dtype}")
        if name in self._tensors:
            raise self._bad(f"`{name}` is there twice")
        self._tensors[name] = tensor
        self.entries[name] = entry

    def read(self, key: str) -> Array:
        tensor, entry = self._tensors[key], self.entries[key]
        halves = entry.dtype == "bfloat16"
        data = self._bytes(tensor).view(np.dtype("uint16" if halves else entry.dtype).newbyteorder("<"))
        array: np.ndarray[Any, Any] = (data.astype(np.uint32) << 16).view(np.float32) if halves else data
        return array.reshape(entry.shape)

    def _bytes(self, tensor: _Tensor) -> Any:
        if tensor.file is None:
            return self._data[tensor.start : tensor.start + tensor.length]
        with open_file(tensor.file) as file:
            if tensor.start + tensor.length > os.fstat(file.fileno()).st_size:
                raise self._bad(f"{tensor.file} ends before `{tensor.name}` does")
            if not tensor.length:
                return np.empty(0, np.uint8)
            return np.memmap(file, np.uint8, "r", tensor.start, (tensor.length,))
