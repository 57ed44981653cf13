"""`netdsl filters`: draw the filters of a convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.tensors import is_net
from netdsl.cli.messages import TERMINAL, open_net, print_written, weight_source

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net or the weights. Raises UserError."""
    from netdsl.app.filters import filters_of_file, filters_of_net
    from netdsl.app.output import replace_picture

    net = None
    if is_net(options.file) or options.weights is not None:
        net = open_net(options)
        if net is None:
            return 1
    target = options.output if options.output is not None else "filters.svg"
    with replace_picture(target, force=options.force, reads=(options.file, options.weights)) as write:
        if net is None:
            found = filters_of_file(options.file, options.layer)
        else:
            source, seed = weight_source(options), options.seed or 0
            found = filters_of_net(net, source, seed, TERMINAL, options.layer, options.file)
        write(found.picture(together=options.scale == "layer"))
    count, channels, height, width = found.weight.shape
    text = f"{target}: `{found.name}`, {count:,} filters of {channels:,}x{height}x{width}"
    print_written(text, {"file": target, "weight": found.name, "shape": [*found.weight.shape]}, options)
    return 0
