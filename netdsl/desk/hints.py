"""Shapes behind the code of each line, with the number of values."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.base.text import Frame
    from netdsl.desk.analysis import DeskAnalysis, Values
    from netdsl.ir.net import Node

SILENT = (ast.Let, ast.Default, ast.About, ast.Output, ast.Broken)
"""Statements whose value is that before them."""
MAX_SHAPES = 3
"""Maximum number of different shapes shown of a statement."""
MAX_PLACES = 16
"""Maximum number of places listed in a tooltip."""


class Hint:
    """A text behind the code of a line, at an offset, and a longer one for its tooltip."""

    __slots__ = ("offset", "text", "tooltip")

    def __init__(self, offset: int, text: str, tooltip: str) -> None:
        self.offset = offset
        self.text = text
        self.tooltip = tooltip


def hints(analysis: DeskAnalysis, first: int = 1, last: int | None = None) -> list[Hint]:
    """Return the hints of some lines, counted from 1."""
    source = analysis.source
    last = len(source.line_starts) if last is None else last
    ends: dict[int, ast.Stmt] = {}
    for stmt in analysis.values:
        if isinstance(stmt, SILENT) or (isinstance(stmt, ast.Expect) and stmt.what != "shape"):
            continue
        line = bisect_right(source.line_starts, stmt.span.end)
        if first <= line <= last and (line not in ends or stmt.span.end >= ends[line].span.end):
            ends[line] = stmt
    wrong = {problem.span.key for problem in analysis.problems}
    found = []
    for line, stmt in sorted(ends.items()):
        values = analysis.values[stmt]
        is_written = isinstance(stmt, ast.Input) or (isinstance(stmt, ast.Expect) and stmt.value.span.key not in wrong)
        if values.nodes and not is_written:
            found.append(Hint(_end(analysis, line), shapes_text(values), tooltip(values)))
    return found


def _end(analysis: DeskAnalysis, line: int) -> int:
    """Return the offset behind the code of a line, before its comment."""
    source = analysis.source
    start, text = source.line_starts[line - 1], source.line(line)
    end = start + len(text)
    comments = analysis.scan.comments if analysis.scan else []
    at = bisect_right(comments, (end, end)) - 1
    if at >= 0 and start <= comments[at][0] < end:
        end = comments[at][0]
    return start + len(re.sub(r"\s+\Z", "", source.text[start:end]))


def shapes_text(values: Values) -> str:
    """Format the shapes of a statement: `→ 64x56x56 ×3`, `→ 64x56x56, 128x28x28`, `→ 64x56x56 … 512x7x7 ×16`."""
    shapes = list(dict.fromkeys(format_shape(node.shape) for node in values.nodes))
    if len(shapes) > MAX_SHAPES:
        shown = f"{shapes[0]} … {shapes[-1]}"
    else:
        shown = ", ".join(shapes)
    is_counted = values.count > 1 and (len(shapes) == 1 or len(shapes) > MAX_SHAPES)
    return f"→ {shown or 'a number'}" + (f" ×{values.count}" if is_counted else "")


def tooltip(values: Values) -> str:
    """Return where each value is from: its name, and the calls and rounds that led there."""
    lines = [
        f"{node.name}: {format_shape(node.shape) or 'a number'}{_frames(context.frame)}"
        for node, context in zip(values.nodes[:MAX_PLACES], values.contexts, strict=False)
    ]
    rest = values.count - len(lines)
    return "\n".join([*lines, *([f"… and {rest} more"] if rest > 0 else [])])


def _frames(frame: Frame | None) -> str:
    """Format calls and rounds, the outermost first: ` (line 42, i = 1, j = 0)`."""
    parts: list[str] = []
    for each in frame or ():
        if each.variable or each.value is not None:
            parts.append(f"{each.variable or 'round'} = {each.value}")
        else:
            parts.append(f"line {each.span.source.position(each.span.start)[0]}")
    return f" ({', '.join(reversed(parts))})" if parts else ""


def value_text(node: Node) -> str:
    """Format the shape of a value and its type if it is not f32."""
    return (format_shape(node.shape) or "a number") + (f" {node.dtype}" if node.dtype != "f32" else "")
