"""The entries of a `for`, as a statement, as an operand and in a comprehension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Frame
from netdsl.diagnostics import problems
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.expressions import evaluate

if TYPE_CHECKING:
    from netdsl.elaborate.context import Context, ExprValue
    from netdsl.syntax import ast


class _Shown:
    """A value that is formatted only when a message shows it."""

    __slots__ = ("value",)

    def __init__(self, value: ExprValue) -> None:
        self.value = value

    def __str__(self) -> str:
        return self.value if type(self.value) is str else show_value(self.value)


def entries_of(loop: ast.For | ast.Generator, context: Context) -> tuple[ExprValue, ...]:
    """Return the list that a `for` goes through. Raises Rejected."""
    entries = evaluate(loop.iterable, context)
    if not isinstance(entries, tuple):
        context.reject(problems.BadCount, loop.iterable.span, what=f"`for` takes a list, not {show_value(entries)}")
    return entries


def bind_entry(loop: ast.For | ast.Generator, entry: ExprValue, context: Context) -> Context:
    """Return the context of a round, with the names bound to an entry of the list. Raises Rejected."""
    values = entry if len(loop.names) > 1 else (entry,)
    if not isinstance(values, tuple) or len(values) != len(loop.names):
        names = loop.names[0].span.to(loop.names[-1].span)
        context.reject(problems.BadUnpacking, names, names=len(loop.names), value=show_value(entry))
    frame = context.frame
    for name, value in zip(loop.names, values, strict=True):
        frame = Frame(frame, name.span, variable=name.text, value=value if type(value) is int else _Shown(value))
    inner = context.inside(frame=frame)
    for name, value in zip(loop.names, values, strict=True):
        inner.define(name, value)
    return inner
