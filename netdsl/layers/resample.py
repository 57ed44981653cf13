"""Finer and coarser grids, and channels made into places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Choice, Flag, Integer, Sizes
from netdsl.declare.declared import Misfit, keyword, positional
from netdsl.diagnostics.layer_problems import Indivisible
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import each, spatial

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("upsample")
class Upsample(Layer):
    """A finer grid by a whole factor: each element repeated, or linear interpolation between neighbours.

    Shapes: [C, *S] -> [C, *(factor S)] on one to three spatial axes; `bilinear` is linear on one, trilinear on three.
    Conventions: elements are cells, and the middles of the finer ones lie at (i + 1/2) / factor - 1/2, constant beyond
    the outermost: PyTorch's align_corners=False, ONNX's half_pixel. With `align on` the corners' middles meet instead,
    i (S - 1) / (factor S - 1): PyTorch's align_corners=True.

    ```net
    input x 64x8x8
    upsample 2 bilinear
    ```
    """

    factor: int | tuple[int, ...] = positional(Sizes(), doc="how many times as large")
    how: str = positional(Choice("nearest", "bilinear"), "nearest", doc="what is put between")
    align: bool = keyword(Flag(), False, doc="let the corners meet; for `bilinear`")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        sizes = spatial(x)
        factors = each(self.factor, len(sizes), "factor")
        return (x[0], *(size * factor for size, factor in zip(sizes, factors, strict=True)))

    def body(self, x: Value, w: Weights) -> Value:
        factors = each(self.factor, len(x.shape) - 2, "factor")
        linear = self.how == "bilinear"
        return ops.resize(x, factors, linear=linear, corners=linear and self.align)


@layer("pixel_shuffle")
class PixelShuffle(Layer):
    """Channels made into places, as after a sub-pixel convolution: y[c, r h + i, r w + j] = x[(c r + i) r + j, h, w].

    Shapes: [C r^d, *S] -> [C, *(r S)] on d = one to three spatial axes.
    Conventions: the channels' order is PyTorch's, ONNX's CRD; TensorFlow's depth_to_space is ONNX's DCR.
    Source: Shi et al. (2016), eq. 4.

    ```net
    input x 64x8x8
    pixel_shuffle 2
    ```
    """

    factor: int = positional(Integer(), doc="how many times as large")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        sizes = spatial(x)
        if not isinstance(x[0], int):
            raise Misfit(NeedsNumber)
        parts = self.factor ** len(sizes)
        if x[0] % parts:
            raise Misfit(Indivisible, at="factor", parts=parts, channels=x[0])
        return (x[0] // parts, *(size * self.factor for size in sizes))

    def body(self, x: Value, w: Weights) -> Value:
        rank = len(x.shape) - 2
        if rank == 2:
            return ops.depth_to_space(x, self.factor)
        for _ in range(rank):
            x = self._longer(x)
            if rank > 1:  # the last axis comes first, so that each is the last once
                x = ops.transpose(x, (0, 1, rank + 1, *range(2, rank + 1)))
        return x

    def _longer(self, x: Value) -> Value:
        """The last axis made longer. Sizes that Reshape does not work out itself must keep their places."""
        _, channels, *sizes = x.shape
        rank = len(sizes)
        assert isinstance(channels, int)
        x = ops.transpose(x, (0, *range(2, rank + 2), 1))
        x = ops.reshape(x, (*sizes, channels // self.factor, self.factor))
        x = ops.transpose(x, (0, rank + 1, *range(1, rank + 1), rank + 2))
        return ops.reshape(x, (channels // self.factor, *sizes[:-1], sizes[-1] * self.factor))


@layer("channel_shuffle")
class ChannelShuffle(Layer):
    """Channels dealt out anew: split into groups, the first of each group, then the second of each, and so on.

    Shapes: [C, *S] -> [C, *S].
    Source: Zhang et al. (2018), section 3.1.

    ```net
    input x 64x8x8
    channel_shuffle 4
    ```
    """

    groups: int = positional(Integer(), doc="into how many parts the channels are split")

    def shape(self, *xs: Shape) -> Shape:
        channels = xs[0][0]
        if not isinstance(channels, int):
            raise Misfit(NeedsNumber)
        if channels % self.groups:
            raise Misfit(Indivisible, at="groups", parts=self.groups, channels=channels)
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        channels = x.shape[1]
        assert isinstance(channels, int)
        each = channels // self.groups
        return ops.gather(x, [g * each + c for c in range(each) for g in range(self.groups)], axis=1)
