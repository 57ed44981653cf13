"""The rounds of loops: how many there may be, and what each one sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.diagnostics import expression_problems as problems
from netdsl.diagnostics.shape_problems import TooLarge
from netdsl.diagnostics.work import ROUND
from netdsl.elaborate.expressions import describe, evaluate
from netdsl.limits import ROUNDS
from netdsl.text import Frame

if TYPE_CHECKING:
    from netdsl.elaborate.context import Context
    from netdsl.syntax import ast
    from netdsl.text import Span


class Shown:
    """A value that becomes text where somebody reads it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __str__(self) -> str:
        return self.value if type(self.value) is str else describe(self.value)


def account(count: int, span: Span, context: Context) -> int:
    """Account for a loop's rounds before they are expanded; the product with those of the loops around it."""
    around = context.rounds * count
    if around > ROUNDS:
        what = "rounds, those of the loops around this one multiplied,"
        context.reject(TooLarge, span, what=what, count=around, limit=ROUNDS)
    context.builder.round(span, context.frame, count)
    context.module.work.spend(ROUND * count, span, context.frame)
    return around


def rounds(stmt: ast.For, context: Context) -> list[Context]:
    """A context for each round of a `for`, its names bound, from the current value."""
    entries = evaluate(stmt.iterable, context)
    if not isinstance(entries, tuple):
        context.reject(problems.BadCount, stmt.iterable.span, what=f"`for` takes a list, not {describe(entries)}")
    around = account(len(entries), stmt.iterable.span, context)
    found = []
    for entry in entries:
        values = entry if len(stmt.names) > 1 else (entry,)
        if not isinstance(values, tuple) or len(values) != len(stmt.names):
            names = stmt.names[0].span.to(stmt.names[-1].span)
            context.reject(problems.BadUnpacking, names, names=len(stmt.names), value=describe(entry))
        frame = context.frame
        for name, value in zip(stmt.names, values, strict=True):
            frame = Frame(frame, name.span, variable=name.text, value=value if type(value) is int else Shown(value))
        inner = context.inside(frame=frame)
        inner.rounds = around
        for name, value in zip(stmt.names, values, strict=True):
            inner.define(name, value)
        found.append(inner)
    return found
