"""A web server for one model in Netron: on this machine alone, for those who know its address."""

from __future__ import annotations

import os
import secrets
from http import HTTPStatus
from shutil import copyfileobj
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from netdsl.base.local_server import HOST, LocalHandler, LocalServer

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Viewer(LocalServer):
    """Serves Netron's page below a random path, which no page of another site can guess, and beside it the files of one
    model and no others."""

    def __init__(self, netron: str, files: Mapping[str, str], port: int | None) -> None:
        """`netron` is the folder of Netron's files; `files` are the model's paths by name, the model first. Raises
        OSError or OverflowError if no port is available."""
        self.netron = os.path.realpath(netron)
        self.files = files
        self.token = secrets.token_urlsafe(16)
        super().__init__(PORTS if port is None else (port,), _Handler)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(LocalHandler):
    server: Viewer

    def do_GET(self) -> None:  # noqa: N802  # as http.server calls it
        if not self.is_local():
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

    def do_HEAD(self) -> None:  # noqa: N802  # as http.server calls it
        self.do_GET()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

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
