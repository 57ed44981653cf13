"""What a network says of each example, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.diagnostics.terminal import escape

if TYPE_CHECKING:
    from netdsl.session import Array


def lines(outputs: dict[str, Array], top: int) -> list[str]:
    """A line for each example of a batch. With several outputs each has its name before it."""
    columns = [[f"{escape(name)}: {text}" for text in _texts(array, top)] for name, array in outputs.items()]
    if len(columns) == 1:
        return _texts(next(iter(outputs.values())), top)
    return ["  ".join(parts) for parts in zip(*columns, strict=True)]


def _texts(array: Array, top: int) -> list[str]:
    """[n, *] -> n texts: a single number; of a row its largest values with their places, the best first; of what has
    more axes its shape and range."""
    flat = array.reshape(len(array), -1)
    if flat.shape[1] == 1:
        return [f"{value:.6g}" for (value,) in flat.tolist()]
    if flat.shape[1] == 0 or sum(size > 1 for size in array.shape[1:]) > 1:
        shape = "x".join(map(str, array.shape[1:]))
        return [f"{shape}, {row.min():.6g} to {row.max():.6g}" if row.size else f"{shape}, nothing" for row in flat]
    order = _best(flat)[:, :top]
    rows = zip(order.tolist(), np.take_along_axis(flat, order, 1).tolist(), strict=True)
    return ["  ".join(f"{at}: {value:.6g}" for at, value in zip(*row, strict=True)) for row in rows]


def _best(rows: Array) -> Array:
    """[n, m] -> [n, m]: the places of the largest values first, of equal ones the lower place, NaN before all."""
    best: Array = rows.shape[1] - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1]
    return best
