"""The problems of a run, and its work budget.

The budget covers reading and checking all texts, including verified fixes. The other limits each bound one thing, and a
hostile text has many: nets, lists, rounds, domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from netdsl.base.limits import WORK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.base.text import Frame, Span
    from netdsl.diagnostics.problem import Problem

MOST_ERRORS = 100
MOST_WARNINGS = 250
"""Maximum number of problems kept; comments can allow most warnings."""

TOKEN = 10
STATEMENT = 3
ROUND = 4
CALL = 8
LAYER = 12
NET = 100
PROBLEM = 50
"""Costs in steps; a node of an expression costs one. A step takes about a microsecond."""


class Cancelled(Exception):
    """The result of a run is no longer wanted."""


class Work:
    """The remaining steps, by default WORK. Once they are used up, everything is stopped by the same problem.

    If `cancelled` returns True, which can be at any time, the run ends with Cancelled.
    """

    __slots__ = ("cancelled", "left", "limit", "problem")

    def __init__(self, limit: int | None = None, cancelled: Callable[[], bool] | None = None) -> None:
        self.left = self.limit = WORK if limit is None else limit
        self.cancelled = cancelled
        self.problem: Problem | None = None

    def spend(self, steps: int, span: Span, frame: Frame | None = None) -> None:
        """Account for work before it is done. Raises Rejected, and Cancelled."""
        self.left -= steps
        if self.left < 0:
            self.stop(span, frame)
        if self.cancelled is not None and self.cancelled():
            raise Cancelled

    def stop(self, span: Span, frame: Frame | None = None) -> NoReturn:
        """Raise Rejected."""
        from netdsl.diagnostics.problem import Rejected
        from netdsl.diagnostics.shape_problems import TooLarge

        if self.problem is None:
            count = self.limit - self.left
            self.problem = TooLarge(span=span, frame=frame, what="steps of work", count=count, limit=self.limit)
        raise Rejected(self.problem)

    def weigh(self, value: object, span: Span, frame: Frame | None = None) -> None:
        """Account for traversing a list with all nested lists, as often as each occurs. Raises Rejected."""
        todo = [value] if type(value) is tuple else []
        while todo:
            entries = todo.pop()
            self.spend(1 + len(entries) // 4, span, frame)
            todo += [entry for entry in entries if type(entry) is tuple]


class Report:
    """The problems found so far, without duplicates: a second one with the same code and location is the same mistake.

    `work` is the remaining budget; nested runs share it. `more` is set if there were too many.
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
        """Add the problems of another run, without duplicates: two runs can read the same file."""
        for problem in other:
            self.add(problem)
        self.more = self.more or other.more

    def discard(self, problem: Problem) -> None:
        self._problems.pop((problem.code, problem.span.key), None)

    def harden(self) -> None:
        """Turn warnings into errors."""
        for problem in self._problems.values():
            problem.severity = "error"

    def __iter__(self) -> Iterator[Problem]:
        """Yield problems in text order, with files in the order of their first problem."""
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
