"""The README's commands run as written, and print what it says. `pytest --update-golden` writes what they print now."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netdsl.diagnostics.report import Report
from netdsl.frontend import load_net
from tests.cli_tools import ROOT, environment

README = ROOT / "README.md"
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def session(block: str) -> list[tuple[str, str]]:
    """The commands of a block, and what each prints."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert parts[0] == ""
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has in a fresh clone, as far as the commands need it, and `netdsl` and `python` to call."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("specs", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    programs = tmp_path_factory.mktemp("programs")
    for name, arguments in (("netdsl", " -m netdsl"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (programs / name).chmod(0o755)
    (folder / ".programs").symlink_to(programs)
    return folder


def printed(command: str, folder: Path) -> str:
    path = f"{folder / '.programs'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(PATH=path),
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def number(text: str) -> float:
    return float(text.replace(",", ""))


def same(found: str, wanted: str) -> bool:
    """Equal, but for the last digits of numbers, in which machines differ."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", wanted):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(wanted), strict=True)
    return all(math.isclose(number(a), number(b), rel_tol=1e-4) for a, b in pairs)


@pytest.mark.skipif(sys.platform == "win32", reason="the README speaks sh")
def test_the_commands_print_what_the_readme_says(checkout: Path, request: pytest.FixtureRequest) -> None:
    text = README.read_text("utf-8")
    assert len(blocks("console")) >= 4
    wrong = []
    for block in blocks("console"):
        commands = [(command, said, printed(command, checkout)) for command, said in session(block)]
        wrong += [f"$ {command}\n{found}" for command, said, found in commands if not same(found, said)]
        text = text.replace(block, "".join(f"$ {command}\n{found}" for command, _, found in commands))
    if request.config.getoption("--update-golden"):
        README.write_text(text, "utf-8")
    else:
        assert wrong == []


def test_it_begins_with_two_commands_that_set_up() -> None:
    first, second = (line for block in blocks("sh") for line in block.splitlines())
    setup = r"python3 -m venv \.venv && \. \.venv/bin/activate && pip install -e '\.\[\w+\]' && "
    assert re.match(setup + r"netdsl run \S+ examples/\S+\.png ", first)
    assert re.fullmatch(setup + "pytest", second)


@pytest.mark.skipif(sys.platform == "win32", reason="the README speaks sh")
def test_the_first_command_names_the_digits(checkout: Path) -> None:
    (command, *_) = (line for block in blocks("sh") for line in block.splitlines())
    lines = printed("netdsl" + command.partition(" && netdsl")[2], checkout).splitlines()
    assert len(lines) == 16
    for line in lines:
        assert re.match(r"examples/mnist/digits/(\d)_\d+\.png  \1: [\d.]+$", line), line


def test_its_network_is_the_zoos(tmp_path: Path) -> None:
    (text,) = blocks("net")
    (tmp_path / "alexnet.net").write_text(text, "utf-8")
    nets = [load_net(file, Report()) for file in (str(tmp_path / "alexnet.net"), "alexnet")]
    here, there = ([(node.name, node.layer.kind, node.shape) for node in net.nodes] for net in nets if net)
    assert here == there
