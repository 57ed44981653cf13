"""Normalisation with known statistics, and across channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ops.base import SameShape, apply
from netdsl.ops.reach import Reach, window

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class BatchNormalization(SameShape):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, per channel. ONNX BatchNormalization.

    x [N, C, *S], the others [C] -> [N, C, *S]. Source: Ioffe & Szegedy (2015), Algorithm 2.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, *statistics: Shape) -> Shape:
        assert all(s == x[1:2] for s in statistics), f"{x} normalised with {statistics}"
        return x


class InstanceNormalization(SameShape):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, mean and var of each map itself. ONNX InstanceNormalization.

    x [N, C, *S], the others [C] -> [N, C, *S]; var is the biased one. Source: Ulyanov et al. (2016).
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, *affine: Shape) -> Shape:
        assert len(x) > 2, x
        assert all(a == x[1:2] for a in affine), f"{x} normalised with {affine}"
        return x

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < 2 else None


class LayerNormalization(SameShape):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, mean and var over the last axis. ONNX LayerNormalization.

    x [*, C], the others [C] -> [*, C]; var is the biased one. Source: Ba et al. (2016).
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, *affine: Shape) -> Shape:
        assert all(a == x[-1:] for a in affine), f"{x} normalised with {affine}"
        return x

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < len(y) - 1 else None


class LRN(SameShape):
    """y = x / (bias + alpha/size * sum of x^2 over `size` channels around)^beta. ONNX LRN.

    x [N, C, H, W], an odd size: onnxruntime has no others.
    Source: Krizhevsky et al. (2012), section 3.3, whose alpha is not divided by the size.
    """

    __slots__ = ("alpha", "beta", "bias", "size")

    def __init__(self, size: int, alpha: float, beta: float, bias: float) -> None:
        assert size % 2 == 1, size
        self.size = size
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.bias = float(bias)

    def infer(self, x: Shape, *_: Shape) -> Shape:
        assert len(x) == 4, x
        return x

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return window(1, self.size, 1, self.size // 2) if axis == 1 else Reach(axis)


def batch_norm(x: Value, scale: Value, bias: Value, mean: Value, var: Value, epsilon: float = 1e-5) -> Value:
    return apply(BatchNormalization(epsilon), x, scale, bias, mean, var)


def instance_norm(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    return apply(InstanceNormalization(epsilon), x, scale, bias)


def layer_norm(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    return apply(LayerNormalization(epsilon), x, scale, bias)


def lrn(x: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Value:
    """`alpha` is divided by the size, as in Caffe and PyTorch; for the paper's formula pass size * alpha."""
    return apply(LRN(size, alpha, beta, bias), x)
