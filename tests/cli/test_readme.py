"""The README: how it begins, and that its network is the zoo's. `test_docs` runs its commands as written."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import pytest

from netdsl.app.frontend import load_net
from netdsl.diagnostics.report import Report
from tests.support.cli_tools import ROOT
from tests.support.walkthrough import blocks, checkout, printed

README = ROOT / "README.md"


def test_it_begins_with_two_commands_that_set_up() -> None:
    first, second = (line for block in blocks(README, "sh")[:2] for line in block.splitlines())
    setup = r"python3 -m venv \.venv && \. \.venv/bin/activate && pip install -e '\.\[\w+\]' && "
    assert re.match(setup + r"netdsl run \S+ examples/\S+\.png ", first)
    assert re.fullmatch(setup + "pytest", second)


@pytest.mark.skipif(sys.platform == "win32", reason="the README speaks sh")
def test_the_first_command_names_the_digits(tmp_path: Path) -> None:
    (command, *_) = (line for block in blocks(README, "sh") for line in block.splitlines())
    lines = printed("netdsl" + command.partition(" && netdsl")[2], checkout(tmp_path)).splitlines()
    assert len(lines) == 16
    for line in lines:
        assert re.match(r"examples/mnist/digits/(\d)_\d+\.png  \1: [\d.]+ %$", line), line


def test_its_network_is_the_zoos(tmp_path: Path) -> None:
    text, _, _ = blocks(README, "net")
    (tmp_path / "alexnet.net").write_text(text, "utf-8")
    nets = [load_net(file, Report()) for file in (str(tmp_path / "alexnet.net"), "alexnet")]
    here, there = ([(node.name, node.layer.kind, node.shape) for node in net.nodes] for net in nets if net)
    assert here == there


def test_its_gpt2_has_the_size_of_the_zoos(tmp_path: Path) -> None:
    _, text, _ = blocks(README, "net")
    (tmp_path / "gpt2.net").write_text(text, "utf-8")
    for file in (str(tmp_path / "gpt2.net"), "gpt2"):
        net = load_net(file, Report())
        assert net
        assert sum(math.prod(each.shape) for each in net.parameters.values()) == 124_439_808


def test_its_training_trains(tmp_path: Path) -> None:
    clone = checkout(tmp_path)
    *_, text = blocks(README, "net")
    (clone / "digits.net").write_text(text, "utf-8")
    (commands,) = (block for block in blocks(README, "sh") if "netdsl train" in block)
    train, *others = (line.partition("#")[0] for line in commands.splitlines())
    assert "20 steps" in printed(f"{train} --steps 20", clone)
    said = "".join(printed(command, clone) for command in others)
    assert "error" not in said
    for expected in ("accuracy  0.", "step.onnx: ", "adversarial  "):
        assert expected in said, said
    assert (clone / "attack.svg").exists()
