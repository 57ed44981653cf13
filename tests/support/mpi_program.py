"""A program for `mpiexec -n N python -m tests.support.mpi_program`: `netdsl`, with a fault on one rank.

The arguments are the fault, its rank, the number of the step or of the call before which it occurs, and those of
`netdsl`. Faults before the first step are those in SETUP.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from netdsl.base.files import CannotWrite
from netdsl.cli import entry
from netdsl.data.errors import BadStream
from netdsl.train import run
from netdsl.train.checkpoint import Checkpoint
from netdsl.train.loop import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable


def bug() -> None:
    raise ZeroDivisionError("a bug")


def error() -> None:
    raise BadStream("the data end early")


def leave() -> None:
    sys.exit(3)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def memory() -> None:
    raise MemoryError


def close() -> None:
    """Leave no way to print, and fail."""
    sys.stdout.close()
    sys.stderr.close()
    raise ZeroDivisionError


def stop() -> None:
    """Take very long, and say so by a file."""
    with open("stopped", "w"):
        time.sleep(1000)


FAULTS: dict[str, Callable[[], None]] = {
    "bug": bug,
    "error": error,
    "exit": leave,
    "kill": kill,
    "close": close,
    "memory": memory,
    "stop": stop,
}


def before_a_step(fault: Callable[[], None], at: int) -> None:
    """Let a fault occur before a step."""
    step = Trainer._step

    def faulty(self: Trainer, feeds: Any) -> None:
        if self.position.step == at:
            fault()
        step(self, feeds)

    Trainer._step = faulty  # type: ignore[method-assign]


def before_the_first(fault: Callable[[], None]) -> None:
    """Let a fault occur while the training is set up."""
    start = run.environment

    def faulty(trainer: Trainer) -> Any:
        fault()
        return start(trainer)

    run.environment = faulty


def slowed(seconds: float) -> None:
    """Let each step take longer."""
    step = Trainer._step

    def slow(self: Trainer, feeds: Any) -> None:
        time.sleep(seconds)
        step(self, feeds)

    Trainer._step = slow  # type: ignore[method-assign]


def not_finite(at: int) -> None:
    """Put an infinity into the data of a step."""
    step = Trainer._step

    def faulty(self: Trainer, feeds: Any) -> None:
        infinite = self.position.step == at
        step(self, {**feeds, "x": feeds["x"] * float("inf")} if infinite else feeds)

    Trainer._step = faulty  # type: ignore[method-assign]


def full(at: int) -> None:
    """Let the disk be full for a checkpoint after a step."""
    write = Checkpoint.write

    def faulty(self: Checkpoint, path: str) -> None:
        if self.position.step >= at:
            raise CannotWrite(f"cannot write {path}: no space left on device")
        write(self, path)

    Checkpoint.write = faulty  # type: ignore[method-assign]


def prepare(name: str, at: int) -> None:
    if name in FAULTS:
        before_a_step(FAULTS[name], at) if at else before_the_first(FAULTS[name])
    elif name == "slow":
        slowed(0.02)
    elif name == "infinite":
        not_finite(at)
    elif name == "full":
        full(at)


if __name__ == "__main__":
    name, rank, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    del sys.argv[1:4]
    if int(os.environ.get("PMI_RANK", "0")) == rank:
        prepare(name, at)
    entry()
