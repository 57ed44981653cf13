"""What is declared as layers are, with arguments and a name, and is none: kinds of data, augmentations."""

from __future__ import annotations

from typing import Any

from netdsl.layers.arguments import Kind, Unfit, Word
from netdsl.layers.declared import Declared, registrar

__all__ = ["Character", "Declared", "Path", "Text", "Texts", "registrar"]


class Text(Kind):
    """A text in quotes."""

    quoted = True
    expected = 'a text, such as `"iris.csv"`'

    def convert(self, value: Any) -> str:
        if not isinstance(value, str) or isinstance(value, Word) or not value:
            raise self._unfit()
        return str(value)


class Character(Text):
    """A single character in quotes."""

    expected = 'a single character other than a quote or a line break, such as `";"`'

    def convert(self, value: Any) -> str:
        if len(super().convert(value)) != 1 or value in '"\r\n':
            raise self._unfit()
        return str(value)


class Path(Text):
    """The name of a file or a folder, relative to the file that it is written in."""

    expected = 'a path in quotes, such as `"datasets/mnist"`'


class Texts(Kind):
    """A text in quotes, or a list of them."""

    quoted = True
    expected = 'a text, such as `"species"`, or a list of them'

    def convert(self, value: Any) -> tuple[str, ...]:
        entries = value if isinstance(value, tuple) else (value,)
        try:
            texts = tuple(Text().convert(entry) for entry in entries)
        except Unfit:
            raise self._unfit() from None
        if not texts:
            raise self._unfit()
        return texts
