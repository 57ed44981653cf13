"""Serve a page on this machine until the command is interrupted."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from netdsl.base.terminal import escape
from netdsl.base.user_error import UserError
from netdsl.cli.messages import NORMAL, audible, print_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from netdsl.base.local_server import LocalServer


def serve(start: Callable[[], LocalServer], name: str, options: argparse.Namespace, error: type[UserError]) -> None:
    """Start a server, print its address, open the browser, and wait. Raises the error if the port is not available."""
    try:
        server = start()
    except (OSError, OverflowError) as reason:
        where = f"on port {options.port}" if options.port else "on any port"
        raise error(f"cannot serve {where}: {reason}", "leave out --port to use a free port") from None
    with server:
        if options.json:
            print_json({"file": options.file, "address": server.address})
            sys.stdout.flush()  # a pipe gets it before the end
        elif options.no_browser or audible(NORMAL):  # the address cannot be guessed
            print(f"{escape(name)}: {server.address} (press Ctrl-C to stop)", file=sys.stderr)
        if not options.no_browser:
            import webbrowser

            webbrowser.open(server.address)
        with suppress(KeyboardInterrupt):  # the way to stop
            server.serve_forever()
