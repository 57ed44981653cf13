"""Repairs that were tried: an edit is offered only if the program with it elaborates with less that is wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import ZOO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.diagnostics.problem import Edit, Help, Problem
    from netdsl.text import Source

    Check = Callable[[Report, Mapping[str, str]], object]

TRIES = 48
"""So many programs are elaborated at most for the repairs of one run."""

OFFERED = 3
"""So many repairs of one problem are shown."""


def offer(report: Report, source: Source, check: Check) -> None:
    """Find the repairs of each problem that mend it, the smallest edits first.

    `source` is the entry file; `check(report, texts)` checks the program again, with texts in the places of files.
    """
    before = _count(report)
    texts = {source.name: source.text, **{p.span.source.name: p.span.source.text for p in report}}
    left = TRIES
    for problem in report:
        found: list[Help] = []
        places = set()
        for help in sorted(_distinct(problem), key=_cost):
            place = tuple(edit.span.key for edit in help.edits)
            if not left or report.work.left < 0 or len(found) == OFFERED:
                break
            if place in places:
                continue  # a smaller edit there mends it already
            left -= 1
            if _mends(help, problem, before, Report(report.work), check, texts):
                found.append(help)
                places.add(place)
        problem.mended = tuple(found)


def edited(edits: tuple[Edit, ...], texts: Mapping[str, str]) -> dict[str, str]:
    """The texts of files after edits, by the files' names."""
    after = dict(texts)
    for source in {edit.span.source for edit in edits}:
        after[source.name] = apply(source.text, [e for e in edits if e.span.source is source])
    return after


def _distinct(problem: Problem) -> list[Help]:
    """A problem's repairs, equal ones once, those of shipped files apart."""
    found: dict[object, Help] = {}
    for help in problem.repairs():
        key = tuple((edit.span.key, edit.text) for edit in help.edits)
        if not any(edit.span.source.name.startswith(ZOO) for edit in help.edits):
            found.setdefault(key, help)
    return list(found.values())


def _cost(help: Help) -> int:
    """How much of the text a repair changes."""
    return sum(edit.span.end - edit.span.start + len(edit.text) for edit in help.edits)


def _mends(
    help: Help, problem: Problem, before: Counter[str], after: Report, check: Check, texts: Mapping[str, str]
) -> bool:
    check(after, edited(help.edits, texts))
    now = _count(after)
    return (
        after.work.left >= 0
        and now[problem.code] < before[problem.code]
        and all(now[code] <= before[code] for code in now)
    )


def _count(report: Report) -> Counter[str]:
    return Counter(p.code for p in report if p.severity == "error")
