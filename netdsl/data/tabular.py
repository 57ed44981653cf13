"""Data sets from tables: which columns are whose, and cells as numbers or classes."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.data.errors import BadLabel, BadTable, ClassesDiffer, Incomplete, NoExamples, NotFinite
from netdsl.data.reader import spell, type_of
from netdsl.data.sources import assembled
from netdsl.data.table import Table
from netdsl.diagnostics.suggest import suggest
from netdsl.diagnostics.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netdsl.data.dataset import Dataset
    from netdsl.data.reader import Array
    from netdsl.data.wanted import Target, Wanted


class _Cells:
    """The cells of some columns, as they are read: numbers, or texts."""

    __slots__ = ("_convert", "_lines", "names", "path", "places", "values")

    def __init__(self, table: Table, places: Sequence[int], dtype: str, lines: Sequence[int]) -> None:
        """`dtype` is `float64`, `int64` or `text`."""
        self.places = places
        self.names = [table.header[place] for place in places]
        self.values: Any = [] if dtype == "text" else array("q" if dtype == "int64" else "d")
        converters: dict[str, Callable[[str], Any]] = {"text": str.strip, "int64": int, "float64": float}
        self._convert = converters[dtype]
        self.path = table.path
        self._lines = lines

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
                what = f"holds {escape(text[:40])!r}, which is not {wanted}" if text else f"is empty; it holds {wanted}"
                where = f"{escape(self.path)}, line {line}, column {place + 1}"
                raise BadTable(f"{where}: `{escape(name)}` {what}", *(helps if text else [])) from None
        raise AssertionError("every cell can be converted")

    def place(self, index: int) -> str:
        """What to call a cell, by its number among those that are kept."""
        place = index % len(self.places)
        line = self._lines[index // len(self.places)]
        return f"{self.path}, line {line}, column {self.places[place] + 1} (`{self.names[place]}`)"

    def array(self, shape: Sequence[int | None]) -> Array:
        """The numbers as [n, *shape]. Raises NotFinite."""
        flat = np.frombuffer(self.values, "i8" if self.values.typecode == "q" else "f8")
        if not (finite := np.isfinite(flat)).all():
            at = int(np.argmin(finite))
            raise NotFinite(f"{escape(self.place(at))} holds {flat[at]}", "every step needs finite numbers")
        return flat.reshape(-1, *(size or 1 for size in shape))


def open_csv(path: str, target: Sequence[str], separator: str | None, wanted: Wanted) -> Dataset:
    """See `kinds.Csv`."""
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise BadTable(f"a separator is one character, and {escape(separator)!r} is none")
    table = Table(path, separator)
    try:
        return _read(table, target, wanted)
    finally:
        table.close()


def _read(table: Table, names: Sequence[str], wanted: Wanted) -> Dataset:
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
        raise NoExamples(f"{escape(table.path)} has a header and no rows")
    xs = {name: (table.path, part.array(wanted.inputs[name][0])) for name, part in inputs.items()}
    ys, classes = {}, wanted.classes
    for name, part in targets.items():
        labels, classes = _labels(part, wanted.targets[name], classes)
        ys[name] = table.path, labels
    return assembled(xs, ys, wanted, classes, {name: part.place for name, part in targets.items()})


def _named(table: Table, name: str) -> int:
    """A column's place."""
    if name in table.header:
        return table.header.index(name)
    near = suggest(name, table.header)
    raise Incomplete(
        f"{escape(table.path)} has no column `{escape(name)}`; it has {', '.join(map(escape, table.header[:20]))}",
        *([f"did you mean `{near[0]}`?"] if near else []),
    )


def _layout(
    table: Table, names: Sequence[str], wanted: Wanted, lines: Sequence[int]
) -> tuple[dict[str, _Cells], dict[str, _Cells]]:
    """Which columns are whose. The targets' are named, the others are the inputs' in order."""
    named = [_named(table, name) for name in names]
    if len(wanted.targets) not in (1, len(named)):
        raise Incomplete(f"{len(named)} columns are named as targets, and the net has {len(wanted.targets)} targets")
    parts = [named] if len(wanted.targets) == 1 else [[place] for place in named]
    targets = {}
    for (name, target), places in zip(wanted.targets.items(), parts, strict=True):
        _check_width(table, f"target `{name}`", len(places), target.shape)
        targets[name] = _Cells(table, places, "float64" if target.kind == "value" else "text", lines)
    rest = [place for place in range(len(table.header)) if place not in named]
    inputs = {}
    for number, (name, (shape, dtype)) in enumerate(wanted.inputs.items(), start=1):
        width = _width(shape) if number < len(wanted.inputs) else len(rest)
        places, rest = rest[:width], rest[width:]
        _check_width(table, f"input `{name}`", len(places), shape)
        whole = type_of(dtype).kind in "iu"
        inputs[name] = _Cells(table, places, "int64" if whole else "float64", lines)
    return inputs, targets


def _width(shape: Sequence[int | None]) -> int:
    return int(np.prod([size or 1 for size in shape]))


def _check_width(table: Table, what: str, found: int, shape: Sequence[int | None]) -> None:
    if None in shape or _width(shape) != found:
        raise Incomplete(
            f"{escape(table.path)} has {found} columns for the {what}, which takes {spell(tuple(shape))}",
            "the columns that are no targets are the inputs', in their order",
        )


def _labels(part: _Cells, target: Target, classes: tuple[str, ...] | None) -> tuple[Array, tuple[str, ...] | None]:
    """A target's values for `assembled`, and the classes' names where they are words."""
    if target.kind == "value":
        return part.array(target.shape), classes
    try:
        numbers = np.array([float(text) for text in part.values])
    except ValueError:
        return _from_words(part, target, classes)
    whole = np.isfinite(numbers) & (np.abs(numbers) < 2**53) & (numbers == np.floor(numbers))
    return numbers.astype(np.int64) if whole.all() else numbers, classes


def _from_words(part: _Cells, target: Target, classes: tuple[str, ...] | None) -> tuple[Array, tuple[str, ...]]:
    """Words as the numbers of their places in `classes`, or else in their sorted order."""
    found = sorted(set(part.values))
    most = 2 if target.kind == "sign" else target.classes
    assert most is not None
    names = tuple(found) if classes is None else classes
    if len(names) > most:
        some = ", ".join(map(escape, names[:8])) + (", …" if len(names) > 8 else "")
        raise ClassesDiffer(
            f"{escape(part.path)}: `{escape(part.names[0])}` holds {len(names)} classes ({some}), "
            f"and the net has {most}"
        )
    numbers = {name: number for number, name in enumerate(names)}
    if unknown := set(found) - numbers.keys():
        index = next(i for i, text in enumerate(part.values) if text in unknown)
        raise BadLabel(
            f"{escape(part.place(index))} is {escape(part.values[index])!r}, "
            f"and the classes are {', '.join(map(escape, names[:20]))}"
        )
    return np.array([numbers[text] for text in part.values]), names
