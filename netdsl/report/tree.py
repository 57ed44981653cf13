"""The rows of a net as a tree of scopes, with scopes that are too deep folded into one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.report.figures import LayerFigures, line_in_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.base.text import Frame
    from netdsl.ir.formula import Count
    from netdsl.report.figures import Figures


class RowScope:
    """Consecutive rows whose names begin with the words of `path`, which are `level` many; `parts` are rows and inner
    scopes in source order."""

    __slots__ = ("level", "parts", "path", "rows")

    def __init__(self, path: str, level: int) -> None:
        self.path = path
        self.level = level
        self.parts: list[LayerFigures | RowScope] = []
        self.rows: list[LayerFigures] = []


class TableLine:
    """A line of a table: a layer, the header of a scope, which has no figures, or a folded scope.

    `name` is the path under which its weights are named, `layer3.0.conv2`, and `line` the source line, or 0 for a scope
    that no single location created.
    """

    __slots__ = ("line", "name", "rows", "text")

    def __init__(self, line: int, name: str, text: str, rows: Sequence[LayerFigures]) -> None:
        self.line = line
        self.name = name
        self.text = text
        self.rows = rows

    @property
    def params(self) -> int:
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> Count:
        return sum((row.macs for row in self.rows), 0)

    @property
    def bytes(self) -> Count:
        return sum((row.bytes for row in self.rows), 0)


def table_lines(figures: Figures, depth: int | None) -> Iterator[TableLine]:
    """Return the lines of the table; scopes deeper than `depth` are folded."""
    todo = [(0, 0, part) for part in reversed(_parts(_tree(figures.rows), depth == 1))]
    while todo:
        level, around, part = todo.pop()
        if isinstance(part, LayerFigures):
            yield TableLine(part.line, part.node.name, part.call, [part])
            continue
        frames = _common(part[0])
        made = line_in_file(figures.net, frames[-1].span, frames[-1].parent) if len(frames) > around else 0
        name, text = _head(part, around)
        if level + 1 == depth:
            rows = [row for each in part for row in each.rows]
            yield TableLine(made or rows[0].line, name, text or _count(part[0]), rows)
        else:
            yield TableLine(made, name, text, ())
            parts = _parts(part[0], level + 2 == depth)
            todo += [(level + 1, len(frames), each) for each in reversed(parts)]


def _tree(rows: list[LayerFigures]) -> RowScope:
    """Build the tree of scopes; an interrupted scope becomes two."""
    root = RowScope("", 0)
    path: list[RowScope] = [root]
    for row in rows:
        *names, _ = row.node.name.split(".")
        kept = 0
        while kept < min(len(names), len(path) - 1) and path[kept + 1].path == ".".join(names[: kept + 1]):
            kept += 1
        del path[kept + 1 :]
        for level in range(kept + 1, len(names) + 1):
            scope = RowScope(".".join(names[:level]), level)
            path[-1].parts.append(scope)
            path.append(scope)
        path[-1].parts.append(row)
        for scope in path:
            scope.rows.append(row)
    return root


def _parts(scope: RowScope, fold: bool) -> list[LayerFigures | list[RowScope]]:
    """Return the parts of a scope; consecutive equal scopes are merged if they will be folded."""
    found: list[LayerFigures | list[RowScope]] = []
    for part in scope.parts:
        before = found[-1] if found else None
        if isinstance(part, LayerFigures):
            found.append(part)
        elif fold and isinstance(before, list) and _content(before[0]) == _content(part):
            before.append(part)
        else:
            found.append([part])
    return found


def _content(scope: RowScope) -> list[tuple[object, ...]]:
    """Return what makes two rounds equal: the same layers on the same shapes under the same names."""
    inside = scope.level
    return [
        (row.node.name.split(".", inside)[inside:], row.call, row.node.shape, row.params, row.macs, row.line)
        for row in scope.rows
    ]


def _head(rounds: list[RowScope], around: int) -> tuple[str, str]:
    """Return the name of a scope and what it is: its block without the frames in `around`, and the number of rounds."""
    first, last = rounds[0], rounds[-1]
    name = first.path if len(rounds) == 1 else f"{first.path}…{last.path.rpartition('.')[2]}"
    blocks = [frame.name for frame in _common(first)[around:] if frame.name]
    text = blocks[-1] if blocks else ""
    if len(rounds) > 1:
        text = f"{text or _count(first)} × {len(rounds)}"
    return name, text


def _count(scope: RowScope) -> str:
    """Describe the content of a scope that is not a block call: equal rounds, or a number of layers."""
    rounds = [part for part in scope.parts if isinstance(part, RowScope)]
    if 1 < len(rounds) == len(scope.parts) and all(_content(each) == _content(rounds[0]) for each in rounds):
        return _head(rounds, len(_common(scope)))[1]
    return f"{len(scope.rows)} layer" + "s" * (len(scope.rows) > 1)


def _common(scope: RowScope) -> list[Frame]:
    """Return the frames around all rows of a scope, outermost first."""
    first, last = (list(row.node.frame or ())[::-1] for row in (scope.rows[0], scope.rows[-1]))
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] is last[shared]:
        shared += 1
    return first[:shared]
