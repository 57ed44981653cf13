"""Text on a grid of columns: safe characters, widths and colors."""

from __future__ import annotations

import re

from netdsl.base.user_error import escape as escape  # which starts without `re`

SENTENCE = 1_000
"""Maximum number of characters of a message."""

LONGEST_WORD = 40
"""Maximum number of characters of a word that the user wrote, in a message."""

LONG = re.compile(r"\S{200,}")

COLORS = {
    "error": "1;31",
    "warning": "1;33",
    "strong": "1",
    "place": "1;34",
    "insert": "32",
    "replace": "33",
    "delete": "31",
}


def paint(text: str, style: str, color: bool) -> str:
    return f"\x1b[{COLORS[style]}m{text}\x1b[0m" if color and style and text else text


def brief(text: str) -> str:
    """Shorten a sentence to fit a screen: quoted words lose their middle, lists their end."""
    text = LONG.sub(lambda word: f"{word[0][:80]}…{word[0][-20:]}", text)
    return text if len(text) <= SENTENCE else f"{text[: SENTENCE - 1]}…"


def shortened(word: str) -> str:
    """Shorten a word that the user wrote."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD - 1]}…"


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: `1 tensor`, `2 tensors`."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def width(text: str) -> int:
    """Return the number of columns of an escaped text."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    """Return the columns of a character. Source: Unicode Standard Annex 11, East Asian Width."""
    if char < "\u0300":
        return 1
    from unicodedata import category, east_asian_width

    if category(char) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


class Row:
    """One line of the screen, writable at any column."""

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        self._cells: list[tuple[str, str]] = []

    def put(self, column: int, text: str, style: str = "") -> None:
        """Write an escaped text over the line; a combining mark joins the previous character."""
        self._cells += [(" ", "")] * (column + width(text) - len(self._cells))
        joined = ""
        for char in text:
            size = 1 if char.isascii() else _columns(char)
            if size:
                self._cells[column] = joined + char, style
                joined = ""
            elif column:
                self._cells[column - 1] = self._cells[column - 1][0] + char, style
            else:
                joined += char
            if size == 2:
                self._cells[column + 1] = "", style
            column += size

    def text(self, color: bool = False) -> str:
        """The line without trailing spaces."""
        runs: list[tuple[str, list[str]]] = []
        end = len(self._cells)
        while end and self._cells[end - 1][0].endswith(" "):
            end -= 1
        for char, style in self._cells[:end]:
            if not runs or runs[-1][0] != style:
                runs.append((style, []))
            runs[-1][1].append(char)
        return "".join(paint("".join(chars), style, color) for style, chars in runs)
