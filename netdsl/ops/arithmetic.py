"""Arithmetic of several values, with numpy's broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ops.base import Form, Op, Operand, apply, as_values

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Dim, Shape


def broadcast(*shapes: Shape) -> Shape:
    """The common shape: axes are aligned from the last, and a size of 1 spreads over another."""
    rank = max(map(len, shapes))
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1:
                assert result[axis] in (1, size), f"{shapes} do not broadcast"
                result[axis] = size
    return tuple(result)


class Elementwise(Op):
    """An op on aligned elements of several values of one type."""

    def infer(self, *xs: Shape) -> Shape:
        return broadcast(*xs)

    def dtype(self, *xs: str) -> str:
        assert len(set(xs)) == 1, f"{type(self).__name__} of {xs}"
        return xs[0]


class Add(Elementwise):
    """y = a + b + …. ONNX Add for two, Sum for more."""

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("Add" if len(xs) == 2 else "Sum")


class Sub(Elementwise):
    """y = a - b. ONNX Sub."""


class Mul(Elementwise):
    """y = a * b. ONNX Mul."""


class Div(Elementwise):
    """y = a / b. ONNX Div."""


class Max(Elementwise):
    """y = max(a, b, …). ONNX Max."""


class Min(Elementwise):
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
    """a - b - …, from the left."""
    return _chain(Sub, xs)


def mul(*xs: Operand) -> Value:
    return _chain(Mul, xs)


def div(*xs: Operand) -> Value:
    """a / b / …, from the left."""
    return _chain(Div, xs)
