"""Batch normalization in training, with the statistics of the batch and their gradient."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Macro, OnnxNode, Op
from netdsl.ops.base import Operand, known

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["batch_norm_training"]


class BatchNormalizationTraining(Op):
    """x, scale, bias and two scratch vectors [C] -> y, mean, var. ONNX BatchNormalization.

    With a momentum of 0, its running statistics are those of the batch. onnxruntime writes them into the memory of the
    scratch vectors, which no other operation may therefore use.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return xs[0], xs[1], xs[1]

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[0], xs[3], xs[4]

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("BatchNormalization", {"epsilon": self.epsilon, "momentum": 0.0, "training_mode": 1})

    def again(self, x: Value, scale: Value, bias: Value, mean: Value, var: Value) -> Value:
        """Return y, given the results mean and var.

        onnxruntime computes the root of the reciprocal here, which gives other bits than its reciprocal of the root in
        inference; in this form, they are the same.
        """
        a = ops.mul(scale, ops.sqrt(ops.reciprocal(ops.add(var, self.epsilon))))
        return ops.affine(x, a, ops.sub(bias, ops.mul(mean, a)))


class BnTrain(Macro):
    """y = scale * (x - mean) / sqrt(var + epsilon) + bias, and the mean and var of each channel over the batch.

    x [N, C, *S], scale and bias [C] -> [N, C, *S], [C], [C]; var is biased.
    Source: Ioffe & Szegedy (2015), Algorithm 1.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        x, scale, bias = xs
        assert scale == bias == x[1:2], f"{x} normalized with {scale}, {bias}"
        return x, scale, bias

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        """Return the computation. The two scratch vectors depend on all inputs, since onnxruntime merges equal
        constants and equal operations."""
        x, scale, bias = xs
        inner = range(2, len(x.shape))
        first = ops.slice(x, (0, *inner), (0, *(0 for _ in inner)), (1, *(1 for _ in inner)))
        scratch = ops.add(ops.reshape(first, scale.shape, batch=False), scale, bias)
        mean = ops.add(ops.mul(scratch, 0), self.epsilon)
        return x.graph.apply(BatchNormalizationTraining(self.epsilon), *xs, mean, ops.add(mean, 1))

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        dy, *others = dys
        assert dy is not None
        assert others == [None, None], "the batch's statistics have no gradient"
        x, scale, _ = xs
        return x.graph.apply(BnGrad(self.epsilon), dy, x, scale, *ys[1:])


class BnGrad(Macro):
    """dy, x, scale, mean, var of a BnTrain -> dx, dscale, dbias. Source: Ioffe & Szegedy (2015), section 3.

    With z = (x - mean) / sqrt(var + epsilon) and M elements per channel: dbias = sum of dy, dscale = sum of dy*z, and
    dx = scale / sqrt(var + epsilon) * (dy - dbias/M - z * dscale/M), that is, a*dy + b*x + c with a, b and c
    per channel.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return xs[1], xs[2], xs[2]

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[1], xs[2], xs[2]

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        dy, x, scale, mean, var = xs
        inverse = inverse_deviation(var, self.epsilon)
        dscale, dbias = channel_gradients(dy, x, mean, inverse)
        return input_gradient(dy, x, scale, mean, inverse, dscale, dbias, 1 / channel_size(x)), dscale, dbias


def channel_size(x: Value) -> int:
    """Return the number of elements per channel."""
    shape = known(x.shape)
    return prod(shape) // shape[1]


def inverse_deviation(var: Value, epsilon: float) -> Value:
    return ops.reciprocal(ops.sqrt(ops.add(var, epsilon)))


def channel_gradients(dy: Value, x: Value, mean: Value, inverse: Value) -> tuple[Value, Value]:
    """Return dscale and dbias, given 1 / sqrt(var + epsilon)."""
    dbias = ops.sum_by_channel(dy)
    return ops.mul(ops.sub(ops.dot_by_channel(dy, x), ops.mul(mean, dbias)), inverse), dbias


def input_gradient(
    dy: Value, x: Value, scale: Value, mean: Value, inverse: Value, dscale: Value, dbias: Value, share: Operand
) -> Value:
    """Return dx, given 1 / sqrt(var + epsilon) and the share 1/M of an element."""
    a = ops.mul(scale, inverse)
    b = ops.neg(ops.mul(ops.mul(a, inverse, dscale), share))
    c = ops.neg(ops.add(ops.mul(ops.mul(a, dbias), share), ops.mul(b, mean)))
    return ops.add(ops.affine(dy, a, c), ops.affine(x, b))


def batch_norm_training(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> tuple[Value, Value, Value]:
    """Return the normalized batch, its mean and its biased variance."""
    y, mean, var = x.graph.apply(BnTrain(epsilon), x, scale, bias)
    return y, mean, var
