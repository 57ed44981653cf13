"""Source texts and locations in them."""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Definition(Protocol):
        """The definition of a block."""

        name: Any
        parameters: tuple[Any, ...]


class Source:
    """A normalized text: no byte order mark, and `

    ` at every line end.

    `name` is its name in messages: the path that the user wrote, `<stdin>`, or `zoo/resnet.net`.
    """

    __slots__ = ("_starts", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self._starts: list[int] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the normalized text in hexadecimal, independent of the line endings and of a final newline."""
        text = self.text if self.text.endswith("\n") else f"{self.text}\n"
        from hashlib import sha256

        return sha256(text.encode()).hexdigest()

    @property
    def line_starts(self) -> list[int]:
        if self._starts is None:
            starts, at = [0], self.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.text.find("\n", at + 1)
            self._starts = starts
        return self._starts

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both from 1; a column is a character."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return the text of a line, counted from 1, without its end."""
        start = self.line_starts[number - 1]
        end = self.line_starts[number] - 1 if number < len(self.line_starts) else len(self.text)
        return self.text[start:end]


class Span:
    """The half-open range of characters [start, end) of a source."""

    __slots__ = ("end", "source", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Span) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Span({self}, {self.text!r})"

    def __str__(self) -> str:
        """Format the location as `resnet.net:14:3`, which editors and terminals understand."""
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    @property
    def key(self) -> tuple[str, int, int]:
        return self.source.name, self.start, self.end

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """Return the span from the beginning of this one to the end of the other."""
        return Span(self.source, self.start, other.end)


class Frame:
    """How the elaborator reached a location: a block call, a round of a loop or an import, linked to the enclosing one.

    `value` is that of a loop variable; `call` is the block of a block call and its arguments, `{name: (value, span)}`.
    """

    __slots__ = ("call", "name", "parent", "span", "value", "variable")

    def __init__(
        self,
        parent: Frame | None,
        span: Span,
        *,
        name: str = "",
        variable: str = "",
        value: object = None,
        call: tuple[Definition, Mapping[str, tuple[object, Span]]] | None = None,
    ) -> None:
        self.parent = parent
        self.span = span
        self.name = name
        self.variable = variable
        self.value = value
        self.call = call

    def __iter__(self):  # type: ignore[no-untyped-def]
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent
