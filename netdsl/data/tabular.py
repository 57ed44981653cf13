"""Data sets of tables: the columns of inputs and targets, and cells as numbers or classes."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.shape import spell_shape
from netdsl.base.suggest import suggest
from netdsl.data.errors import BadTable, ColumnsDiffer, Incomplete, NoExamples, NotFinite
from netdsl.data.labels import listed, numbered
from netdsl.data.reader import type_of
from netdsl.data.sources import assembled
from netdsl.data.table import Table
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.spec import DataSpec, Target


class _Cells:
    """The cells of some columns as they are read: numbers or texts."""

    __slots__ = ("_convert", "_lines", "_quotes", "names", "path", "places", "values")

    def __init__(self, table: Table, places: Sequence[int], dtype: str, lines: Sequence[int]) -> None:
        """Initialize; `dtype` is `float64`, `int64` or `text`."""
        self.places = places
        self.names = [table.header[place] for place in places]
        self.values: Any = [] if dtype == "text" else array("q" if dtype == "int64" else "d")
        converters: dict[str, Callable[[str], Any]] = {"text": str.strip, "int64": int, "float64": float}
        self._convert = converters[dtype]
        self.path = table.path
        self._lines = lines
        self._quotes = table.quotes

    def add(self, line: int, row: list[str]) -> None:
        try:
            self.values.extend([self._convert(row[place]) for place in self.places])
        except (ValueError, OverflowError):
            self._reject(line, row)

    def _reject(self, line: int, row: list[str]) -> None:
        wanted = "a whole number" if self._convert is int else "a number"
        for place, name in zip(self.places, self.names, strict=True):
            text = row[place].strip()
            try:
                array(self.values.typecode, [self._convert(row[place])])
            except (ValueError, OverflowError):
                helps = ["decimals are written with a point"] if text.replace(",", "", 1).lstrip("-").isdigit() else []
                held = f"holds {text[:40]!r}, which" if self._quotes else "holds what"
                what = f"{held} is not {wanted}" if text else f"is empty; it holds {wanted}"
                where = f"{self.path}, line {line}, column {place + 1}"
                called = f"`{name}` " if self._quotes else ""
                raise BadTable(f"{where}: {called}{what}", *(helps if text else [])) from None
        raise AssertionError("every cell can be converted")

    def place(self, index: int) -> str:
        """Return the name of a cell in messages, by its index."""
        place = index % len(self.places)
        line = self._lines[index // len(self.places)]
        called = f" (`{self.names[place]}`)" if self._quotes else ""
        return f"{self.path}, line {line}, column {self.places[place] + 1}{called}"

    def array(self, shape: Sequence[int | None]) -> Array:
        """Return the numbers as [n, *shape]. Raises NotFinite."""
        flat = np.frombuffer(self.values, "i8" if self.values.typecode == "q" else "f8")
        if not (finite := np.isfinite(flat)).all():
            at = int(np.argmin(finite))
            raise NotFinite(f"{self.place(at)} holds {flat[at]}", "every step needs finite numbers")
        return flat.reshape(-1, *(size or 1 for size in shape))


def open_csv(path: str, target: Sequence[str], separator: str | None, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Csv`."""
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise BadTable(f"a separator is one character, and {separator!r} is none")
    table = Table(path, separator, quotes=wanted.bounds.quotes(path))
    try:
        return _read(table, target, wanted)
    finally:
        table.close()


def _read(table: Table, names: Sequence[str], wanted: DataSpec) -> Dataset:
    lines = array("q")
    inputs, targets = _layout(table, names, wanted, lines)
    cells = [*inputs.values(), *targets.values()]
    rows = table.rows()
    next(rows)
    for line, row in rows:
        lines.append(line)
        for part in cells:
            part.add(line, row)
    if not lines:
        raise NoExamples(f"{table.path} has a header and no rows")
    xs = {name: (table.path, part.array(wanted.inputs[name][0])) for name, part in inputs.items()}
    ys: dict[str, tuple[str, Array]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, part in targets.items():
        labels, found = _labels(part, wanted.targets[name], wanted)
        ys[name] = table.path, labels
        classes |= {name: found} if found else {}
    columns, held = ({name: part.names for name, part in parts.items()} for parts in (inputs, targets))
    found_names = wanted.names or Names(classes, columns, held)
    return assembled(xs, ys, wanted, found_names, {name: part.place for name, part in targets.items()})


def _named(table: Table, name: str) -> int:
    """Return a column's place. Raises Incomplete."""
    if name in table.header:
        return table.header.index(name)
    near = suggest(name, table.header) if table.quotes else []
    raise Incomplete(
        f"{table.path} has no column `{name}`{table.held}",
        *([f"did you mean `{near[0]}`?"] if near else []),
    )


def _layout(
    table: Table, names: Sequence[str], wanted: DataSpec, lines: Sequence[int]
) -> tuple[dict[str, _Cells], dict[str, _Cells]]:
    """Return the columns of each input and target. Those of targets are named; those of inputs are called as in
    training, or else are the others in order."""
    named = [_named(table, name) for name in names]
    if len(wanted.targets) not in (1, len(named)):
        raise Incomplete(f"{len(named)} columns are named as targets, and the net has {len(wanted.targets)} targets")
    parts = [named] if len(wanted.targets) == 1 else [[place] for place in named]
    parts = _as_trained(table, parts, wanted)
    targets = {}
    for (name, target), places in zip(wanted.targets.items(), parts, strict=True):
        _check_width(table, f"target `{name}`", len(places), target.shape)
        targets[name] = _Cells(table, places, "float64" if target.kind == "value" else "text", lines)
    rest = _rest(table, named, wanted)
    inputs = {}
    for number, (name, (shape, dtype)) in enumerate(wanted.inputs.items(), start=1):
        width = _width(shape) if number < len(wanted.inputs) else len(rest)
        places, rest = rest[:width], rest[width:]
        _check_width(table, f"input `{name}`", len(places), shape)
        whole = type_of(dtype).kind in "iu"
        inputs[name] = _Cells(table, places, "int64" if whole else "float64", lines)
    return inputs, targets


def _as_trained(table: Table, parts: list[list[int]], wanted: DataSpec) -> list[list[int]]:
    """Return the places of the targets' columns, of several in the order of training. A single one may be called
    otherwise, for it is named by itself. Raises ColumnsDiffer."""
    known = [wanted.names.targets.get(name) for name in wanted.targets] if wanted.names is not None else []
    trained = [name for names in known for name in names or ()]
    given = [table.header[place] for part in parts for place in part]
    if not trained or len(given) == len(trained) == 1:
        return parts
    if sorted(given) != sorted(trained):
        raise ColumnsDiffer(
            f"the targets of {table.path} are {listed(given)}, and in training they were {listed(trained)}"
        )
    return [[table.header.index(name) for name in names or ()] for names in known]


def _rest(table: Table, named: Sequence[int], wanted: DataSpec) -> list[int]:
    """Return the places of all inputs' columns, by their names in training, or else in order. Raises ColumnsDiffer."""
    rest = [place for place in range(len(table.header)) if place not in named]
    if wanted.names is None or not wanted.names.columns:
        return rest
    trained = [column for name in wanted.inputs for column in wanted.names.columns.get(name, ())]
    header = [table.header[place] for place in rest]
    missing = [name for name in trained if name not in header]
    new = [name for name in header if name not in trained]
    if not missing and not new:
        return [table.header.index(name) for name in trained]
    told = [_told(missing, "missing")] if missing else []
    if new:
        told.append(_told(new, "new") if table.quotes else f"{len(new)} are new")
    raise ColumnsDiffer(
        f"the columns of {table.path} are not those of training: {' and '.join(told)}",
        "columns are matched by name, and may be in any order",
    )


def _told(names: Sequence[str], what: str) -> str:
    quoted = ", ".join(f"`{name}`" for name in names[:8]) + (", …" if len(names) > 8 else "")
    return f"{quoted} {'are' if len(names) > 1 else 'is'} {what}"


def _width(shape: Sequence[int | None]) -> int:
    return int(np.prod([size or 1 for size in shape]))


def _check_width(table: Table, what: str, found: int, shape: Sequence[int | None]) -> None:
    if None in shape or _width(shape) != found:
        raise Incomplete(
            f"{table.path} has {found} columns for the {what}, which takes {spell_shape(tuple(shape))}",
            "the columns that are no targets are the inputs', in their order",
        )


def _labels(part: _Cells, target: Target, wanted: DataSpec) -> tuple[Array, tuple[str, ...] | None]:
    """Return a target's values for `assembled`, and the names of its classes where they have any. Raises
    ClassesDiffer."""
    if target.kind == "value":
        return part.array(target.shape), None
    if wanted.names is None or target.name not in wanted.names.classes:
        try:
            numbers = np.array([float(text) for text in part.values])
        except ValueError:
            pass
        else:
            whole = np.isfinite(numbers) & (np.abs(numbers) < 2**53) & (numbers == np.floor(numbers))
            return numbers.astype(np.int64) if whole.all() else numbers, None
    if "" in part.values:
        raise BadTable(f"{part.place(part.values.index(''))} is empty; it holds a class")
    held = f"{part.path}: `{part.names[0]}` holds"  # which the caller has named
    names, classes = numbered(
        part.values,
        part.path,
        held,
        target,
        wanted,
        lambda name: f"{part.place(part.values.index(name))} is",
    )
    return np.array([names[text] for text in part.values]), classes
