"""Dense weights of an ONNX graph that reads a map flattened with its channels last, as a net with channels first reads
it."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.terminal import escape
from netdsl.weights.errors import UnclearUse

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.ir.net import Net, Node
    from netdsl.weights.file import Turn, WeightFile

CHANNELS_FIRST = frozenset({"conv", "dwconv", "deconv", "embedding"})
"""Layers whose result is a map with its channels first, whatever they read."""

UNKNOWN = frozenset({"input", "dense", "permute", "reshape", "slice", "reduce"})
"""Layers whose result may lie in any order."""


def turns_of(net: Net, file: WeightFile) -> dict[str, Turn]:
    """Return, by name, what puts the columns of such weights into the net's order.

    Raises UnclearUse where the net does not flatten a map with its channels first there.
    """
    turns: dict[str, Turn] = {}
    for node in net.nodes:
        for parameter in node.parameters.values():
            entry = file.entries.get(parameter.name)
            if entry is None or entry.use is None or not entry.use.channels or entry.shape != parameter.shape:
                continue
            shape = _map_before(node)
            if shape is None or shape[0] != entry.use.channels or prod(shape) != parameter.shape[-1]:
                raise UnclearUse(
                    f"{escape(file.path)}: `{escape(parameter.name)}` reads a map that was flattened with its channels "
                    f"last, and it is not clear which map of {escape(net.name)} that is"
                )
            turns[parameter.name] = partial(_channels_first, shape=shape)
    return turns


def _map_before(node: Node) -> tuple[int, ...] | None:
    """Return the shape of the map that a layer reads flat; None where it may have its channels elsewhere."""
    if len(node.inputs) != 1:
        return None
    (x,) = node.inputs
    while len(x.shape) == 1 and x.layer.kind not in UNKNOWN and len(x.inputs) == 1:
        (x,) = x.inputs
    shape = tuple(size for size in x.shape if isinstance(size, int))
    seen, waiting = {x}, [x]
    while waiting:
        each = waiting.pop()
        if each.layer.kind in UNKNOWN:
            return None
        if each.layer.kind not in CHANNELS_FIRST:
            waiting += [before for before in each.inputs if before not in seen]
            seen.update(each.inputs)
    return shape if 1 < len(shape) == len(x.shape) else None


def _channels_first(array: Array, shape: tuple[int, ...]) -> Array:
    """Return [..., S C] as [..., C S]."""
    channels, *space = shape
    spread = array.reshape(*array.shape[:-1], *space, channels)
    return np.moveaxis(spread, -1, array.ndim - 1).reshape(array.shape)
