"""The machine that reads a pickle: a stack, a memo, and the little that its operations do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from mmap import mmap
    from struct import Struct

    Persistent = Callable[[Any], Any]

KEYS = (str, int, float, bool, bytes, type(None))
"""What may be a key of a dictionary: to hash nested tuples can take for ever."""


class Refused(Exception):
    """Why a pickle is not read, in words."""


class Forbidden(Refused):
    """It asks for a name that is not in the table; `name` is that."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it asks for `{name}`")
        self.name = name


def shown(value: object) -> str:
    """A value for a message. Of containers only the kind: to spell out ones within each other can take for ever."""
    return str(value)[:80] if isinstance(value, KEYS) else type(value).__name__


class Function:
    """A name that a pickle may call; `make` gets the arguments, and raises Refused or TypeError."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self.make = make


class Inert:
    """What is beside the tensors and of no use here: it has no value, and its attributes are thrown away."""

    __slots__ = ()


class Mark:
    """Where a list of items begins on the stack."""


MARK = Mark()


class Machine:
    """Its stack and memo, and how far it has read its program."""

    __slots__ = ("at", "data", "done", "memo", "names", "persistent", "push", "stack")

    def __init__(self, data: bytes | mmap, at: int, names: Mapping[str, object], persistent: Persistent) -> None:
        self.data = data
        self.at = at
        self.stack: list[Any] = []
        self.push = self.stack.append
        self.memo: dict[int, Any] = {}
        self.names = names
        self.persistent = persistent
        self.done = False

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:  # which is negative too, where a number is a text's length
            raise Refused("its pickle is cut short")
        self.at += size
        return piece

    def number(self, form: Struct) -> Any:
        (value,) = form.unpack_from(self.data, self.at)
        self.at += form.size
        return value

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Refused("its pickle is cut short")
        text = self.take(end - self.at).decode("utf-8")
        self.at += 1
        return text

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise ValueError
        return value

    def pop_mark(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise ValueError
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def find(self, module: str, name: str) -> None:
        whole = f"{module}.{name}"
        if whole not in self.names:
            raise Forbidden(whole)
        self.push(self.names[whole])

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise Refused("it calls what is no function")
        self.push(function.make(*arguments))

    def build(self) -> None:
        """Attributes are not needed: an ordered dictionary of tensors has the versions of its layers as one."""
        self.pop()
        if type(self.stack[-1]) is not dict and not isinstance(self.stack[-1], Inert):
            raise Refused("it sets attributes of what is no dictionary")

    def fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, KEYS):
                raise Refused(f"a dictionary has a {type(key).__name__} as a key")
            if key in target:
                raise Refused(f"`{str(key)[:80]}` is there twice")
            target[key] = value

    def extend(self, items: list[Any], kind: Any) -> None:
        target: Any = self.stack[-1]
        if type(target) is not kind:
            raise ValueError
        if kind is set:
            if not all(isinstance(item, KEYS) for item in items):
                raise Refused("a set has items that are no texts or numbers")
            target.update(items)
        else:
            target.extend(items)

    def remember(self, at: int) -> None:
        if self.stack[-1] is MARK:
            raise ValueError
        self.memo[at] = self.stack[-1]
