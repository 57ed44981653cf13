"""Activation functions.

The gradient at a kink is that of the left side, as in PyTorch. For functions that preserve the sign of their argument,
the gradient is computed from the result, so that the argument need not be kept.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import Tensor
from netdsl.ir.op import Macro, OnnxNode, Pointwise, SameShape
from netdsl.ir.reach import Reach
from netdsl.ops.base import apply
from netdsl.ops.elementwise import pointwise

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = [
    "clip",
    "elu",
    "gelu",
    "gelu_training",
    "hard_sigmoid",
    "leaky_relu",
    "log_softmax",
    "prelu",
    "relu",
    "selu",
    "shrink",
    "sigmoid",
    "silu_training",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]


CUBIC, DOUBLE = 0.044715, 2 * sqrt(2 / pi)
"""Constants of the tanh approximation of GELU: 2u = DOUBLE * (x + CUBIC * x^3)."""


def heaviside(x: Value) -> Value:
    """Return 1 where x > 0, otherwise 0. A steep ramp is faster than a comparison and a cast."""
    return ops.hard_sigmoid(x, 1e30, 0.0)


class Relu(Pointwise):
    """y = max(x, 0). ONNX Relu."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, heaviside(y)),)


class Sigmoid(Pointwise):
    """y = 1/(1 + e^-x). ONNX Sigmoid."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, y, ops.sub(1, y)),)


class Silu(Macro, Pointwise):
    """y = x s with s = 1/(1 + e^-x). The gradient, s (1 + x - y), computes s again instead of keeping it."""

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        (x,) = xs
        return (ops.mul(x, ops.sigmoid(x)),)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        (x,) = xs
        return (ops.mul(dy, ops.mul(ops.sigmoid(x), ops.add(ops.sub(x, y), 1))),)


class Tanh(Pointwise):
    """y = tanh x. ONNX Tanh."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, ops.sub(1, ops.mul(y, y))),)


class Softplus(Pointwise):
    """y = ln(1 + e^x). ONNX Softplus."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, ops.sigmoid(xs[0])),)


class Softsign(Pointwise):
    """y = x/(1 + |x|). ONNX Softsign."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        rest = ops.sub(1, ops.abs(y))
        return (ops.mul(dy, rest, rest),)


class Shrink(Pointwise):
    """y = x - bias for x > lambd, x + bias for x < -lambd, otherwise 0. ONNX Shrink."""

    __slots__ = ("bias", "lambd")

    def __init__(self, bias: float, lambd: float) -> None:
        self.bias = float(bias)
        self.lambd = float(lambd)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(dy, ops.cast(ops.greater(ops.abs(xs[0]), self.lambd), dy.dtype)),)


class Gelu(Macro, Pointwise):
    """y = x Phi(x), or with `approximate` "tanh" x (1 + tanh u)/2, u = sqrt(2/pi) (x + 0.044715 x^3). ONNX Gelu."""

    __slots__ = ("approximate",)
    since = 20

    def __init__(self, approximate: str) -> None:
        assert approximate in ("none", "tanh"), approximate
        self.approximate = approximate

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        (x,) = xs
        return (ops.mul(ops.mul(x, 0.5), ops.add(self._odd(x), 1)),)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        _, slope = xs[0].graph.apply(GeluTraining(self.approximate), *xs)
        return (ops.mul(dy, slope),)

    def _odd(self, x: Value) -> Value:
        """Return erf(x / sqrt(2)), or tanh u."""
        if self.approximate == "none":
            return ops.erf(ops.mul(x, sqrt(0.5)))
        return ops.tanh(ops.mul(ops.mul(x, ops.add(ops.mul(x, x, CUBIC), 1)), DOUBLE / 2))


class GeluTraining(Macro):
    """x -> the GELU of x and its derivative, which shares most of the computation and is kept instead of x.

    The derivative is Phi(x) + x phi(x), or s + y (1 - s) (2u)' with s = (1 + tanh u)/2, the sigmoid of 2u.
    """

    __slots__ = ("approximate",)

    def __init__(self, approximate: str) -> None:
        self.approximate = approximate

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return xs * 2

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs * 2

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        (x,) = xs
        if self.approximate == "tanh":
            double = ops.add(ops.mul(ops.mul(x, x), 3 * CUBIC * DOUBLE), DOUBLE)  # (2u)'
            s = ops.sigmoid(ops.mul(x, ops.add(ops.mul(double, 1 / 3), 2 / 3 * DOUBLE)))
            y = ops.mul(x, s)
            return y, ops.add(s, ops.mul(ops.sub(y, ops.mul(y, s)), double))
        scaled = ops.mul(x, sqrt(0.5))
        below = ops.hard_sigmoid(ops.erf(scaled), 0.5, 0.5)  # (1 + erf)/2 in one pass
        density = ops.exp(ops.sub(-log(2 * pi) / 2, ops.mul(scaled, scaled)))
        return ops.mul(x, below), ops.add(below, ops.mul(x, density))

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        dy, other = dys
        assert dy is not None
        assert other is None, "the derivative has no gradient"
        return (ops.mul(dy, ys[1]),)


class Alpha(Pointwise):
    """An activation with one attribute, `alpha`."""

    __slots__ = ("alpha",)

    def __init__(self, alpha: float) -> None:
        self.alpha = float(alpha)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode(type(self).__name__, {"alpha": self.alpha})

    def signed(self, y: Value, x: Value) -> Value:
        """Return a value with the sign of x: the result unless a negative alpha flips it."""
        return y if self.alpha >= 0 else x


class LeakyRelu(Alpha):
    """y = x for x >= 0, otherwise alpha*x. ONNX LeakyRelu."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        slope = ops.add(ops.mul(heaviside(self.signed(y, *xs)), 1 - self.alpha), self.alpha)
        return (ops.mul(dy, slope),)


class Elu(Alpha):
    """y = x for x >= 0, otherwise alpha*(e^x - 1). ONNX Elu."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.where(ops.greater(self.signed(y, *xs), 0), dy, ops.mul(dy, ops.add(y, self.alpha))),)


class Selu(Pointwise):
    """y = gamma*x for x > 0, otherwise gamma*alpha*(e^x - 1). ONNX Selu."""

    __slots__ = ("alpha", "gamma")

    def __init__(self, alpha: float, gamma: float) -> None:
        self.alpha = float(alpha)
        self.gamma = float(gamma)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        left = ops.add(y, self.alpha * self.gamma)
        return (ops.mul(dy, ops.where(ops.greater(xs[0], 0), self.gamma, left)),)


class HardSigmoid(Pointwise):
    """y = max(0, min(1, alpha*x + beta)). ONNX HardSigmoid."""

    __slots__ = ("alpha", "beta")

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha = float(alpha)
        self.beta = float(beta)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(ops.mul(dy, self.alpha), heaviside(ops.mul(y, ops.sub(1, y)))),)


class PRelu(SameShape):
    """y = x for x >= 0, otherwise slope*x; the slope broadcasts. ONNX PRelu."""

    __slots__ = ()

    def infer(self, x: Shape, slope: Shape) -> Shape:  # type: ignore[override]
        assert all(s in (1, d) for s, d in zip(slope[::-1], x[::-1], strict=False)), f"{slope} cannot broadcast to {x}"
        return x

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, slope = xs
        dx = ops.where(ops.greater(x, 0), dy, ops.mul(dy, slope))
        return dx, ops.sum_to(ops.mul(dy, ops.minimum(x, 0)), slope.shape)


class Clip(Pointwise):
    """y = min(max(x, low), high); None is no limit. ONNX Clip with limits as inputs."""

    __slots__ = ("high", "low")

    def __init__(self, low: float | None, high: float | None) -> None:
        self.low = low
        self.high = high

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        limits = {"min": self.low, "max": self.high}
        return OnnxNode(
            "Clip", extra={k: None if v is None else Tensor(xs[0].dtype, (), (v,)) for k, v in limits.items()}
        )

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """The gradient is 0 at and beyond a limit."""
        above = [] if self.low is None else [ops.sub(y, self.low) if self.low else y]
        below = [] if self.high is None else [ops.sub(self.high, y)]
        within = above + below
        return (ops.mul(dy, heaviside(ops.mul(*within))) if within else dy,)


class OverAxis(SameShape):
    """A function of all elements along an axis."""

    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode(type(self).__name__, {"axis": self.axis})

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None if axis == self.axis % len(y) else Reach(axis)


class Softmax(OverAxis):
    """y = e^x / sum of e^x over an axis. ONNX Softmax."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.mul(y, ops.sub(dy, ops.reduce_sum(ops.mul(dy, y), (self.axis,)))),)


class LogSoftmax(OverAxis):
    """y = ln softmax(x) over an axis. ONNX LogSoftmax."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (ops.sub(dy, ops.mul(ops.exp(y), ops.reduce_sum(dy, (self.axis,)))),)


relu = pointwise(Relu)
sigmoid = pointwise(Sigmoid)
silu_training = pointwise(Silu)
tanh = pointwise(Tanh)
softplus = pointwise(Softplus)
softsign = pointwise(Softsign)


def shrink(x: Value, limit: float, bias: float) -> Value:
    """Return 0 from -limit to limit, and elsewhere x moved by `bias` towards 0."""
    return apply(Shrink(bias, limit), x)


def gelu(x: Value, *, tanh: bool = False) -> Value:
    """Return the Gaussian error linear unit, exact or by its tanh approximation."""
    return apply(Gelu("tanh" if tanh else "none"), x)


def gelu_training(x: Value, *, tanh: bool = False) -> Value:
    """Return `gelu`, computed together with its derivative."""
    y, _ = x.graph.apply(GeluTraining("tanh" if tanh else "none"), x)
    return y


def leaky_relu(x: Value, alpha: float = 0.01) -> Value:
    return apply(LeakyRelu(alpha), x)


def elu(x: Value, alpha: float = 1.0) -> Value:
    return apply(Elu(alpha), x)


def selu(x: Value, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Value:
    """Klambauer et al. (2017), eq. 2, with their fixed point's constants."""
    return apply(Selu(alpha, gamma), x)


def hard_sigmoid(x: Value, alpha: float = 1 / 6, beta: float = 0.5) -> Value:
    """Hard sigmoid with PyTorch's slope; ONNX's default is 0.2."""
    return apply(HardSigmoid(alpha, beta), x)


def prelu(x: Value, slope: Value) -> Value:
    return apply(PRelu(), x, slope)


def clip(x: Value, low: float | None = None, high: float | None = None) -> Value:
    return apply(Clip(low, high), x)


def softmax(x: Value, axis: int = 1) -> Value:
    return apply(Softmax(axis), x)


def log_softmax(x: Value, axis: int = 1) -> Value:
    return apply(LogSoftmax(axis), x)
