"""Open an ONNX model: its graph without large tensors, which stay in the file until they are read.

Source: onnx.proto.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from netdsl.base.dtypes import ONNX, stored, widened
from netdsl.base.files import open_file
from netdsl.importing.errors import BadImport
from netdsl.weights.onnx_external import MESSAGES, data_file
from netdsl.weights.protobuf import MESSAGE, Protobuf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onnx import NodeProto

    from netdsl.base.dtypes import Array

    Chunk = tuple[int, int] | bytes

LARGE = 1024
"""Bytes of a tensor from which on it stays in the file."""

MAX_DEPTH = 60
"""Maximum nesting of messages."""

MAX_NODES = 200_000
"""Maximum number of nodes of a model."""

FLOATS, RAW, DOUBLES, EXTERNAL, LOCATION = 4, 9, 10, 13, 14
PACKED = (FLOATS, RAW, DOUBLES)
"""The fields of a tensor whose bytes are those of its elements."""


class OnnxFile:
    """A model, with the tensors of at least LARGE bytes as external data: those in the model itself are at the empty
    location."""

    __slots__ = ("_files", "_wire", "model", "path")

    def __init__(self, path: str) -> None:
        """Open a model. Raises BadImport, or FileProblem if it cannot be read."""
        self.path = path
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = np.memmap(file, np.uint8, "r") if size else np.empty(0, np.uint8)
        self._files: dict[str, Array] = {"": data}
        self._wire = Protobuf(data, self.bad)
        try:
            whole = b"".join(self._bytes(chunk) for chunk in self._stripped("model", 0, size, 0))
            self.model = ModelProto.FromString(whole)
        except BadImport:
            raise
        except Exception:  # protobuf's exceptions have no types
            raise self.bad("it is truncated, or not an ONNX model") from None
        if not _is_text(self.model):
            raise self.bad("a name in it is not UTF-8")
        if not self.model.HasField("graph") or not self.model.graph.node:
            raise self.bad("it has no graph, so it is not an ONNX model")
        if len(self.model.graph.node) > MAX_NODES:
            raise self.bad(f"it has {len(self.model.graph.node):,} nodes, more than {MAX_NODES:,}")
        if self.model.functions:
            if expanded(self.model) > MAX_NODES:
                raise self.bad(f"its functions have no end, or expand to more than {MAX_NODES:,} nodes")
            self.model = self._inlined()

    def bad(self, reason: str) -> BadImport:
        """Return the error for a damaged model."""
        return BadImport(f"{self.path} cannot be read: {reason}")

    def _inlined(self) -> ModelProto:
        """Return the model with the calls of its functions expanded."""
        from onnx import inliner

        try:
            return inliner.inline_local_functions(self.model)
        except Exception as error:  # its exceptions share no base class
            raise self.bad(f"its functions cannot be expanded: {str(error).splitlines()[0][:200]}") from None

    @property
    def size(self) -> int:
        """The number of bytes of the model and of its external data, as far as they were read."""
        return sum(data.size for data in self._files.values())

    # --- large tensors ---

    def _bytes(self, chunk: Chunk) -> bytes:
        if isinstance(chunk, bytes):
            return chunk
        found: bytes = self._wire.data[chunk[0] : chunk[1]].tobytes()
        return found

    def _stripped(self, message: str, at: int, end: int, depth: int) -> Iterator[Chunk]:
        """Yield the parts of a message, without the elements of large tensors."""
        if depth > MAX_DEPTH:
            raise self.bad(f"its messages are nested more than {MAX_DEPTH} deep")
        inner = MESSAGES[message]
        begin, external = at, False
        for number, kind, start, stop in self._wire.fields(at, end):
            external |= message == "tensor" and number == EXTERNAL
            if kind == MESSAGE and message == "tensor" and number in PACKED and stop - start >= LARGE and not external:
                yield self._reference(start, stop - start)
            elif kind == MESSAGE and number in inner and inner[number] != "entry":
                parts = [*self._stripped(inner[number], start, stop, depth + 1)]
                length = sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)
                yield varint(number << 3 | MESSAGE) + varint(length)
                yield from parts
            else:
                yield begin, stop
            begin = stop

    def _reference(self, offset: int, length: int) -> bytes:
        """Return the fields of a tensor whose elements are at a place of this file."""
        found = TensorProto(data_location=TensorProto.EXTERNAL)
        for key, value in (("location", ""), ("offset", str(offset)), ("length", str(length))):
            found.external_data.add(key=key, value=value)
        serialized: bytes = found.SerializeToString()
        return serialized

    # --- elements ---

    def array(self, tensor: TensorProto) -> Array:
        """Return the elements of a tensor: large ones as a view of the file. Raises BadImport."""
        shape = tuple(tensor.dims)
        kind = ONNX.get(tensor.data_type, "")
        if any(size < 0 for size in shape) or len(shape) > 32:
            raise self.bad(f"the tensor `{tensor.name}` has an invalid shape")
        if tensor.data_location != TensorProto.EXTERNAL:
            return self._small(tensor)
        dtype = np.dtype(stored(kind)).newbyteorder("<") if stored(kind) in np.sctypeDict else None
        if dtype is None:
            raise self.bad(f"the tensor `{tensor.name}` has a type that NumPy lacks")
        size = math.prod(shape) * dtype.itemsize
        data = self._elements(tensor, size)
        if data.size != size:
            raise self.bad(f"the tensor `{tensor.name}` of shape {list(shape)} has {data.size:,} bytes, not {size:,}")
        return widened(data.view(dtype), kind).reshape(shape)

    def _small(self, tensor: TensorProto) -> Array:
        try:
            found = numpy_helper.to_array(tensor)
        except Exception:  # of many kinds, for elements that are too few or of no known type
            raise self.bad(f"the tensor `{tensor.name}` has other elements than its shape and type say") from None
        return found.astype(np.float32) if found.dtype.name == "bfloat16" else found

    def place(self, tensor: TensorProto) -> tuple[str, int, int]:
        """Return the file, offset and length of a tensor's elements; a length of 0 means up to the end."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        numbers = [entries.get(key, "0") or "0" for key in ("offset", "length")]
        if not all(number.isdecimal() and len(number) < 20 for number in numbers):
            raise self.bad(f"the place of the tensor `{tensor.name}` is not a number")
        location = entries.get("location", "")
        return data_file(self.path, location) if location else "", int(numbers[0]), int(numbers[1])

    def _elements(self, tensor: TensorProto, size: int) -> Array:
        path, offset, length = self.place(tensor)
        if path not in self._files:
            with open_file(path) as file:
                held = os.fstat(file.fileno()).st_size
                self._files[path] = np.memmap(file, np.uint8, "r") if held else np.empty(0, np.uint8)
        return self._files[path][offset : offset + (length or size)]


def expanded(model: ModelProto) -> int:
    """Return the number of nodes of a model with the calls of its functions expanded, or more than MAX_NODES."""
    bodies: dict[tuple[str, str, str], list[NodeProto]] = {
        (each.domain, each.name, each.overload): _all_nodes(each.node) for each in model.functions
    }
    counts: dict[tuple[str, str, str], int] = {}
    waiting, opened = list(bodies), set()
    while waiting:
        key = waiting[-1]
        callees = [_called(node) for node in bodies[key]]
        missing = {each for each in callees if each in bodies and each not in counts}
        if key in counts or not missing:
            counts[waiting.pop()] = min(sum(counts.get(each, 1) for each in callees), MAX_NODES + 1)
        elif key in opened:  # a cycle
            return MAX_NODES + 1
        else:
            opened.add(key)
            waiting += missing
    return sum(counts.get(_called(node), 1) for node in _all_nodes(model.graph.node))


def _called(node: NodeProto) -> tuple[str, str, str]:
    return node.domain, node.op_type, node.overload


def _all_nodes(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """Return nodes, and those of the graphs in their attributes."""
    found = list(nodes)
    for node in found:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                found += graph.node
    return found


def _is_text(message: Any) -> bool:
    """Return whether all names in a message are texts: protobuf returns the bytes of those that are not."""
    waiting = [message]
    while waiting:
        for field, value in waiting.pop().ListFields():
            values = value if hasattr(value, "extend") else [value]
            if field.type == field.TYPE_STRING and any(isinstance(each, bytes) for each in values):
                return False
            if field.type == field.TYPE_MESSAGE:
                waiting += values
    return True


def varint(number: int) -> bytes:
    """Return an unsigned number as protobuf writes it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
