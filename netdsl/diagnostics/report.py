"""Collects the problems of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.diagnostics.problem import Problem


class Report:
    """The problems found so far, each once: a second one with the same code and place is the same mistake again."""

    __slots__ = ("_problems",)

    def __init__(self) -> None:
        self._problems: dict[object, Problem] = {}

    def add(self, problem: Problem) -> None:
        self._problems.setdefault((problem.code, problem.span.key), problem)

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
