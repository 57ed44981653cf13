"""Elementwise functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Real
from netdsl.declare.declared import positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("square")
class SquareLayer(Layer):
    """Square: y = x^2.

    Shapes: [*] -> [*].

    ```net
    input x 784
    square
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.mul(x, x)


@layer("sqrt")
class SqrtLayer(Layer):
    """Square root: y = x^(1/2).

    Shapes: [*] -> [*]. The result is NaN where x < 0.

    ```net
    input x 784
    sqrt
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sqrt(x)


@layer("abs")
class AbsLayer(Layer):
    """Absolute value: y = |x|.

    Shapes: [*] -> [*].

    ```net
    input x 784
    abs
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.abs(x)


@layer("exp")
class ExpLayer(Layer):
    """Exponential: y = e^x.

    Shapes: [*] -> [*].

    ```net
    input x 784
    exp
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.exp(x)


@layer("log")
class LogLayer(Layer):
    """Natural logarithm: y = ln x.

    Shapes: [*] -> [*]. The result is -infinity at 0, and NaN where x < 0.

    ```net
    input x 784
    log
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.log(x)


@layer("sin")
class SinLayer(Layer):
    """Sine of an angle in radians: y = sin x.

    Shapes: [*] -> [*].

    ```net
    input x 784
    sin
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sin(x)


@layer("cos")
class CosLayer(Layer):
    """Cosine of an angle in radians: y = cos x.

    Shapes: [*] -> [*].

    ```net
    input x 784
    cos
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.cos(x)


@layer("clip")
class ClipLayer(Layer):
    """Clamping to a range: y = min(max(x, low), high).

    Shapes: [*] -> [*].
    Conventions: write a negative limit in parentheses: `clip (-1) 1`, which is PyTorch's Hardtanh.

    ```net
    input x 784
    clip (-1) 1
    ```
    """

    low: float = positional(Real(), doc="lower limit")
    high: float = positional(Real(), doc="upper limit")

    def shape(self, *xs: Shape) -> Shape:
        if self.low > self.high:
            raise Misfit(problems.WrongOrder, at="high", low=self.low, high=self.high)
        return xs[0]

    @property
    def saturation(self) -> tuple[float, float]:
        return self.low, self.high

    def body(self, x: Value, w: Weights) -> Value:
        return ops.clip(x, self.low, self.high)
