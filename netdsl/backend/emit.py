"""Emit a graph as an ONNX model without its weights, which `serialize` adds. Equal graphs give equal bytes.

onnx checks the model with the weights as inputs (`Emitted.skeleton`).
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from netdsl.base import limits
from netdsl.base.dtypes import bfloat16_bits
from netdsl.base.size import Size
from netdsl.base.version import VERSION
from netdsl.data.indices import INDICES, index_inputs
from netdsl.ir.graph import Constant
from netdsl.ir.names import LEAST, WRITER
from netdsl.passes.rewrite import expand_macros

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netdsl.base.shape import Dim
    from netdsl.base.text import Span
    from netdsl.ir.graph import Graph, Operation, Origin, Tensor, Value
    from netdsl.ir.net import Net, Parameter

OPSETS = range(17, 27)
"""Supported opsets, with which every op is tested in onnxruntime."""

ELEMENT_TYPES = {
    "f16": (TensorProto.FLOAT16, "<f2"),
    "bf16": (TensorProto.BFLOAT16, "<u2"),
    "f32": (TensorProto.FLOAT, "<f4"),
    "f64": (TensorProto.DOUBLE, "<f8"),
    "u8": (TensorProto.UINT8, "|u1"),
    "u32": (TensorProto.UINT32, "<u4"),
    "i32": (TensorProto.INT32, "<i4"),
    "i64": (TensorProto.INT64, "<i8"),
    "bool": (TensorProto.BOOL, "|b1"),
}
"""ONNX number, and type in NumPy, of each element type; NumPy has the bits of bf16."""

FUNCTIONS = "netdsl"
"""Domain of a model's functions."""

NEXT = ".next"
"""Suffix of the output with the new value of a state tensor: `conv1.weight.next`."""


class Emitted:
    """A model without its weights: `parameters`, of type `dtype`, will be written in this order."""

    __slots__ = ("dtype", "model", "parameters")

    def __init__(self, model: ModelProto, parameters: tuple[Parameter, ...], dtype: str) -> None:
        self.model = model
        self.parameters = parameters
        self.dtype = dtype

    @property
    def skeleton(self) -> ModelProto:
        """Return a valid model with the weights as inputs."""
        skeleton = ModelProto()
        skeleton.CopyFrom(self.model)
        skeleton.graph.input.extend(_value_info(p.name, p.shape, self.dtype) for p in self.parameters)
        return skeleton


class Names:
    """Generates unique names: the second `relu` is `relu_1`."""

    __slots__ = ("_count", "_taken")

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken: set[str] = set()
        self._count: dict[str, int] = {}
        for name in reserved:
            assert name not in self._taken, f"two values are called {name}"
            self._taken.add(name)

    def take(self, wanted: str) -> str:
        name = wanted
        while name in self._taken:
            self._count[wanted] = self._count.get(wanted, 0) + 1
            name = f"{wanted}_{self._count[wanted]}"
        self._taken.add(name)
        return name


@limits.kept()
def emit(graph: Graph, *, opset: int = 21, float_type: str = "f32", lean: bool = False) -> Emitted:
    """Emit a graph at an opset. With `float_type` f64, every f32 becomes f64, for tests by finite differences.

    A `lean` model is for a session of our own, which keeps all of it in memory, and needs kilobytes for each value:
    equal constants are one, the results of nodes have short names, and nodes have no metadata.
    """
    assert opset in OPSETS, opset
    graph = expand_macros(graph, opset)
    model = ModelProto()
    model.opset_import.add(domain="", version=opset)
    # Nodes have metadata since IR version 10.
    model.ir_version = max(10, helper.find_min_ir_version_for(list(model.opset_import)))
    model.producer_name = "netdsl"
    model.producer_version = VERSION
    if graph.origin:
        model.doc_string = graph.origin.doc
        for key, value in _metadata(graph.origin, model.producer_version):
            model.metadata_props.add(key=key, value=value)
    emitter = _Emitter(graph, model.graph, opset, float_type)
    emitter.merged = {} if lean else None
    emitter.run()
    for domain in sorted(emitter.domains):
        model.opset_import.add(domain=domain, version=1)
    within = () if graph.state else tuple(p.declaration for p in graph.parameters.values())
    return Emitted(model, within, emitter.typed(graph.dtype))


def check(emitted: Emitted) -> None:
    """Run onnx's full checker, with shape inference. A failure is a bug in netdsl. Ops of other domains are not
    checked."""
    if any(each.domain not in ("", FUNCTIONS) for each in emitted.model.opset_import):
        return
    onnx.checker.check_model(emitted.skeleton, full_check=True)


class _Emitter:
    """Writes a graph into a GraphProto. `name` is the prefix of the names of its nodes: that of the node whose body it
    is."""

    def __init__(self, graph: Graph, proto: GraphProto, opset: int, float_type: str) -> None:
        self.graph = graph
        self.proto = proto
        self.opset = opset
        self.float_type = float_type
        self.name = ""
        self.domains: set[str] = set()
        self.merged: dict[tuple[object, ...], str] | None = None
        before = {name: s.before for name, s in graph.state.items() if name not in graph.parameters}
        after = {name + NEXT: s.after for name, s in graph.state.items()}
        ends = [*chain.from_iterable(e.items() for e in (graph.inputs, graph.outputs, graph.parameters, before, after))]
        self.nodes = Names(chain(graph.inputs, graph.parameters, before))  # some tools show these as nodes too
        self.values = Names(name for name, _ in ends)
        self.name_of: dict[Value, str] = {value: name for name, value in ends}
        assert len(self.name_of) == len(ends), "a value has two names"

    def run(self) -> None:
        graph, proto = self.graph, self.proto
        proto.name = graph.name
        for name, x in graph.inputs.items():
            proto.input.append(_value_info(name, x.shape, self.typed(x.dtype)))
        for operation in graph.operations:
            self.node(operation)
        for name, y in graph.outputs.items():
            proto.output.append(_value_info(name, y.shape, self.typed(y.dtype)))
        if graph.state:
            self.state()

    def state(self) -> None:
        """Emit the state of a training step: parameters and other state as inputs, their new values as outputs."""
        changed = {name: s.before for name, s in self.graph.state.items()}
        for name, x in {**self.graph.parameters, **changed}.items():
            self.proto.input.append(_value_info(name, x.shape, self.typed(x.dtype)))
        for name, x in changed.items():
            self.proto.output.append(_value_info(name + NEXT, x.shape, self.typed(x.dtype)))

    def typed(self, dtype: str) -> str:
        return self.float_type if dtype == "f32" else dtype

    def node(self, operation: Operation) -> None:
        form = operation.op.onnx(self.opset, *operation.inputs)
        layer = operation.origin.name if operation.origin else self.name
        name = self.nodes.take(operation.outputs[0].name or "/".join(filter(None, (layer, form.op_type))))
        given = [self.input(x, name) for x in operation.inputs]
        inputs = given if form.order is None else ["" if at is None else given[at] for at in form.order]
        explicit = len(inputs) - form.captured
        inputs, captured = inputs[:explicit], inputs[explicit:]
        for role, tensor in form.extra.items():
            inputs.append(self.initializer(tensor, f"{name}/{role}") if tensor else "")
        while not inputs[-1]:
            inputs.pop()
        for y in operation.outputs:
            if y not in self.name_of:
                self.name_of[y] = self.values.take(name if self.merged is None else f"{len(self.name_of):x}")
        proto = self.proto.node.add(
            op_type=form.op_type, name=name, input=inputs, output=[self.name_of[y] for y in operation.outputs]
        )
        if form.domain:
            proto.domain = form.domain
            self.domains.add(form.domain)
        types = {key: ELEMENT_TYPES[self.typed(dtype)][0] for key, dtype in form.types.items()}
        for key, value in sorted({**form.attributes, **types}.items()):
            proto.attribute.append(helper.make_attribute(key, value))
        if form.body is not None:
            proto.attribute.append(helper.make_attribute("body", self.body(form.body, name, captured)))
        if operation.origin and self.merged is None:
            _annotate(proto, operation.origin)

    def body(self, graph: Graph, name: str, captured: list[str]) -> GraphProto:
        """Return the body of a node. Names are unique in the whole model; those of captured values are the outer
        ones."""
        proto = GraphProto(name=graph.name)
        inner = _Emitter(graph, proto, self.opset, self.float_type)
        inner.name, inner.domains, inner.nodes, inner.values = name, self.domains, self.nodes, self.values
        explicit = len(graph.inputs) - len(captured)
        own = (self.values.take(f"{name}/{each}") for each in [*graph.inputs][:explicit])
        inner.name_of = dict(zip(graph.inputs.values(), (*own, *captured), strict=True))
        inner.name_of.update((y, self.values.take(f"{name}/{each}")) for each, y in graph.outputs.items())
        for operation in graph.operations:
            inner.node(operation)
        for infos, values in (
            (proto.input, [*graph.inputs.values()][:explicit]),
            (proto.output, graph.outputs.values()),
        ):
            infos.extend(_value_info(inner.name_of[x], x.shape, self.typed(x.dtype)) for x in values)
        return proto

    def input(self, x: Value, user: str) -> str:
        if x not in self.name_of:
            assert isinstance(x, Constant), f"{x!r} is used before it is computed"
            self.name_of[x] = self.initializer(x.tensor, f"{user}/constant")
        return self.name_of[x]

    def initializer(self, tensor: Tensor, wanted: str) -> str:
        data_type, bytes_type = ELEMENT_TYPES[self.typed(tensor.dtype)]
        with np.errstate(over="ignore"):  # out of range for f16 means no limit
            data = bfloat16_bits(np.array(tensor.data, "f4")) if tensor.dtype == "bf16" else tensor.data
            raw = np.array(data, dtype=bytes_type).tobytes()
        key = data_type, tensor.shape, raw
        if self.merged is not None and key in self.merged:
            return self.merged[key]
        name = self.values.take(wanted if self.merged is None else f"{len(self.name_of):x}")
        if self.merged is not None:
            self.merged[key] = name
        self.proto.initializer.add(name=name, dims=tensor.shape, data_type=data_type, raw_data=raw)
        return name


def _value_info(name: str, shape: tuple[Dim, ...], dtype: str) -> ValueInfoProto:
    dims = [size if isinstance(size, int) else str(size) for size in shape]
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype][0], dims)


def _annotate(proto: NodeProto, origin: Origin) -> None:
    """Record the source location of a node, `resnet.net:14:3`, for error messages and profilers of runtimes."""
    if origin.span:
        proto.metadata_props.add(key="netdsl.source", value=place(origin.span))
    if origin.node:
        proto.metadata_props.add(key="netdsl.layer", value=origin.node.name)
    if origin.phase:
        proto.metadata_props.add(key="netdsl.phase", value=origin.phase)


def place(span: Span) -> str:
    """Format a source location as `resnet.net:14:3`."""
    line, column = span.source.position(span.start)
    return f"{_file_name(span.source.name)}:{line}:{column}"


def _file_name(name: str) -> str:
    """Return the last part of a path, so that models do not depend on the machine or the folder."""
    return name.replace("\\", "/").rpartition("/")[2]


def _metadata(net: Net, version: str) -> Iterator[tuple[str, str]]:
    """Yield the metadata of a model as keys and strings."""
    yield WRITER, version
    yield "netdsl.source", _file_name(net.source.name)
    yield "netdsl.source_sha256", net.source.digest
    for prefix, table in (("netdsl.set", net.settings), ("netdsl.about", net.about)):
        for key, value in table.items():
            yield f"{prefix}.{key}", value if isinstance(value, str) else json.dumps(value, default=_plain)
    for node in net.inputs:
        if preprocessing := getattr(node.layer, "preprocessing", None):
            yield f"netdsl.input.{node.name}", json.dumps(preprocessing)
    if indices := index_inputs(net):
        yield INDICES, " ".join(indices)
    for symbol, least in _least_sizes(net).items():
        yield LEAST + symbol, str(least)


def _least_sizes(net: Net) -> dict[str, int]:
    """Return the smallest value of each named size for which no result is empty, if it is not 1."""
    from netdsl.lower import live

    found: dict[str, int] = {}
    for size in dict.fromkeys(size for node in live(net) for size in node.shape if isinstance(size, Size)):
        least = size.least()
        if least is not None and least > found.get(size.symbols[0], 1):
            found[size.symbols[0]] = least
    return found


def _plain(value: object) -> object:
    """Return the value of a setting as JSON data: a block by its name."""
    return getattr(value, "name", type(value).__name__)
