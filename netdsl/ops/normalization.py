"""Normalization with given statistics, per instance, over the last axis and across channels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Macro, OnnxNode, Op, SameShape
from netdsl.ir.reach import Reach, window
from netdsl.ops.base import apply, constant, known
from netdsl.ops.elementwise import Power

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = [
    "affine",
    "batch_norm",
    "instance_norm",
    "l2_norm",
    "layer_norm",
    "layer_norm_training",
    "lrn",
    "lrn_within",
    "rms_norm",
]


class BatchNormalization(SameShape):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, per channel. ONNX BatchNormalization.

    x [N, C, *S], the others [C] -> [N, C, *S]. Source: Ioffe & Szegedy (2015), Algorithm 2.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, *statistics: Shape) -> Shape:
        assert all(s == x[1:2] for s in statistics), f"{x} normalized with {statistics}"
        return x

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """The statistics have no gradient."""
        x, scale, _, mean, var = xs
        rank = len(x.shape)
        inverse = _inverse(var, self.epsilon)
        dx = ops.mul(dy, by_channel(ops.mul(scale, inverse), rank))
        dscale = ops.sum_by_channel(ops.mul(dy, ops.sub(x, by_channel(mean, rank))))
        return dx, ops.mul(dscale, inverse), ops.sum_by_channel(dy), None, None


class InstanceNormalization(SameShape):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, over each map. ONNX InstanceNormalization.

    x [N, C, *S], the others [C] -> [N, C, *S]; var is biased. Source: Ulyanov et al. (2016).
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, *affine: Shape) -> Shape:
        assert len(x) > 2, x
        assert all(a == x[1:2] for a in affine), f"{x} normalized with {affine}"
        return x

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < 2 else None

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, scale, _ = xs
        n, channels, *spatial = known(x.shape)
        maps = (n, channels, prod(spatial))
        dy, rows = (ops.reshape(each, maps, batch=False) for each in (dy, x))
        dx, dscale = _standardization_gradients(dy, rows, by_channel(scale, 3), self.epsilon)
        return ops.reshape(dx, x.shape, batch=False), ops.sum_by_channel(dscale), ops.sum_by_channel(dy)


class LayerNormalization(SameShape):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, over the last axis. ONNX LayerNormalization.

    x [*, C], the others [C] -> [*, C]; var is biased. Source: Ba et al. (2016).
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, *affine: Shape) -> Shape:
        assert all(a == x[-1:] for a in affine), f"{x} normalized with {affine}"
        return x

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < len(y) - 1 else None

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, scale, _ = xs
        dx, dscale = _standardization_gradients(dy, x, scale, self.epsilon)
        return dx, ops.sum_to(dscale, scale.shape), ops.sum_to(dy, scale.shape)


class LayerNormalizationTraining(Op):
    """y, and the mean and 1/sqrt(var + epsilon) of each row as f32. ONNX LayerNormalization.

    x [*, C], scale and bias [C] -> [*, C], [*, 1], [*, 1].
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        x, *affine = xs
        assert all(a == x[-1:] for a in affine), f"{x} normalized with {affine}"
        return (x, *((*x[:-1], 1),) * 2)

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[0], "f32", "f32"

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("LayerNormalization", self.attributes)


class LnTrain(Macro):
    """Layer normalization, and the mean and 1/sqrt(var + epsilon) of each row, which its gradient needs.

    Its shapes are those of LayerNormalizationTraining, which onnxruntime has in single precision only.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return LayerNormalizationTraining(self.epsilon).shapes(*xs)

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        x, scale, bias = xs
        if x.dtype == "f32":
            return x.graph.apply(LayerNormalizationTraining(self.epsilon), *xs)
        mean = ops.reduce_mean(x, (-1,))
        centered = ops.sub(x, mean)
        inverse = _inverse(ops.reduce_mean(ops.mul(centered, centered), (-1,)), self.epsilon)
        return ops.add(ops.mul(ops.mul(centered, inverse), scale), bias), mean, inverse

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        """With c = x - mean, r = 1/sqrt(var + epsilon) and g = scale*dy, dx = r*(g - mean(g) - c * r^2 * mean(g*c)).

        The means over the channels, and the sums over the rows with a factor for each row, are matrix products.
        """
        (dy, *others), (_, mean, inverse), (x, scale, _) = dys, ys, xs
        assert dy is not None
        assert others == [None, None], "the statistics have no gradient"
        channels = known(scale.shape)[0]
        share = ops.reshape(ops.mul(scale, 1 / channels), (channels, 1), batch=False)
        centered = ops.sub(x, mean)
        product = ops.mul(dy, centered)
        slope = ops.mul(ops.mul(inverse, inverse), ops.matmul(product, share))
        inner = ops.sub(ops.sub(ops.mul(dy, scale), ops.matmul(dy, share)), ops.mul(centered, slope))
        rows = prod(known(x.shape)) // channels
        flat = [
            ops.reshape(each, sizes, batch=False) for each, sizes in ((inverse, (1, rows)), (product, (rows, channels)))
        ]
        dscale = ops.reshape(ops.matmul(*flat), scale.shape, batch=False)
        return ops.mul(inner, inverse), dscale, ops.sum_to(dy, scale.shape)


class RMSNormalization(Macro, SameShape):
    """y = scale * x / sqrt(mean of x^2 + epsilon), over the last axis. ONNX RMSNormalization.

    x [*, C], scale [C] -> [*, C]. Source: Zhang & Sennrich (2019), eq. 4.
    """

    __slots__ = ("epsilon",)
    since = 23
    reach = LayerNormalization.reach

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, x: Shape, scale: Shape) -> Shape:  # type: ignore[override]
        assert scale == x[-1:], f"{x} scaled by {scale}"
        return x

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        x, scale = xs
        # onnxruntime knows it in this form, and computes it in one pass.
        mean = ops.reduce_mean(apply(Power(2), x), (-1,))
        return (ops.mul(ops.div(x, ops.sqrt(ops.add(mean, self.epsilon))), scale),)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """With z = x/rms and g = scale*dy, dx = (g - z * mean(g*z))/rms."""
        x, scale = xs
        inverse = self._inverse(x)
        z, g = ops.mul(x, inverse), ops.mul(dy, scale)
        dx = ops.mul(ops.sub(g, ops.mul(z, ops.reduce_mean(ops.mul(g, z), (-1,)))), inverse)
        return dx, ops.sum_to(ops.mul(dy, z), scale.shape)

    def _inverse(self, x: Value) -> Value:
        return _inverse(ops.reduce_mean(ops.mul(x, x), (-1,)), self.epsilon)


class LRN(SameShape):
    """y = x / (bias + alpha/size * sum of x^2 over `size` neighboring channels)^beta. ONNX LRN.

    x [N, C, H, W]; the size is odd, as onnxruntime requires.
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

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """With s the base: dx = dy*s^-beta - 2*alpha*beta/size * x * (sum of dy*y/s over neighboring channels)."""
        (x,) = xs
        base = ops.add(ops.mul(self._mean_around(ops.mul(x, x)), self.alpha), self.bias)
        around = self._mean_around(ops.div(ops.mul(dy, y), base))
        direct = ops.mul(dy, inverse_power(base, self.beta))
        return (ops.sub(direct, ops.mul(ops.mul(x, 2 * self.alpha * self.beta), around)),)

    def _mean_around(self, x: Value) -> Value:
        """Return the sum over neighboring channels, divided by `size`: a pool along the channels."""
        n, channels, *spatial = known(x.shape)
        half = self.size // 2
        rows = ops.reshape(x, (n, 1, channels, prod(spatial)), batch=False)
        rows = ops.average_pool(rows, (self.size, 1), (1, 1), (half, 0, half, 0), count_include_pad=True)
        return ops.reshape(rows, x.shape, batch=False)


class L2Normalization(Macro, SameShape):
    """y = x / sqrt(sum of x^2 over an axis + epsilon)."""

    __slots__ = ("axis", "epsilon")

    def __init__(self, axis: int, epsilon: float) -> None:
        self.axis = axis
        self.epsilon = float(epsilon)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        return (ops.div(xs[0], self._length(xs[0])),)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None if axis == self.axis else Reach(axis)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        along = ops.mul(y, ops.reduce_sum(ops.mul(dy, y), (self.axis,)))
        return (ops.div(ops.sub(dy, along), self._length(xs[0])),)

    def _length(self, x: Value) -> Value:
        return ops.sqrt(ops.add(ops.reduce_sum(ops.mul(x, x), (self.axis,)), self.epsilon))


class LrnWithin(Macro, SameShape):
    """y = x / (bias + alpha * mean of x^2 over a window around the position)^beta, within each channel.

    x [N, C, *S]; the window has odd sizes, and counts positions beyond the edges as 0.
    """

    __slots__ = ("alpha", "beta", "bias", "kernel")

    def __init__(self, kernel: tuple[int, ...], alpha: float, beta: float, bias: float) -> None:
        self.kernel = kernel
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.bias = float(bias)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        return (ops.mul(xs[0], inverse_power(self._base(xs[0]), self.beta)),)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < 2 else window(axis, self.kernel[axis - 2], 1, self.kernel[axis - 2] // 2)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """With s the base: dx = dy*s^-beta - 2*alpha*beta * x * (mean of dy*y/s around the position)."""
        (x,) = xs
        base = self._base(x)
        around = ops.mul(ops.mul(x, 2 * self.alpha * self.beta), self._mean_around(ops.div(ops.mul(dy, y), base)))
        return (ops.sub(ops.mul(dy, inverse_power(base, self.beta)), around),)

    def _base(self, x: Value) -> Value:
        return ops.add(ops.mul(self._mean_around(ops.mul(x, x)), self.alpha), self.bias)

    def _mean_around(self, x: Value) -> Value:
        half = tuple(size // 2 for size in self.kernel)
        return ops.average_pool(x, self.kernel, (1,) * len(half), half * 2, count_include_pad=True)


def by_channel(v: Value, rank: int) -> Value:
    """Reshape [C] to broadcast over [N, C, *S]."""
    return ops.reshape(v, (*v.shape, *(1,) * (rank - 2)), batch=False)


def affine(x: Value, scale: Value, bias: Value | None = None) -> Value:
    """Return scale*x + bias per channel: a normalization with mean 0 and variance 1, one pass over memory."""
    zero, one = (constant(x.graph, v, scale.dtype, known(scale.shape)) for v in (0, 1))
    return batch_norm(x, scale, zero if bias is None else bias, zero, one, 1e-30)


def inverse_power(x: Value, exponent: float) -> Value:
    """Return x^-exponent; LRN's usual 3/4 by square roots, which are many times faster than a power."""
    if exponent != 0.75:
        return ops.power(x, -exponent)
    root = ops.sqrt(x)
    return ops.reciprocal(ops.mul(root, ops.sqrt(root)))


def _standardization_gradients(dy: Value, x: Value, scale: Value, epsilon: float) -> tuple[Value, Value]:
    """Return dx and the terms of dscale for y = scale * z, z being x standardized over the last axis.

    dx = (g - mean(g) - z * mean(g*z)) / sqrt(var + epsilon) with g = scale*dy.
    """
    centered = ops.sub(x, ops.reduce_mean(x, (-1,)))
    var = ops.reduce_mean(ops.mul(centered, centered), (-1,))
    inverse = _inverse(var, epsilon)
    z, g = ops.mul(centered, inverse), ops.mul(dy, scale)
    inner = ops.mul(z, ops.reduce_mean(ops.mul(g, z), (-1,)))
    return ops.mul(ops.sub(g, ops.reduce_mean(g, (-1,)), inner), inverse), ops.mul(dy, z)


def _inverse(var: Value, epsilon: float) -> Value:
    """Return 1/sqrt(var + epsilon)."""
    return ops.reciprocal(ops.sqrt(ops.add(var, epsilon)))


def batch_norm(x: Value, scale: Value, bias: Value, mean: Value, var: Value, epsilon: float = 1e-5) -> Value:
    return apply(BatchNormalization(epsilon), x, scale, bias, mean, var)


def instance_norm(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    return apply(InstanceNormalization(epsilon), x, scale, bias)


def layer_norm(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    return apply(LayerNormalization(epsilon), x, scale, bias)


def layer_norm_training(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    """Return `layer_norm`, computed together with the statistics that its gradient needs."""
    y, *_ = x.graph.apply(LnTrain(epsilon), x, scale, bias)
    return y


def rms_norm(x: Value, scale: Value, epsilon: float = 1e-6) -> Value:
    return apply(RMSNormalization(epsilon), x, scale)


def l2_norm(x: Value, axis: int = 1, epsilon: float = 1e-10) -> Value:
    return apply(L2Normalization(axis, epsilon), x)


def lrn_within(x: Value, kernel: tuple[int, ...], alpha: float, beta: float, bias: float) -> Value:
    """Return the LRN of x within each channel; `alpha` is the factor of the mean, as in Caffe."""
    return apply(LrnWithin(kernel, alpha, beta, bias), x)


def lrn(x: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Value:
    """Return the LRN of x; `alpha` is divided by the size, as in Caffe and PyTorch; pass size * alpha for the paper's
    formula."""
    return apply(LRN(size, alpha, beta, bias), x)
