"""The filters of a convolution, from a file of weights or a net."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl.app.given_weights import given_weights, note_random
from netdsl.base.record import Record
from netdsl.base.suggest import suggest
from netdsl.base.user_error import UserError, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.app.given_weights import WeightSource
    from netdsl.app.reporter import Reporter
    from netdsl.base.dtypes import Array
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas
    from netdsl.weights.check import CheckedWeights

    Shapes = Mapping[str, tuple[int, ...]]
    Read = Callable[[str], Array]

CONVOLUTION_AXES = 4
"""Axes of a convolution's weight: filters, channels, height and width."""
MAX_LAYERS_SHOWN = 20
"""Maximum number of convolutions named in an error."""
MAX_ELEMENTS = 2**24
"""Maximum number of elements of a weight that is drawn."""


class NoFilters(UserError, code="E0705", title="no filters to draw"):
    """There is no convolution, or none of this name, in the weights. Only weights with four axes (filters, channels,
    height, width) and at most 16 million elements can be drawn.

    ```sh
    netdsl weights w.safetensors
    netdsl filters w.safetensors --layer conv2
    ```
    """


class Filters(Record):
    """The weight [filters, channels, height, width] of a convolution, and its name."""

    name: str
    weight: Array

    def picture(self, *, together: bool = False) -> Canvas:
        """Draw the filters, each with its own scale or all `together` with one."""
        from netdsl.report.filters import draw_filters

        return draw_filters(self.name, self.weight, together=together)


def filters_of_file(path: str, layer: str | None = None) -> Filters:
    """Return the filters of a layer (default: the first convolution) in a file of weights. Raises UserError."""
    return _filters(*_of_file(path), layer, path)


def filters_of_net(
    net: Net, source: WeightSource, seed: int, reporter: Reporter, layer: str | None = None, name: str | None = None
) -> Filters:
    """Return the filters of a layer (default: the first convolution) of a net, which is called `name` in messages.
    Raises UserError."""
    return _filters(*_of_net(net, source, seed, reporter), layer, name or net.name)


def _filters(shapes: Shapes, read: Read, layer: str | None, path: str) -> Filters:
    name = _chosen(shapes, layer, path)
    return Filters(name=name, weight=read(name))


def _of_file(path: str) -> tuple[Shapes, Read]:
    """Return the shapes of a file's weights, and a function that reads one and checks that it is finite."""
    from netdsl.weights.check import checked_weights
    from netdsl.weights.file import open_weights

    file = open_weights(path)
    shapes = {name: entry.shape for name, entry in file.entries.items()}
    return shapes, lambda name: checked_weights({name: shapes[name]}, file, optional=shapes.keys() - {name})[name]


def _of_net(net: Net, source: WeightSource, seed: int, reporter: Reporter) -> tuple[Shapes, Read]:
    """Return the shapes and reader like `_of_file` for a net, with the weights of a file, which must fit, or random
    ones."""
    import numpy as np

    from netdsl.weights.check import checked_weights
    from netdsl.weights.draw import draw

    shapes = {name: parameter.shape for name, parameter in net.parameters.items()}
    file = given_weights(net, source, seed, reporter)
    if file is None:
        note_random(net, seed, reporter)
    matched: CheckedWeights | dict[str, Array] = {} if file is None else checked_weights(shapes, file, net=net)

    def read(name: str) -> Array:
        if name in matched:
            return matched[name]
        return np.concatenate([*draw(net.parameters[name], seed)]).reshape(shapes[name])

    return shapes, read


def _chosen(shapes: Shapes, layer: str | None, path: str) -> str:
    """Return the weight to draw: the first convolution's, or that of a layer, given by its name or its weight's. Raises
    NoFilters."""
    fit = [name for name, shape in shapes.items() if len(shape) == CONVOLUTION_AXES and 0 < prod(shape) <= MAX_ELEMENTS]
    found = [name for name in fit if name.endswith(".weight")] or fit  # an optimizer keeps more of such shapes
    if not found:
        raise NoFilters(f"{path} has no convolution whose filters can be drawn")
    if layer is None:
        return found[0]
    for name in (layer, f"{layer}.weight"):
        if name in fit:
            return name
    layers = [name.removesuffix(".weight") for name in found]
    listed = ", ".join(map(escape, layers[:MAX_LAYERS_SHOWN])) + (", …" if len(layers) > MAX_LAYERS_SHOWN else "")
    close = [f"did you mean `{word}`?" for word in suggest(layer, layers)[:1]]
    raise NoFilters(f"{path} has no convolution `{layer}`: it has {listed}", *close)
