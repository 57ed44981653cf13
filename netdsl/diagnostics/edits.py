"""Edits of a text: how to apply them, and those that several problems suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return the text after all edits; offsets are those of the original text, and edits must not overlap.

    Insertions at one position keep the given order, and precede a replacement that begins there.
    """
    return splice(text, edits)[0]


def splice(text: str, edits: Iterable[Edit]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text like `apply`, and the range of each edit in it, in text order."""
    pieces: list[str] = []
    ranges: list[tuple[int, int]] = []
    done = length = 0
    for edit in in_order(edits):
        start, end = edit.span.start, edit.span.end
        assert done <= start <= end <= len(text), f"an edit overlaps another, or lies outside the text: {edit.span!r}"
        length += start - done
        pieces += text[done:start], edit.text
        ranges.append((length, length + len(edit.text)))
        length += len(edit.text)
        done = end
    return "".join([*pieces, text[done:]]), ranges


def in_order(edits: Iterable[Edit]) -> list[Edit]:
    return sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))


def before(span: Span, text: str) -> Edit:
    """Return the edit that inserts a text before a span."""
    return Edit(Span(span.source, span.start, span.start), text)


def after(span: Span, text: str) -> Edit:
    """Return the edit that inserts a text after a span."""
    return Edit(Span(span.source, span.end, span.end), text)


def gap_before(span: Span) -> Span:
    """Return the blanks before a span."""
    start = span.start
    while start and span.source.text[start - 1] in " \t":
        start -= 1
    return Span(span.source, start, span.start)


def replace(span: Span, text: str, *, safe: bool = False) -> Suggestion:
    """Return the suggestion to write a text in place of a span."""
    return Suggestion(f"write `{text}`", Edit(span, text), safe=safe)


def comment_before(span: Span) -> Iterable[Suggestion]:
    """Yield the suggestion to begin a comment with `#` if the span is in one that begins with `//`."""
    source, line = span.source, span.source.line_starts[span.source.position(span.start)[0] - 1]
    at = source.text.find("//", line, span.start)
    if at >= 0:
        yield Suggestion("a comment begins with `#`", Edit(Span(source, at, at + 2), "#"))


def did_you_mean(span: Span, word: str, candidates: Iterable[str]) -> Iterable[Suggestion]:
    """Yield `did you mean …?` with the nearest candidate; the edit is safe for a slip that only it explains."""
    from netdsl.base.suggest import is_slip, suggest
    from netdsl.diagnostics.foreign import ESTABLISHED, instead

    near = suggest(word, candidates)
    if near:
        safe = len(near) == 1 and is_slip(word, near[0]) and word not in ESTABLISHED and instead(word) is None
        yield Suggestion(f"did you mean `{near[0]}`?", Edit(span, near[0]), safe=safe)
