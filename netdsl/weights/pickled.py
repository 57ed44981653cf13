"""A restricted unpickler that never runs code from the file.

A pickle is a program for a stack machine. Python's unpickler lets the program import and call anything that is
installed. This one implements only the opcodes that `torch.save` writes and resolves only the globals in an allowlist;
any other opcode or global raises PickleRejected. It creates no instances of classes, and its result is no larger than
the pickle.

Source: pickletools in Python's standard library, protocols 2 to 5.
"""

from __future__ import annotations

import re
import struct
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from mmap import mmap
    from struct import Struct

    Persistent = Callable[[Any], Any]

KEY_TYPES = (str, int, float, bool, bytes, type(None))
"""Types allowed as dictionary keys. Not tuples: hashing nested ones can take forever."""


class PickleRejected(Exception):
    """The pickle is damaged or not allowed; the message is the reason."""


class GlobalRejected(PickleRejected):
    """The pickle refers to a global, `name`, that is not in the allowlist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it refers to `{name}`")
        self.name = name


def shown(value: object) -> str:
    """Format a value for a message. Containers are shown as their type: formatting nested ones can take forever."""
    return str(value)[:80] if isinstance(value, KEY_TYPES) else type(value).__name__


class CallableGlobal:
    """A global that a pickle may call: `make` is called with its arguments, and raises PickleRejected or TypeError."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self.make = make


class Ignored:
    """Placeholder for an unused value. It has no content, and attributes set on it are dropped."""

    __slots__ = ()


class Buildable:
    """A value whose state follows in the pickle; `build` receives it, and raises PickleRejected."""

    __slots__ = ()

    def build(self, state: object) -> None:
        raise NotImplementedError


class _Mark:
    """Marks where a sequence of items begins on the stack."""


_MARK = _Mark()


class Machine:
    """The state of the unpickler: stack, memo, and position in the pickle."""

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
        if len(piece) != size:  # also if `size` is negative: Python 2's strings have signed lengths
            raise PickleRejected("its pickle is truncated")
        self.at += size
        return piece

    def number(self, form: Struct) -> Any:
        (value,) = form.unpack_from(self.data, self.at)
        self.at += form.size
        return value

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise PickleRejected("its pickle is truncated")
        text = self.take(end - self.at).decode("utf-8")
        self.at += 1
        return text

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError
        return value

    def pop_mark(self) -> list[Any]:
        """Pop the last mark and everything above it; return what was above it."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def find(self, module: str, name: str) -> None:
        whole = f"{module}.{name}"
        if whole not in self.names:
            raise GlobalRejected(whole)
        self.push(self.names[whole])

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, CallableGlobal) or type(arguments) is not tuple:
            raise PickleRejected("it calls something that is not a function")
        self.push(function.make(*arguments))

    def build(self) -> None:
        """Drop the attributes on top of the stack, unless a Buildable needs them. A state dict has one: `_metadata`,
        the versions of its modules."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Buildable):
            target.build(state)
        elif type(target) is not dict and not isinstance(target, Ignored):
            raise PickleRejected("it sets attributes of something that is not a dictionary")

    def fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, KEY_TYPES):
                raise PickleRejected(f"a dictionary has a {type(key).__name__} as a key")
            if key in target:
                raise PickleRejected(f"`{str(key)[:80]}` occurs twice")
            target[key] = value

    def extend(self, items: list[Any], kind: Any) -> None:
        target: Any = self.stack[-1]
        if type(target) is not kind:
            raise ValueError
        if kind is set:
            if not all(isinstance(item, KEY_TYPES) for item in items):
                raise PickleRejected("a set has items that are neither strings nor numbers")
            target.update(items)
        else:
            target.extend(items)

    def remember(self, at: int) -> None:
        if self.stack[-1] is _MARK:
            raise ValueError
        self.memo[at] = self.stack[-1]


NUMPY_TYPE = re.compile(r"[<>|=]?([biufcmMSU])(\d{1,9})")
"""NumPy type codes of numbers, times and strings, such as `f8`; neither objects nor structured types."""


class NumpyType(Ignored):
    """A NumPy type; `width` is the size of a value in bytes."""

    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        self.width = width


def _type(code: object, *_: object) -> NumpyType:
    if not isinstance(code, str) or not (found := NUMPY_TYPE.fullmatch(code)):
        raise PickleRejected(f"it has a NumPy type `{shown(code)}`, which is neither numbers nor text")
    return NumpyType(int(found[2]) * (4 if found[1] == "U" else 1))


def _scalar(kind: object, data: object) -> Ignored:
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes | str) or len(data) != kind.width:
        raise PickleRejected("a NumPy number does not have the bytes of its type")
    return Ignored()


def encoded(text: object, encoding: object) -> str:
    """Return bytes that protocols 0 to 2 write as a latin-1 string. The string is kept: it has the same length."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleRejected("it has bytes in an unknown encoding")
    return text


def _default_dict(*_: object) -> dict[object, object]:
    return {}


def _unused(*_: object) -> Ignored:
    return Ignored()


UNUSED = CallableGlobal(_unused)
BUILTIN_TYPES = ("int", "float", "str", "bool", "list", "dict")
ARRAY_MAKERS = ("multiarray._reconstruct", "numeric._frombuffer")
BUILTIN_CALLS = ("set", "frozenset", "complex", "bytearray")
TORCH_TYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"

IGNORED_GLOBALS: dict[str, object] = {
    "_codecs.encode": CallableGlobal(encoded),
    "argparse.Namespace": UNUSED,
    "collections.Counter": UNUSED,
    "collections.defaultdict": CallableGlobal(_default_dict),
    "numpy.dtype": CallableGlobal(_type),
    **{f"numpy.{core}.multiarray.scalar": CallableGlobal(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.{make}": UNUSED for core in ("core", "_core") for make in ARRAY_MAKERS},
    "numpy.ndarray": Ignored(),
    "torch.device": UNUSED,
    "torch.serialization._get_layout": UNUSED,
    **{f"torch.{name}": Ignored() for name in TORCH_TYPES.split()},
    **{f"{module}.{name}": Ignored() for module in ("builtins", "__builtin__") for name in BUILTIN_TYPES},
    **{f"{module}.{name}": UNUSED for module in ("builtins", "__builtin__") for name in BUILTIN_CALLS},
    **{
        f"{module}.{pure}{system}Path": UNUSED
        for module in ("pathlib", "pathlib._local")
        for pure in ("", "Pure")
        for system in ("", "Posix", "Windows")
    },
}
"""Globals of unused values that checkpoints often contain. Types occur as factories of a `defaultdict`."""


MAX_PROTOCOL = 5


def unpickle(data: bytes, names: Mapping[str, object], persistent: Persistent) -> object:
    """Return the object in a pickle. Raises PickleRejected.

    `names` maps the globals that the pickle may use to values or CallableGlobals. `persistent` resolves persistent IDs,
    which refer to data outside the pickle.
    """
    return unpickle_at(data, 0, names, persistent)[0]


def unpickle_at(data: bytes | mmap, at: int, names: Mapping[str, object], persistent: Persistent) -> tuple[object, int]:
    """Return the object in the pickle that begins at byte `at`, and the position after the pickle."""
    machine = Machine(data, at, names, persistent)
    try:
        while not machine.done:
            code = data[machine.at]
            machine.at += 1
            operation = OPERATIONS.get(code)
            if operation is None:
                raise PickleRejected(
                    f"its operation 0x{code:02x} at byte {machine.at - 1:,} does not occur in files of tensors"
                )
            operation(machine)
        return machine.pop(), machine.at
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error):
        raise PickleRejected(f"its pickle is invalid at byte {machine.at:,}") from None


def _proto(m: Machine) -> None:
    if (version := m.take(1)[0]) > MAX_PROTOCOL:
        raise PickleRejected(f"its pickle has the unknown protocol {version}")


def _stop(m: Machine) -> None:
    if len(m.stack) != 1:
        raise ValueError
    m.done = True


def _text(form: str) -> Callable[[Machine], None]:
    length = Struct(form)
    return lambda m: m.push(m.take(m.number(length)).decode("utf-8", "surrogatepass"))


def _latin(form: str) -> Callable[[Machine], None]:
    """Push a string written by Python 2."""
    length = Struct(form)
    return lambda m: m.push(m.take(m.number(length)).decode("latin-1"))


def _bytes(form: str) -> Callable[[Machine], None]:
    length = Struct(form)
    return lambda m: m.push(m.take(m.number(length)))


def _number(form: str) -> Callable[[Machine], None]:
    number = Struct(form)
    return lambda m: m.push(m.number(number))


def _value(value: object) -> Callable[[Machine], None]:
    return lambda m: m.push(value)


def _tuple(size: int) -> Callable[[Machine], None]:
    return lambda m: m.push(tuple(reversed([m.pop() for _ in range(size)])))


def _put(form: str) -> Callable[[Machine], None]:
    number = Struct(form)
    return lambda m: m.remember(m.number(number))


def _get(form: str) -> Callable[[Machine], None]:
    number = Struct(form)
    return lambda m: m.push(m.memo[m.number(number)])


def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.fill([key, value])


def _append(m: Machine) -> None:
    m.extend([m.pop()], list)


def _dict(m: Machine) -> None:
    items = m.pop_mark()
    m.push({})
    m.fill(items)


def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError
    m.find(module, name)


OPERATIONS: dict[int, Callable[[Machine], None]] = {
    ord(code): operation
    for code, operation in {
        "\x80": _proto,
        "\x95": lambda m: m.take(8),  # FRAME: a hint how much to read ahead
        ".": _stop,
        "(": lambda m: m.push(_MARK),
        "0": lambda m: m.pop(),
        "1": lambda m: m.pop_mark(),
        "2": lambda m: m.push(m.stack[-1]),
        "N": _value(None),
        "\x88": _value(True),
        "\x89": _value(False),
        "J": _number("<i"),
        "K": _number("<B"),
        "M": _number("<H"),
        "G": _number(">d"),
        "\x8a": lambda m: m.push(int.from_bytes(m.take(m.take(1)[0]), "little", signed=True)),
        "X": _text("<I"),
        "\x8c": _text("<B"),
        "\x8d": _text("<Q"),
        "T": _latin("<i"),
        "U": _latin("<B"),
        "B": _bytes("<I"),
        "C": _bytes("<B"),
        "\x8e": _bytes("<Q"),
        "\x96": _bytes("<Q"),  # a bytearray
        ")": lambda m: m.push(()),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "t": lambda m: m.push(tuple(m.pop_mark())),
        "]": lambda m: m.push([]),
        "l": lambda m: m.push(m.pop_mark()),
        "a": _append,
        "e": lambda m: m.extend(m.pop_mark(), list),
        "}": lambda m: m.push({}),
        "d": _dict,
        "s": _setitem,
        "u": lambda m: m.fill(m.pop_mark()),
        "\x8f": lambda m: m.push(set()),
        "\x90": lambda m: m.extend(m.pop_mark(), set),
        "q": _put("<B"),
        "r": _put("<I"),
        "\x94": lambda m: m.remember(len(m.memo)),
        "h": _get("<B"),
        "j": _get("<I"),
        "c": lambda m: m.find(m.line(), m.line()),
        "\x93": _stack_global,
        "R": lambda m: m.reduce(),
        "\x81": lambda m: m.reduce(),  # NEWOBJ: the allowlist has functions in place of classes
        "b": lambda m: m.build(),
        "Q": lambda m: m.push(m.persistent(m.pop())),
    }.items()
}
"""The supported opcodes. None of them imports a module, creates an instance of a class, or uses the extension
registry."""
