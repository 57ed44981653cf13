"""Apply the edits of a help."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.diagnostics.problem import Edit


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
