"""Runs commands as a user would, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netdsl.cli import main
from tests.support.paths import ROOT

MNIST = ROOT / "examples" / "mnist"


class Ran:
    """What a command left: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Commands:
    """Runs commands in a folder of their own, in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        self.capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        found = self.capsys.readouterr()
        assert "Traceback" not in found.err
        return Ran(code, found.out, found.err)

    def write(self, **files: str) -> None:
        """`write(a="net a { … }")` writes a.net."""
        for name, text in files.items():
            (self.folder / f"{name}.net").write_bytes(text.encode())


@pytest.fixture
def netdsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path, capsys)


def strict(line: str) -> Any:
    """Return the value of a line of JSON, which has neither NaN nor infinities."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(line, parse_constant=refuse)


def environment(**changes: str) -> dict[str, str]:
    """Return a user's environment with our package on the path.

    Python's own settings (`PYTHONUNBUFFERED` …) are not inherited, since they would hide faults. No bytecode is
    written: CPython 3.11 leaves truncated files on a full disk.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **changes}


PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0"]
print(*(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def weighed(code: str, *arguments: str, cwd: Path) -> tuple[subprocess.CompletedProcess[str], int]:
    """Python in a process of its own, and the bytes that it took at most; 0 where the system does not tell.

    `ru_maxrss` would not do: a process inherits it from the one that began it, which has run other tests.
    """
    command = [sys.executable, "-c", code + PEAK, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    done.stdout, _, peak = done.stdout.rstrip().rpartition("\n")
    return done, int(peak) * 1024


def spawn(*arguments: object, cwd: Path, stdin: bytes = b"", **changes: str) -> subprocess.CompletedProcess[bytes]:
    """`python -m netdsl` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "netdsl", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=environment(**changes),
    )
