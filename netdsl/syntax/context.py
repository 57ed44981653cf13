"""What the builders of nodes know about the text and report about its soundness."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from netdsl.base.text import Span
from netdsl.diagnostics import problems
from netdsl.syntax import ast
from netdsl.syntax.scan import MOST_PROBLEMS, Token
from netdsl.syntax.words import RESERVED_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.diagnostics.problem import Problem
    from netdsl.diagnostics.report import Report
    from netdsl.syntax.scan import Scan

    Part = Token | ast.Node
    """A part of a statement or an expression: what the text has there, or the node built from it."""

_N = TypeVar("_N", bound="Token | ast.Node")


def at(parts: Sequence[Part], index: int, kind: type[_N]) -> _N:
    """Return the part at an index, where the grammar has one of this kind."""
    part = parts[index]
    assert isinstance(part, kind), part
    return part


def all_of(parts: Sequence[Part], kind: type[_N]) -> tuple[_N, ...]:
    """Return the parts of a kind."""
    return tuple([part for part in parts if isinstance(part, kind)])


def exprs(parts: Sequence[Part]) -> tuple[ast.Expr, ...]:
    return all_of(parts, ast.Expr)


def has(parts: Sequence[Part], word: str) -> bool:
    """Return whether a keyword is among the parts of a statement."""
    return any(isinstance(part, Token) and part.text == word and part.type != "NAME" for part in parts)


class NodeBuilder:
    """`spoilt` marks the statement being built as unreliable; `sound` is false once any was."""

    __slots__ = ("comments", "complaints", "report", "scan", "sound", "source", "spoilt")

    def __init__(self, scan: Scan, report: Report) -> None:
        self.scan = scan
        self.source = scan.source
        self.report = report
        self.spoilt = False
        self.sound = True
        self.complaints = 0
        self.comments: dict[int, str] | None = None

    def complain(self, problem: Problem) -> None:
        if self.complaints < MOST_PROBLEMS:
            self.report.add(problem)
        self.complaints += 1
        self.sound = False

    def spoil(self) -> None:
        self.spoilt = True
        self.sound = False

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def between(self, first: Part, last: Part) -> Span:
        """Return the span from the beginning of one token or node to the end of another."""
        start = first.start if isinstance(first, Token) else first.span.start
        return Span(self.source, start, last.end if isinstance(last, Token) else last.span.end)

    def name(self, part: Part) -> ast.Name:
        """Return a name where any word is allowed."""
        assert isinstance(part, Token), part
        return ast.Name(self.span(part), part.text)

    def new_name(self, part: Part) -> ast.Name:
        """Return the name of a new definition other than a label."""
        name = self.name(part)
        if name.text in RESERVED_WORDS:
            self.complain(problems.ReservedWord(span=name.span))
        return name

    def new_names(self, parts: Sequence[Part]) -> tuple[ast.Name, ...]:
        return tuple(self.new_name(token) for token in all_of(parts, Token) if token.type == "NAME")

    def documentation(self, span: Span) -> str:
        """Return the comment lines directly above, without their `#`; they belong to the first definition of a line."""
        if self.comments is None:
            self.comments = self._whole_lines()
        line = self.source.position(span.start)[0] - 1
        if self.source.text[self.source.line_starts[line] : span.start].strip():
            return ""
        lines: list[str] = []
        while line in self.comments:
            lines.append(self.comments[line])
            line -= 1
        return "\n".join(reversed(lines))

    def _whole_lines(self) -> dict[int, str]:
        """Return the comments on lines of their own, by line number."""
        text, found = self.source.text, {}
        for start, end in self.scan.comments:
            number = self.source.position(start)[0]
            if not text[self.source.line_starts[number - 1] : start].strip():
                comment = text[start:end].lstrip("#")
                found[number] = comment.removeprefix(" ").rstrip()
        return found
