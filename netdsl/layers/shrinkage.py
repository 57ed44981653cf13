"""Gates and thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Real
from netdsl.declare.declared import keyword, positional
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import split_channels

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("glu")
class GluLayer(Layer):
    """Gated linear unit: y = a / (1 + exp(-b)), with a the first half of the channels and b the second.

    Shapes: [2C, *S] -> [C, *S].
    Conventions: PyTorch's `GLU(1)`, whose default is the last axis. Other gates are products, such as
    `mul { linear 64 } { linear 64; silu }` for SwiGLU.
    Source: Dauphin et al. (2017), section 2.

    ```net
    input x 64x20
    glu
    ```
    """

    def shape(self, *xs: Shape) -> Shape:
        return (split_channels(xs[0], 2, ""), *xs[0][1:])

    def body(self, x: Value, w: Weights) -> Value:
        half = split_channels(x.shape[1:], 2, "")
        a, b = (ops.slice(x, (1,), (start,), (start + half,)) for start in (0, half))
        return ops.mul(a, ops.sigmoid(b))


@layer("threshold")
class ThresholdLayer(Layer):
    """Threshold: y = x if x > threshold, otherwise value.

    Shapes: [*] -> [*].
    Conventions: PyTorch's `Threshold(threshold, value)`; Keras' `ThresholdedReLU(theta)` is `threshold theta`.
    Source: Konda, Memisevic & Krueger (2015), section 3, for value 0.

    ```net
    input x 784
    threshold 0.1
    ```
    """

    threshold: float = positional(Real(), doc="largest input that is replaced")
    value: float = keyword(Real(), 0.0, doc="what replaces it")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.where(ops.greater(x, self.threshold), x, ops.constant(x.graph, self.value, x.dtype))


@layer("hard_shrink")
class HardShrinkLayer(Layer):
    """Hard shrinkage: y = x if |x| > limit, otherwise 0.

    Shapes: [*] -> [*].
    Source: Donoho & Johnstone (1994), section 2.

    ```net
    input x 784
    hard_shrink
    ```
    """

    limit: float = positional(Real(0), 0.5, doc="largest magnitude that becomes 0")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.shrink(x, self.limit, 0.0)


@layer("soft_shrink")
class SoftShrinkLayer(Layer):
    """Soft shrinkage: y = x - limit if x > limit, x + limit if x < -limit, otherwise 0.

    Shapes: [*] -> [*].
    Source: Donoho & Johnstone (1994), section 2.

    ```net
    input x 784
    soft_shrink
    ```
    """

    limit: float = positional(Real(0), 0.5, doc="largest magnitude that becomes 0, subtracted from others")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.shrink(x, self.limit, self.limit)


@layer("tanh_shrink")
class TanhShrinkLayer(Layer):
    """Difference from the hyperbolic tangent: y = x - tanh(x).

    Shapes: [*] -> [*].

    ```net
    input x 784
    tanh_shrink
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sub(x, ops.tanh(x))
