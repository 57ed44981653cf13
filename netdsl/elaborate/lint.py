"""Warnings about a file and its nets, once both are free of errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.diagnostics.report import Work
from netdsl.syntax.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Source
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.module import Module
    from netdsl.ir.net import Net

ALLOWED = re.compile(r"#[ \t]*allow((?:[ \t,]+W\d{4}\b)+)")
"""A comment that allows warnings on its line, such as `# allow W0301`, optionally followed by a reason."""


def warn(module: Module, nets: Iterable[Net | None]) -> None:
    """Report warnings about a file and its nets, except for allowed ones. If there are errors, warnings would only
    distract from them."""
    report = module.report
    if not report.errors:
        from netdsl.elaborate import advice, unused

        sound = [net for net in nets if net is not None]
        unused.check_names(module)
        advice.check_nets(sound, report)
        advice.check_trainings(module.recipes, report)
    if report.warnings:
        _silence(report)


def _silence(report: Report) -> None:
    """Remove allowed warnings from a report, those on lines with such a comment; errors remain."""
    known: dict[int, set[tuple[int, str]]] = {}
    for problem in list(report):
        source = problem.span.source
        if problem.severity == "warning" and ALLOWED.search(source.text):
            if id(source) not in known:
                known[id(source)] = _allowed(source)
            if (source.position(problem.span.start)[0], problem.code) in known[id(source)]:
                report.discard(problem)


def _allowed(source: Source) -> set[tuple[int, str]]:
    """Return the lines of a text that allow a warning, each with its codes."""
    return {
        (source.position(start)[0], code)
        for start, end in Scan(source, Work()).comments
        for found in ALLOWED.finditer(source.text, start, end)
        for code in re.findall(r"W\d{4}", found[1])
    }
