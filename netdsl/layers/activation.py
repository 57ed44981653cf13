"""Activations: functions of each value for itself, and the softmaxes over channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.lower import Weights


@layer("relu")
class Relu(Layer):
    """Rectified linear unit: y = max(x, 0).

    Shapes: [*] -> [*].
    Source: Nair & Hinton (2010).

    ```net
    input x 784
    relu
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.relu(x)


@layer("relu6")
class Relu6(Layer):
    """Rectified linear unit with a ceiling: y = min(max(x, 0), 6).

    Shapes: [*] -> [*].
    Source: Krizhevsky (2010).

    ```net
    input x 784
    relu6
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.clip(x, 0.0, 6.0)


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


@layer("softmax")
class Softmax(Layer):
    """Probabilities over the channels: y[c] = exp(x[c]) / sum of exp(x).

    Shapes: [C, *] -> [C, *].
    Source: Bridle (1990).

    ```net
    input x 784
    softmax
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.softmax(x, axis=1)


@layer("log_softmax")
class LogSoftmax(Layer):
    """Logarithms of probabilities over the channels: y[c] = x[c] - log(sum of exp(x)).

    Shapes: [C, *] -> [C, *].
    Source: Bridle (1990).

    ```net
    input x 784
    log_softmax
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.log_softmax(x, axis=1)


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

    def body(self, x: Value, w: Weights) -> Value:
        return ops.relu(ops.sign(x))
