"""A language server in a process of its own, and what an editor says to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any

from tests.support.cli_tools import environment
from tests.support.paths import ROOT

TIMEOUT = 60
"""Seconds after which a test that waits for an answer fails."""


class Client:
    """Sends messages to a server and keeps what it sends: answers by number, notifications in order."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.received: Queue[dict[str, Any] | None] = Queue()
        self.notifications: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.settings: object = None
        self.number = 0
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while True:
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            if not length:
                self.received.put(None)
                return
            self.received.put(json.loads(stream.read(length)))

    def send(self, **message: object) -> None:
        assert self.process.stdin is not None
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.process.stdin.flush()

    def notify(self, method: str, params: object) -> None:
        self.send(method=method, params=params)

    def take(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next message of a kind; others are kept."""
        end = monotonic() + TIMEOUT
        while True:
            try:
                message = self.received.get(timeout=max(end - monotonic(), 0.01))
            except Empty:
                raise AssertionError("the server does not answer") from None
            assert message is not None, "the server has ended"
            if "method" in message and "id" in message:
                self.requests.append(message)
                settings = [self.settings] if message["method"] == "workspace/configuration" else None
                self.send(id=message["id"], result=settings)
            elif "method" in message:
                self.notifications.append(message)
                assert message["method"] != "window/showMessage", message
            if found(message):
                return message

    def ask(self, method: str, params: object) -> Any:
        """Send a request and return its result."""
        self.number += 1
        number = self.number
        self.send(id=number, method=method, params=params)
        answer = self.take(lambda message: message.get("id") == number and "method" not in message)
        assert "error" not in answer, answer
        return answer["result"]

    def diagnostics(self, uri: str, version: int) -> list[dict[str, Any]]:
        """Return the first diagnostics of a version of a document that were not returned before."""

        def found(message: dict[str, Any]) -> bool:
            params = message.get("params") or {}
            is_it = message.get("method") == "textDocument/publishDiagnostics" and params["uri"] == uri
            return is_it and params.get("version") == version

        kept = [message for message in self.notifications if found(message)]
        message = kept[0] if kept else self.take(found)
        message["method"] += " taken"
        result: list[dict[str, Any]] = message["params"]["diagnostics"]
        return result

    def open(self, uri: str, text: str, version: int = 1) -> None:
        document = {"uri": uri, "languageId": "netdsl", "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, text: str, version: int) -> None:
        self.notify(
            "textDocument/didChange",
            {"textDocument": {"uri": uri, "version": version}, "contentChanges": [{"text": text}]},
        )


@contextmanager
def server(root: str = "", capabilities: object = None, options: object = None) -> Iterator[Client]:
    """Start a server, and end it as an editor does."""
    command = [sys.executable, "-m", "netdsl", "lsp"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        client = Client(process)
        folder = {"uri": root, "name": "root"}
        params = {"processId": None, "rootUri": root or None, "capabilities": capabilities or {}}
        params |= {"workspaceFolders": [folder] if root else None, "initializationOptions": options}
        client.capabilities = client.ask("initialize", params)["capabilities"]  # type: ignore[attr-defined]
        client.notify("initialized", {})
        try:
            yield client
            assert client.ask("shutdown", None) is None
            client.notify("exit", None)
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
