"""The origin of a value's size: the layer, and the argument of its call, that determined it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Undecidable, format_shape
from netdsl.diagnostics.problem import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.shape import Dim, Shape
    from netdsl.base.text import Span
    from netdsl.ir.net import CallArgument, Layer, Node


class Origin:
    """The node that determined the size of an axis, and the argument responsible, if any."""

    __slots__ = ("argument", "axis", "node")

    def __init__(self, node: Node, axis: int, argument: CallArgument | None) -> None:
        self.node = node
        self.axis = axis
        self.argument = argument

    @property
    def span(self) -> Span:
        """The location of the argument with its keyword, otherwise that of the layer's name."""
        return self.argument.span.to(self.argument.value_span) if self.argument else self.node.span

    @property
    def size(self) -> Dim:
        return self.node.shape[self.axis]

    def __str__(self) -> str:
        """Describe the origin, as a label at its span."""
        what = "" if self.axis else "channel" if len(self.node.shape) > 1 else "value"
        what += "s" * (bool(what) and self.size != 1)
        before = [x.shape for x in self.node.inputs if len(x.shape) == len(self.node.shape)]
        if self.node.layer.kind == "input":
            return f"this input has {self.size} {what}" if what else f"this input is {_spatial(self.node.shape)}"
        if what or not before:
            return f"this produces {self.size} {what}".rstrip()
        return f"this produces {_spatial(self.node.shape)} from {_spatial(before[0])}"


def _spatial(shape: Shape) -> str:
    return format_shape(shape[1:]) if len(shape) > 2 else str(shape[1])


def origin(node: Node, axis: int) -> Origin:
    """Return the layer that determines the size of an axis; layers that only pass it on are skipped."""
    while True:
        before = _handed_on(node, axis)
        if before is None:
            return Origin(node, axis, _argument(node, axis))
        node = before


def origins(node: Node, axes: Iterable[int]) -> list[Origin]:
    """Return the origins of several axes, without duplicates."""
    found: dict[object, Origin] = {}
    for axis in axes:
        each = origin(node, axis)
        found.setdefault(each.span.key, each)
    return list(found.values())


def _handed_on(node: Node, axis: int) -> Node | None:
    """Return the input whose size of this axis the node passes on, or None if the node determines it."""
    for place, x in enumerate(node.inputs):
        if len(x.shape) != len(node.shape) or x.shape[axis] != node.shape[axis]:
            continue
        if node.layer.variadic:
            return x
        after = _shape(node.layer, _larger(node, place, axis))
        if after is None or after[axis] != node.shape[axis]:
            return x
    return None


def _larger(node: Node, place: int, axis: int) -> tuple[Shape, ...]:
    """Return the shapes of a node's inputs, with an axis of one of them enlarged."""
    shapes = [x.shape for x in node.inputs]
    x = shapes[place]
    shapes[place] = (*x[:axis], x[axis] + 2, *x[axis + 1 :])
    return tuple(shapes)


def _argument(node: Node, axis: int) -> CallArgument | None:
    """Return the argument that determines the size: a keyword other than its default, otherwise the first."""
    declared = node.layer.arguments
    values = {name: getattr(node.layer, name) for name in declared}
    tries = [tuple(x.shape for x in node.inputs)]
    tries += [_larger(node, 0, axis)] if node.inputs and len(node.inputs[0].shape) > axis else []
    for argument in node.arguments:
        if declared[argument.name].required or argument.name in node.layer.values:
            continue
        plain = type(node.layer)(**{**values, argument.name: declared[argument.name].default})
        for shapes in tries:
            if _differ(_shape(plain, shapes), _shape(node.layer, shapes), axis):
                return argument
    return node.arguments[0] if node.arguments else None


def _differ(one: Shape | None, other: Shape | None, axis: int) -> bool:
    return one is not None and other is not None and one[axis : axis + 1] != other[axis : axis + 1]


def _shape(layer: Layer, shapes: tuple[Shape, ...]) -> Shape | None:
    """Return the shape of a layer's result, or None if it does not fit."""
    try:
        return layer.shape_of(shapes)
    except (Misfit, Undecidable):
        return None
