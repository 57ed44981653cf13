"""The language server: the session's answers in the Language Server Protocol, with pygls.

After an edit, the newest text is analyzed once, when all messages that have arrived are handled. What takes longer than
an edit may (all variants, verified fixes, warnings) runs in a thread when the editor is idle, and is cancelled by the
next edit.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR
from threading import Event
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.json_rpc import JsonRPCNotification

from netdsl.base.version import VERSION
from netdsl.desk.answers import REQUEST_FAILED, REQUESTS, SHOW, diagnostic
from netdsl.desk.document import Document, path_of
from netdsl.desk.session import LEVELS, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from socket import socket

    from netdsl.desk.analysis import DeskAnalysis

IDLE = 0.4
"""Seconds without an edit after which a document is analyzed completely."""
MAX_UNCOLLECTED = 64
"""Number of analyses after which garbage is collected even if the editor is not idle."""


class _Refusals(logging.Filter):
    """Keeps requests that are refused, such as that for a reserved name, out of the log of errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, JsonRpcException) and error.code == REQUEST_FAILED)


class _Protocol(LanguageServerProtocol):
    """Answers a request with invalid parameters by an error; pygls leaves it without an answer."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        try:
            return super().structure_message(data)
        except JsonRpcInvalidParams as error:
            if "method" not in data or "id" not in data:
                raise
            self._send_response(data["id"], error=error.to_response_error())
            return JsonRPCNotification(method="$/ignored", jsonrpc=self.VERSION, params=None)


class Server(LanguageServer):
    """The server of one editor. Python's garbage collector runs only when the editor is idle: an analysis makes no
    garbage that matters, and a collection in the middle of one takes longer than it does."""

    def __init__(self) -> None:
        kind = lsp.TextDocumentSyncKind.Full
        super().__init__("netdsl", VERSION, text_document_sync_kind=kind, protocol_cls=_Protocol)
        logging.getLogger("pygls.protocol.json_rpc").addFilter(_Refusals())
        self.session = Session()
        self.is_shut_down = False
        self._connection: socket | None = None
        self._dirty: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[str, Event] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self._uncollected = 0
        for name, handler in NOTIFICATIONS.items():
            self.feature(name)(partial(handler, self))
        for name, (answer, options) in REQUESTS.items():
            self.feature(name, options)(partial(answer, self))
        self.command(SHOW)(partial(_show, self))

    def serve(self, connection: socket) -> None:
        """Serve one editor over a connection until either side ends it."""
        self._connection = connection
        source, target = connection.makefile("rb"), connection.makefile("wb")
        with connection, source, target, suppress(ConnectionError):
            self.start_io(source, target)

    def shutdown(self) -> None:
        """End the server; a thread that waits for the next message over a connection ends with it."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(SHUT_RDWR)
        super().shutdown()  # type: ignore[no-untyped-call]

    # documents

    def start(self, params: lsp.InitializeParams) -> None:
        """Set up the session for an editor."""
        folders = [folder.uri for folder in params.workspace_folders or ()] or [params.root_uri or ""]
        roots = tuple(path_of(uri) for uri in folders if uri)
        self.session = Session(str(getattr(self.workspace.position_encoding, "value", "utf-16")), roots)
        self.configure(params.initialization_options)
        gc.disable()
        gc.collect()
        gc.freeze()

    def configure(self, settings: Any) -> None:
        """Take the settings `level` and `hints`; anything else is ignored."""
        values = settings.get("netdsl", settings) if isinstance(settings, dict) else {}
        if isinstance(values, dict):
            if values.get("level") in LEVELS:
                self.session.level = LEVELS[values["level"]]
            self.session.hints = values.get("hints", self.session.hints) is not False

    def reset(self) -> None:
        """Analyze all documents anew, because the settings have changed."""
        for uri in self.session.documents:
            self.session.forget(uri)
        self.changed(list(self.session.documents))

    def changed(self, uris: Iterable[str]) -> None:
        """Analyze documents anew once all messages that have arrived are handled."""
        loop = asyncio.get_running_loop()
        if not self._dirty:
            loop.call_soon(self._flush)
        for uri in uris:
            self._dirty.add(uri)
            self.stop(uri)

    def stop(self, uri: str) -> None:
        """End the analysis of a document that runs or waits."""
        if uri in self._timers:
            self._timers.pop(uri).cancel()
        if uri in self._running:
            self._running.pop(uri).set()

    def stop_all(self) -> None:
        """End all analyses."""
        for uri in {*self._timers, *self._running}:
            self.stop(uri)

    def _flush(self) -> None:
        uris, self._dirty = self._dirty, set()
        for uri in uris & self.session.documents.keys():
            self.publish(self.session.analysis(uri))
            if not self.session.is_complete(uri):
                self._timers[uri] = asyncio.get_running_loop().call_later(IDLE, self._advise, uri)
        self._uncollected += len(uris)
        if self._uncollected >= MAX_UNCOLLECTED:
            self._collect()

    def _collect(self) -> None:
        self._uncollected = 0
        gc.collect()

    def _advise(self, uri: str) -> None:
        """Analyze a document completely in a thread, and publish the result unless there is an edit before."""
        self._timers.pop(uri, None)
        if uri not in self.session.documents:
            return
        cancelled = self._running[uri] = Event()
        work = self.session.advice(uri, cancelled.is_set)

        async def wait() -> None:
            from netdsl.diagnostics.report import Cancelled

            with suppress(Cancelled, asyncio.CancelledError):
                found = await asyncio.get_running_loop().run_in_executor(None, work)
                was_large = self.session.analysis(uri).is_too_large if uri in self.session.documents else False
                if not cancelled.is_set() and self.session.keep(uri, found):
                    self._running.pop(uri, None)
                    self.publish(found)
                    self.refresh(hints=was_large)
                    self._collect()

        task = asyncio.ensure_future(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def refresh(self, *, hints: bool) -> None:
        """Ask the editor to ask again for what depends on a complete analysis."""
        able = self.client_capabilities.workspace
        if able and able.code_lens and able.code_lens.refresh_support:
            self.workspace_code_lens_refresh(None)
        if hints and able and able.inlay_hint and able.inlay_hint.refresh_support:
            self.workspace_inlay_hint_refresh(None)

    def publish(self, analysis: DeskAnalysis) -> None:
        """Send the diagnostics of an analysis with its version."""
        from netdsl.desk.diagnostics import diagnostics

        document = analysis.document
        found = [diagnostic(each, document, self.session) for each in diagnostics(analysis)]
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(document.uri, found, analysis.version))

    def at(self, params: Any) -> tuple[DeskAnalysis, int] | None:
        """Return the analysis of a document and the offset of a request; None for one that is not open."""
        document = self.session.documents.get(params.text_document.uri)
        if document is None:
            return None
        place = params.position
        return self.session.analysis(document.uri), document.offset((place.line, place.character))

    def of(self, params: Any) -> DeskAnalysis | None:
        """Return the analysis of the document of a request; None for one that is not open."""
        uri = params.text_document.uri
        return self.session.analysis(uri) if uri in self.session.documents else None


def _initialize(server: Server, params: lsp.InitializeParams) -> None:
    server.start(params)


async def _initialized(server: Server, _: lsp.InitializedParams) -> None:
    """Ask the editor to report changed files, and for its settings, if it can."""
    able = server.client_capabilities.workspace
    if able and able.did_change_watched_files and able.did_change_watched_files.dynamic_registration:
        watcher = lsp.DidChangeWatchedFilesRegistrationOptions([lsp.FileSystemWatcher("**/*.{net,netdsl}")])
        method = lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES
        await server.client_register_capability_async(
            lsp.RegistrationParams([lsp.Registration("netdsl.files", method, watcher)])
        )
    if able and able.configuration:
        wanted = lsp.ConfigurationParams([lsp.ConfigurationItem(section="netdsl")])
        server.configure((await server.workspace_configuration_async(wanted) or [None])[0])
        server.reset()


def _open(server: Server, params: lsp.DidOpenTextDocumentParams) -> None:
    item = params.text_document
    server.changed(server.session.open(item.uri, item.text, item.version))


def _change(server: Server, params: lsp.DidChangeTextDocumentParams) -> None:
    item = params.text_document
    document = server.session.documents.get(item.uri)
    if document is None or not params.content_changes:
        return
    for change in params.content_changes:
        span = getattr(change, "range", None)  # some editors send parts, whatever was agreed
        if span is None:
            text = change.text
        else:
            first, last = (document.offset((place.line, place.character)) for place in (span.start, span.end))
            text = document.source.text[:first] + change.text + document.source.text[last:]
        document = Document(document.uri, text, item.version, document.encoding)
    server.changed(server.session.change(item.uri, text, item.version))


def _close(server: Server, params: lsp.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    if uri in server.session.documents:
        server.stop(uri)
        server.changed(server.session.close(uri))
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))


def _save(server: Server, params: lsp.DidSaveTextDocumentParams) -> None:
    server.changed(server.session.touch(path_of(params.text_document.uri)))


def _watched(server: Server, params: lsp.DidChangeWatchedFilesParams) -> None:
    for change in params.changes:
        server.changed(server.session.touch(path_of(change.uri)))


def _configuration(server: Server, params: lsp.DidChangeConfigurationParams) -> None:
    server.configure(params.settings)
    server.reset()


def _shutdown(server: Server, *_: object) -> None:
    server.is_shut_down = True
    server.stop_all()


def _show(server: Server, uri: str, net: str, key: str, value: str) -> None:
    """Show another variant of a net."""
    if uri in server.session.documents:
        server.session.show(uri, net, key, value)
        server.changed([uri])
        server.refresh(hints=True)


NOTIFICATIONS: dict[str, Callable[..., Any]] = {
    lsp.INITIALIZE: _initialize,
    lsp.INITIALIZED: _initialized,
    lsp.SHUTDOWN: _shutdown,
    lsp.TEXT_DOCUMENT_DID_OPEN: _open,
    lsp.TEXT_DOCUMENT_DID_CHANGE: _change,
    lsp.TEXT_DOCUMENT_DID_CLOSE: _close,
    lsp.TEXT_DOCUMENT_DID_SAVE: _save,
    lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES: _watched,
    lsp.WORKSPACE_DID_CHANGE_CONFIGURATION: _configuration,
}
"""The functions for messages about documents and settings."""
