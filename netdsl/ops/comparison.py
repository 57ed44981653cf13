"""Comparisons and selection. Comparisons are piecewise constant: no gradient passes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Op, Pointwise
from netdsl.ops.arithmetic import Elementwise, broadcast, sum_to
from netdsl.ops.base import Operand, apply, as_values

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = [
    "equal",
    "greater",
    "greater_or_equal",
    "is_finite",
    "is_infinite",
    "is_nan",
    "logical_and",
    "logical_not",
    "logical_or",
    "where",
]


class Comparison(Elementwise):
    """A comparison of aligned elements of two values."""

    def dtype(self, *xs: str) -> str:
        super().dtype(*xs)
        return "bool"

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,) * len(xs)


class Equal(Comparison):
    """y = (a = b). ONNX Equal."""


class Greater(Comparison):
    """y = (a > b). ONNX Greater."""


class GreaterOrEqual(Comparison):
    """y = (a >= b). ONNX GreaterOrEqual."""


class And(Comparison):
    """y = a and b. ONNX And."""


class Or(Comparison):
    """y = a or b. ONNX Or."""


class Not(Pointwise):
    """y = not x. ONNX Not."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


class IsNaN(Pointwise):
    """y = 1 where x is NaN. ONNX IsNaN."""

    def dtype(self, *xs: str) -> str:
        return "bool"

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


class IsInf(Pointwise):
    """y = 1 where x is infinite. ONNX IsInf."""

    def dtype(self, *xs: str) -> str:
        return "bool"

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


class Where(Op):
    """y = a where the condition holds, otherwise b. ONNX Where."""

    def infer(self, *xs: Shape) -> Shape:
        return broadcast(*xs)

    def dtype(self, *xs: str) -> str:
        condition, a, b = xs
        assert (condition, a) == ("bool", b), xs
        return a

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        condition, a, b = xs
        return None, sum_to(where(condition, dy, 0), a.shape), sum_to(where(condition, 0, dy), b.shape)


def equal(a: Operand, b: Operand) -> Value:
    return apply(Equal(), *as_values(a, b))


def greater(a: Operand, b: Operand) -> Value:
    return apply(Greater(), *as_values(a, b))


def greater_or_equal(a: Operand, b: Operand) -> Value:
    return apply(GreaterOrEqual(), *as_values(a, b))


def logical_and(a: Value, b: Value) -> Value:
    """Return a and b."""
    return apply(And(), a, b)


def logical_or(a: Value, b: Value) -> Value:
    """Return a or b."""
    return apply(Or(), a, b)


def logical_not(x: Value) -> Value:
    """Return not x."""
    return apply(Not(), x)


def is_nan(x: Value) -> Value:
    return apply(IsNaN(), x)


def is_infinite(x: Value) -> Value:
    return apply(IsInf(), x)


def is_finite(x: Value) -> Value:
    """Return whether x is neither infinite nor NaN: 0*x is 0 exactly then."""
    return equal(ops.mul(x, 0), 0)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    return apply(Where(), condition, *as_values(a, b))
