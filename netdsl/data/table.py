"""Data sets from CSV files (RFC 4180): columns of inputs and targets, cells as numbers or class names."""

from __future__ import annotations

import csv
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.files import mistaken, open_file
from netdsl.base.shape import format_shape
from netdsl.base.suggest import suggest
from netdsl.data.column import ArrayColumn
from netdsl.data.errors import BadTable, ColumnsDiffer, Incomplete, NoExamples, NotFinite
from netdsl.data.labels import listed, numbered
from netdsl.data.reader import type_of
from netdsl.data.sources import assembled
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.spec import DataSpec, Target

SEPARATORS = ",;\t"
LONGEST_LINE = 2**24
"""Maximum length of a line in bytes, so that a file that is not a table is not read as a single line."""


class Table:
    """A CSV file: its header, which is checked, and its rows. Messages quote its contents only if `quotes` is true."""

    __slots__ = ("_file", "_separator", "header", "path", "quotes")

    def __init__(self, path: str, separator: str | None, *, quotes: bool = True) -> None:
        self.path = path
        self.quotes = quotes
        self.header: list[str] = []
        self._file: BinaryIO = open_file(path)
        try:
            self._separator = separator or self._sniffed()
            _, header = next(self.rows(), (1, []))
            self.header = [name.strip() for name in header]
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def _sniffed(self) -> str:
        """Return the separator that splits the first line into the most cells."""
        first = self._line(1)
        if first is None:
            raise BadTable(f"{self.path} is empty: a table begins with the names of its columns")
        try:
            return max(SEPARATORS, key=lambda s: len(next(csv.reader([first], delimiter=s))))
        except csv.Error as error:
            raise BadTable(f"{self.path}, line 1: {error}") from None

    def _check_header(self) -> None:
        path, header = self.path, self.header
        if not header:
            raise BadTable(f"{path} contains only blank lines: a table begins with the names of its columns")
        if all(_is_number(name) for name in header):
            raise BadTable(
                f"{path} has no header: its first row contains only numbers",
                "name the columns in a first row, such as `x1,x2,class`",
            )
        for number, name in enumerate(header):
            if not name:
                raise BadTable(
                    f"{path}, line 1, column {number + 1}: the column has no name",
                    "pandas leaves out the column of row numbers with `to_csv(path, index=False)`",
                )
            if name in header[:number]:
                called = f"the column `{name}`" if self.quotes else "a column"
                raise BadTable(f"{path}, line 1, column {number + 1}: {called} occurs twice")

    @property
    def held(self) -> str:
        """The end of a message: the column names."""
        return f"; it has {', '.join(self.header[:20])}" if self.quotes else ""

    def _line(self, number: int) -> str | None:
        data = self._file.readline(LONGEST_LINE + 1)
        where = f"{self.path}, line {number}"
        if not data:
            return None
        if number == 1:
            if (what := mistaken(data[:64])) or b"\0" in data:
                raise BadTable(f"{self.path} {what or 'is not text: its first line contains NUL'}")
            data = data.removeprefix(b"\xef\xbb\xbf")
        if len(data) > LONGEST_LINE:
            raise BadTable(f"{where} is longer than {LONGEST_LINE:,} bytes")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadTable(f"{where} is not UTF-8, from byte {error.start + 1} on", "save the table as UTF-8") from None

    def _lines(self) -> Iterator[str]:
        number = 1
        while (line := self._line(number)) is not None:
            yield line
            number += 1

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of a row's last line and its cells, starting with the header; blank lines are skipped.
        Raises BadTable for a row whose number of cells differs from the header's."""
        self._file.seek(0)
        reader = csv.reader(self._lines(), delimiter=self._separator, strict=True)
        try:
            for row in reader:
                if row and self.header and len(row) != len(self.header):
                    raise BadTable(
                        f"{self.path}, line {reader.line_num}: the row has {len(row)} cells, but the header has "
                        f"{len(self.header)}"
                    )
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            helps = ["a quote is not closed"] if "end of data" in str(error) else []
            raise BadTable(f"{self.path}, line {reader.line_num}: {error}", *helps) from None

    def close(self) -> None:
        self._file.close()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Cells:
    """The cells of some columns, as numbers or strings, row by row."""

    __slots__ = ("_convert", "_lines", "_quotes", "names", "path", "places", "values")

    def __init__(self, table: Table, places: Sequence[int], dtype: str, lines: Sequence[int]) -> None:
        """`places`: column indices. `dtype`: `float64`, `int64` or `text`. `lines`: line numbers of the rows."""
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
        wanted = "an integer" if self._convert is int else "a number"
        for place, name in zip(self.places, self.names, strict=True):
            text = row[place].strip()
            try:
                array(self.values.typecode, [self._convert(row[place])])
            except (ValueError, OverflowError):
                helps = ["decimals are written with a point"] if text.replace(",", "", 1).lstrip("-").isdigit() else []
                held = f"contains {text[:40]!r}, which" if self._quotes else "its value"
                what = f"{held} is not {wanted}" if text else f"is empty, but must contain {wanted}"
                where = f"{self.path}, line {line}, column {place + 1}"
                called = f"`{name}` " if self._quotes else ""
                raise BadTable(f"{where}: {called}{what}", *(helps if text else [])) from None
        raise AssertionError("every cell can be converted")

    def place(self, index: int) -> str:
        """Return the location of a cell for messages: file, line and column. `index` counts the cells read."""
        place = index % len(self.places)
        line = self._lines[index // len(self.places)]
        called = f" (`{self.names[place]}`)" if self._quotes else ""
        return f"{self.path}, line {line}, column {self.places[place] + 1}{called}"

    def array(self, shape: Sequence[int | None]) -> Array:
        """Return the numbers as [n, *shape]. Raises NotFinite."""
        flat = np.frombuffer(self.values, "i8" if self.values.typecode == "q" else "f8")
        if not (finite := np.isfinite(flat)).all():
            at = int(np.argmin(finite))
            raise NotFinite(f"{self.place(at)} contains {flat[at]}", "a table must have finite numbers")
        return flat.reshape(-1, *(size or 1 for size in shape))


def open_csv(path: str, target: Sequence[str], separator: str | None, wanted: DataSpec) -> Dataset:
    """Open the data of `kinds.Csv`."""
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise BadTable(f"a separator must be a single character, not {separator!r}")
    table = Table(path, separator, quotes=wanted.bounds.quotes(path))
    try:
        return _read(table, target, wanted)
    finally:
        table.close()


def _read(table: Table, names: Sequence[str], wanted: DataSpec) -> Dataset:
    lines = array("q")
    inputs, targets = _layout(table, names, wanted, lines)
    _fill(table, [*inputs.values(), *targets.values()], lines)
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


def _fill(table: Table, parts: Sequence[_Cells], lines: array[int]) -> None:
    """Read all rows into parts, which share the list of `lines`. Raises BadTable and NoExamples."""
    rows = table.rows()
    next(rows)
    for line, row in rows:
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
    table = Table(path, None)
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


def _layout(
    table: Table, names: Sequence[str], wanted: DataSpec, lines: Sequence[int]
) -> tuple[dict[str, _Cells], dict[str, _Cells]]:
    """Assign columns to inputs and targets. Targets have the columns in `names`; inputs have the columns of training,
    matched by name, or else all other columns in order."""
    named = [_named(table, name) for name in names]
    if len(wanted.targets) not in (1, len(named)):
        raise Incomplete(f"{len(named)} columns are named as targets, but the net has {len(wanted.targets)} targets")
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
