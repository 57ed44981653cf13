"""Values of an ONNX model as values of a flat list, whose axes have another order."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.base.shape import product
from netdsl.base.size import Size, Undecidable
from netdsl.importing.onnx_fold import BATCH, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim, Shape
    from netdsl.importing.flat import FlatLayer, FlatNet


class Moved(NamedTuple):
    """A value of the model: axis i of it is axis `order[i]` of the layer's result, in which 0 is the batch.

    A Transpose only changes the order; a layer `permute` is added where a layer needs its axes in another one.
    """

    layer: FlatLayer
    order: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """The sizes of the value in the model, with the batch."""
        sizes: Shape = (BATCH, *self.layer.shape)
        return tuple(sizes[axis] for axis in self.order)

    @property
    def rank(self) -> int:
        return len(self.order)


def plain(layer: FlatLayer | None) -> Moved | None:
    """Return a layer's result with its axes in order."""
    return None if layer is None else Moved(layer, tuple(range(len(layer.shape) + 1)))


def like(layer: FlatLayer | None, order: Sequence[int]) -> Moved | None:
    """Return a layer's result with the order of axes of another value."""
    return None if layer is None else Moved(layer, tuple(order))


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the order of a value whose last axis is the channels."""
    return (0, *range(2, rank), 1)


def ordered(net: FlatNet, x: Moved, order: Sequence[int], place: str) -> Moved | None:
    """Return a value with its axes in this order, after a `permute` if it needs one. Raises Unsupported."""
    order = tuple(order)
    if x.order == order:
        return x
    if order.index(0) != x.order.index(0):
        raise Unsupported("a batch axis that moves")
    axes = [x.order[order.index(axis)] - 1 for axis in range(1, x.rank)]
    return like(net.add("permute", [x.layer], {"axes": tuple(axes)}, place=place), order)


def reshaped(net: FlatNet, x: Moved, target: Sequence[Dim], place: str) -> Moved | None:
    """Return a value with these sizes, with the batch. Axes that are neither split nor joined keep their places. Raises
    Unsupported."""
    groups = _groups(x.shape, target)
    if groups is None or any(x.order.index(0) in ins and (len(ins), len(outs)) != (1, 1) for ins, outs in groups):
        raise Unsupported("a reshape that mixes the batch with other axes")
    for ins, outs in groups:
        axes = [x.order[axis] for axis in ins]
        if (len(ins), len(outs)) != (1, 1) and any(b != a + 1 for a, b in pairwise(axes)):
            if x.order.index(0) != 0:
                raise Unsupported("a reshape that mixes the batch with other axes")
            turned = ordered(net, x, range(x.rank), place)
            return None if turned is None else reshaped(net, turned, target, place)
    return _regrouped(net, x, target, groups, place)


def _groups(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[list[int], list[int]]] | None:
    """Return the shortest runs of axes with equal numbers of elements; None if sizes known only at run time differ.

    A run without axes on one side is of sizes 1 on the other.
    """
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j]:
            found.append(([i], [j]))
            i, j = i + 1, j + 1
            continue
        if i < len(before) and before[i] == 1:
            found.append(([i], []))
            i += 1
            continue
        if j < len(after) and after[j] == 1:
            found.append(([], [j]))
            j += 1
            continue
        if i == len(before) or j == len(after):
            return None
        run = _run(before[i:], after[j:])
        if run is None:
            return None
        found.append(([*range(i, i + run[0])], [*range(j, j + run[1])]))
        i, j = i + run[0], j + run[1]
    return found


def _run(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int] | None:
    """Return how many sizes of both shapes have the same product, at least one of each; None if that is unknown."""
    i = j = 1
    try:
        while (left := product(tuple(before[:i]))) != (right := product(tuple(after[:j]))):
            if isinstance(left, int) and (isinstance(right, Size) or left < right):
                i += 1
            else:
                j += 1
            if i > len(before) or j > len(after):
                return None
    except Undecidable:
        return None
    return i, j


def _regrouped(
    net: FlatNet, x: Moved, target: Sequence[Dim], groups: list[tuple[list[int], list[int]]], place: str
) -> Moved | None:
    """Return a value whose runs of axes are split and joined where they are in the layer's result."""
    by_first: dict[int, list[int]] = {}
    previous = 0
    for ins, outs in groups:
        if ins:
            previous = x.order[ins[0]]
            by_first.setdefault(previous, []).extend(outs)
        else:  # a new axis of size 1, behind the axis that precedes it
            by_first.setdefault(previous, []).extend(outs)
    layout = [out for axis in range(x.rank) for out in by_first.get(axis, ())]
    batch = next(outs[0] for ins, outs in groups if ins and x.order[ins[0]] == 0)
    layout = [batch, *(out for out in layout if out != batch)]
    sizes = tuple(target[out] for out in layout[1:])
    order = tuple(layout.index(out) for out in range(len(target)))
    if sizes == x.layer.shape:
        return Moved(x.layer, order)
    if not sizes:
        raise Unsupported("a single number for each example")
    if len(sizes) == 1:
        return like(net.add("flatten", [x.layer], place=place), order)
    return like(net.add("reshape", [x.layer], {"sizes": sizes}, place=place), order)


def against(x: Moved, array: Array) -> Array:
    """Return a constant operand of a value with the axes of its layer's result, without the batch. Raises
    Unsupported."""
    if array.ndim > x.rank:
        raise Unsupported(f"a constant of {array.ndim} axes beside a value of {x.rank}")
    wide = array.reshape((1,) * (x.rank - array.ndim) + array.shape)
    turned = wide.transpose([x.order.index(axis) for axis in range(x.rank)])
    if turned.shape[0] != 1:
        raise Unsupported("a constant that differs between the examples of a batch")
    found: Array = np.asarray(turned[0])
    return found
