"""The long form of a problem on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import Row, brief, escape, paint
from netdsl.base.text import Source, Span
from netdsl.diagnostics.edits import in_order, splice
from netdsl.diagnostics.excerpt import GAP, Lines, Mark, excerpt
from netdsl.diagnostics.problem import Edit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netdsl.base.text import Frame
    from netdsl.diagnostics.problem import Problem, Suggestion

MAX_FRAMES_SHOWN = 8
"""Maximum number of calls shown, and of rounds around each."""
MAX_CHANGES_SHOWN = 8
"""Maximum number of changed lines shown of a fix."""


def render(problem: Problem, *, color: bool = False) -> str:
    """Return the problem as several lines without a final newline: headline, excerpts, notes, frames and
    suggestions."""
    excerpts = _excerpts(problem)
    suggestions = [(found.text, _previews(problem, found)) for found in problem.all_suggestions()]
    shown = [lines for _, lines in excerpts] + [lines for _, previews in suggestions for _, lines in previews]
    page = _Page(shown, color)
    page.headline(problem)
    for arrow, (place, lines) in zip(_arrows(), excerpts, strict=False):
        page.excerpt(arrow, place, lines)
    for note in problem.notes():
        page.remark("", note)
    for came in frames(problem.frame):
        page.remark("", came)
    for text, previews in suggestions:
        page.remark("help", text)
        for place, lines in previews:
            page.excerpt(":::", place, lines)
    return "\n".join(page.lines)


def _arrows() -> Iterator[str]:
    yield "-->"
    while True:
        yield ":::"


def _excerpts(problem: Problem) -> list[tuple[str, Lines]]:
    """Return the marked lines of each source, beginning with that of the primary span."""
    marks = [(problem.span, Mark.of(problem.span, "^", problem.severity, problem.label()))]
    marks += [(label.span, Mark.of(label.span, "-", "place", label.text)) for label in problem.labels()]
    sources: dict[tuple[str, str], list[tuple[Span, Mark]]] = {}
    for span, mark in marks:
        sources.setdefault((span.source.name, span.source.text), []).append((span, mark))
    return [(str(found[0][0]), excerpt(found[0][0].source, [mark for _, mark in found])) for found in sources.values()]


def _previews(problem: Problem, found: Suggestion) -> list[tuple[str, Lines]]:
    """Return the changed lines of each source after a fix, with the names of other files."""
    sources: dict[tuple[str, str], list[Edit]] = {}
    for edit in found.edits:
        sources.setdefault((edit.span.source.name, edit.span.source.text), []).append(edit)
    own = problem.span.source.name
    return [
        ("" if name == own else str(in_order(edits)[0].span), _preview(name, text, edits))
        for (name, text), edits in sources.items()
    ]


def _preview(name: str, text: str, edits: list[Edit]) -> Lines:
    """Return the fixed lines, which still include deleted text, to make it visible."""
    after, ranges = splice(text, [edit if edit.text else Edit(edit.span, edit.span.text) for edit in edits])
    source = Source(name, "")
    source.text = after  # as spliced: the ranges count its characters
    marks = [
        mark
        for edit, (start, end) in zip(in_order(edits), ranges, strict=True)
        for mark in _change(source, edit, start, end)
    ]
    lines = excerpt(source, marks[:MAX_CHANGES_SHOWN])
    return lines if len(marks) <= MAX_CHANGES_SHOWN else [*lines, (GAP, Row())]


def _change(source: Source, edit: Edit, start: int, end: int) -> Iterator[Mark]:
    """Return a mark on each line of a change, ignoring surrounding spaces."""
    old, new = edit.span.text, edit.text
    kind, char = "replace", "~"
    if not new:
        kind, char = "delete", "-"
    elif new.startswith(old):
        kind, char, start = "insert", "+", start + len(old)
    elif new.endswith(old):
        kind, char, end = "insert", "+", end - len(old)
    if not source.text[start:end].strip():
        yield Mark(source, start, end, char, kind)
        return
    for line in source.text[start:end].split("\n"):
        left = start + len(line) - len(line.lstrip())
        if line.strip():
            yield Mark(source, left, left + len(line.strip()), char, kind)
        start += len(line) + 1


def frames(frame: Frame | None) -> list[str]:
    """Describe how the elaborator reached the location, from the inside out: each call with the rounds around it."""
    steps: list[tuple[Frame | None, list[Frame]]] = [(None, [])]
    for each in frame or ():
        if each.variable or each.value is not None:  # a round, whose counter may have no name
            steps[-1][1].append(each)
        else:
            steps.append((each, []))
    return _few([text for call, rounds in steps if (text := _step(call, rounds))], MAX_FRAMES_SHOWN)


def _step(call: Frame | None, rounds: list[Frame]) -> str:
    """Describe a call during rounds of loops; without a call, the rounds alone, empty if there are none."""
    named = [f"{each.variable} = {_value(each)}" if each.variable else f"#{_value(each)}" for each in reversed(rounds)]
    during = f"round {', '.join(_few(named, MAX_FRAMES_SHOWN))}"
    if call is None:
        return f"in {during} of the loop at {rounds[0].span}" if rounds else ""
    is_net = call.call is not None and type(call.call[0]).__name__ == "Net"
    reached = f"in {'net' if is_net else 'block'} `{call.name}`, called at" if call.name else "imported at"
    return f"{reached} {call.span}" + (f", {during}" if rounds else "")


def _value(frame: Frame) -> str:
    value = str(frame.value)
    return value if len(value) <= 40 else value[:39] + "…"


def _few(items: list[str], most: int) -> list[str]:
    """Return the first and the last of many."""
    if len(items) <= most:
        return items
    half = most // 2
    return [*items[:half], f"… {len(items) - 2 * half + 1} more", *items[len(items) - half + 1 :]]


class _Page:
    """The finished lines, and the width of their line numbers."""

    __slots__ = ("color", "lines", "width")

    def __init__(self, shown: Iterable[Lines], color: bool) -> None:
        self.color = color
        self.lines: list[str] = []
        self.width = max((len(gutter) for lines in shown for gutter, _ in lines if gutter != GAP), default=1)

    def paint(self, text: str, style: str) -> str:
        return paint(text, style, self.color)

    def headline(self, problem: Problem) -> None:
        kind = self.paint(f"{problem.severity}[{problem.code}]", problem.severity)
        self.lines.append(kind + self.paint(f": {escape(brief(problem.message()))}", "strong"))

    def excerpt(self, arrow: str, place: str, lines: Lines) -> None:
        """Add lines of a source under its name; another source is set apart from the first."""
        if arrow == ":::" and place:
            self.gutter("", "")
        if place:
            self.lines.append(f"{' ' * self.width}{self.paint(arrow, 'place')} {escape(place)}")
        self.gutter("", "")
        for gutter, row in lines:
            self.gutter(gutter, row.text(self.color))

    def gutter(self, gutter: str, text: str) -> None:
        if gutter == GAP:
            edge = self.paint(GAP, "place") + " " * self.width
        else:
            edge = self.paint(f"{gutter:{self.width}} |", "place") + " "
        self.lines.append(edge + text if text else edge.rstrip())

    def remark(self, kind: str, text: str) -> None:
        text = escape(brief(text))
        said = f"{self.paint(kind, 'strong')}: {text}" if kind else text
        self.lines.append(f"{' ' * (self.width + 1)}{self.paint('=', 'place')} {said}")
