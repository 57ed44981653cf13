"""Event files for TensorBoard, written by tensorboardX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    from netdsl.train.log import Row

FOLDER = "tensorboard"


class Board:
    """Writes the metrics of a run for TensorBoard. Raises MissingPackage if tensorboardX is not installed."""

    __slots__ = ("_writer",)

    def __init__(self, folder: str, step: int) -> None:
        """Open the log, discarding rows of an earlier process after a step."""
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise MissingPackage(
                "event files for TensorBoard require tensorboardX", "pip install 'netdsl[tensorboard]'"
            ) from None
        self._writer = SummaryWriter(folder, purge_step=step + 1)

    def add(self, row: Row) -> None:
        """Add the metrics of a row at its `step`."""
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()
