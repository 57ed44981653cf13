"""Pooling and reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Choice, Flag, Integer, Padding, Sizes
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import Window, axis_of, each, spatial

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


class PoolLayer(Layer):
    """Base class of pooling over windows, separately for each channel."""

    kernel: int | tuple[int, ...] = positional(Sizes(), doc="window size")
    stride: int | tuple[int, ...] | None = keyword(
        Sizes(), None, doc="distance between adjacent windows; by default, the window size"
    )
    pad: str | int | tuple[int, ...] = keyword(Padding(), 0, doc="padding of the input")
    ceil: bool = keyword(Flag(), False, doc="keep a last window that extends beyond the padded input")

    def window(self, x: Shape) -> Window:
        """Return the window on an input of this shape. Raises Misfit."""
        window = Window(x, self.kernel, self.stride, self.pad, ceil=self.ceil)
        for pad, kernel in zip(window.pads, window.kernel * 2, strict=True):
            if pad >= kernel:
                raise Misfit(problems.PadTooLarge, at="pad", pad=pad, window=kernel)
        return window

    def shape(self, *xs: Any) -> Shape:
        return (xs[0][0], *self.window(xs[0]).out)


@layer("maxpool")
class MaxPoolLayer(PoolLayer):
    """Max pooling: the maximum of each window, ignoring padding.

    Shapes: [C, *S] -> [C, *P], P = (S + pads - k) // stride + 1; `ceil on` rounds up instead of down, but drops a last
    window that would start in the padding or beyond the input. The stride defaults to the kernel size.
    Conventions: output sizes match PyTorch's. `ceil on` matches Caffe, where the last window may extend beyond the
    padded input by less than the stride.
    Source: Weng, Ahuja & Huang (1992); overlapping windows, Krizhevsky et al. (2012), section 3.4.

    ```net
    input image 3x32x32
    maxpool 3x3 stride 2 pad 1
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        window = self.window(x.shape[1:])
        return ops.max_pool(x, window.kernel, window.stride, window.pads, extra=window.extra)


@layer("unpool")
class UnpoolLayer(PoolLayer):
    """Max unpooling: each element goes where a max pool of another value found its maximum; the rest is 0.

    Shapes: [C, *P], and [C, *S] before the pool -> [C, *S], with P as for `maxpool` with the same arguments on S.
    Conventions: the operand is what the pool reads, and the arguments are the pool's: `x: relu; maxpool 2x2`, and later
    `unpool 2x2 x`. PyTorch's MaxUnpool2d with the indices of MaxPool2d. Windows must not overlap, since two of them
    could have the same maximum. The gradient flows to the input alone.
    Source: Zeiler & Fergus (2014), section 2.1; Badrinarayanan, Kendall & Cipolla (2017), SegNet.

    ```net
    input image 3x32x32
    x: conv 3x3 8
    maxpool 2x2
    relu
    unpool 2x2 x
    ```
    """

    operands = (1,)
    operand_usage = "LABEL"
    operand_names = ("", "pooled")
    flow_first = True

    def shape(self, x: Shape, pooled: Shape) -> Shape:
        window = self.window(pooled)
        for stride, kernel in zip(window.stride, window.kernel, strict=True):
            if stride < kernel:
                raise Misfit(problems.WindowsOverlap, at="stride", stride=stride, window=kernel)
        wanted = (pooled[0], *window.out)
        if x != wanted:
            raise Misfit(problems.NotPooled, wanted=wanted)
        rank = len(window.kernel)
        for axis, size in enumerate(pooled[1:]):
            both = window.pads[axis] + window.pads[rank + axis]
            if not isinstance(size, int) and both >= window.kernel[axis]:
                raise Misfit(
                    problems.NeedsNumber, at="pad"
                )  # a runtime rejects a single window that the padding exceeds
        return pooled

    def body(self, x: Value, pooled: Value, w: Weights) -> Value:
        window = self.window(pooled.shape[1:])
        return ops.max_unpool(x, pooled, window.kernel, window.stride, window.pads, extra=window.extra)


@layer("avgpool")
class AvgPoolLayer(PoolLayer):
    """Average pooling: the mean of each window, excluding padding unless `count_pad on`.

    Shapes: [C, *S] -> [C, *P], P as for `maxpool`.
    Conventions: PyTorch and Caffe count the padding by default. With `ceil on`, elements of the last window beyond the
    padding never count, as in PyTorch.
    Source: LeCun et al. (1990).

    ```net
    input image 3x32x32
    avgpool 2x2
    ```
    """

    count_pad: bool = keyword(Flag(), False, doc="include padding, as zeros, in the mean")

    def body(self, x: Value, w: Weights) -> Value:
        window = self.window(x.shape[1:])
        return ops.average_pool(
            x, window.kernel, window.stride, window.pads, count_include_pad=self.count_pad, extra=window.extra
        )


class GlobalPoolLayer(Layer):
    """Base class of pooling over all positions of a channel, which keeps the axes with size 1."""

    def shape(self, *xs: Shape) -> Shape:
        return (xs[0][0], *(1 for _ in spatial(xs[0])))


@layer("global_avgpool")
class GlobalAvgPoolLayer(GlobalPoolLayer):
    """Global average pooling: the mean of each channel.

    Shapes: [C, *S] -> [C, 1, …]; every spatial axis is kept with size 1.
    Source: Lin, Chen & Yan (2014), section 3.2.

    ```net
    input image 3x32x32
    global_avgpool
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.global_average_pool(x)


@layer("adaptive_avgpool")
class AdaptiveAvgPoolLayer(Layer):
    """Adaptive average pooling: y[i] is the mean of x[j] over floor(i S / P) <= j < ceil((i + 1) S / P).

    Shapes: [C, *S] -> [C, *P] on one to three spatial axes, P being `sizes`.
    Conventions: as in PyTorch, windows overlap if S is not a multiple of P; otherwise this is `avgpool`. P may be
    larger than S; elements are then repeated.
    Source: He et al. (2014), section 2.3.

    ```net
    input image 512x14x14
    adaptive_avgpool 6x6
    ```
    """

    sizes: int | tuple[int, ...] = positional(Sizes(), doc="output size of each axis")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        before = spatial(x)
        after = each(self.sizes, len(before), "sizes")
        if any(not isinstance(b, int) and a != 1 for b, a in zip(before, after, strict=True)):
            raise Misfit(problems.NeedsNumber, at="sizes")
        return (x[0], *after)

    def body(self, x: Value, w: Weights) -> Value:
        sizes = x.shape[2:]
        after = each(self.sizes, len(sizes), "sizes")
        if all(size == 1 for size in after):
            return ops.global_average_pool(x)
        if all(isinstance(b, int) and b % a == 0 for b, a in zip(sizes, after, strict=True)):
            kernel = [b // a for b, a in zip(sizes, after, strict=True) if isinstance(b, int)]
            return ops.average_pool(x, kernel, kernel)
        for axis, (size, windows) in enumerate(zip(sizes, after, strict=True), 2):
            if windows == 1:
                x = ops.reduce_mean(x, (axis,))
            elif size != windows:
                x = _means(x, axis, windows)
        return x


def _means(x: Value, axis: int, count: int) -> Value:
    """Return the means of adaptive windows along an axis by gathering, weighting and summing.

    Windows shorter than the longest repeat their last element with a weight of 0.
    """
    size = x.shape[axis]
    assert isinstance(size, int)
    windows = [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    longest = max(map(len, windows))
    places = [min(i, window[-1]) for window in windows for i in range(window[0], window[0] + longest)]
    shares = [1 / len(window) if i < len(window) else 0.0 for window in windows for i in range(longest)]
    cells = ops.gather(x, ops.constant(x.graph, places, "i64", (count, longest)), axis)
    weights = ops.constant(x.graph, shares, "f32", (count, longest, *(1 for _ in x.shape[axis + 1 :])))
    return ops.reduce_sum(ops.mul(cells, weights), (axis + 1,), keepdims=False)


@layer("global_maxpool")
class GlobalMaxPoolLayer(GlobalPoolLayer):
    """Global max pooling: the maximum of each channel.

    Shapes: [C, *S] -> [C, 1, …]; every spatial axis is kept with size 1.
    Source: Oquab et al. (2015).

    ```net
    input image 3x32x32
    global_maxpool
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.global_max_pool(x)


@layer("reduce")
class ReduceLayer(Layer):
    """Mean, sum or maximum along an axis, which is kept with size 1.

    Shapes: [*, A, *] -> [*, 1, *]. Axes count from 0 (the channels), excluding the batch; negative axes
    count from the end.

    ```net
    input x 64x8x8
    reduce mean 0
    ```
    """

    how: str = positional(Choice("mean", "sum", "max"), doc="reduction to apply")
    axis: int = positional(Integer(-SIZE), doc="axis to reduce")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        axis = axis_of(self.axis, x)
        return (*x[:axis], 1, *x[axis + 1 :])

    def body(self, x: Value, w: Weights) -> Value:
        reduce = {"mean": ops.reduce_mean, "sum": ops.reduce_sum, "max": ops.reduce_max}[self.how]
        return reduce(x, (axis_of(self.axis, x.shape[1:]) + 1,))
