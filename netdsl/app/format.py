"""Format files in place."""

from __future__ import annotations

import os
import re
from difflib import unified_diff
from typing import TYPE_CHECKING

from netdsl.app.output import signals_clean_up
from netdsl.base.files import CannotWrite, problem_of, read_text, write_all
from netdsl.base.paths import NET_SUFFIXES
from netdsl.diagnostics.report import Report
from netdsl.formatting.formatter import format_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from netdsl.base.user_error import UserError


def files_in(paths: Iterable[str], failed: Callable[[UserError], None]) -> Iterator[str]:
    """Yield the files, and for a folder all `.net` and `.netdsl` files in it, except for hidden ones and those in
    hidden folders. `failed` is called for each folder that cannot be read."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        unreadable: list[OSError] = []
        for folder, inner, names in os.walk(path, onerror=unreadable.append):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            found = (name for name in sorted(names) if name.endswith(NET_SUFFIXES) and not name.startswith("."))
            yield from (os.path.join(folder, name) for name in found)
        for error in unreadable:
            failed(problem_of(error, error.filename))


_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class Formatted:
    """A file before and after formatting; `after` is None if it does not parse, for the reasons in `report`."""

    __slots__ = ("after", "before", "name", "path", "report")

    def __init__(self, path: str, *, body: bool = False) -> None:
        """Format a file, or standard input for `-`. `body` means statements of a net instead of a file. Raises
        UserError."""
        self.path = path
        self.name = "<stdin>" if path == "-" else path
        self.report = Report()
        self.before = read_text(path, self.name)
        self.after = format_text(self.before, self.name, self.report, body=body)

    @property
    def changes(self) -> bool:
        return self.after is not None and self.after != self.before

    def diff(self) -> list[str]:
        """Return the changes as the lines of a unified diff. Carriage returns are left out unless the line ends of the
        file differ, and so change."""
        assert self.after is not None
        texts = [self.before, self.after]
        if len(set(_LINE_END.findall(self.before))) == 1:
            texts = [_LINE_END.sub("\n", text) for text in texts]
        found: list[str] = []
        old, new = (_LINE.findall(text) for text in texts)
        for line in unified_diff(old, new, self.name, self.name):
            is_whole = line.endswith(("\n", "\r"))
            found += [line.removesuffix("\n")] if is_whole else [line, "\\ No newline at end of file"]
        return found

    def write(self) -> None:
        """Write the file, unless someone else has changed it since it was read; its mode stays. Raises UserError."""
        assert self.after is not None
        if self.path != "-" and os.path.isfile(self.path) and read_text(self.path, self.name) != self.before:
            raise CannotWrite(f"cannot write {self.name}: it has changed since it was read", "format it again")
        with signals_clean_up():
            write_all({self.path: self.after.encode()})
