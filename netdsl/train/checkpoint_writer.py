"""Write the files of a run: logs immediately, checkpoints once training has taken long enough to justify their cost."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from netdsl.backend.compile import ONE_FILE, CompileOptions, compile_net, weights_size
from netdsl.backend.external_data import write_pair
from netdsl.base.files import write_atomically
from netdsl.report.curves import draw_history
from netdsl.train.folder import CHECKPOINTS, CURVES
from netdsl.train.log import read_columns, read_rows
from netdsl.weights.file import open_weights
from netdsl.weights.safetensors import SafetensorsWeights, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net
    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.folder import RunFolder
    from netdsl.train.log import Row, TensorBoardLog
    from netdsl.train.loop import Trainer


def write_weights(path: str, weights: Mapping[str, Array], names: Names) -> None:
    """Write a safetensors file for `--weights`, with the names of classes and columns as metadata. Raises
    CannotWrite."""
    with write_atomically(path) as file:
        write_tensors(file, weights, {"format": "pt", **names.metadata})


def write_model(path: str, net: Net, weights: str) -> None:
    """Write a net as an ONNX model, with the weights of a file and the names in it. Raises CannotWrite."""
    size = weights_size(net)
    if size <= ONE_FILE:
        with write_atomically(path, size) as file:
            compile_net(net, file, CompileOptions(weights=open_weights(weights)))
        return
    with write_pair(path, size) as (file, data):
        compile_net(net, file, CompileOptions(weights=open_weights(weights)), data=data)


SHARE = 50
"""Minimum ratio of the training time since the last checkpoint to the time that writing it took."""

BEST, AVERAGE = "best.safetensors", "average.safetensors"

EPOCH_SECONDS, SECONDS = 5.0, 60.0
"""Minimum time in seconds between checkpoints, at the end of an epoch and within one."""


class CheckpointWriter:
    """Writes a run into its folder. `best` are the weights of the best epoch until they are on disk; `title` is that of
    the curves, which are over the steps if the length of the run is `in_steps`, otherwise over the epochs."""

    def __init__(self, folder: RunFolder, keep: int, kept: Mapping[str, object], seconds: float = SECONDS) -> None:
        """Initialize. `kept` has what the bits of a run depend on, for its checkpoints; `seconds` is the minimum time
        between two checkpoints within an epoch."""
        self.folder = folder
        self.best: Mapping[str, Array] | None = None
        self.tensorboard: TensorBoardLog | None = None
        self.title = ""
        self.in_steps = False
        self._keep = keep
        self._kept = kept
        self._seconds = seconds
        self._cost = self._cost_of_drawing = 0.0
        self._last = self._drawn = monotonic()
        self._step = -1
        self._newest: str | None = None

    @property
    def newest(self) -> str | None:
        """The file of the last checkpoint, once it is complete."""
        self.folder.writer.end()
        return self._newest

    def log_steps(self, row: Row) -> None:
        self.folder.steps.add(row)

    def log_epoch(self, row: Row, seconds: float, examples: int) -> None:
        self.folder.metrics.add(row)
        if self.tensorboard is not None:
            self.tensorboard.add(row)
        speed = {"seconds": round(seconds, 3), "examples_per_second": round(examples / max(seconds, 1e-9), 1)}
        self.folder.speed.add({"epoch": row["epoch"], "step": row["step"], **speed})

    def is_due(self, trainer: Trainer) -> bool:
        """Return whether a checkpoint is worth its cost now. Raises the error of writing the previous one."""
        if self.folder.writer.is_busy():
            return False
        past = monotonic() - self._last
        wait = min(EPOCH_SECONDS, self._seconds) if trainer.position.batch == 0 else self._seconds
        return past >= max(wait, SHARE * self._cost)

    def save_best(self, trainer: Trainer) -> None:
        """Save the weights of the best epoch so far: large ones immediately, others with the next checkpoint. Raises
        CannotWrite."""
        if trainer.runner.is_large:
            self.folder.writer.wait()
            write_weights(self.folder.file(BEST), trainer.live_averages(), trainer.names)
        else:
            self.best = trainer.averages()

    def save(self, checkpoint: Checkpoint, *, now: bool = False) -> None:
        """Start writing the best weights and then a checkpoint, which must not change afterwards. With `now`, wait for
        it. Raises CannotWrite, without `now` in the next call."""
        if checkpoint.position.step == self._step:
            return
        self.folder.writer.wait()
        begin = monotonic()
        self._step = checkpoint.position.step
        best, self.best = self.best, None
        if checkpoint.position.batch == 0 and begin - self._drawn >= SHARE * self._cost_of_drawing:
            self.draw()
            self._drawn = monotonic()
            self._cost_of_drawing = self._drawn - begin
        checkpoint.about = {**checkpoint.about, **self._kept, "logs": self.folder.lengths()}

        def write() -> None:
            if best is not None:
                write_weights(self.folder.file(BEST), best, checkpoint.names)
            self.folder.save(checkpoint, self._keep)
            self._newest = self.folder.file(CHECKPOINTS, checkpoint.position.file)
            self._last = monotonic()
            self._cost = self._last - begin

        self.folder.writer.begin(write)
        if now:
            self.folder.writer.wait()

    def finish(self, trainer: Trainer) -> None:
        """Write the best and the last model, that of the averages, and the curves at the end of a run. Raises
        CannotWrite."""
        self.folder.writer.wait()
        if self.best is not None:
            write_weights(self.folder.file(BEST), self.best, trainer.names)
            self.best = None
        last, best = self.folder.file("last.safetensors"), self.folder.file(BEST)
        write_weights(last, trainer.live_weights(), trainer.names)
        if trainer.best is None:
            write_weights(best, trainer.live_averages(), trainer.names)
        if trainer.recipe.average:
            write_weights(self.folder.file(AVERAGE), trainer.live_averages(), trainer.names)
        for which in ("last", "best", "average") if trainer.recipe.average else ("last", "best"):
            write_model(self.folder.file(f"{which}.onnx"), trainer.recipe.net, self.folder.file(f"{which}.safetensors"))
        self.draw()
        if self.tensorboard is not None:
            self.tensorboard.close()

    def read_best(self) -> dict[str, Array]:
        """Return the weights of the best epoch of a finished run."""
        file = SafetensorsWeights(self.folder.file(BEST))
        return {name: file.read(name) for name in file.entries}

    def draw(self) -> None:
        """Write the curves of the log so far. Raises CannotWrite."""
        self.folder.steps.flush()
        rows = read_rows(self.folder.metrics.paths[1])
        steps = read_columns(self.folder.steps.paths[0], ("step", "loss"))
        picture = draw_history(rows, self.title, steps=steps, in_steps=self.in_steps)
        self.folder.write(CURVES, picture.svg())
