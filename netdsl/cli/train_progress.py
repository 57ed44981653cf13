"""The output of `netdsl train`: a changing progress line, and a permanent line per epoch."""

from __future__ import annotations

import json
import os
import sys
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

from netdsl.app.messages import NORMAL, audible
from netdsl.train.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from netdsl.train.loop import Trainer

NEXT = 0.1
"""Time in seconds between updates of the progress line."""

MOST = 100
"""Maximum number of epochs with a line of their own."""

CLEAR = "\r\x1b[K"


class TerminalProgress(Progress):
    """Prints epochs on stdout, as text or as objects, and progress on stderr if that is a terminal."""

    def __init__(self, objects: bool) -> None:
        super().__init__()
        self._objects = objects
        here = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and audible(NORMAL)
        self._due = 0.0 if here else float("inf")
        self._here = here
        self._began_at = 0
        self._loss = float("nan")

    def begin(self, trainer: Trainer) -> None:
        super().begin(trainer)
        self._began_at = trainer.position.step

    def step(self, trainer: Trainer, loss: float) -> None:
        now = monotonic()
        if now < self._due:
            return
        self._due = now + NEXT
        self._loss = loss if not isfinite(self._loss) else 0.9 * self._loss + 0.1 * loss
        at, seconds = trainer.position, max(now - self.started, 1e-9)
        done = at.step - self._began_at
        figures = {"loss": self._loss, **trainer.measures.values()}
        speed = f"{done * trainer.recipe.batch / seconds:,.0f} examples/s"
        left = _time((trainer.steps - at.step) * seconds / done)
        part = f"epoch {_place(trainer)}  batch {at.batch:,}/{trainer.per_epoch:,}"
        self._write("  ".join([part, *_figures(figures), speed, f"{left} left"]))

    def validation(self, total: int) -> Callable[[int], None] | None:
        if not self._here:
            return None

        def shown(done: int) -> None:
            now = monotonic()
            if now >= self._due:
                self._due = now + NEXT
                self._write(f"validation: {done:,} of {total:,}")

        return shown

    def epoch(self, trainer: Trainer, row: Mapping[str, Any]) -> None:
        if self._objects:
            text = json.dumps({key: value if isfinite(value) else None for key, value in row.items()})
        elif self._is_told(trainer):
            figures = {key: value for key, value in row.items() if key not in ("epoch", "step")}
            text = "  ".join([f"epoch {_ended(trainer)}", *_figures(figures)])
        else:
            return
        self._clear()
        print(text)

    def _is_told(self, trainer: Trainer) -> bool:
        every = max(1, int(trainer.epochs) // MOST)
        return trainer.position.epoch % every == 0 or trainer.position.step == trainer.steps

    def _write(self, text: str) -> None:
        width = _width()
        sys.stderr.write(f"{CLEAR}{text[: width - 1]}")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._here:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()


def _width() -> int:
    from shutil import get_terminal_size

    return get_terminal_size().columns


def _place(trainer: Trainer) -> str:
    """Return the current epoch and the total: `3/10`."""
    return f"{trainer.position.epoch + 1:,}/{_all(trainer)}"


def _ended(trainer: Trainer) -> str:
    """Return the epoch that has ended, or a fraction if the steps end within one."""
    at = trainer.position
    return f"{at.epoch:,}/{_all(trainer)}" if not at.batch else f"{at.step / trainer.per_epoch:.3g}/{_all(trainer)}"


def _all(trainer: Trainer) -> str:
    return f"{trainer.epochs:,.3g}" if trainer.epochs % 1 else f"{int(trainer.epochs):,}"


def _figures(row: Mapping[str, Any]) -> list[str]:
    return [f"{key} {value:.4g}" for key, value in row.items()]


def _time(seconds: float) -> str:
    """Format a time as `2:05` or `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
