"""Dynamic loss scaling: gradients too small for f16 are computed as multiples, by a factor that adapts to them.

Source: Micikevicius et al. (2018), Mixed precision training, section 3.2; the constants are those of PyTorch's
GradScaler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Graph, State, Value

LOSS_SCALE = "netdsl/loss_scale"
"""State that has the factor."""

GOOD_STEPS = "netdsl/good_steps"
"""State that counts the steps since the factor has changed."""

SKIPPED_STEPS = "netdsl/skipped_steps"
"""State that counts the steps without an update, because a gradient was not finite."""

SCALE_COLUMNS = {"loss_scale": LOSS_SCALE, "skipped": SKIPPED_STEPS}
"""Columns of the log, and the states that they show."""

INITIAL, GROWTH, BACKOFF, INTERVAL = 2.0**16, 2.0, 0.5, 2000

LARGEST, SMALLEST = 2.0**127, 2.0**-16
"""The largest factor, and the one below which gradients are not finite for another reason."""


class NoScale(UserError, code="E0939", title="gradients that no loss scale makes finite"):
    """With `dtype f16`, a step whose gradients are not finite is skipped, and the next one has half the loss scale. If
    they are not finite at any scale, the net itself has such gradients, for example that of the square root of 0.

    ```sh
    netdsl train net.net --dtype bf16
    ```
    """


def check_scale(scale: float, step: int) -> None:
    """Raise NoScale if a factor is too small to be the cause of gradients that are not finite."""
    if scale < SMALLEST:
        raise NoScale(
            f"the gradients are not finite at step {step:,}, with a loss scale of {scale:g}",
            "train with `--dtype f32`, which names the first weight that becomes infinite or NaN",
        )


class LossScale:
    """The scaling of one step: `scaled` multiplies the loss, `unscaled` divides the gradients, `finish` skips the
    update if one of them is not finite."""

    __slots__ = ("_factor", "_finite", "_good", "_graph", "_skipped")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._factor, self._good, self._skipped = (
            graph.state_input(name, ()) for name in (LOSS_SCALE, GOOD_STEPS, SKIPPED_STEPS)
        )
        self._finite: Value | None = None

    @property
    def skipped(self) -> Value:
        """The number of steps skipped so far."""
        return self._skipped

    def scaled(self, loss: Value) -> Value:
        return ops.mul(loss, self._factor)

    def unscaled(self, pairs: Sequence[tuple[Value, Value]]) -> list[tuple[Value, Value]]:
        """Return the weights with the gradients of the loss, from those of the scaled one. The factor is a power of
        2."""
        inverse, found, nothing = ops.reciprocal(self._factor), [], []
        for w, g in pairs:
            begin = len(self._graph.operations)
            found.append((w, ops.mul(g, inverse)))
            nothing.append(_sum(ops.mul(g, 0)))  # NaN if an element is infinite or NaN
            self._set_origin(begin, g)
        self._finite = ops.equal(ops.add(*nothing) if len(nothing) > 1 else nothing[0], 0)
        return found

    def finish(self, states: Sequence[State]) -> None:
        """Leave the states unchanged if the step is skipped, and update the factor and the counters."""
        assert self._finite is not None
        for state in states:
            begin, after = len(self._graph.operations), state.after
            state.after = ops.where(self._finite, after, state.before)
            self._set_origin(begin, after)
        graph, finite, good = self._graph, self._finite, ops.add(self._good, 1)
        full = ops.equal(good, INTERVAL)
        grown = ops.where(full, ops.minimum(ops.mul(self._factor, GROWTH), LARGEST), self._factor)
        graph.update(self._factor, ops.where(finite, grown, ops.mul(self._factor, BACKOFF)), INITIAL)
        graph.update(self._good, ops.where(finite, ops.where(full, 0, good), 0), 0.0)
        graph.update(self._skipped, ops.where(finite, self._skipped, ops.add(self._skipped, 1)), 0.0)

    def _set_origin(self, begin: int, x: Value) -> None:
        """Set the origin of new operations to that of a value."""
        for operation in self._graph.operations[begin:]:
            operation.origin = x.producer.origin if x.producer else None


def _sum(x: Value) -> Value:
    return ops.reduce_sum(x, range(len(x.shape)), keepdims=False) if x.shape else x
