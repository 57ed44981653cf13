"""Match brackets, and find those without a partner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import NESTING
from netdsl.base.text import Span
from netdsl.diagnostics import problems

if TYPE_CHECKING:
    from netdsl.base.text import Source
    from netdsl.diagnostics.problem import Problem
    from netdsl.syntax.scan import Token

_ITEMS = ("net", "block", "fn", "train", "use")
"""Words that only begin definitions of a file."""

OPENING = {")": "(", "]": "[", "}": "{"}
OF_INTEREST = frozenset(("(", "[", "{", ")", "]", "}", "match", *_ITEMS))


class BracketPairs:
    """The result by token index: which brackets have a partner, and where missing `}` belong.

    `ends` has the number of open braces that must end before a token; a `(` or `[` without a partner is not a bracket.
    """

    __slots__ = ("ends", "opened", "openers", "opening", "problems", "strays", "too_deep")

    def __init__(self) -> None:
        self.opening: set[int] = set()
        self.openers: dict[int, int] = {}
        self.strays: set[int] = set()
        self.ends: dict[int, int] = {}
        self.problems: list[Problem] = []
        self.too_deep = False


def pair(tokens: list[Token], source: Source) -> BracketPairs:
    """Match the brackets. Only if that leaves braces open at the end, definitions at the beginning of a line close
    them."""
    found = _Pairer(tokens, source, cut=False).run()
    return _Pairer(tokens, source, cut=True).run() if len(tokens) in found.ends else found


class _Pairer:
    def __init__(self, tokens: list[Token], source: Source, *, cut: bool) -> None:
        self.tokens = tokens
        self.source = source
        self.cut = cut
        self.found = BracketPairs()
        self.stack: list[int] = []
        self.matches: list[int] = []
        """Number of `match` in each open bracket that have no `{` yet."""
        self.suspect: int | None = None
        """A brace whose closing line is indented less than its opening line: likely the unclosed one."""

    def run(self) -> BracketPairs:
        for index, token in enumerate(self.tokens):
            if token.text not in OF_INTEREST:
                continue
            if token.text in OPENING:
                self._close(index, token.text)
            elif token.text in "([{":
                self._open(index, token)
                if len(self.stack) > NESTING:
                    self.found.too_deep = True
                    self.found.problems = [problems.TooDeep(span=self._span(index), limit=NESTING)]
                    return self.found
            elif token.text == "match":
                if self.matches:
                    self.matches[-1] += 1
            elif self.cut and self.stack and self._begins_line(token):
                self._abandon(0, index)
        self._abandon(0, len(self.tokens))
        return self.found

    def _open(self, index: int, token: Token) -> None:
        if token.text == "{" and len(token.choices) == 1 and self.stack:
            if self.matches[-1]:
                self.matches[-1] -= 1
            elif self.tokens[self.stack[-1]].text != "{":
                self._abandon(self._last_brace(), index)
        self.stack.append(index)
        self.matches.append(0)

    def _close(self, index: int, sign: str) -> None:
        depth = len(self.stack)
        while depth and self.tokens[self.stack[depth - 1]].text != OPENING[sign]:
            depth -= 1
        if not depth:
            self.found.strays.add(index)
            self.found.problems.append(problems.StrayBracket(span=self._span(index)))
            return
        self._abandon(depth, index)
        opener = self.stack.pop()
        self.matches.pop()
        self.found.opening.add(opener)
        self.found.openers[index] = opener
        if sign == "}" and self._indent(index) < self._indent(opener):
            self.suspect = opener

    def _last_brace(self) -> int:
        """Return the height of the stack up to its last `{`."""
        return max((n + 1 for n, i in enumerate(self.stack) if self.tokens[i].text == "{"), default=0)

    def _abandon(self, height: int, index: int) -> None:
        """Drop the open brackets above this height: their end is missing before this token."""
        lost = self.stack[height:]
        if not lost:
            return
        braces = [i for i in lost if self.tokens[i].text == "{"]
        self.found.opening.update(braces)
        if braces:
            self.found.ends[index] = len(braces)
        blamed = lost[0]
        if braces:
            blamed = self.suspect if self.suspect is not None and self.suspect > lost[0] else lost[-1]
        place = self.tokens[index].start if index < len(self.tokens) else len(self.source.text)
        end = Span(self.source, place, min(place + 1, len(self.source.text)))
        self.found.problems.append(problems.UnclosedBracket(span=self._span(blamed), end=end))
        del self.stack[height:], self.matches[height:]
        self.suspect = None

    def _span(self, index: int) -> Span:
        token = self.tokens[index]
        return Span(self.source, token.start, token.end)

    def _begins_line(self, token: Token) -> bool:
        return token.start == 0 or self.source.text[token.start - 1] == "\n"

    def _indent(self, index: int) -> int:
        """Return the column where the line of a token begins; for a `}` after something else, one that cannot
        mislead."""
        text, at = self.source.text, self.tokens[index].start
        start = text.rfind("\n", 0, at) + 1
        end = start
        while text[end] in " \t":
            end += 1
        return end - start if self.tokens[index].text == "{" or end == at else 1 << 30
