"""Apply safe edits to a file and the files that it uses."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from netdsl.app.analyse import check_file
from netdsl.app.output import signals_clean_up
from netdsl.app.repair import occurrences, said
from netdsl.base.files import read_text, write_all
from netdsl.base.text import Source, Span
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netdsl.diagnostics.problem import Problem, Suggestion

MAX_ROUNDS = 20
"""Maximum number of passes over a file."""


class CannotFix(UserError, code="E0622", title="a file that cannot be fixed in place", exit_code=USAGE_IS_WRONG):
    """`check --fix` writes to the given files, so it accepts neither standard input nor shipped nets.

    ```sh
    netdsl zoo copy lenet5
    netdsl check lenet5.net --fix
    ```
    """


class Fixes:
    """The safe edits of a file and the files that it uses.

    An edit is kept only if a new check finds fewer errors and no new ones. `applied` has the fixed problems with their
    fixes, `before` and `after` the texts of the files that change.
    """

    __slots__ = ("_check", "_texts", "after", "applied", "before")

    def __init__(self, file: str, *, settings: Sequence[str] = (), root: str | None = None) -> None:
        """Find the edits. Raises UserError."""

        def check(texts: Mapping[str, str]) -> Report:
            report = Report()
            check_file(file, report, settings=settings, root=root, texts=texts)
            return report

        self._check = check
        self._texts: dict[str, str] = {}
        self.applied: list[tuple[Problem, Suggestion]] = []
        raw: dict[str, str] = {}
        for _ in range(MAX_ROUNDS):
            report = check(self._texts)
            for problem, _ in _safe(report):
                name = problem.span.source.name
                if name not in raw:
                    raw[name] = self._texts[name] = _raw(name)
            applied = self._round(report)
            if not applied:
                break
            self.applied += applied
        self.after = {name: text for name, text in self._texts.items() if text != raw[name]}
        self.before = {name: raw[name] for name in self.after}

    def write(self) -> None:
        """Write the files that change, all or none. Raises UserError."""
        with signals_clean_up():
            write_all({name: text.encode() for name, text in self.after.items()})

    def _round(self, report: Report) -> list[tuple[Problem, Suggestion]]:
        """Apply the fixes that help: all at once if that works, otherwise those that work together."""

        def apply_all(some: list[tuple[Problem, Suggestion]]) -> dict[str, str] | None:
            tried = dict(self._texts)
            for name in {problem.span.source.name for problem, _ in some}:
                edits = [e for problem, fix in some for e in fix.edits if problem.span.source.name == name]
                edits = list({(*e.span.key, e.text): e for e in edits}.values())
                if _overlap(edits):
                    return None
                tried[name] = _apply(tried[name], edits)
            return tried if _fixed(some, report, self._check(tried)) else None

        fixes = _safe(report)
        if fixes and (tried := apply_all(fixes)):
            self._texts.update(tried)
            return fixes
        done: list[tuple[Problem, Suggestion]] = []
        best: dict[str, str] = {}
        for each in fixes:
            if tried := apply_all([*done, each]):
                best, done = tried, [*done, each]
        self._texts.update(best)
        return done


def _safe(report: Report) -> list[tuple[Problem, Suggestion]]:
    """Return the problems with exactly one safe suggestion, and the suggestions."""
    found = []
    for problem in report:
        safe = [fix for fix in problem.all_suggestions() if fix.safe and fix.edits]
        if len(safe) == 1 and all(edit.span.source is problem.span.source for edit in safe[0].edits):
            found.append((problem, safe[0]))
    return found


def _fixed(some: list[tuple[Problem, Suggestion]], before: Report, now: Report) -> bool:
    """Return whether there are fewer errors, none is new, and these problems are gone."""
    were, are = occurrences(before), occurrences(now)
    gone = all(are[what] <= were[what] - count for what, count in Counter(said(p) for p, _ in some).items())
    return gone and now.work.left >= 0 and now.errors < before.errors and are <= were


def _overlap(edits: list[Edit]) -> bool:
    ordered = sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))
    return any(b.span.start < a.span.end for a, b in pairwise(ordered))


def _apply(raw: str, edits: Iterable[Edit]) -> str:
    """Apply edits of a normalized source to the raw text, preserving line endings and the byte order mark."""
    mark = len(raw) - len(raw.removeprefix("\ufeff"))
    ends = [found.start() - mark - at for at, found in enumerate(re.finditer("\r\n", raw))]
    source = Source("", "")
    source.text = raw

    def place(offset: int) -> int:
        return offset + mark + bisect_right(ends, offset - 1)

    return apply(raw, [Edit(Span(source, place(e.span.start), place(e.span.end)), e.text) for e in edits])


def _raw(name: str) -> str:
    if name == "<stdin>":
        raise CannotFix("cannot edit standard input", "save the program to a file")
    if name.startswith("zoo/"):
        raise CannotFix(f"cannot edit {name}, which is shipped", "copy it: `netdsl zoo copy NAME`")
    return read_text(name)
