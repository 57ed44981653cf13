"""Format files in place."""

from __future__ import annotations

import os
from difflib import unified_diff
from typing import TYPE_CHECKING

from netdsl.app.output import signals_clean_up
from netdsl.base.files import read_text, write_all
from netdsl.diagnostics.report import Report
from netdsl.formatting.formatter import format_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def files_in(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files, and for a folder all `.net` files in it, except for those in hidden folders."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(".net"))


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
        """Return the changes as the lines of a unified diff."""
        assert self.after is not None
        old, new = self.before.splitlines(), self.after.splitlines()
        return [*unified_diff(old, new, self.name, self.name, lineterm="")]

    def write(self) -> None:
        """Write the file; its mode stays. Raises UserError."""
        assert self.after is not None
        with signals_clean_up():
            write_all({self.path: self.after.encode()})
