"""The open documents of an editor, and their newest analyses."""

from __future__ import annotations

import os
from collections import UserDict
from functools import partial
from typing import TYPE_CHECKING

from netdsl.app.analyse import Level
from netdsl.base.files import read_source
from netdsl.base.limits import WORK
from netdsl.base.text import Source
from netdsl.base.user_error import UserError
from netdsl.desk.analysis import analyse_document
from netdsl.desk.document import UTF16, Document, uri_of
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.references import References

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from netdsl.desk.analysis import DeskAnalysis
    from netdsl.elaborate.references import Reference

LEVELS = {"syntax": Level.SYNTAX, "shapes": Level.SHAPES, "all": Level.ADVICE}
"""How far documents are analyzed: after each edit, at most up to shapes; the rest when the editor is idle."""


class Texts(UserDict[str, str]):
    """The texts of open documents by path, found by any name that leads to the same file."""

    def __contains__(self, name: object) -> bool:
        return _place(str(name)) in self.data

    def __getitem__(self, name: str) -> str:
        return self.data[_place(name)]


def _place(name: str) -> str:
    return os.path.realpath(name)


def _by_place(texts: Mapping[str, str] | None) -> dict[str, str]:
    return {_place(path): text for path, text in (texts or {}).items()}


class Session:
    """Open documents and settings. An analysis is that of the newest text of a document, and of those that it uses.

    `roots` are the folders that `use` must not leave, for documents in them.
    """

    def __init__(self, encoding: str = UTF16, roots: tuple[str, ...] = (), level: str = "all") -> None:
        self.encoding = encoding
        self.roots = roots
        self.level = LEVELS[level]
        self.hints = True
        self.documents: dict[str, Document] = {}
        self._texts = Texts()
        self._quick: dict[str, DeskAnalysis] = {}
        self._full: dict[str, DeskAnalysis] = {}

    def open(self, uri: str, text: str, version: int) -> list[str]:
        """Add or change a document. Return the addresses of all documents whose analysis is now out of date."""
        document = self.documents.get(uri)
        if document is None:
            document = self.documents[uri] = Document(uri, text, version, self.encoding)
        else:
            document.change(text, version)
        self._texts[_place(document.path)] = document.source.text
        self.forget(uri)
        return [uri, *self.touch(document.path)]

    change = open

    def close(self, uri: str) -> list[str]:
        """Forget a document, whose file counts again. Return the documents that use it."""
        document = self.documents.pop(uri)
        self._texts.pop(_place(document.path), None)
        self.forget(uri)
        return self.touch(document.path)

    def touch(self, path: str) -> list[str]:
        """Forget the analyses of the documents that use a file, because it has changed. Return their addresses."""
        place = _place(path)
        users = [uri for uri, found in self._known() if place in map(_place, found.files)]
        for uri in users:
            self.forget(uri)
        return users

    def _known(self) -> Iterator[tuple[str, DeskAnalysis]]:
        yield from {**self._quick, **self._full}.items()

    def forget(self, uri: str) -> None:
        """Analyze a document anew when it is next asked about."""
        self._quick.pop(uri, None)
        self._full.pop(uri, None)

    def show(self, uri: str, net: str, key: str, value: str) -> None:
        """Show another variant of a net: an alias, or a value of a parameter."""
        document = self.documents[uri]
        document.shown[net] = key, value
        self.forget(uri)

    def root(self, document: Document) -> str | None:
        """Return the folder that `use` must not leave: the innermost one of the editor that has the document."""
        around = [root for root in self.roots if document.path.startswith(root.rstrip(os.sep) + os.sep)]
        return max(around, key=len) if around and os.path.isdir(max(around, key=len)) else None

    def text(self, path: str) -> str | None:
        """Return the text of an open document or of a file; None if it cannot be read."""
        if path in self._texts:
            return self._texts[path]
        try:
            return read_source(path).text
        except UserError:
            return None

    def address(self, name: str) -> str:
        """Return the address of a file by its name in messages, as the editor writes it if the file is open."""
        place = _place(name)
        return next((uri for uri, each in self.documents.items() if _place(each.path) == place), uri_of(name))

    def references(self, path: str, changed: Mapping[str, str] | None = None) -> list[Reference]:
        """Return the names of a file, read as the session does; `changed` has other texts by path. None of a file that
        cannot be read."""
        texts = Texts({**self._texts, **_by_place(changed)})
        text = texts[path] if path in texts else self.text(path)
        if text is None:
            return []
        around = [root for root in self.roots if path.startswith(root.rstrip(os.sep) + os.sep)]
        library = Library(Report(), max(around, key=len, default=None), texts)
        return References(library.load(Source(path, text), path)).table

    def analysis(self, uri: str) -> DeskAnalysis:
        """Return the best analysis of the newest version, made now if there is none."""
        if uri in self._full:
            return self._full[uri]
        if uri not in self._quick:
            document = self.documents[uri]
            level = min(self.level, Level.SHAPES)
            self._quick[uri] = analyse_document(document, level, texts=self._texts, root=self.root(document))
        return self._quick[uri]

    def trial(self, uri: str, text: str, changed: Mapping[str, str] | None = None) -> DeskAnalysis:
        """Analyze all nets of another text of a document, without keeping the result; `changed` has other texts of
        other files, by path."""
        document = Document(uri, text, 0, self.encoding)
        texts = Texts({**self._texts, **_by_place(changed), _place(document.path): document.source.text})
        return analyse_document(document, Level.ALL, texts=texts, root=self.root(document), limit=WORK)

    def is_complete(self, uri: str) -> bool:
        """Return whether there is nothing more to find out about the newest version."""
        return uri in self._full or self.level < Level.ADVICE

    def advice(self, uri: str, cancelled: Callable[[], bool] | None = None) -> Callable[[], DeskAnalysis]:
        """Return a function that analyzes everything, which can take seconds, and can run in another thread. It raises
        Cancelled."""
        document, texts = self.documents[uri].snapshot(), Texts(self._texts)
        root = self.root(document)
        return partial(
            analyse_document, document, Level.ADVICE, texts=texts, root=root, limit=WORK, cancelled=cancelled
        )

    def keep(self, uri: str, analysis: DeskAnalysis) -> bool:
        """Keep the result of `advice` unless the document has changed; return whether it is kept."""
        document = self.documents.get(uri)
        if document is None or document.source is not analysis.source:
            return False
        self._full[uri] = analysis
        return True

    def complete(self, uri: str) -> DeskAnalysis:
        """Return a complete analysis of the newest version, made now if there is none."""
        if not self.is_complete(uri):
            self.keep(uri, self.advice(uri)())
        return self.analysis(uri)
