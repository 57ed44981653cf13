"""Base class of schedules, which compute the learning rate from the epoch in plain Python."""

from __future__ import annotations

from typing import ClassVar

from netdsl.declare.arguments import Real
from netdsl.declare.declared import Declared, keyword, registrar

SCHEDULES: dict[str, type[Schedule]] = {}
"""Schedules by name."""

schedule = registrar(SCHEDULES)


class Schedule(Declared):
    """A schedule with its arguments.

    A subclass's docstring has the formula, source and an example: r is the learning rate, lr the optimizer's, e the
    epochs completed (fractional), E the epochs of the whole training, W those of the warm-up.
    """

    kind: ClassVar[str] = ""
    watches: ClassVar[bool] = False
    """Whether to call `observe` with a metric after each epoch."""

    warmup: float = keyword(Real(0), 0.0, doc="epochs of linear warm-up")
    warmup_from: float = keyword(
        Real(0, maximum=1), 0.01, doc="fraction of the learning rate at the start of the warm-up"
    )

    def rate(self, lr: float, epoch: float, epochs: float) -> float:
        """Return the learning rate of the step after `epoch` of `epochs` epochs; both may be fractional.

        During the warm-up, the rate is lr (f + (1 - f) e/W), where f is `warmup_from`.
        Source: Goyal et al. (2017), section 2.2.
        """
        if epoch < self.warmup:
            return lr * (self.warmup_from + (1 - self.warmup_from) * epoch / self.warmup)
        return self.after(lr, epoch, epochs)

    def largest(self, lr: float) -> float:
        """Return the largest learning rate of a training."""
        return lr

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        """Return the learning rate after the warm-up."""
        return lr

    def done(self, epoch: float, epochs: float) -> float:
        """Return the completed fraction, from 0 to 1, of the epochs after the warm-up."""
        return min((epoch - self.warmup) / (epochs - self.warmup), 1.0) if epochs > self.warmup else 1.0

    def observe(self, value: float, better: str) -> None:
        """Record the watched metric after an epoch; `better` is `higher` or `lower`."""

    def state(self) -> dict[str, float | int | None]:
        """Return the state needed to resume, as JSON data."""
        return {}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Resume from a state."""


__all__ = ["SCHEDULES", "Schedule", "keyword", "schedule"]
