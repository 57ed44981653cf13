"""The text of an open document, and its positions in the units of an editor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

from netdsl.base.paths import NET_SUFFIXES, data
from netdsl.base.text import Source
from netdsl.elaborate.library import ZOO_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.text import Span

    Position = tuple[int, int]
    """Line and character, both from 0, as editors count them."""

UTF8, UTF16, UTF32 = "utf-8", "utf-16", "utf-32"
MAX_DEPTH, MAX_FOLDERS = 12, 2_000
"""Maximum depth and number of folders that are searched for files."""
BOM = "\ufeff"


def net_files(folder: str, depth: int = MAX_DEPTH) -> Iterator[str]:
    """Yield the paths of the `.net` files in a folder and those in it, without hidden folders and packages."""
    base = folder.rstrip(os.sep).count(os.sep)
    for seen, (around, folders, files) in enumerate(os.walk(folder)):
        is_deep = around.rstrip(os.sep).count(os.sep) - base >= depth
        folders[:] = [] if is_deep or seen >= MAX_FOLDERS else sorted(each for each in folders if each[0] not in "._")
        if "node_modules" in folders:
            folders.remove("node_modules")
        yield from (os.path.join(around, name) for name in sorted(files) if name.endswith(NET_SUFFIXES))


def path_of(uri: str) -> str:
    """Return the path of a `file:` address. Any other document, such as a new one, is in the working folder."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = SplitResult("", "", uri, "", "")
    name = unquote(parts.path).replace("\0", "")  # no file has a NUL in its name
    if parts.scheme != "file":
        return os.path.join(os.getcwd(), os.path.basename(name) or "untitled.net")
    return name.removeprefix("/") if os.name == "nt" else name


def uri_of(name: str) -> str:
    """Return the address of a file by its name in messages; that of a shipped net is where it is installed."""
    if name.startswith(ZOO_PREFIX):
        name = os.path.join(data("specs"), name[len(ZOO_PREFIX) :])
    path = os.path.abspath(name).replace(os.sep, "/")
    return "file://" + quote(path if path.startswith("/") else f"/{path}")


class Document:
    """A version of an open document.

    Its source has the path as its name. Line ends and a byte order mark are not those of the editor's text, so that
    positions are converted line by line.
    """

    __slots__ = ("encoding", "has_mark", "path", "raw", "shown", "source", "uri", "version")

    def __init__(self, uri: str, text: str, version: int, encoding: str = UTF16) -> None:
        self.uri = uri
        self.path = path_of(uri)
        self.encoding = encoding
        self.shown: dict[str, tuple[str, str]] = {}
        """The variant that is shown of a net: an alias, or a parameter and the text of its value."""
        self.change(text, version)

    def change(self, text: str, version: int) -> None:
        """Replace the text."""
        self.raw = text
        self.version = version
        self.has_mark = text.startswith(BOM)
        self.source = Source(self.path, text)

    def snapshot(self) -> Document:
        """Return a copy of this version."""
        copied = Document(self.uri, self.raw, self.version, self.encoding)
        copied.source, copied.shown = self.source, dict(self.shown)
        return copied

    def units(self, text: str) -> int:
        """Return the length of a text in the editor's units."""
        if self.encoding == UTF32 or text.isascii():
            return len(text)
        if self.encoding == UTF8:
            return len(text.encode("utf-8", "surrogatepass"))
        return len(text.encode("utf-16-le", "surrogatepass")) // 2

    def position(self, offset: int, source: Source | None = None) -> Position:
        """Return the editor's position of an offset, in this or another source."""
        source = source or self.source
        line, column = source.position(offset)
        mark = source is self.source and self.has_mark and line == 1
        return line - 1, self.units(source.line(line)[: column - 1]) + (self.units(BOM) if mark else 0)

    def range(self, span: Span) -> tuple[Position, Position]:
        """Return the editor's positions of a span."""
        return self.position(span.start, span.source), self.position(span.end, span.source)

    def offset(self, position: Position) -> int:
        """Return the offset of an editor's position; one beyond the end of a line is at its end."""
        line, character = position
        source = self.source
        if line >= len(source.line_starts):
            return len(source.text)
        text = source.line(line + 1)
        if self.has_mark and line == 0:
            character = max(character - self.units(BOM), 0)
        if self.encoding != UTF32 and not text.isascii():
            low, units = 0, 0
            while low < len(text) and units < character:
                units += self.units(text[low])
                low += 1
            character = low
        return source.line_starts[line] + min(character, len(text))
