"""Problems on their way to the user."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from netdsl.diagnostics.report import Report

TOLD = 3
"""So many codes are named at the end."""

QUIET, NORMAL, VERBOSE = -1, 0, 1
_level = NORMAL


def show(report: Report, options: argparse.Namespace, *, is_last: bool = True) -> None:
    """Print what a run found: `text` and `short` to stderr, `json` and `github` to stdout. With `--strict` the warnings
    become errors first. The last report of a run ends with how to read more."""
    form: str = options.format
    if options.strict:
        report.harden()
    if not len(report):
        return
    if form in ("json", "github"):
        from netdsl.diagnostics import formats

        line = formats.json_line if form == "json" else formats.github
        for problem in report:
            print(line(problem))
        return
    from netdsl.diagnostics.formats import short, summary
    from netdsl.diagnostics.render import render

    for problem in report:
        print(short(problem) if form == "short" else render(problem, color=_color()) + "\n", file=sys.stderr)
    print(summary(report), file=sys.stderr)
    if is_last:
        tell_more([report], options)


def tell_more(reports: Iterable[Report], options: argparse.Namespace) -> None:
    """Behind all that a run printed as `text`, how to read more about it."""
    codes = dict.fromkeys(problem.code for report in reports for problem in report)
    if codes and options.format == "text":
        note(f"for more: netdsl explain {' '.join([*codes][:TOLD])}")


def note(text: str, level: int = NORMAL) -> None:
    """A line about what a command did, or what it took for granted; only for those who want to hear as much."""
    if audible(level):
        print(text, file=sys.stderr)


def speak(level: int) -> None:
    """Say how much the notes of this run tell: QUIET, NORMAL or VERBOSE."""
    global _level
    _level = level


def audible(level: int) -> bool:
    return _level >= level


def _color() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
