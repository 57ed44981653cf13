"""Collects the problems of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.diagnostics.problem import Problem


MOST_ERRORS = 100
MOST_WARNINGS = 250
"""So many are kept, since more help nobody; of warnings comments may allow most."""


class Report:
    """The problems found so far, each once: a second one with the same code and place is the same mistake again.

    `work` is what the run may still do; a run within another one shares it. `more` tells that there were too many.
    """

    __slots__ = ("_problems", "more", "work")

    def __init__(self, work: Work | None = None) -> None:
        self._problems: dict[object, Problem] = {}
        self.work = work or Work()
        self.more = False

    def add(self, problem: Problem) -> None:
        key = problem.code, problem.span.key
        if key in self._problems:
            return
        is_error = problem.severity == "error"
        if (self.errors if is_error else self.warnings) >= (MOST_ERRORS if is_error else MOST_WARNINGS):
            self.more = True
            return
        self._problems[key] = problem

    def join(self, other: Report) -> None:
        """Add what another run found, as far as it is not the same: two runs may read one file."""
        for problem in other:
            self.add(problem)
        self.more = self.more or other.more

    def discard(self, problem: Problem) -> None:
        self._problems.pop((problem.code, problem.span.key), None)

    def harden(self) -> None:
        """Make errors of the warnings."""
        for problem in self._problems.values():
            problem.severity = "error"

    def __iter__(self) -> Iterator[Problem]:
        """In the order of the texts, files in the order in which their first problem was found."""
        files = {key: n for n, key in enumerate(dict.fromkeys(p.span.source.name for p in self._problems.values()))}
        return iter(
            sorted(self._problems.values(), key=lambda p: (files[p.span.source.name], p.span.start, p.span.end, p.code))
        )

    def __len__(self) -> int:
        return len(self._problems)

    @property
    def errors(self) -> int:
        return sum(p.severity == "error" for p in self._problems.values())

    @property
    def warnings(self) -> int:
        return len(self) - self.errors
