"""How long a line of text is, without a font; numbers in few digits."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.ir.formula import Count

WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 "
    "556 556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 "
    "667 778 722 667 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 "
    "556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584 "
)
"""Of the characters from the blank to `~` in Helvetica, in thousandths of the font's size."""

ADVANCE = {chr(32 + at): int(width) / 1000 for at, width in enumerate(WIDTHS.split())}
ROOM, BOLD = 1.16, 1.3
"""Fonts that may stand in for it are so much wider."""
OTHER, FULL = 0.6, 1.0
STEPS = ("", "k", "M", "G", "T", "P")


@lru_cache(100_000)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """In pixels, for a font of this size."""
    wide = sum(ADVANCE.get(character) or _other(character) for character in text)
    return wide * size * (BOLD if bold else ROOM)


def _other(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    return FULL if unicodedata.east_asian_width(character) in "WF" else OTHER


def cut(text: str, size: float, most: float, *, bold: bool = False) -> str:
    """The text, with `…` for what is too long."""
    if text_width(text, size, bold=bold) <= most:
        return text
    while text and text_width(f"{text}…", size, bold=bold) > most:
        text = text[:-1]
    return f"{text.rstrip()}…"


def short(count: Count) -> str:
    """`1.81G`: three digits, or a formula as it is."""
    if not isinstance(count, int):
        return f"{count:,}"
    step, number = 0, float(count)
    while number >= 999.5 and step < len(STEPS) - 1:
        step, number = step + 1, number / 1000
    digits = 0 if step == 0 or number >= 99.95 else 1 if number >= 9.995 else 2
    text = f"{number:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if digits else text) + STEPS[step]
