"""A web server for programs on this machine alone."""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"


class LocalServer(ThreadingHTTPServer):
    """Serves on the first available one of some ports of the loopback interface; 0 is any free port.

    `hosts` are the names by which a request may address it. A page of another site has a name of its own, also if that
    leads to this machine (DNS rebinding).
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # where it would let two servers share a port

    def __init__(self, ports: Sequence[int], handler: type[LocalHandler]) -> None:
        """Raises OSError or OverflowError if no port is available."""
        for each in ports:
            try:
                super().__init__((HOST, each), handler)
                break
            except OSError:
                if each == ports[-1]:
                    raise
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.hosts |= {HOST, "localhost"} if self.server_port == 80 else set()

    @property
    def address(self) -> str:
        """The address of its page."""
        raise NotImplementedError

    def server_bind(self) -> None:
        """Bind without a look-up of the host's name, which may wait for a network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a connection that the browser has closed."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LocalHandler(BaseHTTPRequestHandler):
    """Handles the requests to a LocalServer."""

    server: LocalServer
    server_version = "netdsl"
    sys_version = ""
    timeout = 30

    def is_local(self) -> bool:
        """Return whether a request addresses this machine by one of its own names."""
        hosts = self.headers.get_all("Host") or []
        return len(hosts) == 1 and hosts[0].lower() in self.server.hosts

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""
