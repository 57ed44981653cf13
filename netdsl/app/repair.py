"""Verify suggested edits by checking the program again with each of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Suggestion
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import ZOO_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.text import Source, Span
    from netdsl.diagnostics.problem import Edit, Problem

    Check = Callable[[Report, Mapping[str, str]], object]

TRIES = 48
"""Maximum number of programs elaborated in a run for candidate fixes, and the same again for suggestions."""

MAX_FIXES_SHOWN = 3
"""Maximum number of verified fixes shown for one problem."""


def verify_suggestions(report: Report, source: Source, check: Check) -> None:
    """Try the candidate fixes of each problem, smallest edits first, and the edits of its suggestions.

    A candidate is kept if it removes the problem and adds no other. A suggestion loses its edits if they do not remove
    the problem, or add an error on a line that they change; it is then dropped if another suggestion keeps its edits.
    `source` is the entry file; `check(report, texts)` checks the program again, with `texts` instead of files.
    """
    trial = _Trial(report, source, check)
    for problem in report:
        trial.fix(problem)
    trial.left = TRIES
    for problem in report:
        found = [(each, _verified(each, problem, trial)) for each in problem.suggestions()]
        some = any(verified.edits for _, verified in found)
        kept = [verified for given, verified in found if verified.edits or not (some and given.edits)]
        problem.verified_suggestions = tuple(kept)


class _Trial:
    """Checks a program with edits, a limited number of times."""

    def __init__(self, report: Report, source: Source, check: Check) -> None:
        self.report = report
        self.check = check
        self.texts = {source.name: source.text, **{p.span.source.name: p.span.source.text for p in report}}
        self.before = _count(report)
        self.left = TRIES

    @property
    def over(self) -> bool:
        return not self.left or self.report.work.left < 0

    def fix(self, problem: Problem) -> None:
        """Keep the candidates that fix a problem."""
        found: list[Suggestion] = []
        places = set()
        for each in sorted(_distinct(problem), key=_cost):
            place = tuple(edit.span.key for edit in each.edits)
            if self.over or len(found) == MAX_FIXES_SHOWN:
                break
            if place in places:
                continue  # a smaller edit there fixes it already
            now = self.result(each)
            counts = _count(now)
            fewer = counts[problem.code] < self.before[problem.code] and counts <= self.before
            if fewer and now.work.left >= 0:
                found.append(each)
                places.add(place)
        problem.verified_fixes = tuple(found)

    def result(self, suggestion: Suggestion) -> Report:
        """Check the program with the edits of a suggestion."""
        self.left -= 1
        after = Report(self.report.work)
        self.check(after, edited(suggestion.edits, self.texts))
        return after


def _verified(given: Suggestion, problem: Problem, trial: _Trial) -> Suggestion:
    """Return a suggestion, without its edits if they do not remove the problem, or add an error on a changed line."""
    if not given.edits:
        return given
    if trial.over or any(edit.span.source.name.startswith(ZOO_PREFIX) for edit in given.edits):
        return Suggestion(given.text)
    now = trial.result(given)
    new = added(trial.report, now)
    lines = {line(span) for span in (problem.span, *(edit.span for edit in given.edits))}
    gone = occurrences(now)[said(problem)] < occurrences(trial.report)[said(problem)]
    fixes = gone and now.work.left >= 0 and not any(line(found.span) in lines for found in new)
    return given if fixes else Suggestion(given.text)


def added(before: Report, now: Report) -> list[Problem]:
    """Return the errors in `now` that are not in `before`."""
    known = occurrences(before)
    return [problem for problem in now if problem.severity == "error" and said(problem) not in known]


def occurrences(report: Report) -> Counter[tuple[str, str, str]]:
    return Counter(map(said, report))


def said(problem: Problem) -> tuple[str, str, str]:
    """Return a key that identifies a problem across edits, which change its location."""
    return problem.code, problem.span.source.name, problem.message()


def line(span: Span) -> tuple[str, int]:
    """Return the file and the line number where a span begins."""
    return span.source.name, span.source.position(span.start)[0]


def edited(edits: tuple[Edit, ...], texts: Mapping[str, str]) -> dict[str, str]:
    """Apply edits to files; return the texts of the changed ones by name."""
    after = dict(texts)
    for source in {edit.span.source for edit in edits}:
        after[source.name] = apply(source.text, [e for e in edits if e.span.source is source])
    return after


def _distinct(problem: Problem) -> list[Suggestion]:
    """Return a problem's candidate fixes without duplicates and without edits of shipped files."""
    found: dict[object, Suggestion] = {}
    for each in problem.candidate_fixes():
        key = tuple((edit.span.key, edit.text) for edit in each.edits)
        if not any(edit.span.source.name.startswith(ZOO_PREFIX) for edit in each.edits):
            found.setdefault(key, each)
    return list(found.values())


def _cost(fix: Suggestion) -> int:
    """Return the number of characters that a fix changes."""
    return sum(edit.span.end - edit.span.start + len(edit.text) for edit in fix.edits)


def _count(report: Report) -> Counter[str]:
    return Counter(p.code for p in report if p.severity == "error")
