"""Smooth losses for two classes, with a sign as the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.losses.base import Loss, Target, loss, margin, mean, signs

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


class Binary(Loss):
    """Base class of losses that depend on the margin t y."""

    def target(self, output: Shape) -> Target:
        return signs(output)


@loss("logistic")
class Logistic(Binary):
    """Logistic loss: mean of log(1 + e^(-t y)), the cross-entropy for two classes.

    Shapes: output [1, *S], one logit (no sigmoid) per position; target [*S], a sign (-1 or 1) per position.
    Conventions: as PyTorch's `soft_margin_loss`, and as `binary_cross_entropy_with_logits` with targets 0 and 1.
    Source: Cox (1958); Hastie, Tibshirani & Friedman (2009), section 10.5.

    ```net
    net two { input x 2; dense 1 }
    train two { data clouds; loss logistic }
    ```
    """

    def body(self, y: Value, target: Value) -> Value:
        return mean(ops.softplus(ops.neg(margin(y, target))))


@loss("exponential")
class Exponential(Binary):
    """Exponential loss: mean of e^(-t y).

    Shapes: output [1, *S], one number per position; target [*S], a sign (-1 or 1) per position.
    Source: Freund & Schapire (1997), AdaBoost; Friedman, Hastie & Tibshirani (2000), section 4.

    ```net
    net two { input x 2; dense 1 }
    train two { data clouds; loss exponential }
    ```
    """

    def body(self, y: Value, target: Value) -> Value:
        return mean(ops.exp(ops.neg(margin(y, target))))
