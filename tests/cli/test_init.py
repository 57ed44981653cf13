"""`netdsl init`: the file that it writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from netdsl.app.init import TEMPLATE
from netdsl.cli.parser import parse_arguments
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]


@pytest.mark.parametrize("name", [None, "digits", "digits.net", "folder/digits", "my net/digits"])
def test_a_new_net_is_clean_and_named_after_its_file(netdsl: Commands, name: str | None) -> None:
    path = "shapes.net" if name is None else f"{name.removesuffix('.net')}.net"
    Path(path).parent.mkdir(exist_ok=True)
    made = netdsl("init", *([] if name is None else [name]))
    assert (made.code, made.out) == (0, "")
    assert made.err.startswith(f"wrote {path}; next:\n")
    checked = netdsl("check", "--strict", path)
    assert (checked.code, checked.err) == (0, f"{path}: ok ({Path(path).stem})\n")


def test_the_commands_to_type_next_are_commands(netdsl: Commands) -> None:
    Path("my nets").mkdir()
    lines = netdsl("init", "my nets/digits").err.splitlines()[1:]
    typed = [shlex.split(line, comments=True) for line in lines]
    assert [words[:2] for words in typed] == [["netdsl", word] for word in ("check", "summary", "train", "eval", "run")]
    for words in typed:
        assert parse_arguments(words[1:])
        assert "my nets/digits.net" in words


@pytest.mark.slow
def test_a_new_net_learns_its_task(netdsl: Commands) -> None:
    """And tells shapes apart that something else has drawn."""
    netdsl("init")
    assert netdsl("train", "shapes.net").code == 0
    found = json.loads(netdsl("eval", "shapes.net", "--weights", "runs/shapes/best.safetensors", "--json").out)
    assert found["accuracy"] > 0.95
    rows, columns = np.mgrid[:28, :28]
    images = [
        (rows - 13) ** 2 + (columns - 12) ** 2 < 80,
        (abs(rows - 14) < 8) & (abs(columns - 12) < 8),
        (rows < 22) & (rows - 4 > 2 * abs(columns - 14)),
    ]
    np.save("drawn.npy", 255 * np.array(images, np.uint8)[:, None])
    lines = netdsl("run", "shapes.net", "drawn.npy", "--weights", "runs/shapes/best.safetensors").out.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == ["circle", "square", "triangle"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shapes", "shapes.net exists"),
        ("link", "link.net exists"),
        ("my-net", "`my-net` cannot be the name of a net"),
        ("2d", "`2d`"),
        ("if", "`if`"),
        ("", "``"),
        ("-", "``"),
        ("folder/", "``"),
        ("überall", "`überall`"),
        ("a\nb", "`a\\\\nb`"),
    ],
)
def test_what_cannot_be_created(netdsl: Commands, name: str, said: str) -> None:
    netdsl("init")
    Path("link.net").symlink_to("nowhere")
    Path("folder").mkdir()
    before = sorted(path.name for path in Path().rglob("*"))
    made = netdsl("init", *(["--", name] if name == "-" else [name]))
    assert (made.code, made.out) == (2, "")
    assert re.match(r"error\[E0660\]: " + said.replace("``", "`-?`"), made.err), made
    assert sorted(path.name for path in Path().rglob("*")) == before


def test_a_missing_folder(netdsl: Commands) -> None:
    made = netdsl("init", "nowhere/digits")
    assert (made.code, made.err) == (2, "error[E0606]: cannot write nowhere/digits.net: its folder does not exist\n")


def test_quiet_prints_nothing(netdsl: Commands) -> None:
    made = netdsl("init", "-q")
    assert (made.code, made.out, made.err) == (0, "", "")
    assert Path("shapes.net").read_text("utf-8") == TEMPLATE.replace("NAME", "shapes")
