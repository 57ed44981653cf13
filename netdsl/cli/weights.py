"""`netdsl weights`: list the tensors of a weight file or of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.tensors import is_net, tensors_of_file, tensors_of_net
from netdsl.cli.messages import open_net

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 if a net has errors. Raises UserError for a missing or damaged file."""
    if is_net(options.file):
        net = open_net(options)
        if net is None:
            return 1
        found = tensors_of_net(net, options.file)
    else:
        found = tensors_of_file(options.file)
    form = {"json": found.json, "csv": found.csv, "markdown": found.markdown}.get(options.format, found.text)
    print(form())
    return 0
