"""Measure time and memory of functions and processes. Rivals take turns, so other load affects them equally."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Action = Callable[[], float]
    """A function that does something and returns its duration in seconds."""

ROOT = Path(__file__).parent.parent
MAIN = "from netdsl.cli import entry; entry()"
"""Code that does the same as the installed command `netdsl`."""


class Figure:
    """A measured value and its maximum (with `least`, its minimum) `reach`. `detail` describes the measurement."""

    def __init__(self, what: str, value: float, unit: str, reach: float, detail: str = "", *, least: bool = False):
        self.what = what
        self.value = value
        self.unit = unit
        self.reach = reach
        self.detail = detail
        self.least = least

    @property
    def reached(self) -> bool:
        return self.value >= self.reach if self.least else self.value <= self.reach

    def measured(self) -> str:
        return f"{self.value:.2f} {self.unit}".rstrip()

    def target(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.reach:g} {self.unit}".rstrip()

    def data(self) -> dict[str, Any]:
        """Return what the constructor takes, for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        missed = "" if self.reached else "MISSED"
        return f"{self.what:<68} {self.measured():>11}  {self.target():<8}  {missed:<6}  {self.detail}"


def in_turn(rounds: int, *actions: Action) -> list[list[float]]:
    """Return the seconds of each action in each round, the mean of two runs.

    A round runs the actions in order and in reverse, because each starts with the machine as its predecessor left it,
    for example with threads that still spin. Every action first runs once as a warm-up.
    """
    seconds: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _ in range(rounds):
        there = [action() for action in actions]
        back = [action() for action in reversed(actions)]
        for found, *both in zip(seconds, there, reversed(back), strict=True):
            found.append(sum(both) / 2)
    return seconds


def compare(
    what: str, ours: Action, reference: Action, reach: float, *, rounds: int, throughput: bool = False
) -> Figure:
    """Return the median ratio over the rounds: of times (maximum `reach`), or of throughputs (minimum `reach`)."""
    a, b = in_turn(rounds, ours, reference)
    ratio = median(y / x if throughput else x / y for x, y in zip(a, b, strict=True))
    detail = f"{median(a):.3f} s against {median(b):.3f} s, {rounds} rounds"
    return Figure(what, ratio, "×", reach, detail, least=throughput)


def timed(function: Callable[[], object], clock: Callable[[], float] = perf_counter) -> Action:
    """Return a function as an action. The clock `process_time` excludes other processes' time on a busy machine."""

    def action() -> float:
        begin = clock()
        function()
        return clock() - begin

    return action


def python(*arguments: str | Path) -> tuple[float, float]:
    """Run Python in a subprocess that must succeed; return its duration in seconds and its peak memory in MB.

    The peak is wrong if this process is larger, because a child starts as a copy of its parent.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert child.stderr
    said = child.stderr.read()
    child.stderr.close()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, said.decode()
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
