"""Progress bars: on a terminal of any width, and nowhere else."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from shutil import copyfile
from threading import Timer

import numpy as np
import pytest

import netdsl as api
from netdsl.app import progress
from tests.support.cli_tools import Commands, environment, netdsl

__all__ = ["netdsl"]

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
NET = """
net small {{ input x 64; dense 256; relu; dense 3 }}
train small {{
  data npz "small.npz"; validate 0.5
  loss cross_entropy
  {end}; batch 8
}}
"""
SLOW = "import netdsl.app.progress as p; p.FIRST = p.NEXT = 0; from netdsl.cli import main; raise SystemExit(main())"
"""A program that draws each update."""


def prepare(folder: Path, end: str = "epochs 2") -> None:
    rng = np.random.default_rng(0)
    np.savez(folder / "small.npz", x=rng.standard_normal((400, 64)).astype(np.float32), target=rng.integers(0, 3, 400))
    (folder / "small.net").write_text(NET.format(end=end))


def on_terminal(
    folder: Path, *arguments: str, columns: int = 80, term: str = "xterm", stop_at: bytes = b"", piped: bool = False
) -> tuple[int, str, str]:
    """Return the exit code of a command, what a terminal receives of it, and its stdout if that is a pipe; interrupt
    it once the terminal has received `stop_at`."""
    import fcntl
    import pty
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        cwd=folder,
        stdin=other,
        stdout=subprocess.PIPE if piped else other,
        stderr=other,
        env=environment(TERM=term),
    )
    os.close(other)
    guard = Timer(60, process.kill)
    guard.start()
    seen = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # how Linux reports the end
            break
        if not part:
            break
        seen += part
        if stop_at and stop_at in seen:
            process.send_signal(signal.SIGINT)
            stop_at = b""
    out = process.communicate()[0] or b""
    guard.cancel()
    os.close(main)
    return process.returncode, seen.decode(), out.decode()


def screen(seen: str) -> list[str]:
    """Return the lines that remain on a terminal: text after a carriage return replaces what was there."""
    lines = []
    for line in seen.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def bars(seen: str) -> list[str]:
    """Return each state of the bars."""
    return [part for part in re.split(r"[\r\n]+", seen) if re.search(r"\d%\|", part)]


@POSIX
@pytest.mark.parametrize(("columns", "end"), [(80, "epochs 2"), (40, "steps 40"), (8, "epochs 2")])
def test_a_bar_fits_and_does_not_jump(tmp_path: Path, columns: int, end: str) -> None:
    prepare(tmp_path, end)
    code, seen, _ = on_terminal(tmp_path, "train", "small.net", columns=columns)
    assert code == 0, seen
    drawn = [part for part in re.split(r"[\r\n]+", seen) if "%" in part or part.startswith(("epoch  ", "valid"))]
    assert len(drawn) > 20
    assert {len(part) for part in drawn} <= {columns - 1}
    if columns >= 40:
        training = [part for part in drawn if "loss" in part]
        assert {part.index("loss") for part in training} == {training[0].index("loss")}
        assert {part.count("|") for part in drawn} == {2}
    assert not [line for line in screen(seen) if "%" in line]
    epochs = [line for line in screen(seen) if line.startswith(("epoch 1/2", "epoch 2/2", "step 25/40", "step 40/40"))]
    assert len(epochs) == 2


@POSIX
def test_lines_of_epochs_are_folded(tmp_path: Path) -> None:
    prepare(tmp_path)
    _, seen, _ = on_terminal(tmp_path, "train", "small.net", "--epochs", "1", columns=40)
    lines = screen(seen)
    at = next(number for number, line in enumerate(lines) if line.startswith("epoch 1/1"))
    shown = [lines[at], *takewhile(lambda line: line.startswith("  "), lines[at + 1 :])]
    assert len(shown) > 2
    assert all(len(line) <= 40 for line in shown)
    row = json.loads((tmp_path / "runs/small/metrics.jsonl").read_text())
    assert " ".join(shown).split()[2::2] == [key for key in row if key not in ("epoch", "step")]


@POSIX
@pytest.mark.parametrize("how", [["-q"], ["--json"]])
def test_no_bar_if_nobody_wants_one(tmp_path: Path, how: list[str]) -> None:
    prepare(tmp_path)
    code, seen, _ = on_terminal(tmp_path, "train", "small.net", *how)
    assert code == 0
    assert bars(seen) == []
    assert "\x1b" not in seen


@POSIX
def test_no_bar_on_a_terminal_that_cannot_draw(tmp_path: Path) -> None:
    prepare(tmp_path)
    _, seen, _ = on_terminal(tmp_path, "train", "small.net", term="dumb")
    assert bars(seen) == []


def test_a_pipe_receives_lines(tmp_path: Path) -> None:
    prepare(tmp_path)
    command = [sys.executable, "-c", SLOW, "train", "small.net"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment(TERM="xterm"))
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert "\r" not in done.stdout + done.stderr
    assert "%" not in done.stderr


@POSIX
def test_a_bar_beside_a_piped_stdout(tmp_path: Path) -> None:
    prepare(tmp_path)
    _, seen, out = on_terminal(tmp_path, "train", "small.net", piped=True)
    assert len(bars(seen)) > 20
    assert [line.split("  ")[0] for line in out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert len(out.splitlines()[0]) > 80


@POSIX
def test_an_interrupt_leaves_a_clean_line(tmp_path: Path) -> None:
    prepare(tmp_path, "epochs 100000")
    code, seen, _ = on_terminal(tmp_path, "train", "small.net", stop_at=b"3/100,000")
    assert code == 130
    *_, last, empty = screen(seen)
    assert re.fullmatch(r"stopped after step [\d,]+ of 2,500,000, with a checkpoint; --resume continues", last)
    assert empty == ""
    assert not [line for line in screen(seen) if "%" in line]


@POSIX
@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        (["compile", "xor"], "bytes"),
        (["eval", "small.net", "--weights", "best.safetensors"], "examples"),
        (["compare", "xor", "lenet5"], "files"),
    ],
)
def test_long_commands_count(tmp_path: Path, arguments: list[str], label: str) -> None:
    prepare(tmp_path)
    if "eval" in arguments:
        api.fit(tmp_path / "small.net", out=tmp_path / "run", settings={"train.epochs": 1})
        (tmp_path / "run/best.safetensors").rename(tmp_path / "best.safetensors")
    code, seen, _ = on_terminal(tmp_path, *arguments, columns=60)
    assert code == 0, seen
    drawn = bars(seen)
    assert drawn
    assert all(bar.startswith(f"{label} ") and len(bar) == 59 for bar in drawn), drawn[:3]
    assert not [line for line in screen(seen) if "%|" in line]


class Stream(io.StringIO):
    """A terminal, or none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("visible", [False, True])
@pytest.mark.parametrize("notebook", [False, True])
def test_when_a_bar_appears(terminal: bool, visible: bool, notebook: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", err := Stream(terminal))
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with progress.counted("examples", 10_000, visible=visible) as show:
        show(1)
        assert err.getvalue() == ""  # it may not be worth a bar
        now[0] += progress.FIRST
        show(2_000)
        now[0] += progress.NEXT / 2
        show(3_000)
        now[0] += progress.NEXT
        show(4_000)
    shown = visible and (terminal or notebook)
    assert (" 2,000/10,000    0:02 left" in err.getvalue()) == shown
    assert "3,000" not in err.getvalue()
    assert (" 40%|" in err.getvalue()) == shown
    assert screen(err.getvalue()) == [""]


def test_braces_in_a_label_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", err := Stream(True))
    bar = progress.ProgressBar()
    bar.draw("{n} of {", 1, 4, ["{rate}"])
    assert "{n} of {  25%|" in err.getvalue()
    assert err.getvalue().endswith(" {rate}")
    bar.close()


def test_fit_shows_its_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    seen: list[dict[str, float]] = []
    trained = api.fit(tmp_path / "small.net", progress=True, epoch=seen.append)
    found = capsys.readouterr()
    assert [line.split("  ")[0] for line in found.out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert found.err == ""
    assert seen == trained.history
    api.fit(tmp_path / "small.net")
    assert capsys.readouterr().out == ""


def test_a_log_of_json(netdsl: Commands) -> None:
    prepare(netdsl.folder)
    ran = netdsl("train", "small.net", "--log-format", "json", "--threads", "1")
    start, *epochs, end = map(json.loads, ran.out.splitlines())
    assert [start["event"], *(each["event"] for each in epochs), end["event"]] == ["start", "epoch", "epoch", "end"]
    assert start["parameters"] == 64 * 256 + 256 + 256 * 3 + 3
    assert (start["examples"], start["classes"], start["validation"]) == (200, 3, 200)
    assert (start["steps_per_epoch"], start["epochs"], start["steps"], start["threads"]) == (25, 2, 50, 1)
    rows = [json.loads(line) for line in Path("runs/small/metrics.jsonl").read_text().splitlines()]
    assert epochs == [{"event": "epoch", **row} for row in rows]
    assert (end["reason"], end["step"], end["folder"]) == ("complete", 50, "runs/small")
    assert end["best"] == max(row["validation_accuracy"] for row in rows)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            [],
            "small: 17,411 parameters; 200 examples in 3 classes, 200 held out for validation; batch 8, 25 steps per "
            "epoch, 2 epochs; cpu, 1 thread",
        ),
        (
            ["--set", 'train.validate=npz   "other.npz"', "--steps", "7"],
            'small: 17,411 parameters; 400 examples in 3 classes, 400 for validation (npz "other.npz"); batch 8, 50 '
            "steps per epoch, 7 steps; cpu, 1 thread",
        ),
        (
            ["--set", "train.freeze=dense1", "--epochs", "1"],
            "small: 17,411 parameters, 771 of them trained; 200 examples in 3 classes, 200 held out for validation; "
            "batch 8, 25 steps per epoch, 1 epoch; cpu, 1 thread",
        ),
    ],
)
def test_a_training_says_what_it_is(netdsl: Commands, settings: list[str], said: str) -> None:
    prepare(netdsl.folder)
    copyfile("small.npz", "other.npz")
    ran = netdsl("train", "small.net", "--threads", "1", *settings)
    paragraph = ran.err.partition("\nruns/")[0]
    assert " ".join(paragraph.split()) == said
    assert max(map(len, paragraph.splitlines())) < 80
    assert netdsl("train", "small.net", *settings, "-q").err == ""


def test_steps_are_not_fractions_of_epochs(netdsl: Commands) -> None:
    prepare(netdsl.folder)
    ran = netdsl("train", "small.net", "--steps", "30")
    assert [line.split("  ")[0] for line in ran.out.splitlines()] == ["step 25/30", "step 30/30"]
    assert re.search(r"best\.safetensors and \.onnx \(step (25|30)\)$", ran.err.rstrip())
    ran = netdsl("train", "small.net", "--resume", "--epochs", "3")
    assert [line.split("  ")[0] for line in ran.out.splitlines()] == ["epoch 2/3", "epoch 3/3"]
