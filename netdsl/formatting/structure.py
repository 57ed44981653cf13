"""Read the tokens of a text as statements and brackets, each token with what stands before it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.elaborate.lint import ALLOWED
from netdsl.formatting.spacing import separation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from netdsl.syntax.scan import Token

    Part: TypeAlias = "Piece | Group"

_BLANK_LINE = re.compile(r"\n[ \t]*\n")
JOINING = frozenset(("ELSE", "PROJECT"))
"""Terminals that continue a statement behind a newline."""

_OPENING = frozenset(("LBRACE", "HOLE", "GROUP", "CALL", "LIST", "INDEX"))
_DEFINITIONS = frozenset(("NET", "BLOCK", "FN"))
_MERGES = frozenset(("CONCAT", "MERGE"))
_TIGHT_HEADS = _MERGES | {"NAME", "INPUT", "DEFAULT"}
_BREAKABLE = frozenset(("PLUS", "AND", "OR", "IF", "ELSE"))


class Comment:
    """A comment, which is `trailing` on the line of a token, or on a line of its own, with a blank line before it."""

    __slots__ = ("blank", "text", "trailing")

    def __init__(self, text: str, *, trailing: bool, blank: bool) -> None:
        self.text = text
        self.trailing = trailing
        self.blank = blank


class Piece:
    """A token with the gap before it.

    `comments`, `blank` (a blank line), `breaks` (a newline) and `separated` (a separator) are in the gap as written;
    `wide` is its width there, and `column` that of the token. `locked` gaps keep their newline or have none, because
    of a comment that allows warnings on the line. `forced` means that the style keeps the newline.

    `space` is the gap if all is on one line, `begin` and `end` are columns on that line, `forces` counts forced pieces
    up to this one, and `until` is the index of the next one. A line that is too long can break before a `candidate`.
    """

    __slots__ = (
        "begin",
        "blank",
        "breaks",
        "candidate",
        "column",
        "comments",
        "end",
        "forced",
        "forces",
        "index",
        "locked",
        "separated",
        "space",
        "text",
        "type",
        "until",
        "wide",
    )

    def __init__(self, token: Token, index: int) -> None:
        self.text = token.text
        self.type = token.type
        self.index = index
        self.comments: list[Comment] = []
        self.blank = self.breaks = self.separated = self.locked = self.forced = self.candidate = False
        self.space = ""
        self.begin = self.end = self.forces = self.until = self.column = self.wide = 0

    @property
    def open(self) -> Piece:
        return self

    close = open

    def force(self, *, kept: bool) -> None:
        """Decide whether the newline before this piece stays; `kept` is the rule without comments."""
        self.forced = bool(self.comments) or (self.breaks and (kept or self.locked))


class Group:
    """Brackets and what is between them: statements in braces, otherwise parts. `operand` braces are a branch."""

    __slots__ = ("close", "open", "operand", "parts", "statements")

    def __init__(self, open: Piece) -> None:
        self.open = open
        self.close = open
        self.operand = False
        self.parts: list[Part] = []
        self.statements: list[Statement] = []

    @property
    def is_braces(self) -> bool:
        return self.open.type == "LBRACE"

    @property
    def is_breakable(self) -> bool:
        """Whether a line can break in these brackets."""
        return any(part.open.candidate for part in self.parts)


class Statement:
    """A statement, an arm of a `match` or a line of settings. `operands` are its branches, `first` is its first
    operand: all are aligned with it."""

    __slots__ = ("first", "head", "operands", "parts")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.operands: list[Group] = []
        self.first: Part | None = None
        self.head = ""

    @property
    def open(self) -> Piece:
        return self.parts[0].open

    @property
    def close(self) -> Piece:
        return self.parts[-1].close


class Structure:
    """The pieces of a text, the last of which is its end, and its statements."""

    __slots__ = ("pieces", "statements")

    @property
    def allowed(self) -> set[tuple[int, str]]:
        """The pieces on lines that allow a warning, each with the comment."""
        found: set[tuple[int, str]] = set()
        comment = ""
        for piece in reversed(self.pieces):
            if piece.locked:
                found.add((piece.index, comment))
            comment = next((each.text for each in piece.comments if each.trailing), comment)
        return found

    def __init__(self, text: str, tokens: Sequence[Token], comments: Sequence[tuple[int, int]]) -> None:
        """`tokens` are those that the parser accepted, up to `$END`, with types as it resolved them."""
        self.pieces = _pieces(text, tokens, comments)
        self.statements = _Reader(self.pieces).statements("body")
        _measure(self.pieces)


def _pieces(text: str, tokens: Sequence[Token], comments: Sequence[tuple[int, int]]) -> list[Piece]:
    pieces: list[Piece] = []
    allowing: set[int] = set()
    lines: list[int] = []
    rest: Iterator[tuple[int, int]] = iter(comments)
    following = next(rest, None)
    at = end = line = start = 0
    separated = False
    for token in tokens:
        if token.type == "SEP":
            separated = True
            continue
        piece = Piece(token, len(pieces))
        piece.separated, separated = separated, False
        piece.wide = token.start - at
        fresh, detached = not pieces, False
        while following and following[0] < token.start:
            gap, comment = text[at : following[0]], text[following[0] : following[1]].rstrip(" \t")
            trailing = not fresh and "\n" not in gap
            line += gap.count("\n")
            if trailing and ALLOWED.search(comment):
                allowing.add(line)
            blank = detached or _is_apart(gap, piece)
            piece.comments.append(Comment(comment, trailing=trailing, blank=blank))
            detached = not trailing and gap.rstrip(" \t").endswith(";")  # else it would document what follows
            at, fresh = following[1], True
            following = next(rest, None)
        gap = text[at : token.start]
        line += gap.count("\n")
        piece.breaks = "\n" in gap or bool(piece.comments)
        piece.blank = detached or _is_apart(gap, piece)
        start = text.rfind("\n", end, token.start) + 1 or start
        piece.column = token.start - start
        pieces.append(piece)
        lines.append(line)
        at = end = token.end
    for piece, line in zip(pieces, lines, strict=True):
        piece.locked = line in allowing and piece.type != "$END"
    return pieces


def _is_apart(gap: str, piece: Piece) -> bool:
    """Return whether a gap keeps what follows apart: by a blank line, or by a `;` below a comment, which then does not
    document what follows."""
    below = bool(piece.comments) and not piece.comments[-1].trailing
    return bool(_BLANK_LINE.search(gap)) or (below and ";" in gap)


class _Reader:
    """Reads pieces as statements, and decides about spaces and newlines on the way."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces
        self.index = 0

    def statements(self, kind: str) -> list[Statement]:
        """Read statements of a `body`, `settings` or `arms`, up to the end or a closing brace."""
        found: list[Statement] = []
        while (piece := self.pieces[self.index]).type not in ("RBRACE", "$END"):
            piece.force(kept=True)
            piece.space = "; " if found else " "
            found.append(self._statement(kind))
        piece.space = " "
        return found

    def _statement(self, kind: str) -> Statement:
        found = Statement()
        matches, loop = 0, False
        while (piece := self.pieces[self.index]).type not in ("RBRACE", "$END"):
            before = self.pieces[self.index - 1]
            if found.parts:
                if piece.separated:
                    break
                near = piece.type == "GROUP" and found.head in _DEFINITIONS and before.type == "NAME"
                piece.space = "" if near else separation(before, piece, tight=self._is_tight(found, kind, loop))
            matches += piece.type == "MATCH"
            loop = loop or piece.type == "FOR"
            if piece.type == "LBRACE":
                inner = "arms" if matches else "body"
                operand = not matches and not loop and kind == "body" and found.head in _MERGES | {"NAME"}
                if found.head in ("ABOUT", "TRAIN") or (kind == "settings" and not matches):
                    inner = "settings"
                matches, loop = max(0, matches - 1), loop and bool(matches)
                self._place(found, self._braces(inner, operand=operand))
            elif piece.type in _OPENING:
                self._place(found, self._brackets(within=False))
            else:
                self._head(found, piece)
                self._place(found, piece)
                self.index += 1
        return found

    def _is_tight(self, statement: Statement, kind: str, loop: bool) -> bool:
        return kind != "arms" and not loop and statement.head in _TIGHT_HEADS

    def _head(self, statement: Statement, piece: Piece) -> None:
        if piece.type == "COLON":
            statement.head, statement.first = "", None
        elif not statement.head and piece.type != "SEQ":
            statement.head = piece.type

    def _place(self, statement: Statement, part: Part) -> None:
        """Append a part, and keep a newline before it only if it is a further operand, or `else` or `project`."""
        is_operand = isinstance(part, Group) and part.operand
        if statement.parts:
            part.open.force(kept=part.open.type in JOINING or (is_operand and statement.first is not None))
        if is_operand:
            assert isinstance(part, Group)
            statement.operands.append(part)
        begins = statement.head in _MERGES and statement.parts and statement.parts[-1].open.type in _MERGES
        option = part.open.type in ("AXIS", "SPREAD")
        if statement.first is None and (is_operand or (begins and not option)):
            statement.first = part
        statement.parts.append(part)

    def _braces(self, kind: str, *, operand: bool) -> Group:
        group = Group(self.pieces[self.index])
        group.operand = operand
        self.index += 1
        group.statements = self.statements(kind)
        group.close = self.pieces[self.index]
        compact = operand and bool(group.statements) and not group.statements[0].open.breaks
        group.close.force(kept=not compact and bool(group.statements))
        self.index += 1
        return group

    def _brackets(self, *, within: bool) -> Group:
        """Read brackets; all that is `within` an index or a hole is tight."""
        group = Group(self.pieces[self.index])
        within = within or group.open.type in ("INDEX", "HOLE")
        self.index += 1
        loops = commas = False
        while (piece := self.pieces[self.index]).text not in (")", "]", "}"):
            piece.space = separation(self.pieces[self.index - 1], piece, tight=within)
            piece.force(kept=True)
            loops, commas = loops or piece.type == "FOR", commas or piece.type == "COMMA"
            if piece.type == "LBRACE":
                group.parts.append(self._braces("arms", operand=False))
            elif piece.type in _OPENING:
                group.parts.append(self._brackets(within=within))
            else:
                group.parts.append(piece)
                self.index += 1
        piece.force(kept=self.pieces[group.open.index + 1].breaks)
        group.close = piece
        self.index += 1
        for before, part in zip(group.parts, group.parts[1:], strict=False):
            follows = before.close.type == "COMMA" if commas and not loops else part.open.type in _BREAKABLE
            part.open.candidate = not within and (part.open.type == "FOR" if loops else follows)
        return group


def _measure(pieces: list[Piece]) -> None:
    at = forces = 0
    for piece in pieces:
        piece.begin = at + len(piece.space)
        at = piece.end = piece.begin + len(piece.text)
        forces += piece.forced
        piece.forces = forces
    until = len(pieces)
    for piece in reversed(pieces):
        piece.until = until
        if piece.forced:
            until = piece.index
