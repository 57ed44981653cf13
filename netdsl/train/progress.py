"""Progress of a training while it runs."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.train.log import Row
    from netdsl.train.loop import Trainer


class Progress:
    """Receives each step, validation and epoch, and times epochs. A subclass shows them."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self.started = self.epoch_began = monotonic()

    def measuring(self, done: int, total: int) -> None:
        """Called while step backends are measured, before the training begins, with the seconds spent and planned."""

    def begin(self, trainer: Trainer) -> None:
        self.started = self.epoch_began = monotonic()

    def step(self, trainer: Trainer, loss: float) -> None:
        """Called after a step."""

    def validation(self, total: int) -> Callable[[int], None] | None:
        """Return a callback for the number of validated examples, or None."""
        return None

    def epoch(self, trainer: Trainer, row: Row) -> None:
        """Called after an epoch, with its row of the log."""

    def close(self) -> None:
        """Remove what shows the progress."""

    def epoch_seconds(self) -> float:
        """Return the duration of the epoch that has just ended, and start timing the next."""
        now = monotonic()
        seconds, self.epoch_began = now - self.epoch_began, now
        return seconds


class RecordedProgress(Progress):
    """Records the rows of epochs, and passes each to a callback."""

    def __init__(self, callback: Callable[[dict[str, float]], object] | None = None) -> None:
        super().__init__()
        self._callback = callback

    def epoch(self, trainer: Trainer, row: Row) -> None:
        self.history.append(dict(row))
        if self._callback is not None:
            self._callback(dict(row))
