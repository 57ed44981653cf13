"""Merges of several inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.limits import LAYERS, SIZE
from netdsl.base.shape import Dim, Shape
from netdsl.declare.arguments import Flag, Integer
from netdsl.declare.declared import keyword
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import axis_of

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


class MergeLayer(Layer):
    """Base class of operations on several inputs."""

    operands = range(1, LAYERS)
    flow_first = True
    variadic = True


class ElementwiseMerge(MergeLayer):
    """Base class of elementwise operations on inputs of equal shape, or with `spread on`, of the same rank."""

    spread: bool = keyword(Flag(), False, doc="repeat axes of size 1 along those of the other inputs")

    def shape(self, *xs: Shape) -> Shape:
        if self.spread:
            return spread_shape(xs)
        if any(x != xs[0] for x in xs):
            raise Misfit(problems.MergeMismatch)
        return xs[0]


class SpreadingMerge(MergeLayer):
    """Base class of elementwise operations that always repeat axes of size 1."""

    def shape(self, *xs: Shape) -> Shape:
        return spread_shape(xs)


def spread_shape(shapes: tuple[Shape, ...]) -> Shape:
    """Return the common shape of inputs whose axes of size 1 are repeated. Raises Misfit."""
    result = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(result):
            raise Misfit(problems.MergeMismatch)
        for axis, (a, b) in enumerate(zip(result, shape, strict=True)):
            if a != b and a != 1 and b != 1:
                raise Misfit(problems.MergeMismatch)
            result[axis] = b if a == 1 else a
    return tuple(result)


@layer("add")
class AddLayer(ElementwiseMerge):
    """Elementwise sum: y = a + b + ….

    Shapes: [*], [*], … -> [*], all of the same shape; with `spread on`, all of the same rank, and axes of size 1 are
    repeated.

    ```net
    input x 64x8x8
    add { conv 3x3 } { conv 1x1 }
    ```
    """

    def body(self, *xs: Value) -> Value:
        return ops.add(*xs)


@layer("sub")
class SubLayer(ElementwiseMerge):
    """Elementwise difference: y = a - b - ….

    Shapes: [*], [*], … -> [*], all of the same shape; with `spread on`, all of the same rank, and axes of size 1 are
    repeated.

    ```net
    input x 64x8x8
    sub { conv 3x3 } { conv 1x1 }
    ```
    """

    def body(self, *xs: Value) -> Value:
        return ops.sub(*xs)


@layer("mul")
class MulLayer(SpreadingMerge):
    """Elementwise product: y = a b …; a single branch gates the input.

    Shapes: [*], [*], … -> [*], all of the same rank; axes of size 1 are broadcast.

    ```net
    input x 64x8x8
    mul { global_avgpool; conv 1x1 64; sigmoid }
    ```
    """

    def body(self, *xs: Value) -> Value:
        return ops.mul(*xs)


@layer("div")
class DivLayer(SpreadingMerge):
    """Elementwise quotient: y = a / b / ….

    Shapes: [*], [*], … -> [*], all of the same rank; axes of size 1 are broadcast.

    ```net
    input x 64x8x8
    div { global_avgpool }
    ```
    """

    def body(self, *xs: Value) -> Value:
        return ops.div(*xs)


@layer("max")
class MaxLayer(ElementwiseMerge):
    """Elementwise maximum: y = max(a, b, …).

    Shapes: [*], [*], … -> [*], all of the same shape; with `spread on`, all of the same rank, and axes of size 1 are
    repeated.
    Source: Goodfellow et al. (2013).

    ```net
    input x 64x8x8
    max { conv 3x3 } { conv 3x3 }
    ```
    """

    def body(self, *xs: Value) -> Value:
        return ops.maximum(*xs)


@layer("min")
class MinLayer(ElementwiseMerge):
    """Elementwise minimum: y = min(a, b, …).

    Shapes: [*], [*], … -> [*], all of the same shape; with `spread on`, all of the same rank, and axes of size 1 are
    repeated.

    ```net
    input x 64x8x8
    min { conv 3x3 } { conv 3x3 }
    ```
    """

    def body(self, *xs: Value) -> Value:
        return ops.minimum(*xs)


@layer("concat")
class ConcatLayer(MergeLayer):
    """Concatenation along an axis, by default the channels.

    Shapes: [A, *S], [B, *S], … -> [A + B + …, *S]. Axes count from 0 (the channels), excluding the batch;
    negative axes count from the end.
    Source: Szegedy et al. (2014), figure 2.

    ```net
    input x 64x8x8
    concat { conv 1x1 32 } { conv 3x3 32 }
    ```
    """

    dtype_transparent = True
    axis: int = keyword(Integer(-SIZE), 0, doc="axis along which the inputs are joined")

    def shape(self, *xs: Shape) -> Shape:
        axis = axis_of(self.axis, xs[0])
        rest = (len(xs[0]), xs[0][:axis], xs[0][axis + 1 :])
        if any((len(x), x[:axis], x[axis + 1 :]) != rest for x in xs):
            raise Misfit(problems.ConcatMismatch, axis=self.axis)
        total: Dim = 0
        for x in xs:
            total = total + x[axis]
        return (*xs[0][:axis], total, *xs[0][axis + 1 :])

    def body(self, *xs: Value) -> Value:
        return ops.concat(ops.spread(*xs), axis=axis_of(self.axis, xs[0].shape[1:]) + 1)
