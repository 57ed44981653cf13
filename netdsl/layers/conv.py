"""Convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, elements
from netdsl.declare.arguments import Choice, Flag, Initializer, Integer, Padding, Sizes
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.ir.init import Init, zeros
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.window import Window, channel_count, check_borders, each, spatial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.shape import Dim
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


def _check_groups(groups: int, inputs: int, outputs: int) -> None:
    """Raise Misfit if groups do not divide the channels."""
    if inputs % groups or outputs % groups:
        raise Misfit(problems.GroupsDoNotDivide, at="groups", groups=groups, before=inputs, after=outputs)


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
        check_borders(self.pad_mode, window.pads, spatial(x), "pad_mode")
        groups, outputs = self.groups_and_outputs(channel_count(x))
        _check_groups(groups, channel_count(x), outputs)
        return (outputs, *window.out)

    def weights(self, x: Shape) -> Iterator[Weight]:
        inputs = channel_count(x)
        groups, outputs = self.groups_and_outputs(inputs)
        yield Weight("weight", (outputs, inputs // groups, *self.window(x).kernel), self.init)
        if self.bias:
            yield Weight("bias", (outputs,), self.bias_init)

    def body(self, x: Value, w: Weights) -> Value:
        shape = x.shape[1:]
        window = self.window(shape)
        pads = window.pads
        if self.pad_mode != "zeros" and any(pads):
            x, pads = ops.pad(x, pads, mode=self.pad_mode), (0,) * len(pads)
        return ops.conv(
            x,
            w.weight,
            w.get("bias"),
            strides=window.stride,
            pads=pads,
            dilations=window.dilation,
            group=self.groups_and_outputs(channel_count(shape))[0],
        )

    stride: int | tuple[int, ...] = keyword(Sizes(), 1, doc="distance between adjacent windows")
    pad: str | int | tuple[int, ...] = keyword(Padding(), "same", doc="padding of the input")
    pad_mode: str = keyword(
        Choice("zeros", "reflect", "edge", "wrap"), "zeros", doc="values of the padding, as in the layer `pad`"
    )
    dilation: int | tuple[int, ...] = keyword(Sizes(), 1, doc="distance between kernel elements")
    bias: bool = keyword(Flag(), True, doc="add a learned bias to each channel")
    init: Init = keyword(Initializer(), Init("he_normal"), doc="initializer of the weight")
    bias_init: Init = keyword(Initializer(), zeros, doc="initializer of the bias")


@layer("conv")
class ConvLayer(Convolution):
    """Convolution (strictly, cross-correlation): y[o, p] = b[o] + sum of w[o, i, k] x[i, s p + d k - pad].

    Shapes: [C, *S] -> [channels, *P] on one to three spatial axes, P = (S + pads - d (k-1) - 1) // s + 1;
    weight [channels, C / groups, *kernel], bias [channels]. `pad same` adds d (k-1) / 2 elements on each side.
    Conventions: `pad_mode` is PyTorch's padding_mode: `reflect`; `edge`, its replicate; and `wrap`, its circular.
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
class DepthwiseConvLayer(Convolution):
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


class TransposedWindow:
    """Geometry of a transposed convolution: kernel copies placed on the output, `stride` apart.

    `pads` are cropped from the output, before each axis, then after each axis; `output_pads` are added at the ends.
    """

    __slots__ = ("dilation", "kernel", "out", "output_pads", "pads", "stride")

    def __init__(self, x: Shape, call: DeconvLayer) -> None:
        sizes = spatial(x)
        rank = len(sizes)
        self.kernel = each(call.kernel, rank, "kernel")
        self.stride = each(call.stride, rank, "stride")
        self.dilation = each(call.dilation, rank, "dilation")
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        self.pads = each(0 if isinstance(call.pad, str) else call.pad, 2 * rank, "pad")
        self.output_pads = each(call.output_pad, rank, "output_pad")
        if isinstance(call.pad, str) and call.pad != "valid":
            if any(self.output_pads):
                raise Misfit(problems.BadOutputPad, at="output_pad", given=max(self.output_pads), limit=None)
            sides = [_by_rule(call.pad, span, step) for span, step in zip(spans, self.stride, strict=True)]
            befores, afters, self.output_pads = zip(*sides, strict=True)
            self.pads = befores + afters
        else:
            for given, *limits in zip(self.output_pads, self.stride, self.dilation, strict=True):
                if given >= max(limits):
                    raise Misfit(problems.BadOutputPad, at="output_pad", given=given, limit=max(limits))
        self.out = tuple(self._out(axis, size, spans[axis]) for axis, size in enumerate(sizes))

    def _out(self, axis: int, size: Dim, span: int) -> Dim:
        whole = (size - 1) * self.stride[axis] + span + self.output_pads[axis]
        cropped = self.pads[axis] + self.pads[len(self.stride) + axis]
        if isinstance(whole, int) and cropped >= whole:
            raise Misfit(problems.NothingLeft, at="pad", axis=axis + 1, size=whole, taken=cropped)
        out: Dim = whole - cropped
        return out


def _by_rule(pad: str, span: int, stride: int) -> tuple[int, int, int]:
    """Return the sizes cropped before and after, and added at the end, for a kernel that covers `span`."""
    over = span - stride
    if over < 0:
        return 0, 0, -over
    if pad == "same":
        before = -(-over // 2)
        # PyTorch and ONNX require output padding below the stride; with stride 1, crop less at the end instead.
        return (before, before, 2 * before - over) if stride > 1 else (before, over - before, 0)
    low, high = over // 2, over - over // 2
    return (low, high, 0) if pad == "same_upper" else (high, low, 0)


@layer("deconv")
class DeconvLayer(Layer):
    """Transposed convolution: each input element adds a scaled copy of the kernel to the output, `stride` apart.

    Shapes: [C, *S] -> [channels, *P] on one to three spatial axes, P = (S - 1) s + d (k - 1) + 1 - pads + output_pad;
    weight [C, channels / groups, *kernel], bias [channels].
    Conventions: with `pad same`, P = s S for even kernels too. Of the e = d (k - 1) + 1 - s excess elements,
    ceil(e / 2) are cropped at the start and floor(e / 2) at the end; if e < 0, -e zeros are added at the end.
    `deconv 3x3 64 stride 2` matches PyTorch with padding 1 and output_padding 1. TensorFlow crops floor(e / 2) at the
    start: use `pad same_upper`. The weight has PyTorch's layout. Initializers use fan_in = C / groups * area and
    fan_out = channels / groups * area.
    Source: Zeiler et al. (2010); Dumoulin & Visin (2016), section 4.

    ```net
    input x 64x8x8
    deconv 4x4 32 stride 2
    ```
    """

    kernel: int | tuple[int, ...] = positional(Sizes(), doc="kernel size")
    channels: int = positional(Integer(), doc="number of output channels")
    stride: int | tuple[int, ...] = keyword(Sizes(), 1, doc="distance in the output between input elements")
    pad: str | int | tuple[int, ...] = keyword(Padding(), "same", doc="elements cropped from the output's sides")
    output_pad: int | tuple[int, ...] = keyword(
        Sizes(0), 0, doc="elements added at the end of each output axis; not accepted with `pad same`"
    )
    dilation: int | tuple[int, ...] = keyword(Sizes(), 1, doc="distance between kernel elements")
    groups: int = keyword(Integer(), 1, doc="number of groups that the channels are split into")
    bias: bool = keyword(Flag(), True, doc="add a learned bias to each channel")
    init: Init = keyword(Initializer(), Init("he_normal"), doc="initializer of the weight")
    bias_init: Init = keyword(Initializer(), zeros, doc="initializer of the bias")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        out = TransposedWindow(x, self).out
        _check_groups(self.groups, channel_count(x), self.channels)
        return (self.channels, *out)

    def weights(self, x: Shape) -> Iterator[Weight]:
        kernel = TransposedWindow(x, self).kernel
        inputs, outputs, area = channel_count(x) // self.groups, self.channels // self.groups, elements(kernel)
        shape = (channel_count(x), outputs, *kernel)
        yield Weight("weight", shape, self.init, fan_in=inputs * area, fan_out=outputs * area)
        if self.bias:
            yield Weight("bias", (self.channels,), self.bias_init)

    def body(self, x: Value, w: Weights) -> Value:
        window = TransposedWindow(x.shape[1:], self)
        return ops.conv_transpose(
            x,
            w.weight,
            w.get("bias"),
            strides=window.stride,
            pads=window.pads,
            output_padding=window.output_pads,
            dilations=window.dilation,
            group=self.groups,
        )
