"""Cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.declare.arguments import Real
from netdsl.declare.declared import keyword
from netdsl.losses.base import Loss, Target, classes, loss, onehot, places, total

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


@loss("cross_entropy")
class CrossEntropy(Loss):
    """Softmax cross-entropy: mean of -sum_k q_k log softmax(y)_k, with q = 1 at the class and 0 elsewhere.

    With label smoothing s, q = 1 - s + s/K at the class and s/K elsewhere.
    Shapes: output [K, *S], one logit (no softmax) per class and position; target [*S], a class per position.
    Conventions: as PyTorch's `cross_entropy`; softmax and logarithm are computed together, which avoids overflow.
    Source: Bridle (1990); Szegedy et al. (2016), section 7, for the smoothing.

    ```net
    net mlp { input x 784; scale 1/255; dense 100; relu; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy smoothing 0.1 }
    ```
    """

    smoothing: float = keyword(
        Real(0, below=1), 0.0, doc="label smoothing: share of the target spread over all classes"
    )

    def target(self, output: Shape) -> Target:
        return classes(output)

    def body(self, y: Value, target: Value) -> Value:
        spread = self.smoothing / float(y.shape[1])  # type: ignore[arg-type]
        scale = -1 / places(y)
        here, elsewhere = (scale * (1 - self.smoothing + spread), scale * spread)
        like = [ops.constant(y.graph, number, y.dtype) for number in (here, elsewhere)]
        return total(ops.mul(ops.log_softmax(y), ops.where(onehot(y, target), *like)))
