"""`netdsl zoo`: list, show or copy the shipped nets."""

from __future__ import annotations

import os
import sys

from netdsl.app.zoo import index
from netdsl.base.paths import data
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

TYPE_CHECKING = False  # this starts without typing
if TYPE_CHECKING:
    import argparse


class NotInZoo(UserError, code="E0631", title="unknown net of the zoo", exit_code=USAGE_IS_WRONG):
    """`netdsl zoo show` and `zoo copy` take the name of a shipped net or of its file. `netdsl zoo` lists them."""


class InTheWay(UserError, code="E0632", title="a copy that would overwrite a file", exit_code=USAGE_IS_WRONG):
    """`netdsl zoo copy` does not overwrite files."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown name, and if a copy would overwrite something."""
    words: list[str] = options.words
    action = words[0] if words else "list"
    least, most = {"list": (0, 1), "show": (2, 2), "copy": (2, 3)}.get(action, (0, 0))
    if not least <= len(words) <= most:
        options.parser.error(
            f"invalid arguments {' '.join(words)}; use `zoo`, `zoo show NAME` or `zoo copy NAME [DIR]`"
        )
    if options.json and action != "list":
        options.parser.error(f"zoo {action} does not take --json")
    if action == "list":
        _list(options.json)
    elif action == "show":
        sys.stdout.write(_text(_file(words[1])))
    else:
        _copy(_file(words[1]), words[2] if len(words) > 2 else ".")
    return 0


def _list(as_json: bool) -> None:
    known = index()
    if as_json:
        from netdsl.report.table import json_text

        print(json_text([{"name": name, **entry} for name, entry in known.items()]))
        return
    rows = [("NAME", "YEAR", "PARAMETERS", "MACS", "PAPER")]
    for name, entry in known.items():
        macs = "?" if entry["macs"] is None else f"{entry['macs']:,}"
        rows.append((name, str(entry["year"]), f"{entry['params']:,}", macs, entry["paper"]))
    a, b, c, d, _ = (max(len(row[column]) for row in rows) for column in range(5))
    room = _columns() - (a + b + c + d + 8)
    for name, year, params, macs, paper in rows:
        title = paper if len(paper) <= room else paper[: room - 1] + "…"
        print(f"{name:{a}}  {year:{b}}  {params:>{c}}  {macs:>{d}}  {title}")


def _columns() -> int:
    """Return the width of the terminal; a pipe is unlimited."""
    try:
        return max(80, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        return sys.maxsize


def _file(name: str) -> str:
    """Return the shipped file of a net, or of the file's own name."""
    known = index()
    if name in known:
        return str(known[name]["file"])
    file = name.removeprefix("zoo/").removesuffix(".net") + ".net"
    if any(entry["file"] == file for entry in known.values()):
        return file
    from netdsl.base.suggest import suggest

    meant = [f"did you mean `{word}`?" for word in suggest(name, known)[:1]]
    raise NotInZoo(f"there is no net `{name}` in the zoo", *meant or ["`netdsl zoo` lists them"])


def _text(file: str) -> str:
    with open(os.path.join(data("specs"), file), encoding="utf-8") as spec:
        return spec.read()


def _copy(file: str, folder: str) -> None:
    """Write a spec and everything it uses, or nothing."""
    from netdsl.app.output import signals_clean_up
    from netdsl.base.files import write_all
    from netdsl.cli.messages import note

    texts = {name: _text(name) for name in [*_used(file), *_beside(file)]}
    targets = {name: os.path.join(folder, name) for name in texts}
    for target in targets.values():
        if os.path.lexists(target):
            raise InTheWay(f"{target} exists", "copy into another folder: `netdsl zoo copy NAME DIR`")
    with signals_clean_up():
        write_all({targets[name]: text.encode() for name, text in texts.items()})
    for target in targets.values():
        note(os.path.normpath(target))


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
        items = parse(Source(name, _text(name)), Report()).items
        used = (item.path.value.removeprefix("zoo/") for item in items if isinstance(item, ast.Use))
        files += [each for each in dict.fromkeys(used) if each not in files]
    return files
