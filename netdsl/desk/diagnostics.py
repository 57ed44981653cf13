"""Problems as diagnostics of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import brief
from netdsl.base.text import Span
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.diagnostics.problem import Problem

UNUSED = frozenset({"W0201", "W0202", "W0203", "W0204", "W0205", "W0207"})
"""Warnings about text without an effect, which editors fade."""
MAX_RELATED = 8
"""Maximum number of related places of a diagnostic."""


class Diagnostic:
    """A problem at a location of the document; `related` are other locations, each with a sentence."""

    __slots__ = ("is_unused", "message", "problem", "related", "span")

    def __init__(self, problem: Problem, span: Span, message: str, related: list[tuple[Span, str]]) -> None:
        self.problem = problem
        self.span = span
        self.message = message
        self.related = related
        self.is_unused = problem.code in UNUSED


def diagnostics(analysis: DeskAnalysis) -> Iterator[Diagnostic]:
    """Yield the problems of a document, and those of the files that it uses where it uses them."""
    for problem in analysis.problems:
        here = problem.span.source is analysis.source
        span = problem.span if here else _place(problem, analysis)
        related = [(label.span, brief(label.text)) for label in problem.labels()]
        if not here:
            related.insert(0, (problem.span, brief(problem.label()) or "the error is here"))
        for frame in problem.frame or ():
            if frame.span.source is not span.source or frame.span != span:
                related.append((frame.span, _reached(frame.name, frame.variable, frame.value)))
        message = _message(problem) if here else f"{problem.span}: {_message(problem)}"
        yield Diagnostic(problem, span, message, related[:MAX_RELATED])


def _place(problem: Problem, analysis: DeskAnalysis) -> Span:
    """Return where the document leads to a problem in another file: a call, or a `use`."""
    reached: list[Span] = [frame.span for frame in problem.frame or () if frame.span.source is analysis.source]
    if reached:
        return reached[0]
    uses = [item for item in analysis.module.file.items if isinstance(item, ast.Use)]
    for item, (used, _) in zip(uses, analysis.module.uses, strict=False):
        if used is not None and problem.span.source.name == used.file.source.name:
            return item.path.span
    return uses[0].path.span if uses else Span(analysis.source, 0, 0)


def _message(problem: Problem) -> str:
    """Return what is wrong, why, and how to fix it."""
    lines = [problem.message(), problem.label(), *problem.notes()]
    lines += [f"help: {each.text}" for each in problem.all_suggestions()]
    return "\n".join(brief(line) for line in lines if line)


def _reached(name: str, variable: str, value: object) -> str:
    if name:
        return f"in this call of `{name}`"
    return f"in the round with {variable} = {value}" if variable else "in a round of this loop"
