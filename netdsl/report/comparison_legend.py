"""The colours of a comparison's pictures, and the legend over them."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from netdsl.diagnostics.terminal import escape
from netdsl.report.canvas import INK, Canvas
from netdsl.report.drawing.metrics import cut, text_width
from netdsl.report.drawing.shapes import Circle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INKS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#6c4fa3", "#7a5230"),
    *("#a3123a", "#5c7a00", "#2f3e50", "#00a6b8"),
)
"""Told apart by the colour-blind too: Okabe & Ito (2008), Color universal design, the yellow darkened; six more."""
PALE = 0.72
"""So much white is in a circle's fill."""
LABEL = 11
"""The size of its font."""
TOP, ROW, KEY, GAP = 12, 20, 18, 24
"""What is above it, the height of a line, what a text has in front of it, and what is between two of them."""


def inks_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of the names, the most frequent first."""
    known = sorted(dict.fromkeys(names), key=lambda name: (-names.count(name), name))
    return dict(zip(known, cycle(INKS), strict=False))


def pale(ink: str, white: float) -> str:
    parts = (int(ink[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * white):02x}" for part in parts)


class Legend:
    """What the colours mean, in lines of at most `width` pixels from `left` on; `height` is what it takes with what is
    above it."""

    __slots__ = ("_entries", "height")

    def __init__(self, inks: Mapping[str, str], left: float, width: float) -> None:
        self._entries: list[tuple[float, float, str, str]] = []
        x, y = left, TOP + ROW / 2
        for name, ink in inks.items():
            text = cut(escape(name), LABEL, width - KEY)
            wide = KEY + text_width(text, LABEL)
            if x > left and x + wide > left + width:
                x, y = left, y + ROW
            self._entries.append((x, y, text, ink))
            x += wide + GAP
        self.height = y + ROW / 2

    def draw(self, canvas: Canvas) -> None:
        for x, y, text, ink in self._entries:
            canvas.add(Circle((x + 6, y), 6, fill=pale(ink, PALE), edge=ink))
            canvas.text(x + KEY, y, text, size=LABEL, ink=INK)
