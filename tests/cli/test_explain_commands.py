"""What `netdsl explain` shows to type against errors without a place in a text."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from netdsl.app.analyse import check_file
from netdsl.cli.parser import parse_arguments
from netdsl.diagnostics import pages
from netdsl.diagnostics.report import Report

OUTSIDE = {code: page for code, page in pages.pages().items() if "E06" <= code[:3] <= "E08"}
COMMANDS = dict.fromkeys(line for page in OUTSIDE.values() for line in page.commands.splitlines())
WITHOUT = {
    *("E0616", "E0620", "E0621", "E0641", "E0647", "E0650", "E0651", "E0707", "E0708", "E0711", "E0801", "E0803"),
    *("E0805", "E0812", "E0814", "E0830", "E0831", "E0833", "E0834", "E0837", "E0839", "E0866", "E0870", "E0872"),
}
"""Codes whose fix is in a file of data or a model, in a program, or in the message."""


def test_pages_have_something_to_paste() -> None:
    lacking = {code for code, page in OUTSIDE.items() if not (page.commands or page.fixed)}
    assert lacking == WITHOUT


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    if words[0] in ("mpirun", "srun") and words[1:] != ["--version"]:
        words = words[next(at for at, word in enumerate(words) if word in ("netdsl", "python")) :]
    outside = ("chmod", "cd", "df", "du", "env", "iconv", "ls", "mkdir", "module", "mpirun", "pip", "printf")
    assert words[0] in ("netdsl", "python", *outside)
    if words[0] == "netdsl" and words[1] not in ("help", "--version"):
        assert parse_arguments(words[1:]).name == words[1]


@pytest.mark.parametrize("code", [code for code, page in OUTSIDE.items() if page.fixed])
def test_an_example_is_clean(code: str, tmp_path: Path) -> None:
    path, report = tmp_path / "n.net", Report()
    path.write_text(OUTSIDE[code].fixed, "utf-8")
    check_file(str(path), report)
    assert not len(report)
