"""Answers to the page: one text at a time is analyzed, and the newest wins."""

from __future__ import annotations

import gc
import os
import re
from base64 import b64decode
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from netdsl.app.zoo import index
from netdsl.base.paths import data
from netdsl.base.text import Source
from netdsl.base.user_error import UserError
from netdsl.desk.actions import actions
from netdsl.desk.analysis import domain_texts
from netdsl.desk.diagnostics import diagnostics
from netdsl.desk.document import uri_of
from netdsl.desk.hints import hints
from netdsl.desk.session import Session
from netdsl.diagnostics.report import Cancelled, Report
from netdsl.play.models import MAX_IMAGE, RANDOM, Models
from netdsl.play.opened import MAX_TEXT, check_length, revision_of, shipped
from netdsl.syntax import ast
from netdsl.syntax.parse import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.app.given_weights import WeightSource
    from netdsl.base.text import Span
    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.desk.document import Document, Position
    from netdsl.elaborate.net import Attempt
    from netdsl.ir.net import Net
    from netdsl.play.opened import Opened

    Json = dict[str, Any]

MAX_DRAWN = 2_500
"""Maximum number of layers of a net that is drawn or listed while its text is edited, about a second."""
MAX_UNCOLLECTED = 64
"""Number of analyses after which garbage is collected even if no complete one is made."""
UNTITLED = "untitled.net"
"""The name of texts other than FILE's; no file of the zoo has it."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which no file holds."""


class NothingToExport(UserError, code="E0919", title="a net that cannot be exported yet"):
    """The page of `netdsl play` exports and runs the net that it shows, which must be free of errors.

    ```sh
    netdsl play net.net
    ```
    """


class Stale(Exception):
    """A newer request has made this one needless."""


class Malformed(Exception):
    """A request that the page does not make."""


class Playground:
    """The state behind the page. Requests can come from several threads.

    Texts other than FILE's are analyzed as if they were beside those of the zoo, which `use` finds and nothing else.
    """

    def __init__(self, opened: Opened, weights: WeightSource = RANDOM, seed: int = 0) -> None:
        self.opened = opened
        self.models = Models(weights, seed)
        self.scratch = os.path.join(data("specs"), UNTITLED)
        roots = {os.path.dirname(path) for path in (self.scratch, opened.path) if path is not None}
        self.session = Session(roots=tuple(roots))
        self._lock = Lock()
        self._counting = Lock()
        self._newest = 0
        self._running: Event | None = None
        self.answers: dict[str, Callable[[Json], Json | bytes]] = {
            "open": self.open,
            "analyse": self.analyse,
            "advise": self.advise,
            "complete": self.complete,
            "hover": self.hover,
            "format": self.format,
            "zoo": self.zoo,
            "save": self.save,
            "export": self.export,
            "run": self.run,
        }

    def open(self, request: Json) -> Json:
        """Return the initial text, and data that the page loads once."""
        from netdsl.play.words import highlighting

        text = self.opened.read()
        return {
            "name": self.opened.name,
            "text": text,
            "file": self.opened.path is not None,
            **_variant(self.opened),
            "revision": revision_of(text),
            "zoo": [[name, entry["year"]] for name, entry in index().items()],
            "rules": highlighting(),
            "runs": find_spec("onnxruntime") is not None,
        }

    def zoo(self, request: Json) -> Json:
        """Return the text of a shipped net."""
        found = shipped(_text(request, "name"))
        return {"name": found.name, "text": found.text, **_variant(found)}

    def save(self, request: Json) -> Json:
        """Write the text to FILE."""
        text = _text(request, "text")
        if self.opened.path is None:
            raise UserError("the text is no file's")
        with self._lock:
            is_new = self.opened.save(text, _text(request, "revision"))
        return {"saved": is_new, "revision": revision_of(text)}

    def analyse(self, request: Json) -> Json:
        """Return problems, hints, nets and the view of the newest text. Raises Stale."""
        with self._only_newest() as (own, check), self._lock:
            check()
            uri = self._take(request)
            analysis = self.session.analysis(uri)
            check()
            if own % MAX_UNCOLLECTED == 0:
                gc.collect()
            return {**self._found(analysis), **self._shown(analysis, request)}

    def advise(self, request: Json) -> Json:
        """Return what takes longer: the problems of all variants with verified fixes, and warnings. Raises Stale."""
        with self._only_newest() as (_, check), self._lock:
            check()
            uri = self._take(request)
            with self._counting:
                self._running = cancelled = Event()
            check()
            try:
                self.session.keep(uri, self.session.advice(uri, cancelled.is_set)())
            except Cancelled:
                raise Stale from None
            finally:
                self._running = None
                gc.collect()
            return self._found(self.session.analysis(uri))

    @contextmanager
    def _only_newest(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """Provide the number of an analysis, and a function that raises Stale once a newer one is requested."""
        with self._counting:
            self._newest += 1
            own = self._newest
            if self._running is not None:
                self._running.set()

        def check() -> None:
            if own != self._newest:
                raise Stale

        yield own, check

    def _take(self, request: Json) -> str:
        """Make the text of a request that of its document, and return its address."""
        in_file = request.get("file") is True and self.opened.path is not None
        path = self.opened.path if in_file else self.scratch
        assert path is not None
        uri, text = uri_of(path), _text(request, "text")
        document = self.session.documents.get(uri)
        shown = {net: (key, value) for net, (key, value) in _pairs(request.get("shown"))}
        if document is None or document.raw != text:
            self.session.open(uri, text, 0)
        document = self.session.documents[uri]
        if document.shown != shown:
            document.shown = shown
            self.session.forget(uri)
        return uri

    # results of an analysis

    def _found(self, analysis: DeskAnalysis) -> Json:
        document = analysis.document
        return {
            "complete": self.session.is_complete(document.uri),
            "tooLarge": analysis.is_too_large,
            "diagnostics": [
                {
                    "range": _range(each.span, document),
                    "severity": each.problem.severity,
                    "code": each.problem.code,
                    "message": each.message,
                    "unused": each.is_unused,
                    "related": [_related(*pair, document) for pair in each.related],
                    "actions": _actions(analysis, each.problem),
                }
                for each in diagnostics(analysis)
            ],
            "hints": [[document.position(each.offset), each.text, each.tooltip] for each in hints(analysis)],
        }

    def _shown(self, analysis: DeskAnalysis, request: Json) -> Json:
        """Return the nets of a text, and the view of one of them."""
        nets = _nets(analysis)
        wanted = request.get("net")
        name = wanted if wanted in nets else next(reversed(nets), "")
        answer: Json = {
            "nets": [_net(each, analysis) for each in nets.values()],
            "net": name,
            "source": os.path.basename(analysis.source.name),
        }
        net = (nets[name].net or nets[name].partial()) if name else None
        if net is None or analysis.is_too_large:
            return answer
        answer["incomplete"] = net.incomplete is not None
        answer["input"] = (
            [size if isinstance(size, int) else None for size in net.inputs[0].shape] if net.inputs else []
        )
        if len(net.nodes) > MAX_DRAWN:
            return {**answer, "refused": f"{len(net.nodes):,} layers are too many to show while you type"}
        view = request.get("view")
        if view == "run":
            return answer
        if view == "summary":
            from netdsl.report.figures import Figures
            from netdsl.report.summary import summary_text

            return {**answer, "summary": summary_text(Figures(net))}
        theme = "dark" if request.get("theme") == "dark" else "light"
        return {**answer, "svg": _drawn(net, theme)}

    # exports and runs of the shown net

    def export(self, request: Json) -> bytes:
        """Return the shown net as an ONNX model, or its drawing. Raises UserError."""
        net = self._shown_net(request)
        if request.get("form") == "onnx":
            return self.models.model(net)
        return _drawn(net, "light").encode()

    def run(self, request: Json) -> Json:
        """Return the outputs of the shown net for an image, or for random numbers. Raises UserError."""
        image = request.get("image")
        try:
            data = None if image is None else b64decode(_text(request, "image", MAX_IMAGE), validate=True)
        except ValueError:
            raise Malformed from None
        net = self._shown_net(request)
        return self.models.run(net, data)

    def _shown_net(self, request: Json) -> Net:
        with self._lock:
            uri = self._take(request)
            analysis = self.session.analysis(uri)
            if analysis.is_too_large:
                analysis = self.session.complete(uri)
        nets = _nets(analysis)
        net = nets[request["net"]].net if request.get("net") in nets else None
        if net is None or analysis.report.errors:
            raise NothingToExport("the net has errors, and cannot be exported or run until they are fixed")
        return net

    # requests at a position

    def complete(self, request: Json) -> Json:
        """Return what can be typed at a position, and the signature of the call around it."""
        from netdsl.desk.complete import complete, signature_help

        with self._lock:
            analysis, offset = self._at(request)
            found = complete(analysis, offset)
            call = signature_help(analysis, offset)
        return {
            "from": analysis.document.position(found.start),
            "items": [
                {"word": x.word, "kind": x.kind, "detail": x.detail, "text": x.text, "rank": x.rank}
                for x in found.items
            ],
            "call": call and {"usage": call.usage, "text": call.documentation},
        }

    def hover(self, request: Json) -> Json:
        """Describe the name at a position, in Markdown."""
        from netdsl.desk.hover import hover

        with self._lock:
            analysis, offset = self._at(request)
            found = hover(analysis, offset)
        return {"range": _range(found.span, analysis.document), "text": found.text} if found else {}

    def format(self, request: Json) -> Json:
        """Return the edits that bring the text into the canonical style."""
        from netdsl.desk.actions import formatted

        with self._lock:
            analysis = self.session.analysis(self._take(request))
            return {"edits": _edits(formatted(analysis), analysis.document)}

    def _at(self, request: Json) -> tuple[DeskAnalysis, int]:
        at = request.get("at")
        if not (isinstance(at, list) and len(at) == 2 and all(isinstance(x, int) and x >= 0 for x in at)):
            raise Malformed
        uri = self._take(request)
        return self.session.analysis(uri), self.session.documents[uri].offset((at[0], at[1]))


def _text(request: Json, key: str, most: int = MAX_TEXT) -> str:
    """Return a text of a request. Raises Malformed, and UserError for one that is too long."""
    value = request.get(key)
    if not isinstance(value, str) or SURROGATE.search(value):
        raise Malformed
    check_length(value, f"the {key}", most)
    return value


def _variant(opened: Opened) -> Json:
    """Return the net, and its variant, that a name of the zoo stands for."""
    items = parse(Source(opened.name, opened.text), Report()).items if opened.net else ()
    for item in items:
        if isinstance(item, ast.Alias) and item.name.text == opened.net:
            return {"net": item.target.text, "shown": {item.target.text: [opened.net, ""]}}
    return {"net": opened.net, "shown": {}}


def _pairs(value: object) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the shown variants of a request: a name, and a pair of texts."""
    for net, pair in value.items() if isinstance(value, dict) else ():
        if not (isinstance(pair, list) and len(pair) == 2):
            raise Malformed
        yield str(net), (str(pair[0]), str(pair[1]))


def _range(span: Span, document: Document) -> tuple[Position, Position]:
    return document.range(span)


def _related(span: Span, text: str, document: Document) -> Json:
    """Return a place that belongs to a problem; one in another file has only a text."""
    if span.source is document.source:
        return {"range": _range(span, document), "text": text}
    return {"text": f"{span}: {text}"}


def _edits(edits: Any, document: Document) -> list[Any]:
    return [[*_range(each.span, document), each.text] for each in edits]


def _actions(analysis: DeskAnalysis, problem: object) -> list[Json]:
    """Return the fixes of a problem that edit only this text."""
    span = problem.span  # type: ignore[attr-defined]
    if span.source is not analysis.source:
        return []
    return [
        {"title": each.title, "safe": each.is_preferred, "edits": _edits(each.edits, analysis.document)}
        for each in actions(analysis, span.start, span.end)
        if each.problem is problem and all(edit.span.source is analysis.source for edit in each.edits)
    ]


def _nets(analysis: DeskAnalysis) -> dict[str, Attempt]:
    """Return the nets of a text by name, each in the variant that is shown."""
    nets: dict[str, Attempt] = {}
    for each in analysis.attempts:  # the shown variants are first
        nets.setdefault(each.instance.definition.name.text, each)
    return nets


def _net(attempt: Attempt, analysis: DeskAnalysis) -> Json:
    """Return a net's name, its variants (that of the defaults, aliases, and values of domains), each as text, key and
    value, and the number of the one that is shown."""
    definition = attempt.instance.definition
    name = definition.name.text
    items = analysis.module.file.items
    variants = [["defaults", "", ""]]
    for item in items:
        if isinstance(item, ast.Alias) and item.target.text == name:
            variants.append([item.name.text, item.name.text, ""])
    for parameter in definition.parameters:
        key = parameter.name.text
        variants += [[f"{key} = {text}", key, text] for text in domain_texts(parameter)]
    chosen = list(analysis.document.shown.get(name, ("", "")))
    shown = next((at for at, (_, *pair) in enumerate(variants) if pair == chosen), 0)
    return {"name": name, "variants": variants, "shown": shown}


def _drawn(net: Net, theme: str) -> str:
    from netdsl.app.draw import drawn

    return drawn(net, "svg", theme=theme).decode()
