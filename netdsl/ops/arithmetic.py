"""N-ary arithmetic with NumPy's broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import OnnxNode, Op
from netdsl.ops.base import Operand, apply, as_values

if TYPE_CHECKING:
    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Value

__all__ = ["add", "div", "maximum", "minimum", "mul", "sub", "sum_to"]


def broadcast(*shapes: Shape) -> Shape:
    """Return the common shape: axes are aligned from the last, and a size of 1 broadcasts."""
    rank = max(map(len, shapes))
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1:
                assert result[axis] in (1, size), f"{shapes} do not broadcast"
                result[axis] = size
    return tuple(result)


def sum_to(dy: Value, shape: Shape) -> Value:
    """Sum a value to `shape`: the adjoint of broadcasting."""
    more = len(dy.shape) - len(shape)
    spread = [i for i, size in enumerate(dy.shape) if i < more or size != shape[i - more]]
    if spread:
        dy = ops.reduce_sum(dy, spread, keepdims=not more)
    return dy if dy.shape == shape else ops.reshape(dy, shape, batch=False)


class Elementwise(Op):
    """An op on aligned elements of several values of one type."""

    def infer(self, *xs: Shape) -> Shape:
        return broadcast(*xs)

    def dtype(self, *xs: str) -> str:
        assert len(set(xs)) == 1, f"{type(self).__name__} of {xs}"
        return xs[0]


class Add(Elementwise):
    """y = a + b + …. ONNX Add for two, Sum for more."""

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Add" if len(xs) == 2 else "Sum")

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return tuple(sum_to(dy, x.shape) for x in xs)


class Sub(Elementwise):
    """y = a - b. ONNX Sub."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        a, b = xs
        return sum_to(dy, a.shape), ops.neg(sum_to(dy, b.shape))


class Mul(Elementwise):
    """y = a * b. ONNX Mul."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        a, b = xs
        return sum_to(mul(dy, b), a.shape), sum_to(mul(dy, a), b.shape)


class Div(Elementwise):
    """y = a / b. ONNX Div."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        a, b = xs
        da = div(dy, b)
        return sum_to(da, a.shape), ops.neg(sum_to(mul(da, y), b.shape))


class Extremum(Elementwise):
    """The largest or smallest operand. Ties share the gradient equally, as in torch.maximum."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        won = [ops.cast(ops.equal(x, y), y.dtype) for x in xs]
        share = div(dy, add(*won))
        return tuple(sum_to(mul(share, each), x.shape) for each, x in zip(won, xs, strict=True))


class Max(Extremum):
    """y = max(a, b, …). ONNX Max."""


class Min(Extremum):
    """y = min(a, b, …). ONNX Min."""


def _variadic(op: Elementwise, operands: tuple[Operand, ...]) -> Value:
    values = as_values(*operands)
    return apply(op, *values) if len(values) > 1 else values[0]


def _chain(op: type[Elementwise], operands: tuple[Operand, ...]) -> Value:
    result, *rest = as_values(*operands)
    for x in rest:
        result = apply(op(), result, x)
    return result


def add(*xs: Operand) -> Value:
    return _variadic(Add(), xs)


def maximum(*xs: Operand) -> Value:
    return _variadic(Max(), xs)


def minimum(*xs: Operand) -> Value:
    return _variadic(Min(), xs)


def sub(*xs: Operand) -> Value:
    """Return a - b - …, from left to right."""
    return _chain(Sub, xs)


def mul(*xs: Operand) -> Value:
    return _chain(Mul, xs)


def div(*xs: Operand) -> Value:
    """Return a / b / …, from left to right."""
    return _chain(Div, xs)
