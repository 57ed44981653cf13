"""Saturating and threshold activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("sigmoid")
class Sigmoid(Layer):
    """Logistic function: y = 1 / (1 + exp(-x)).

    Shapes: [*] -> [*].
    Source: Rumelhart, Hinton & Williams (1986), eq. 2.

    ```net
    input x 784
    sigmoid
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sigmoid(x)


@layer("hard_sigmoid")
class HardSigmoid(Layer):
    """Piecewise linear approximation of the logistic function: y = min(max(x / 6 + 1/2, 0), 1).

    Shapes: [*] -> [*].
    Conventions: the slope is 1/6, as in PyTorch and MobileNet v3; the default of ONNX and older Keras versions is 0.2.
    Source: Courbariaux et al. (2015), eq. 3; Howard et al. (2019), section 5.2.

    ```net
    input x 784
    hard_sigmoid
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.hard_sigmoid(x)


@layer("tanh")
class Tanh(Layer):
    """Hyperbolic tangent: y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    Shapes: [*] -> [*].
    Source: LeCun et al. (1998), appendix A.

    ```net
    input x 784
    tanh
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.tanh(x)


@layer("sign")
class Sign(Layer):
    """Sign function: y = -1 if x < 0, 0 if x = 0, and 1 if x > 0.

    Shapes: [*] -> [*].
    Source: Minsky & Papert (1969).

    ```net
    input x 784
    sign
    ```
    """

    differentiable = False

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sign(x)


@layer("step")
class Step(Layer):
    """Heaviside step function: y = 1 if x > 0, otherwise 0.

    Shapes: [*] -> [*].
    Source: McCulloch & Pitts (1943); Rosenblatt (1958).

    ```net
    input x 784
    step
    ```
    """

    differentiable = False

    def body(self, x: Value, w: Weights) -> Value:
        return ops.relu(ops.sign(x))
