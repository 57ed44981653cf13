"""A web server for one model in Netron: on this machine alone, for those who know its address."""

from __future__ import annotations

import os
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shutil import copyfileobj
from socketserver import TCPServer
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "127.0.0.1"
PORTS = (8080, 8081, 0)
"""Tried in turn. Netron's settings belong to a port, so the same one is preferred; 0 is any free port."""

MODEL_PATH = "data/"
"""Where Netron's page finds the model, below its own address."""

CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
}
"""Content types of the files of Netron that are served, by suffix."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "connect-src 'self' blob: data:",  # Netron reports its use, page address included
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Set-Cookie": "consent=1; SameSite=Strict",  # Netron would ask before reporting, which the policy above prevents
    "X-Content-Type-Options": "nosniff",
}


class Viewer(ThreadingHTTPServer):
    """Serves Netron's page below a random path, and beside it the files of one model and no others.

    A page of another site can neither guess the path nor, by a name of its own that leads to this machine (DNS
    rebinding), be answered: requests for another host than this one are refused.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # where it would let two servers share a port

    def __init__(self, netron: str, files: Mapping[str, str], port: int | None) -> None:
        """`netron` is the folder of Netron's files; `files` are the model's paths by name, the model first. Raises
        OSError or OverflowError if no port is available."""
        self.netron = os.path.realpath(netron)
        self.files = files
        self.token = secrets.token_urlsafe(16)
        ports = PORTS if port is None else (port,)
        for each in ports:
            try:
                super().__init__((HOST, each), _Handler)
                break
            except OSError:
                if each == ports[-1]:
                    raise
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.hosts |= {HOST, "localhost"} if self.server_port == 80 else set()

    def server_bind(self) -> None:
        """Bind without a look-up of the host's name, which may wait for a network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    server_version = "netdsl"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = unquote(self.path.partition("?")[0], errors="surrogateescape")
        before, token, name = [*path.split("/", 2), "", ""][:3]
        if before or not secrets.compare_digest(token.encode(errors="replace"), self.server.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif name in ("", "index.html"):
            self._page()
        else:
            self._file(name)

    def do_HEAD(self) -> None:
        self.do_GET()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""

    def _page(self) -> None:
        from html import escape

        with open(os.path.join(self.server.netron, "index.html"), encoding="utf-8") as file:
            text = file.read()
        model = next(iter(self.server.files))
        about = {
            "type": "Python",
            "file": f"/{MODEL_PATH}{quote(model, errors='surrogateescape')}",
            "name": model,
            "identifier": model,
        }
        lines = [f'<meta name="{key}" content="{escape(value)}">' for key, value in about.items()]
        page = text.replace("<title>", "\n".join([*lines, "<title>"]), 1).encode(errors="replace")
        self._begin(CONTENT_TYPES[".html"], len(page))
        if self.command != "HEAD":
            self.wfile.write(page)

    def _file(self, name: str) -> None:
        if name.startswith(MODEL_PATH):
            path = self.server.files.get(name.removeprefix(MODEL_PATH))
            kind = "application/octet-stream"
        else:
            path = os.path.realpath(os.path.join(self.server.netron, name)) if "\0" not in name else None
            kind = CONTENT_TYPES.get(os.path.splitext(name)[1], "")
            if not kind or path is None or not path.startswith(self.server.netron + os.sep):
                path = None
        try:
            if path is None or not os.path.isfile(path):
                raise FileNotFoundError
            with open(path, "rb") as file:
                self._begin(kind, os.fstat(file.fileno()).st_size)
                if self.command != "HEAD":
                    copyfileobj(file, self.wfile)
        except ConnectionError:  # the browser has closed the connection
            pass
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _begin(self, kind: str, size: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()
