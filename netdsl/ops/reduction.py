"""Reductions of axes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import Reach
from netdsl.ops.base import apply, ints, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["arg_max", "dot_by_channel", "reduce_max", "reduce_mean", "reduce_sum", "sum_by_channel", "top_k"]


class Reduce(Op):
    """Reduce `axes`, which keep size 1 with `keepdims` and are removed otherwise."""

    __slots__ = ("axes", "keepdims")
    axes_as_input_from = 18

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes = axes
        self.keepdims = keepdims

    def infer(self, x: Shape) -> Shape:
        gone = {axis % len(x) for axis in self.axes}
        if self.keepdims:
            return tuple(1 if i in gone else size for i, size in enumerate(x))
        return tuple(size for i, size in enumerate(x) if i not in gone)

    def kept(self, y: Value, x: Value) -> Value:
        """Return a result with its reduced axes as size 1."""
        gone = {axis % len(x.shape) for axis in self.axes}
        shape = tuple(1 if i in gone else size for i, size in enumerate(x.shape))
        return y if self.keepdims else ops.reshape(y, shape, batch=False)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        gone = {each % len(xs[0]) for each in self.axes}
        return None if axis in gone else Reach(axis - (0 if self.keepdims else sum(each < axis for each in gone)))

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        keep = {"keepdims": int(self.keepdims)}
        if opset < self.axes_as_input_from:
            return OnnxNode(type(self).__name__, keep | {"axes": self.axes})
        return OnnxNode(type(self).__name__, keep, extra={"axes": ints(*self.axes)})


class ReduceMean(Reduce):
    """The mean. ONNX ReduceMean."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        (x,) = xs
        each = ops.mul(dy, prod(known(y.shape)) / prod(known(x.shape)))
        return (ops.expand(self.kept(each, x), x.shape),)


class ReduceMax(Reduce):
    """The maximum; ties share the gradient equally, as in torch.amax. ONNX ReduceMax."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        (x,) = xs
        won = ops.cast(ops.equal(x, self.kept(y, x)), x.dtype)
        return (ops.mul(won, ops.div(self.kept(dy, x), reduce_sum(won, self.axes))),)


class ReduceSum(Reduce):
    """The sum. ONNX ReduceSum."""

    __slots__ = ()
    axes_as_input_from = 13

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.expand(self.kept(dy, xs[0]), xs[0].shape),)


class ArgMax(Op):
    """The index of the first maximum along an axis, i64. ONNX ArgMax."""

    __slots__ = ("axis", "keepdims")

    def __init__(self, axis: int, keepdims: bool) -> None:
        self.axis = axis
        self.keepdims = keepdims

    def infer(self, x: Shape) -> Shape:
        return Reduce((self.axis,), self.keepdims).infer(x)

    def dtype(self, *xs: str) -> str:
        return "i64"

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reduce((self.axis,), self.keepdims).reach(at, axis, y, *xs)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("ArgMax", {"axis": self.axis, "keepdims": int(self.keepdims)})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


class TopK(Op):
    """The k largest elements along an axis in descending order, and their indices as i64. ONNX TopK.

    Of equal elements, the one of lower index comes first.
    """

    __slots__ = ("axis", "k")

    def __init__(self, k: int, axis: int) -> None:
        self.k = k
        self.axis = axis

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        (x,) = xs
        y = (*x[: self.axis], self.k, *x[self.axis + 1 :])
        return y, y

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[0], "i64"

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None if axis == self.axis else Reach(axis)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("TopK", {"axis": self.axis}, extra={"k": ints(self.k)})

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        """Each of the k elements receives its gradient; the indices have none."""
        dy, (x,) = dys[0], xs
        return (None if dy is None else ops.scatter_add(ops.zeros(x.graph, x.shape, x.dtype), ys[1], dy, self.axis),)


def reduce_mean(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    return apply(ReduceMean(tuple(axes), keepdims), x)


def reduce_max(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    return apply(ReduceMax(tuple(axes), keepdims), x)


def reduce_sum(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    return apply(ReduceSum(tuple(axes), keepdims), x)


def arg_max(x: Value, axis: int, keepdims: bool = False) -> Value:
    return apply(ArgMax(axis, keepdims), x)


def top_k(x: Value, k: int, axis: int) -> tuple[Value, Value]:
    """Return the k largest elements along an axis, counted from the front, and their indices."""
    values, indices = x.graph.apply(TopK(k, axis), x)
    return values, indices


def sum_by_channel(x: Value) -> Value:
    """Return the sum [N, C, *S] -> [C], one axis after the other, which is faster in onnxruntime than all at once."""
    n, channels, *spatial = known(x.shape)
    if prod(spatial) != 1:
        x = reduce_sum(ops.reshape(x, (n, channels, prod(spatial)), batch=False), (2,), keepdims=False)
    elif spatial:
        x = ops.reshape(x, (n, channels), batch=False)
    return reduce_sum(x, (0,), keepdims=False)


def dot_by_channel(a: Value, b: Value) -> Value:
    """Return the sum of a*b, [N, C, *S] -> [C]; on large maps as a convolution whose kernels are maps, which saves a
    pass."""
    n, channels, *spatial = known(a.shape)
    if prod(spatial) < 512:
        return sum_by_channel(ops.mul(a, b))
    image = ops.reshape(a, (1, n * channels, *spatial), batch=False)
    kernel = ops.reshape(b, (n * channels, 1, *spatial), batch=False)
    products = ops.conv(image, kernel, group=n * channels)
    return reduce_sum(ops.reshape(products, (n, channels), batch=False), (0,), keepdims=False)
