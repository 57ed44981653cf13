"""`netdsl check --fix`: apply safe edits and report them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from netdsl.app.frontend import check_file
from netdsl.app.messages import note
from netdsl.app.output import signals_clean_up
from netdsl.app.repair import occurrences, said
from netdsl.base.files import read_text, write_all
from netdsl.base.terminal import escape
from netdsl.base.text import Source, Span
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from netdsl.diagnostics.problem import Problem, Suggestion

ROUNDS = 20
"""Maximum number of passes over a file."""


class CannotFix(UserError, code="E0622", exit_code=USAGE_IS_WRONG):
    """`check --fix` writes to the files that it is given, so it accepts neither standard input nor shipped nets."""


def fix(file: str, options: argparse.Namespace) -> None:
    """Apply safe edits to a file and the files that it uses: write them, or with `--diff` alone show the change.

    An edit is kept only if checking again finds fewer errors and no other ones. Raises UserError.
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


def _safe(report: Report) -> list[tuple[Problem, Suggestion]]:
    """Return the problems that have a single safe suggestion, each with it."""
    found = []
    for problem in report:
        safe = [each for each in problem.all_suggestions() if each.safe and each.edits]
        if len(safe) == 1 and all(edit.span.source is problem.span.source for edit in safe[0].edits):
            found.append((problem, safe[0]))
    return found


def _round(
    file: str, options: argparse.Namespace, report: Report, texts: dict[str, str]
) -> list[tuple[Problem, Suggestion]]:
    """Apply the fixes that help to the texts: all at once where that works, else those that work together."""

    def apply_all(some: list[tuple[Problem, Suggestion]]) -> dict[str, str] | None:
        tried = dict(texts)
        for name in {problem.span.source.name for problem, _ in some}:
            edits = [e for problem, found in some for e in found.edits if problem.span.source.name == name]
            edits = list({(*e.span.key, e.text): e for e in edits}.values())
            if _overlap(edits):
                return None
            tried[name] = splice(texts[name], edits)
        return tried if _fixed(some, report, _checked(file, options, tried)) else None

    fixes = _safe(report)
    if fixes and (tried := apply_all(fixes)):
        texts.update(tried)
        return fixes
    done: list[tuple[Problem, Suggestion]] = []
    best: dict[str, str] = {}
    for each in fixes:
        if tried := apply_all([*done, each]):
            best, done = tried, [*done, each]
    texts.update(best)
    return done


def _fixed(some: list[tuple[Problem, Suggestion]], before: Report, now: Report) -> bool:
    """Return whether there are fewer errors, these problems are gone, and no error is new."""
    were, are = occurrences(before), occurrences(now)
    gone = all(are[what] <= were[what] - count for what, count in Counter(said(p) for p, _ in some).items())
    return gone and now.work.left >= 0 and now.errors < before.errors and are <= were


def _overlap(edits: list[Edit]) -> bool:
    ordered = sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))
    return any(b.span.start < a.span.end for a, b in pairwise(ordered))


def splice(raw: str, edits: Iterable[Edit]) -> str:
    """Apply edits of a normalized source to the text of the file, which keeps its line endings and byte order mark."""
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
