"""Confusion matrix as text and as a picture: a row per true class, a column per predicted class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.terminal import escape
from netdsl.report.canvas import Canvas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Counts = np.ndarray[Any, np.dtype[np.int64]]

MAX_CLASSES_NUMBERED = 20
"""Maximum number of classes for a matrix as text, and for numbers in the cells of the picture."""

SIDE, WIDE = 34, 640
"""Size of a cell with a number, and of the matrix in the picture without numbers."""

DARK, LIGHT = (0, 60, 115), (255, 255, 255)
WHITE = "#ffffff"
LETTER = 7.5


def confusion_lines(counts: Counts, names: Sequence[str]) -> Iterator[str]:
    """Format the matrix [K, K]; nothing if there are many classes."""
    if len(counts) > MAX_CLASSES_NUMBERED:
        return
    shown = [escape(name) for name in names]
    width = max(len(f"{counts.max(initial=0):,}"), *map(len, shown))
    yield "rows: true class, columns: predicted class"
    yield "  ".join(f"{text:>{width}}" for text in ["", *shown])
    for name, row in zip(shown, counts.tolist(), strict=True):
        yield "  ".join([f"{name:>{width}}", *(f"{count or '.':>{width}}" for count in row)])


def draw_confusion(title: str, counts: Counts, names: Sequence[str]) -> Canvas:
    """Draw each row as fractions of its sum; darker is more."""
    classes = len(counts)
    numbered = classes <= MAX_CLASSES_NUMBERED
    side = SIDE if numbered else max(1, WIDE // classes)
    left = 16 + LETTER * max(len(name) for name in names) + 8 if numbered else 24
    top = 64
    canvas = Canvas(left + side * classes + 24, top + side * classes + 40, title)
    canvas.text(left, 20, title, bold=True)
    parts = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    canvas.image(left, top, _colors(parts), side)
    if numbered:
        _write(canvas, counts, parts, names, left, top)
    canvas.text(left + side * classes / 2, top + side * classes + 20, "predicted", anchor="middle", faint=True)
    return canvas


def _write(canvas: Canvas, counts: Counts, parts: Any, names: Sequence[str], left: float, top: float) -> None:
    for at, name in enumerate(names):
        canvas.text(left - 8, top + (at + 0.5) * SIDE, name, anchor="end")
        if len(name) * LETTER <= SIDE:
            canvas.text(left + (at + 0.5) * SIDE, top - 12, name, anchor="middle")
        for column, count in enumerate(counts[at].tolist()):
            if count:
                place = left + (column + 0.5) * SIDE, top + (at + 0.5) * SIDE
                canvas.text(*place, str(count), anchor="middle", size=11, ink=WHITE if parts[at, column] > 0.3 else "")


def _colors(parts: Any) -> Any:
    """Return colors [K, K, 3] of fractions [K, K], by square roots, so that few errors remain visible."""
    weight = np.sqrt(parts)[..., None]
    return np.round(np.array(LIGHT) * (1 - weight) + np.array(DARK) * weight).astype(np.uint8)
