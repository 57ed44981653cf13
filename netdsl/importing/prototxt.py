"""Read protobuf's text format without a schema, since the forks of Caffe add fields to its own.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Bad = Callable[[int, str], Exception]

_Number = TypeVar("_Number", int, float)

MAX_DEPTH = 50
"""Maximum nesting of messages; Caffe's own have 5."""

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v\n,;]+|\#[^\n]*)"""
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<word>[\w.+-]+)|(?P<mark>[{}<>:\[\]])"""
)
ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class Word(str):
    """A number, a name or the text of a string, with its line."""

    __slots__ = ("kind", "line")
    line: int
    kind: str

    def __new__(cls, text: str, line: int, kind: str = "word") -> Word:
        self = super().__new__(cls, text)
        self.line = line
        self.kind = kind
        return self


class Message:
    """The fields of a message in order: names, and words or messages. `read` are the names that were read."""

    __slots__ = ("_bad", "fields", "line", "read")

    def __init__(self, line: int, bad: Bad) -> None:
        self.line = line
        self.fields: list[tuple[Word, Word | Message]] = []
        self.read: set[str] = set()
        self._bad = bad

    def messages(self, *names: str) -> list[Message]:
        """Return the messages in all fields of these names."""
        return [value if isinstance(value, Message) else self._refuse(value, "a message") for value in self._all(names)]

    def message(self, name: str) -> Message:
        """Return the last message of this name, or an empty one."""
        return (self.messages(name) or [Message(self.line, self._bad)])[-1]

    def words(self, *names: str) -> list[Word]:
        """Return the values of all fields of these names, as they are written."""
        return [value if isinstance(value, Word) else self._refuse(value, "a value") for value in self._all(names)]

    def word(self, name: str, default: str = "") -> Word:
        return (self.words(name) or [Word(default, self.line)])[-1]

    def integers(self, *names: str) -> list[int]:
        return [self._converted(word, int, "an integer") for word in self.words(*names)]

    def integer(self, name: str, default: int) -> int:
        return (self.integers(name) or [default])[-1]

    def numbers(self, *names: str) -> list[float]:
        return [self._converted(word, float, "a finite number") for word in self.words(*names)]

    def number(self, name: str, default: float) -> float:
        return (self.numbers(name) or [default])[-1]

    def flag(self, name: str, default: bool) -> bool:
        word = self.word(name, str(default))
        if word.lower() not in FLAGS:
            self._refuse(word, "true or false")
        return FLAGS[word.lower()]

    @property
    def unread(self) -> list[Word]:
        """The names of the fields that were not read, once each."""
        return list({name: name for name, _ in self.fields if name not in self.read}.values())

    def _all(self, names: tuple[str, ...]) -> Iterator[Word | Message]:
        self.read.update(names)
        return (value for name, value in self.fields if name in names)

    def _converted(self, word: Word, kind: Callable[[str], _Number], what: str) -> _Number:
        try:
            number = kind(word.removesuffix("f"))
            if isfinite(number):
                return number
        except (ValueError, OverflowError):
            pass
        self._refuse(word, what)

    def _refuse(self, value: Word | Message, wanted: str) -> NoReturn:
        found = f"`{value}`" if isinstance(value, Word) else "a message"
        raise self._bad(value.line, f"{found} is in place of {wanted}")


def parse(text: str, bad: Bad) -> Message:
    """Return the fields of a text. `bad` creates the exception to raise from a line and a reason."""
    return _Parser(text, bad).message(1, "", 0)


class _Parser:
    """Recursive descent over the tokens of a text, the last of which is empty."""

    def __init__(self, text: str, bad: Bad) -> None:
        self._bad = bad
        self._tokens = _tokens(text, bad)
        self._token = next(self._tokens)

    def message(self, line: int, end: str, depth: int) -> Message:
        """Return the fields up to a bracket, or the end of the text."""
        if depth > MAX_DEPTH:
            raise self._bad(line, f"its messages are nested more than {MAX_DEPTH} deep")
        message = Message(line, self._bad)
        while not self._take(end):
            name = self._next("word", "the name of a field")
            self._take(":")
            if not self._take("["):
                message.fields.append((name, self._value(depth)))
                continue
            while not self._take("]"):
                message.fields.append((name, self._value(depth)))
        return message

    def _value(self, depth: int) -> Word | Message:
        for begin, end in (("{", "}"), ("<", ">")):
            line = self._token.line
            if self._take(begin):
                return self.message(line, end, depth + 1)
        if self._token.kind != "string":
            return self._next("word", "a value")
        first, texts = self._token, []
        while self._token.kind == "string":  # neighbors are joined
            texts.append(self._next("string", "a value"))
        return Word("".join(texts), first.line, "string")

    def _take(self, mark: str) -> bool:
        """Advance past a mark, and return whether it is there."""
        taken = self._token.kind == "mark" and self._token == mark
        if taken and mark:
            self._token = next(self._tokens)
        return taken

    def _next(self, kind: str, wanted: str) -> Word:
        token = self._token
        if token.kind != kind:
            found = f"`{token}`" if token else "the end of the file"
            raise self._bad(token.line, f"{found} is in place of {wanted}")
        self._token = next(self._tokens)
        return token


def _tokens(text: str, bad: Bad) -> Iterator[Word]:
    at, line = 0, 1
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise bad(line, f"{text[at]!r} is not a part of a prototxt file")
        kind, whole = str(found.lastgroup), found[0]
        if kind == "string":
            yield Word(ESCAPE.sub(_unescaped, whole[1:-1]), line, kind)
        elif kind != "space":
            yield Word(whole, line, kind)
        at, line = found.end(), line + whole.count("\n")
    yield Word("", line, "mark")


def _unescaped(found: re.Match[str]) -> str:
    octal, hexadecimal, other = found.groups()
    return chr(int(octal, 8) if octal else int(hexadecimal, 16)) if not other else ESCAPES.get(other, other)
