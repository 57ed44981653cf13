"""From a token that does not fit to what its author most likely got wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.diagnostics.problem import Edit, Help
from netdsl.diagnostics.suggest import suggest
from netdsl.diagnostics.syntax_problems import (
    CommaInCall,
    EqualsInCall,
    ItemInside,
    ParenthesesInCall,
    StatementOutside,
    UnexpectedToken,
    UnknownItem,
    before,
)
from netdsl.diagnostics.text_problems import shortened
from netdsl.syntax.words import FOREIGN, ITEMS, STATEMENTS, readable
from netdsl.text import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lark.parsers.lalr_interactive_parser import InteractiveParser

    from netdsl.diagnostics.problem import Problem
    from netdsl.syntax.tokens import Token
    from netdsl.text import Source


class Found:
    """A problem, and how the parser can go on without loss: `harmless` passes over the token, `separate` ends the
    statement before it. None for what the lexer has reported.
    """

    __slots__ = ("harmless", "problem", "separate")

    def __init__(self, problem: Problem | None, *, harmless: bool = False, separate: bool = False) -> None:
        self.problem = problem
        self.harmless = harmless
        self.separate = separate


class Mistake:
    """The token numbered `index` does not fit into the statement that begins at `start`.

    `level` is what the grammar takes at the statement's beginning; `head` the number of the statement's first token
    behind its label.
    """

    def __init__(
        self,
        source: Source,
        tokens: list[Token],
        start: int,
        index: int,
        level: Mapping[str, Any],
        cursor: InteractiveParser,
    ) -> None:
        self.source = source
        self.tokens = tokens
        self.start = start
        self.index = index
        self.level = level
        self.cursor = cursor
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
        """The word at the statement's head."""
        return self.tokens[self.head].text if self.head < len(self.tokens) else ""

    @property
    def in_call(self) -> bool:
        """Whether the token stands among the arguments of a call, or the values of a setting."""
        head = self.tokens[self.head]
        is_call = head.type == "NAME" or head.text in ("default", "input", "expect")
        return self.index > self.head and is_call and self.token.outer is head.outer and "ARROW" not in self.level

    def accepted(self) -> set[str]:
        """The terminals that could stand here."""
        found: set[str] = self.cursor.accepts()  # type: ignore[no-untyped-call]
        return found

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)


def explain(mistake: Mistake) -> Found:
    """What is wrong, in the words that fit best."""
    if not mistake.at_end and mistake.token.type == "BAD":
        return Found(None)
    for attempt in (_outside, _inside, _in_parentheses, _punctuation, _unseparated):
        if found := attempt(mistake):
            return found
    return Found(_unexpected(mistake))


def _outside(mistake: Mistake) -> Found | None:
    """A word that begins no definition, at the file's level."""
    if "USE" not in mistake.level or mistake.index != mistake.start or mistake.at_end:
        return None
    token = mistake.token
    span = mistake.span(token)
    if "NAME" not in token.choices:
        return None
    following = mistake.tokens[mistake.index + 1 : mistake.index + 2]
    named = bool(following) and ("NAME" in following[0].choices or following[0].type == "STRING")
    if token.text not in STATEMENTS and named and (near := suggest(token.text, (*ITEMS, *FOREIGN))):
        return Found(UnknownItem(span=span, candidate=FOREIGN.get(near[0], near[0])))
    return Found(StatementOutside(span=span))


def _inside(mistake: Mistake) -> Found | None:
    """A definition among statements."""
    if "SKIP" not in mistake.level or mistake.at_end or mistake.word not in ("net", "block", "fn", "train", "use"):
        return None
    head = mistake.tokens[mistake.head]
    return Found(ItemInside(span=mistake.span(head))) if mistake.index > mistake.head else None


def _in_parentheses(mistake: Mistake) -> Found | None:
    """`conv(3x3, 64)`."""
    behind = mistake.tokens[mistake.head + 1 : mistake.head + 2]
    if not behind or "SKIP" not in mistake.level or mistake.index <= mistake.head + 1:
        return None
    head = mistake.tokens[mistake.head]
    if head.type != "NAME" or behind[0].text != "(" or behind[0].start != head.end:
        return None
    return Found(parentheses_in_call(mistake.source, mistake.span(head), mistake.tokens, behind[0]))


def parentheses_in_call(source: Source, head: Span, tokens: list[Token], opening: Token) -> ParenthesesInCall:
    """The problem, with the edits that take the parentheses and their commas away."""
    edits: list[Edit] = []
    for token in tokens[opening.index + 1 :]:
        if token.opener is opening:
            span = Span(source, opening.start, token.end)
            last = Span(source, token.start, token.end)
            edits = [Edit(Span(source, opening.start, opening.end), " "), *edits, Edit(last, "")]
            return ParenthesesInCall(span=head.to(span), name=head.text, edits=tuple(edits))
        if token.type == "SEP":
            break
        if token.outer is opening and token.text in (",", "="):
            follows = source.text[token.end : token.end + 1]
            edits.append(Edit(Span(source, token.start, token.end), "" if follows in (" ", "\n") else " "))
    return ParenthesesInCall(span=head, name=head.text)


def _punctuation(mistake: Mistake) -> Found | None:
    """A comma, or a `=`, among arguments."""
    if mistake.at_end or mistake.token.text not in (",", "=") or not mistake.in_call:
        return None
    token, last = mistake.token, mistake.tokens[mistake.index - 1]
    text = mistake.source.text
    end = token.end + (text[token.end : token.end + 1] == " ")
    gap = Span(mistake.source, last.end, end)
    if token.text == ",":
        return Found(CommaInCall(span=mistake.span(token), gap=gap), harmless=True)
    if "NAME" not in last.choices:
        return None
    assignment = mistake.index == mistake.head + 1 and "SKIP" in mistake.level
    problem = EqualsInCall(span=mistake.span(token), name=mistake.span(last), gap=gap, assignment=assignment)
    return Found(problem, harmless=not assignment)


def _unseparated(mistake: Mistake) -> Found | None:
    """A statement right behind the `}` of another."""
    if mistake.at_end or mistake.index == 0 or mistake.index == mistake.start:
        return None
    last = mistake.tokens[mistake.index - 1]
    if last.text != "}" or "NAME" not in mistake.token.choices or "SEP" not in mistake.accepted():
        return None
    return Found(_unexpected(mistake), separate=True)


def _unexpected(mistake: Mistake) -> UnexpectedToken:
    accepted = mistake.accepted()
    if mistake.at_end:
        end = len(mistake.source.text)
        return UnexpectedToken(
            span=Span(mistake.source, end, end), found="end of the file", expected=readable(accepted)
        )
    token = mistake.token
    return UnexpectedToken(
        span=mistake.span(token), found=_called(token), expected=readable(accepted), advice=_advice(mistake, accepted)
    )


def _called(token: Token) -> str:
    if token.type == "SEP":
        return "end of the line" if token.is_newline else "`;`"
    return f"`{shortened(token.text)}`" if token.text else "end of the file"


def _advice(mistake: Mistake, accepted: set[str]) -> Help | None:
    """A hint, for mistakes that are made often."""
    token = mistake.token
    if token.type == "IF" and mistake.in_call:
        return Help("put a value with `if` into parentheses: `conv 3x3 (64 if wide else 32)`")
    inside = token.outer and token.outer.type == "HOLE"
    hole = token.outer if inside else mistake.tokens[mistake.index - 1].opener
    if hole and hole.type == "HOLE" and (inside or "LBRACE" in accepted):
        return Help("a `{` that touches a word interpolates a label", Edit(before(mistake.span(hole)), " "))
    if "NAME" in token.choices:
        words = [kind.lower() for kind in accepted if kind.isalpha() and len(kind) > 1]
        if near := suggest(token.text, words):
            return Help(f"did you mean `{near[0]}`?", Edit(mistake.span(token), near[0]))
    if token.text == "," and "RPAR" in accepted:
        return Help("several values are a list, `[a, b]`")
    return None
