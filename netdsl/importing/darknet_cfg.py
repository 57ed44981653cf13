"""Read the .cfg files of Darknet: sections of options, in order.

Sources: `read_cfg` in src/parser.c, `read_option` in src/option_list.c, `strip` in src/utils.c; atoi and atof of C.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.files import read_text
from netdsl.importing.errors import BadImport

if TYPE_CHECKING:
    from collections.abc import Iterator

INTEGER = re.compile(r"[+-]?\d{1,18}")
NUMBER = re.compile(r"[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?")
MAX_SECTIONS = 20_000

NAMES = {
    "avg": "avgpool",
    "conn": "connected",
    "conv": "convolutional",
    "deconv": "deconvolutional",
    "local_avg": "local_avgpool",
    "lrn": "normalization",
    "max": "maxpool",
    "network": "net",
    "silence": "empty",
    "soft": "softmax",
}
"""Short names of sections."""


class Section:
    """A section: its name, its options with their lines, and where it begins."""

    __slots__ = ("_options", "ignored", "line", "name", "place", "read")

    def __init__(self, name: str, path: str, line: int) -> None:
        self.name = NAMES.get(name, name)
        self.line = line
        self.place = f"{path}:{line}"
        self._options: dict[str, str] = {}
        self.read: set[str] = set()
        self.ignored: list[str] = []

    def add(self, key: str, value: str) -> None:
        self._options.setdefault(key, value)  # Darknet finds the first

    def text(self, key: str, default: str = "") -> str:
        self.read.add(key)
        return self._options.get(key, default)

    def integer(self, key: str, default: int) -> int:
        """Return a number as C's atoi does: what follows the digits is ignored, and no digits are 0."""
        found = self.text(key, str(default))
        digits = INTEGER.match(found)
        return int(digits[0]) if digits else 0

    def number(self, key: str, default: float) -> float:
        digits = NUMBER.match(self.text(key, repr(default)))
        return float(digits[0]) if digits else 0.0

    def integers(self, key: str) -> list[int]:
        return [int(found[0]) if (found := INTEGER.match(part)) else 0 for part in self._parts(key)]

    def numbers(self, key: str) -> list[float]:
        return [float(found[0]) if (found := NUMBER.match(part)) else 0.0 for part in self._parts(key)]

    def _parts(self, key: str) -> list[str]:
        return [part for part in self.text(key).partition("#")[0].split(",") if part]

    @property
    def unread(self) -> list[str]:
        """The options that were not read."""
        return [*(key for key in self._options if key not in self.read), *self.ignored]


def read_cfg(path: str) -> list[Section]:
    """Return the sections of a file, of which the first describes the net. Raises BadImport."""
    sections = list(_sections(path))
    if not sections or sections[0].name != "net":
        raise BadImport(f"{path}:1: the first section is not [net]")
    if len(sections) > MAX_SECTIONS:
        raise BadImport(f"{path} has {len(sections):,} sections; the limit is {MAX_SECTIONS:,}")
    return sections


def _sections(path: str) -> Iterator[Section]:
    section: Section | None = None
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = re.sub(r"[ \t\r]", "", line)
        if line.startswith("["):
            if section is not None:
                yield section
            section = Section(line.strip("[]"), path, number)
        elif line and line[0] not in "#;":
            if section is None:
                raise BadImport(f"{path}:{number}: {line[:80]} is not a section")
            key, _, value = line.partition("=")
            if value:
                section.add(key, value)
            else:  # Darknet prints a line, and goes on
                section.ignored.append(line[:80])
    if section is not None:
        yield section
