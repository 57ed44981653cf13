"""Receptive fields: how much of an input's axis one place of a value can depend on.

The rules are the ops' own, `Op.reach`. What lies beyond the input's edges is counted, as in the literature: Araujo,
Norris & Sim (2019), "Computing receptive fields of convolutional neural networks".
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.graph import Graph, Operation, Value
    from netdsl.ir.net import Node
    from netdsl.ops.reach import Reach

PERIOD = 256
"""So many places side by side may see differently much; finer upsampling is not followed."""


class Field:
    """What the places along an axis see: place p from lows[p] to highs[p], and so on `shift` further each period."""

    __slots__ = ("highs", "lows", "shift", "size")

    def __init__(self, lows: tuple[int, ...], highs: tuple[int, ...], shift: int) -> None:
        self.lows = lows
        self.highs = highs
        self.shift = shift
        self.size = max(high - low + 1 for low, high in zip(lows, highs, strict=True))

    def through(self, reach: Reach) -> Field:
        """What the places of a result see that reads these."""
        if not reach.moves or self is UNKNOWN:
            return self
        old = len(self.lows)
        period = old * reach.up // gcd(reach.stride, old * reach.up)
        if period > PERIOD:
            return UNKNOWN
        lows, highs = [], []
        for place in range(period):
            first, last = ((place * reach.stride + end) // reach.up for end in (reach.first, reach.last))
            lows.append(self.lows[first % old] + first // old * self.shift)
            highs.append(self.highs[last % old] + last // old * self.shift)
        return Field(tuple(lows), tuple(highs), period * reach.stride // (old * reach.up) * self.shift)


ITSELF = Field((0,), (0,), 1)
UNKNOWN = Field((0,), (0,), 1)


class Seen:
    """How much of one axis of an input is seen along `axis` of a value (batch counted); all of it without a field.

    `joined` is as in Reach.
    """

    __slots__ = ("axis", "field", "joined")

    def __init__(self, axis: int, field: Field | None, joined: bool = False) -> None:
        self.axis = axis
        self.field = field
        self.joined = joined

    @property
    def order(self) -> tuple[int, int]:
        """More is larger."""
        if self.field is None:
            return (2, 0)
        return (1, 0) if self.field is UNKNOWN else (0, self.field.size)


Axis = tuple[str, int]
"""An input's name and one of its axes."""

View = dict[Axis, Seen]
"""What a value sees of each."""

Size = int | str | None
ALL = "all"


def start(node: Node) -> View:
    """An input sees itself: on its spatial axes, or on the only one that it has."""
    rank = len(node.shape)
    return {(node.name, axis): Seen(axis, ITSELF) for axis in range(min(2, rank), rank + 1)}


def follow(graph: Graph, inputs: list[View]) -> View:
    """What a layer's result sees, from what its inputs see and the layer's operations."""
    views: dict[Value, View] = dict(zip(graph.inputs.values(), inputs, strict=True))
    for operation in graph.operations:
        merged: View = {}
        for at, x in enumerate(operation.inputs):
            for axis, seen in _step(operation, at, views.get(x, {})):
                if axis not in merged or seen.order > merged[axis].order:
                    merged[axis] = seen
        views[operation.outputs[0]] = merged
    (result,) = graph.outputs.values()
    return views[result]


def _step(operation: Operation, at: int, view: View) -> Iterable[tuple[Axis, Seen]]:
    y = operation.outputs[0].shape
    xs = [x.shape for x in operation.inputs]
    for axis, seen in view.items():
        if seen.field is None:
            yield axis, seen
            continue
        reach = operation.op.reach(at, seen.axis, y, *xs)
        if reach is None or (seen.joined and reach.moves):
            yield axis, Seen(0, None)
        elif reach.stride > 1 and len(xs[at]) == 2 < len(y):  # a flat value made a map: count from here
            for other in range(2, len(y)):
                yield (axis[0], other), Seen(other, ITSELF)
        else:
            field = seen.field if reach.joined else seen.field.through(reach)
            yield axis, Seen(reach.to, field, seen.joined or reach.joined)


def size(view: View) -> Size | list[Size]:
    """A number where all axes see equally much, else one for each axis; `all`; None where it is not known."""
    largest: dict[int, Seen] = {}
    for (_, axis), seen in view.items():
        if axis not in largest or seen.order > largest[axis].order:
            largest[axis] = seen
    sizes = [_size(largest[axis].field) for axis in sorted(largest)]
    return sizes[0] if len(set(sizes)) == 1 else sizes or None


def _size(field: Field | None) -> Size:
    return ALL if field is None else None if field is UNKNOWN else field.size
