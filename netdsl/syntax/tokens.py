"""Tokens: pieces of the text that may still be one of several terminals of the grammar."""

from __future__ import annotations

SEPARATOR = ("SEP",)
BAD = ("BAD",)
"""A piece that the lexer has complained about; no rule takes it, so its statement is cut without another complaint."""


class Token:
    """A piece of the text. `type` is the grammar's terminal, one of `choices`, settled when the parser comes to it.

    `index` is its number among the tokens, `outer` the opening bracket around it, and a closing bracket's `opener` the
    one that it closes.
    """

    __slots__ = ("choices", "end", "index", "opener", "outer", "start", "text", "type")

    def __init__(self, choices: tuple[str, ...], text: str, start: int) -> None:
        self.choices = choices
        self.type = choices[0]
        self.text = text
        self.start = start
        self.end = start + len(text)
        self.index = -1
        self.outer: Token | None = None
        self.opener: Token | None = None

    def __repr__(self) -> str:
        return f"Token({self.type}, {self.text!r}, {self.start})"

    @property
    def is_newline(self) -> bool:
        """A separator that only newlines make: of no effect where no separator can stand."""
        return self.type == "SEP" and ";" not in self.text
