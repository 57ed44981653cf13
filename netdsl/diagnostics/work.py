"""The work budget of a run: one for reading and checking all of its texts, including verified fixes.

The other limits each bound one thing, and a hostile text has many: nets, lists, rounds, domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from netdsl.base.limits import WORK

if TYPE_CHECKING:
    from netdsl.base.text import Frame, Span
    from netdsl.diagnostics.problem import Problem

TOKEN = 10
STATEMENT = 3
ROUND = 4
CALL = 8
LAYER = 12
NET = 100
PROBLEM = 50
"""Costs in steps; a node of an expression costs one. A step takes about a microsecond."""


class Work:
    """The remaining steps. Once they are used up, everything is stopped by the same problem."""

    __slots__ = ("left", "problem")

    def __init__(self) -> None:
        self.left = WORK
        self.problem: Problem | None = None

    def spend(self, steps: int, span: Span, frame: Frame | None = None) -> None:
        """Account for work before it is done. Raises Rejected."""
        self.left -= steps
        if self.left < 0:
            self.stop(span, frame)

    def stop(self, span: Span, frame: Frame | None = None) -> NoReturn:
        """Raise Rejected."""
        from netdsl.diagnostics.problem import Rejected
        from netdsl.diagnostics.shape_problems import TooLarge

        if self.problem is None:
            self.problem = TooLarge(span=span, frame=frame, what="steps of work", count=WORK - self.left, limit=WORK)
        raise Rejected(self.problem)

    def weigh(self, value: Any, span: Span, frame: Frame | None = None) -> None:
        """Account for traversing a list with all nested lists, as often as each occurs. Raises Rejected."""
        todo = [value] if type(value) is tuple else []
        while todo:
            entries = todo.pop()
            self.spend(1 + len(entries) // 4, span, frame)
            todo += [entry for entry in entries if type(entry) is tuple]
