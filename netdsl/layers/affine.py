"""Scaling and shifting by constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Real, Sequence
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import channel_count

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("scale")
class ScaleLayer(Layer):
    """Multiplication by a constant: y = a x.

    Shapes: [*] -> [*].

    ```net
    input image 1x28x28
    scale 1/255
    ```
    """

    a: float = positional(Real(), doc="factor")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.mul(x, self.a)


@layer("shift")
class ShiftLayer(Layer):
    """Addition of a constant: y = x + b.

    Shapes: [*] -> [*].

    ```net
    input image 1x28x28
    shift (-0.5)
    ```
    """

    b: float = positional(Real(), doc="offset")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.add(x, self.b)


@layer("normalize")
class NormalizeLayer(Layer):
    """Normalization of each channel by constants: y = (x - mean) / std.

    Shapes: [C, *] -> [C, *]; `mean` and `std` have one entry per channel.

    ```net
    input image 3x224x224
    normalize mean [0.485, 0.456, 0.406] std [0.229, 0.224, 0.225]
    ```
    """

    mean: tuple[float, ...] = keyword(Sequence(Real()), doc="mean of each channel")
    std: tuple[float, ...] = keyword(Sequence(Real(above=0)), doc="standard deviation of each channel")

    def shape(self, *xs: Shape) -> Shape:
        wanted = channel_count(xs[0])
        for name, entries in (("mean", self.mean), ("std", self.std)):
            if len(entries) != wanted:
                raise Misfit(problems.WrongLength, at=name, argument=name, given=len(entries), wanted=wanted)
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        sides = (len(self.mean), *(1,) * (len(x.shape) - 2))
        mean = ops.constant(x.graph, list(self.mean), "f32", sides)
        std = ops.constant(x.graph, list(self.std), "f32", sides)
        return ops.div(ops.sub(x, mean), std)
