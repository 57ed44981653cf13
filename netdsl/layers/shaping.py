"""Flattening, reshaping, permuting and selecting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import Dim, Shape, Size, product
from netdsl.declare.arguments import Dims, Integer, Sequence
from netdsl.declare.declared import positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import channel_count

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights

REST = Size("?")
"""A size written as a bare `?`."""


@layer("flatten")
class FlattenLayer(Layer):
    """Flattening to one axis, channels first.

    Shapes: [C, *S] -> [C * product of S].

    ```net
    input image 3x32x32
    flatten
    ```
    """

    dtype_transparent = True

    def shape(self, *xs: Shape) -> Shape:
        return (product(xs[0]),)

    def body(self, x: Value, w: Weights) -> Value:
        return ops.flatten(x)


@layer("reshape")
class ReshapeLayer(Layer):
    """Reshaping: the same values, in the same order, with a new shape.

    Shapes: [*] -> [sizes], with the same number of values. One size may be `?` and is then inferred from the others.
    Conventions: values are in row-major order, channels first. The batch axis is unchanged.

    ```net
    input x 784
    reshape 1x28x28
    ```
    """

    dtype_transparent = True
    sizes: tuple[Dim, ...] = positional(Dims(), doc="new shape, without the batch")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        # Sizes known only at run time that are in both shapes are left out of the count.
        left, wanted = list(x), [size for size in self.sizes if size != REST]
        for size in [size for size in wanted if isinstance(size, Size) and size in left]:
            left.remove(size)
            wanted.remove(size)
        before, after = product(tuple(left)), product(tuple(wanted))
        rest: Dim = 1
        if REST in self.sizes:
            if self.sizes.count(REST) > 1:
                raise Misfit(problems.ReshapeMismatch, at="sizes", wanted=self.sizes, before=before, after=after)
            if not isinstance(after, int):
                raise Misfit(problems.NeedsNumber, at="sizes")
            rest = before // after
        if rest * after != before:
            raise Misfit(problems.ReshapeMismatch, at="sizes", wanted=self.sizes, before=before, after=after)
        out = tuple(rest if size == REST else size for size in self.sizes)
        if not ops.can_reshape(x, out):
            raise Misfit(problems.NeedsNumber, at="sizes")
        return out

    def body(self, x: Value, w: Weights) -> Value:
        return ops.reshape(x, self.shape(x.shape[1:]))


@layer("permute")
class PermuteLayer(Layer):
    """Permutation of the axes: axis i of the output is axis `axes[i]` of the input.

    Shapes: [A, B, …] -> the same sizes in the new order. Axes count from 0 (the channels), excluding the batch;
    negative axes count from the end.
    Conventions: PyTorch's permute also counts the batch axis.

    ```net
    input image 224x224x3
    permute [2, 0, 1]
    ```
    """

    dtype_transparent = True
    axes: tuple[int, ...] = positional(Sequence(Integer(-SIZE)), doc="input axes in the new order")

    def order(self, rank: int) -> tuple[int, ...]:
        """Return the axes counted from the front. Raises Misfit."""
        order = tuple(axis + rank if axis < 0 else axis for axis in self.axes)
        if sorted(order) != list(range(rank)):
            raise Misfit(problems.NotAnOrder, at="axes", order=self.axes)
        return order

    def shape(self, *xs: Shape) -> Shape:
        return tuple(xs[0][axis] for axis in self.order(len(xs[0])))

    def body(self, x: Value, w: Weights) -> Value:
        return ops.transpose(x, (0, *(axis + 1 for axis in self.order(len(x.shape) - 1))))


@layer("select")
class SelectLayer(Layer):
    """Selection of channels, in the given order.

    Shapes: [C, *S] -> [len(channels), *S]. Channels count from 0; negative ones count from the end.
    Source: LeCun et al. (1998), table I (connections of C3).

    ```net
    input maps 6x14x14
    select [0, 1, 2]
    ```
    """

    dtype_transparent = True
    channels: tuple[int, ...] = positional(Sequence(Integer(-SIZE)), doc="channels to select")

    def shape(self, *xs: Shape) -> Shape:
        count = channel_count(xs[0])
        for channel in self.channels:
            if not -count <= channel < count:
                raise Misfit(problems.OutsideShape, at="channels", what="channel", index=channel, count=count)
        return (len(self.channels), *xs[0][1:])

    def body(self, x: Value, w: Weights) -> Value:
        count = channel_count(x.shape[1:])
        return ops.gather(x, [channel % count for channel in self.channels], axis=1)


@layer("identity")
class IdentityLayer(Layer):
    """Identity: y = x.

    Shapes: [*] -> [*].

    ```net
    input x 784
    identity
    ```
    """

    dtype_transparent = True

    def body(self, x: Value, w: Weights) -> Value:
        return x
