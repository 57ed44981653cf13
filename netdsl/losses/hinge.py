"""Max-margin losses for two or more classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.declare.arguments import Choice, Flag, Real
from netdsl.declare.declared import keyword
from netdsl.losses.base import Loss, Target, loss, margin, onehot, places, runner_up, signs_or_classes, total

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


@loss("hinge")
class Hinge(Loss):
    """Hinge loss of support vector machines: mean of max(0, m - t y) for two classes, with margin m.

    For several classes, with true class t, `crammer_singer` is max(0, m + max_{j != t} y_j - y_t), and `weston_watkins`
    is sum_{j != t} max(0, m + y_j - y_t). `squared on` squares each violation.
    Shapes: for two classes, output [1, *S] and target [*S], a sign (-1 or 1) per position; for K classes, output
    [K, *S] and target [*S], a class per position.
    Conventions: PyTorch's `multi_margin_loss` is `weston_watkins` divided by K.
    Source: Cortes & Vapnik (1995); Crammer & Singer (2001), section 3; Weston & Watkins (1999), whose margin is 2.

    ```net
    net svm { input x 784; scale 1/255; dense 10 }
    train svm { data mnist "mnist"; loss hinge multiclass weston_watkins }
    ```
    """

    margin: float = keyword(Real(above=0), 1.0, doc="margin m")
    squared: bool = keyword(Flag(), False, doc="square each violation")
    multiclass: str = keyword(
        Choice("crammer_singer", "weston_watkins"), "crammer_singer", doc="formula for several classes"
    )

    def target(self, output: Shape) -> Target:
        return signs_or_classes(output)

    def body(self, y: Value, target: Value) -> Value:
        if y.shape[1] == 1:
            return self._mean(ops.sub(self.margin, margin(y, target)), y)
        here = onehot(y, target)
        right = ops.reduce_sum(ops.mul(y, ops.cast(here, y.dtype)), (1,))
        if self.multiclass == "crammer_singer":
            return self._mean(ops.add(ops.sub(runner_up(y, here), right), self.margin), y)
        lacking = ops.add(ops.sub(y, right), self.margin)
        return self._mean(ops.where(here, ops.constant(y.graph, 0.0, y.dtype), lacking), y)

    def _mean(self, lacking: Value, y: Value) -> Value:
        """Return the mean of the violations (the positive part of `lacking`) over examples and positions."""
        violation = ops.relu(lacking)
        found = ops.mul(violation, violation) if self.squared else violation
        return ops.mul(total(found), 1 / places(y))
