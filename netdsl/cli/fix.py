"""`netdsl check --fix`: what is safe to mend is mended, and said."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from netdsl.cli.output import signals_clean_up
from netdsl.cli.problems import note
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.report import Report
from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError
from netdsl.files import read_text, write_all
from netdsl.frontend import check_file
from netdsl.text import Source, Span

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from netdsl.diagnostics.problem import Help, Problem

ROUNDS = 20
"""So many times at most a file is checked anew for what earlier fixes brought to light."""


class CannotFix(UserError, code="E0622", exit_code=USAGE_IS_WRONG):
    """`check --fix` writes into the files that it is given, and so takes no standard input and no shipped network."""


def fix(file: str, options: argparse.Namespace) -> None:
    """Mend what is safe in a file and the files that it uses: write them, or with `--diff` alone show the change.

    A fix is kept only if what it mends is gone, and nothing new is wrong where it was made; what else comes to light
    stood behind what was mended. Raises UserError.
    """
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    report = _checked(file, options, after)
    for _ in range(ROUNDS):
        for problem, _ in _safe(report):
            name = problem.span.source.name
            if name not in before:
                before[name] = after[name] = _raw(name)
        done = _round(file, options, report, after)
        if not done:
            break
        for problem, help in done:
            note(f"{escape(str(problem.span))}: {problem.message()}: {help.text}")
        report = _checked(file, options, after)
    changed = [name for name, text in before.items() if after[name] != text]
    for name in changed:
        if options.diff:
            _show(name, before[name], after[name])
    if options.fix:
        with signals_clean_up():
            write_all({name: after[name].encode() for name in changed})


def _checked(file: str, options: argparse.Namespace, texts: dict[str, str]) -> Report:
    report = Report()
    check_file(file, report, settings=options.set, root=options.root, texts=texts)
    return report


def _safe(report: Report) -> list[tuple[Problem, Help]]:
    """The problems that have one safe repair, and that one."""
    found = []
    for problem in report:
        safe = [help for help in problem.offers() if help.safe and help.edits]
        if len(safe) == 1 and all(edit.span.source is problem.span.source for edit in safe[0].edits):
            found.append((problem, safe[0]))
    return found


def _round(file: str, options: argparse.Namespace, report: Report, texts: dict[str, str]) -> list[tuple[Problem, Help]]:
    """Put the fixes that help into the texts: all at once where that works, else one by one."""
    fixes = _safe(report)
    for some in [fixes, *([each] for each in fixes)] if fixes else []:
        tried = dict(texts)
        for name in {problem.span.source.name for problem, _ in some}:
            edits = [e for problem, help in some for e in help.edits if problem.span.source.name == name]
            if _overlap(edits):
                break
            tried[name] = splice(texts[name], edits)
        else:
            if _mended(some, report, _checked(file, options, tried)):
                texts.update(tried)
                return some
    return []


def _mended(some: list[tuple[Problem, Help]], before: Report, now: Report) -> bool:
    """Whether these problems are gone, and no new error stands in a line that was edited."""
    were = Counter(_said(problem) for problem in before)
    are = Counter(_said(problem) for problem in now)
    lines = {_line(span) for problem, help in some for span in (problem.span, *(e.span for e in help.edits))}
    gone = all(are[said] <= were[said] - count for said, count in Counter(_said(p) for p, _ in some).items())
    new = (problem for problem in now if problem.severity == "error" and _said(problem) not in were)
    return gone and not any(_line(problem.span) in lines for problem in new)


def _said(problem: Problem) -> tuple[str, str, str]:
    return problem.code, problem.span.source.name, problem.message()


def _line(span: Span) -> tuple[str, int]:
    return span.source.name, span.source.position(span.start)[0]


def _overlap(edits: list[Edit]) -> bool:
    ordered = sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))
    return any(b.span.start < a.span.end for a, b in pairwise(ordered))


def splice(raw: str, edits: Iterable[Edit]) -> str:
    """The edits of a normalised source, put into the text as the file has it: its line ends and mark stay."""
    mark = len(raw) - len(raw.removeprefix("\ufeff"))
    ends = [found.start() - mark - at for at, found in enumerate(re.finditer("\r\n", raw))]
    source = Source("", "")
    source.text = raw

    def place(offset: int) -> int:
        return offset + mark + bisect_right(ends, offset - 1)

    return apply(raw, [Edit(Span(source, place(e.span.start), place(e.span.end)), e.text) for e in edits])


def _raw(name: str) -> str:
    if name == "<stdin>" or name.startswith("zoo/"):
        raise CannotFix(f"{escape(name)} is no file that could be mended")
    return read_text(name)


def _show(name: str, before: str, after: str) -> None:
    from difflib import unified_diff

    lines = unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    print("\n".join(escape(line) for line in lines))
