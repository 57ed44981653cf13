"""Emit blocks as functions of an ONNX model, which viewers show folded and runtimes inline.

Each call of a block becomes one node. Calls with the same computation share a function, even if their shapes differ.
The inputs of a function are the values that the block reads, followed by its weights. Weights, inputs and outputs of
the model keep their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import FunctionProto, NodeProto, helper

from netdsl.backend.emit import FUNCTIONS, Names, place
from netdsl.ops.scanning import Scan

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

    from netdsl.backend.emit import Emitted
    from netdsl.base.text import Frame
    from netdsl.ir.graph import Graph, Operation
    from netdsl.ir.net import Node


class Call:
    """A call of a block. `members` are the indices of its nodes in the model, `parts` these nodes and the inner calls.

    `scope` is the common prefix of its layers' names, such as `layer1.0.`. `owners` maps the name of each weight
    to its name in the layer that reads it, which is another one if `reuse` applies a block again.
    """

    __slots__ = ("frame", "members", "owners", "parts", "scope")

    def __init__(self, frame: Frame | None, layer: str) -> None:
        self.frame = frame
        self.parts: list[int | Call] = []
        self.members: set[int] = set()
        self.owners: dict[str, str] = {}
        self.scope = layer[: layer.rfind(".") + 1]

    def add(self, at: int, node: Node | None) -> None:
        self.members.add(at)
        layer = node.name if node else ""
        if node:
            self.owners.update((parameter.name, f"{layer}.{name}") for name, parameter in node.parameters.items())
        while not layer.startswith(self.scope):
            self.scope = self.scope[: self.scope.rstrip(".").rfind(".") + 1]

    def within(self, name: str) -> str:
        """Return a name without the scope of the call; the last part of a name outside the scope."""
        return name[len(self.scope) :] if name.startswith(self.scope) else name[name.rfind(".") + 1 :]


def fold(emitted: Emitted, graph: Graph) -> None:
    """Replace the nodes of each call of a block by a node that calls a function. `graph` is the model's source."""
    model = emitted.model
    assert len(model.graph.node) == len(graph.operations), "each operation is one node"
    assert all(not isinstance(operation.op, Scan) for operation in graph.operations), "a body reads values by name"
    nodes = _Folder(model, {p.name for p in emitted.parameters}).fold(_tree(graph.operations))
    if not model.functions:
        return
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.add(domain=FUNCTIONS, version=1)


def _tree(operations: list[Operation]) -> Call:
    """Return the calls as a tree. Nodes that a pass has moved away from their call stay outside."""
    root = Call(None, "")
    path, closed = [root], set[object]()
    for at, operation in enumerate(operations):
        node = operation.origin.node if operation.origin else None
        layer = node.name if node else ""
        frames = [frame for frame in (node.frame if node else None) or () if frame.call][::-1]
        kept = 0
        while kept < min(len(frames), len(path) - 1) and path[kept + 1].frame is frames[kept]:
            kept += 1
        closed.update(call.frame for call in path[kept + 1 :])
        del path[kept + 1 :]
        for frame in frames[kept:]:
            if frame in closed:
                break
            call = Call(frame, layer)
            path[-1].parts.append(call)
            path.append(call)
        path[-1].parts.append(at)
        for call in path:
            call.add(at, node)
    return root


class _Folder:
    """Creates the functions of a model, each once."""

    def __init__(self, model: ModelProto, parameters: set[str]) -> None:
        self.model = model
        self.parameters = parameters
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.known: dict[bytes, str] = {}
        self.names = Names()
        self.nodes = Names(node.name for node in model.graph.node)
        self.readers: dict[str, set[int]] = {output.name: {-1} for output in model.graph.output}
        for at, node in enumerate(model.graph.node):
            for name in node.input:
                self.readers.setdefault(name, set()).add(at)

    def fold(self, root: Call) -> list[NodeProto]:
        """Return the nodes of the model, with calls instead of the blocks' nodes. Inner calls are folded first."""
        order, todo = list[Call](), [root]
        while todo:
            order.append(todo.pop())
            todo += [part for part in order[-1].parts if isinstance(part, Call)]
        made: dict[Call, NodeProto] = {}

        def nodes(call: Call) -> list[NodeProto]:
            return [made[part] if isinstance(part, Call) else self.model.graph.node[part] for part in call.parts]

        for call in order[:0:-1]:  # inner calls first, otherwise in source order
            made[call] = self._call(call, nodes(call))
        return nodes(root)

    def _call(self, call: Call, nodes: list[NodeProto]) -> NodeProto:
        """Return a node that calls a function with these nodes."""
        made = [name for node in nodes for name in node.output]
        outputs = [name for name in made if not self.readers.get(name, set()) <= call.members]
        read = dict.fromkeys(name for node in nodes for name in node.input if name)
        outer = [name for name in read if name not in self.constants and name not in {*made}]
        inputs = sorted(outer, key=lambda name: name in self.parameters)
        function = self._function(call, nodes, inputs, outputs)
        block = call.frame.call[0].name  # type: ignore[union-attr, index]
        key = function.SerializeToString(deterministic=True)
        if key not in self.known:
            self.known[key] = function.name = self.names.take(block.text)
            function.doc_string = f"the block {block.text} of {place(block.span)}"
            self.model.functions.append(function)
        name = self.nodes.take(call.scope.rstrip(".") or block.text)
        node = NodeProto(op_type=self.known[key], domain=FUNCTIONS, name=name, input=inputs, output=outputs)
        node.metadata_props.add(key="netdsl.source", value=place(call.frame.span))  # type: ignore[union-attr]
        return node

    def _function(self, call: Call, nodes: list[NodeProto], inputs: list[str], outputs: list[str]) -> FunctionProto:
        """Create a function. Its inputs are called `x`, `x_1`, …, its results `y`, …; other names lose the scope."""
        taken = Names()
        local = {"": ""}
        for name in inputs:
            local[name] = taken.take(call.within(call.owners[name]) if name in self.parameters else "x")
        local.update((name, taken.take("y")) for name in outputs)
        function = FunctionProto(domain=FUNCTIONS, input=[local[name] for name in inputs])
        function.output.extend(local[name] for name in outputs)
        function.opset_import.extend(self.model.opset_import)
        if any(node.domain == FUNCTIONS for node in nodes):
            function.opset_import.add(domain=FUNCTIONS, version=1)
        words = Names()
        for node in nodes:
            for name in (*node.input, *node.output):
                if name not in local:
                    local[name] = taken.take(call.within(name))
                    if name in self.constants:
                        function.node.append(_constant(self.constants[name], local[name]))
            function.node.append(_renamed(node, call, words.take(call.within(node.name)), local))
        return function


def _renamed(node: NodeProto, call: Call, name: str, local: dict[str, str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = name
    copy.input[:] = [local[each] for each in node.input]
    copy.output[:] = [local[each] for each in node.output]
    for entry in copy.metadata_props:
        if entry.key == "netdsl.layer":
            entry.value = call.within(entry.value)
    return copy


def _constant(tensor: TensorProto, name: str) -> NodeProto:
    return helper.make_node("Constant", [], [name], name=name, value=_nameless(tensor))


def _nameless(tensor: TensorProto) -> TensorProto:
    """Return a tensor without its name, which differs between equal functions."""
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    copy.ClearField("name")
    return copy
