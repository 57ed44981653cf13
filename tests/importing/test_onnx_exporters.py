"""What tf2onnx, jax2tf and skl2onnx write: the text that it becomes, and its results against onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import netdsl
from netdsl.base.user_error import UserError
from tests.importing.test_onnx import Case, check
from tests.support.onnx_models import RANDOM, graph, ints, model, n, save, w


def number(value: float) -> np.ndarray:
    return np.array(value, "f4")


ROWS = (5, 7)

CASES: dict[str, Case] = {
    "gelu as products": (
        [
            n("Mul", "c x", "a"),
            n("Mul", "x a", "b"),
            n("Mul", "x b", "d"),
            n("Add", "x d", "e"),
            n("Mul", "r e", "f"),
            n("Tanh", "f", "g"),
            n("Add", "one g", "h"),
            n("Mul", "half h", "i"),
            n("Mul", "x i", "y"),
        ],
        {"c": number(0.044715), "r": number((2 / np.pi) ** 0.5), "one": number(1), "half": number(0.5)},
        ROWS,
        "gelu tanh on",
    ),
    "softmax as an exponential and a sum": (
        [
            n("ReduceMax", "x last", "m", keepdims=0),
            n("Max", "least m", "m1"),
            n("Reshape", "m1 one", "m2"),
            n("Expand", "m2 all", "m3"),
            n("Sub", "x m3", "d"),
            n("Exp", "d", "e"),
            n("ReduceSum", "e last", "s"),
            n("Div", "e s", "y"),
        ],
        {"last": ints(1), "least": number(-np.inf), "one": ints(-1, 1), "all": ints(1, 7)},
        (7,),
        "softmax",
    ),
    "least elements": ([n("ReduceMin", "x axes", "y", keepdims=0)], {"axes": ints(1)}, ROWS, "reduce max 0"),
    "a constant that repeats a single row": (
        [n("ReduceSum", "x axes", "s", keepdims=0), n("Unsqueeze", "s axes", "u"), n("Mul", "u c", "y")],
        {"axes": ints(1), "c": w(1, 6, 1)},
        ROWS,
        "param 6x1",
    ),
    "divided by its length, as PyTorch's normalize": (
        [
            n("ReduceL2", "x axes", "a"),
            n("Clip", "a low", "b"),
            n("Shape", "x", "s"),
            n("Expand", "b s", "c"),
            n("Div", "x c", "y"),
        ],
        {"axes": ints(1), "low": number(1e-12)},
        ROWS,
        "l2norm eps 1e-24\n",
    ),
    "divided by a length that is limited": (
        [n("ReduceL2", "x axes", "a"), n("Clip", "a low", "b"), n("Div", "x b", "y")],
        {"axes": ints(1), "low": number(5)},
        ROWS,
        "clip 5 3.4028234e38\n  div x",
    ),
    "weights that are divided by their length": (
        [n("ReduceL2", "w axes", "a"), n("Div", "w a", "b"), n("MatMul", "x b", "y")],
        {"axes": ints(0), "w": w(5, 3)},
        (5,),
        "dense 3 bias off",
    ),
    "a softplus that is linear for large numbers": (
        [n("Mul", "x c", "a"), n("Softplus", "a", "b"), n("Greater", "a limit", "d"), n("Where", "d a b", "y")],
        {"c": number(30), "limit": number(20)},
        ROWS,
        "scale 30; softplus",
    ),
    "a slice up to an end that none has": (
        [n("Slice", "x start end axes", "a"), n("Relu", "a", "y")],
        {"start": ints(0, 0), "end": ints(10**9, 2**31 - 1), "axes": ints(0, 1)},
        ROWS,
        "relu",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_nodes_become_layers(case: str, tmp_path: Path) -> None:
    nodes, arrays, shape, text = CASES[case]
    path = model(tmp_path / "m.onnx", nodes, arrays, *shape)
    assert text in check(path, {"x": RANDOM.normal(0, 1, (3, *shape)).astype("f4")}).text


def test_quotients_are_zero_where_the_divisor_is(tmp_path: Path) -> None:
    nodes = [
        n("ReduceMax", "x axes", "m"),
        n("Div", "x m", "q"),
        n("Equal", "m zero", "none"),
        n("Where", "none zero q", "y"),
    ]
    path = model(tmp_path / "m.onnx", nodes, {"axes": ints(1), "zero": number(0)}, 5)
    x = RANDOM.normal(0, 1, (3, 5)).astype("f4")
    x[1] = -np.abs(x[1])
    x[1, 2] = 0
    check(path, {"x": x})


@pytest.mark.parametrize("repeated", [False, True])
def test_one_hot_vectors_are_an_embedding(tmp_path: Path, repeated: bool) -> None:
    nodes = [
        n("Unsqueeze", "x last", "a"),
        n("Expand", "a all", "b") if repeated else n("Identity", "a", "b"),
        n("Equal", "b words", "c"),
        n("Cast", "c", "d", to=TensorProto.FLOAT),
        n("MatMul", "d table", "y"),
    ]
    arrays = {"last": ints(-1), "all": ints(1, 1, 9), "words": np.arange(9).reshape(1, 1, 9), "table": w(9, 4)}
    path = model(tmp_path / "m.onnx", nodes, arrays, 5, kind=TensorProto.INT64)
    found = check(path, {"x": RANDOM.integers(0, 9, (3, 5))})
    assert "embedding 9 4" in found.text
    assert [*found["left_out"]] == [
        "zeros for indices that have no vector (node c): they are those below 9",
    ]


LINEAR = {"coefficients": w(3, 5).reshape(-1).tolist(), "intercepts": w(3).tolist()}


@pytest.mark.parametrize(
    ("op", "attributes", "text"),
    [
        ("LinearRegressor", {**LINEAR, "targets": 3}, "dense 3\n"),
        ("LinearRegressor", {"coefficients": LINEAR["coefficients"][:5]}, "dense 1 bias off\n"),
        ("LinearClassifier", {**LINEAR, "classlabels_ints": [0, 1, 2]}, "dense 3\n"),
        (
            "LinearClassifier",
            {**LINEAR, "classlabels_strings": ["a", "b", "c"], "post_transform": "SOFTMAX"},
            "softmax",
        ),
        (
            "LinearClassifier",
            {**LINEAR, "classlabels_ints": [0, 1, 2], "post_transform": "LOGISTIC"},
            "reduce sum 0\n  div sigmoid_1",
        ),
        ("Normalizer", {"norm": "L2"}, "l2norm eps 1e-30"),
    ],
)
def test_linear_models(tmp_path: Path, op: str, attributes: dict[str, object], text: str) -> None:
    results = "label y" if op == "LinearClassifier" else "y"
    nodes = [n(op, "x", results, domain="ai.onnx.ml", **attributes)]
    if attributes.get("post_transform") == "LOGISTIC":
        nodes = [n(op, "x", "label s", domain="ai.onnx.ml", **attributes)]
        nodes.append(n("Normalizer", "s", "y", domain="ai.onnx.ml", norm="L1"))
    path = model(tmp_path / "m.onnx", nodes, {}, 5, ai_onnx_ml=1)
    assert text in check(path, {"x": RANDOM.normal(0, 1, (3, 5)).astype("f4")}).text


REFUSED = {
    "unknown operators behind others": [
        n("Relu6", "x", "a"),
        n("TopK", "a k", "b i"),
        n("NonZero", "b", "c"),
        n("STFT", "c k", "y"),
    ],
    "a comparison": [n("Equal", "x zero", "a"), n("Not", "a", "y")],
    "a repeated value": [n("ReduceMax", "x k", "a"), n("Expand", "a all", "b"), n("Relu", "b", "y")],
}
"""Models without a net, and what must be named of them."""

NAMED = {
    "unknown operators behind others": ["Relu6 (node a)", "TopK (node b)", "STFT (node y)"],
    "a comparison": ["Not (node y): it compares computed values"],
    "a repeated value": ["Relu (node y): it repeats elements of a computed value"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_everything_that_is_unsupported_is_named(case: str, tmp_path: Path) -> None:
    arrays = {"zero": number(0), "k": ints(1), "all": ints(1, 5)}
    path = save(tmp_path / "m.onnx", graph(REFUSED[case], arrays, {"x": (TensorProto.FLOAT, ["n", 1])}))
    with pytest.raises(UserError) as caught:
        netdsl.import_model(path)
    assert all(text in str(caught.value) for text in NAMED[case]), str(caught.value)
