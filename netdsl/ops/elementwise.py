"""Functions of one value, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import DTYPES, Tensor
from netdsl.ops.base import Form, SameShape, apply
from netdsl.ops.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class Identity(SameShape):
    """y = x. ONNX Identity."""


class Abs(SameShape):
    """y = |x|. ONNX Abs."""


class Neg(SameShape):
    """y = -x. ONNX Neg."""


class Sign(SameShape):
    """y = -1, 0 or 1. ONNX Sign."""


class Sqrt(SameShape):
    """y = x^(1/2). ONNX Sqrt."""


class Exp(SameShape):
    """y = e^x. ONNX Exp."""


class Log(SameShape):
    """y = ln x. ONNX Log."""


class Sin(SameShape):
    """y = sin x. ONNX Sin."""


class Cos(SameShape):
    """y = cos x. ONNX Cos."""


class Erf(SameShape):
    """y = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x. ONNX Erf."""


class Relu(SameShape):
    """y = max(x, 0). ONNX Relu."""


class Sigmoid(SameShape):
    """y = 1/(1 + e^-x). ONNX Sigmoid."""


class Tanh(SameShape):
    """y = tanh x. ONNX Tanh."""


class Softplus(SameShape):
    """y = ln(1 + e^x). ONNX Softplus."""


class Alpha(SameShape):
    """A function with one attribute, `alpha`."""

    __slots__ = ("alpha",)

    def __init__(self, alpha: float) -> None:
        self.alpha = float(alpha)

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form(type(self).__name__, {"alpha": self.alpha})


class LeakyRelu(Alpha):
    """y = x for x >= 0, else alpha*x. ONNX LeakyRelu."""

    __slots__ = ()


class Elu(Alpha):
    """y = x for x >= 0, else alpha*(e^x - 1). ONNX Elu."""

    __slots__ = ()


class Selu(SameShape):
    """y = gamma*x for x > 0, else gamma*alpha*(e^x - 1). ONNX Selu."""

    __slots__ = ("alpha", "gamma")

    def __init__(self, alpha: float, gamma: float) -> None:
        self.alpha = float(alpha)
        self.gamma = float(gamma)


class HardSigmoid(SameShape):
    """y = max(0, min(1, alpha*x + beta)). ONNX HardSigmoid."""

    __slots__ = ("alpha", "beta")

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha = float(alpha)
        self.beta = float(beta)


class PRelu(SameShape):
    """y = x for x >= 0, else slope*x; the slope spreads over x. ONNX PRelu."""

    __slots__ = ()

    def infer(self, x: Shape, slope: Shape) -> Shape:  # type: ignore[override]
        assert all(s in (1, d) for s, d in zip(slope[::-1], x[::-1], strict=False)), f"{slope} does not spread over {x}"
        return x


class Clip(SameShape):
    """y = min(max(x, low), high); None is no limit. ONNX Clip, limits as inputs."""

    __slots__ = ("high", "low")

    def __init__(self, low: float | None, high: float | None) -> None:
        self.low = low
        self.high = high

    def onnx(self, opset: int, *xs: Value) -> Form:
        limits = {"min": self.low, "max": self.high}
        return Form("Clip", extra={k: None if v is None else Tensor(xs[0].dtype, (), (v,)) for k, v in limits.items()})


class Cast(SameShape):
    """y = x as another element type. ONNX Cast."""

    __slots__ = ("to",)

    def __init__(self, to: str) -> None:
        assert to in DTYPES, to
        self.to = to

    def dtype(self, *xs: str) -> str:
        return self.to

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("Cast", types={"to": self.to})


class OverAxis(SameShape):
    """A function of all elements along an axis."""

    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form(type(self).__name__, {"axis": self.axis})

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None if axis == self.axis % len(y) else Reach(axis)


class Softmax(OverAxis):
    """y = e^x / sum of e^x over an axis. ONNX Softmax."""

    __slots__ = ()


class LogSoftmax(OverAxis):
    """y = ln softmax(x) over an axis. ONNX LogSoftmax."""

    __slots__ = ()


def _function(op: type[SameShape]) -> Callable[[Value], Value]:
    """The function of an op without attributes."""
    return lambda x: apply(op(), x)


identity = _function(Identity)
absolute = _function(Abs)
neg = _function(Neg)
sign = _function(Sign)
sqrt = _function(Sqrt)
exp = _function(Exp)
log = _function(Log)
sin = _function(Sin)
cos = _function(Cos)
erf = _function(Erf)
relu = _function(Relu)
sigmoid = _function(Sigmoid)
tanh = _function(Tanh)
softplus = _function(Softplus)


def leaky_relu(x: Value, alpha: float = 0.01) -> Value:
    return apply(LeakyRelu(alpha), x)


def elu(x: Value, alpha: float = 1.0) -> Value:
    return apply(Elu(alpha), x)


def selu(x: Value, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Value:
    """Klambauer et al. (2017), eq. 2, with their fixed point's constants."""
    return apply(Selu(alpha, gamma), x)


def hard_sigmoid(x: Value, alpha: float = 1 / 6, beta: float = 0.5) -> Value:
    """With the slope of PyTorch; ONNX's own default is 0.2."""
    return apply(HardSigmoid(alpha, beta), x)


def prelu(x: Value, slope: Value) -> Value:
    return apply(PRelu(), x, slope)


def clip(x: Value, low: float | None = None, high: float | None = None) -> Value:
    return apply(Clip(low, high), x)


def cast(x: Value, dtype: str) -> Value:
    """The same value where it has that type already."""
    return x if x.dtype == dtype else apply(Cast(dtype), x)


def softmax(x: Value, axis: int = 1) -> Value:
    return apply(Softmax(axis), x)


def log_softmax(x: Value, axis: int = 1) -> Value:
    return apply(LogSoftmax(axis), x)
