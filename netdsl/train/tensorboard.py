"""Event files for TensorBoard, written by a package of somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "tensorboard"


class Board:
    """Figures of a run, as TensorBoard reads them. Raises MissingPackage where there is no tensorboardX."""

    __slots__ = ("_writer",)

    def __init__(self, folder: str, step: int) -> None:
        """What an earlier process has written behind a step is taken back."""
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise MissingPackage(
                "figures for TensorBoard need tensorboardX", "pip install 'netdsl[tensorboard]'"
            ) from None
        self._writer: Any = SummaryWriter(folder, purge_step=step + 1)

    def add(self, row: Mapping[str, Any]) -> None:
        """Figures at a `step`."""
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()
