"""Run jobs of a verification in a process, within bounds of time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from netdsl.base.threads import start

if TYPE_CHECKING:
    from types import TracebackType

TICK = 0.02
"""Time in seconds between two looks at a process."""


GRACE = 1.0
"""Time in seconds in which a process that closed its output, or is no longer needed, can end."""


class Failed(Exception):
    """A job that fails; the text says how."""


class Exceeded(Exception):
    """A job that was stopped since it exceeded a bound; the text says which."""


class Child:
    """Runs jobs of the worker one after the other. The process starts with the first, and again after one that it does
    not survive. `seconds` bound a job, and `memory` is what the process may hold in bytes, where the system says it."""

    __slots__ = ("_process", "_reason", "memory", "seconds")

    def __init__(self, seconds: float, memory: int) -> None:
        self.seconds = seconds
        self.memory = memory
        self._process: subprocess.Popen[str] | None = None
        self._reason = ""

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a job. Raises Failed and Exceeded."""
        process = self._process = self._process or _begin()
        assert process.stdin is not None
        assert process.stdout is not None
        self._reason = ""
        done = Event()
        watch = Thread(target=self._watch, args=(process, done), daemon=True)
        start(watch)
        try:
            process.stdin.write(json.dumps({"job": job, **arguments}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            done.set()
            watch.join()
        if not answer:
            code = self._end()
            if self._reason:
                raise Exceeded(self._reason)
            raise Failed(f"the process ended with {_ending(code)}")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise Failed(found["error"])
        ok: dict[str, Any] = found["ok"]
        return ok

    def _watch(self, process: subprocess.Popen[str], done: Event) -> None:
        """Kill a process that exceeds a bound, which ends the wait for its answer."""
        end = monotonic() + self.seconds
        while not done.wait(TICK):
            if monotonic() > end:
                self._reason = f"it takes more than {self.seconds:g} s (--time-limit)"
            elif _resident(process.pid) > self.memory:
                self._reason = f"it takes more than {self.memory / 2**30:g} GiB of memory (--memory-limit)"
            if self._reason:
                process.kill()
                return

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if not self._reason:
            with suppress(subprocess.TimeoutExpired):  # one that crashed has its own exit code
                process.communicate(timeout=GRACE)
        process.kill()
        process.communicate()
        return process.returncode


def _resident(pid: int) -> int:
    """Return the memory that a process holds in bytes; 0 where the system does not say it."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _ending(code: int) -> str:
    """Describe the exit code of a process."""
    import signal

    try:
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    except ValueError:
        return f"exit code {code}"


def _begin() -> subprocess.Popen[str]:
    """Start the worker, with the module search path of this process and without the working folder."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "netdsl.app.verify.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
    )
