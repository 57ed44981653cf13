"""What a training tells while it runs. This one keeps time and says nothing; the command line's shows it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from netdsl.train.loop import Trainer


class Progress:
    """Told of each step, of validation and of each epoch; knows how long they took."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self.started = self.epoch_began = monotonic()

    def begin(self, trainer: Trainer) -> None:
        self.started = self.epoch_began = monotonic()

    def step(self, trainer: Trainer, loss: float) -> None:
        """A step is done."""

    def validation(self, total: int) -> Callable[[int], None] | None:
        """What shall be told how many examples of the validation set are done."""
        return None

    def epoch(self, trainer: Trainer, row: Mapping[str, Any]) -> None:
        """An epoch is done, with its row of the log."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was shown goes."""

    def epoch_seconds(self) -> float:
        """How long the epoch took that has just ended; the next begins."""
        now = monotonic()
        seconds, self.epoch_began = now - self.epoch_began, now
        return seconds


class Remembered(Progress):
    """Keeps the rows, and hands each to a function."""

    def __init__(self, told: Callable[[dict[str, float]], object] | None) -> None:
        super().__init__()
        self._told = told

    def epoch(self, trainer: Trainer, row: Mapping[str, Any]) -> None:
        self.history.append(dict(row))
        if self._told is not None:
            self._told(dict(row))
