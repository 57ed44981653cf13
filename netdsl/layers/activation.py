"""Activations that saturate or decide."""

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
    """The logistic function in three straight pieces: y = min(max(x / 6 + 1/2, 0), 1).

    Shapes: [*] -> [*].
    Conventions: the slope is PyTorch's 1/6, as in MobileNet v3; ONNX's and Keras' default was 0.2.
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
    """The sign: y = -1, 0 or 1.

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
    """The threshold: y = 1 where x > 0, else 0.

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
