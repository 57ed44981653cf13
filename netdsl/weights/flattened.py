"""What a map's flattening means for the weights behind it: Keras flattens channels last, we channels first."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

from netdsl.diagnostics.terminal import escape
from netdsl.weights.errors import WeightsDoNotFit

if TYPE_CHECKING:
    from netdsl.ir.net import Net, Node
    from netdsl.weights.file import Array
    from netdsl.weights.fitted import Turn

MAP_AXES = 3
"""Channels and two or more axes of space; what has fewer axes is a sequence, or flat already."""


def turns_of(net: Net) -> dict[str, Turn]:
    """For the weights that see a flattened map: what makes those for channels last into those for channels first."""
    maps: dict[Node, tuple[int, ...] | None] = {}
    turns: dict[str, Turn] = {}
    for node in net.nodes:
        seen = _flattened(node, maps)
        if seen is None:
            continue
        for parameter in node.parameters.values():
            if parameter.shape[-1] == prod(seen):
                turns[parameter.name] = partial(_turned, channels_first=seen)
    return turns


def _flattened(node: Node, maps: dict[Node, tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """The shape of the map that a layer sees flat. `maps` notes for each flat value which map it is."""
    given = [_as_map(x) or maps.get(x) for x in node.inputs]
    seen = next((each for each in given if each is not None), None)
    flat = len(node.shape) == 1
    same = seen is not None and flat and node.shape[0] == prod(seen) and node.layer.kind != "dense"
    maps[node] = seen if same else None
    if not flat or seen is None or _has_space(node):
        return None
    if node.layer.kind != "dense" and node.layer.kind != "flatten" and not same:
        raise WeightsDoNotFit(
            f"`{escape(node.name)}` mixes flattened maps, and their order in Keras's weights cannot be told",
            "convert the weights, or flatten behind it",
        )
    return seen


def _as_map(node: Node) -> tuple[int, ...] | None:
    """A value's shape where flattening it would matter: channels, and more than one place."""
    sizes = tuple(size for size in node.shape if isinstance(size, int))
    mixed = len(sizes) == len(node.shape) >= MAP_AXES and sizes[0] > 1 and prod(sizes[1:]) > 1
    return sizes if mixed else None


def _has_space(node: Node) -> bool:
    """Whether a layer's result has no place left, since it pools: then nothing was flattened."""
    return node.layer.kind not in ("dense", "flatten") and any(_as_map(x) for x in node.inputs)


def _turned(array: Array, channels_first: tuple[int, ...]) -> Array:
    """[..., H W C] as [..., C H W]."""
    channels, *space = channels_first
    around = array.shape[:-1]
    axes = len(around)
    spread = array.reshape(*around, *space, channels)
    turned = spread.transpose(*range(axes), spread.ndim - 1, *range(axes, spread.ndim - 1))
    return turned.reshape(array.shape)
