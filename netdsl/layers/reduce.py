"""An axis reduced to one value."""

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
    """The axis counted from the front. Raises Misfit where the shape has none such."""
    if not -len(x) <= axis < len(x):
        raise Misfit(OutsideShape, at="axis", what="axis", index=axis, count=len(x))
    return axis % len(x)


@layer("reduce")
class Reduce(Layer):
    """The mean, the sum or the largest of the values along an axis, which stays as 1.

    Shapes: [*, A, *] -> [*, 1, *]. Axes count from 0, the channels, without the batch; negative ones from the end.

    ```net
    input x 64x8x8
    reduce mean 0
    ```
    """

    how: str = positional(Choice("mean", "sum", "max"), doc="what is made of the values")
    axis: int = positional(Integer(-SIZE), doc="the axis along which they lie")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        axis = axis_of(self.axis, x)
        return (*x[:axis], 1, *x[axis + 1 :])

    def body(self, x: Value, w: Weights) -> Value:
        reduce = {"mean": ops.reduce_mean, "sum": ops.reduce_sum, "max": ops.reduce_max}[self.how]
        return reduce(x, (axis_of(self.axis, x.shape[1:]) + 1,))
