"""The texts of a program, as a run's folder keeps them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdsl.elaborate.module import Module

STDIN = "stdin.net"


def texts(module: Module) -> dict[str, str]:
    """The text of each file that a program is made of, by a path below one folder, such that `use` finds it there; but
    for the shipped ones, which are used by the name `zoo/…`."""
    found: dict[str, str] = {}
    waiting = [module]
    seen = {id(module)}
    while waiting:
        each = waiting.pop()
        found[each.file.source.name] = each.file.source.text
        for used, _ in each.uses:
            if used is not None and id(used) not in seen:
                seen.add(id(used))
                waiting.append(used)
    own = {_place(name): text for name, text in found.items() if not name.startswith("zoo/")}
    top = os.path.commonpath([os.path.dirname(path) for path in own]) if own else ""
    return {os.path.relpath(path, top): own[path] for path in sorted(own)}


def _place(name: str) -> str:
    return os.path.abspath(STDIN if name.startswith("<") else name)
