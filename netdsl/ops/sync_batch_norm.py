"""Batch normalization in training, with the statistics of all shards of a step."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.ir.op import Macro, OnnxNode, SameShape
from netdsl.ops.base import apply, known
from netdsl.ops.batch_training import BnTrain, channel_gradients, input_gradient, inverse_deviation

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["shard_sum", "sync_batch_norm_training"]


class ShardSum(SameShape):
    """The sum of x over all shards of a step, in each of them.

    It is its own adjoint, and no ONNX operator: a step is cut there into stages (`netdsl.passes.stages`).
    """

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (shard_sum(dy),)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("ShardSum", domain="netdsl.train")  # only for the digest of a step


class ChannelMoments(Macro):
    """The mean and the biased variance of each channel, [N, C, *S] -> [C] twice."""

    __slots__ = ()

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return xs[0][1:2], xs[0][1:2]

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[0], xs[0]

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        (x,) = xs
        one, zero = (ops.constant(x.graph, each, x.dtype, known(x.shape[1:2])) for each in (1.0, 0.0))
        return x.graph.apply(BnTrain(1e-5), x, one, zero)[1:]


class SyncBn(Macro):
    """x, scale, bias, the mean and var of x over all shards, the share 1/M of an element among all -> y.

    The gradient of x is that through mean and var too, summed over all shards.
    """

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, *xs: Shape) -> Shape:
        return xs[0]

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        x, scale, bias, mean, var, _ = xs
        return (ops.batch_norm(x, scale, bias, mean, var, self.epsilon),)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, scale, _, mean, var, share = xs
        dscale, dbias = x.graph.apply(SyncBnSums(self.epsilon), dy, x, mean, var)
        totals = shard_sum(dscale), shard_sum(dbias)
        dx = apply(SyncBnDx(self.epsilon), dy, x, scale, mean, var, *totals, share)
        return dx, dscale, dbias, None, None, None


class SyncBnSums(Macro):
    """dy, x, mean, var of a SyncBn -> dscale, dbias, those of this shard."""

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return xs[2], xs[2]

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[2], xs[2]

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        dy, x, mean, var = xs
        return channel_gradients(dy, x, mean, inverse_deviation(var, self.epsilon))


class SyncBnDx(Macro):
    """dy, x, scale, mean, var of a SyncBn, dscale and dbias of all shards, the share 1/M -> dx, as in BnGrad."""

    __slots__ = ("epsilon",)

    def __init__(self, epsilon: float) -> None:
        self.epsilon = float(epsilon)

    def infer(self, *xs: Shape) -> Shape:
        return xs[1]

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        dy, x, scale, mean, var, dscale, dbias, share = xs
        return (input_gradient(dy, x, scale, mean, inverse_deviation(var, self.epsilon), dscale, dbias, share),)


class Shards(NamedTuple):
    """The shards that are normalized together, S in number.

    `own` [S, 1] is 1 for this shard and 0 for the others, `rows` [S, 1] has the number of rows of each.
    """

    own: Value
    rows: Value


def shard_sum(x: Value) -> Value:
    return apply(ShardSum(), x)


def sync_batch_norm_training(
    x: Value, scale: Value, bias: Value, shards: Shards, epsilon: float = 1e-5
) -> tuple[Value, Value, Value, Value]:
    """Return the normalized batch, and the mean, biased variance and number of elements of each channel over all
    shards.

    The moments of all shards are collected by adding vectors that are 0 elsewhere, and combined without cancellation.
    Source: Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance.
    """
    means, variances = (shard_sum(ops.mul(shards.own, each)) for each in x.graph.apply(ChannelMoments(), x))
    rows = ops.reduce_sum(shards.rows, (0, 1), keepdims=False)
    weights = ops.div(shards.rows, rows)
    mean = ops.reduce_sum(ops.mul(means, weights), (0,), keepdims=False)
    apart = ops.sub(means, mean)
    var = ops.reduce_sum(ops.mul(ops.add(variances, ops.mul(apart, apart)), weights), (0,), keepdims=False)
    count = ops.mul(rows, prod(known(x.shape)[2:]))
    y = apply(SyncBn(epsilon), x, scale, bias, mean, var, ops.reciprocal(count))
    return y, mean, var, count
