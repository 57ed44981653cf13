"""Scattering, the adjoint of gathering, and one-hot encoding."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import Tensor, Value
from netdsl.ir.op import OnnxNode, Op, SameShape
from netdsl.ops.base import apply, constant, known

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Graph

__all__ = ["one_hot", "scatter_add", "spaced", "zeros"]


class ScatterElements(SameShape):
    """y = x with updates[…, i, …] added at y[…, indices[…, i, …], …] along an axis. ONNX ScatterElements."""

    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("ScatterElements", {"axis": self.axis, "reduction": "add"})


class OneHot(Op):
    """y[…, k, …] = 1 where k is the index, else 0: floats, with an additional axis of size `depth`. ONNX OneHot."""

    __slots__ = ("axis", "depth")

    def __init__(self, depth: int, axis: int) -> None:
        self.depth = depth
        self.axis = axis

    def infer(self, indices: Shape) -> Shape:
        axis = self.axis % (len(indices) + 1)
        return *indices[:axis], self.depth, *indices[axis:]

    def dtype(self, *xs: str) -> str:
        return "f32"

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        extra = {"depth": Tensor("i64", (), (self.depth,)), "values": Tensor("f32", (2,), (0.0, 1.0))}
        return OnnxNode("OneHot", {"axis": self.axis}, extra=extra)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


def zeros(graph: Graph, shape: Shape, dtype: str = "f32") -> Value:
    return ops.expand(constant(graph, 0, dtype), shape)


def scatter_add(x: Value, indices: Value, updates: Value, axis: int = 0) -> Value:
    """Scatter like torch.scatter_add. onnxruntime's ScatterND loses concurrent additions to one position."""
    return apply(ScatterElements(axis), x, indices, updates)


def one_hot(indices: Value, depth: int, axis: int = -1) -> Value:
    return apply(OneHot(depth, axis), ops.cast(indices, "i64"))


def spaced(x: Value, axis: int, step: int) -> Value:
    """Insert step - 1 zeros after each element of an axis."""
    if step == 1:
        return x
    shape = known(x.shape)
    before, after = shape[:axis], shape[axis + 1 :]
    x = ops.reshape(x, (prod(before) * shape[axis], 1, prod(after)), batch=False)
    return ops.reshape(ops.pad(x, (0, 0, step - 1, 0)), (*before, shape[axis] * step, *after), batch=False)
