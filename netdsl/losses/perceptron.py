"""Perceptron criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.losses.base import Loss, Target, loss, margin, mean, onehot, runner_up, signs_or_classes

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


@loss("perceptron")
class Perceptron(Loss):
    """Perceptron criterion: mean of max(0, -t y) for two classes, or of max(0, max_{j != t} y_j - y_t) for several.

    With `optimizer sgd` and `batch 1`, each step is Rosenblatt's rule: w changes by lr t x if the sign is wrong.
    Shapes: for two classes, output [1, *S] and target [*S], a sign (-1 or 1) per position; for K classes, output
    [K, *S] and target [*S], a class per position.
    Conventions: an output of 0 and a tie count as errors, so that zero weights can learn: the gradient at the kink is
    the left derivative.
    Source: Rosenblatt (1958); Novikoff (1962); Collins (2002) for several classes.

    ```net
    net perceptron { input x 2; dense 1 init zeros }
    train perceptron { data clouds; loss perceptron; optimizer sgd lr 1; batch 1 }
    ```
    """

    def target(self, output: Shape) -> Target:
        return signs_or_classes(output)

    def body(self, y: Value, target: Value) -> Value:
        if y.shape[1] == 1:
            lead = margin(y, target)
        else:
            here = onehot(y, target)
            right = ops.reduce_sum(ops.mul(y, ops.cast(here, y.dtype)), (1,))
            lead = ops.sub(right, runner_up(y, here))
        none = ops.constant(y.graph, 0.0, y.dtype)
        return mean(ops.where(ops.greater(lead, none), none, ops.neg(lead)))
