"""The language server: the session's answers in the Language Server Protocol, with pygls.

After an edit, the newest text is analyzed once, when all messages that have arrived are handled. What takes longer than
an edit may (all variants, verified fixes, warnings) runs in a thread when the editor is idle, and is cancelled by the
next edit.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

from netdsl.base.version import VERSION
from netdsl.desk.document import path_of, uri_of
from netdsl.desk.session import LEVELS, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netdsl.base.text import Span
    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.desk.diagnostics import Diagnostic
    from netdsl.desk.document import Document

IDLE = 0.4
"""Seconds without an edit after which a document is analyzed completely."""
MAX_UNCOLLECTED = 64
"""Number of analyses after which garbage is collected even if the editor is not idle."""


class Server(LanguageServer):
    """The server of one editor. Python's garbage collector runs only when the editor is idle: an analysis makes no
    garbage that matters, and a collection in the middle of one takes longer than it does."""

    def __init__(self) -> None:
        super().__init__("netdsl", VERSION, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
        self.session = Session()
        self._dirty: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[str, Event] = {}
        self._uncollected = 0
        for name, handler in HANDLERS.items():
            self.feature(name)(handler)

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

    def changed(self, uris: Iterable[str]) -> None:
        """Analyze documents anew once all messages that have arrived are handled."""
        loop = asyncio.get_running_loop()
        if not self._dirty:
            loop.call_soon(self._flush)
        for uri in uris:
            self._dirty.add(uri)
            self._stop(uri)

    def _stop(self, uri: str) -> None:
        if uri in self._timers:
            self._timers.pop(uri).cancel()
        if uri in self._running:
            self._running.pop(uri).set()

    def stop_all(self) -> None:
        """End all analyses."""
        for uri in {*self._timers, *self._running}:
            self._stop(uri)

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

        self._task = asyncio.ensure_future(wait())

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
        found = [_diagnostic(each, document) for each in diagnostics(analysis)]
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


def position(offset: int, document: Document) -> lsp.Position:
    return lsp.Position(*document.position(offset))


def range_of(span: Span, document: Document) -> lsp.Range:
    start, end = document.range(span)
    return lsp.Range(lsp.Position(*start), lsp.Position(*end))


def location(span: Span, document: Document) -> lsp.Location:
    """Return a location in a document or in a file that it uses."""
    uri = document.uri if span.source is document.source else uri_of(span.source.name)
    return lsp.Location(uri, range_of(span, document))


def markup(text: str) -> lsp.MarkupContent:
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text)


def _diagnostic(found: Diagnostic, document: Document) -> lsp.Diagnostic:
    is_error = found.problem.severity == "error"
    return lsp.Diagnostic(
        range_of(found.span, document),
        found.message,
        lsp.DiagnosticSeverity.Error if is_error else lsp.DiagnosticSeverity.Warning,
        found.problem.code,
        source="netdsl",
        tags=[lsp.DiagnosticTag.Unnecessary] if found.is_unused else None,
        related_information=[
            lsp.DiagnosticRelatedInformation(location(span, document), text) for span, text in found.related
        ],
    )


def _initialize(server: Server, params: lsp.InitializeParams) -> None:
    server.start(params)


def _open(server: Server, params: lsp.DidOpenTextDocumentParams) -> None:
    item = params.text_document
    server.changed(server.session.open(item.uri, item.text, item.version))


def _change(server: Server, params: lsp.DidChangeTextDocumentParams) -> None:
    item = params.text_document
    text = params.content_changes[-1].text if params.content_changes else None
    if text is not None and item.uri in server.session.documents:
        server.changed(server.session.change(item.uri, text, item.version))


def _close(server: Server, params: lsp.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    if uri in server.session.documents:
        server._stop(uri)
        server.changed(server.session.close(uri))
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))


def _save(server: Server, params: lsp.DidSaveTextDocumentParams) -> None:
    server.changed(server.session.touch(path_of(params.text_document.uri)))


def _watched(server: Server, params: lsp.DidChangeWatchedFilesParams) -> None:
    for change in params.changes:
        server.changed(server.session.touch(path_of(change.uri)))


def _configuration(server: Server, params: lsp.DidChangeConfigurationParams) -> None:
    server.configure(params.settings)
    for uri in server.session.documents:
        server.session.forget(uri)
    server.changed(list(server.session.documents))


def _shutdown(server: Server, *_: object) -> None:
    server.stop_all()


def _hints(server: Server, params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
    from netdsl.desk.hints import hints

    analysis = server.of(params)
    if analysis is None or not server.session.hints:
        return []
    found = hints(analysis, params.range.start.line + 1, params.range.end.line + 1)
    return [
        lsp.InlayHint(position(each.offset, analysis.document), each.text, tooltip=each.tooltip, padding_left=True)
        for each in found
    ]


def _hover(server: Server, params: lsp.HoverParams) -> lsp.Hover | None:
    from netdsl.desk.hover import hover

    at = server.at(params)
    found = hover(*at) if at else None
    return lsp.Hover(markup(found.text), range_of(found.span, at[0].document)) if at and found else None


HANDLERS: dict[str, Callable[..., Any]] = {
    lsp.INITIALIZE: _initialize,
    lsp.SHUTDOWN: _shutdown,
    lsp.TEXT_DOCUMENT_DID_OPEN: _open,
    lsp.TEXT_DOCUMENT_DID_CHANGE: _change,
    lsp.TEXT_DOCUMENT_DID_CLOSE: _close,
    lsp.TEXT_DOCUMENT_DID_SAVE: _save,
    lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES: _watched,
    lsp.WORKSPACE_DID_CHANGE_CONFIGURATION: _configuration,
    lsp.TEXT_DOCUMENT_INLAY_HINT: _hints,
    lsp.TEXT_DOCUMENT_HOVER: _hover,
}
"""The functions that answer requests and notifications."""
