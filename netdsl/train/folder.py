"""The folder of a run: its files, its lock, and the checkpoint from which the run resumes."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from netdsl.base.files import CannotWrite, reason, remove_leftovers, require_space, write_atomically
from netdsl.base.threads import start
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.train.checkpoint import BadCheckpoint, Checkpoint, checkpoints, prune_checkpoints, read_checkpoint
from netdsl.train.log import MetricLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence


class Writer:
    """Runs one job at a time in a background thread, so that writing to disk does not block training.

    The next call raises the exception of a job.
    """

    __slots__ = ("_error", "_thread")

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def begin(self, work: Callable[[], object]) -> None:
        """Wait for the previous job, and start this one."""
        self.wait()
        # Not a daemon: the interpreter waits for the job before it exits.
        self._thread = Thread(target=self._do, args=(work,), name="netdsl writer", daemon=False)
        start(self._thread)

    def is_busy(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        self.wait()
        return False

    def wait(self) -> None:
        """Wait until the job is done. Raises its exception, once."""
        self.end()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def end(self) -> None:
        """Wait until the job is done, and leave its exception to the next call."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error


ABOUT, SOURCES, CHECKPOINTS = "run.json", "source", "checkpoints"
CURVES, TENSORBOARD = "curves.svg", "tensorboard"
ROW_PATIENCE = 1.0
"""Maximum time in seconds for which rows of `steps.csv` are buffered: writing one row costs as much as writing many."""
MADE_BY = "netdsl train"
MODEL_FILES = tuple(f"{which}.{ending}" for which in ("best", "last", "average") for ending in ("safetensors", "onnx"))


class FolderIsTaken(UserError, code="E0863", title="a folder that is in use", exit_code=USAGE_IS_WRONG):
    """The folder for a run contains another run or files that netdsl did not write, or another process is training in
    it.

    ```sh
    netdsl train net.net --out runs/other
    netdsl train net.net --out runs/net --resume
    ```
    """


ANOTHER_RUN = "--out selects a folder for another run, and --force starts this one anew"
"""The help of an OtherRun error."""


class OtherRun(UserError, code="E0864", title="a run with other settings", exit_code=USAGE_IS_WRONG):
    """A run resumes with the net, recipe and data that it was started with; only its end can change. Otherwise it could
    not be reproduced.

    ```sh
    netdsl train net.net --out runs/other
    netdsl train net.net --out runs/net --force
    ```
    """


class RunFolder:
    """The files of a run: its description in `run.json`, sources, logs, checkpoints, models and curves."""

    __slots__ = ("metrics", "path", "speed", "steps", "writer")

    def __init__(self, path: str, measures: Sequence[str]) -> None:
        """Initialize; `measures` are the columns of figures in `metrics.csv`."""
        self.path = path
        self.writer = Writer()
        self.metrics = MetricLog(path, "metrics", ("epoch", "step", *measures, "rate"))
        self.steps = MetricLog(path, "steps", ("step", "loss", "rate"), objects=False, patience=ROW_PATIENCE)
        self.speed = MetricLog(path, "speed", ("epoch", "step", "seconds", "examples_per_second"), objects=False)

    def file(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    @property
    def logs(self) -> tuple[MetricLog, ...]:
        return self.metrics, self.steps, self.speed

    def is_resumed(self, *, resume: bool, force: bool) -> bool:
        """Return whether to resume a run in the folder. Raises FolderIsTaken, or CannotWrite if it is not a folder."""
        try:
            found = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return False
        except OSError as error:
            if os.path.exists(self.path) and not os.path.isdir(self.path):
                raise CannotWrite(f"{self.path} is a file, but a run needs a folder") from None
            raise _cannot(self.path, error) from None
        name = self.path
        if self.about() is not None:
            if not resume and not force:
                raise FolderIsTaken(
                    f"{name} already contains a run",
                    "--resume continues it, --out selects another folder, --force overwrites it",
                )
            return resume
        if found and not force:
            raise FolderIsTaken(
                f"{name} is not the folder of a run: it contains `{found[0]}`",
                "--out selects another folder, --force writes into this one",
            )
        return False

    def remove_start(self, before: Collection[str], made: Iterable[str]) -> None:
        """Remove what a start of a run has written, except the entries `before`, and of the folders `made`, inner ones
        first, those that are empty then. Other files, which someone else has written since, remain."""
        logs = {os.path.basename(path) for log in self.logs for path in log.paths}
        written = {ABOUT, SOURCES, CHECKPOINTS, CURVES, TENSORBOARD, *MODEL_FILES, *logs} - {*before}
        remove_leftovers(self.path)
        for path in map(self.file, written):
            with suppress(OSError):
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        for path in made:
            with suppress(OSError):
                os.rmdir(path)

    def about(self) -> dict[str, Any] | None:
        """Return the content of `run.json`, if netdsl wrote it."""
        try:
            with open(self.file(ABOUT), encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("made_by") == MADE_BY else None

    def begin(self, about: Mapping[str, object], sources: Mapping[str, str], size: int) -> None:
        """Create the folder and the files of a new run, and remove those of an earlier one. `size` is the minimum size
        of a checkpoint in bytes. Raises CannotWrite."""
        try:
            os.makedirs(self.file(CHECKPOINTS), exist_ok=True)
            os.makedirs(self.file(SOURCES), exist_ok=True)
            require_space(self.file(ABOUT), size)
        except OSError as error:
            raise _cannot(self.path, error) from None
        prune_checkpoints(self.file(CHECKPOINTS), 0)
        for name in (*MODEL_FILES, CURVES):
            with suppress(FileNotFoundError):
                os.unlink(self.file(name))
        self.write(ABOUT, json.dumps({"made_by": MADE_BY, **about}, indent=2) + "\n")
        for name, text in sources.items():
            os.makedirs(os.path.dirname(self.file(SOURCES, name)), exist_ok=True)
            self.write(os.path.join(SOURCES, name), text)
        for log in self.logs:
            log.begin()

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file atomically. Raises CannotWrite."""
        with write_atomically(self.file(name)) as file:
            file.write(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)

    def lengths(self) -> dict[str, int]:
        """Return the lengths of the log files, to which `cut` can truncate them. Raises CannotWrite."""
        return {name: size for log in self.logs for name, size in log.sizes().items()}

    def save(self, checkpoint: Checkpoint, keep: int) -> None:
        """Write a checkpoint after flushing the logs, and remove the oldest beyond `keep`. Raises CannotWrite."""
        for log in self.logs:
            log.sync()
        checkpoint.write(self.file(CHECKPOINTS, checkpoint.position.file))
        prune_checkpoints(self.file(CHECKPOINTS), max(1, keep))

    def latest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint, or None if there are none. Raises BadCheckpoint if all are damaged."""
        problem: BadCheckpoint | None = None
        for path in reversed(checkpoints(self.file(CHECKPOINTS))):
            try:
                return read_checkpoint(path)
            except BadCheckpoint as error:
                problem = problem or error
        if problem is not None:
            raise BadCheckpoint(problem.message, "all checkpoints of the run are damaged; --force starts it anew")
        return None

    def cut(self, checkpoint: Checkpoint) -> None:
        """Truncate the logs to the newest intact checkpoint, and remove damaged ones after it. Raises BadCheckpoint."""
        found = checkpoints(self.file(CHECKPOINTS))
        intact = self.file(CHECKPOINTS, checkpoint.position.file)
        for path in found[found.index(intact) + 1 :] if intact in found else ():
            with suppress(OSError):
                os.unlink(path)
        for log in self.logs:
            log.cut(checkpoint.about["logs"])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Prevent other processes from training in the folder, if the system can lock it, and close all files at the
        end. Raises FolderIsTaken and CannotWrite."""
        try:
            import fcntl
        except ImportError:  # Windows
            with self._closed():
                yield
            return
        try:
            os.makedirs(self.path, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise _cannot(self.path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderIsTaken(f"another process is training in {self.path}") from None
        except OSError:  # some network file systems have no locks
            pass
        else:
            for folder in filter(os.path.isdir, (self.path, self.file(CHECKPOINTS))):
                remove_leftovers(folder)
        try:
            with self._closed():
                yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _closed(self) -> Iterator[None]:
        """Close all files at the end."""
        try:
            yield
        finally:
            self.writer.end()
            for log in self.logs:
                log.close()


def _cannot(path: str, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write {path}: {reason(error)}")


def missing_folders(path: str) -> list[str]:
    """Return the folders on a path that do not exist, inner ones first."""
    found = []
    while path and not os.path.lexists(path):
        found.append(path)
        path = os.path.dirname(path)
    return found


def numbered_folders(base: str) -> list[str]:
    """Return what exists of `base`, `base-2`, `base-3`, …, in this order."""
    parent, name = os.path.split(base)
    try:
        entries = os.listdir(parent)
    except OSError:
        return []
    number = re.compile(rf"{re.escape(name)}(?:-([2-9]|[1-9]\d+))?")
    found = sorted((int(match[1] or 1), each) for each in entries if (match := number.fullmatch(each)))
    return [os.path.join(parent, each) for _, each in found]


def claim_folder(base: str) -> tuple[str, list[str]]:
    """Make the folder after the last of `base`, `base-2`, `base-3`, …, which no other process claims as well. Return
    it, and all folders made, inner ones first. Raises CannotWrite."""
    parent = os.path.dirname(base)
    made = missing_folders(parent)
    try:
        os.makedirs(parent, exist_ok=True)
        last = ["0", *numbered_folders(base)][-1].removeprefix(base).lstrip("-") or 1
        number = int(last) + 1
        while True:
            path = base if number == 1 else f"{base}-{number}"
            try:
                os.mkdir(path)
                return path, [path, *made]
            except FileExistsError:
                number += 1
    except FileExistsError:
        raise CannotWrite(f"{parent} is a file, but a run needs a folder") from None
    except OSError as error:
        raise _cannot(base, error) from None
