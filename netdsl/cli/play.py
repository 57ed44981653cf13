"""`netdsl play`: edit a net in the browser, with its drawing beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.cli.messages import weight_source
from netdsl.cli.serving import serve

if TYPE_CHECKING:
    import argparse


class CannotPlay(UserError, code="E0916", title="a playground that cannot start", exit_code=USAGE_IS_WRONG):
    """`netdsl play` serves its page on a local port. The port given by `--port` is in use or not allowed. Without the
    option, a free port is chosen.

    ```sh
    netdsl play net.net
    netdsl play net.net --port 8080
    ```
    """


def command(options: argparse.Namespace) -> int:
    """Serve until interrupted. Exit code 0. Raises UserError."""
    from netdsl.app.given_weights import check_together
    from netdsl.play.opened import open_text
    from netdsl.play.playground import Playground
    from netdsl.play.server import PlayServer
    from netdsl.weights.file import open_weights

    opened = open_text(options.file)
    weights = weight_source(options)
    check_together(weights)
    if isinstance(weights.weights, str):
        open_weights(weights.weights)  # which names a missing file before the page is open
    serve(
        lambda: PlayServer(Playground(opened, weights, options.seed or 0), options.port or 0),
        opened.name,
        options,
        CannotPlay,
    )
    return 0
