"""Adversarial training: a share of the loss is computed on inputs perturbed with the fast gradient sign method.

Source: Goodfellow, Shlens & Szegedy (2015), Explaining and harnessing adversarial examples, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.data.augment import Fgsm
from netdsl.ir.op import SameShape
from netdsl.ops.base import apply
from netdsl.ops.elementwise import Cast, Identity
from netdsl.passes.gradient import gradients

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netdsl.data.augment import Augmentation
    from netdsl.ir.graph import Graph, Value
    from netdsl.ir.op import OnnxNode


class Still(SameShape):
    """y = x with a gradient of zero. ONNX Identity."""

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return Identity().onnx(opset, *xs)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


def adversarial_loss(graph: Graph, loss: Value, augment: Iterable[Augmentation]) -> Value:
    """Return the loss with a recipe's `fgsm`: (1 - part) J(x) + part J(x + epsilon sign(dJ/dx)).

    The perturbed batch passes through the same layers with the same weights and dropout masks. Its batch statistics are
    its own, and do not enter the running statistics.
    """
    for step in augment:
        if isinstance(step, Fgsm):
            attacked = substitute(loss, _perturbed(graph, loss, step))
            loss = attacked if step.part == 1 else ops.add(ops.mul(loss, 1 - step.part), ops.mul(attacked, step.part))
    return loss


def _perturbed(graph: Graph, loss: Value, how: Fgsm) -> dict[Value, Value]:
    """Return the perturbed value of each input."""
    assert graph.origin is not None
    given = (graph.inputs[node.name] for node in graph.origin.inputs)
    xs = [_pixels(graph, x) for x in given if x.dtype != "i64"]
    found = {x: g for x, g in zip(xs, gradients(loss, xs), strict=True) if g is not None}
    assert found, f"`check` rejects a recipe whose loss, as that of {graph.name}, has no gradient at an input"
    step = how.epsilon * (how.high - how.low)
    return {
        x: apply(Still(), ops.clip(ops.add(x, ops.mul(ops.sign(g), step)), how.low, how.high)) for x, g in found.items()
    }


def _pixels(graph: Graph, x: Value) -> Value:
    """Return an input in the form that the net computes with; bytes are converted to floating point first."""
    for operation in graph.operations:
        if operation.inputs == (x,) and isinstance(operation.op, Cast):
            return operation.outputs[0]
    return x


def substitute(y: Value, substitutes: Mapping[Value, Value]) -> Value:
    """Return a value with other values substituted, recomputing all values that depend on them."""
    graph, values = y.graph, dict(substitutes)
    assert y.producer is not None
    for operation in graph.operations[: graph.operations.index(y.producer) + 1]:
        if not values.keys().isdisjoint(operation.inputs):
            begin = len(graph.operations)
            made = graph.apply(operation.op, *(values.get(x, x) for x in operation.inputs))
            graph.operations[begin].origin = operation.origin
            values.update(zip(operation.outputs, made, strict=True))
    return values[y]
