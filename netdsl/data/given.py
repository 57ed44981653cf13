"""Data that a program passes: arrays, tensors of other libraries, and frames of pandas and polars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.data.kinds import DataKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.spec import DataSpec, Target


class FromPython(DataKind):
    """Data that a program passes, in place of a line `data`."""

    kind = "python"
    single = False
    sequences = untargeted = True

    def within(self, folder: str) -> Self:
        return self


class Pair(FromPython):
    """Arrays or frames, or for several inputs or targets, mappings of these by name."""

    def __init__(self, x: object, y: object) -> None:
        super().__init__()
        self._x = x
        self._y = y

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.sources import assembled
        from netdsl.ir.names import Names

        known = wanted.names or Names()
        self._check_target(wanted)
        xs, ys = _by_name(self._x, wanted.inputs), _by_name(self._y, wanted.targets)
        inputs = {name: (name, frame_array(x, name, known.columns.get(name, ()))) for name, x in xs.items()}
        columns = {name: columns_of(x) for name, x in xs.items() if columns_of(x)}
        targets, classes = {}, {}
        for name, y in ys.items():
            target = wanted.targets.get(name)
            if target is not None and target.kind == "sequence":
                texts = _texts(y)
                rows, names = (y, None) if texts is None else _symbols(texts, name, target, wanted)
                array = padded(rows, name)
            else:
                array, names = frame_array(y, name), None
            if target is not None and target.kind in ("class", "sign") and array.dtype.kind in "OUT":
                array, names = _numbers(array, name, target, wanted)
            targets[name] = name, array
            if names is not None:
                classes[name] = names
        return assembled(inputs, targets, wanted, wanted.names or Names(classes, columns))

    def _check_target(self, wanted: DataSpec) -> None:
        """Raise Incomplete without a target that a loss needs, and NoSuchTarget for one that none reads."""
        from netdsl.data.errors import Incomplete, NoSuchTarget

        if isinstance(self._y, Mapping):
            wanted.refuse_untargeted(self._y, "y")
        elif self._y is None and wanted.targets:
            raise Incomplete("there is no target y, but a loss compares an output with one", "pass x and y")
        elif self._y is not None and not wanted.targets:
            raise NoSuchTarget(
                "there is a target y, but no loss reads one: all are `mean`", "pass x alone, or (x, None)"
            )


def _texts(rows: object) -> list[list[str]] | None:
    """Return sequences that are texts, or lists of texts, as lists of texts; None for other sequences."""
    if getattr(getattr(rows, "dtype", None), "kind", "") in {*"OUT"}:
        rows = rows.tolist()  # type: ignore[attr-defined]
    if not isinstance(rows, list | tuple) or not all(isinstance(row, str | list | tuple) for row in rows):
        return None
    found = [[*row] for row in rows]
    parts = [part for row in found for part in row]
    return found if parts and all(isinstance(part, str) and part for part in parts) else None


def _symbols(
    rows: list[list[str]], name: str, target: Target, wanted: DataSpec
) -> tuple[list[list[int]], Sequence[str] | None]:
    """Return the numbers of symbols that are given by their names, and the names of all symbols. Raises
    ClassesDiffer."""
    from netdsl.data.labels import numbered

    def where(text: str) -> str:
        return f"{name}[{next(at for at, row in enumerate(rows) if text in row)}] has a symbol"

    found = {part for row in rows for part in row}
    numbers, names = numbered(found, name, f"{name} has", target, wanted, where)
    return [[numbers[part] for part in row] for row in rows], names


def padded(rows: object, name: str) -> Array:
    """Return sequences as an array [n, U], those in a list padded with -1 to the longest. Raises WrongType."""
    import numpy as np

    from netdsl.data.column import as_array

    if not isinstance(rows, list | tuple) or not rows:
        return as_array(rows, name)
    arrays = [as_array(row, f"{name}[{at}]") for at, row in enumerate(rows)]
    sizes = np.array([array.size for array in arrays])
    filled = [array for array in arrays if array.size]
    if any(array.ndim != 1 for array in arrays) or any(array.dtype.kind not in "iu" for array in filled):
        return as_array(rows, name)
    found = np.full((len(rows), max(1, sizes.max())), -1, np.int64)
    if filled:
        found[np.arange(found.shape[1]) < sizes[:, None]] = np.concatenate(filled)
    return found


def _by_name(part: object, names: Iterable[str]) -> Mapping[str, object]:
    return part if isinstance(part, Mapping) else dict.fromkeys(names, part)


def columns_of(value: object) -> tuple[str, ...]:
    """Return the names of a frame's columns; none for anything else."""
    is_frame = hasattr(value, "to_numpy") and hasattr(value, "__getitem__")
    return tuple(map(str, getattr(value, "columns", ()))) if is_frame else ()


def frame_array(value: object, name: str, trained: Sequence[str] = ()) -> Array:
    """Return an array; of a frame, its columns [n, columns] in the order of `trained`, or without these in its own.

    Raises WrongType for columns that are not numbers, and ColumnsDiffer.
    """
    import numpy as np

    from netdsl.data.column import as_array
    from netdsl.data.errors import ColumnsDiffer, WrongType

    columns = columns_of(value)
    if not columns:
        return as_array(value, name)
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise ColumnsDiffer(f"{name} has two columns `{twice}`")
    if trained and set(trained) != set(columns):
        missing = next((column for column in trained if column not in columns), None)
        if missing is not None:
            close = [f"did you mean `{word}`?" for word in suggest(missing, columns)[:1]]
            raise ColumnsDiffer(f"{name} has no column `{missing}`, which training had", *close)
        new = next(column for column in columns if column not in trained)
        raise ColumnsDiffer(f"{name} has a column `{new}`, which training did not have", "leave it out")
    keys = dict(zip(columns, value.columns, strict=True))  # type: ignore[attr-defined]
    arrays = {column: as_array(value[keys[column]], name) for column in trained or columns}  # type: ignore[index]
    if len(arrays) == 1:
        return next(iter(arrays.values()))[:, None]
    for column, array in arrays.items():
        if array.dtype.kind not in "biuf":
            kind = "Python objects" if array.dtype == object else str(array.dtype)
            raise WrongType(f"the column `{column}` of {name} contains {kind}, but must contain numbers")
    return np.stack([*arrays.values()], axis=1)


def _numbers(array: Array, name: str, target: Target, wanted: DataSpec) -> tuple[Array, Sequence[str] | None]:
    """Return the numbers of classes that are given by their names, and the names of all classes. Raises ClassesDiffer,
    and WrongType for anything but strings."""
    import numpy as np

    from netdsl.data.errors import WrongType
    from netdsl.data.labels import numbered

    texts = array.ravel().tolist()
    odd = next((at for at, text in enumerate(texts) if not isinstance(text, str)), None)
    if odd is not None:
        raise WrongType(f"{name}[{odd}] is {texts[odd]!r:.40}, but the names of classes are strings")

    def where(text: str) -> str:
        return f"{name}[{texts.index(text)}] is"

    numbers, names = numbered(texts, name, f"{name} has", target, wanted, where)
    return np.array([numbers[text] for text in texts], np.int64).reshape(array.shape), names
