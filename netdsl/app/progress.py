"""Progress bars on a terminal or in a notebook, drawn by tqdm, and a line for each epoch of a training."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from math import inf, isfinite, nan
from time import monotonic
from typing import TYPE_CHECKING, Any

from netdsl.train.progress import RecordedProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from netdsl.train.log import Row
    from netdsl.train.loop import Trainer

FIRST, NEXT = 0.5, 0.1
"""Time in seconds until the bar of a counted work appears, and between updates of any bar."""

MIN_BAR = 6
"""Minimum width of the bar itself; it takes what the texts beside it leave of the line."""

MAX_EPOCHS_SHOWN = 100
"""Maximum number of epochs with a line of their own."""


class ProgressBar:
    """A line with a bar that is redrawn at most every NEXT seconds and never wraps. Nothing is drawn if it is not
    `visible`, or if stderr is neither a terminal nor that of a notebook."""

    __slots__ = ("_bar", "_due")

    def __init__(self, delay: float = 0.0, *, visible: bool = True) -> None:
        self._bar: Any = None
        self._due = monotonic() + delay if visible and (_in_notebook() or _on_terminal()) else inf

    def is_due(self) -> bool:
        """Return whether an update is due; if so, start timing the next."""
        now = monotonic()
        if now < self._due:
            return False
        self._due = now + NEXT
        return True

    def draw(self, label: str, done: int, total: int, fields: Sequence[str] = ()) -> None:
        """Draw the bar between its label and those of the fields, in order of importance, that fit into the line."""
        width = max(1, _columns(sys.stderr) - 1)  # to tqdm, 0 is no limit
        room = width - len(f"{label} 100%|") - MIN_BAR - 1
        shown = ""
        for field in fields:
            if len(shown) + 1 + len(field) > room:
                break
            shown += f" {field}"
        if self._bar is None:
            self._bar = _tqdm()(total=total, leave=False, file=sys.stderr, delay=1e-9)  # not drawn yet
        self._bar.n, self._bar.total, self._bar.ncols = min(done, total), total, width
        before, after = (text.replace("{", "{{").replace("}", "}}") for text in (label, shown))
        self._bar.bar_format = f"{before} {{percentage:3.0f}}%|{{bar}}|{after}"
        self._bar.refresh()

    def clear(self) -> None:
        """Clear the line until the next update, for other output."""
        if self._bar is not None:
            self._bar.clear()
            sys.stderr.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):  # not a terminal, such as in a notebook
        return 80


def _tqdm() -> Any:
    """Return the class of bars, which draws in a terminal or in a notebook, without a thread that watches them."""
    if _in_notebook():
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return type("Bar", (tqdm,), {"monitor_interval": 0})


@contextmanager
def counted(unit: str, total: int, *, visible: bool = True) -> Iterator[Callable[[int], None]]:
    """Show the progress of long work; yield a function that takes the number of completed units."""
    bar = ProgressBar(FIRST, visible=visible)
    begin, width = monotonic(), len(f"{total:,}")

    def show(done: int) -> None:
        if bar.is_due():
            bar.draw(unit, done, total, [f"{done:>{width},}/{total:,}", _left(begin, done, total)])

    try:
        yield show
    finally:
        bar.close()


class TrainingProgress(RecordedProgress):
    """Draws a bar for each epoch, or for all steps if the length of the training is given in steps, and prints a line
    after each epoch."""

    def __init__(self, callback: Callable[[dict[str, float]], object] | None = None, *, visible: bool = True) -> None:
        super().__init__(callback)
        self._bar = ProgressBar(visible=visible)
        self._began_at = 0
        self._loss = nan

    def measuring(self, done: int, total: int) -> None:
        if self._bar.is_due():
            self._bar.draw("measuring step backends", done, total, [f"{done:,}/{total:,} s"])

    def begin(self, trainer: Trainer) -> None:
        super().begin(trainer)
        self._began_at = trainer.position.step

    def step(self, trainer: Trainer, loss: float) -> None:
        if not self._bar.is_due():
            return
        self._loss = 0.9 * self._loss + 0.1 * loss if isfinite(self._loss) else loss
        at, begun = trainer.position, self._began_at
        seconds = max(monotonic() - self.started, 1e-9)
        speed = f"{(at.step - begun) * trainer.recipe.step_batch / seconds:>7,.0f} examples/s"
        left = _left(self.started, at.step - begun, trainer.steps - begun)
        loss_field, *metrics = _figures({"loss": self._loss, **trainer.own_figures()}, width=7)
        fields = [loss_field, left, *metrics, speed]
        if trainer.recipe.steps is None:
            self._bar.draw(f"epoch {_of(at.epoch + 1, int(trainer.epochs))}", at.batch, trainer.per_epoch, fields)
        else:
            self._bar.draw(f"step {_of(at.step, trainer.steps)}", at.step, trainer.steps, fields)

    def validation(self, total: int) -> Callable[[int], None]:
        def show(done: int) -> None:
            if self._bar.is_due():
                self._bar.draw("validation", done, total, [_of(done, total)])

        return show

    def epoch(self, trainer: Trainer, row: Row) -> None:
        super().epoch(trainer, row)
        if self.is_shown(trainer):
            self._bar.clear()
            print(_folded(self.parts(trainer, row)))

    def parts(self, trainer: Trainer, row: Row) -> list[str]:
        """Return the parts of the line of an epoch."""
        total = trainer.steps if trainer.recipe.steps is not None else int(trainer.epochs)
        figures = {key: value for key, value in row.items() if key not in ("epoch", "step")}
        return [f"{trainer.point(trainer.position.step)}/{total:,}", *_figures(figures)]

    def is_shown(self, trainer: Trainer) -> bool:
        """Return whether to print a line for the epoch that has ended."""
        every = max(1, int(trainer.epochs) // MAX_EPOCHS_SHOWN)
        return trainer.position.epoch % every == 0 or trainer.position.step == trainer.steps

    def close(self) -> None:
        self._bar.close()


class JsonLines(RecordedProgress):
    """Prints an object after each epoch."""

    def epoch(self, trainer: Trainer, row: Row) -> None:
        super().epoch(trainer, row)
        print_event("epoch", **row)


def print_event(event: str, **data: object) -> None:
    """Print a line of a training's log as JSON."""
    from netdsl.report.table import json_text

    print(json_text({"event": event, **data}))


def _folded(parts: Sequence[str]) -> str:
    """Return a line, or several, of parts that a terminal on stdout need not break."""
    width = _columns(sys.stdout) if sys.stdout.isatty() else inf
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 2 > width:
            lines.append("")
        lines[-1] += f"  {part}"
    return "\n".join(lines)[2:]


def _of(done: int, total: int) -> str:
    return f"{done:>{len(f'{total:,}')},}/{total:,}"


def _figures(row: Row, width: int = 0) -> list[str]:
    return [f"{key} {f'{value:.4g}':<{width}}" for key, value in row.items()]


def _left(begin: float, done: int, total: int) -> str:
    """Return the time left, such as `   2:05 left` or `1:02:05 left`."""
    seconds = round((total - done) * (monotonic() - begin) / max(done, 1))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    text = f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
    return f"{text:>7} left"
