"""Tokens: pieces of the text that can still be one of several terminals."""

from __future__ import annotations

SEPARATOR = ("SEP",)
BAD = ("BAD",)
"""Type of a piece that the lexer has reported; no rule accepts it, so its statement is dropped without another
error."""


class Token:
    """A piece of the text. `type` is one of the terminals in `choices`, resolved when the parser reaches it.

    `index` is its index among the tokens, `outer` the opening bracket around it, and `opener` of a closing bracket the
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
        """Whether it is a separator made of newlines only, without effect where no separator is allowed."""
        return self.type == "SEP" and ";" not in self.text
