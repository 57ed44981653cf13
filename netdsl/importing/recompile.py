"""Compile the text of an imported net again, and compare it with the flat list layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Source
from netdsl.declare.arguments import LayerLabel, Operand
from netdsl.diagnostics.formats import short
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import Report
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.library import Library
from netdsl.elaborate.net import elaborate, entry_net, resolve
from netdsl.importing.text import output_names

if TYPE_CHECKING:
    from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight
    from netdsl.ir.net import Net, Node


class Differs(Exception):
    """A text that is not the net of the flat list; the text says where."""


class ModelFailed(Differs):
    """A model that fails when it runs; the text says how."""


def recompiled(text: str, name: str) -> Net:
    """Return the only net of a text. Raises Differs if it has errors."""
    report = Report()
    module = Library(report).load(Source(name, text), name)
    try:
        net = elaborate(resolve(*entry_net(module, None), {}))
    except (Rejected, Poisoned) as error:
        raise Differs(str(error)) from None
    if report.errors or net is None:
        raise Differs("\n".join(short(problem) for problem in report if problem.severity == "error"))
    return net


def compared(flat: FlatNet, net: Net) -> dict[FlatLayer, Node]:
    """Return the node of each layer that reaches an output. Raises Differs unless both have the same layers, with the
    same arguments, inputs, shapes and shared weights."""
    names = output_names(flat)
    if {*names.values()} != {*net.outputs}:
        raise Differs(f"the outputs are {', '.join(net.outputs)}, not {', '.join(names.values())}")
    found: dict[FlatLayer, Node] = {}
    waiting = [(layer, net.outputs[names[name]].node) for name, layer in flat.outputs.items()]
    while waiting:
        layer, node = waiting.pop()
        while node.layer.kind == "identity" != layer.kind:
            (node,) = node.inputs
        if layer in found:
            if found[layer] is not node:
                raise Differs(f"{layer} is both {found[layer]} and {node}")
            continue
        _compare(layer, node)
        found[layer] = node
        waiting += zip(layer.inputs, node.inputs, strict=True)
    for layer, node in found.items():
        if layer.shares is not None and node.parameters.get("weight") is not found[layer.shares].parameters.get(
            "weight"
        ):
            raise Differs(f"{node} does not share the weights of {found[layer.shares]}")
    if len({*found.values()}) < len(found):
        raise Differs("two layers are one")
    return found


def _compare(layer: FlatLayer, node: Node) -> None:
    """Raise Differs unless a node has the kind, the arguments, the number of inputs and the shape of a layer."""
    if layer.kind != node.layer.kind or layer.shape != node.shape or len(layer.inputs) != len(node.inputs):
        raise Differs(f"{layer} is {node}")
    for name, argument in layer.layer.arguments.items():
        mine, other = getattr(layer.layer, name), getattr(node.layer, name)
        if isinstance(argument.kind, (Operand, LayerLabel)):
            mine, other = mine is not None, other is not None
        follows = layer.kind == "slice" and name == "stop"  # from `start` and the shape
        if _plain(mine) != _plain(other) and not follows:
            raise Differs(f"`{name}` of {layer} is {other} in {node}, not {mine}")


def _plain(value: object) -> object:
    """Return an argument as it is compared: one number for equal ones, and nothing for initializers."""
    from netdsl.ir.init import Init

    if isinstance(value, Init):
        return None
    return value[0] if isinstance(value, tuple) and len({*value}) == 1 else value


def named_weights(found: dict[FlatLayer, Node], net: Net) -> dict[str, FlatWeight]:
    """Return the weights by their names in the net, in its order."""
    named = {
        node.parameters[role].name: weight for layer, node in found.items() for role, weight in layer.weights.items()
    }
    return {name: named[name] for name in net.parameters if name in named}
