"""Squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.losses.base import Loss, Target, loss, mean

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


@loss("mse")
class Mse(Loss):
    """Mean squared error: mean of (y - t)^2 over the batch and all output elements.

    Shapes: output [*]; target [*], of the same shape.
    Conventions: as PyTorch's `mse_loss`, without the factor 1/2.
    Source: Legendre (1805).

    ```net
    net line { input x 1; dense 1 }
    train line { data npz "line.npz"; loss mse }
    ```
    """

    def target(self, output: Shape) -> Target:
        return Target("value", output)

    def body(self, y: Value, target: Value) -> Value:
        error = ops.sub(y, target)
        return mean(ops.mul(error, error))
