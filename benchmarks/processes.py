"""Processes with a limit: what they print is kept in a file, which never blocks, and they end with all that they
started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO, Any

from benchmarks.measure import ROOT

TAIL = 1_000_000


class Process:
    """A running command, as the leader of a session. `failure` says why it could not start or what went wrong."""

    def __init__(self, command: list[str], **files: int) -> None:
        self.failure = ""
        self.printed = ""
        self.popen: subprocess.Popen[bytes] | None = None
        self._file: IO[bytes] = tempfile.TemporaryFile()
        everything: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._file, "stderr": self._file, **files}
        try:
            self.popen = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **everything)
        except OSError as error:
            self.failure = f"does not start: {error}"

    def wait(self, seconds: float) -> int | None:
        """Return the exit code; None if the process never started, or runs for longer."""
        if self.popen:
            with suppress(subprocess.TimeoutExpired):
                return self.popen.wait(max(0.0, seconds))
        return None

    def kill(self) -> None:
        """Kill the process and its descendants, without waiting for them."""
        if self.popen and not self._file.closed:  # its number may be that of another process later
            with suppress(OSError):
                os.killpg(self.popen.pid, signal.SIGKILL)

    def end(self) -> str:
        """Kill the process, and return what it has printed, without the beginning if that is more than TAIL bytes."""
        self.kill()
        if not self._file.closed:
            self.wait(5)
            self._file.seek(max(0, self._file.seek(0, os.SEEK_END) - TAIL))
            self.printed = self._file.read().decode("utf-8", "replace").strip()
            self._file.close()
        return self.printed
