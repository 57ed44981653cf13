"""The shipped nets: their index, their texts, and copies of them."""

from __future__ import annotations

import os

from netdsl.base.paths import data
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

TYPE_CHECKING = False  # `netdsl zoo` starts without typing
if TYPE_CHECKING:
    from typing import Any

INDEX = "index.json"
"""Facts about all nets in one file. `pytest tests/language/test_zoo.py --update-golden` writes it."""


class NotInZoo(UserError, code="E0631", title="unknown net of the zoo", exit_code=USAGE_IS_WRONG):
    """`netdsl zoo show` and `zoo copy` take the name of a shipped net or of its file. `netdsl zoo` lists them.

    ```sh
    netdsl zoo
    netdsl zoo show resnet50
    ```
    """


class InTheWay(UserError, code="E0632", title="a copy that would overwrite a file", exit_code=USAGE_IS_WRONG):
    """`netdsl zoo copy` does not overwrite files.

    ```sh
    netdsl zoo copy resnet50 other
    ```
    """


def index() -> dict[str, dict[str, Any]]:
    """Return the facts about each net, by name, oldest first: `file`, `year`, `params`, `macs`, `paper` and `authors`.

    `macs` counts inference on one example; None if a size is known only at run time.
    """
    from json import load

    with open(os.path.join(data("specs"), INDEX), encoding="utf-8") as file:
        known: dict[str, dict[str, Any]] = load(file)
    return known


def shipped_file(name: str) -> str:
    """Return the shipped file of a net, or of the file's own name. Raises NotInZoo."""
    known = index()
    if name in known:
        return str(known[name]["file"])
    file = name.removeprefix("zoo/").removesuffix(".net") + ".net"
    if any(entry["file"] == file for entry in known.values()):
        return file
    from netdsl.base.suggest import suggest

    meant = [f"did you mean `{word}`?" for word in suggest(name, known)[:1]]
    raise NotInZoo(f"there is no net `{name}` in the zoo", *meant or ["`netdsl zoo` lists them"])


def shipped_text(file: str) -> str:
    with open(os.path.join(data("specs"), file), encoding="utf-8") as spec:
        return spec.read()


def copy(file: str, folder: str = ".") -> list[str]:
    """Write a spec and everything it uses to a folder, or nothing; return the paths. Raises UserError."""
    from netdsl.app.output import signals_clean_up
    from netdsl.base.files import write_all

    texts = {name: shipped_text(name) for name in [*_used(file), *_beside(file)]}
    targets = {name: os.path.join(folder, name) for name in texts}
    for target in targets.values():
        if os.path.lexists(target):
            raise InTheWay(f"{target} exists", "copy into another folder: `netdsl zoo copy NAME DIR`")
    with signals_clean_up():
        write_all({targets[name]: text.encode() for name, text in texts.items()})
    return [*targets.values()]


def _beside(file: str) -> list[str]:
    """Return the rename rules beside a spec, if any: `densenet.rename`."""
    name = file.removesuffix(".net") + ".rename"
    return [name] if os.path.exists(os.path.join(data("specs"), name)) else []


def _used(file: str) -> list[str]:
    """Return a spec and all specs that it uses, recursively."""
    from netdsl.base.text import Source
    from netdsl.diagnostics.report import Report
    from netdsl.syntax import ast
    from netdsl.syntax.parse import parse

    files = [file]
    for name in files:  # which grows
        items = parse(Source(name, shipped_text(name)), Report()).items
        used = (item.path.value.removeprefix("zoo/") for item in items if isinstance(item, ast.Use))
        files += [each for each in dict.fromkeys(used) if each not in files]
    return files
