"""`netdsl lsp`: the language server, which editors start."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING

from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.cli.messages import note
from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    import argparse
    from socket import socket

PORT = 2087


class CannotListen(UserError, code="E0914", title="a language server that cannot listen", exit_code=USAGE_IS_WRONG):
    """`netdsl lsp --tcp PORT` waits for an editor on a local port. The port is in use or not allowed. Without `--tcp`,
    the server speaks on its standard input and output, as most editors want.

    ```sh
    netdsl lsp --tcp 2088
    ```
    """


def command(options: argparse.Namespace) -> int:
    """Serve until the editor ends it. Exit code 0, or 1 if it does so without the request to shut down. Raises
    UserError."""
    if find_spec("pygls") is None:
        raise MissingPackage("`netdsl lsp` needs pygls, which is not installed", "pip install 'netdsl[lsp]'")
    from netdsl.desk.protocol import Server

    server = Server()
    if options.tcp is None:
        with open(os.dup(1), "wb") as stdout, redirect_stdout(sys.stderr):  # nothing else may be written to it
            server.start_io(sys.stdin.buffer, stdout)
        return 0 if server.is_shut_down else 1
    server.serve(_connection(options.tcp))
    return 0 if server.is_shut_down else 1


def _connection(port: int) -> socket:
    """Wait for an editor on a port; others are refused from then on. Raises CannotListen."""
    from socket import create_server

    from netdsl.base.local_server import HOST

    try:
        with create_server((HOST, port)) as listener:
            note(f"waiting for an editor on {HOST}:{port} (press Ctrl-C to stop)")
            return listener.accept()[0]
    except OSError as error:
        raise CannotListen(f"cannot listen on port {port}: {error}") from None
