"""How a net is compiled: a program's arguments, held against what the compiler takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike

    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile

    Weights = str | os.PathLike[str] | Mapping[str, ArrayLike]
    Precision = Literal["f32", "f16"]
    Matching = Literal["name", "order"]

LARGEST = 2**31 - 1
SEEDS = 2**63 - 1
MATCHINGS = ("name", "order")
PRECISIONS = ("f32", "f16")


def options(
    weights: WeightFile | None, seed: int, batch: int | None, opset: int, dtype: Precision, io: Precision = "f32"
) -> dict[str, Any]:
    """Keyword arguments for the compiler. Raises TypeError or ValueError."""
    from netdsl.emit import OPSETS

    for name, precision in (("dtype", dtype), ("io", io)):
        if precision not in PRECISIONS:
            raise ValueError(f"{name} is 'f32' or 'f16', not {precision!r}")
    if io == "f16" != dtype:
        raise ValueError("io='f16' goes with dtype='f16'")
    return {
        "seed": between("seed", seed, 0, SEEDS),
        "batch": None if batch is None else between("batch", batch, 1, LARGEST),
        "opset": between("opset", opset, OPSETS[0], OPSETS[-1]),
        "dtype": dtype,
        "io": io,
        "weights": weights,
    }


def opened(weights: Weights | None) -> WeightFile | None:
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        from netdsl.weights.mapping import MappedWeights

        return MappedWeights(weights)
    from netdsl.weights.file import open_weights

    return open_weights(os.fsdecode(weights))


def fitted(
    net: Net,
    weights: Weights | None,
    rename: Mapping[str, str] | None = None,
    match: Matching = "name",
    *,
    allow_nonfinite: bool = False,
) -> WeightFile | None:
    """The weights as the net calls them. Raises TypeError or ValueError, and UserError where they do not fit."""
    if match not in MATCHINGS:
        raise ValueError(f"match is 'name' or 'order', not {match!r}")
    rename = {} if rename is None else rename
    if not isinstance(rename, Mapping) or not all(isinstance(text, str) for pair in rename.items() for text in pair):
        raise TypeError(f"rename is a mapping from patterns to texts, not {rename!r}")
    if weights is None and (rename or match == "order" or allow_nonfinite):
        raise TypeError("rename, match and allow_nonfinite go with weights")
    file = opened(weights)
    if file is None or not (rename or match == "order" or allow_nonfinite):
        return file
    from netdsl.weights.fit import fit
    from netdsl.weights.rename import Rule

    rules = [Rule(pattern, to, f"rename {pattern!r}: {to!r}") for pattern, to in rename.items()]
    return fit(net, file, rules=rules, order=match == "order", any_value=allow_nonfinite)


def between(name: str, number: int, low: int, high: int) -> int:
    """A number within bounds. Raises TypeError or ValueError."""
    wrong = f"{name} is a whole number from {low} to {high}, not {number!r}"
    try:
        whole = index(number)
    except TypeError:
        raise TypeError(wrong) from None
    if not low <= whole <= high:
        raise ValueError(wrong)
    return whole
