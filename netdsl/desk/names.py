"""Where a name is defined and used, and what renaming it changes, also in other files."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from netdsl.base.text import Source, Span
from netdsl.base.user_error import UserError
from netdsl.desk.document import net_files
from netdsl.diagnostics.problem import Edit
from netdsl.elaborate.library import ZOO_PREFIX
from netdsl.elaborate.references import Reference, References
from netdsl.syntax import ast
from netdsl.syntax.words import RESERVED_WORDS

if TYPE_CHECKING:
    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.desk.session import Session

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
    tables = [analysis.references]
    if found is not None and everywhere:
        tables = _tables(session, analysis, found)
    return _occurrences(found, tables) if found is not None else []


def _occurrences(found: Reference, tables: list[list[Reference]]) -> list[Reference]:
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


def _tables(session: Session, analysis: DeskAnalysis, found: Reference) -> list[list[Reference]]:
    """Return the names of the document, of the file that defines a name, and of those that use that one."""
    tables = [analysis.references]
    if found.definition is None or (found.definition.source is analysis.source and found.kind == "variable"):
        return tables
    place = _file(found.definition)
    paths = {place} if not place.startswith(ZOO_PREFIX) else set()
    root = session.root(analysis.document) or os.path.dirname(analysis.document.path)
    using = re.compile(rf"^\s*use\b[^\n]*{re.escape(os.path.basename(place))}\"", re.MULTILINE)
    for path in net_files(root):
        text = session.text(path)
        if text is not None and using.search(text):
            paths.add(os.path.realpath(path))
    paths.discard(os.path.realpath(analysis.document.path))
    for path in sorted(paths):
        text = session.text(path)
        if text is not None:
            tables.append(References(session.library(path).load(Source(path, text), path)).table)
    return tables


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
    occurrences = _occurrences(found, tables)
    unclear = [each for each in occurrences if not each.exact]
    if unclear:
        raise CannotRename(
            f"`{found.span.text}` may mean something else at {unclear[0].span}, where it depends on values"
        )
    files = {_file(each.span) for each in occurrences}
    taken = [
        each
        for table in tables
        for each in table
        if each.span.text == name and each.kind not in ("keyword", "word") and _file(each.span) in files
    ]
    if taken and name != found.span.text:
        raise CannotRename(f"`{name}` already has a meaning at {taken[0].span}")
    return [Edit(each.span, name) for each in occurrences]
