"""Rewrite products of matrices as attention, and what rearranges axes around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.base.shape import Shape, elements
from netdsl.base.size import Undecidable
from netdsl.importing.tidy import Tidier, replaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.importing.flat import FlatLayer

HIDDEN = -1e4
"""A score that hides a key: models write -10,000, the least number, or minus infinity."""


@replaces("permute")
def _permuted_twice(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A permutation of a permutation."""
    before = layer.inputs[0]
    if before.kind != "permute":
        return None
    first, second = before.layer.axes, layer.layer.axes  # type: ignore[attr-defined]
    axes = tuple(first[axis] for axis in second)
    return permuted(tidier, layer, before.inputs[0], axes)


@replaces("reshape", "flatten")
def _reshaped_twice(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A reshape of a reshape, or of a part of one."""
    before = layer.inputs[0]
    if before.kind in ("reshape", "flatten"):
        return resized(tidier, layer, before.inputs[0], layer.shape)
    return _rows(tidier, layer, before, layer.shape)


def _rows(tidier: Tidier, like: FlatLayer, part: FlatLayer, shape: Shape) -> FlatLayer | None:
    """Return a part of the first axis of a reshape as a part of the first axis before it; None if it is none."""
    if part.kind != "slice" or part.layer.axis != 0 or part.inputs[0].kind != "reshape":  # type: ignore[attr-defined]
        return None
    split = part.inputs[0]
    (x,) = split.inputs
    try:
        chunk, row = elements(split.shape[1:]), elements(x.shape[1:])
        size = elements(part.shape) // row
    except Undecidable:
        return None
    start = part.layer.start * chunk  # type: ignore[attr-defined]
    if start < 0 or start % row or elements(part.shape) % row or shape != (size, *x.shape[1:]):
        return None
    arguments = {"axis": 0, "start": start // row, "stop": start // row + size}
    if arguments["stop"] == x.shape[0]:
        del arguments["stop"]
    return tidier.add(like, "slice", x, arguments)


def permuted(tidier: Tidier, like: FlatLayer, x: FlatLayer, axes: Sequence[int]) -> FlatLayer | None:
    """Return a permutation of a value, which is itself if nothing moves."""
    return x if [*axes] == [*range(len(axes))] else tidier.add(like, "permute", x, {"axes": tuple(axes)})


def resized(tidier: Tidier, like: FlatLayer, x: FlatLayer, shape: Shape) -> FlatLayer | None:
    """Return a value in another shape, which is itself if it has it."""
    while x.kind in ("reshape", "flatten"):
        x = x.inputs[0]
    if x.shape == shape:
        return x
    if (rows := _rows(tidier, like, x, shape)) is not None:
        return rows
    if len(shape) == 1:
        return tidier.add(like, "flatten", x)
    return tidier.add(like, "reshape", x, {"sizes": shape})


class Factor(NamedTuple):
    """A factor of a product: the value behind reshapes and factors, and the product of these."""

    x: FlatLayer
    scale: float


def factor_of(tidier: Tidier, layer: FlatLayer) -> Factor:
    scale = 1.0
    while layer.kind in ("scale", "reshape", "flatten") and tidier.readers.get(layer, 1) == 1:
        if layer.kind == "scale":
            scale *= layer.layer.a  # type: ignore[attr-defined]
        layer = layer.inputs[0]
    return Factor(layer, scale)


class _Scores(NamedTuple):
    """Scores of queries [h, I, d] against keys [h, d, J]: a factor, what is added, and whether each position sees only
    those before it."""

    queries: FlatLayer
    keys: FlatLayer
    scale: float
    bias: FlatLayer | None
    causal: bool


def _scores(tidier: Tidier, layer: FlatLayer) -> _Scores | None:
    """Return the scores that a layer computes, if it does."""
    scale, bias, causal = 1.0, None, False
    while tidier.is_only(layer, "scale", "add") if layer.kind != "matmul" else False:
        if layer.kind == "scale":
            scale *= layer.layer.a  # type: ignore[attr-defined]
            layer = layer.inputs[0]
            continue
        constants = [value for value in layer.inputs if value.kind in ("param", "values")]
        others = [value for value in layer.inputs if value not in constants]
        if len(constants) != 1 or len(others) != 1 or bias is not None or causal or scale != 1:
            return None
        causal = _is_causal(constants[0], layer.shape)
        bias = None if causal else constants[0]
        if bias is not None and bias.shape != layer.shape:
            return None
        layer = others[0]
    if not tidier.is_only(layer, "matmul") or len(layer.inputs) != 2:
        return None
    return _Scores(layer.inputs[0], layer.inputs[1], scale, bias, causal)


def _is_causal(constant: FlatLayer, shape: Shape) -> bool:
    """Return whether a constant hides what comes later, and nothing else."""
    if constant.kind != "param" or constant.shape[-2:] != shape[-2:] or constant.shape[-1] != constant.shape[-2]:
        return False
    mask = constant.weights["weight"].read() if constant.weights else np.zeros((1, 1))
    size = mask.shape[-1]
    mask = mask.reshape(-1, size, size)
    later = np.triu(np.ones((size, size), bool), 1)
    return bool(size > 1 and (mask[:, later] <= HIDDEN).all() and (mask[:, ~later] == 0).all())


@replaces("matmul")
def _attention(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """softmax(scale Q Kᵀ + bias) V, for each head."""
    if len(layer.inputs) != 2:
        return None
    weights, values = layer.inputs
    rank = len(layer.shape)
    if not tidier.is_only(weights, "softmax") or weights.layer.axis % rank != rank - 1 or rank != 3:  # type: ignore[attr-defined]
        return None
    scores = _scores(tidier, weights.inputs[0])
    if scores is None:
        return None
    heads, size = layer.shape[0], layer.shape[-1]
    try:
        width = elements(scores.keys.shape[1:2])
        whole = elements((heads, size))
    except Undecidable:
        return None
    queries = _columns(tidier, layer, scores.queries)
    keys = factor_of(tidier, scores.keys)
    shapes = [(heads * width, scores.queries.shape[1]), (heads * width, scores.keys.shape[-1])]
    found = _columns(tidier, layer, values)
    parts = [queries.x, keys.x, found.x]
    shaped = [
        resized(tidier, layer, x, shape) for x, shape in zip(parts, [*shapes, (whole, values.shape[1])], strict=True)
    ]
    arguments: dict[str, object] = {"heads": heads}
    scale = queries.scale * keys.scale * scores.scale
    if abs(scale * width**0.5 - 1) > 1e-6:
        arguments["scale"] = scale
    if scores.causal:
        arguments["causal"] = True
    operands = _joint(shaped, whole)  # type: ignore[arg-type]
    more = {} if scores.bias is None else {"values": {"bias": scores.bias}}
    y = tidier.net.add("attention", operands, arguments, path=layer.path, place=layer.place, **more)  # type: ignore[arg-type]
    if y is None or found.scale != 1:
        return None
    split = resized(tidier, layer, y, (heads, size, layer.shape[1]))
    return None if split is None else permuted(tidier, layer, split, (0, 2, 1))


def _columns(tidier: Tidier, like: FlatLayer, layer: FlatLayer) -> Factor:
    """Return a factor [h, I, d] as [h, d, I], without what only rearranges it."""
    outer = factor_of(tidier, layer)
    if outer.x.kind == "permute" and outer.x.shape == layer.shape and outer.x.layer.axes == (0, 2, 1):  # type: ignore[attr-defined]
        inner = factor_of(tidier, outer.x.inputs[0])
        return Factor(inner.x, outer.scale * inner.scale)
    turned = permuted(tidier, like, layer, (0, 2, 1))
    assert turned is not None
    return Factor(turned, 1.0)


def _joint(parts: list[FlatLayer], width: int) -> list[FlatLayer]:
    """Return queries, keys and values as the one value that they are thirds of, if they are."""
    sources = {part.inputs[0] for part in parts if part.kind == "slice"}
    if len(sources) != 1 or any(part.kind != "slice" or part.layer.axis != 0 for part in parts):  # type: ignore[attr-defined]
        return parts
    (source,) = sources
    starts = [part.layer.start for part in parts]  # type: ignore[attr-defined]
    third = parts[0].shape[0]
    whole = source.shape[0] == 3 * width and all(part.shape[0] == width for part in parts)
    return [source] if whole and third == width and starts == [0, width, 2 * width] else parts
