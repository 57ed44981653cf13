"""Format a text, and prove that the result says the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.text import Source, Span
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.report import Report
from netdsl.diagnostics.text_problems import StrayBracket
from netdsl.formatting.layout import lay_out
from netdsl.formatting.structure import Structure
from netdsl.syntax import ast
from netdsl.syntax.parse import parse_tokens
from netdsl.syntax.scan import Token

if TYPE_CHECKING:
    from netdsl.syntax.parse import Parsed

_HEAD = "net body {\n"
_TAIL = "\n}\n"
_LINE_END = re.compile("\r\n|\n|\r")


class FormatterBug(UserError, code="E0910", title="a formatted text that differs", exit_code=USAGE_IS_WRONG):
    """Before `netdsl fmt` writes a file, it compares tokens, comments, syntax tree and allowed warnings of the result
    with those of the file, and formats the result once more. A difference is a bug of the formatter: the file is not
    changed. Please report it with the file.

    ```sh
    netdsl fmt net.net
    ```
    """


class _Body(Source):
    """The statements of a body as a whole text, with the line numbers that they have without it."""

    __slots__ = ()

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.text = f"{_HEAD}{self.text}{_TAIL}"

    def position(self, offset: int) -> tuple[int, int]:
        line, column = super().position(offset)
        return line - 1, column

    def line(self, number: int) -> str:
        return super().line(number + 1)


def format_text(text: str, name: str, report: Report, *, body: bool = False) -> str | None:
    """Return a text in the canonical style, with its line endings and byte order mark; None if it does not parse.

    `body` is the text of statements in a net instead of a file. Problems go to the report. Raises FormatterBug.
    """
    source = _source(name, text, body)
    parsed = parse_tokens(source, report)
    if parsed.file.broken or not _is_whole(parsed, report):
        return None
    structure = _structure(source, parsed)
    done = lay_out(structure)
    if done != Source(name, text).text:
        _prove(parsed, structure, done, _source(name, done, body))
    end = _LINE_END.search(text)
    mark = text[: len(text) - len(text.removeprefix("\ufeff"))]
    return mark + (done.replace("\n", end[0]) if end else done)


def _source(name: str, text: str, body: bool) -> Source:
    return _Body(name, text) if body else Source(name, text)


def _is_whole(parsed: Parsed, report: Report) -> bool:
    """Return whether a text does not close the braces that are put around it; otherwise report where it does."""
    source = parsed.file.source
    if not isinstance(source, _Body) or len(parsed.file.items) == 1:
        return True
    stray = next(token for token in parsed.tokens if token.opener is parsed.tokens[2])
    report.add(StrayBracket(span=Span(source, stray.start, stray.end)))
    return False


def _prove(parsed: Parsed, before: Structure, done: str, source: Source) -> None:
    """Raise FormatterBug unless the result, as a source, says the same as the text, and is formatted."""
    again = parse_tokens(source, Report())
    if again.file.broken:
        raise _bug(source.name, "does not parse")
    after = _structure(source, again)
    if not ast.same(parsed.file, again.file):
        raise _bug(source.name, "has another syntax tree")
    if _tokens(before) != _tokens(after):
        raise _bug(source.name, "has other tokens")
    if _comments(before) != _comments(after):
        raise _bug(source.name, "has other comments")
    if before.allowed != after.allowed:
        raise _bug(source.name, "allows other warnings")
    if lay_out(after) != done:
        raise _bug(source.name, "would be formatted differently")


def _bug(name: str, what: str) -> FormatterBug:
    return FormatterBug(f"cannot format {name}: the result {what}", "the file is unchanged; please report this")


def _structure(source: Source, parsed: Parsed) -> Structure:
    """Return the structure of a file, or of the statements of a body."""
    tokens = list(parsed.tokens)
    if isinstance(source, _Body):
        last = next(number for number in reversed(range(len(tokens))) if tokens[number].type == "RBRACE")
        tokens = [*tokens[3:last], Token(("$END",), "", tokens[last].start)]
    return Structure(source.text, tokens, parsed.comments)


def _tokens(structure: Structure) -> list[tuple[str, str]]:
    return [(piece.type, piece.text) for piece in structure.pieces]


def _comments(structure: Structure) -> list[str]:
    return [comment.text for piece in structure.pieces for comment in piece.comments]
