"""Normalization by the statistics of each example, identical in training and inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, product
from netdsl.declare.arguments import Flag, Integer, Real
from netdsl.declare.declared import Misfit, keyword, positional
from netdsl.diagnostics.layer_problems import Indivisible
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.ir.init import ones, zeros
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.window import spatial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


class SampleNorm(Layer):
    """Base class of y = weight (x - mean) / sqrt(var + eps) + bias, with a weight and a bias for each channel."""

    eps: float = keyword(Real(above=0), 1e-5, doc="added to the variance for numerical stability")
    affine: bool = keyword(Flag(), True, doc="learn a scale and an offset for each channel")

    def shape(self, *xs: Shape) -> Shape:
        if not isinstance(xs[0][0], int):
            raise Misfit(NeedsNumber)
        return xs[0]

    def weights(self, x: Shape) -> Iterator[Weight]:
        assert isinstance(x[0], int)
        if self.affine:
            yield Weight("weight", (x[0],), ones)
            yield Weight("bias", (x[0],), zeros)


def _affine(x: Value, w: Weights, count: int) -> tuple[Value, Value]:
    """Return scale and offset, or 1 and 0 if they are not learned."""
    scale, offset = w.get("weight"), w.get("bias")
    if scale is None or offset is None:
        return ops.constant(x.graph, 1.0, shape=(count,)), ops.constant(x.graph, 0.0, shape=(count,))
    return scale, offset


@layer("layernorm")
class LayerNorm(SampleNorm):
    """Layer normalization over the channels at each position: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S]; weight, bias [C]. The mean and the biased variance are taken over the C values at each
    position.
    Conventions: as in transformers and ConvNeXt, and as PyTorch's LayerNorm(C) on channels-last data. The paper
    normalizes over all values of an example: the same for a flat input; otherwise use `groupnorm 1`.
    Source: Ba, Kiros & Hinton (2016), eq. 3.

    ```net
    input x 64x20
    layernorm
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        rank = len(x.shape)
        channels = x.shape[1]
        assert isinstance(channels, int)
        scale, offset = _affine(x, w, channels)
        if rank == 2:
            return ops.layer_norm(x, scale, offset, self.eps)
        last = ops.transpose(x, (0, *range(2, rank), 1))
        return ops.transpose(ops.layer_norm(last, scale, offset, self.eps), (0, rank - 1, *range(1, rank - 1)))


@layer("instancenorm")
class InstanceNorm(SampleNorm):
    """Instance normalization of each channel: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S] on one to three spatial axes; weight, bias [C]. The mean and the biased variance are
    taken over each channel of each example.
    Conventions: scale and offset are learned, as in the paper; PyTorch's default is `affine off`.
    Source: Ulyanov, Vedaldi & Lempitsky (2016), eq. 7.

    ```net
    input x 64x8x8
    instancenorm
    ```
    """

    def shape(self, *xs: Shape) -> Shape:
        spatial(xs[0])
        return super().shape(*xs)

    def body(self, x: Value, w: Weights) -> Value:
        channels = x.shape[1]
        assert isinstance(channels, int)
        return ops.instance_norm(x, *_affine(x, w, channels), self.eps)


@layer("groupnorm")
class GroupNorm(SampleNorm):
    """Group normalization of each group of channels: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S]; weight, bias [C]. The mean and the biased variance are taken over the C / groups
    channels of each group of each example; `groupnorm 1` normalizes over all values of an example.
    Source: Wu & He (2018), eq. 1 to 4.

    ```net
    input x 64x8x8
    groupnorm 32
    ```
    """

    groups: int = positional(Integer(), doc="number of groups that the channels are split into")

    def shape(self, *xs: Shape) -> Shape:
        shape = super().shape(*xs)
        assert isinstance(shape[0], int)
        if shape[0] % self.groups:
            raise Misfit(Indivisible, at="groups", parts=self.groups, channels=shape[0])
        return shape

    def body(self, x: Value, w: Weights) -> Value:
        _, channels, *sizes = x.shape
        assert isinstance(channels, int)
        # A group becomes one channel. The other axes keep their positions, because Reshape infers only one size.
        wide = (channels // self.groups * product(tuple(sizes[:1])), *sizes[1:])
        scale, offset = (ops.constant(x.graph, each, shape=(self.groups,)) for each in (1.0, 0.0))
        y = ops.instance_norm(ops.reshape(x, (self.groups, *wide)), scale, offset, self.eps)
        y = ops.reshape(y, (channels, *sizes))
        if not self.affine:
            return y
        each = (channels, *(1 for _ in sizes))
        weight, bias = (ops.reshape(v, each, batch=False) if sizes else v for v in (w.weight, w.bias))
        return ops.add(ops.mul(y, weight), bias)
