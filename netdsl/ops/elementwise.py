"""Unary elementwise functions."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import DTYPES, Tensor
from netdsl.ir.op import OnnxNode, Pointwise
from netdsl.ops.base import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.ir.graph import Value

__all__ = ["abs", "cast", "cos", "erf", "exp", "identity", "log", "neg", "power", "reciprocal", "sign", "sin", "sqrt"]

FLOAT_TYPES = ("f16", "bf16", "f32", "f64")


class Identity(Pointwise):
    """y = x. ONNX Identity."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (dy,)


class Abs(Pointwise):
    """y = |x|. ONNX Abs."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, ops.sign(xs[0])),)


class Neg(Pointwise):
    """y = -x. ONNX Neg."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.neg(dy),)


class Sign(Pointwise):
    """y = -1, 0 or 1. ONNX Sign."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, 0),)


class Sqrt(Pointwise):
    """y = x^(1/2). ONNX Sqrt."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.div(ops.mul(dy, 0.5), y),)


class Reciprocal(Pointwise):
    """y = 1/x. ONNX Reciprocal."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.neg(ops.mul(dy, y, y)),)


class Exp(Pointwise):
    """y = e^x. ONNX Exp."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, y),)


class Log(Pointwise):
    """y = ln x. ONNX Log."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.div(dy, xs[0]),)


class Sin(Pointwise):
    """y = sin x. ONNX Sin."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, ops.cos(xs[0])),)


class Cos(Pointwise):
    """y = cos x. ONNX Cos."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.neg(ops.mul(dy, ops.sin(xs[0]))),)


class Erf(Pointwise):
    """y = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x. ONNX Erf."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        (x,) = xs
        return (ops.mul(ops.mul(dy, 2 / pi**0.5), ops.exp(ops.neg(ops.mul(x, x)))),)


class Power(Pointwise):
    """y = x^exponent for a constant exponent. ONNX Pow, with the exponent as an input."""

    __slots__ = ("exponent",)

    def __init__(self, exponent: float) -> None:
        self.exponent = float(exponent)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Pow", extra={"exponent": Tensor(xs[0].dtype, (), (self.exponent,))})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(ops.mul(dy, self.exponent), ops.power(xs[0], self.exponent - 1)),)


class Cast(Pointwise):
    """y = x converted to another element type. ONNX Cast."""

    __slots__ = ("to",)

    def __init__(self, to: str) -> None:
        assert to in DTYPES, to
        self.to = to

    def dtype(self, *xs: str) -> str:
        return self.to

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Cast", types={"to": self.to})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Gradients pass only between float types."""
        (x,) = xs
        return (ops.cast(dy, x.dtype) if x.dtype in FLOAT_TYPES and y.dtype in FLOAT_TYPES else None,)


def pointwise(op: type[Pointwise]) -> Callable[[Value], Value]:
    """Return the function of an op without attributes."""
    return lambda x: apply(op(), x)


identity = pointwise(Identity)
abs = pointwise(Abs)
neg = pointwise(Neg)
sign = pointwise(Sign)
sqrt = pointwise(Sqrt)
reciprocal = pointwise(Reciprocal)
exp = pointwise(Exp)
log = pointwise(Log)
sin = pointwise(Sin)
cos = pointwise(Cos)
erf = pointwise(Erf)


def power(x: Value, exponent: float) -> Value:
    """Return x^exponent; exponents with a cheaper form than a logarithm use it."""
    if exponent == 1:
        return x
    return ops.mul(x, x) if exponent == 2 else apply(Power(exponent), x)


def cast(x: Value, dtype: str) -> Value:
    """Convert a value to a type, or return it unchanged if it has it."""
    return x if x.dtype == dtype else apply(Cast(dtype), x)
