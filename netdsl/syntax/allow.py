"""Comments that allow a warning: `# allow W0301` at the end of its line, optionally followed by a reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.diagnostics.report import Work
from netdsl.syntax.scan import Scan

if TYPE_CHECKING:
    from netdsl.base.text import Source
    from netdsl.diagnostics.report import Report

ALLOWED = re.compile(r"#[ \t]*allow((?:[ \t,]+W\d{4}\b)+)")


def silence(report: Report) -> None:
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
