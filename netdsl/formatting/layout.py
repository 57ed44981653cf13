"""Lay out statements in lines of at most WIDTH columns, with the author's line breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.formatting.columns import WIDTH, Line, Mark, aligned
from netdsl.formatting.structure import JOINING, Group, Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.formatting.structure import Part, Statement, Structure

INDENT = 2

WORTH_BREAKING = 40
"""Columns of brackets from which on they break before those to their left do."""

_OPENERS = frozenset(("LBRACE", "GROUP", "CALL", "LIST", "INDEX", "HOLE"))


def lay_out(structure: Structure) -> str:
    """Return the text of statements and comments."""
    return "".join(f"{line}\n" for line in aligned(_Printer(structure).run()))


class _Printer:
    """Prints pieces one after another.

    `texts` are the parts of the current line, `width` is its width and `indent` its indentation. `scope` is the block
    of statements and `brackets` the outermost brackets around the current piece: columns are aligned within them.
    `tail` is the width of what must follow the current statement on its last line.
    """

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.pieces = structure.pieces
        self.lines: list[Line] = []
        self.texts: list[str] = []
        self.width = self.indent = 0
        self.is_empty = True
        self.comment: str | None = None
        self.marks: list[Mark] = []
        self.scope = self.brackets = -1
        self.tail = 0

    def run(self) -> list[Line]:
        self._statements(self.structure.statements, 0, breaks=True)
        self._place(self.pieces[-1], 0, breaks=True)
        return self.lines

    # Pieces

    def _newline(self, indent: int, *, blank: bool) -> None:
        if not self.is_empty:
            self.lines.append(Line("".join(self.texts), self.comment, self.marks))
            if blank:
                self.lines.append(Line("", None, []))
        self.texts, self.width, self.indent = [" " * indent], indent, indent
        self.comment, self.marks, self.is_empty = None, [], False

    def _write(self, text: str) -> None:
        self.texts.append(text)
        self.width += len(text)

    def _place(self, piece: Piece, indent: int, *, breaks: bool, comments_at: int | None = None) -> None:
        """Print a piece and the comments before it, on a new line if it breaks or has comments."""
        if not breaks and not piece.comments:
            self._mark(piece)
            self._write(piece.space + piece.text)
            return
        opens = piece.index == 0 or self.pieces[piece.index - 1].type in _OPENERS
        for comment in piece.comments:
            if comment.trailing:
                self.comment = comment.text
                continue
            self._newline(indent if comments_at is None else comments_at, blank=comment.blank and not opens)
            self._write(comment.text)
            opens = False
        closes = piece.text in ("", ")", "]", "}")
        self._newline(indent, blank=piece.blank and not opens and not closes)
        self._write(f"; {piece.text}" if self._needs_semicolon(piece) else piece.text)

    def _needs_semicolon(self, piece: Piece) -> bool:
        """Return whether a piece begins a statement, but would continue the one before if only a newline was there."""
        joins = piece.separated and piece.type == "NAME" and piece.text.upper() in JOINING
        return joins and self.pieces[piece.index + 1].type not in ("COLON", "HOLE")

    def _mark(self, piece: Piece) -> None:
        """Note where a piece behind a `;` or `,` stands: such pieces can be in columns."""
        comma = piece.index and self.pieces[piece.index - 1].type == "COMMA"
        if comma or piece.space == "; ":
            key = self.brackets if comma else self.scope
            place = self.width + len(piece.space)
            self.marks.append(Mark((key, bool(comma), piece.column), place, piece.wide > len(piece.space)))

    def _between(self, first: Piece, last: Piece) -> int:
        """Return the width from the beginning of one piece to the end of another, without newlines."""
        return last.end - first.begin

    def _column(self, column: int, otherwise: int) -> int:
        """Return a column to align with, or another one if it is too far to the right."""
        return column if column <= WIDTH else otherwise

    def _fits(self, width: int) -> bool:
        return self.width + width <= WIDTH

    def _leads(self, piece: Piece, last: Piece) -> int:
        """Return the width of a piece and what follows it up to a newline that stays."""
        return self._between(piece, self.pieces[min(piece.until - 1, last.index)])

    # Statements

    def _statements(self, statements: Sequence[Statement], indent: int, *, breaks: bool) -> None:
        """Print statements; `breaks` tells whether the first one is on a new line."""
        tail = self.tail
        for number, statement in enumerate(statements):
            piece, self.tail = statement.open, 0 if number < len(statements) - 1 else tail
            if number:
                width = len(piece.space) + self._leads(piece, statement.close) + self.tail
                breaks = piece.breaks or not (piece.locked or self._fits(width))
                breaks = breaks and not self._needs_semicolon(piece)
            self._place(piece, indent, breaks=breaks)
            self._statement(statement, indent)
        self.tail = tail

    def _statement(self, statement: Statement, indent: int) -> None:
        """Print a statement whose first piece is printed."""
        first, last = statement.open, statement.close
        column = indent + INDENT
        spread = self._is_spread(statement, self.width - len(first.text))
        height = 0
        for number, part in enumerate(statement.parts):
            piece = part.open
            if number:
                is_operand = isinstance(part, Group) and part.operand and part is not statement.first
                if is_operand and not piece.locked:
                    breaks = spread != "" and not self._fits_operand(statement, part, spread)
                    self._place(piece, column, breaks=piece.forced or breaks)
                elif piece.type in JOINING:
                    self._place(piece, indent, breaks=piece.forced and (piece.locked or len(self.lines) == height))
                elif piece.type == "LBRACE" and not is_operand:
                    self._place(piece, indent, breaks=piece.forced)
                else:
                    width = len(piece.space) + self._leads(piece, self._braces_after(statement.parts, number, last))
                    soft = piece.breaks and not piece.locked and not self._fits(width)
                    self._place(piece, column, breaks=piece.forced or soft)
            if part is statement.first:
                column = self._column(self.width - len(piece.text), column)
            if isinstance(part, Group):
                height, following = len(self.lines), statement.parts[number + 1 : number + 2]
                follows = any(isinstance(each, Group) and each.operand for each in following)
                self._group(part, 0 if spread and follows else self._after(statement.parts, number, last))

    def _braces_after(self, parts: Sequence[Part], number: int, last: Piece) -> Piece:
        """Return the next brace behind which a line can break, or the last piece."""
        groups = (part for part in parts[number + 1 :] if isinstance(part, Group) and part.is_braces)
        return next((group.open for group in groups if group.statements), last)

    def _is_spread(self, statement: Statement, column: int) -> str:
        """Return whether operands begin lines: `each` of them, `some` where they do not fit, or none."""
        operands = [group for group in statement.operands if group is not statement.first]
        if not operands:
            return ""
        if any(group.open.forced for group in operands):
            return "some"
        whole = statement.open.forces == statement.close.forces
        fits = column + self._between(statement.open, statement.close) + self.tail <= WIDTH
        return "each" if whole and not fits else ""

    def _fits_operand(self, statement: Statement, part: Part, spread: str) -> bool:
        if spread == "each":
            return False
        width = min(self._leads(part.open, statement.close), self._leads(part.open, part.close))
        return self._fits(len(part.open.space) + width + (self.tail if part is statement.parts[-1] else 0))

    def _after(self, parts: Sequence[Part], number: int, last: Piece) -> int:
        """Return the width of what follows a part up to where a line can break; more than WIDTH is not measured."""
        part = parts[number]
        stop = self.pieces[min(part.close.until - 1, last.index)]
        for at in range(number + 1, len(parts)):
            following = parts[at]
            if following.open.index > stop.index or self._between(part.close, following.open) > WIDTH:
                break
            wide = self._between(following.open, following.close) > WORTH_BREAKING
            if wide and isinstance(following, Group) and following.is_breakable:
                stop = following.open
                break
        width = stop.end - part.close.end
        return width + self.tail if stop is last else width

    # Groups

    def _group(self, group: Group, tail: int) -> None:
        """Print brackets whose opening one is printed; `tail` is the width of what follows."""
        whole = group.open.forces == group.close.forces
        is_empty = group.is_braces and not group.statements
        if whole and (is_empty or group.close.locked or self._fits(group.close.end - group.open.end + tail)):
            outer = self._enter(group)
            for piece in self.pieces[group.open.index + 1 : group.close.index + 1]:
                self._place(piece, 0, breaks=False)
            self.brackets = outer
        elif group.is_braces:
            self._braces(group, tail)
        else:
            outer = self._enter(group)
            self._brackets(group, tail)
            self.brackets = outer

    def _enter(self, group: Group) -> int:
        """Note the outermost brackets, and return the former ones."""
        outer = self.brackets
        if outer < 0 and not group.is_braces:
            self.brackets = group.open.index
        return outer

    def _braces(self, group: Group, tail: int) -> None:
        line, column, close = self.indent, self.width - 1, group.close
        if not group.statements:
            self._place(close, line, breaks=True, comments_at=line + INDENT)
            return
        opens = self._opens(group)
        inner = line + INDENT if opens else self._column(column + INDENT, line + INDENT)
        kept = self.scope, self.brackets, self.tail
        self.tail = 0 if opens else tail + len(close.space) + len(close.text)
        if opens:
            self.scope, self.brackets = group.open.index, -1
        self._statements(group.statements, inner, breaks=opens)
        self.scope, self.brackets, self.tail = kept
        breaks = close.breaks if close.locked else opens
        self._place(close, line if opens else inner - INDENT, breaks=breaks, comments_at=inner)

    def _opens(self, group: Group) -> bool:
        """Return whether the first statement in braces that take several lines is on a line of its own."""
        first = group.statements[0].open
        if first.comments or first.locked:
            return first.breaks
        if group.operand and not any(statement.head == "FOR" for statement in group.statements[1:]):
            return first.breaks  # a `for` below a merge must not be indented more than it
        return not self._hugs(group)

    def _hugs(self, group: Group) -> bool:
        """Return whether braces have no newline but those in the braces at their end: `a: { repeat n {`."""
        last = group.statements[-1].parts[-1]
        if not (isinstance(last, Group) and last.is_braces and last.statements and last.statements[0].open.breaks):
            return False
        alone = last.open.forces == group.open.forces and last.close.forces == group.close.forces
        return alone and self._fits(last.open.end - group.open.end)

    def _brackets(self, group: Group, tail: int) -> None:
        """Print brackets over several lines: where the author broke them, and where a line would be too long."""
        line, column, close = self.indent, self.width, group.close
        hangs = self.pieces[group.open.index + 1].forced
        inner = line + INDENT if hangs else self._column(column, line + INDENT)
        candidates = [part.open for part in reversed(group.parts) if part.open.candidate]
        for number, part in enumerate(group.parts):
            piece = part.open
            while candidates and candidates[-1].index <= piece.index:
                candidates.pop()
            stop = self.pieces[candidates[-1].index - 1] if candidates else close
            breaks = piece.forced
            if piece.candidate and not piece.locked:
                width = self._leads(piece, stop) + (tail if stop is close and piece.until > close.index else 0)
                breaks = breaks or not self._fits(len(piece.space) + width)
            self._place(piece, inner, breaks=breaks)
            if isinstance(part, Group):
                rest = tail if stop is close else 0
                kept, self.tail = self.tail, rest
                self._group(part, self._after(group.parts, number, stop))
                self.tail = kept
        self._place(close, line if hangs else inner - 1, breaks=close.forced, comments_at=inner)
        self.indent = line
