"""Nets that are compiled and imported: they come back with the same layers and weights, and are proved equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdsl.backend.compile import CompileOptions, compile_net
from netdsl.importing.recompile import recompiled
from tests.importing.imported import imported
from tests.support.zoo_models import fingerprint

QKV = "{ q: linear 8 } { k: linear 8 } { v: linear 8 }"

NETS = {
    "a mask": f"input x 8x5; input m 5 dtype i64; from x; attention 2 mask m {QKV}",
    "a causal mask": f"input x 8x5; attention 2 causal on {QKV}",
    "keys and values for several heads": (
        "input x 8x5; attention 4 causal on { q: linear 8 } { k: linear 4 } { v: linear 4 }"
    ),
    "a mask and a bias": (
        f"input x 8x5; input m 5 dtype i64; b: param [2, 5, 5]; from x; attention 2 mask m bias b {QKV}"
    ),
    "values of another input": (
        "input x 8x5; input y 6x4; input m 4 dtype i64; from x\n"
        "attention 2 scale 1 mask m { q: linear 8 } { from y; k: linear 8 } { from y; v: linear 8 }"
    ),
    "rotary embeddings": "input x 8x5; attention 2 { q: linear 8; rope 2 } { k: linear 8; rope 2 } { v: linear 8 }",
    "rotary embeddings by frequencies": "input x 16x9; a: linear 16; rope 2 base [1, 0.3, 0.01, 3e-6]; b: linear 4",
    "a rotated part": "input x 16x9; a: linear 16; rope 2 base 500 part 0.5; b: linear 4",
    "norms": "input x 8x5; a: rmsnorm; b: linear 4; rmsnorm eps 1e-5 affine off; l2norm; c: l2norm scale on; tanh",
    "positions": "input x 5 dtype i64; add { words: embedding 9 8 } { positions; places: embedding 7 8 }; a: linear 3",
    "tied weights": "input x 5 dtype i64; words: embedding 9 8; a: linear 8; tanh; linear 9 bias off tied words",
    "shared weights": (
        "input x 6; input y 6; from x; a: dense 4; tanh; b: dense 3; from y; reuse a; tanh; reuse b; sub { } b"
    ),
    "a weight with other axes": "input x 8x5; add { } { places: param [5, 8]; permute [1, 0] }; a: linear 4",
    "short lists": "input x 64; a: dense 16; add { } { values [1, 0, 0, 0, 0] * 3 + [1] }; b: dense 3",
    "stacked layers": "input x 3x5; r: lstm 4 layers 3; linear 2; g: gru 4 layers 2 bidirectional on last on; dense 2",
    "states of stacked layers": (
        "input n 1 dtype i64; input x 3x5; input y 3x4; from x; e: lstm 4 layers 2 lengths n; state e; s: identity\n"
        "from y; d: lstm 4 layers 2 initial s; concat { attention 1 scale 1 { } e e } { }; o: linear 2"
    ),
    "places of maxima": (
        "input x 2x7x8; a: conv 3x3 4; maxpool 2x2 ceil on; b: conv 3x3 4; unpool 2x2 ceil on a; c: conv 1x1 2"
    ),
    "biases of distances": (
        "input x 8x5; d: relative_positions 2; values [0, 0, 1, 2, 1] dtype i64; t: embedding 3 2\n"
        f"p: gather axis 1 d; from x; attention 2 bias p {QKV}"
    ),
    "columns": (
        "input x 3; input i 1 dtype i64; from x; a: dense 4; concat axis 1 { reshape 4x1 } { from i; b: embedding 5 4 }"
    ),
    "positions of an image": "input x 3x4x4; a: conv 1x1 6; reshape 6x16; n: layernorm; permute [1, 0]; b: linear 5",
    "parts of positions": "input x 6x4x4; a: conv 1x1 6; reshape 2x3x16; permute [2, 0, 1]; reshape 32x3; b: linear 4",
    "a value of merged branches that is read later": (
        "input x 4; matmul { p: dense 4; reshape 2x2 } { q: dense 4; reshape 2x2 }; y: identity\n"
        "r: dense 4; reshape 2x2; matmul y { }"
    ),
    "outputs of groups": (
        "input x 3x8x8; a: { conv 3x3 4; relu }; output early; b: { conv 3x3 4; relu; global_avgpool }; output late"
    ),
    "a value from before a numbered part": ("input x 6; a: seq { u; u }"),
}


BLOCK = "block u { y: identity; b: { p: dense 6; tanh }; e: { add { q: dense 6; tanh } y; c: dense 6 } }"


@pytest.mark.parametrize("name", NETS)
def test_nets_come_back(name: str, tmp_path: Path) -> None:
    net = recompiled(f"{BLOCK}\nnet n {{ {NETS[name]} }}", "n.net")
    with (tmp_path / "n.onnx").open("wb") as file:
        compile_net(net, file, CompileOptions())
    found = imported(tmp_path / "n.onnx")
    assert fingerprint(found.net) == fingerprint(net)


@pytest.mark.parametrize("name", ["a causal mask", "keys and values for several heads", "norms"])
def test_operators_of_newer_opsets_come_back(name: str, tmp_path: Path) -> None:
    net = recompiled(f"net n {{ {NETS[name]} }}", "n.net")
    with (tmp_path / "n.onnx").open("wb") as file:
        compile_net(net, file, CompileOptions(opset=23))
    assert fingerprint(imported(tmp_path / "n.onnx").net) == fingerprint(net)
