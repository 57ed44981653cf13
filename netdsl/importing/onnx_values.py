"""Values of an ONNX model as values of a flat list, whose axes have another order, or are split or joined."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.base.shape import elements, product
from netdsl.base.size import Size
from netdsl.importing.onnx_fold import BATCH, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim, Shape
    from netdsl.importing.flat import FlatLayer, FlatNet

    Axes = tuple[tuple[int, ...], ...]

MIXED = "it mixes the batch with other axes"


class Moved(NamedTuple):
    """A value of the model. Axis i of it joins the axes `axes[i]` of the layer's result, in which 0 is the batch; with
    none, its size is 1. Axes of the result that occur nowhere have size 1.

    A Transpose only changes the order, and a Reshape that joins axes only joins them here: layers `permute` and
    `reshape` are added where a layer needs its axes as they are in the model.
    """

    layer: FlatLayer
    axes: Axes

    @property
    def sizes(self) -> Shape:
        """The sizes of the layer's result, with the batch."""
        return (BATCH, *self.layer.shape)

    @property
    def shape(self) -> Shape:
        """The sizes of the value in the model, with the batch."""
        sizes = self.sizes
        return tuple(product(tuple(sizes[axis] for axis in joined)) for joined in self.axes)

    @property
    def rank(self) -> int:
        return len(self.axes)

    @property
    def is_simple(self) -> bool:
        """Whether each axis is one of the layer's result."""
        return self.rank == len(self.layer.shape) + 1 and all(len(joined) == 1 for joined in self.axes)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of the layer's result, one for each axis. Raises Unsupported if there are others."""
        if not self.is_simple:
            raise Unsupported(MIXED)
        return tuple(joined[0] for joined in self.axes)


def plain(layer: FlatLayer | None) -> Moved | None:
    """Return a layer's result with its axes in order."""
    return None if layer is None else like(layer, range(len(layer.shape) + 1))


def like(layer: FlatLayer | None, axes: Iterable[int | tuple[int, ...]]) -> Moved | None:
    """Return a layer's result with the axes of another value."""
    if layer is None:
        return None
    return Moved(layer, tuple(axis if isinstance(axis, tuple) else (axis,) for axis in axes))


def _needed(value: Moved | None) -> Moved:
    """Return a value. Raises Unsupported if its layer was refused."""
    if value is None:
        raise Unsupported("")
    return value


# --- settling: layers that bring the axes into being ---


def settled(net: FlatNet, x: Moved, place: str, order: Sequence[int] = ()) -> Moved:
    """Return a value each of whose axes is one of its layer's result, new ones of size 1 in an `order` if they can be.
    Raises Unsupported."""
    if x.is_simple:
        return x
    if (0,) not in x.axes or sum(0 in joined for joined in x.axes) != 1:
        raise Unsupported(MIXED)
    inner = [joined for joined in x.axes if joined != (0,)]
    atoms = [axis for joined in inner for axis in joined]
    hidden = [axis for axis in range(1, len(x.layer.shape) + 1) if axis not in atoms]
    if not all(_adjacent(joined, hidden) for joined in inner):
        atoms_first = (*atoms, *hidden)
        layer = _rearranged(net, "permute", x.layer, tuple(axis - 1 for axis in atoms_first), place)
        new = {axis: at for at, axis in enumerate(atoms_first, 1)} | {0: 0}
        return settled(net, _needed(like(layer, (tuple(new[a] for a in joined) for joined in x.axes))), place, order)
    keys: list[tuple[int, int]] = []
    last = 0
    for at, joined in enumerate(inner):  # an axis of size 1 that is new stands behind the one before it
        last = joined[0] if joined else last
        keys.append((last, at))
    layout = sorted(range(len(inner)), key=keys.__getitem__)
    if order:
        places = [at for at, joined in zip(order, x.axes, strict=True) if joined != (0,)]
        wanted = sorted(range(len(inner)), key=places.__getitem__)
        if [at for at in wanted if inner[at]] == [at for at in layout if inner[at]]:
            layout = wanted
    sizes = tuple(product(tuple(x.sizes[axis] for axis in inner[at])) for at in layout)
    if not sizes:
        raise Unsupported("it is a single number for each example")
    layer = _resized(net, x.layer, sizes, place)
    found = iter([layout.index(at) + 1 for at in range(len(inner))])
    return _needed(like(layer, (0 if joined == (0,) else next(found) for joined in x.axes)))


def is_joined(x: Moved) -> bool:
    """Return whether a value only joins neighboring axes of its layer's result, none of them the batch."""
    inner = [joined for joined in x.axes if joined != (0,)]
    neighbors = (0,) in x.axes and all(0 not in joined and _adjacent(joined, ()) for joined in inner)
    return neighbors and any(len(joined) > 1 for joined in inner)


def _adjacent(joined: Sequence[int], hidden: Sequence[int]) -> bool:
    """Return whether axes stand one behind another, but for those of size 1."""
    return all(a < b and all(axis in hidden for axis in range(a + 1, b)) for a, b in pairwise(joined))


def _resized(net: FlatNet, x: FlatLayer, sizes: Shape, place: str) -> FlatLayer | None:
    if sizes == x.shape:
        return x
    return _rearranged(net, "flatten" if len(sizes) == 1 else "reshape", x, sizes, place)


def _rearranged(net: FlatNet, kind: str, x: FlatLayer, how: tuple[Dim, ...], place: str) -> FlatLayer | None:
    """Return a permutation or a reshape of a value, for all that read it the same one."""
    if (kind, x, how) not in net.rearranged:
        arguments = {} if kind == "flatten" else {"axes" if kind == "permute" else "sizes": how}
        net.rearranged[kind, x, how] = net.add(kind, [x], arguments, place=place)
    return net.rearranged[kind, x, how]


def ordered(net: FlatNet, x: Moved, order: Sequence[int], place: str) -> Moved:
    """Return a value with its axes in this order, after a `permute` if it needs one. Raises Unsupported."""
    order = tuple(order)
    x = settled(net, x, place, order)
    if x.order == order:
        return x
    if order.index(0) != x.order.index(0):
        raise Unsupported("its batch is another axis")
    axes = [x.order[order.index(axis)] - 1 for axis in range(1, x.rank)]
    return _needed(like(_rearranged(net, "permute", x.layer, tuple(axes), place), order))


def with_channels(net: FlatNet, x: Moved, place: str) -> Moved:
    """Return a value whose last axis is the channels, the first axis of its layer's result; the others can be joined.
    Raises Unsupported."""
    last = x.axes[-1]
    if not last or 0 in last:
        raise Unsupported("its last axis is the batch, or has size 1")
    if len(last) > 1 and is_joined(x):
        x = settled(net, x, place)
        last = x.axes[-1]
    order = (*last, *(axis for axis in range(1, len(x.layer.shape) + 1) if axis not in last))
    layer: FlatLayer | None = x.layer
    if order != tuple(range(1, len(order) + 1)):
        layer = _rearranged(net, "permute", x.layer, tuple(axis - 1 for axis in order), place)
    layer = _needed(like(layer, ())).layer
    count = len(last)
    layer = _resized(net, layer, (product(layer.shape[:count]), *layer.shape[count:]), place)
    new = {axis: max(at - count + 1, 1) for at, axis in enumerate(order, 1)} | {0: 0}
    return _needed(like(layer, (*(tuple(new[a] for a in joined) for joined in x.axes[:-1]), (1,))))


# --- reshaping ---


def fixed_shape(net: FlatNet, x: Moved) -> list[Dim]:
    """Return the sizes of a value with the number of the batch, if it is fixed."""
    sizes = [net.batch if axis == 0 and net.batch is not None else size for axis, size in enumerate(x.sizes)]
    return [product(tuple(sizes[axis] for axis in joined)) for joined in x.axes]


def reshaped(net: FlatNet, x: Moved, target: Sequence[Dim], place: str) -> Moved:
    """Return a value with these sizes, with the batch: axes are joined without a layer, and split by a `reshape`.

    A batch of a fixed size is a number among the sizes. Raises Unsupported.
    """
    if (before := _unreshaped(net, x, target)) is not None:
        return before
    fixed = net.batch if not any(isinstance(size, Size) and "N" in size.symbols for size in target) else None
    sizes = [fixed if fixed is not None and axis == 0 else size for axis, size in enumerate(x.sizes)]
    atoms = [axis for joined in x.axes for axis in joined if axis == 0 or sizes[axis] != 1]
    left: list[tuple[int, Dim]] = [(axis, sizes[axis]) for axis in atoms][::-1]
    parts: dict[int, list[Dim]] = {}
    groups: list[tuple[tuple[int, int], ...]] = []
    for size in target:
        group: list[tuple[int, int]] = []
        if size == 1:
            if left and left[-1] == (0, 1):
                left.pop()
                group.append((0, 0))
            elif fixed == 1 and 0 not in atoms and not any((0, 0) in each for each in groups):
                group.append((0, 0))
        while size != 1:
            if not left:
                raise Unsupported("its sizes do not fit")
            axis, have = left.pop()
            if (axis, have) == (0, 1):  # a batch of one is in no other axis, and comes back where there is a new one
                continue
            taken, size, rest = _part(size, have)
            if axis == 0 and rest != 1:
                raise Unsupported(MIXED)
            group.append((axis, len(parts.setdefault(axis, []))))
            parts[axis].append(taken)
            if rest != 1:
                left.append((axis, rest))
        groups.append(tuple(group))
    if any(size != 1 for _, size in left):
        raise Unsupported("its sizes do not fit")
    return _split(net, x, parts, groups, place)


def _unreshaped(net: FlatNet, x: Moved, target: Sequence[Dim]) -> Moved | None:
    """Return the value before reshapes that has these sizes, if there is one."""
    atoms = [axis for joined in x.axes for axis in joined]
    source = x.layer
    while atoms == sorted(atoms) and source.kind in ("reshape", "flatten"):
        source = source.inputs[0]
        before = _needed(plain(source))
        if [*target] in ([*before.shape], fixed_shape(net, before)):
            return before
    return None


def _part(wanted: Dim, have: Dim) -> tuple[Dim, Dim, Dim]:
    """Return the part of an axis that makes up a wanted size, and what is left of that size and of the axis."""
    if wanted == have:
        return have, 1, 1
    if (times := quotient(wanted, have)) is not None:
        return have, times, 1
    if (times := quotient(have, wanted)) is not None:
        return wanted, 1, times
    raise Unsupported("it splits an axis unevenly")


def quotient(a: Dim, b: Dim) -> Dim | None:
    """Return a / b if it is whole."""
    if isinstance(b, int):
        return a // b if b > 0 and a % b == 0 else None
    if isinstance(a, int) or a.terms[0][0] != b.terms[0][0]:
        return None
    times = a.terms[0][1] // b.terms[0][1]
    return times if times > 0 and b * times == a else None


def _split(
    net: FlatNet, x: Moved, parts: dict[int, list[Dim]], groups: list[tuple[tuple[int, int], ...]], place: str
) -> Moved:
    """Split axes of a layer's result into parts, and return them in groups."""
    numbers: dict[tuple[int, int], int] = {(0, 0): 0}
    sizes: list[Dim] = []
    for axis, size in enumerate(x.layer.shape, 1):
        for at, part in enumerate(parts.get(axis, [size])):
            sizes.append(part)
            numbers[axis, at] = len(sizes)
    joined = [tuple(numbers[part] for part in group) for group in groups]
    if tuple(sizes) != x.layer.shape:  # a reshape that splits axes joins others, too
        sizes, joined = _together(sizes, joined)
    layer = _resized(net, x.layer, tuple(sizes), place)
    return _needed(like(layer, joined))


def _together(sizes: Sequence[Dim], groups: Sequence[tuple[int, ...]]) -> tuple[list[Dim], list[tuple[int, ...]]]:
    """Return sizes in which those of groups of neighbors are joined, and the groups for these."""
    inner = [
        group for group in groups if len(group) > 1 and group == tuple(range(group[0], group[-1] + 1)) and group[0]
    ]
    tails = {axis for group in inner for axis in group[1:]}
    heads = {group[0]: product(tuple(sizes[axis - 1] for axis in group)) for group in inner}
    kept = [axis for axis in range(1, len(sizes) + 1) if axis not in tails]
    new = {axis: at for at, axis in enumerate(kept, 1)} | {0: 0}
    joined = [tuple(new[axis] for axis in group if axis not in tails) for group in groups]
    return [heads.get(axis, sizes[axis - 1]) for axis in kept], joined


# --- constants ---


def against(x: Moved, array: Array) -> Array:
    """Return a constant operand of a value with the axes of its layer's result, without the batch. Raises
    Unsupported."""
    if array.ndim > x.rank:
        raise Unsupported(f"a constant of {array.ndim} axes beside a value of {x.rank}")
    wide = array.reshape((1,) * (x.rank - array.ndim) + array.shape)
    pieces: list[int] = []
    for joined, size in zip(x.axes, wide.shape, strict=True):
        sizes = [1 if axis == 0 else x.sizes[axis] for axis in joined]
        if size == 1 or (len(joined) == 1 and joined != (0,)):
            pieces += [size] if len(joined) == 1 else [1] * len(joined)
            continue
        if any(isinstance(each, Size) for each in sizes) or elements(tuple(sizes)) != size:
            raise Unsupported("a constant that differs between the examples of a batch")
        pieces += [each for each in sizes if isinstance(each, int)]
    atoms = [axis for joined in x.axes for axis in joined]
    hidden = [axis for axis in range(len(x.layer.shape) + 1) if axis not in atoms]
    spread = wide.reshape((*pieces, *(1 for _ in hidden)))
    turned = spread.transpose([(*atoms, *hidden).index(axis) for axis in range(len(x.layer.shape) + 1)])
    found: Array = np.asarray(turned[0])
    return found
