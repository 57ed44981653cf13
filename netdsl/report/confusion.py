"""Confusion matrix as text and as a picture: a row per true class, a column per predicted class."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.report.canvas import FONT_SIZE, Canvas
from netdsl.report.drawing.metrics import shorten, text_width, tick_step
from netdsl.report.table import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Counts = np.ndarray[Any, np.dtype[np.int64]]

MAX_CLASSES_NUMBERED = 20
"""Maximum number of classes for a matrix as text, and for numbers in the cells of the picture."""

MAX_CLASSES_NAMED = 100
"""Maximum number of classes that all have a name in the picture."""

MAX_PIXELS = 1000
"""Maximum size of the matrix in the picture with more classes, in pixels and in rows."""

SIDE, NAMED_SIDE, MIN_EXTENT = 34, 13, 120
"""Minimum size of a cell with a number, size of one beside a name, and minimum size of the matrix."""

MARGIN, TOP, AXIS, GAP = 24, 56, 24, 8
"""Around the picture, above the matrix, for the name of an axis, and between the matrix and its names."""

SMALL, NUMBER, MAX_NAME, TICKS = 10, 11, 160, 10
"""Font sizes of the names of many classes and of numbers, maximum length of a name, and number of names on an axis
without all of them."""

CAPTION = "each row: the examples of a class; darker is a larger share"
DARK, LIGHT = (0, 60, 115), (255, 255, 255)
WHITE = "#ffffff"


def confusion_lines(counts: Counts, names: Sequence[str]) -> Iterator[str]:
    """Format the matrix [K, K]; nothing if there are many classes."""
    if len(counts) > MAX_CLASSES_NUMBERED:
        return
    yield "rows: true class, columns: predicted class"
    rows = [[name, *(str(count or ".") for count in row)] for name, row in zip(names, counts.tolist(), strict=True)]
    yield from aligned([["", *names], *rows], right=range(len(names) + 1))


def draw_confusion(title: str, counts: Counts, names: Sequence[str]) -> Canvas:
    """Draw each row as fractions of its sum; darker is more. With many classes, a pixel stands for several."""
    step = ceil(len(counts) / MAX_PIXELS)
    starts = range(0, len(counts), step)
    if step > 1:
        counts = np.add.reduceat(np.add.reduceat(counts, starts, 0), starts, 1)
    numbered = len(counts) <= MAX_CLASSES_NUMBERED
    side = _side(counts)
    size = FONT_SIZE if numbered else SMALL
    every = 1 if side > SMALL else round(tick_step(len(counts), TICKS))
    words = {at: shorten(names[start], size, MAX_NAME) for at, start in enumerate(starts) if at % every == 0}
    room = max(text_width(word, size) for word in words.values())
    turned = room > every * side - GAP
    left, extent = ceil(MARGIN + AXIS + room + GAP), side * len(counts)
    below = TOP + extent + GAP
    foot = below + (room if turned else size) + AXIS
    caption = CAPTION + (f"; a pixel is {step} x {step} classes" if step > 1 else "")
    wide = max(left + extent, MARGIN + text_width(title, FONT_SIZE, bold=True), MARGIN + text_width(caption, SMALL))
    canvas = Canvas(wide + MARGIN, foot + MARGIN / 2, title)
    canvas.text(MARGIN, 20, title, bold=True)
    canvas.text(MARGIN, 38, caption, size=SMALL, faint=True)
    parts = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    canvas.image(left, TOP, _colors(parts), side)
    corners = [(left, TOP), (left + extent, TOP), (left + extent, TOP + extent), (left, TOP + extent)]
    canvas.line([*corners, corners[0]], canvas.theme.faint)
    for at, word in words.items():
        middle = (at + 0.5) * side
        canvas.text(left - GAP, TOP + middle, word, anchor="end", size=size)
        if turned:
            canvas.text(left + middle, below, word, anchor="end", size=size, turned=True)
        else:
            canvas.text(left + middle, below + size / 2, word, anchor="middle", size=size)
    if numbered:
        _write(canvas, counts, parts, side, left)
    canvas.text(left + extent / 2, foot - 6, "predicted class", anchor="middle", faint=True)
    canvas.text(MARGIN + 6, TOP + extent / 2, "true class", anchor="middle", faint=True, turned=True)
    return canvas


def _side(counts: Counts) -> int:
    """Return the size of a cell: large enough for a number, otherwise for a name, otherwise a few pixels."""
    if len(counts) > MAX_CLASSES_NAMED:
        return MAX_PIXELS // len(counts)
    if len(counts) > MAX_CLASSES_NUMBERED:
        return NAMED_SIDE
    return ceil(max(SIDE, MIN_EXTENT / len(counts), text_width(str(counts.max()), NUMBER) + GAP))


def _write(canvas: Canvas, counts: Counts, parts: Any, side: int, left: float) -> None:
    for row, column in np.argwhere(counts).tolist():
        place = left + (column + 0.5) * side, TOP + (row + 0.5) * side
        ink = WHITE if parts[row, column] > 0.3 else ""
        canvas.text(*place, str(counts[row, column]), anchor="middle", size=NUMBER, ink=ink)


def _colors(parts: Any) -> Any:
    """Return colors [K, K, 3] of fractions [K, K], by square roots, so that few errors remain visible."""
    weight = np.sqrt(parts)[..., None]
    return np.round(np.array(LIGHT) * (1 - weight) + np.array(DARK) * weight).astype(np.uint8)
