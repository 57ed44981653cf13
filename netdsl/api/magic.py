"""The cell magic `%%net` of IPython and notebooks: `%load_ext netdsl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.api.loading import load_all

if TYPE_CHECKING:
    from netdsl.api.net import Net


def load_ipython_extension(shell: Any) -> None:
    """Define the magic `%%net`: check the text of a cell, and assign each of its nets to a variable of its name.

    The cell displays its last net. Errors are shown with their location in the cell.
    """

    def net(line: str, cell: str) -> Net | None:
        nets = load_all(cell, line.strip() or "<cell>")
        shell.push(nets)
        return next(reversed(nets.values()), None)

    shell.register_magic_function(net, "cell")
