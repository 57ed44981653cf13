"""The structure of a document: its symbols, what can be folded, the kinds of its words, and lines above its nets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import elements
from netdsl.base.text import Span
from netdsl.desk.analysis import domain_texts
from netdsl.elaborate.module import inner
from netdsl.syntax import ast
from netdsl.syntax.words import ITEM_WORDS, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.syntax.scan import Token


class Symbol:
    """A definition, label, input or output, with those inside it."""

    __slots__ = ("children", "detail", "kind", "name", "span")

    def __init__(self, name: Span, span: Span, kind: str, detail: str = "") -> None:
        self.name = name
        self.span = span
        self.kind = kind
        self.detail = detail
        self.children: list[Symbol] = []


def symbols(analysis: DeskAnalysis) -> list[Symbol]:
    """Return the definitions of a document with the labels in them."""
    found = []
    for item in analysis.module.file.items:
        if isinstance(item, (ast.Net, ast.Alias, ast.Block, ast.Function, ast.Let, ast.Train)):
            symbol = Symbol(item.name.span, item.span, type(item).__name__.lower(), _detail(item))
            body = getattr(item, "body", None)
            _labels(body.statements if isinstance(body, ast.Body) else (), symbol)
            found.append(symbol)
    return found


def _detail(item: ast.Stmt) -> str:
    if isinstance(item, (ast.Net, ast.Block)):
        return ", ".join(parameter.span.text for parameter in item.parameters)
    return f"= {item.target.text}" if isinstance(item, ast.Alias) else ""


def _labels(statements: tuple[ast.Stmt, ...] | list[ast.Stmt], around: Symbol) -> None:
    """Add labels, inputs and outputs of statements, nested as in the text."""
    todo = [(stmt, around) for stmt in reversed(statements)]
    while todo:
        stmt, parent = todo.pop()
        if isinstance(stmt, ast.Labelled):
            symbol = Symbol(stmt.label_span, stmt.span, "label")
        elif isinstance(stmt, (ast.Input, ast.Output)):
            symbol = Symbol(stmt.name.span, stmt.span, type(stmt).__name__.lower())
        else:
            todo += [(each, parent) for each in reversed(inner(stmt))]
            continue
        parent.children.append(symbol)
        todo += [(each, symbol) for each in reversed(inner(stmt))]


def folds(analysis: DeskAnalysis) -> Iterator[tuple[int, int, bool]]:
    """Yield the first and the last line, from 0, of braces over several lines and of runs of comments, and whether they
    are comments."""
    source, scan = analysis.source, analysis.scan
    if scan is None:
        return
    for token in scan.tokens:
        if token.text in ("}", ")", "]") and token.opener is not None:
            first, last = source.position(token.opener.start)[0], source.position(token.start)[0]
            if last > first + 1:
                yield first - 1, last - 2, False
    run: list[int] = []
    for start, _ in [*scan.comments, (len(source.text) + 1, 0)]:
        line = source.position(min(start, len(source.text)))[0] if start <= len(source.text) else -1
        is_alone = line > 0 and not source.line(line)[: start - source.line_starts[line - 1]].strip()
        if run and (not is_alone or line != run[-1] + 1):
            if len(run) > 1:
                yield run[0] - 1, run[-1] - 1, True
            run = []
        if is_alone:
            run.append(line)


TOKEN_KINDS = (
    "keyword",
    "comment",
    "string",
    "number",
    "function",
    "class",
    "variable",
    "parameter",
    "property",
    "enumMember",
    "namespace",
    "operator",
)
"""Kinds of words, in the names of the protocol."""
_OF_REFERENCE = {
    "layer": "function",
    "builtin": "function",
    "function": "function",
    "block": "class",
    "net": "class",
    "value": "variable",
    "variable": "variable",
    "parameter": "parameter",
    "keyword": "property",
    "word": "enumMember",
    "label": "namespace",
    "input": "namespace",
    "output": "namespace",
}
_WORDS = {*STATEMENTS, *ITEM_WORDS, "else", "project", "as", "in", "and", "or", "not", "match", "seq"}


def tokens(analysis: DeskAnalysis) -> list[tuple[int, int, str]]:
    """Return start, end and kind of words, numbers, texts and comments, in the order of the text, none overlapping."""
    scan = analysis.scan
    if scan is None:
        return []
    named = {each.span.start: (each.span.end, _OF_REFERENCE[each.kind]) for each in reversed(analysis.references)}
    found = [(start, end, "comment") for start, end in scan.comments]
    for token in scan.tokens:
        kind = named.get(token.start, (0, ""))[1] if token.text[:1].isidentifier() else ""
        kind = kind or _kind(token)
        if kind:
            found.append((token.start, token.end, kind))
    return sorted(found)


def _kind(token: Token) -> str:
    if token.choices[0] in ("NUMBER", "DIMS", "UNKNOWN"):
        return "number"
    if token.choices[0] == "STRING":
        return "string"
    if token.text in ("on", "off"):
        return "enumMember"
    return "keyword" if token.text in _WORDS and token.choices != ("NAME",) else ""


class Lens:
    """A line above a net: a text, and the variant of a net that it shows, if any."""

    __slots__ = ("command", "span", "text")

    def __init__(self, span: Span, text: str, command: tuple[str, str, str] | None = None) -> None:
        self.span = span
        self.text = text
        self.command = command


def lenses(analysis: DeskAnalysis) -> Iterator[Lens]:
    """Yield the totals of each net, and its variants: the values of its domains, and its aliases."""
    shown = analysis.document.shown
    for item in analysis.module.file.items:
        if isinstance(item, ast.Net):
            name = item.name.text
            yield from (Lens(item.name.span, text) for text in _totals(item, analysis))
            for parameter in item.parameters:
                key, texts = parameter.name.text, domain_texts(parameter)
                default = parameter.default.span.text if parameter.default is not None else ""
                chosen, value = shown.get(name, ("", ""))
                is_alias = isinstance(analysis.module.own.get(chosen), ast.Alias)
                current = value if chosen == key else "" if is_alias else default
                for text in texts if len(texts) <= MAX_VARIANTS else ():
                    mark = "● " if text == current else ""
                    yield Lens(item.name.span, f"{mark}{key} = {text}", (name, key, text))
        elif isinstance(item, ast.Alias) and isinstance(analysis.module.own.get(item.target.text), ast.Net):
            is_shown = shown.get(item.target.text, ("",))[0] == item.name.text
            mark = "● shown" if is_shown else "show shapes"
            yield Lens(item.name.span, mark, (item.target.text, item.name.text, ""))


MAX_VARIANTS = 12
"""Maximum number of values of a domain that are offered."""


def _totals(item: ast.Net, analysis: DeskAnalysis) -> Iterator[str]:
    from netdsl.base.shape import Undecidable
    from netdsl.lower import macs

    for each in analysis.attempts:
        net = each.net
        if each.instance.definition is item and net is not None:
            weights = sum(elements(p.shape) for p in net.parameters.values() if not p.buffer)
            text = f"{weights:,} weights"
            if analysis.level > 1:  # costs take as long as shapes
                try:
                    text += f" · {macs(net):,} MACs"
                except Undecidable:
                    text += " · MACs depend on sizes known at run time"
            yield text
            return
