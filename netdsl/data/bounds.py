"""Which files data may be read from, and which of them messages may quote. No numpy here."""

from __future__ import annotations

import os

from netdsl.base.files import is_within
from netdsl.data.errors import OutsideData


class Bounds:
    """`root` is the folder that no path may leave, links followed, and `home` the one whose files may be quoted in
    messages, as a file beside its `.net` file may; None for no limit."""

    __slots__ = ("home", "root")

    def __init__(self, root: str | None = None, home: str | None = None) -> None:
        self.root = None if root is None else os.path.realpath(root)
        self.home = None if home is None else os.path.realpath(home)

    def check(self, path: str) -> None:
        """Raise OutsideData where a path leads out of the root."""
        if self.root is not None and not is_within(self.root, path):
            raise OutsideData(
                f"{path} is outside of the root, {self.root}",
                "`--root DIR` names the folder that the files of a net, its data among them, may not leave",
            )

    def quotes(self, path: str) -> bool:
        return self.home is None or is_within(self.home, path)
