"""Connectionist temporal classification: the probability of a sequence, summed over its alignments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Macro
from netdsl.ops.base import constant, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["ctc"]

FLOOR = -1e30
"""The logarithm of zero. It is finite, so that differences are not NaN, and sums of many do not overflow."""

States = tuple["Value", "Value", "Value"]


class Ctc(Macro):
    """-log p of a sequence of symbols, given scores of each symbol at each place.

    Scores [N, K, T], target [N, U] as i64, padded with -1, and optionally the number of places [N] as i64 ->
    -log p [N], -FLOOR or more if there is no alignment; log softmax [N, K, T]; and, for each place and state,
    [T, N, S], its own log probability and the log probability of all beginnings that end there.

    The S = 2 U + 1 states are the symbols with blanks around them. A path advances by 0, 1, or, between two different
    symbols, 2 states per place. The probabilities are computed by a scan over the places, their gradient by a scan in
    the opposite direction, both in logarithms, so the size of the graph does not depend on T. The gradient of the
    scores is the softmax minus the expected number of visits of each symbol at each place.
    Source: Graves et al. (2006), sections 4.1 and 4.2.
    """

    __slots__ = ("blank",)

    def __init__(self, blank: int) -> None:
        self.blank = blank

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        y, (batch, symbols) = known(xs[0]), known(xs[1])
        states = (y[2], batch, 2 * symbols + 1)
        return (batch,), y, states, states

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return (xs[0],) * 4

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        y, target, *lengths = xs
        ext, skipped, final = self._states(target)
        log_softmax = ops.log_softmax(y)
        emitted = ops.transpose(ops.batch_gather(log_softmax, ext), (2, 0, 1))
        emitted = ops.where(ops.greater(FLOOR, emitted), FLOOR, emitted)

        def step(before: Value, emitted: Value, *rest: Value) -> tuple[Sequence[Value], Sequence[Value]]:
            *live, skipped = rest
            skip = ops.where(skipped, _shifted(before, 2), FLOOR)
            after = ops.add(_log_sum(before, _shifted(before, 1), skip), emitted)
            if live:
                after = ops.where(live[0], after, before)
            return (after,), (after,)

        first = ops.expand(_log(ops.equal(_numbers(ext), 0), y.dtype), ext.shape)
        last, beginnings = ops.scan(step, (first,), (emitted, *_live(y, lengths)), (skipped,))
        ends = ops.where(final, last, FLOOR)
        most = ops.reduce_max(ends, (1,))
        total = ops.add(most, ops.log(ops.reduce_sum(ops.exp(ops.sub(ends, most)), (1,))))
        return ops.reshape(ops.neg(total), ()), log_softmax, emitted, beginnings

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        (y, target, *lengths), (negative, log_softmax, emitted, beginnings) = xs, ys
        assert dys[0] is not None, "the other results are only for the gradient"
        assert all(each is None for each in dys[1:]), "the other results are only for the gradient"
        ext, skipped, final = self._states(target)
        negative = ops.reshape(ops.where(is_impossible(negative), 0, negative), (1,))
        live = _live(y, lengths)

        def back(
            after: Value, beginnings: Value, emitted: Value, *rest: Value
        ) -> tuple[Sequence[Value], Sequence[Value]]:
            *live, skipped, negative = rest
            visits = ops.exp(ops.add(ops.add(beginnings, after), negative))
            here = ops.add(after, emitted)
            advance = _shifted(here, -1)
            skip = _shifted(ops.where(skipped, here, FLOOR), -2)
            before = _log_sum(here, advance, skip)
            if live:
                before, visits = ops.where(live[0], before, after), ops.where(live[0], visits, 0)
            return (before,), (visits,)

        scanned = beginnings, emitted, *live
        _, visits = ops.scan(back, (_log(final, y.dtype),), scanned, (skipped, negative), reverse=True)
        softmax = ops.exp(log_softmax)
        if live:
            softmax = ops.where(ops.transpose(live[0], (1, 2, 0)), softmax, 0)
        visits = ops.neg(ops.transpose(visits, (1, 2, 0)))
        dy = ops.batch_scatter_add(softmax, ops.reshape(ext, (*ext.shape[1:], 1)), visits)
        return ops.mul(dy, ops.reshape(dys[0], (1, 1))), None, *(None for _ in lengths)

    def _states(self, target: Value) -> States:
        """Return the symbol of each state, whether a path can skip the state before it, and whether it can end there,
        [N, S] each."""
        batch, symbols = known(target.shape)
        padding = ops.greater(0, target)
        blanks = ops.expand(constant(target.graph, self.blank, "i64"), (batch, symbols, 1))
        symbol = ops.reshape(ops.where(padding, self.blank, target), (symbols, 1))
        pairs = ops.reshape(ops.concat([blanks, symbol], 2), (2 * symbols,))
        end = ops.expand(constant(target.graph, self.blank, "i64"), (batch, 1))
        ext = ops.concat([pairs, end])
        two_before = ops.concat([end, end, ops.slice(ext, (1,), (0,), (-2,))])
        repeated = ops.logical_or(ops.equal(ext, self.blank), ops.equal(ext, two_before))
        count = ops.mul(ops.reduce_sum(ops.cast(ops.logical_not(padding), "i64"), (1,)), 2)
        numbers = _numbers(ext)
        final = ops.logical_or(ops.equal(numbers, count), ops.equal(numbers, ops.sub(count, 1)))
        return ext, ops.logical_not(repeated), final


def is_impossible(negative: Value) -> Value:
    """Return whether -log p is that of a sequence without alignments; of NaN, false."""
    return ops.greater(negative, -FLOOR / 2)


def _numbers(ext: Value) -> Value:
    """Return the numbers of the states, [1, S]."""
    states = known(ext.shape)[1]
    return ops.reshape(ops.counter(ext.graph, states), (1, states), batch=False)


def _live(y: Value, lengths: Sequence[Value]) -> tuple[Value, ...]:
    """Return whether a place is before the end, [T, N, 1]; nothing without lengths."""
    if not lengths:
        return ()
    places = known(y.shape)[2]
    numbers = ops.reshape(ops.counter(y.graph, places), (places, 1, 1), batch=False)
    return (ops.greater(ops.reshape(lengths[0], (1, *lengths[0].shape, 1), batch=False), numbers),)


def _log(condition: Value, dtype: str) -> Value:
    """Return 0 where the condition holds, otherwise FLOOR."""
    return ops.where(condition, constant(condition.graph, 0, dtype), constant(condition.graph, FLOOR, dtype))


def _shifted(x: Value, by: int) -> Value:
    """Return x [N, S], moved by 1 or 2 states, in either direction, with FLOOR in the states that become free."""
    batch, states = known(x.shape)
    free = constant(x.graph, FLOOR, x.dtype, (batch, abs(by)))
    if by > 0:
        return ops.concat([free, ops.slice(x, (1,), (0,), (states - by,))])
    return ops.concat([ops.slice(x, (1,), (-by,), (None,)), free])


def _log_sum(*xs: Value) -> Value:
    """Return log(sum of e^x), element by element."""
    most = ops.maximum(ops.maximum(xs[0], xs[1]), xs[2])
    return ops.add(most, ops.log(ops.add(*(ops.exp(ops.sub(x, most)) for x in xs))))


def ctc(y: Value, target: Value, lengths: Value | None = None, blank: int = 0) -> Value:
    """Return -log p of each target [N], or 0 if it has no alignment: y [N, K, T], target [N, U], lengths [N]."""
    negative, *_ = y.graph.apply(Ctc(blank), y, target, *(() if lengths is None else (lengths,)))
    return ops.where(is_impossible(negative), 0, negative)
