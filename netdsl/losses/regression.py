"""Losses of outputs whose targets are numbers in the same shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.declare.arguments import Real
from netdsl.declare.declared import keyword
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


@loss("l1")
class L1(Loss):
    """Mean absolute error: mean of |y - t| over the batch and all output elements.

    Its gradient is 0 where y = t.
    Shapes: output [*]; target [*], of the same shape.
    Conventions: as PyTorch's `l1_loss`.
    Source: Laplace (1774).

    ```net
    net line { input x 1; dense 1 }
    train line { data npz "line.npz"; loss l1; metric mae }
    ```
    """

    def target(self, output: Shape) -> Target:
        return Target("value", output)

    def body(self, y: Value, target: Value) -> Value:
        return mean(ops.abs(ops.sub(y, target)))


@loss("smooth_l1")
class SmoothL1(Loss):
    """Smooth mean absolute error: mean of d^2/(2 b) where d = |y - t| < b, and of d - b/2 elsewhere.

    Here b is `beta`. The Huber loss with its delta = b is b times as large: `smooth_l1 beta B weight B`.
    Shapes: output [*]; target [*], of the same shape.
    Conventions: as PyTorch's `smooth_l1_loss`; `l1` is the limit for beta = 0.
    Source: Girshick (2015), Fast R-CNN, equation 3; Huber (1964).

    ```net
    net line { input x 1; dense 1 }
    train line { data npz "line.npz"; loss smooth_l1 beta 0.1 }
    ```
    """

    beta: float = keyword(Real(above=0), 1.0, doc="error at which the loss becomes linear")

    def target(self, output: Shape) -> Target:
        return Target("value", output)

    def body(self, y: Value, target: Value) -> Value:
        error = ops.sub(y, target)
        size = ops.abs(error)
        small = ops.mul(error, error, 0.5 / self.beta)
        return mean(ops.where(ops.greater(self.beta, size), small, ops.sub(size, self.beta / 2)))
