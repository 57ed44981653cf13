"""Edits that an editor offers: fixes of problems, allowed warnings, expected shapes, and formatting."""

from __future__ import annotations

import re
from bisect import bisect_right
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from netdsl.app.analyse import Level
from netdsl.app.repair import added
from netdsl.base.shape import format_shape
from netdsl.base.terminal import brief
from netdsl.base.text import Span
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.report import Report
from netdsl.elaborate.lint import ALLOWED
from netdsl.ir.init import Init
from netdsl.report.figures import MAX_ENTRIES_SHOWN, argument_text
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.declare.declared import Argument
    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.desk.session import Session
    from netdsl.diagnostics.problem import Problem

LINES = re.compile(r"[^\n]*\n|[^\n]+")
FIX, FIX_ALL, REFACTOR = "quickfix", "source.fixAll.netdsl", "refactor.rewrite"


class Action:
    """Edits with a title; `problem` is what they fix, and `is_preferred` marks those that cannot change the meaning."""

    __slots__ = ("edits", "is_preferred", "kind", "problem", "title")

    def __init__(
        self,
        title: str,
        edits: tuple[Edit, ...],
        kind: str = FIX,
        problem: Problem | None = None,
        is_preferred: bool = False,
    ) -> None:
        self.title = title
        self.edits = edits
        self.kind = kind
        self.problem = problem
        self.is_preferred = is_preferred


def actions(analysis: DeskAnalysis, start: int, end: int) -> Iterator[Action]:
    """Yield what is offered for a selection; fixes only of a complete analysis, which has verified them."""
    for problem in analysis.problems:
        span = problem.span
        if span.source is analysis.source and span.start <= end and span.end >= start:
            for each in problem.all_suggestions():
                if each.edits and analysis.level == Level.ADVICE:
                    yield Action(each.text, each.edits, FIX, problem, each.safe)
            if problem.severity == "warning":
                yield Action(f"allow {problem.code} here", (_allow(analysis, problem),), FIX, problem)
    yield from _expect(analysis, start)
    yield from _defaults(analysis, start)


def safe_fixes(session: Session, uri: str) -> list[Edit]:
    """Return the safe edits of all problems of a document, if they remove errors and add none, as `check --fix`."""
    before = session.complete(uri)
    edits = list(_safe(before))
    if not edits:
        return []
    after = session.trial(uri, apply(before.source.text, edits))
    is_better = after.report.errors < before.report.errors and not added(before.report, after.report)
    return edits if is_better else []


def _safe(analysis: DeskAnalysis) -> Iterator[Edit]:
    """Yield the edits of problems with one safe suggestion, without those that overlap."""
    end = -1
    for problem in analysis.problems:
        safe = [each for each in problem.all_suggestions() if each.safe and each.edits]
        if len(safe) != 1 or any(edit.span.source is not analysis.source for edit in safe[0].edits):
            continue
        edits = sorted(safe[0].edits, key=lambda edit: edit.span.start)
        if edits[0].span.start > end:
            end = max(edit.span.end for edit in edits)
            yield from edits


def _allow(analysis: DeskAnalysis, problem: Problem) -> Edit:
    """Return the edit that allows a warning on its line."""
    source = analysis.source
    line = source.position(problem.span.start)[0]
    start, text = source.line_starts[line - 1], source.line(line)
    end = start + len(text)
    comments = analysis.scan.comments if analysis.scan else []
    at = bisect_right(comments, (end, end)) - 1
    if at >= 0 and start <= comments[at][0] < end:
        comment = Span(source, *comments[at])
        known = ALLOWED.match(comment.text)
        if known:
            place = comment.start + known.end()
            return Edit(Span(source, place, place), f" {problem.code}")
        return Edit(comment, f"# allow {problem.code}: {comment.text.lstrip('# ')}")
    return Edit(Span(source, end, end), f"  # allow {problem.code}")


def _statement_at(analysis: DeskAnalysis, offset: int) -> ast.Stmt | None:
    """Return the innermost statement at an offset."""
    inside = (stmt for stmt in analysis.values if stmt.span.start <= offset <= stmt.span.end)
    return min(inside, key=lambda each: each.span.end - each.span.start, default=None)


def _expect(analysis: DeskAnalysis, offset: int) -> Iterator[Action]:
    """Yield the `expect` of the shape after the statement at an offset, if it has only one."""
    stmt = _statement_at(analysis, offset)
    if stmt is None or isinstance(stmt, (ast.Expect, ast.Input, ast.Let, ast.Default, ast.About, ast.Output)):
        return
    around = [each for each in analysis.values if isinstance(each, ast.Labelled) and each.body is stmt]
    stmt = around[0] if around else stmt
    shapes = {node.shape for node in analysis.values[stmt].nodes}
    if len(shapes) == 1:
        (shape,) = shapes
        if shape:
            text = format_shape(shape)
            place = Span(analysis.source, stmt.span.end, stmt.span.end)
            yield Action(f"insert `expect {text}`", (Edit(place, f"; expect {text}"),), REFACTOR)


def _defaults(analysis: DeskAnalysis, offset: int) -> Iterator[Action]:
    """Yield the action that writes the keywords of a layer's call that are not given, with the values that they
    have."""
    stmt = _statement_at(analysis, offset)
    nodes = analysis.values[stmt].nodes if stmt is not None else []
    if not isinstance(stmt, ast.Call) or stmt.operands or not nodes:
        return
    if any(node.layer.kind != stmt.head.text or node.span != stmt.head.span for node in nodes):
        return  # the call of a block
    given = {argument.name for argument in nodes[0].arguments}
    words: list[str] = []
    for argument in nodes[0].layer.arguments.values():
        values = {repr(value): value for value in (getattr(node.layer, argument.name) for node in nodes)}
        value = values.popitem()[1]
        if argument.keyword and argument.name not in given and not values and _is_writable(argument, value):
            words.append(f"{argument.name} {argument_text(argument, value)}")
    if words:
        text = " ".join(words)
        place = Span(analysis.source, stmt.span.end, stmt.span.end)
        yield Action(f"write out the defaults: `{brief(text)}`", (Edit(place, f" {text}"),), REFACTOR)


def _is_writable(argument: Argument, value: object) -> bool:
    """Return whether the text of a value has the value."""
    if isinstance(value, Init):
        return not value.arguments
    items = value if isinstance(value, tuple) else (value,)
    is_plain = all(isinstance(item, (bool, int, float)) or item in argument.kind.words for item in items)
    return is_plain and len(items) <= MAX_ENTRIES_SHOWN


def formatted(analysis: DeskAnalysis, lines: tuple[int, int] | None = None) -> list[Edit]:
    """Return the smallest edits by lines that bring a document into the canonical style; none if it does not parse.

    With `lines`, the first and the last counted from 0, return those that touch these lines, and as many around them
    as must change together.
    """
    from netdsl.formatting.formatter import format_text

    source = analysis.source
    text = format_text(source.text, source.name, Report())
    edits = [] if text is None else changes(source.text, text, analysis)
    if lines is None:
        return edits
    edits = [each for edit in edits for each in _by_line(edit)]
    starts = [*source.line_starts, len(source.text) + 1]
    first, last = starts[min(lines[0], len(starts) - 2)], starts[min(lines[1] + 1, len(starts) - 1)]
    chosen = [
        at
        for at, edit in enumerate(edits)
        if edit.span.start < last and max(edit.span.end, edit.span.start + 1) > first
    ]
    if not chosen:
        return []
    a, b, step = chosen[0], chosen[-1] + 1, 1
    while b - a < len(edits) and format_text(apply(source.text, edits[a:b]), source.name, Report()) != text:
        a, b, step = max(a - step, 0), min(b + step, len(edits)), 2 * step
    return edits[a:b]


def _by_line(edit: Edit) -> Iterator[Edit]:
    """Yield an edit as edits of one line each, if it keeps the number of lines."""
    old, new = LINES.findall(edit.span.text), LINES.findall(edit.text)
    if len(old) != len(new):
        yield edit
        return
    start = edit.span.start
    for before, after in zip(old, new, strict=True):
        yield Edit(Span(edit.span.source, start, start + len(before)), after)
        start += len(before)


def changes(before: str, after: str, analysis: DeskAnalysis) -> list[Edit]:
    """Return edits of whole lines from one text to another."""
    old, new = LINES.findall(before), LINES.findall(after)
    starts = [0]
    for line in old:
        starts.append(starts[-1] + len(line))
    return [
        Edit(Span(analysis.source, starts[a], starts[b]), "".join(new[c:d]))
        for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if kind != "equal"
    ]
