"""Split text into tokens and comments: one pass over characters, one over brackets, one over separators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from netdsl.base.text import Span
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import TOKEN
from netdsl.syntax.brackets import pair
from netdsl.syntax.characters import HIDDEN, character_problems
from netdsl.syntax.numbers import number_problem
from netdsl.syntax.table import TOUCHING, lexicon

if TYPE_CHECKING:
    from netdsl.base.text import Source
    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Work
    from netdsl.syntax.brackets import BracketPairs

SEPARATOR = ("SEP",)
BAD = ("BAD",)
"""Type of a piece that the lexer has reported; no rule accepts it, so its statement is dropped without another
error."""

MOST_PROBLEMS = 100
"""Maximum number of problems per file and step."""

_LABEL = re.compile(r"(?:\{[^{}\n;]*\}[A-Za-z0-9_]*)*:")
_BRACE = re.compile(r"(?:\s|#[^\n]*\n)*\{")
HIDING = re.compile(f"[{HIDDEN}]")
JOINING = ("else", "project")
"""Words that continue the previous statement across newlines."""


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


class Scan:
    """The tokens of a text, its comments as (start, end), and the problems of its characters and brackets.

    Raises Rejected if there are more tokens than the remaining work allows.
    """

    __slots__ = ("comments", "problems", "source", "tokens", "too_deep", "work")

    def __init__(self, source: Source, work: Work) -> None:
        self.source = source
        self.work = work
        self.comments: list[tuple[int, int]] = []
        self.problems: list[Problem] = []
        pieces = self._pieces()
        pairing = pair(pieces, source)
        if not any(isinstance(problem, problems.UnterminatedText) for problem in self.problems):
            self.problems += pairing.problems  # otherwise the missing bracket may be in that text
        self.too_deep = pairing.too_deep
        self.tokens = _separated(pieces, pairing)
        for index, token in enumerate(self.tokens):
            token.index = index

    def _pieces(self) -> list[Token]:
        """Return every piece of the text except spaces and comments."""
        text = self.source.text
        illegal = [match.start() for match in HIDING.finditer(text)]
        tokens: list[Token] = []
        for match in lexicon().pieces.finditer(text):
            kind, piece, start = match.lastgroup, match.group(), match.start()
            if kind == "space":
                continue
            self.work.left -= TOKEN
            if self.work.left < 0:
                self._stop(tokens, Span(self.source, start, match.end()))
            if kind == "comment":
                self.comments.append((start, match.end()))
                continue
            if kind == "quoted":
                illegal += [start, match.end() - 1]
            if kind == "illegal":
                if piece in HIDDEN:
                    continue
                illegal.append(start)
                if piece.isspace():
                    continue
            tokens.append(Token(self._choices(kind or "", piece, start), piece, start))
        self.problems += character_problems(self.source, sorted(illegal))
        return tokens

    def _stop(self, tokens: list[Token], span: Span) -> NoReturn:
        """Raise Rejected for a text that is too long, unless it has a more serious problem."""
        pairing = pair(tokens, self.source)
        if pairing.too_deep:
            raise Rejected(pairing.problems[0])
        self.work.stop(span)

    def _choices(self, kind: str, piece: str, start: int) -> tuple[str, ...]:
        """Return the terminals that this piece can be, the most specific first."""
        words = lexicon()
        match kind:
            case "word":
                return self._word(piece, start)
            case "newline":
                return SEPARATOR
            case "sign":
                return words.literals[piece]
            case "bracket":
                near = words.touching[piece].match(self.source.text, start)
                return TOUCHING[piece] if near else TOUCHING[piece][1:]
            case "number":
                return self._number(piece, start)
            case "tail":
                return ("TAIL",) if piece[0].isdigit() else ("TAIL", *self._word(piece, start))
            case "text" | "field" | "dot":
                return ("STRING",) if kind == "text" else (kind.upper(),)
            case "open":
                trimmed = piece.rstrip()
                self.problems.append(problems.UnterminatedText(span=Span(self.source, start, start + len(trimmed))))
            case "point":
                span = Span(self.source, start, start + len(piece))
                self.problems.append(
                    problems.MalformedNumber(span=span, reason="it begins with a point", instead=f"0{piece}")
                )
        return BAD

    def _word(self, word: str, start: int) -> tuple[str, ...]:
        keyword = lexicon().literals.get(word)
        if keyword is None:
            return ("NAME",)
        text, end = self.source.text, start + len(word)
        if text[end : end + 1] in (":", "{") and _LABEL.match(text, end):
            return ("NAME",)
        if word == "seq" and not _BRACE.match(text, end) and not text[:start].endswith((":", ": ")):
            return ("NAME", *keyword)  # it may be the name of a block
        return (*keyword, "NAME")

    def _number(self, word: str, start: int) -> tuple[str, ...]:
        words = lexicon()
        problem = number_problem(Span(self.source, start, start + len(word)), words)
        if problem:
            self.problems.append(problem)
            return BAD
        if words.number.fullmatch(word):
            return ("NUMBER",)
        return ("DIMS",) if words.dims.fullmatch(word) else ("UNKNOWN",)


def _separated(pieces: list[Token], pairing: BracketPairs) -> list[Token]:
    """Return the tokens with their brackets, with runs of separators joined and newlines without effect removed."""
    tokens: list[Token] = []
    stack: list[Token] = []
    for index, token in enumerate(pieces):
        if ends := pairing.ends.get(index):
            _close(tokens, stack, ends, token.start)
        if index in pairing.strays:
            continue
        inside = stack[-1] if stack else None
        if token.type == "SEP":
            if token.is_newline and inside and inside.text != "{":
                continue
            if tokens and tokens[-1].type == "SEP":
                if not token.is_newline:
                    tokens[-1].text = token.text
                tokens[-1].end = token.end
                continue
        elif tokens and tokens[-1].is_newline and _joins(token):
            tokens.pop()
        if index in pairing.openers:
            token.opener = stack.pop()
            inside = stack[-1] if stack else None
        elif token.text in ("(", "[") and index not in pairing.opening:
            token.choices, token.type = BAD, "BAD"
        token.outer = inside
        tokens.append(token)
        if index in pairing.opening:
            stack.append(token)
    if ends := pairing.ends.get(len(pieces)):
        _close(tokens, stack, ends, pieces[-1].end)
    return tokens


def _joins(token: Token) -> bool:
    return token.text == "{" or (token.text in JOINING and token.choices != ("NAME",))


def _close(tokens: list[Token], stack: list[Token], count: int, offset: int) -> None:
    """Insert missing `}`, so that the braces before them are complete."""
    for _ in range(count):
        brace = Token(("RBRACE",), "", offset)
        brace.opener = stack.pop()
        brace.outer = stack[-1] if stack else None
        tokens.append(brace)
    if count and not stack:
        tokens.append(Token(SEPARATOR, "", offset))
