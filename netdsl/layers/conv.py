"""Convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Flag, Initialiser, Integer, Padding, Sizes
from netdsl.declare.declared import Misfit, keyword, positional
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.diagnostics.window_problems import GroupsDoNotDivide
from netdsl.ir.init import Init, zeros
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


class Convolution(Layer):
    """Base class of convolutions; subclasses define how channels are grouped."""

    kernel: int | tuple[int, ...] = positional(Sizes(), doc="kernel size")

    def groups_and_outputs(self, inputs: int) -> tuple[int, int]:
        """Return the numbers of groups and output channels for this number of input channels."""
        raise NotImplementedError

    def window(self, x: Shape) -> Window:
        """Return the window on an input of this shape. Raises Misfit."""
        return Window(x, self.kernel, self.stride, self.pad, self.dilation)

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        window = self.window(x)
        if not isinstance(x[0], int):
            raise Misfit(NeedsNumber)
        groups, outputs = self.groups_and_outputs(x[0])
        if x[0] % groups or outputs % groups:
            raise Misfit(GroupsDoNotDivide, at="groups", groups=groups, before=x[0], after=outputs)
        return (outputs, *window.out)

    def weights(self, x: Shape) -> Iterator[Weight]:
        assert isinstance(x[0], int)
        groups, outputs = self.groups_and_outputs(x[0])
        yield Weight("weight", (outputs, x[0] // groups, *self.window(x).kernel), self.init)
        if self.bias:
            yield Weight("bias", (outputs,), self.bias_init)

    def body(self, x: Value, w: Weights) -> Value:
        shape = x.shape[1:]
        assert isinstance(shape[0], int)
        window = self.window(shape)
        return ops.conv(
            x,
            w.weight,
            w.get("bias"),
            strides=window.stride,
            pads=window.pads,
            dilations=window.dilation,
            group=self.groups_and_outputs(shape[0])[0],
        )

    stride: int | tuple[int, ...] = keyword(Sizes(), 1, doc="distance between adjacent windows")
    pad: str | int | tuple[int, ...] = keyword(Padding(), "same", doc="zero padding of the input")
    dilation: int | tuple[int, ...] = keyword(Sizes(), 1, doc="distance between kernel elements")
    bias: bool = keyword(Flag(), True, doc="add a learned bias to each channel")
    init: Init = keyword(Initialiser(), Init("he_normal"), doc="initializer of the weight")
    bias_init: Init = keyword(Initialiser(), zeros, doc="initializer of the bias")


@layer("conv")
class Conv(Convolution):
    """Convolution (strictly, cross-correlation): y[o, p] = b[o] + sum of w[o, i, k] x[i, s p + d k - pad].

    Shapes: [C, *S] -> [channels, *P] on one to three spatial axes, P = (S + pads - d (k-1) - 1) // s + 1;
    weight [channels, C / groups, *kernel], bias [channels]. `pad same` adds d (k-1) / 2 zeros on each side.
    Source: LeCun et al. (1989); groups, Krizhevsky et al. (2012); dilation, Yu & Koltun (2016); init He et al. (2015).

    ```net
    input image 3x32x32
    conv 3x3 64 stride 2
    ```
    """

    channels: int | None = positional(Integer(), None, doc="number of output channels; by default, the input's")
    groups: int = keyword(Integer(), 1, doc="number of groups that the channels are split into")

    def groups_and_outputs(self, inputs: int) -> tuple[int, int]:
        return self.groups, self.channels or inputs


@layer("dwconv")
class DepthwiseConv(Convolution):
    """Depthwise convolution: each channel has its own kernel, or `multiplier` kernels.

    Shapes: [C, *S] -> [C multiplier, *P], P as for `conv`; weight [C multiplier, 1, *kernel], bias [C multiplier].
    Source: Sifre (2014); Howard et al. (2017).

    ```net
    input image 3x32x32
    dwconv 3x3
    ```
    """

    multiplier: int = keyword(Integer(), 1, doc="number of output channels per input channel")

    def groups_and_outputs(self, inputs: int) -> tuple[int, int]:
        return inputs, inputs * self.multiplier
