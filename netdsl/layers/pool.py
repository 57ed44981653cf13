"""Pooling: what a window holds, in one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.diagnostics.shape_problems import PadTooLarge
from netdsl.layers.arguments import Flag, Padding, Sizes
from netdsl.layers.base import Layer, Misfit, Shape, keyword, layer, positional
from netdsl.layers.window import Window, spatial

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.lower import Weights


class Pool(Layer):
    """A window on each channel for itself."""

    kernel: int | tuple[int, ...] = positional(Sizes(), doc="size of the window")
    stride: int | tuple[int, ...] | None = keyword(Sizes(), None, doc="step of the window; its size, if left out")
    pad: str | int | tuple[int, ...] = keyword(Padding(), 0, doc="cells around the input")
    ceil: bool = keyword(Flag(), False, doc="keep a last window that reaches beyond the input")

    def window(self, x: Shape) -> Window:
        """The window on an input of this shape. Raises Misfit."""
        window = Window(x, self.kernel, self.stride, self.pad, ceil=self.ceil)
        for pad, kernel in zip(window.pads, window.kernel * 2, strict=True):
            if pad >= kernel:
                raise Misfit(PadTooLarge, at="pad", pad=pad, window=kernel)
        return window

    def shape(self, *xs: Shape) -> Shape:
        return (xs[0][0], *self.window(xs[0]).out)


@layer("maxpool")
class MaxPool(Pool):
    """The largest value of each window; padding is never the largest.

    Shapes: [C, *S] -> [C, *P], P = (S + pads - k) // stride + 1; with `ceil on` rounded up, and a last window that
    would start in the padding or beyond the input is dropped, as PyTorch does. The stride is the kernel unless given.
    Source: Weng, Ahuja & Huang (1992); overlapping windows, Krizhevsky et al. (2012), section 3.4.

    ```net
    input image 3x32x32
    maxpool 3x3 stride 2 pad 1
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        window = self.window(x.shape[1:])
        return ops.max_pool(x, window.kernel, window.stride, window.pads, extra=window.extra)


@layer("avgpool")
class AvgPool(Pool):
    """The mean of each window, of the cells inside the input alone unless `count_pad on`.

    Shapes: as for `maxpool`. What a last ceil window reads beyond the padding never counts, as in PyTorch.
    Source: LeCun et al. (1990).

    ```net
    input image 3x32x32
    avgpool 2x2
    ```
    """

    count_pad: bool = keyword(Flag(), False, doc="count the padding as zeros")

    def body(self, x: Value, w: Weights) -> Value:
        window = self.window(x.shape[1:])
        return ops.average_pool(
            x, window.kernel, window.stride, window.pads, count_include_pad=self.count_pad, extra=window.extra
        )


class GlobalPool(Layer):
    """One number for each channel; the axes stay, as 1."""

    def shape(self, *xs: Shape) -> Shape:
        return (xs[0][0], *(1 for _ in spatial(xs[0])))


@layer("global_avgpool")
class GlobalAvgPool(GlobalPool):
    """The mean of each channel.

    Shapes: [C, *S] -> [C, 1, …], an axis for each that there was.
    Source: Lin, Chen & Yan (2014), section 3.2.

    ```net
    input image 3x32x32
    global_avgpool
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.global_average_pool(x)


@layer("global_maxpool")
class GlobalMaxPool(GlobalPool):
    """The largest value of each channel.

    Shapes: [C, *S] -> [C, 1, …], an axis for each that there was.
    Source: Oquab et al. (2015).

    ```net
    input image 3x32x32
    global_maxpool
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.global_max_pool(x)
