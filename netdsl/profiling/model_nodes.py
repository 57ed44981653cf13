"""The nodes of a model without its weights: as it is in its file, or as onnxruntime optimized it."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl.backend.session import not_a_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

SOURCE, LAYER = "netdsl.source", "netdsl.layer"
"""Keys of a node's metadata: its place in a source, and its layer."""


class ModelNode:
    """A node of a model; `source` is `resnet.net:14:3`, and `layer` the path of its layer, if netdsl wrote them.
    `inputs` include the values that a body reads from around it."""

    __slots__ = ("inputs", "layer", "name", "op", "outputs", "source")

    def __init__(
        self, name: str, op: str, inputs: Iterable[str], outputs: Iterable[str], source: str = "", layer: str = ""
    ) -> None:
        self.name = name
        self.op = op
        self.inputs = tuple(filter(None, inputs))
        self.outputs = tuple(filter(None, outputs))
        self.source = source
        self.layer = layer

    def __repr__(self) -> str:
        return f"<{self.op} {self.name}>"


class Weight(NamedTuple):
    """The shape of a weight, and its size in bytes."""

    shape: tuple[int, ...]
    size: int


class ModelNodes:
    """The nodes of a model in a valid order of execution, and its weights by name."""

    __slots__ = ("nodes", "weights")

    def __init__(self, nodes: list[ModelNode], weights: dict[str, Weight]) -> None:
        self.nodes = nodes
        self.weights = weights


def read_model(path: str) -> ModelProto:
    """Return the model of a file, without weights that are external data. Raises BadModel."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError:
        raise not_a_model(path) from None


def inlined(model: ModelProto) -> ModelProto:
    """Return a model with the bodies of its functions in place of their calls, and different names for the nodes and
    layers of each call: onnxruntime's own names do not tell which call a node comes from."""
    from onnx.inliner import inline_local_functions

    found: ModelProto = inline_local_functions(model)
    for node in found.graph.node:
        call = re.search(r"(__\d+)+$", node.name)
        for entry in node.metadata_props:
            if call is not None and entry.key == LAYER and not entry.value.endswith(call[0]):
                entry.value += call[0]
    return found


def model_nodes(model: ModelProto) -> ModelNodes:
    """Return the nodes of a model, with the names of `node_names`."""
    weights = {each.name: _weight(each) for each in model.graph.initializer}
    named = zip(model.graph.node, node_names(model), strict=True)
    return ModelNodes([_node(node, name) for node, name in named], weights)


def node_names(model: ModelProto) -> Iterator[str]:
    """Yield the names of a model's nodes. One without a name, or with that of an earlier one, gets the name of its
    first result."""
    taken: set[str] = set()
    for node in model.graph.node:
        name = node.name if node.name and node.name not in taken else next(filter(None, node.output), "")
        taken.add(name)
        yield name


def _weight(tensor: TensorProto) -> Weight:
    from onnx.helper import tensor_dtype_to_np_dtype

    shape = tuple(tensor.dims)
    return Weight(shape, prod(shape) * int(tensor_dtype_to_np_dtype(tensor.data_type).itemsize))


def _node(node: NodeProto, name: str) -> ModelNode:
    about = {entry.key: entry.value for entry in node.metadata_props}
    inputs = [*node.input, *_captured(node)]
    return ModelNode(name, node.op_type, inputs, node.output, about.get(SOURCE, ""), about.get(LAYER, ""))


def _captured(node: NodeProto) -> Iterator[str]:
    """Yield the names that the bodies of a node read and do not define."""
    todo = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    while todo:
        body: GraphProto = todo.pop()
        known = {value.name for value in (*body.input, *body.initializer)}
        for inner in body.node:
            yield from (name for name in inner.input if name not in known)
            known.update(inner.output)
            todo += [attribute.g for attribute in inner.attribute if attribute.HasField("g")]
