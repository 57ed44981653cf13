"""Data sets from tables: columns of inputs and targets, with cells as numbers, class names or paths of images.

The files are read by `table_file` and `parquet`.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.base.suggest import suggest
from netdsl.data.checks import target_column
from netdsl.data.column import ArrayColumn
from netdsl.data.dataset import Dataset
from netdsl.data.errors import BadTable, ColumnsDiffer, Incomplete, NoExamples, NotFinite
from netdsl.data.images import ENDINGS
from netdsl.data.labels import listed, numbered
from netdsl.data.reader import type_of
from netdsl.data.sources import assembled
from netdsl.data.table_file import open_table
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.user_error import UserError
    from netdsl.data.spec import DataSpec, Target
    from netdsl.data.table_file import Table


class _Cells:
    """The cells of some columns, as numbers or strings, row by row."""

    __slots__ = ("_convert", "_lines", "_quotes", "_unit", "names", "path", "places", "values")

    def __init__(self, table: Table, places: Sequence[int], dtype: str, lines: Sequence[int]) -> None:
        """`places`: column indices. `dtype`: `float64`, `int64` or `text`. `lines`: line numbers of the rows."""
        for place in places:
            table.check_column(place)
        self.places = places
        self.names = [table.header[place] for place in places]
        self.values: Any = [] if dtype == "text" else array("q" if dtype == "int64" else "d")
        converters: dict[str, Callable[[str], Any]] = {"text": str.strip, "int64": int, "float64": float}
        self._convert = converters[dtype]
        self.path = table.path
        self._lines = lines
        self._quotes = table.quotes
        self._unit = table.unit

    def add(self, line: int, row: list[str]) -> None:
        try:
            self.values.extend([self._convert(row[place]) for place in self.places])
        except (ValueError, OverflowError):
            self._reject(line, row)

    def _reject(self, line: int, row: list[str]) -> None:
        wanted = "an integer" if self._convert is int else "a number"
        for place, name in zip(self.places, self.names, strict=True):
            text = row[place].strip()
            try:
                array(self.values.typecode, [self._convert(row[place])])
            except (ValueError, OverflowError):
                helps = ["decimals are written with a point"] if text.replace(",", "", 1).lstrip("-").isdigit() else []
                held = f"contains {text[:40]!r}, which" if self._quotes else "its value"
                what = f"{held} is not {wanted}" if text else f"is empty, but must contain {wanted}"
                where = f"{self.path}, {self._unit} {line}, column {place + 1}"
                called = f"`{name}` " if self._quotes else ""
                raise BadTable(f"{where}: {called}{what}", *(helps if text else [])) from None
        raise AssertionError("every cell can be converted")

    def place(self, index: int) -> str:
        """Return the location of a cell for messages: file, line and column. `index` counts the cells read."""
        place = index % len(self.places)
        line = self._lines[index // len(self.places)]
        called = f" (`{self.names[place]}`)" if self._quotes else ""
        return f"{self.path}, {self._unit} {line}, column {self.places[place] + 1}{called}"

    def array(self, shape: Sequence[int | None]) -> Array:
        """Return the numbers as [n, *shape]. Raises NotFinite."""
        flat = np.frombuffer(self.values, "i8" if self.values.typecode == "q" else "f8")
        if not (finite := np.isfinite(flat)).all():
            at = int(np.argmin(finite))
            raise NotFinite(f"{self.place(at)} contains {flat[at]}", "a table must have finite numbers")
        return flat.reshape(-1, *(size or 1 for size in shape))


def open_table_data(
    path: str, target: Sequence[str], image: str | None, separator: str | None, wanted: DataSpec
) -> Dataset:
    """Open the data of `kinds.Csv` and `kinds.Parquet`."""
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise BadTable(f"a separator must be a single character, not {separator!r}")
    table = open_table(path, separator, quotes=wanted.bounds.quotes(path))
    try:
        return _read(table, target, image, wanted)
    finally:
        table.close()


def _read(table: Table, names: Sequence[str], image: str | None, wanted: DataSpec) -> Dataset:
    lines = array("q")
    named, targets = _target_cells(table, names, wanted, lines)
    inputs = _input_cells(table, named, wanted, lines) if image is None else {}
    paths = [] if image is None else [_Cells(table, [_named(table, image)], "text", lines)]
    _fill(table, [*inputs.values(), *targets.values(), *paths], lines)
    ys: dict[str, tuple[str, Array]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, part in targets.items():
        labels, found = _labels(part, wanted.targets[name], wanted)
        ys[name] = table.path, labels
        classes |= {name: found} if found else {}
    columns, held = ({name: part.names for name, part in parts.items()} for parts in (inputs, targets))
    found_names = wanted.names or Names(classes, columns, held)
    if image is not None:
        return _with_images(table, paths[0], targets, ys, wanted, found_names)
    xs = {name: (table.path, part.array(wanted.inputs[name][0])) for name, part in inputs.items()}
    return assembled(xs, ys, wanted, found_names, {name: part.place for name, part in targets.items()})


def _with_images(
    table: Table,
    cells: _Cells,
    targets: Mapping[str, _Cells],
    ys: Mapping[str, tuple[str, Array]],
    wanted: DataSpec,
    names: Names,
) -> Dataset:
    """Return the data set of the images whose paths are in a column; `ys` are the values of the targets."""
    from netdsl.data.image_folder import picture_column

    if len(wanted.inputs) != 1:
        raise Incomplete(f"images in a column are one input, but the net has {len(wanted.inputs)}")
    (name,) = wanted.inputs
    folder = os.path.dirname(table.path)
    paths = [os.path.join(folder, text) for text in cells.values]
    for at, path in enumerate(paths):
        wanted.bounds.check(path)
        if not os.path.isfile(path):
            raise _no_image(table, cells, at, path)
    columns = {key: target_column(*ys[key], target, targets[key].place) for key, target in wanted.targets.items()}
    used = {column for part in (cells, *targets.values()) for column in part.names}
    unused = [column for column in table.header if column not in used]
    notes = [f"{table.path}: columns that are neither the image nor a target are ignored: {listed(unused)}"]
    return Dataset(
        {name: picture_column(paths, name, wanted)},
        columns,
        names=names,
        notes=notes if unused and table.quotes else (),
        augment=wanted.augment,
        pictures=wanted.pictures,
    )


def _no_image(table: Table, cells: _Cells, at: int, path: str) -> UserError:
    """Return the error for a path that leads to no file."""
    where, text = cells.place(at), cells.values[at]
    if not text:
        return BadTable(f"{where} is empty, but must contain the path of an image")
    what = f"no file {path}" if table.quotes else "no such file"
    endings = [ending for ending in sorted(ENDINGS) if os.path.isfile(path + ending)]
    helps = [f"the paths must include the ending: {path}{endings[0]} exists"] if endings and table.quotes else []
    return Incomplete(f"{where}: {what}", *helps, "paths are relative to the folder of the table")


def _fill(table: Table, parts: Sequence[_Cells], lines: array[int]) -> None:
    """Read all rows into parts, which share the list of `lines`. Raises BadTable and NoExamples."""
    for line, row in table.rows():
        lines.append(line)
        for part in parts:
            part.add(line, row)
    if not lines:
        raise NoExamples(f"{table.path} has a header, but no rows")


def open_columns(
    path: str, columns: Sequence[str] | None, name: str, shape: Sequence[int | None], dtype: str
) -> tuple[ArrayColumn, list[str]]:
    """Return the examples of the input `name` from a table, and the columns that are not used. `columns` are those of
    training, matched by name; without them, all columns in order. Raises BadTable, ColumnsDiffer and Incomplete."""
    table = open_table(path)
    try:
        places = list(range(len(table.header))) if columns is None else _places(table, columns)
        if None in shape or _width(shape) != len(places):
            raise Incomplete(
                f"{path} has {len(places)} columns, but the input `{name}` takes {format_shape(tuple(shape))}",
                "the model does not name its columns, so a table has those of the input alone, in order",
            )
        lines = array("q")
        cells = _Cells(table, places, "int64" if type_of(dtype).kind in "iu" else "float64", lines)
        _fill(table, [cells], lines)
    finally:
        table.close()
    unused = [column for place, column in enumerate(table.header) if place not in places]
    return ArrayColumn(path, cells.array(shape), tuple(shape), dtype), unused


def _places(table: Table, columns: Sequence[str]) -> list[int]:
    """Return the indices of the columns of training. Raises ColumnsDiffer."""
    missing = [name for name in columns if name not in table.header]
    if missing:
        raise ColumnsDiffer(f"{table.path} lacks columns of training: {_told(missing, 'missing')}{table.held}")
    return [table.header.index(name) for name in columns]


def _named(table: Table, name: str) -> int:
    """Return the index of a column. Raises Incomplete."""
    if name in table.header:
        return table.header.index(name)
    near = suggest(name, table.header) if table.quotes else []
    raise Incomplete(
        f"{table.path} has no column `{name}`{table.held}",
        *([f"did you mean `{near[0]}`?"] if near else []),
    )


def _target_cells(
    table: Table, names: Sequence[str], wanted: DataSpec, lines: Sequence[int]
) -> tuple[list[int], dict[str, _Cells]]:
    """Return the indices of the columns in `names`, and the columns of each target."""
    named = [_named(table, name) for name in names]
    if len(wanted.targets) not in (1, len(named)):
        raise Incomplete(f"{len(named)} columns are named as targets, but the net has {len(wanted.targets)} targets")
    parts = [named] if len(wanted.targets) == 1 else [[place] for place in named]
    parts = _as_trained(table, parts, wanted)
    targets = {}
    for (name, target), places in zip(wanted.targets.items(), parts, strict=True):
        _check_width(table, f"target `{name}`", len(places), target.shape)
        targets[name] = _Cells(table, places, "float64" if target.kind == "value" else "text", lines)
    return named, targets


def _input_cells(table: Table, named: Sequence[int], wanted: DataSpec, lines: Sequence[int]) -> dict[str, _Cells]:
    """Return the columns of each input: those of training, matched by name, or else all but the targets' in order."""
    rest = _rest(table, named, wanted)
    inputs = {}
    for number, (name, (shape, dtype)) in enumerate(wanted.inputs.items(), start=1):
        width = _width(shape) if number < len(wanted.inputs) else len(rest)
        places, rest = rest[:width], rest[width:]
        _check_width(table, f"input `{name}`", len(places), shape)
        whole = type_of(dtype).kind in "iu"
        inputs[name] = _Cells(table, places, "int64" if whole else "float64", lines)
    return inputs


def _as_trained(table: Table, parts: list[list[int]], wanted: DataSpec) -> list[list[int]]:
    """Sort the columns of the targets into the order of training. A single target column may have another name than in
    training, because the `data` line names it. Raises ColumnsDiffer."""
    known = [wanted.names.targets.get(name) for name in wanted.targets] if wanted.names is not None else []
    trained = [name for names in known for name in names or ()]
    given = [table.header[place] for part in parts for place in part]
    if not trained or len(given) == len(trained) == 1:
        return parts
    if sorted(given) != sorted(trained):
        raise ColumnsDiffer(
            f"the targets of {table.path} are {listed(given)}, but in training they were {listed(trained)}"
        )
    return [[table.header.index(name) for name in names or ()] for names in known]


def _rest(table: Table, named: Sequence[int], wanted: DataSpec) -> list[int]:
    """Return the indices of the columns of all inputs, matched by name with those of training, or else in order. Raises
    ColumnsDiffer."""
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
            f"{table.path} has {found} columns for the {what}, which takes {format_shape(tuple(shape))}",
            "the columns that are not targets are the inputs, in order",
        )


def _labels(part: _Cells, target: Target, wanted: DataSpec) -> tuple[Array, tuple[str, ...] | None]:
    """Return the values of a target, [n, ...], and the names of its classes, or None if they are numbers. Raises
    BadTable and ClassesDiffer."""
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
        raise BadTable(f"{part.place(part.values.index(''))} is empty, but must contain a class")
    held = f"{part.path}: `{part.names[0]}` holds"  # quotable: the `data` line names the column
    names, classes = numbered(
        part.values,
        part.path,
        held,
        target,
        wanted,
        lambda name: f"{part.place(part.values.index(name))} is",
    )
    return np.array([names[text] for text in part.values]), classes
