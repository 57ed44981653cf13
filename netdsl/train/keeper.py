"""What of a run goes to the disk, and when: rows at once, checkpoints when they are worth their time."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from netdsl.step import LOSS
from netdsl.train.curves import chart
from netdsl.train.folder import CHECKPOINTS, CURVES
from netdsl.train.log import read_columns, read_rows
from netdsl.train.models import write_model, write_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.folder import RunFolder
    from netdsl.train.loop import Trainer
    from netdsl.train.runner import Array
    from netdsl.train.tensorboard import Board

SHARE = 50
"""A checkpoint is made when the training since the last one took so many times longer than writing it."""

VALIDATION = "validation_"

EPOCH_SECONDS, SECONDS = 1.0, 60.0
"""At least so long after the last one, at the end of an epoch and within one."""


class Keeper:
    """Writes a run into its folder. `best` are the weights of the best epoch that are not on the disk yet."""

    def __init__(self, folder: RunFolder, keep: int, choices: Mapping[str, Any], seconds: float = SECONDS) -> None:
        """`choices` are what the last bits of a step depend on, for the checkpoints; `seconds` lie between two."""
        self.folder = folder
        self.newest: str | None = None
        self.best: Mapping[str, Array] | None = None
        self.board: Board | None = None
        self._keep = keep
        self._choices = choices
        self._seconds = seconds
        self._cost = 0.0
        self._last = monotonic()
        self._step = -1

    def steps(self, row: Mapping[str, Any]) -> None:
        self.folder.steps.add(row)

    def row(self, row: Mapping[str, Any], seconds: float, examples: int) -> None:
        self.folder.metrics.add(row)
        if self.board is not None:
            self.board.add(row)
        speed = {"seconds": round(seconds, 3), "examples_per_second": round(examples / max(seconds, 1e-9), 1)}
        self.folder.speed.add({"epoch": row["epoch"], "step": row["step"], **speed})

    def is_due(self, trainer: Trainer) -> bool:
        """Whether a checkpoint is worth its time now."""
        past = monotonic() - self._last
        wait = min(EPOCH_SECONDS, self._seconds) if trainer.position.batch == 0 else self._seconds
        return past >= max(wait, SHARE * self._cost)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, the best weights before it. Raises CannotWrite."""
        if checkpoint.position.step == self._step:
            return
        begin = monotonic()
        self.flush()
        if checkpoint.position.batch == 0:
            self.draw()
        checkpoint.about = {**checkpoint.about, **self._choices}
        self.folder.save(checkpoint, self._keep)
        self.newest = self.folder.file(CHECKPOINTS, checkpoint.position.file)
        self._step = checkpoint.position.step
        self._last = monotonic()
        self._cost = self._last - begin

    def flush(self) -> None:
        """Bring the best weights to the disk."""
        if self.best is not None:
            write_weights(self.folder.file("best.safetensors"), self.best)
            self.best = None

    def finish(self, trainer: Trainer) -> None:
        """Write what a run leaves when it ends, or is ended: the best and the last model, and the curves."""
        self.flush()
        last, best = self.folder.file("last.safetensors"), self.folder.file("best.safetensors")
        write_weights(last, trainer.weights())
        if trainer.best is None:
            write_weights(best, trainer.weights())
        for which in ("last", "best"):
            write_model(self.folder.file(f"{which}.onnx"), trainer.recipe.net, self.folder.file(f"{which}.safetensors"))
        self.draw()
        if self.board is not None:
            self.board.close()

    def draw(self) -> None:
        """Write the curves of what is logged so far."""
        rows = read_rows(self.folder.metrics.paths[1])
        names = dict.fromkeys(key.removeprefix(VALIDATION) for row in rows for key in row)
        panels: dict[str, dict[str, list[tuple[float, float]]]] = {LOSS: {}}
        for name in names:
            if name not in ("epoch", "step", "rate"):
                curves = {"training": name, "validation": VALIDATION + name}
                panels[name] = {
                    key: [(r["step"], r[column]) for r in rows if column in r] for key, column in curves.items()
                }
        steps = read_columns(self.folder.steps.paths[0], ("step", "loss"))
        if len(steps) > len(rows):
            panels[LOSS]["training"] = steps
        self.folder.write(CURVES, chart(self.folder.path, panels, "step").svg())
