"""Source lines with carets below them, in the style of rustc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import Row, brief, escape, width

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Source, Span

GAP = "..."
LONG = 120
"""Maximum number of characters of a line; longer ones are cut."""
CONTEXT = 40
"""Number of characters kept around the ends of a mark when a line is cut."""
WHOLE = 6
"""Maximum number of lines of a range that is shown whole; of a longer one, the first and the last are shown."""

Lines = list[tuple[str, Row]]
"""The content of the gutter (a line number, nothing, or `GAP`), and the text to its right."""


class Mark:
    """Characters to underline, with a label; `lines` and `columns` hold the first and the end."""

    __slots__ = ("char", "columns", "label", "lines", "style")

    def __init__(self, source: Source, start: int, end: int, char: str, style: str, label: str = "") -> None:
        text = source.text
        start = min(start, len(text))
        while end > start and text[min(end, len(text)) - 1] == "\n":
            end -= 1
        (first, left), (last, right) = source.position(start), source.position(min(max(start, end), len(text)))
        self.lines = first, last
        self.columns = left - 1, right - 1
        self.char = char
        self.style = style
        self.label = escape(brief(label))

    @classmethod
    def of(cls, span: Span, char: str, style: str, label: str) -> Mark:
        return cls(span.source, span.start, span.end, char, style, label)

    @property
    def single(self) -> bool:
        return self.lines[0] == self.lines[1]


class Cut:
    """A line as it is shown: escaped, with tabs as four spaces, and without parts far from the marks."""

    __slots__ = ("columns", "letters", "text")

    def __init__(self, line: str, points: Iterable[int]) -> None:
        pieces: list[str] = []
        self.columns: dict[int, int] = {}
        """The screen's column of each character that is kept, and of the end."""
        self.letters: dict[int, int] = {}
        """The column of the letter that a combining mark belongs to."""
        column = done = base = 0
        for start, end in _kept(len(line), points):
            if start > done:
                pieces.append("…")
                column += 1
            for at in range(start, end):
                shown = "    " if line[at] == "\t" else escape(line[at])
                pieces.append(shown)
                size = width(shown)
                self.columns[at] = column
                if size:
                    base = column
                else:
                    self.letters[at] = base
                column += size
            self.columns[end] = column
            done = end
        self.text = "".join(pieces) + "…" * (done < len(line))

    def under(self, left: int, right: int) -> tuple[int, int]:
        """Return the columns of a range of characters, at least one."""
        start = self.columns[left] if left == right else self.letters.get(left, self.columns[left])
        return start, max(start + 1, self.columns[right])


def _kept(length: int, points: Iterable[int]) -> list[tuple[int, int]]:
    """Return the ranges of characters to show, in order and disjoint."""
    if length <= LONG:
        return [(0, length)]
    kept: list[tuple[int, int]] = []
    for point in sorted(points) or [CONTEXT]:
        start, end = max(0, point - CONTEXT), min(length, point + CONTEXT)
        if kept and start <= kept[-1][1] + 1:
            start = kept.pop()[0]
        kept.append((start, end))
    return kept


def excerpt(source: Source, marks: list[Mark]) -> Lines:
    """Return the marked lines with their labels, and `GAP` for omitted lines between them."""
    lanes = _lanes([mark for mark in marks if not mark.single])
    margin = max(lanes.values(), default=-1) + 1
    drawing = _Drawing(lanes, margin + 1 if margin else 0)
    before = 0
    for number in _shown(marks):
        if before and number == before + 2:
            drawing.line(source, before + 1, [])
        elif before and number > before + 2:
            drawing.row(GAP)
        drawing.line(source, number, marks)
        before = number
    return drawing.lines


def _shown(marks: list[Mark]) -> list[int]:
    numbers: set[int] = set()
    for first, last in (mark.lines for mark in marks):
        numbers.update(range(first, last + 1) if last - first < WHOLE else (first, last))
    return sorted(numbers)


def _lanes(marks: list[Mark]) -> dict[Mark, int]:
    """Return a column in the margin for each multi-line mark, without overlaps; the longest is leftmost."""
    lanes: dict[Mark, int] = {}
    for mark in sorted(marks, key=lambda m: (m.lines[0], -m.lines[1])):
        taken = {lane for other, lane in lanes.items() if other.lines[1] >= mark.lines[0]}
        lanes[mark] = next(lane for lane in range(len(marks)) if lane not in taken)
    return lanes


class _Drawing:
    """The lines drawn so far, and the bars in the margin that continue."""

    __slots__ = ("bars", "lanes", "lines", "margin")

    def __init__(self, lanes: dict[Mark, int], margin: int) -> None:
        self.lanes = lanes
        self.margin = margin
        self.bars: dict[int, str] = {}
        self.lines: Lines = []

    def row(self, gutter: str = "") -> Row:
        row = Row()
        for lane, style in self.bars.items():
            row.put(lane, "|", style)
        self.lines.append((gutter, row))
        return row

    def line(self, source: Source, number: int, marks: list[Mark]) -> None:
        line = source.line(number)
        here = [mark for mark in marks if mark.single and mark.lines[0] == number]
        opened = [mark for mark in self.lanes if mark.lines[0] == number]
        closed = [mark for mark in self.lanes if mark.lines[1] == number]
        points = [point for mark in here for point in mark.columns]
        cut = Cut(line, [*points, *(mark.columns[0] for mark in opened), *(mark.columns[1] for mark in closed)])
        row = self.row(str(number))
        row.put(self.margin, cut.text)
        at_start = [mark for mark in opened if line[: mark.columns[0]].isspace() or not mark.columns[0]]
        for mark in at_start:
            row.put(self.lanes[mark], "/", mark.style)
            self.bars[self.lanes[mark]] = mark.style
        self.underlines(cut, here)
        for mark in opened:
            if mark not in at_start:
                self.arm(mark, cut.columns[mark.columns[0]])
                self.bars[self.lanes[mark]] = mark.style
        for mark in closed:
            start, end = cut.under(max(mark.columns[1] - 1, 0), mark.columns[1])
            self.arm(mark, start).put(self.margin + end + 1, mark.label, mark.style)
            del self.bars[self.lanes[mark]]

    def arm(self, mark: Mark, column: int) -> Row:
        """Draw a line from the margin to where a multi-line mark begins or ends."""
        row = self.row()
        lane = self.lanes[mark]
        row.put(lane + 1, "_" * (self.margin + column - lane - 1), mark.style)
        for other, style in self.bars.items():
            row.put(other, "|", style)
        row.put(self.margin + column, mark.char, mark.style)
        return row

    def underlines(self, cut: Cut, marks: list[Mark]) -> None:
        """Draw the carets, short ones over long ones and `^` over equal ones, and the labels.

        Labels that fit are beside their carets; the others hang below, from right to left.
        """
        if not marks:
            return
        places = [(*cut.under(*mark.columns), mark) for mark in marks]
        row = self.row()
        for start, end, mark in sorted(places, key=lambda place: (place[0] - place[1], place[2].char == "^")):
            row.put(self.margin + start, mark.char * (end - start), mark.style)
        hanging: list[tuple[int, Mark]] = []
        for place in sorted(places, key=lambda place: -place[0]):
            start, end, mark = place
            if mark.label and _fits(place, places):
                row.put(self.margin + end + 1, mark.label, mark.style)
            elif mark.label:
                hanging.append((start, mark))
        if hanging:
            self.connectors(hanging)
        for below, (start, mark) in enumerate(hanging, 1):
            self.connectors(hanging[below:]).put(self.margin + start, mark.label, mark.style)

    def connectors(self, hanging: list[tuple[int, Mark]]) -> Row:
        row = self.row()
        for start, mark in hanging:
            row.put(self.margin + start, "|", mark.style)
        return row


def _fits(place: tuple[int, int, Mark], places: list[tuple[int, int, Mark]]) -> bool:
    """Return whether a label beside its carets is clear of all other carets, and unambiguous."""
    start, end, mark = place
    stop = end + 1 + width(mark.label) + 1
    return all(
        other is mark or right <= start or left >= stop or (not other.label and right <= end)
        for left, right, other in places
    )
