"""Where a name is defined and used, and what renaming it changes, also in other files."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.base.user_error import UserError
from netdsl.desk.document import net_files
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit
from netdsl.elaborate.library import ZOO_PREFIX
from netdsl.syntax import ast
from netdsl.syntax.words import RESERVED_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Source
    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.desk.session import Session
    from netdsl.elaborate.references import Reference

LABELS = ("label", "input", "output")


class CannotRename(UserError, code="E0915", title="a name that cannot be renamed"):
    """An editor asks `netdsl lsp` for another name, and the text would mean something else or nothing: the name is not
    defined in a file of yours, it is interpolated, it may be a keyword of what a variable holds, or the new one is
    reserved, not a word, or already has a meaning.
    """


def definition(analysis: DeskAnalysis, offset: int) -> list[Span]:
    """Return where the name at an offset is defined; behind `use`, the file."""
    found = [each.definition for each in analysis.at(offset) if each.definition is not None]
    if found:
        return list(dict.fromkeys(found))
    for item, (used, _) in zip(uses(analysis), analysis.module.uses, strict=False):
        if item.path.span.start <= offset <= item.path.span.end and used is not None:
            source = used.file.source
            return [source_start(source)]
    return []


def uses(analysis: DeskAnalysis) -> list[ast.Use]:
    """Return the `use` lines of a document."""
    return [item for item in analysis.module.file.items if isinstance(item, ast.Use)]


def source_start(source: Source) -> Span:
    """Return the beginning of a file."""
    return Span(source, 0, 0)


def target(analysis: DeskAnalysis, offset: int) -> Reference | None:
    """Return the name at an offset that has a definition."""
    return next((each for each in analysis.at(offset) if each.definition is not None), None)


def references(session: Session, analysis: DeskAnalysis, offset: int, *, everywhere: bool = True) -> list[Reference]:
    """Return all occurrences of the name at an offset, including its definition, in the document and then in other
    files."""
    found = target(analysis, offset)
    if found is None:
        return []
    tables = _tables(session, analysis, found) if everywhere else {analysis.document.path: analysis.references}
    return _occurrences(found, tables.values())


def _occurrences(found: Reference, tables: Iterable[list[Reference]]) -> list[Reference]:
    """Return all names with the definition of one, each place once."""
    assert found.definition is not None
    key = _file(found.definition), found.definition.start
    seen: dict[tuple[str, int, int], Reference] = {}
    for table in tables:
        for each in table:
            if each.definition is not None and (_file(each.definition), each.definition.start) == key:
                seen.setdefault((_file(each.span), each.span.start, each.span.end), each)
    return list(seen.values())


def _file(span: Span) -> str:
    name = span.source.name
    return name if name.startswith(ZOO_PREFIX) else os.path.realpath(name)


def _tables(session: Session, analysis: DeskAnalysis, found: Reference) -> dict[str, list[Reference]]:
    """Return the names of the document, of the file that defines a name, and of those that use that one, by path."""
    here = analysis.document.path
    tables = {here: analysis.references}
    if found.definition is None or (found.definition.source is analysis.source and found.kind == "variable"):
        return tables
    place = _file(found.definition)
    paths = {place} if not place.startswith(ZOO_PREFIX) else set()
    root = session.root(analysis.document) or os.path.dirname(here)
    using = re.compile(rf"^\s*use\b[^\n]*{re.escape(os.path.basename(place))}\"", re.MULTILINE)
    for path in net_files(root):
        text = session.text(path)
        if text is not None and using.search(text):
            paths.add(os.path.realpath(path))
    paths.discard(os.path.realpath(here))
    return tables | {path: session.references(path) for path in sorted(paths)}


def renamable(analysis: DeskAnalysis, offset: int) -> Reference:
    """Return the name at an offset. Raises CannotRename."""
    found = target(analysis, offset)
    if found is None or found.definition is None:
        raise CannotRename("there is no name here that a text defines")
    if found.definition.source.name.startswith(ZOO_PREFIX):
        raise CannotRename(f"`{found.span.text}` is defined in {found.definition.source.name}, which is shipped")
    if not found.exact and found.kind in LABELS:
        raise CannotRename(f"`{found.span.text}` is interpolated: rename each of its parts by hand")
    return found


def rename(session: Session, analysis: DeskAnalysis, offset: int, name: str) -> list[Edit]:
    """Return the edits that give the name at an offset another one. Raises CannotRename."""
    found = renamable(analysis, offset)
    is_label = found.kind in LABELS
    if not re.fullmatch(r"[A-Za-z_]\w*" if not is_label else r"\w+", name, re.ASCII):
        raise CannotRename(f"`{name}` is not a name: letters, digits and `_`")
    if name in RESERVED_WORDS and not is_label:
        raise CannotRename(f"`{name}` is a reserved word")
    tables = _tables(session, analysis, found)
    occurrences = _occurrences(found, tables.values())
    unclear = [each for each in occurrences if not each.exact]
    if unclear:
        raise CannotRename(
            f"`{found.span.text}` may mean something else at {unclear[0].span}, where it depends on values"
        )
    files = {_file(each.span) for each in occurrences}
    taken = [
        each
        for table in tables.values()
        for each in table
        if each.span.text == name and each.kind not in ("keyword", "word") and _file(each.span) in files
    ]
    if taken and name != found.span.text:
        raise CannotRename(f"`{name}` already has a meaning at {taken[0].span}")
    edits = [Edit(each.span, name) for each in occurrences]
    _require_same_meaning(session, tables, edits)
    if found.kind in (*LABELS, "block", "net"):  # layers are named after these, and each must have its own name
        _require_no_new_error(session, analysis, edits)
    return edits


def _changed(edits: list[Edit]) -> dict[str, str]:
    """Return the texts of the edited files, by path."""
    sources = {edit.span.source for edit in edits}
    return {
        source.name: apply(source.text, [edit for edit in edits if edit.span.source is source]) for source in sources
    }


def _require_same_meaning(session: Session, tables: dict[str, list[Reference]], edits: list[Edit]) -> None:
    """Raise CannotRename unless all names of the renamed files have the definitions that they had."""
    changed = _changed(edits)
    starts: dict[str, list[int]] = {}
    for edit in sorted(edits, key=lambda edit: edit.span.start):
        starts.setdefault(_file(edit.span), []).append(edit.span.start)
    longer = len(edits[0].text) - len(edits[0].span.text)

    def moved(span: Span | None) -> tuple[str, int] | None:
        """Return where the edits move a span."""
        if span is None:
            return None
        file = _file(span)
        return file, span.start + longer * bisect_left(starts.get(file, ()), span.start)

    for path, table in tables.items():
        expected = [(each.kind, moved(each.span), moved(each.definition)) for each in table]
        now = session.references(path, changed)
        found = [(each.kind, _start(each.span), _start(each.definition)) for each in now]
        if expected != found:
            differ = (each.span for each, a, b in zip(now, expected, found, strict=False) if a != b)
            at = next(differ, edits[0].span)
            raise CannotRename(f"`{edits[0].text}` means something else at {at}, for example the word of a layer")


def _require_no_new_error(session: Session, analysis: DeskAnalysis, edits: list[Edit]) -> None:
    """Raise CannotRename if a document has an error that it has not with the old name."""
    changed, uri, text = _changed(edits), analysis.document.uri, analysis.source.text
    before, after = session.trial(uri, text), session.trial(uri, changed.get(analysis.source.name, text), changed)
    new = _errors(after) - _errors(before)
    if new:
        raise CannotRename(f"`{edits[0].text}` causes the error {min(new)}")


def _errors(analysis: DeskAnalysis) -> Counter[str]:
    return Counter(problem.code for problem in analysis.report if problem.severity == "error")


def _start(span: Span | None) -> tuple[str, int] | None:
    return (_file(span), span.start) if span is not None else None
