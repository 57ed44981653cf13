"""A token that does not fit, and the problem that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.base.text import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.text import Source
    from netdsl.diagnostics.problem import Problem
    from netdsl.syntax.lalr import Parser
    from netdsl.syntax.scan import Token


class Found:
    """A problem, and how the parser can go on without loss: `harmless` passes over the token, `separate` ends the
    statement before it. None for what the lexer has reported; `absorbs` what it has reported of the whole statement.
    """

    __slots__ = ("absorbs", "harmless", "problem", "separate")

    def __init__(
        self, problem: Problem | None, *, harmless: bool = False, separate: bool = False, absorbs: bool = False
    ) -> None:
        self.problem = problem
        self.harmless = harmless
        self.separate = separate
        self.absorbs = absorbs


class Mistake:
    """The token at `index` does not fit into the statement that begins at `start`.

    `level` is what the grammar accepts at the beginning of the statement; `head` is the index of the first token after
    its label.
    """

    def __init__(
        self,
        source: Source,
        tokens: list[Token],
        start: int,
        index: int,
        level: Mapping[str, Any],
        parser: Parser,
    ) -> None:
        self.source = source
        self.tokens = tokens
        self.start = start
        self.index = index
        self.level = level
        self.parser = parser
        self.at_end = index >= len(tokens)
        self.head = start
        for token in tokens[start:index]:
            if token.type == "COLON" and token.outer is tokens[start].outer:
                self.head = token.index + 1

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def word(self) -> str:
        """The first word of the statement."""
        return self.tokens[self.head].text if self.head < len(self.tokens) else ""

    @property
    def in_call(self) -> bool:
        """Whether the token is among the arguments of a call, or the values of a setting."""
        head = self.tokens[self.head]
        is_call = head.type == "NAME" or head.text in ("default", "input", "expect")
        return self.index > self.head and is_call and self.token.outer is head.outer and "ARROW" not in self.level

    @property
    def statement_end(self) -> int:
        """The number of the token that ends the statement."""
        return self.end_of(self.tokens[self.head])

    def end_of(self, head: Token) -> int:
        """Return the number of the token that ends the statement of a head."""
        outer = head.outer
        for token in self.tokens[self.index :]:
            if (token.type == "SEP" and token.outer is outer) or (outer is not None and token.opener is outer):
                return token.index
        return len(self.tokens)

    def accepted(self) -> set[str]:
        """The terminals accepted here."""
        return self.parser.accepted()

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)
