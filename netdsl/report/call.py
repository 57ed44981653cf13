"""A layer as one would write it, its arguments worked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.ir import shape
from netdsl.layers.arguments import Dims, Sizes

if TYPE_CHECKING:
    from netdsl.layers.base import Argument, Layer


def call(layer: Layer) -> str:
    """`conv 3x3 64 stride 2 bias off`: the arguments that differ from the layer's own defaults."""
    words = [layer.kind]
    places = [argument for argument in layer.arguments.values() if not argument.keyword]
    while places and _is_default(places[-1], layer):
        places.pop()
    words += [_written(argument, getattr(layer, argument.name)) for argument in places]
    for argument in layer.arguments.values():
        if argument.keyword and not _is_default(argument, layer):
            words += [argument.name, _written(argument, getattr(layer, argument.name))]
    return " ".join(words)


def _is_default(argument: Argument, layer: Layer) -> bool:
    value = getattr(layer, argument.name)
    return type(value) is type(argument.default) and bool(value == argument.default)


def _written(argument: Argument, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        if isinstance(argument.kind, (Dims, Sizes)) and (len(value) > 1 or isinstance(argument.kind, Dims)):
            return shape.text(value)
        return f"[{', '.join(map(str, value))}]"
    return str(value)
