"""The output of a network for each example, as a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.backend.session import Array

    Record = dict[str, object]


def output_texts(outputs: dict[str, Array], top: int, classes: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Return a line for each example of a batch; `classes` are names by output. Several outputs are preceded by their
    names."""
    texts = [_texts(array, top, (classes or {}).get(name)) for name, array in outputs.items()]
    if len(texts) == 1:
        return texts[0]
    columns = [[f"{escape(name)}: {text}" for text in each] for name, each in zip(outputs, texts, strict=True)]
    return ["  ".join(parts) for parts in zip(*columns, strict=True)]


def output_records(
    outputs: dict[str, Array], top: int, classes: Mapping[str, Sequence[str]] | None = None
) -> list[Record]:
    """Return a JSON object for each example of a batch, with the contents of `output_texts`."""
    columns = {name: _objects(array, top, (classes or {}).get(name)) for name, array in outputs.items()}
    count = len(next(iter(outputs.values())))
    return [{name: column[at] for name, column in columns.items()} for at in range(count)]


def _objects(array: Array, top: int, labels: Sequence[str] | None) -> list[Record]:
    flat = array.reshape(len(array), -1)
    if flat.shape[1] == 1:
        return [{"value": _plain(value)} for (value,) in flat.tolist()]
    if _is_map(array):
        shape = list(array.shape[1:])
        if not flat.shape[1]:
            return [{"shape": shape, "min": None, "max": None} for _ in flat]
        return [{"shape": shape, "min": _plain(row.min().item()), "max": _plain(row.max().item())} for row in flat]
    named = labels if labels and len(labels) == flat.shape[1] else None
    return [{"top": [_class(at, value, named) for at, value in row]} for row in _ranked(flat, top)]


def _class(at: int, value: float, labels: Sequence[str] | None) -> Record:
    return {"class": at, **({"label": labels[at]} if labels else {}), "value": _plain(value)}


def _plain(value: float) -> float | str:
    """Replace numbers that JSON does not have."""
    return value if value - value == 0 else str(value)


def _is_map(array: Array) -> bool:
    return 0 in array.shape[1:] or sum(size > 1 for size in array.shape[1:]) > 1


def _texts(array: Array, top: int, labels: Sequence[str] | None) -> list[str]:
    """Format [n, *] as n texts: a single number; the largest values of a row with their indices, best first; shape and
    range of anything with more axes."""
    flat = array.reshape(len(array), -1)
    if flat.shape[1] == 1:
        return [f"{value:.6g}" for (value,) in flat.tolist()]
    if _is_map(array):
        shape = format_shape(array.shape[1:])
        return [f"{shape}, {row.min():.6g} to {row.max():.6g}" if row.size else f"{shape}, nothing" for row in flat]
    names = [escape(label) for label in labels] if labels and len(labels) == flat.shape[1] else range(flat.shape[1])
    return ["  ".join(f"{names[at]}: {value:.6g}" for at, value in row) for row in _ranked(flat, top)]


def _ranked(rows: Array, top: int) -> list[list[tuple[int, float]]]:
    """Return the best indices of each row with their values, [n, m]."""
    order = _best(rows)[:, :top]
    values = np.take_along_axis(rows, order, 1)
    return [list(zip(*row, strict=True)) for row in zip(order.tolist(), values.tolist(), strict=True)]


def _best(rows: Array) -> Array:
    """Return the order of the largest values first, [n, m] -> [n, m]; equal ones by index, NaN before all."""
    best: Array = rows.shape[1] - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1]
    return best
