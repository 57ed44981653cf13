"""`netdsl zoo`: list, show or copy the shipped nets."""

from __future__ import annotations

import os
import sys

from netdsl.app.zoo import copy, index, shipped_file, shipped_text
from netdsl.cli.messages import note, print_json, print_table

TYPE_CHECKING = False  # this starts without typing
if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError for an unknown name, and if a copy would overwrite something."""
    words: list[str] = options.words
    action = words[0] if words else "list"
    least, most = {"list": (0, 1), "show": (2, 2), "copy": (2, 3)}.get(action, (0, 0))
    if not least <= len(words) <= most:
        options.parser.error(
            f"invalid arguments {' '.join(words)}; use `zoo`, `zoo show NAME` or `zoo copy NAME [DIR]`"
        )
    if options.format in ("csv", "markdown") and action != "list":
        options.parser.error(f"zoo {action} prints no table: {options.format} is a format of `netdsl zoo`")
    if action == "list":
        _list(options.format)
    elif action == "show":
        file = shipped_file(words[1])
        if options.json:
            print_json({"file": file, "text": shipped_text(file)})
        else:
            sys.stdout.write(shipped_text(file))
    else:
        paths = [os.path.normpath(path) for path in copy(shipped_file(words[1]), *words[2:])]
        if options.json:
            print_json({"files": paths})
        else:
            for path in paths:
                note(path)
    return 0


def _list(form: str) -> None:
    known = index()
    if form != "text":
        entries = [{"name": name, **entry} for name, entry in known.items()]
        print_table(entries, form)
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
