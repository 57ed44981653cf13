"""Progress on a terminal: a line on stderr that is overwritten, and a permanent line per epoch of a training."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

from netdsl.cli.messages import NORMAL, audible
from netdsl.train.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import TextIO

    from netdsl.train.loop import Trainer

FIRST, NEXT = 0.5, 0.1
"""Time in seconds until the line of a counted work appears, and between updates of any line."""

MAX_EPOCHS_SHOWN = 100
"""Maximum number of epochs with a line of their own."""

CLEAR = "\r\x1b[K"


class ProgressLine:
    """A line on stderr that is overwritten, at most every NEXT seconds.

    It is silent if stderr is not a terminal, with `-q`, and if `beside`, the stream of concurrent output, is a terminal
    too.
    """

    __slots__ = ("_due", "_shown")

    def __init__(self, delay: float = 0.0, beside: TextIO | None = None) -> None:
        here = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and audible(NORMAL)
        quiet = not here or (beside is not None and beside.isatty())
        self._due = float("inf") if quiet else monotonic() + delay
        self._shown = False

    def is_due(self) -> bool:
        """Return whether an update is due; if so, start timing the next."""
        now = monotonic()
        if now < self._due:
            return False
        self._due = now + NEXT
        return True

    def write(self, text: str) -> None:
        from shutil import get_terminal_size

        self._shown = True
        sys.stderr.write(f"{CLEAR}{text[: get_terminal_size().columns - 1]}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            sys.stderr.write(CLEAR)
            sys.stderr.flush()


@contextmanager
def counted(unit: str, total: int, *, beside: TextIO | None = None) -> Iterator[Callable[[int], None]]:
    """Show the progress of long work as `1,024 of 10,000 examples`; yield a function that takes the number done."""
    line = ProgressLine(FIRST, beside)

    def show(done: int) -> None:
        if line.is_due():
            line.write(f"{done:,} of {total:,} {unit}")

    try:
        yield show
    finally:
        line.clear()


class TerminalProgress(Progress):
    """Prints epochs on stdout, as text or as objects, and progress on stderr if that is a terminal."""

    def __init__(self, objects: bool) -> None:
        super().__init__()
        self._objects = objects
        self._line = ProgressLine()
        self._began_at = 0
        self._loss = float("nan")

    def begin(self, trainer: Trainer) -> None:
        super().begin(trainer)
        self._began_at = trainer.position.step

    def step(self, trainer: Trainer, loss: float) -> None:
        if not self._line.is_due():
            return
        self._loss = loss if not isfinite(self._loss) else 0.9 * self._loss + 0.1 * loss
        at, seconds = trainer.position, max(monotonic() - self.started, 1e-9)
        done = at.step - self._began_at
        figures = {"loss": self._loss, **trainer.measures.values()}
        speed = f"{done * trainer.recipe.batch / seconds:,.0f} examples/s"
        left = _time((trainer.steps - at.step) * seconds / done)
        part = f"epoch {_place(trainer)}  batch {at.batch:,}/{trainer.per_epoch:,}"
        self._line.write("  ".join([part, *_figures(figures), speed, f"{left} left"]))

    def validation(self, total: int) -> Callable[[int], None]:
        def show(done: int) -> None:
            if self._line.is_due():
                self._line.write(f"validation: {done:,} of {total:,}")

        return show

    def epoch(self, trainer: Trainer, row: Mapping[str, Any]) -> None:
        if self._objects:
            text = json.dumps({key: value if isfinite(value) else None for key, value in row.items()})
        elif self._is_shown(trainer):
            figures = {key: value for key, value in row.items() if key not in ("epoch", "step")}
            text = "  ".join([f"epoch {_ended(trainer)}", *_figures(figures)])
        else:
            return
        self._line.clear()
        print(text)

    def _is_shown(self, trainer: Trainer) -> bool:
        every = max(1, int(trainer.epochs) // MAX_EPOCHS_SHOWN)
        return trainer.position.epoch % every == 0 or trainer.position.step == trainer.steps

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.clear()


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
