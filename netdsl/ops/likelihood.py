"""Log-probabilities of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.op import Macro
from netdsl.ops.base import known

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["negative_log_likelihood"]


class NegativeLogLikelihood(Macro):
    """-ln softmax(y) of one class at each position; and ln softmax(y) of all, which its gradient needs.

    y [N, K, *S], classes [N, *S] as i64 -> [R, 1] and [R, K], for the R = N |S| positions.
    """

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        y, classes = xs
        assert classes == (y[0], *y[2:]), f"{y} and classes {classes}"
        rows = elements(classes)
        return (rows, 1), (rows, y[1])

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return (xs[0],) * 2

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        y, classes = xs
        last = ops.transpose(y, (0, *range(2, len(y.shape)), 1))
        logs = ops.log_softmax(ops.reshape(last, (elements(classes.shape), y.shape[1]), batch=False))
        return ops.neg(ops.batch_gather(logs, ops.reshape(classes, (*logs.shape[:1], 1), batch=False))), logs

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        """dy = (softmax(y) - onehot) times the gradient of each position."""
        (dp, others), (_, logs), (y, classes) = dys, ys, xs
        assert dp is not None
        assert others is None, "the other classes have no gradient"
        n, count, *between = known(y.shape)
        places = ops.reshape(classes, (*dp.shape, 1), batch=False)
        less = ops.expand(ops.constant(y.graph, -1, dp.dtype), dp.shape)
        rows = ops.mul(ops.batch_scatter_add(ops.exp(logs), places, less), dp)
        last = ops.reshape(rows, (n, *between, count), batch=False)
        return ops.transpose(last, (0, len(between) + 1, *range(1, len(between) + 1))), None


def negative_log_likelihood(y: Value, classes: Value) -> Value:
    """Return -ln softmax(y) of the class of each position: [N, K, *S], [N, *S] -> [N |S|, 1]."""
    found, _ = y.graph.apply(NegativeLogLikelihood(), y, classes)
    return found
