"""Checkpoints: everything that a run needs to resume bit for bit, in one safetensors file each."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.files import write_atomically
from netdsl.base.user_error import UserError
from netdsl.ir.names import Names
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.safetensors import SafetensorsWeights, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array
    from netdsl.train.ranks import Ranks

RUN_KEY = "netdsl.run"
"""Metadata key of a checkpoint; the value is a JSON object."""

CHECKPOINT_NAME = re.compile(r"(\d+)(?:-(\d+))?\.safetensors")


class BadCheckpoint(UserError, code="E0860", title="an invalid checkpoint"):
    """A run cannot resume from a checkpoint that is damaged or belongs to another net or recipe.

    ```sh
    netdsl train net.net --out runs/new
    ```
    """


class Position:
    """Progress of a run: completed epochs, batches of the current epoch, and total steps."""

    __slots__ = ("batch", "epoch", "step")

    def __init__(self, epoch: int = 0, batch: int = 0, step: int = 0) -> None:
        self.epoch = epoch
        self.batch = batch
        self.step = step

    def __repr__(self) -> str:
        return f"<epoch {self.epoch}, batch {self.batch}, step {self.step}>"

    @property
    def file(self) -> str:
        """File name of a checkpoint at this position: `0003.safetensors` after three epochs, `0003-000120` within
        one."""
        return f"{self.epoch:04}{f'-{self.batch:06}' if self.batch else ''}.safetensors"


class Checkpoint:
    """A run after a step: its arrays by name, the rest as JSON data, and the names of classes and columns."""

    __slots__ = ("about", "names", "position", "state")

    def __init__(
        self, state: Mapping[str, Array], position: Position, about: Mapping[str, Any], names: Names | None = None
    ) -> None:
        self.state = state
        self.position = position
        self.about = about
        self.names = Names() if names is None else names

    def write(self, path: str) -> None:
        """Write the checkpoint atomically. Raises CannotWrite."""
        at = self.position
        about = {"epoch": at.epoch, "batch": at.batch, "step": at.step, **self.about}
        with write_atomically(path) as file:
            write_tensors(file, self.state, {RUN_KEY: json.dumps(about), **self.names.metadata})


def read_checkpoint(path: str) -> Checkpoint:
    """Read a checkpoint. Raises BadCheckpoint."""
    try:
        file = SafetensorsWeights(path)
        about = json.loads(file.metadata[RUN_KEY])
        position = Position(about.pop("epoch"), about.pop("batch"), about.pop("step"))
        return Checkpoint({key: file.read(key) for key in file.entries}, position, about)
    except BadWeightFile as error:
        raise BadCheckpoint(error.message, *error.helps) from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise BadCheckpoint(f"{path} is not a checkpoint of a run") from None


def shared_checkpoint(checkpoint: Checkpoint | None, ranks: Ranks) -> Checkpoint | None:
    """Return the checkpoint of rank 0, which the others receive: their machines may not have its file."""
    if ranks.size == 1:
        return checkpoint
    found = None
    if checkpoint is not None:
        found = checkpoint.position, checkpoint.about, {k: (a.shape, a.dtype) for k, a in checkpoint.state.items()}
    found = ranks.broadcast(found)
    if found is not None and not ranks.leads:
        position, about, arrays = found
        checkpoint = Checkpoint({name: np.empty(*each) for name, each in arrays.items()}, position, about)
    for array in checkpoint.state.values() if checkpoint is not None else ():
        ranks.fill(array)
    return checkpoint


def checkpoints(folder: str) -> list[str]:
    """Return the paths of the checkpoints in a folder, oldest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = [(int(match[1]), int(match[2] or 0), name) for name in names if (match := CHECKPOINT_NAME.fullmatch(name))]
    return [os.path.join(folder, name) for *_, name in sorted(found)]


def prune_checkpoints(folder: str, keep: int) -> None:
    """Remove all but the newest checkpoints."""
    found = checkpoints(folder)
    for path in found[: max(0, len(found) - keep)]:
        with suppress(OSError):
            os.unlink(path)
