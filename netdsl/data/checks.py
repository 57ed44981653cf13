"""Checks before training starts: labels, counts, and finite numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.column import ArrayColumn, Column
from netdsl.data.errors import BadLabel, CountsDiffer, NotFinite, WrongShape, WrongType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.data.spec import Target


TAKER = "the target"


def check_counts(columns: Mapping[str, Column]) -> None:
    """Raise CountsDiffer unless all have as many examples as the first."""
    (_, first), *others = columns.items()
    for _, other in others:
        if len(other) != len(first):
            raise CountsDiffer(
                f"{first.path} has {len(first):,} examples, but {other.path} has {len(other):,}",
                "each example needs one entry in both, in the same order",
            )


def check_finite(column: ArrayColumn) -> None:
    """Raise NotFinite for the first NaN or infinity, and WrongType for a number outside the range of the target
    type."""
    found = column.array.dtype
    if found.kind != "f" and np.can_cast(found, column.dtype, "safe"):
        return
    for at, batch in zip(range(0, len(column), column.chunk), column.batches(column.chunk), strict=True):
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(batch))[0])
            inside = f", at {list(place[1:])}" if place[1:] else ""
            raise NotFinite(
                f"{column.name(at + place[0])} contains {batch[place]}{inside}", "training requires finite numbers"
            )


def target_column(path: str, array: Array, target: Target, where: Callable[[int], str] | None = None) -> ArrayColumn:
    """Return the examples of a target, checked. Raises BadLabel, NotFinite, WrongShape or WrongType."""
    if target.kind == "sequence":
        return _sequences(path, array, target, where)
    if not target.shape and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if target.kind == "value":
        column = ArrayColumn(path, array, target.shape, target.dtype, where, TAKER)
        check_finite(column)
        return column
    labels = ArrayColumn(path, array, target.shape, "float32" if array.dtype.kind == "f" else "int64", where, TAKER)
    if target.kind == "class":
        _check_classes(labels, target)
        return labels
    _check_signs(labels)
    signs = np.where(labels.array > 0, np.float32(1), np.float32(-1))
    return ArrayColumn(path, signs, labels.shape, target.dtype, where)


def _chunks(column: ArrayColumn) -> Iterator[tuple[int, Array]]:
    for at in range(0, len(column), column.chunk):
        yield at, np.asarray(column.array[at : at + column.chunk])


def _reject(column: ArrayColumn, at: int, chunk: Array, wrong: Array, wanted: str, *helps: str) -> None:
    """Raise BadLabel for the first invalid element, if any."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        inside = f" at {list(place[1:])}" if place[1:] else ""
        name = column.name(at + place[0])
        raise BadLabel(f"{name} is {chunk[place]}{inside}, but a label must be {wanted}", *helps)


def _check_classes(column: ArrayColumn, target: Target) -> None:
    assert target.classes is not None
    wanted = f"an integer from 0 to {target.classes - 1}"
    if target.ignore is not None and not 0 <= target.ignore < target.classes:
        wanted += f", or {target.ignore}, which is ignored"
    real = column.array.dtype.kind == "f"
    for at, chunk in _chunks(column):
        wrong = (chunk < 0) | (chunk >= target.classes)
        if target.ignore is not None:
            wrong &= chunk != target.ignore
        if real:
            with np.errstate(invalid="ignore"):
                wrong |= chunk != np.floor(chunk)
        if wrong.any():
            _reject(column, at, chunk, wrong, wanted, *_class_helps(column, target.classes))
    if real:
        raise WrongType(
            f"{column.path} contains {column.array.dtype.newbyteorder('=')}, but labels must be integers",
            "if all values are integers, convert them: `array.astype('int64')`",
        )


def _class_helps(column: ArrayColumn, classes: int) -> Iterator[str]:
    """Yield a hint if labels count from 1, or the net has too few classes."""
    lows, highs = zip(*((chunk.min(), chunk.max()) for _, chunk in _chunks(column)), strict=True)
    low, high = min(lows), max(highs)
    if (low, high) == (1, classes):
        yield "they count from 1: `array - 1`"
    elif low >= 0 and high >= classes:
        yield f"the net has {classes:,} classes, and labels up to {high:g} need {int(high) + 1:,}"


def _sequences(path: str, array: Array, target: Target, where: Callable[[int], str] | None) -> ArrayColumn:
    """Return sequences of symbols [N, U], checked, and padded to the size of the target if it has one."""
    if array.ndim != 2 or not array.shape[1]:
        raise WrongShape(
            f"{path} has shape {list(array.shape)}, but must be [examples, symbols], with symbols behind the end of a "
            "target given as -1"
        )
    if array.dtype.kind not in "iu":
        raise WrongType(
            f"{path} contains {array.dtype.newbyteorder('=')}, but symbols must be integers",
            *(["if all values are integers, convert them: `array.astype('int64')`"] if array.dtype.kind == "f" else ()),
        )
    column = ArrayColumn(path, array, array.shape[1:], "int64", where, TAKER)
    assert target.classes is not None
    wanted = f"a symbol from 0 to {target.classes - 1} except the blank, {target.blank}, or -1 behind the end"
    longest = target.shape[0] or 0 if target.shape else array.shape[1]
    for at, chunk in _chunks(column):
        _reject(column, at, chunk, (chunk < -1) | (chunk >= target.classes) | (chunk == target.blank), wanted)
        gap = np.zeros(chunk.shape, bool)
        gap[:, 1:] = (chunk[:, 1:] >= 0) & (chunk[:, :-1] < 0)
        _reject(column, at, chunk, gap, "-1, as the one before it, since -1 marks the end")
        if (long := (chunk[:, longest:] >= 0).any(1)).any():
            row = int(long.argmax())
            raise BadLabel(
                f"{column.name(at + row)} has {int((chunk[row] >= 0).sum())} symbols, but `longest` is {longest}",
                "`longest` is the number of symbols of the longest target",
            )
    if longest != array.shape[1]:
        padded = np.full((len(array), longest), -1, np.int64)
        size = min(longest, array.shape[1])
        padded[:, :size] = array[:, :size]
        column = ArrayColumn(path, padded, (longest,), "int64", where, TAKER)
    return column


def _check_signs(column: ArrayColumn) -> None:
    zeros = minus = False
    for at, chunk in _chunks(column):
        _reject(column, at, chunk, ~np.isin(chunk, (-1, 0, 1)), "-1 or 1 (or 0 or 1)")
        zeros, minus = zeros or bool((chunk == 0).any()), minus or bool((chunk == -1).any())
    if zeros and minus:
        for at, chunk in _chunks(column):
            _reject(column, at, chunk, chunk == -1, "-1 or 1, or 0 or 1, but not both 0 and -1")


def lone_label(column: ArrayColumn) -> object:
    """Return the label that all examples share, or None."""
    first = column.array[(0,) * column.array.ndim]
    return first if all((chunk == first).all() for _, chunk in _chunks(column)) else None
