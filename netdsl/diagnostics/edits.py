"""Carries out the edits of a help."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.diagnostics.problem import Edit


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with every edit made; offsets are those of the unedited text, and no two edits may overlap.

    Insertions at one place stand in the order given, and before a replacement that begins there.
    """
    return splice(text, edits)[0]


def splice(text: str, edits: Iterable[Edit]) -> tuple[str, list[tuple[int, int]]]:
    """`apply`, and the range of each edit's text in the result, in the order of the text."""
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
