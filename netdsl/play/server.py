"""The server of the playground: on this machine alone, for its own page."""

from __future__ import annotations

import gc
import json
import os
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from netdsl.base.local_server import HOST, LocalHandler, LocalServer
from netdsl.base.user_error import UserError
from netdsl.play.playground import Malformed, Stale

if TYPE_CHECKING:
    from netdsl.play.playground import Playground

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
ASSETS = {"/play.js": "text/javascript; charset=utf-8", "/play.css": "text/css; charset=utf-8"}
MAX_BODY = 6_000_000
"""Maximum number of bytes of a request."""
TOKEN_HEADER = "X-Netdsl"
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads its own script and style, and connects to this server. Nothing else runs or is loaded."""


class PlayServer(LocalServer):
    """Serves the page to everyone on this machine, and answers only those who know the token, which is in the fragment
    of the page's address: browsers neither send nor log it.

    A page of another site is refused by the origin that its browser states. While it serves, garbage is collected only
    after complete analyses.
    """

    def __init__(self, playground: Playground, port: int = 0) -> None:
        """Raises OSError or OverflowError if the port is not available."""
        self.playground = playground
        self.token = secrets.token_urlsafe(24)
        super().__init__((port,), _Handler)
        self.origins = {f"http://{host}" for host in self.hosts}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/#token={self.token}"

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until interrupted."""
        was_enabled = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            super().serve_forever(poll_interval)
        finally:
            gc.unfreeze()
            if was_enabled:
                gc.enable()


class _Handler(LocalHandler):
    server: PlayServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802  # as http.server calls it
        path = self.path.partition("?")[0]
        if not self.is_local():
            self._refuse(HTTPStatus.FORBIDDEN)
        elif path == "/":
            self._page()
        elif path in ASSETS:
            with open(os.path.join(PAGE, path[1:]), "rb") as file:
                self._send(file.read(), ASSETS[path])
        else:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED if self._answer() else HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:  # noqa: N802  # as http.server calls it
        answer = self._answer()
        refusal = self._refusal()
        if refusal is not None or answer is None:
            self._refuse(refusal or HTTPStatus.NOT_FOUND)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            request = None
        try:
            if not isinstance(request, dict):
                raise Malformed
            found: dict[str, Any] | bytes = answer(request)
        except Malformed:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        except Stale:
            found = {"stale": True}
        except UserError as error:
            found = {"error": {"code": error.code, "message": error.message, "helps": list(error.helps)}}
        if isinstance(found, bytes):
            self._send(found, "application/octet-stream")
        else:
            self._send(json.dumps(found, separators=(",", ":")).encode(), "application/json")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse another method, or what is not HTTP."""
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code))

    def _answer(self) -> Any:
        return self.server.playground.answers.get(self.path.removeprefix("/api/")) if self.path[:5] == "/api/" else None

    def _refusal(self) -> HTTPStatus | None:
        """Return why a request is not answered, before its body is read."""
        origins = self.headers.get_all("Origin") or []
        token = (self.headers.get(TOKEN_HEADER) or "").encode(errors="replace")
        if not self.is_local() or not set(origins) <= self.server.origins:
            return HTTPStatus.FORBIDDEN
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return HTTPStatus.FORBIDDEN
        if not secrets.compare_digest(token, self.server.token.encode()):
            return HTTPStatus.FORBIDDEN
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        lengths = self.headers.get_all("Content-Length") or []
        if "Transfer-Encoding" in self.headers or len(lengths) != 1 or re.fullmatch(r"[0-9]+", lengths[0]) is None:
            return HTTPStatus.LENGTH_REQUIRED
        is_large = len(lengths[0]) > len(str(MAX_BODY)) or int(lengths[0]) > MAX_BODY
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if is_large else None

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        with open(os.path.join(PAGE, "index.html"), encoding="utf-8") as file:
            text = file.read().replace("{nonce}", nonce)
        self._send(text.encode(), "text/html; charset=utf-8", POLICY.format(nonce=nonce))

    def _send(self, body: bytes, kind: str, policy: str = "default-src 'none'") -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus) -> None:
        """Refuse a request. Its body is not read, so that the connection ends."""
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()
