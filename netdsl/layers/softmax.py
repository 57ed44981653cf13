"""Softmax over the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("softmax")
class Softmax(Layer):
    """Softmax over the channels: y[c] = exp(x[c]) / sum of exp(x).

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
    """Log-softmax over the channels: y[c] = x[c] - log(sum of exp(x)).

    Shapes: [C, *] -> [C, *].
    Source: Bridle (1990).

    ```net
    input x 784
    log_softmax
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.log_softmax(x, axis=1)
