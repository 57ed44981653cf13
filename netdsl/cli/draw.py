"""`netdsl draw`: draw a net as a picture, or as input for a layout program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.draw import drawn, form_of
from netdsl.app.output import ARCHIVE, replace, sources
from netdsl.base.terminal import plural
from netdsl.cli.messages import open_partial, print_written

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 if the net has errors, of which only what precedes them is drawn. Raises
    UserError."""
    form = form_of(options.output)
    net, code = open_partial(options)
    if net is None:
        return code

    target = options.output if options.output is not None else f"{net.name}.svg"
    reads = (options.file, *sources(net))
    with replace(target, made=ARCHIVE, force=options.force, reads=reads) as file:
        drawing = drawn(net, form, unfold=options.unfold, wide=options.wide, theme=options.theme)
        file.write(drawing)
    text = f"{'the standard output' if target == '-' else target}: {plural(len(net.nodes), 'layer')}"
    record = {"file": target, "bytes": len(drawing), "layers": len(net.nodes)}
    mark = {"incomplete": str(net.incomplete)} if net.incomplete is not None else {}
    print_written(text, {**record, **mark}, options)
    return code
