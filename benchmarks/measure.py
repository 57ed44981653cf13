"""Seconds and megabytes, of functions and of processes; rivals run in turn, so that a busy machine slows them alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Action = Callable[[], float]
    """Does something, and returns the seconds that it took."""

ROOT = Path(__file__).parent.parent
MAIN = "from netdsl.cli import entry; entry()"
"""What the installed command `netdsl` does."""


class Figure:
    """Something measured, and what it shall be at most; or at least, with `least`. `detail` is what it was made of."""

    def __init__(self, what: str, value: float, unit: str, reach: float, detail: str = "", *, least: bool = False):
        self.what = what
        self.value = value
        self.unit = unit
        self.reach = reach
        self.detail = detail
        self.least = least

    def __str__(self) -> str:
        reached = self.value >= self.reach if self.least else self.value <= self.reach
        reach = f"{'≥' if self.least else '≤'} {self.reach:g} {self.unit}"
        value = f"{self.value:8.2f} {self.unit:<2}"
        return f"{self.what:<68} {value}  {reach:<8}  {'' if reached else 'MISSED':<6}  {self.detail}"


def in_turn(rounds: int, *actions: Action) -> list[list[float]]:
    """The seconds of each action in each round, the mean of two.

    A round goes there and back: who comes second finds the machine as the first left it, with threads that still spin.
    A round before the first warms all.
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
    """The median of the ratios of the rounds: of times, at most `reach`, or of throughputs, at least."""
    a, b = in_turn(rounds, ours, reference)
    ratio = median(y / x if throughput else x / y for x, y in zip(a, b, strict=True))
    detail = f"{median(a):.3f} s against {median(b):.3f} s, {rounds} rounds"
    return Figure(what, ratio, "×", reach, detail, least=throughput)


def timed(function: Callable[[], object], clock: Callable[[], float] = perf_counter) -> Action:
    """A function as an action. `process_time` as the clock leaves out what others do on a busy machine."""

    def action() -> float:
        begin = clock()
        function()
        return clock() - begin

    return action


def python(*arguments: str | Path) -> tuple[float, float]:
    """Run Python to a good end in a process of its own: its seconds, and its largest size in memory in megabytes.

    The size is wrong where that of this process is larger: a child begins as its parent's copy.
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
