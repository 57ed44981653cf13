"""What a schedule is: the learning rate as a function of the epoch, in plain arithmetic."""

from __future__ import annotations

from typing import ClassVar

from netdsl.layers.arguments import Real
from netdsl.layers.base import keyword
from netdsl.layers.declared import Declared, registrar

SCHEDULES: dict[str, type[Schedule]] = {}
"""The schedules by their names in the language."""

schedule = registrar(SCHEDULES)


class Schedule(Declared):
    """A schedule with its arguments.

    A subclass's docstring has the formula, source and an example: r is the learning rate, lr the optimizer's, e the
    epochs completed (fractional), E the epochs of the whole training, W those of the warm-up.
    """

    kind: ClassVar[str] = ""
    watches: ClassVar[bool] = False
    """Whether it wants to `observe` a metric after each epoch."""

    warmup: float = keyword(Real(0), 0.0, doc="epochs of linear warm-up")
    warmup_from: float = keyword(
        Real(0, maximum=1), 0.01, doc="fraction of the learning rate at the start of the warm-up"
    )

    def rate(self, lr: float, epoch: float, epochs: float) -> float:
        """The rate of the step that begins after `epoch` epochs, of `epochs` in all; both may be fractional.

        In the warm-up the rate is lr (f + (1 - f) e/W), f being `warmup_from`.
        Source: Goyal et al. (2017), section 2.2.
        """
        if epoch < self.warmup:
            return lr * (self.warmup_from + (1 - self.warmup_from) * epoch / self.warmup)
        return self.after(lr, epoch, epochs)

    def largest(self, lr: float) -> float:
        """Return the largest rate of a training."""
        return lr

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        """The rate when the warm-up is over."""
        return lr

    def done(self, epoch: float, epochs: float) -> float:
        """The part of the epochs behind the warm-up that is over, from 0 to 1."""
        return min((epoch - self.warmup) / (epochs - self.warmup), 1.0) if epochs > self.warmup else 1.0

    def observe(self, value: float, better: str) -> None:
        """Take note of the watched metric after an epoch; `better` is `higher` or `lower`."""

    def state(self) -> dict[str, float | int | None]:
        """What must be kept to go on from here, as JSON can hold it."""
        return {}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Go on from a state."""


__all__ = ["SCHEDULES", "Schedule", "keyword", "schedule"]
