"""What fuzzing makes of files: cases, hostile values, and changes of bytes and of messages of protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.support.foreign_models import varint

NUMBERS = [-(2**63), -(2**31), -100, -7, -1, 0, 1, 2, 3, 7, 64, 1000, 2**16, 2**31 - 1, 2**31, 2**40, 2**63 - 1]
REALS = [0.0, -1.0, 1e-45, 0.5, 1e38, float("inf"), float("-inf"), float("nan")]
NAMES = ["", "x", "y", "a", "net", "../secret", "/etc/passwd", "\x00", "\u202e", "a" * 2000, "N", "\n# net", "0"]
WORDS = [*map(str, NUMBERS), "1e999", "nan", "-", ".", "{", "}", "[", "]", "<", ">", '"', "'", ":", "=", ",", "#", "\n"]


class Case:
    """Files by name, the model among them, and the options of its import."""

    def __init__(self, reader: str, model: str, files: dict[str, bytes], **options: Any) -> None:
        self.reader, self.model, self.files, self.options = reader, model, files, options

    def write(self, folder: Path) -> Path:
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder / self.model


def changed_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with a few changes: other values, cuts, parts that are gone, moved, or there many times."""
    found = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        if not found:
            break
        begin = random.randrange(len(found))
        end = min(len(found), begin + random.choice([1, 1, 4, 40, 1000]))
        match random.randrange(7):
            case 0:
                found[begin] = random.randrange(256)
            case 1:
                found[begin] ^= 1 << random.randrange(8)
            case 2:
                del found[begin:end]
            case 3:
                found[begin:begin] = found[begin:end] * random.choice([1, 2, 50])
            case 4:
                found[begin:begin] = random.randbytes(end - begin)
            case 5:
                found[begin:end] = random.choice([b"\x00", b"\xff", b"\x80"]) * (end - begin)
            case _:
                del found[begin if random.randrange(2) else max(begin, len(found) - 100) :]
    return bytes(found)


def changed_message(random: Random, data: bytes, depth: int = 0) -> bytes:
    """Return a message of protobuf with a change to one of its fields, or of those of an inner message: its tag, its
    length, its type, its place or its number."""
    fields = list(_fields(data))
    if not fields:
        return changed_bytes(random, data)
    at = random.randrange(len(fields))
    tag, value = fields[at]
    number, kind = tag >> 3, tag & 7
    if kind == 2 and depth < 6 and len(value) > 1 and random.random() < 0.75:
        fields[at] = tag, changed_message(random, value, depth + 1)
        return b"".join(_field(*each) for each in fields)
    parts = [_field(*each) for each in fields]
    match random.randrange(9):
        case 0:
            parts[at] = varint(number << 3 | random.randrange(8)) + parts[at][len(varint(tag)) :]
        case 1:
            parts[at] = varint(number << 3 | 3) + parts[at] * random.choice([1, 9, 20_000]) + varint(number << 3 | 4)
        case 2:
            parts[at] = varint(number << 3 | 3) * random.choice([1, 100, 50_000])
        case 3:
            parts[at] = varint(number << 3 | 2) + varint(random.choice([0, 1, 127, 2**31, 2**63, 2**64 - 1])) + value
        case 4:
            parts[at] = varint(tag) + random.choice([b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\xff" * 1000, b"\x80" * 9])
        case 5:
            parts[at] = parts[at] * random.choice([0, 2, 3000])
        case 6:
            parts[at] = varint(random.choice([0, 1, 2, 5, 7, 8, 14, 100, 2**29]) << 3 | kind) + _field(0, value)[1:]
        case 7:
            parts[at] = _nested(tag, value, random.choice([2, 61, 120, 5000]))
        case _:
            random.shuffle(parts)
    return b"".join(parts)


def _nested(tag: int, value: bytes, depth: int) -> bytes:
    for _ in range(depth):
        value = varint(tag | 2) + varint(len(value)) + value
        if len(value) > 200_000:
            break
    return value


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tags and values of a message up to where it is none; a varint as its bytes."""
    at = 0

    def number() -> int:
        nonlocal at
        found = shift = 0
        while at < len(data) and shift < 70:
            byte = data[at]
            at += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found
        return -1

    while at < len(data):
        tag = number()
        begin = at
        match tag & 7:
            case 0:
                number()
            case 1:
                at += 8
            case 2:
                length = number()
                begin, at = at, at + max(length, 0)
            case 5:
                at += 4
            case _:
                return
        if tag < 8 or at > len(data):
            return
        yield tag, data[begin:at]


def _field(tag: int, value: bytes) -> bytes:
    return varint(tag) + (varint(len(value)) if tag & 7 == 2 else b"") + value
