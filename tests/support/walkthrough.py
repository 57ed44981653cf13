"""A page of the documentation as its reader follows it: saves the files that it names, and types the commands."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.cli_tools import ROOT, environment

BLOCK = re.compile(r"(?:`([\w.]+)`:\n\n)?^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A fenced block; a line in front of it that ends with `` `xor.net`: `` says that it is that file."""
COMMAND = re.compile(r"^\$ (.*)\n", re.MULTILINE)
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def blocks(page: Path, language: str) -> list[str]:
    return [match[3] for match in BLOCK.finditer(page.read_text("utf-8")) if match[2] == language]


def saved(page: Path, folder: Path) -> None:
    """Write the files that a page names."""
    for file, _, text in BLOCK.findall(page.read_text("utf-8")):
        if file:
            (folder / file).write_text(text, "utf-8")


def checkout(folder: Path) -> Path:
    """What a user has in a fresh clone, as far as commands need it, and `netdsl` and `python` to call."""
    clone, programs = folder / "clone", folder / "programs"
    for name in ("specs", "examples"):
        shutil.copytree(ROOT / name, clone / name)
    programs.mkdir()
    for name, arguments in (("netdsl", " -m netdsl"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (programs / name).chmod(0o755)
    return clone


def printed(command: str, clone: Path) -> str:
    """What a command prints, and its errors among it, on a terminal of 100 columns."""
    path = f"{clone.parent / 'programs'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=environment(PATH=path, COLUMNS="100"),
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def follow(page: Path, clone: Path) -> tuple[str, list[str]]:
    """The page with what its `console` blocks print here, and the commands of which that is not what it says."""
    wrong: list[str] = []

    def step(match: re.Match[str]) -> str:
        file, language, text = match.groups()
        if file:
            (clone / file).write_text(text, "utf-8")
        if language != "console":
            return match[0]
        before, *rest = COMMAND.split(text)
        assert before == "", f"{page.name}: a `console` block begins with a command"
        found = [(command, said, printed(command, clone)) for command, said in zip(rest[::2], rest[1::2], strict=True)]
        wrong.extend(f"$ {command}\n{now}" for command, said, now in found if not same(now, said))
        now = "".join(f"$ {command}\n{said if same(now, said) else now}" for command, said, now in found)
        return match[0].replace(text, now)

    return BLOCK.sub(step, page.read_text("utf-8")), wrong


def same(found: str, wanted: str) -> bool:
    """Equal, but for the last digits of fractions, in which machines differ; whole numbers are counts."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", wanted):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(wanted), strict=True)
    return all(a == b or ("." in a + b and math.isclose(_number(a), _number(b), rel_tol=1e-4)) for a, b in pairs)


def _number(text: str) -> float:
    return float(text.replace(",", ""))
