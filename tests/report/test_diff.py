"""`netdsl diff`: which layers and weights an edit changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netdsl.report.diff import Diff
from tests.support.cli_tools import Commands, netdsl
from tests.support.reference import open_net

__all__ = ["netdsl"]

A = """net a(width = 4) {
  input x 3x8x8
  conv1: conv 3x3 width bias off
  bn
  relu
  conv2: conv 3x3 6
  global_avgpool
  dense 2
}
"""


def test_the_same(netdsl: Commands) -> None:
    netdsl.write(a=A)
    ran = netdsl("diff", "a.net", "a.net")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "a(width = 4) a.net  ->  a(width = 4) a.net\n"
        "\n"
        "the layers are the same\n"
        "\n"
        "9 of 9 weights survive by name and shape: 360 numbers\n"
    )


def test_an_edit(netdsl: Commands) -> None:
    edited = (
        A.replace("conv1: conv 3x3 width", "stem: conv 3x3 width").replace("  relu\n", "").replace("3x3 6", "5x5 6")
    )
    netdsl.write(a=A, b=edited.replace("dense 2", "dense 2\n  softmax"))
    ran = netdsl("diff", "a.net", "b.net")
    assert ran.code == 0
    assert ran.out == (
        "a(width = 4) a.net  ->  a(width = 4) b.net\n"
        "\n"
        "-  conv1     conv 3x3 4 bias off       4x8x8\n"
        "-  relu1     relu                      4x8x8\n"
        "~  conv2     conv 3x3 6 -> conv 5x5 6  6x8x8\n"
        "+  stem      conv 3x3 4 bias off       4x8x8\n"
        "+  softmax1  softmax                   2\n"
        "\n"
        "7 of 9 weights survive by name and shape: 36 numbers\n"
        "1 reshaped:\n"
        "  conv2.weight  6x4x3x3 -> 6x4x5x5\n"
        "1 gone:\n"
        "  conv1.weight  4x3x3x3\n"
        "1 new:\n"
        "  stem.weight  4x3x3x3\n"
        "1 perhaps renamed:\n"
        "  conv1  ->  stem  --rename '^conv1\\.' 'stem.'\n"
    )


def test_an_edit_of_a_transformer(netdsl: Commands) -> None:
    """A weight that becomes tied is gone; masks and heads are arguments."""
    text = """net t(width = 8) {
  input seen 6 dtype i64
  input tokens 6 dtype i64
  wte: embedding 50 width
  add { } { wpe: param [width, 6] }
  attention 2 { linear width } { linear width } { linear width }
  layernorm
  head: linear 50 bias off
}
"""
    edited = text.replace("attention 2", "attention 4 causal on mask seen").replace("layernorm", "rmsnorm")
    netdsl.write(a=text.replace("input seen 6 dtype i64", ""), b=edited.replace("bias off", "bias off tied wte"))
    ran = netdsl("diff", "a.net", "b.net")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "t(width = 8) a.net  ->  t(width = 8) b.net\n"
        "\n"
        "-  layernorm1  layernorm                                          8x6\n"
        "~  attention1  attention 2 -> attention 4 causal on mask seen     8x6\n"
        "~  head        linear 50 bias off -> linear 50 bias off tied wte  50x6\n"
        "+  seen        input 6 dtype i64                                  6\n"
        "+  rmsnorm1    rmsnorm                                            8x6\n"
        "\n"
        "8 of 9 weights survive by name and shape: 664 numbers\n"
        "3 gone:\n"
        "  layernorm1.weight  8\n"
        "  layernorm1.bias    8\n"
        "  head.weight        50x8\n"
        "1 new:\n"
        "  rmsnorm1.weight  8\n"
    )


def test_settings_of_either(netdsl: Commands) -> None:
    netdsl.write(a=A)
    assert "the layers are the same" in netdsl("diff", "a.net", "a.net", "--set", "width=5").out
    ran = netdsl("diff", "a.net", "a.net:a", "--set-b", "width=8")
    assert "~  conv1  conv 3x3 4 bias off -> conv 3x3 8 bias off  4x8x8 -> 8x8x8\n" in ran.out
    assert "3 of 9 weights survive" in ran.out
    assert netdsl("diff", "a.net", "a.net", "--set", "width=5", "--set-a", "width=6").code == 2


def test_nets_of_the_zoo(netdsl: Commands) -> None:
    found = json.loads(netdsl("diff", "resnet18", "resnet34", "--json").out)
    assert found["a"] == {"net": "resnet18", "file": "zoo/resnet.net"}
    assert found["layers"]["removed"] == []
    assert {"name": "layer1.2.conv1", "layer": "conv 3x3 64 bias off", "shape": [64, 56, 56]} in found["layers"][
        "added"
    ]
    assert len(found["weights"]["kept"]) == len(open_net("resnet18").parameters)
    assert found["weights"]["gone"] == found["weights"]["reshaped"] == []


def test_renames_are_told_in_order(tmp_path: Path) -> None:
    """Layers of one shape keep their order; one that is of another shape, or has other weights, is no candidate."""
    nets = []
    for name, layers in (("a", "a: conv 3x3 4; b: conv 3x3 4; c: conv 3x3 5"), ("b", "x: conv 3x3 4; y: conv 3x3 4")):
        path = tmp_path / f"{name}.net"
        path.write_text(
            f"net n {{ input i 4x8x8; {layers}; {name}z: conv 3x3 6 bias {'off' if name == 'a' else 'on'} }}"
        )
        nets.append(open_net(path))
    assert Diff(*nets).renamed == {"a": "x", "b": "y"}


@pytest.mark.parametrize(("first", "second", "code"), [("a.net", "none.net", 2), ("bad.net", "a.net", 1)])
def test_nets_that_are_none(netdsl: Commands, first: str, second: str, code: int) -> None:
    netdsl.write(a=A, bad="net bad { input x 3; rleu }")
    ran = netdsl("diff", first, second)
    assert (ran.code, ran.out) == (code, "")


@pytest.mark.parametrize("files", [["bad.net", "bad.net"], ["bad.net", "bad.net:bad"]])
@pytest.mark.parametrize("command", ["diff", "compare"])
def test_a_mistake_of_a_file_that_is_read_twice_is_told_once(netdsl: Commands, command: str, files: list[str]) -> None:
    netdsl.write(bad="net bad { input x 3; rleu; cnov 3x3 8 }", other="net other { input x 3; dnese 2 }")
    ran = netdsl(command, *files)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == netdsl("compile", "bad.net").err
    assert ran.err.count("error[") == 2
    both = netdsl(command, "bad.net", "other.net")
    assert [both.err.count(f"{name}.net:1:") for name in ("bad", "other")] == [2, 1]
    assert "3 errors\n" in both.err
