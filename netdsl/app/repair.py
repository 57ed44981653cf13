"""Try suggested edits: an edit is offered only if the program elaborates better with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Help
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import ZOO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.text import Source, Span
    from netdsl.diagnostics.problem import Edit, Problem

    Check = Callable[[Report, Mapping[str, str]], object]

TRIES = 48
"""Maximum number of programs elaborated for the repairs of one run, and again for its helps."""

OFFERED = 3
"""Maximum number of repairs shown for one problem."""


def offer(report: Report, source: Source, check: Check) -> None:
    """Try the repairs of each problem, the smallest edits first, and the edits of its helps.

    A repair is offered if it removes the problem and adds no other. A help loses its edits if they do not remove the
    problem, or add an error to a line that they change, and is left out where the edits of another help do better.
    `source` is the entry file; `check(report, texts)` checks the program again, with texts in the places of files.
    """
    trial = _Trial(report, source, check)
    for problem in report:
        trial.repair(problem)
    trial.left = TRIES
    for problem in report:
        helps = [(help, _proved(help, problem, trial)) for help in problem.helps()]
        some = any(help.edits for _, help in helps)
        problem.proved = tuple(help for given, help in helps if help.edits or not (some and given.edits))


class _Trial:
    """The program, and how often it may still be checked with edits."""

    def __init__(self, report: Report, source: Source, check: Check) -> None:
        self.report = report
        self.check = check
        self.texts = {source.name: source.text, **{p.span.source.name: p.span.source.text for p in report}}
        self.before = _count(report)
        self.left = TRIES

    @property
    def over(self) -> bool:
        return not self.left or self.report.work.left < 0

    def repair(self, problem: Problem) -> None:
        """Find the repairs that mend a problem."""
        found: list[Help] = []
        places = set()
        for help in sorted(_distinct(problem), key=_cost):
            place = tuple(edit.span.key for edit in help.edits)
            if self.over or len(found) == OFFERED:
                break
            if place in places:
                continue  # a smaller edit there mends it already
            now = self.result(help)
            counts = _count(now)
            fewer = counts[problem.code] < self.before[problem.code] and counts <= self.before
            if fewer and now.work.left >= 0:
                found.append(help)
                places.add(place)
        problem.mended = tuple(found)

    def result(self, help: Help) -> Report:
        """Check the program with the edits of a help."""
        self.left -= 1
        after = Report(self.report.work)
        self.check(after, edited(help.edits, self.texts))
        return after


def _proved(help: Help, problem: Problem, trial: _Trial) -> Help:
    """Return a help, without edits that do not remove the problem or add an error to a line that they change."""
    if not help.edits:
        return help
    if trial.over or any(edit.span.source.name.startswith(ZOO) for edit in help.edits):
        return Help(help.text)
    now = trial.result(help)
    new = added(trial.report, now)
    lines = {line(span) for span in (problem.span, *(edit.span for edit in help.edits))}
    gone = occurrences(now)[said(problem)] < occurrences(trial.report)[said(problem)]
    mends = gone and now.work.left >= 0 and not any(line(found.span) in lines for found in new)
    return help if mends else Help(help.text)


def added(before: Report, now: Report) -> list[Problem]:
    """Return the errors of `now` that `before` has not."""
    known = occurrences(before)
    return [problem for problem in now if problem.severity == "error" and said(problem) not in known]


def occurrences(report: Report) -> Counter[tuple[str, str, str]]:
    return Counter(map(said, report))


def said(problem: Problem) -> tuple[str, str, str]:
    """Return what identifies a problem after edits, which move its place."""
    return problem.code, problem.span.source.name, problem.message()


def line(span: Span) -> tuple[str, int]:
    """Return the file and the number of a span's first line."""
    return span.source.name, span.source.position(span.start)[0]


def edited(edits: tuple[Edit, ...], texts: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of files after edits, by the files' names."""
    after = dict(texts)
    for source in {edit.span.source for edit in edits}:
        after[source.name] = apply(source.text, [e for e in edits if e.span.source is source])
    return after


def _distinct(problem: Problem) -> list[Help]:
    """Return a problem's repairs, equal ones once, without those of shipped files."""
    found: dict[object, Help] = {}
    for help in problem.repairs():
        key = tuple((edit.span.key, edit.text) for edit in help.edits)
        if not any(edit.span.source.name.startswith(ZOO) for edit in help.edits):
            found.setdefault(key, help)
    return list(found.values())


def _cost(help: Help) -> int:
    """Return how many characters a repair changes."""
    return sum(edit.span.end - edit.span.start + len(edit.text) for edit in help.edits)


def _count(report: Report) -> Counter[str]:
    return Counter(p.code for p in report if p.severity == "error")
