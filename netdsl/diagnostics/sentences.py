"""Sentences about data: templates, lists and shortened words."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, Any

from netdsl.base.shape import text

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_WORD = 40
"""Maximum number of characters shown of a word that the user wrote."""


class _Template(Formatter):
    """Format strings over the attributes of one object."""

    def get_value(self, key: object, args: Sequence[Any], kwargs: object) -> object:
        return getattr(args[0], str(key))

    def format_field(self, value: object, format_spec: str) -> str:
        if not isinstance(value, tuple):
            return format(value, format_spec)
        return ", ".join(value) if value and isinstance(value[0], str) else text(value)


_TEMPLATE = _Template()


def fill(template: str, data: object) -> str:
    """Return a format string with an object's attributes: `{name}`, `{span.text}`, `{count:,}`.

    A shape is written as in the language, a tuple of strings as a list.
    """
    return _TEMPLATE.vformat(template, (data,), {})


def shortened(word: str) -> str:
    """Return a word that the user wrote, cut if it is long."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD - 1]}…"


def alternatives(words: Sequence[str]) -> str:
    """Format a choice: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
