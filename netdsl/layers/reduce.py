"""Reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Choice, Integer
from netdsl.declare.declared import Misfit, positional
from netdsl.diagnostics.shape_problems import OutsideShape
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


def axis_of(axis: int, x: Shape) -> int:
    """Return the axis counted from the front. Raises Misfit if the shape has no such axis."""
    if not -len(x) <= axis < len(x):
        raise Misfit(OutsideShape, at="axis", what="axis", index=axis, count=len(x))
    return axis % len(x)


@layer("reduce")
class Reduce(Layer):
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
