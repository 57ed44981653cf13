"""Text widths without a font, numbers with few digits, and round distances between ticks."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from math import floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.ir.formula import Count

WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 "
    "556 556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 "
    "667 778 722 667 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 "
    "556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584 "
)
"""Widths of the characters from space to `~` in Helvetica, in thousandths of the font size."""

ADVANCE = {chr(32 + at): int(width) / 1000 for at, width in enumerate(WIDTHS.split())}
ROOM, BOLD = 1.16, 1.3
"""Factor by which substitute fonts may be wider, and that of bold text."""
OTHER, FULL = 0.6, 1.0
STEPS = ("", "k", "M", "G", "T", "P")


@lru_cache(100_000)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a text in pixels at this font size."""
    wide = sum(ADVANCE.get(character) or _other(character) for character in text)
    return wide * size * (BOLD if bold else ROOM)


def _other(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    return FULL if unicodedata.east_asian_width(character) in "WF" else OTHER


def shorten(text: str, size: float, most: float, *, bold: bool = False) -> str:
    """Truncate a text that is too long with `…`."""
    if text_width(text, size, bold=bold) <= most:
        return text
    while text and text_width(f"{text}…", size, bold=bold) > most:
        text = text[:-1]
    return f"{text.rstrip()}…"


def short_count(count: Count) -> str:
    """Format a number with three digits, such as `1.81G`, or a formula unchanged."""
    if not isinstance(count, int):
        return f"{count:,}"
    step, number = 0, float(count)
    while number >= 999.5 and step < len(STEPS) - 1:
        step, number = step + 1, number / 1000
    digits = 0 if step == 0 or number >= 99.95 else 1 if number >= 9.995 else 2
    text = f"{number:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if digits else text) + STEPS[step]


def tick_step(extent: float, ticks: int) -> float:
    """Return a round distance between about `ticks` ticks: 1, 2 or 5 times a power of ten."""
    rough = extent / ticks
    power: float = 10.0 ** floor(log10(rough))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
