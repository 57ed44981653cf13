"""A small machine for pickles that runs nothing: it builds containers, numbers and texts, and calls what it is given.

A pickle is a program for a machine with a stack. Python's lets it import and call whatever is installed; this one knows
the operations that `torch.save` writes, and a table of names. Any other name or operation ends it. It makes no object
of a class, and what it makes is no larger than the pickle.

Source: pickletools in Python's standard library, protocols 2 to 5.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import TYPE_CHECKING

from netdsl.weights.pickle_machine import MARK, Machine, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from mmap import mmap

    from netdsl.weights.pickle_machine import Persistent

NEWEST = 5


def unpickle(data: bytes, names: Mapping[str, object], persistent: Persistent) -> object:
    """What a pickle describes. `names` are the globals that it may have, each a value or a Function; `persistent` makes
    something of an identifier of what is stored elsewhere. Raises Refused."""
    return unpickle_at(data, 0, names, persistent)[0]


def unpickle_at(data: bytes | mmap, at: int, names: Mapping[str, object], persistent: Persistent) -> tuple[object, int]:
    """The same of a pickle that begins within data, and where it ends."""
    machine = Machine(data, at, names, persistent)
    try:
        while not machine.done:
            code = data[machine.at]
            machine.at += 1
            operation = OPERATIONS.get(code)
            if operation is None:
                raise Refused(f"its operation 0x{code:02x} at byte {machine.at - 1:,} is none of a file of tensors")
            operation(machine)
        return machine.pop(), machine.at
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error):
        raise Refused(f"its pickle makes no sense at byte {machine.at:,}") from None


def _proto(m: Machine) -> None:
    if (version := m.take(1)[0]) > NEWEST:
        raise Refused(f"its pickle is of protocol {version}, which is unknown")


def _stop(m: Machine) -> None:
    if len(m.stack) != 1:
        raise ValueError
    m.done = True


def _text(form: str) -> Callable[[Machine], None]:
    length = Struct(form)
    return lambda m: m.push(m.take(m.number(length)).decode("utf-8", "surrogatepass"))


def _latin(form: str) -> Callable[[Machine], None]:
    """Texts that Python 2 wrote."""
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
        "\x95": lambda m: m.take(8),  # FRAME: how much to read ahead
        ".": _stop,
        "(": lambda m: m.push(MARK),
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
        "\x81": lambda m: m.reduce(),  # an object of a class, which is a function in the table of names
        "b": lambda m: m.build(),
        "Q": lambda m: m.push(m.persistent(m.pop())),
    }.items()
}
"""By their codes. There is none that imports, makes an object of a class, or reads an extension's registry."""
