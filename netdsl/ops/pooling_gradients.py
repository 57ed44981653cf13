"""The gradient of max pooling, as an op that stands in the graph until a lowering chooses how to compute it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import Form, Macro, Op, apply, known
from netdsl.ops.pooling import MaxPool, Pool

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class MaxPoolIndices(Pool):
    """The largest of each window, and where it stands among all elements of x, the first of several. ONNX MaxPool."""

    __slots__ = ()

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        y = self.infer(*xs)
        return y, y

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[0], "i64"

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("MaxPool", self.attributes)


class MaxUnpool(Op):
    """The values put where the indices of windows that do not overlap say, and 0 elsewhere. ONNX MaxUnpool."""

    __slots__ = ("kernel_shape",)

    def __init__(self, kernel_shape: tuple[int, ...]) -> None:
        self.kernel_shape = kernel_shape

    def infer(self, y: Shape, indices: Shape) -> Shape:
        assert y == indices, f"{y} put to {indices}"
        return y[:2] + tuple(size * k for size, k in zip(y[2:], self.kernel_shape, strict=True))

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("MaxUnpool", {"kernel_shape": self.kernel_shape, "strides": self.kernel_shape})


class MaxPoolDx(Macro):
    """dx: what goes back to the first largest element of each window. dy [N, C, *P], x [N, C, *S], y -> [N, C, *S]."""

    __slots__ = ("kernel_shape", "pads", "strides")

    def __init__(self, pool: MaxPool) -> None:
        self.kernel_shape = pool.kernel_shape
        self.pads = pool.pads
        self.strides = pool.strides

    def infer(self, dy: Shape, x: Shape, y: Shape) -> Shape:
        assert dy == y == MaxPool(self.kernel_shape, self.strides, self.pads).infer(x), f"{dy} from {x}"
        return x

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        dy, x, _ = xs
        _, indices = x.graph.apply(MaxPoolIndices(self.kernel_shape, self.strides, self.pads), x)
        unpool = MaxUnpool(self.kernel_shape)
        if self.strides == self.kernel_shape and not any(self.pads) and unpool.infer(dy.shape, dy.shape) == x.shape:
            return (apply(unpool, dy, indices),)
        count = prod(known(x.shape))
        indices, dy = (ops.reshape(each, (prod(known(dy.shape)),), batch=False) for each in (indices, dy))
        dx = ops.scatter_add(ops.zeros(x.graph, (count,), x.dtype), indices, dy)
        return (ops.reshape(dx, x.shape, batch=False),)


def max_pool_indices(x: Value, pool: MaxPool) -> tuple[Value, Value]:
    y, indices = x.graph.apply(MaxPoolIndices(pool.kernel_shape, pool.strides, pool.pads), x)
    return y, indices


def max_unpool(y: Value, indices: Value, kernel_shape: tuple[int, ...]) -> Value:
    return apply(MaxUnpool(kernel_shape), y, indices)


def max_pool_dx(dy: Value, x: Value, y: Value, pool: MaxPool) -> Value:
    return apply(MaxPoolDx(pool), dy, x, y)
