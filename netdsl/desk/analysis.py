"""The analysis of one version of a document: problems, values of statements, names."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from netdsl.app.analyse import Level, analyse
from netdsl.base.user_error import UserError
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import Report, Work
from netdsl.elaborate.blocks import domain_of
from netdsl.elaborate.context import POISON, Poisoned
from netdsl.elaborate.net import resolve
from netdsl.elaborate.references import Reference, References
from netdsl.ir.net import Node
from netdsl.syntax import ast
from netdsl.syntax.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from netdsl.base.text import Span
    from netdsl.desk.document import Document
    from netdsl.diagnostics.problem import Problem
    from netdsl.elaborate.context import Context
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Attempt, Instance

QUICK_WORK = 300_000
"""Steps of an analysis after each edit, about 0.3 seconds."""
MAX_VALUES = 256
"""Maximum number of values kept of one statement."""


class Values:
    """The values of a statement in the order of its executions, with the context of each; `count` is their number."""

    __slots__ = ("contexts", "count", "nodes")

    def __init__(self) -> None:
        self.count = 0
        self.nodes: list[Node] = []
        self.contexts: list[Context] = []


class DeskAnalysis:
    """The analysis of a version of a document, up to a level.

    `is_too_large` is set if the work for it exceeded what an edit may take; then only syntax errors are known.
    """

    def __init__(self, document: Document, level: Level, module: Module, report: Report) -> None:
        self.document = document
        self.source = document.source
        self.version = document.version
        self.level = level
        self.module = module
        self.report = report
        self.is_too_large = False
        self.attempts: list[Attempt] = []
        self.values: dict[ast.Stmt, Values] = {}

    @cached_property
    def problems(self) -> list[Problem]:
        """The problems of the file and those that it uses, without that of an edit's limited work."""
        stop = self.report.work.problem if self.is_too_large else None
        return [problem for problem in self.report if problem is not stop]

    @cached_property
    def scan(self) -> Scan | None:
        """The tokens and comments of the text; None if it is too long."""
        try:
            return Scan(self.source, Work())
        except Rejected:
            return None

    @cached_property
    def references(self) -> list[Reference]:
        """All names of the text with their definitions, in the order of the text."""
        return References(self.module).table

    @cached_property
    def files(self) -> frozenset[str]:
        """The names of all files that it uses, directly or not."""
        found: set[str] = set()
        todo = [used for used, _ in self.module.uses]
        while todo:
            used = todo.pop()
            if used is not None and used.file.source.name not in found:
                found.add(used.file.source.name)
                todo += [each for each, _ in used.uses]
        return frozenset(found)

    def at(self, offset: int) -> list[Reference]:
        """Return the names at an offset, or that end there, the shortest first."""
        found = [each for each in self.references if each.span.start <= offset <= each.span.end]
        return sorted(found, key=lambda each: (each.span.end - each.span.start, each.span.end == offset))


def analyse_document(
    document: Document,
    level: Level,
    *,
    texts: Mapping[str, str],
    root: str | None,
    limit: int = QUICK_WORK,
    cancelled: Callable[[], bool] | None = None,
) -> DeskAnalysis:
    """Analyze a version of a document. Raises Cancelled."""
    report = Report(Work(limit, cancelled))
    values: dict[ast.Stmt, Values] = {}
    source = document.source

    def observer(stmt: ast.Stmt, context: Context) -> None:
        if stmt.span.source is not source:
            return
        known = values.setdefault(stmt, Values())
        known.count += 1
        if isinstance(context.value, Node) and len(known.nodes) < MAX_VALUES:
            known.nodes.append(context.value)
            known.contexts.append(context)

    def select(module: Module) -> Iterator[Instance]:
        return shown_nets(module, document)

    try:
        found = analyse(source, report, level, root=root, texts=texts, select=select, observer=observer)
    except UserError:  # a root that is no longer there
        found = analyse(source, report, level, texts=texts, select=select, observer=observer)
    analysis = DeskAnalysis(document, level, found.module, report)
    analysis.attempts = found.attempts
    analysis.values = {} if any(each.lacks_defaults for each in found.attempts) else values
    if any(_is_wrong_default(stmt, report) for stmt in values):
        analysis.values = {}
    if report.work.problem is not None and limit == QUICK_WORK:
        analysis.is_too_large = True
        analysis.values = {}
    return analysis


def _is_wrong_default(stmt: ast.Stmt, report: Report) -> bool:
    """Return whether a statement fails to change defaults, so that the layers after it may have other shapes than
    meant."""
    if isinstance(stmt, ast.Broken):
        return stmt.span.text.startswith("default")
    if not isinstance(stmt, ast.Default):
        return False
    source, start, end = stmt.span.source, stmt.span.start, stmt.span.end
    errors = [problem.span for problem in report if problem.severity == "error"]
    return any(span.source is source and start <= span.start < end for span in errors)


def shown_nets(module: Module, document: Document) -> Iterator[Instance]:
    """Yield an instance of each net of a file: the variant that the document shows, or the one with the defaults."""
    for definition in list(module.own.values()):
        if not isinstance(definition, ast.Net):
            continue
        name = definition.name.text
        try:
            yield _variant(module, definition, *document.shown.get(name, ("", "")))
        except Rejected as rejected:
            module.report.add(rejected.problem)
        except Poisoned:
            continue


def _variant(module: Module, definition: ast.Net, key: str, value: str) -> Instance:
    alias = module.own.get(key)
    if isinstance(alias, ast.Alias):
        found = resolve(module, alias, {})
        return found if found.definition is definition else resolve(module, definition, {})
    given: dict[str, tuple[object, Span]] = {}
    for parameter in definition.parameters:
        if parameter.name.text == key:
            for each, text in zip(domain_of(parameter, module.context) or (), domain_texts(parameter), strict=False):
                if text == value:
                    given[key] = each, parameter.name.span
    return resolve(module, definition, given)  # type: ignore[arg-type]


def domain_texts(parameter: ast.Parameter) -> list[str]:
    """Return the values of a parameter's domain as written; none if it is not a list of them."""
    return [item.span.text for item in parameter.domain.items] if isinstance(parameter.domain, ast.List) else []


def sound(value: object) -> bool:
    """Return whether a value is known."""
    return value is not None and value is not POISON
