"""Read the weights of an ONNX model in netdsl's layout. The model is memory-mapped, never loaded as a whole.

Source: onnx.proto.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.dtypes import ONNX, stored, widened
from netdsl.base.files import open_file
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import MAX_AXES, Entry, WeightFile
from netdsl.weights.onnx_external import data_file
from netdsl.weights.onnx_graph import Derived, GraphNode, GraphReader
from netdsl.weights.onnx_roles import Roles, TensorUse
from netdsl.weights.protobuf import MESSAGE, VARINT, Protobuf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.weights.onnx_graph import Step

PRODUCER, GRAPH, METADATA, INITIALIZER, SPARSE = 2, 7, 14, 5, 15
DIMS, DATA_TYPE, FLOATS, INT32S, INT64S, NAME, RAW, DOUBLES, UINT64S, EXTERNAL = 1, 2, 4, 5, 7, 8, 9, 10, 11, 13
NUMBERS = (RAW, FLOATS, DOUBLES, INT32S, INT64S, UINT64S)
VARINTS = (INT32S, INT64S, UINT64S)
MAX_VALUES = 64
"""Maximum number of elements of an integer tensor that is read as a shape or a list of axes."""


class _Tensor:
    __slots__ = ("dtype", "field", "file", "length", "name", "numbers", "of_node", "shape", "sparse", "start")

    def __init__(self, name: str = "", dtype: int = 0, shape: tuple[int, ...] = ()) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.field = RAW
        self.file: str | None = None
        self.start = -1
        self.length = 0
        self.numbers: list[float] | None = None
        self.sparse = False
        self.of_node = False

    @property
    def kind(self) -> str:
        return ONNX.get(self.dtype, "")

    @property
    def is_float(self) -> bool:
        return self.kind.startswith(("float", "bfloat"))

    @property
    def is_small(self) -> bool:
        """Whether the type is a float of 8 bits or fewer: such tensors are listed but not read."""
        return self.kind.startswith(("float8", "float4"))


class OnnxWeights(WeightFile):
    """The weights of a model: the floating-point initializers and Constant nodes that its operators use as weights.

    The operator determines the layout (`onnx_roles`). Models written by netdsl are already in netdsl's layout; their
    constants are not weights, and have a slash in their names: `normalize1/constant`.
    """

    __slots__ = ("_data", "_is_ours", "_metadata", "_tensors", "_uses", "_wire")

    def __init__(self, path: str) -> None:
        self.path = path
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            self._data = np.memmap(file, np.uint8, "r") if size else np.empty(0, np.uint8)
        self._wire = Protobuf(self._data, self.damaged)
        self._is_ours = False
        self._metadata: dict[str, str] = {}
        self._tensors: dict[str, _Tensor] = {}
        self._uses: list[tuple[str, TensorUse]] = []
        self.entries: dict[str, Entry] = {}
        nodes = GraphReader(self._wire)
        try:
            for field, kind, begin, end in self._wire.fields(0, size):
                if (field, kind) == (PRODUCER, MESSAGE):
                    self._is_ours = self._wire.text(begin, end) == "netdsl"
                if (field, kind) == (GRAPH, MESSAGE):
                    nodes.graph(begin, end, self._note)
                if (field, kind) == (METADATA, MESSAGE):
                    pair = self._pair(begin, end)
                    self._metadata[pair.get(1, "")] = pair.get(2, "")
            self._admit_all(nodes)
        except (IndexError, UnicodeDecodeError):
            raise self.damaged("it is truncated, or not an ONNX model") from None
        if not self.entries:
            raise BadWeightFile(f"{path} is not an ONNX model with weights")

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    # --- tensors ---

    def _note(self, field: int, begin: int, end: int) -> None:
        """Record the tensor if a field of a graph is an initializer, dense or sparse."""
        if field == INITIALIZER:
            self._add(self._tensor(begin, end))
        elif field == SPARSE:
            self._add(self._sparse(begin, end))

    def _add(self, tensor: _Tensor) -> None:
        if len(tensor.shape) > MAX_AXES or any(size < 0 for size in tensor.shape):
            raise self.damaged(f"`{tensor.name}` has an invalid shape")
        if tensor.name in self._tensors:
            raise self.damaged(f"`{tensor.name}` occurs twice")
        self._tensors[tensor.name] = tensor

    def _sparse(self, begin: int, end: int) -> _Tensor:
        """Read the name, type and shape of a sparse tensor, but not its values."""
        tensor = _Tensor()
        shape: list[int] = []
        for field, kind, at, stop in self._wire.fields(begin, end):
            if field == 1 and kind == MESSAGE:
                tensor = self._tensor(at, stop)
            elif field == 3 and kind in (MESSAGE, VARINT):
                shape += self._wire.integers(at, stop)
        tensor.shape = tuple(shape)
        tensor.sparse = True
        return tensor

    def _pair(self, begin: int, end: int) -> dict[int, str]:
        """Return the strings of a StringStringEntryProto by field number: 1 is the key, 2 the value."""
        return {field: self._wire.text(a, b) for field, kind, a, b in self._wire.fields(begin, end) if kind == MESSAGE}

    def _tensor(self, begin: int, end: int) -> _Tensor:
        tensor = _Tensor()
        external: dict[str, str] = {}
        shape: list[int] = []
        for field, kind, at, stop in self._wire.fields(begin, end):
            if field == DIMS and kind in (MESSAGE, VARINT):
                shape += self._wire.integers(at, stop)
            elif field == DATA_TYPE and kind == VARINT:
                tensor.dtype = self._wire.varint(at, stop)[0]
            elif field == NAME and kind == MESSAGE:
                tensor.name = self._wire.text(at, stop)
            elif field in NUMBERS and kind == MESSAGE and tensor.start < 0:
                tensor.field, tensor.start, tensor.length = field, at, stop - at
            elif field == EXTERNAL and kind == MESSAGE:
                pair = self._pair(at, stop)
                external[pair.get(1, "")] = pair.get(2, "")
        tensor.shape = tuple(shape)
        if external:
            self._place(tensor, external)
        return tensor

    def _place(self, tensor: _Tensor, external: dict[str, str]) -> None:
        """Record the location of a tensor in an external data file."""
        name = external.get("location", "")
        numbers = [external.get(key, "0") for key in ("offset", "length")]
        if not all(number.isdecimal() and len(number) < 20 for number in numbers):
            raise self.damaged(f"the offset of `{tensor.name}` in {name} is not a number")
        tensor.field = RAW
        tensor.file = data_file(self.path, name)
        tensor.start, tensor.length = map(int, numbers)

    def _of_node(self, node: GraphNode) -> Derived | None:
        """Return the value of a Constant node; None if it is not numeric."""
        name = node.outputs[0]
        match node.attributes:
            case {"value": (int(begin), int(end))}:
                tensor = self._tensor(begin, end)
            case {"sparse_value": (int(begin), int(end))}:
                tensor = self._sparse(begin, end)
            case {"value_floats": [*floats]}:
                tensor = _Tensor(dtype=1, shape=(len(floats),))
                tensor.numbers = [float(each) for each in floats]  # type: ignore[arg-type]
            case {"value_ints": [*whole]}:
                return Derived(name, (len(whole),), values=node.integers("value_ints"))
            case {"value_int": int(number)}:
                return Derived(name, (), values=[number])
            case _:
                return None
        tensor.name = name
        tensor.of_node = True
        self._add(tensor)
        return self._constant(tensor)

    def _constant(self, tensor: _Tensor) -> Derived:
        """Return a tensor as a constant of the graph, with its values if these can be a shape or axes."""
        few = tensor.kind in ("int64", "int32") and len(tensor.shape) < 2 and math.prod(tensor.shape) <= MAX_VALUES
        values = self._array(tensor).reshape(-1).tolist() if few and tensor.file is None and not tensor.sparse else None
        return Derived(tensor.name, tensor.shape, values=values)

    def _is_all(self, constant: Derived, number: float) -> bool:
        tensor = self._tensors.get(constant.root)
        return tensor is not None and not tensor.sparse and bool((self._array(tensor) == number).all())

    # --- weights ---

    def _admit_all(self, nodes: GraphReader) -> None:
        """Create the entries, in the order in which the graph uses the weights; unused tensors come last."""
        if self._is_ours:
            for name in [name for name in self._tensors if "/" in name]:
                del self._tensors[name]
        self._is_ours &= all(node.op != "DequantizeLinear" for node in nodes.nodes)
        if self._is_ours:
            for name, tensor in self._tensors.items():
                if tensor.is_float and tensor.shape:
                    self._check(tensor)
                    self.entries[name] = Entry(tensor.kind, tensor.shape)
            return
        constants = {name: self._constant(each) for name, each in self._tensors.items()}
        roles = Roles(constants, nodes.ranks, self._of_node, self._is_all)
        for node in nodes.nodes:
            roles.read(node)
        uses = self._named(roles.uses)
        for key, found in uses.items():
            self._admit(key, found)
        used = {use.constant.root for found in uses.values() for use in found} | roles.passed
        for name, tensor in self._tensors.items():
            if name not in used and not tensor.of_node:
                self._admit(name, [TensorUse(Derived(name, tensor.shape), "", "", 0, unclear="is used by no node")])

    def _named(self, uses: list[TensorUse]) -> dict[str, list[TensorUse]]:
        """Group the uses by weight name: the name of the initializer, or of an Identity node if several nodes Identity
        give it several names, as exporters do for shared weights."""
        names: dict[str, set[str]] = {}
        for use in uses:
            names.setdefault(use.constant.root, set()).add(use.constant.name)
        found: dict[str, list[TensorUse]] = {}
        for use in uses:
            root = use.constant.root
            key = root if len(names[root]) == 1 else use.constant.name
            if found.setdefault(key, [use])[0].constant.root != root:
                raise self.damaged(f"`{key}` occurs twice")
            if found[key][-1] is not use:
                found[key].append(use)
        return found

    def _admit(self, key: str, uses: list[TensorUse]) -> None:
        """Create the entry of a tensor if it is a weight."""
        use = next((each for each in uses if each.unclear), uses[0])
        tensor = self._tensors.get(use.constant.root)
        if tensor is None or not (tensor.shape or use.op == "PRelu"):
            return
        if tensor.is_small:
            self.entries[key] = Entry(tensor.kind, tensor.shape)
            return
        if any((each.constant.steps, each.channels) != (use.constant.steps, use.channels) for each in uses):
            use.unclear = use.unclear or "is used by several nodes, in different orientations"
        if tensor.sparse:
            use.unclear = use.unclear or "is sparse"
        if use.unclear and (tensor.of_node or not tensor.is_float):
            return
        if tensor.of_node and use.op in ("Add", "Mul") and math.prod(tensor.shape) == 1:
            return
        dtype = use.constant.dtype or tensor.kind
        if not tensor.is_float and not use.constant.dtype:
            return
        if not tensor.sparse:
            self._check(tensor)
        self.entries[key] = Entry(dtype, tensor.shape if use.unclear else use.constant.shape, use)
        self._uses += [(key, each) for each in uses]

    def _check(self, tensor: _Tensor) -> None:
        """Check that a tensor has as many bytes as its shape and type require."""
        if tensor.field in VARINTS or tensor.numbers is not None:
            return
        if not tensor.is_small and Entry(tensor.kind, tensor.shape).size != max(tensor.length, 0):
            shape = list(tensor.shape)
            raise self.damaged(f"`{tensor.name}` of shape {shape} has {tensor.length:,} bytes of {tensor.kind}")

    @property
    def layers(self) -> list[dict[str, str]] | None:
        if self._is_ours:
            return None
        found: dict[int, dict[str, str]] = {}
        for key, use in self._uses:
            found.setdefault(use.layer, {}).setdefault(use.word, key)
        return [found[layer] for layer in sorted(found)]

    def read(self, key: str) -> Array:
        use = self.entries[key].use
        if use is None:
            return self._array(self._tensors[key])
        array = self._array(self._tensors[use.constant.root])
        if not use.unclear:
            with np.errstate(over="ignore", invalid="ignore"):  # CheckedWeights checks the values
                for step in use.constant.steps:
                    array = self._changed(array, step)
        return array

    def _changed(self, array: Array, step: Step) -> Array:
        kind, *how = step
        simple: dict[str, Callable[..., Array]] = {
            "transpose": array.transpose,
            "reshape": array.reshape,
            "scale": lambda factor: array * np.float32(factor),
            "cast": array.astype,
        }
        if kind in simple:
            return simple[kind](*how)
        names, axis = how
        scale, *zero = (self._array(self._tensors[name]).reshape(-1).astype(np.float32) for name in names)
        around = (-1, *(1 for _ in array.shape[axis + 1 :])) if scale.size > 1 else (1,) * max(array.ndim, 1)
        shift = zero[0].reshape(around if zero[0].size > 1 else (1,)) if zero else 0
        return ((array.astype(np.float32) - shift) * scale.reshape(around)).reshape(array.shape)

    def _array(self, tensor: _Tensor) -> Array:
        """Return the values of a tensor; bfloat16 is converted to float32."""
        kind, count = tensor.kind, math.prod(tensor.shape)
        if tensor.numbers is not None:
            return np.array(tensor.numbers, np.float32)
        dtype = np.dtype(stored(kind) or "uint8").newbyteorder("<")
        if tensor.field in VARINTS:
            listed = self._wire.varints(tensor.start, tensor.start + tensor.length)
            data = listed.astype("uint16").view(dtype) if kind in ("float16", "bfloat16") else listed.astype(dtype)
        else:
            data = self._bytes(tensor)
            data = data[: data.size - data.size % dtype.itemsize].view(dtype)
        if data.size != count:
            raise self.damaged(f"`{tensor.name}` of shape {list(tensor.shape)} has {data.size:,} elements")
        return widened(data, kind).reshape(tensor.shape)

    def _bytes(self, tensor: _Tensor) -> Array:
        if tensor.file is None:
            return self._data[tensor.start : tensor.start + tensor.length]
        with open_file(tensor.file) as file:
            if tensor.start + tensor.length > os.fstat(file.fileno()).st_size:
                raise self.damaged(f"{tensor.file} ends before `{tensor.name}` does")
            if not tensor.length:
                return np.empty(0, np.uint8)
            return np.memmap(file, np.uint8, "r", tensor.start, (tensor.length,))
