"""Analyze a file up to a level: its syntax, the shapes of some nets, all nets, advice."""

from __future__ import annotations

from collections import ChainMap
from enum import IntEnum
from typing import TYPE_CHECKING

from netdsl.app.frontend import Origin, attempt_entry, open_module
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.lint import warn
from netdsl.elaborate.net import attempt, entry_net, instances, resolve
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from netdsl.base.text import Source
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.builder import Observer
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Attempt, Instance
    from netdsl.ir.net import Net


class Level(IntEnum):
    """How far a file is analyzed; each level includes those below."""

    SYNTAX = 0
    """Parse the file and those that it uses."""
    SHAPES = 1
    """Elaborate the selected nets, by default the entry, and evaluate constants and `train` blocks."""
    ALL = 2
    """Elaborate every net, with each value of each domain."""
    ADVICE = 3
    """Verify suggestions, and report warnings."""


class Analysis:
    """The analysis of a file: `wanted` is the net that FILE:NET names, `attempts` are the elaborated nets."""

    __slots__ = ("attempts", "module", "wanted")

    def __init__(self, module: Module, wanted: str | None, attempts: list[Attempt]) -> None:
        self.module = module
        self.wanted = wanted
        self.attempts = attempts


def analyse(
    file: str | Source,
    report: Report,
    level: Level,
    *,
    settings: Sequence[str] = (),
    root: str | None = None,
    texts: Mapping[str, str] | None = None,
    select: Callable[[Module], Iterable[Instance]] | None = None,
    observer: Observer | None = None,
) -> Analysis:
    """Analyze a file, with `texts` instead of files. Raises UserError, and Cancelled if the work of the report is.

    A net that FILE:NET names, or with settings, is the only one that is elaborated. `select` returns the nets to be
    elaborated first, with the observer.
    """

    def check(report: Report, edited: Mapping[str, str]) -> Analysis:
        instead = ChainMap(dict(edited), texts or {})  # type: ignore[arg-type]  # neither is written to
        module, wanted = open_module(file, report, root, instead)
        found = Analysis(module, wanted, [])
        if level >= Level.SHAPES:
            if select is not None and not edited:
                found.attempts = [attempt(each, observer) for each in select(module)]
            if wanted is not None or settings or (level == Level.SHAPES and select is None):
                tried = attempt_entry(module, wanted, settings)
                found.attempts += [] if tried is None else [tried]
            else:
                module.check_lets()
                found.attempts += [attempt(each) for each in _all(module)] if level >= Level.ALL else []
        return found

    found = check(report, {})
    if level == Level.ADVICE:
        if report.errors:
            from netdsl.app.repair import verify_suggestions

            verify_suggestions(report, found.module.file.source, check)
        warn(found.module, dict.fromkeys(each.net for each in found.attempts))
    return found


def _all(module: Module) -> list[Instance]:
    """Return every net of a file, with each value of each domain, or those of other files that it trains or uses."""
    report = module.report
    found = instances(module)
    blocks = any(isinstance(item, (ast.Block, ast.Function, ast.Let)) for item in module.file.items)
    if not found and not blocks and not report.errors:
        trained: list[str | None] = [item.name.text for item in module.file.items if isinstance(item, ast.Train)]
        try:
            found = [resolve(*entry_net(module, name), {}) for name in trained or [None]]
        except Rejected as rejected:
            report.add(rejected.problem)
    return found


def check_file(
    file: str | Source,
    report: Report,
    *,
    settings: Sequence[str] = (),
    root: str | None = None,
    texts: Mapping[str, str] | None = None,
) -> list[str] | None:
    """Check every net of a file, with each value of each domain. Raises UserError.

    Returns the names of the nets, and `train NAME` for a net of another file that is trained here. If one net is
    requested (`FILE:NET`, or a name of the zoo), or with settings, only that net is checked. With `texts` instead of
    files, neither suggestions are verified nor warnings reported.
    """
    level = Level.ADVICE if texts is None else Level.ALL
    found = analyse(file, report, level, settings=settings, root=root, texts=texts)
    module = found.module
    if found.wanted is not None or settings:
        return [each.net.name for each in found.attempts if each.net and not report.errors] or None
    own = [name for name, item in module.own.items() if isinstance(item, (ast.Net, ast.Alias))]
    trained = [item.name.text for item in module.file.items if isinstance(item, ast.Train)]
    return [*own, *(f"train {name}" for name in trained if name not in own)]


def load_nets(source: Source, report: Report) -> dict[str, tuple[Net, Origin]]:
    """Return all nets of a text by name, with default parameters, and their origins. Raises UserError."""
    module, _ = open_module(source, report)
    module.check_lets()
    found: dict[str, tuple[Net, Origin]] = {}
    for name, item in module.own.items():
        if isinstance(item, (ast.Net, ast.Alias)):
            tried = attempt_entry(module, name, {})
            if tried is not None and tried.net is not None and not report.errors:
                found[name] = tried.net, Origin(source, source, {}, name)
    if report.errors:
        from netdsl.app.repair import verify_suggestions

        verify_suggestions(report, source, lambda again, texts: check_file(source, again, texts=texts))
    warn(module, [net for net, _ in found.values()])
    return found
