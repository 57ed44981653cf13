"""Rewrite products of matrices as attention, and what rearranges axes around them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.base.shape import Shape, elements
from netdsl.base.size import Undecidable
from netdsl.importing.masks import condition_of, unshaped
from netdsl.importing.onnx_constants import HIDDEN
from netdsl.importing.tidy import Tidier, replaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.importing.flat import FlatLayer


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


@replaces("reshape")
def _joined_after(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A permutation whose reshape joins or removes axes that are neighbors before it: a permutation of fewer axes."""
    before = layer.inputs[0]
    groups = _groups(before, layer.shape) if before.kind == "permute" else None
    if not groups or not any(groups):
        return None
    (x,) = before.inputs
    order = sorted(range(len(groups)), key=lambda at: groups[at])
    small = resized(tidier, layer, x, tuple(layer.shape[at] for at in order))
    return None if small is None else permuted(tidier, layer, small, [order.index(at) for at in range(len(groups))])


def _groups(permute: FlatLayer, shape: Shape) -> list[list[int]] | None:
    """Return the axes before a permutation that each axis of a smaller shape joins, but for those of size 1; None if
    these are no neighbors, or the sizes are not all known."""
    x = permute.inputs[0].shape
    if not all(isinstance(size, int) and size > 1 for size in shape) or not all(isinstance(size, int) for size in x):
        return None
    axes = [axis for axis in permute.layer.axes if x[axis] != 1]  # type: ignore[attr-defined]
    kept = sorted(axes)
    if len(shape) >= len(x):
        return None
    found: list[list[int]] = []
    for size in shape:
        group: list[int] = []
        left = size
        while left != 1:
            if not axes or left % x[axes[0]]:
                return None
            left //= x[axes[0]]
            group.append(axes.pop(0))
        first = kept.index(group[0])
        if group != kept[first : first + len(group)]:
            return None
        found.append(group)
    return found


@replaces("concat")
def _joined_before(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Permutations that are joined: a permutation of what is joined."""
    first = layer.inputs[0]
    if any(not tidier.is_only(x, "permute") or x.layer.axes != first.layer.axes for x in layer.inputs):  # type: ignore[attr-defined]
        return None
    axes = first.layer.axes  # type: ignore[attr-defined]
    axis = axes[layer.layer.axis % len(axes)]  # type: ignore[attr-defined]
    inner = [x.inputs[0] for x in layer.inputs]
    joined = tidier.net.add("concat", inner, {"axis": axis}, path=layer.path, place=layer.place)
    return None if joined is None else permuted(tidier, layer, joined, axes)


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
    """Scores of queries [h, I, d] against keys [h, d, J]: a factor, what is added, whether each position sees only
    those before it, and the condition of the keys that are seen; others have the score `hidden`."""

    queries: FlatLayer
    keys: FlatLayer
    scale: float = 1.0
    bias: FlatLayer | None = None
    causal: bool = False
    seen: FlatLayer | None = None
    hidden: float = 0.0


def _scores(tidier: Tidier, layer: FlatLayer, readers: int = 1) -> _Scores | None:
    """Return the scores that a layer computes, if it does, and is read at most so often."""
    if tidier.readers.get(layer, 1) > readers:
        return None
    if layer.kind == "matmul" and len(layer.inputs) == 2:
        return _Scores(*layer.inputs)
    if layer.kind == "scale":
        inner = _scores(tidier, layer.inputs[0])
        return inner._replace(scale=inner.scale * layer.layer.a) if inner and _is_plain(inner) else None  # type: ignore[attr-defined]
    if layer.kind == "where" and layer.layer.number <= HIDDEN:  # type: ignore[attr-defined]
        inner = _scores(tidier, layer.inputs[1])
        return _masked(inner, layer)
    if layer.kind != "add" or len(layer.inputs) != 2:
        return None
    for x, added in (layer.inputs, layer.inputs[::-1]):
        inner = _scores(tidier, x)
        if inner is None:
            continue
        if unshaped(added).kind == "hidden":
            return _masked(inner, unshaped(added))
        if _is_causal(added, layer.shape):
            return inner._replace(causal=True) if inner.seen is None and not inner.causal else None
        fits = added.shape == layer.shape or (len(layer.shape) == 4 and _resizes(added.shape, layer.shape))
        return inner._replace(bias=added) if fits and _is_plain(inner) else None
    return None


def _masked(scores: _Scores | None, mask: FlatLayer) -> _Scores | None:
    """Return scores of which a layer hides some."""
    if scores is None or scores.seen is not None or scores.causal:
        return None
    return scores._replace(seen=mask.inputs[0], hidden=mask.layer.number)  # type: ignore[attr-defined]


def _is_plain(scores: _Scores) -> bool:
    """Return whether scores are products alone."""
    return scores.bias is None and not scores.causal and scores.seen is None


def _resizes(a: Shape, b: Shape) -> bool:
    """Return whether two shapes have equally many elements."""
    try:
        return elements(a) == elements(b)
    except Undecidable:
        return False


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
    """softmax(scale Q Kᵀ + bias) V, for each head; or [kv, heads / kv, I, J] for heads that share keys and values."""
    rank = len(layer.shape)
    if len(layer.inputs) != 2 or rank not in (3, 4):
        return None
    weights, values = layer.inputs
    scores = _probabilities(tidier, weights)
    if scores is None or (rank == 4 and (scores.keys.shape[1], values.shape[1]) != (1, 1)):
        return None
    kv, size = layer.shape[0], layer.shape[-1]
    try:
        heads = elements(layer.shape[:-2])
        width = elements(scores.keys.shape[-2:-1])
        whole = elements((kv, size))
    except Undecidable:
        return None
    queries = _columns(tidier, layer, scores.queries)
    keys = factor_of(tidier, scores.keys)
    found = _columns(tidier, layer, values)
    shapes = [(heads * width, scores.queries.shape[-2]), (kv * width, scores.keys.shape[-1]), (whole, values.shape[-2])]
    parts = [queries.x, keys.x, found.x]
    shaped = [resized(tidier, layer, x, shape) for x, shape in zip(parts, shapes, strict=True)]
    arguments: dict[str, object] = {"heads": heads}
    scale = queries.scale * keys.scale * scores.scale
    if abs(scale * width**0.5 - 1) > 1e-6:
        arguments["scale"] = scale
    arguments |= {"causal": True} if scores.causal else {}
    more = _conditions(tidier, layer, scores, (heads, *layer.shape[-2:-1], scores.keys.shape[-1]))
    if more is None or found.scale != 1:
        return None
    operands = _joint(shaped, whole)  # type: ignore[arg-type]
    y = tidier.net.add("attention", operands, arguments, path=layer.path, place=layer.place, values=more)
    if y is None:
        return None
    if scores.seen is not None and scores.hidden != -inf:
        why = "they are 0, and in the model the mean of all values"
        tidier.net.leave_out("results of queries that see no key", layer.place, why)
    split = resized(tidier, layer, y, (*layer.shape[:-2], size, layer.shape[-2]))
    return None if split is None else permuted(tidier, layer, split, (*range(rank - 2), rank - 1, rank - 2))


def _probabilities(tidier: Tidier, layer: FlatLayer) -> _Scores | None:
    """Return the scores whose softmax over the keys a layer is, with -∞ for hidden ones if a query that sees no key has
    the result 0, or none. Without a product with the condition, it has the mean of all values."""
    seen = None
    if tidier.is_only(layer, "mul") and len(layer.inputs) == 2:
        p, shown = layer.inputs if layer.inputs[0].kind == "softmax" else layer.inputs[::-1]
        shown = unshaped(shown)
        if shown.kind != "float":
            return None
        layer, seen = p, shown.inputs[0]
    last = len(layer.shape) - 1
    if not tidier.is_only(layer, "softmax") or layer.layer.axis % (last + 1) != last:  # type: ignore[attr-defined]
        return None
    (x,) = layer.inputs
    if seen is not None and seen.kind == "greater" and seen.inputs[0] is x:
        least = seen.layer.number  # type: ignore[attr-defined]
        scores = _scores(tidier, x, 2) if x.kind != "max" else _scores(tidier, _behind_minimum(x, least))
        return scores._replace(hidden=-inf) if scores is not None and least <= HIDDEN else None
    found = _scores(tidier, x)
    if found is None or seen is None:
        return found
    same = found.seen is not None and condition_of(found.seen) == condition_of(seen)
    return found._replace(hidden=-inf) if same else None


def _behind_minimum(layer: FlatLayer, least: float) -> FlatLayer:
    """Return what a layer limits from below by a score that hides a key, or the layer itself."""
    constants = [x for x in layer.inputs if x.kind == "values" and x.layer.numbers == (least,)]  # type: ignore[attr-defined]
    others = [x for x in layer.inputs if x not in constants]
    return others[0] if len(constants) == len(others) == 1 else layer


def _conditions(tidier: Tidier, like: FlatLayer, scores: _Scores, shape: Shape) -> dict[str, FlatLayer] | None:
    """Return the bias, the mask and the segments of scores; None if their condition is another one."""
    more: dict[str, FlatLayer] = {}
    if scores.seen is not None:
        found = condition_of(scores.seen)
        if found is None:
            return None
        name, numbers = found
        x = resized(tidier, like, numbers, shape[-1:]) if _resizes(numbers.shape, shape[-1:]) else None
        if x is None:
            return None
        more[name] = x
    if scores.bias is not None:
        bias = resized(tidier, like, scores.bias, shape)
        if bias is None:
            return None
        more["bias"] = bias
    return more


def _columns(tidier: Tidier, like: FlatLayer, layer: FlatLayer) -> Factor:
    """Return a factor [h, I, d] as [h, d, I], without what only rearranges it."""
    outer = factor_of(tidier, layer)
    last = len(layer.shape) - 1
    swapped = (*range(last - 1), last, last - 1)
    if outer.x.kind == "permute" and outer.x.shape == layer.shape and outer.x.layer.axes == swapped:  # type: ignore[attr-defined]
        inner = factor_of(tidier, outer.x.inputs[0])
        return Factor(inner.x, outer.scale * inner.scale)
    turned = permuted(tidier, like, layer, swapped)
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
