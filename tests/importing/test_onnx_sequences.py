"""Attention, windows and recurrent layers of ONNX, as exporters write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.importing.test_onnx import Case, check
from tests.support.onnx_models import RANDOM, Arrays, ints, model, n, w

HEADS = ints(0, 5, 2, 4)
"""The shape of 5 positions of 2 heads."""


def number(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, "f4")


def attention(scores: list[onnx.NodeProto], last: str) -> list[onnx.NodeProto]:
    """Return the nodes of self-attention of 5 positions, with nodes that change the scores `s` to `last`."""
    parts = [
        node
        for name in "qkv"
        for node in (
            n("MatMul", f"x w{name}", f"{name}1"),
            n("Reshape", f"{name}1 heads", f"{name}2"),
            n("Transpose", f"{name}2", name, perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        )
    ]
    ends = [
        n("Softmax", last, "p", axis=-1),
        n("MatMul", "p v", "y1"),
        n("Transpose", "y1", "y2", perm=[0, 2, 1, 3]),
        n("Reshape", "y2 whole", "y3"),
        n("MatMul", "y3 wo", "y"),
    ]
    return [*parts, n("MatMul", "q k", "s"), *scores, *ends]


WEIGHTS: Arrays = {f"w{name}": w(6, 8) for name in "qkv"} | {"wo": w(8, 3), "heads": HEADS, "whole": ints(0, 5, 8)}
LATER = np.triu(np.full((5, 5), -np.inf, "f4"), 1)
TOKENS = "permute [1, 0]\n"

CASES: dict[str, Case] = {
    "attention": (attention([n("Div", "s root", "t")], "t"), {**WEIGHTS, "root": number(2)}, (5, 6), "attention 2 "),
    "attention with a scale": (
        attention([n("Mul", "s a", "t")], "t"),
        {**WEIGHTS, "a": number(0.3)},
        (5, 6),
        "attention 2 scale 0.3 ",
    ),
    "causal attention": (
        attention([n("Mul", "s a", "t"), n("Add", "t mask", "u")], "u"),
        {**WEIGHTS, "a": number(0.5), "mask": LATER[None, None]},
        (5, 6),
        "attention 2 causal on ",
    ),
    "causal attention by a condition": (
        attention([n("Mul", "s a", "t"), n("Where", "seen t least", "u")], "u"),
        {**WEIGHTS, "a": number(0.5), "seen": LATER == 0, "least": number(np.finfo("f4").min)},
        (5, 6),
        "attention 2 causal on ",
    ),
    "attention with a bias": (
        attention([n("Mul", "s a", "t"), n("Add", "t bias", "u")], "u"),
        {**WEIGHTS, "a": number(0.5), "bias": w(1, 2, 5, 5)},
        (5, 6),
        "attention 2 bias bias_2 ",
    ),
    "attention whose undefined results are zeros": (
        [
            *attention([], "s")[:-5],
            n("Softmax", "s", "p1"),
            n("IsNaN", "p1", "bad"),
            n("Where", "bad zero p1", "p"),
            *attention([], "s")[-4:],
        ],
        {**WEIGHTS, "zero": number(0)},
        (5, 6),
        "attention 2 scale 1 ",
    ),
    "joint queries, keys and values": (
        [
            n("MatMul", "x w", "a"),
            n("Reshape", "a parts", "b"),
            n("Transpose", "b", "c", perm=[2, 0, 3, 1, 4]),
            *(n("Gather", f"c i{at}", name, axis=0) for at, name in enumerate(["q", "k1", "v"])),
            n("Transpose", "k1", "k", perm=[0, 1, 3, 2]),
            n("Mul", "q half", "q2"),
            n("MatMul", "q2 k", "s"),
            *attention([], "s")[10:],
        ],
        {"w": w(6, 24), "parts": ints(0, 5, 3, 2, 4), "half": number(0.5), "whole": ints(0, 5, 8), "wo": w(8, 3)}
        | {f"i{at}": np.array(at) for at in range(3)},
        (5, 6),
        "linear 24 bias off\nattention 2\nlinear 3 bias off",
    ),
    "windows": (
        [
            n("Transpose", "x", "a", perm=[0, 2, 3, 1]),
            n("Reshape", "a split", "b"),
            n("Transpose", "b", "c", perm=[0, 1, 3, 2, 4, 5]),
            n("Reshape", "c joined", "d"),
            n("MatMul", "d w", "e"),
            n("Reshape", "e back", "f"),
            n("Transpose", "f", "g", perm=[0, 1, 3, 2, 4, 5]),
            n("Reshape", "g whole", "h"),
            n("Transpose", "h", "y", perm=[0, 3, 1, 2]),
        ],
        {
            "w": w(3, 5),
            "split": ints(-1, 2, 4, 2, 4, 3),
            "joined": ints(-1, 16, 3),
            "back": ints(-1, 2, 2, 4, 4, 5),
            "whole": ints(-1, 8, 8, 5),
        },
        (3, 8, 8),
        "linear 5 bias off",
    ),
    "every other position": (
        [n("Slice", "x one end axes two", "a"), n("Slice", "a zero end last two", "y")],
        {"zero": ints(0), "one": ints(1), "end": ints(2**40), "axes": ints(2), "last": ints(-1), "two": ints(2)},
        (3, 4, 6),
        "slice 2 1",
    ),
    "gelu by tanh": (
        [
            n("Mul", "x half", "a"),
            n("Pow", "x three", "b"),
            n("Mul", "b c", "d"),
            n("Add", "x d", "e"),
            n("Mul", "e r", "f"),
            n("Tanh", "f", "g"),
            n("Add", "g one", "h"),
            n("Mul", "a h", "y"),
        ],
        {
            "half": number(0.5),
            "three": number(3),
            "c": number(0.044715),
            "r": number((2 / np.pi) ** 0.5),
            "one": number(1),
        },
        (5, 7),
        "gelu tanh on",
    ),
    "lstm": (
        [
            n("Transpose", "x", "a", perm=[1, 0, 2]),
            n("LSTM", "a w r b", "b1", hidden_size=4, direction="bidirectional"),
            n("Transpose", "b1", "c", perm=[2, 0, 1, 3]),
            n("Reshape", "c shape", "y"),
        ],
        {"w": w(2, 16, 3), "r": w(2, 16, 4), "b": w(2, 32), "shape": ints(0, 0, -1)},
        (5, 3),
        "permute [1, 0]\nlstm 4 bidirectional on\npermute [1, 0]",
    ),
    "the last states of an lstm": (
        [
            n("Transpose", "x", "a", perm=[1, 0, 2]),
            n("LSTM", "a w r", "- h c", hidden_size=4),
            n("Concat", "h c", "d", axis=2),
            n("Squeeze", "d zero", "y"),
        ],
        {"w": w(1, 16, 3), "r": w(1, 16, 4), "zero": ints(0)},
        (5, 3),
        "lstm 4 bias off\nstate_1: state { }",
    ),
    "gru": (
        [
            n("Transpose", "x", "a", perm=[1, 0, 2]),
            n("GRU", "a w r b", "- h", hidden_size=4, linear_before_reset=1),
            n("Squeeze", "h zero", "y"),
        ],
        {"w": w(1, 12, 3), "r": w(1, 12, 4), "b": w(1, 24), "zero": ints(0)},
        (5, 3),
        "gru 4 last on",
    ),
    "rnn": (
        [
            n("Transpose", "x", "a", perm=[1, 0, 2]),
            n("RNN", "a w r", "- h", hidden_size=4, activations=["Relu"]),
            n("Squeeze", "h zero", "y"),
        ],
        {"w": w(1, 4, 3), "r": w(1, 4, 4), "zero": ints(0)},
        (5, 3),
        "rnn 4 bias off last on act relu",
    ),
}


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("case", CASES)
def test_sequences_are_recognized(case: str, batch: str | int, tmp_path: Path) -> None:
    """With a batch of any size, and with one that is fixed."""
    nodes, arrays, shape, text = CASES[case]
    path = model(tmp_path / "m.onnx", nodes, arrays, *shape, batch=batch)
    found = check(path, {"x": RANDOM.normal(0, 1, (3 if batch == "N" else 1, *shape)).astype("f4")})
    lines = "\n".join(line.strip() for line in found.text.splitlines())
    assert text in lines, lines


@pytest.mark.parametrize("hidden", [-np.inf, -3.4e38])
def test_masks_and_rotary_embeddings_of_pytorch(hidden: float, tmp_path: Path) -> None:
    """The mask is a condition that hides scores, and the halves of each head are exchanged."""
    angles = np.arange(5)[:, None] * np.tile([1, 0.01], 2)
    scores = [
        n("Mul", "s half", "t"),
        n("Cast", "m", "b", to=TensorProto.BOOL),
        n("Unsqueeze", "b axes", "c"),
        n("Where", "c none hidden", "d"),
        n("Add", "t d", "u"),
    ]
    rotation = [
        n("Split", "q two", "h0 h1", axis=3),
        n("Neg", "h1", "r0"),
        n("Concat", "r0 h0", "r1", axis=-1),
        n("Mul", "q cos", "r2"),
        n("Mul", "r1 sin", "r3"),
        n("Add", "r2 r3", "r4"),
    ]
    nodes = attention(scores, "u")
    at = next(at for at, node in enumerate(nodes) if list(node.input) == ["q", "k"])
    nodes[at : at + 1] = [*rotation, n("MatMul", "r4 k", "s")]
    tables = {"cos": np.cos(angles).astype("f4")[None, None], "sin": np.sin(angles).astype("f4")[None, None]}
    more = {"half": number(0.5), "none": number(0), "hidden": number(hidden), "axes": ints(1, 2), "two": ints(2, 2)}
    path = model(tmp_path / "m.onnx", nodes, WEIGHTS | tables | more, 5, 6)
    made = onnx.load(path)
    made.graph.input.append(onnx.helper.make_tensor_value_info("m", TensorProto.INT64, ["N", 5]))
    path.write_bytes(made.SerializeToString())
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]])
    found = check(path, {"x": RANDOM.normal(0, 1, (2, 5, 6)).astype("f4"), "m": mask})
    assert "rope 2\n" in found.text
    assert "attention 2 mask m " in found.text
    assert bool(found["left_out"]) == (hidden != -np.inf)


def test_words_and_positions(tmp_path: Path) -> None:
    nodes = [
        n("Gather", "table x", "a"),
        n("Add", "a places", "b"),
        n("MatMul", "b w", "c"),
        n("ReduceMean", "c one", "y", keepdims=0),
    ]
    arrays = {"table": w(9, 4), "places": w(1, 5, 4), "w": w(4, 3), "one": ints(1)}
    path = model(tmp_path / "m.onnx", nodes, arrays, 5, kind=TensorProto.INT64)
    found = check(path, {"x": RANDOM.integers(0, 9, (3, 5))})
    assert "input x 5 dtype i64\n  embedding 9 4\n  add { places: param 5x4; permute [1, 0] }\n" in found.text
