"""Align comments of consecutive lines, and what the author had in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 120
"""Columns of a line. A longer one that cannot break stays."""


class Mark(NamedTuple):
    """A piece behind a separator: `place` in its line, `key` of those that were in one column with it, and whether it
    had more than one space for that."""

    key: tuple[int, bool, int]
    place: int
    is_padded: bool


class Line:
    """A line of code with its comment, if any, or a comment alone."""

    __slots__ = ("comment", "marks", "text")

    def __init__(self, text: str, comment: str | None, marks: list[Mark]) -> None:
        self.text = text
        self.comment = comment
        self.marks = marks


def aligned(lines: Sequence[Line]) -> list[str]:
    """Return the lines as text."""
    _align_code(lines)
    return _with_comments(lines)


def _align_code(lines: Sequence[Line]) -> None:
    """Make columns anew that at least two lines had."""
    padded = {mark.key for line in lines for mark in line.marks if mark.is_padded}
    columns: dict[tuple[int, bool, int], list[tuple[Line, int]]] = {}
    for line in lines:
        for number, mark in enumerate(line.marks):
            if mark.key in padded:
                columns.setdefault(mark.key, []).append((line, number))
    for key in sorted(columns, key=lambda key: key[2]):
        column = columns[key]
        end = max(line.marks[number].place for line, number in column)
        pads = [end - line.marks[number].place for line, number in column]
        fits = all(len(line.text) + pad <= WIDTH for (line, _), pad in zip(column, pads, strict=True) if pad)
        if len(column) > 1 and fits and end <= WIDTH:
            for (line, number), pad in zip(column, pads, strict=True):
                at = line.marks[number].place
                line.text = f"{line.text[:at]}{' ' * pad}{line.text[at:]}"
                line.marks[number:] = [mark._replace(place=mark.place + pad) for mark in line.marks[number:]]


def _with_comments(lines: Sequence[Line]) -> list[str]:
    """Return the lines with their comments: those of consecutive lines of one indentation are in one column, as far as
    none becomes too long by that."""
    runs: list[list[int]] = []
    column = longest = 0
    for number, line in enumerate(lines):
        if line.comment is None:
            continue
        wide, long = len(line.text) + 2, len(line.comment)
        last = lines[runs[-1][-1]] if runs and runs[-1][-1] == number - 1 else None
        alike = last is not None and _indentation(last.text) == _indentation(line.text)
        if alike and max(column, wide) + max(longest, long) <= WIDTH:
            column, longest = max(column, wide), max(longest, long)
            runs[-1].append(number)
        else:
            column, longest = wide, long
            runs.append([number])
    texts = [line.text for line in lines]
    for run in runs:
        column = max(len(texts[number]) for number in run) + 2
        for number in run:
            texts[number] = f"{texts[number]:{column}}{lines[number].comment}"
    return texts


def _indentation(text: str) -> int:
    return len(text) - len(text.lstrip(" "))
