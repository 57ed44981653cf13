"""`netdsl filters`: draw the filters of a convolution."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.terminal import escape
from netdsl.base.user_error import UserError
from netdsl.cli.messages import TERMINAL, note, open_net, weight_source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.ir.net import Net
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
    height, width) and at most 16 million elements can be drawn."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net or the weights. Raises UserError."""
    from netdsl.app.output import replace_picture

    net = None
    if _is_net(options):
        net = open_net(options)
        if net is None:
            return 1
    target = options.output if options.output is not None else "filters.svg"
    with replace_picture(target, force=options.force, reads=(options.file, options.weights)) as write:
        shapes, read = _of_file(options.file) if net is None else _of_net(net, options)
        name = _chosen(shapes, options.layer, options.file)
        from netdsl.report.filters import draw_filters

        weight = read(name)
        write(draw_filters(name, weight, together=options.scale == "layer"))
    count, channels, height, width = weight.shape
    note(f"{target}: `{name}`, {count:,} filters of {channels:,}x{height}x{width}")
    return 0


def _is_net(options: argparse.Namespace) -> bool:
    """Return whether a FILE means a net: it contains `.net`, or is the name of a net in the zoo."""
    return ".net" in options.file or not os.path.lexists(options.file) or options.weights is not None


def _of_file(path: str) -> tuple[Shapes, Read]:
    """Return the shapes of a file's weights, and a function that reads one and checks that it is finite."""
    from netdsl.weights.check import checked_weights
    from netdsl.weights.file import open_weights

    file = open_weights(path)
    shapes = {name: entry.shape for name, entry in file.entries.items()}
    return shapes, lambda name: checked_weights({name: shapes[name]}, file, optional=shapes.keys() - {name})[name]


def _of_net(net: Net, options: argparse.Namespace) -> tuple[Shapes, Read]:
    """Return the shapes and reader like `_of_file` for a net, with the weights of a file, which must fit, or random
    ones."""
    import numpy as np

    from netdsl.app.given_weights import given_weights
    from netdsl.weights.check import checked_weights
    from netdsl.weights.draw import draw

    shapes = {name: parameter.shape for name, parameter in net.parameters.items()}
    seed = options.seed or 0
    file = given_weights(net, weight_source(options), seed, TERMINAL)
    if file is None:
        note(f"{net.name}: using random weights (seed {seed}); pass --weights FILE to load trained ones")
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
