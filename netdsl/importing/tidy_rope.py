"""Rewrite products with cosines and sines of positions as rotary embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netdsl.base.shape import elements
from netdsl.base.size import Undecidable
from netdsl.importing.tidy import Tidier, replaces
from netdsl.importing.tidy_attention import resized

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer

TOLERANCE = 1e-4
"""Maximum difference of cosines and sines from those of recovered frequencies; the proof compares results."""


class _Rotated(NamedTuple):
    """Rotated channels of the heads of x [heads, d, L]: the first ones, with these cosines and sines [pairs, L], which
    are constants of the model with these names."""

    x: FlatLayer
    cos: Array
    sin: Array
    names: set[str]


@replaces("concat", "add")
def _rope(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """a cos - b sin and b cos + a sin for the halves a and b of each head, and its other channels."""
    if len(layer.shape) != 3:
        return None
    found = _halves(tidier, layer) if layer.kind == "concat" else _whole(layer)
    frequencies = None if found is None else _frequencies(found.cos, found.sin)
    if found is None or frequencies is None:
        return None
    heads, size = layer.shape[:2]
    try:
        channels = elements((heads, size))
    except Undecidable:
        return None
    x = resized(tidier, layer, found.x, (channels, layer.shape[2]))
    arguments: dict[str, object] = {"heads": heads, "base": _base(frequencies, found.cos, found.sin)}
    if 2 * len(frequencies) != size:
        arguments["part"] = 2 * len(frequencies) / elements((size,))
    y = None if x is None else tidier.add(layer, "rope", x, arguments)
    tidier.net.fixed |= found.names
    return None if y is None else resized(tidier, layer, y, layer.shape)


def _halves(tidier: Tidier, layer: FlatLayer) -> _Rotated | None:
    """Return what a concat of two rotated halves and the other channels rotates."""
    if layer.layer.axis != 1 or not 2 <= len(layer.inputs) <= 3:  # type: ignore[attr-defined]
        return None
    first, second, *rest = layer.inputs
    if not tidier.is_only(first, "sub") or not tidier.is_only(second, "add"):
        return None
    minus, plus = (tuple(_product(x) for x in each.inputs) for each in (first, second))
    for two in (plus, plus[::-1]):
        if len(minus) != 2 or len(two) != 2 or None in (*minus, *two):
            return None
        (a, cos), (b, sin) = minus  # type: ignore[misc]
        if two[0] == (b, cos) and two[1] == (a, sin):
            x = _whole_of(a)
            count: Any = a.shape[1]
            starts = [_start(part, x) for part in (a, b, *rest)]
            whole = x.shape == layer.shape and b.shape == a.shape and starts == [0, count, 2 * count][: len(starts)]
            return _Rotated(x, *tables, _names(cos, sin)) if whole and (tables := _tables(cos, sin)) else None
    return None


def _whole(layer: FlatLayer) -> _Rotated | None:
    """Return what x cos + (-b, a) sin rotates, in which the numbers of both halves are equal, or x cos + (b, a) sin, in
    which the sines of the first half have the other sign."""
    products = [_product(x) for x in layer.inputs]
    if len(products) != 2 or None in products:
        return None
    for (x, cos), (turned, sin) in (products, products[::-1]):  # type: ignore[misc]
        joined: Any = turned.layer
        if turned.kind != "concat" or joined.axis != 1 or len(turned.inputs) != 2:
            continue
        b, a = turned.inputs
        scaled: Any = b.layer
        negative = b.kind == "scale" and scaled.a == -1
        if (tables := _tables(cos, sin)) is None:
            return None
        count, b = a.shape[1], b.inputs[0] if negative else b
        if [_start(a, x), _start(b, x)] != [0, count] or x.shape != layer.shape or a.shape != b.shape:
            return None
        halves = [np.split(table, 2) for table in tables]
        if not negative:
            halves[1][0] = -halves[1][0]
        same = all(len(first) == count and np.array_equal(first, second) for first, second in halves)
        return _Rotated(x, halves[0][0], halves[1][0], _names(cos, sin)) if same else None
    return None


def _product(layer: FlatLayer) -> tuple[FlatLayer, FlatLayer] | None:
    """Return the value and the constant that a product has as factors."""
    if layer.kind != "mul" or len(layer.inputs) != 2:
        return None
    a, b = layer.inputs
    return (a, b) if _param(b) else (b, a) if _param(a) else None


def _param(layer: FlatLayer) -> FlatLayer | None:
    """Return the weight that a layer rearranges, if it does."""
    while layer.kind in ("permute", "reshape"):
        (layer,) = layer.inputs
    return layer if layer.kind == "param" and layer.weights else None


def _numbers(layer: FlatLayer) -> Array:
    """Return the elements of a weight that may be rearranged."""
    if layer.kind == "param":
        return layer.weights["weight"].read()
    made: Any = layer.layer
    inner = _numbers(layer.inputs[0])
    return inner.transpose(made.axes) if layer.kind == "permute" else inner.reshape(layer.shape)  # type: ignore[arg-type]


def _whole_of(part: FlatLayer) -> FlatLayer:
    """Return the value that a layer is a part of the channels of."""
    while part.kind == "slice" and part.layer.axis == 1:  # type: ignore[attr-defined]
        part = part.inputs[0]
    return part


def _start(part: FlatLayer, x: FlatLayer) -> int | None:
    """Return the channel of each head of x that a part begins with, None for a part of another value."""
    start = 0
    while part is not x and part.kind == "slice" and part.layer.axis == 1 and part.layer.start >= 0:  # type: ignore[attr-defined]
        start += part.layer.start  # type: ignore[attr-defined]
        part = part.inputs[0]
    return start if part is x else None


def _tables(cos: FlatLayer, sin: FlatLayer) -> tuple[Array, Array] | None:
    """Return cosines and sines [pairs, L], which are the same for all heads."""
    if cos.shape[:1] != (1,) or cos.shape != sin.shape:
        return None
    first, second = (_numbers(each)[0].astype(np.float64) for each in (cos, sin))
    return first, second


def _names(cos: FlatLayer, sin: FlatLayer) -> set[str]:
    """Return the names of the constants of two tables."""
    sources = [param.weights["weight"].source for each in (cos, sin) if (param := _param(each)) is not None]
    return {str(source[0]) for source in sources if source}


def _frequencies(cos: Array, sin: Array) -> Array | None:
    """Return the float32 angles at position 1, whose multiples have these cosines and sines; None if there are none.

    The angle at the position 2ᵏ is exactly 2ᵏ times that at 1, so that larger positions make it more exact.
    """
    count = cos.shape[-1]
    if count < 2:
        return None
    found = np.arctan2(sin[:, 1], cos[:, 1])
    place = 2
    while place < count:
        angle = np.arctan2(sin[:, place], cos[:, place])
        found = (angle + 2 * np.pi * np.round((place * found - angle) / (2 * np.pi))) / place
        place *= 2
    nearest = found.astype(np.float32)
    tried = [nearest, np.nextafter(nearest, np.float32(0)), np.nextafter(nearest, np.float32(4))]
    errors = np.stack([_errors(each, cos, sin) for each in tried])
    best: Array = np.take_along_axis(np.stack(tried), errors.sum(-1).argmin(0)[None], 0)[0]
    return best if _errors(best, cos, sin).max() <= TOLERANCE and best.min() > 0 else None


def _errors(frequencies: Array, cos: Array, sin: Array) -> Array:
    """Return the differences of cosines and sines from those of frequencies."""
    angles = np.arange(cos.shape[-1], dtype=np.float32) * frequencies[:, None]
    found: Array = np.abs(np.cos(angles) - cos) + np.abs(np.sin(angles) - sin)
    return found


def _base(frequencies: Array, cos: Array, sin: Array) -> float | tuple[float, ...]:
    """Return the number of which frequencies are powers, as far as the tables tell, or else themselves."""
    count = len(frequencies)
    if count > 1 and abs(frequencies[0] - 1) <= 1e-6 and frequencies[-1] < 1:
        least = 2 * float(_errors(frequencies, cos, sin).max()) + 1e-6
        exact = float(frequencies[-1]) ** (-count / (count - 1))
        for digits in range(1, 8):
            base = float(f"{exact:.{digits}g}")
            powers = np.array([base ** (-2 * i / (2 * count)) for i in range(count)], np.float32)
            if _errors(powers, cos, sin).max() <= least:
                return base
    return tuple(float(each) for each in frequencies)
