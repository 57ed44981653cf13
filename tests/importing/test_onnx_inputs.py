"""Inputs of ONNX models: batches elsewhere than first, sizes and numbers that `--input` fixes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import netdsl
from netdsl.base.user_error import UserError
from tests.support.onnx_models import RANDOM, graph, ints, n, run, save, w


def branch(seed: int) -> Any:
    """Return a branch of a condition, with a weight that is large enough to stay in the file."""
    weight = numpy_helper.from_array(np.random.default_rng(seed).normal(0, 0.1, (5, 60)).astype("f4"), f"w{seed}")
    output = helper.make_tensor_value_info(f"p{seed}", TensorProto.FLOAT, None)
    return helper.make_graph([n("MatMul", f"x w{seed}", f"p{seed}")], "b", [], [output], [weight])


def stream(path: Path) -> Path:
    """Write a model that reads a sound in parts: it takes its sampling rate, and passes on the state of its LSTM."""
    nodes = [
        n("Equal", "sr rate", "wide"),
        n("If", "wide", "p", then_branch=branch(1), else_branch=branch(2)),
        n("Transpose", "p", "a", perm=[1, 0, 2]),
        n("Gather", "state zero", "h0", axis=0),
        n("Gather", "state one", "c0", axis=0),
        n("Unsqueeze", "h0 first", "h"),
        n("Unsqueeze", "c0 first", "c"),
        n("LSTM", "a wi wr b - h c", "o hn cn", hidden_size=4),
        n("Concat", "hn cn", "after", axis=0),
        n("Squeeze", "o second", "o2"),
        n("Transpose", "o2", "y", perm=[1, 2, 0]),
    ]
    arrays = {
        "rate": np.array(16000),
        "zero": np.array(0),
        "one": np.array(1),
        "first": ints(0),
        "second": ints(1),
        "wi": w(1, 16, 60),
        "wr": w(1, 16, 4),
        "b": w(1, 32),
    }
    inputs = {
        "x": (TensorProto.FLOAT, ["n", "length", 5]),
        "state": (TensorProto.FLOAT, [2, "n", 4]),
        "sr": (TensorProto.INT64, []),
    }
    return save(path, graph(nodes, arrays, inputs, "y after"), 16)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_model_of_a_stream(tmp_path: Path, rate: int) -> None:
    path = stream(tmp_path / "m.onnx")
    found = netdsl.import_model(path, shapes={"sr": [rate], "x": [7, 5]})
    assert found["proved"]
    assert [*found["left_out"]] == [
        "the order of axes x2 (first input state): the batch is its axis 1 in the model",
        f"an input (input sr): it is {rate}",
    ]
    assert "initial concat_1" in found.text
    x, state = (RANDOM.normal(0, 1, shape).astype("f4") for shape in ((3, 7, 5), (2, 3, 4)))
    y, after = run(path, {"x": x, "state": state, "sr": np.array(rate)})
    ours = found.net.session(weights=found.weights)(x=x, state=state.transpose(1, 0, 2))
    np.testing.assert_allclose(ours["y"], y, atol=1e-6)
    np.testing.assert_allclose(ours["after"], after.transpose(1, 0, 2), atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "code", "message"),
    [
        ({}, "E0670", "a net has no input of a single number; fix it by `.*sr.*16000"),
        ({"sr": [1, 2]}, "E0670", "a net has no input of a single number"),
        ({"sr": [8000], "x": [7]}, "E0670", "it has 2 sizes without the batch, and 1 are given"),
        ({"sr": [8000], "x": [7, 6]}, "E0670", "its axis 2 has the size 5, and 6 is given"),
        ({"rate": [8000]}, "E0679", "has no input `rate`"),
    ],
)
def test_inputs_that_do_not_fit(tmp_path: Path, shapes: Any, code: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        netdsl.import_model(stream(tmp_path / "m.onnx"), shapes=shapes)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([n("LSTM", "x3 wi wr", "y", hidden_size=4)], "it runs along the batch, the first axis of the inputs"),
        ([n("Transpose", "x3", "a", perm=[1, 0, 2]), n("LSTM", "a wi wr - - h", "y", hidden_size=4)], "constant state"),
    ],
)
def test_recurrences_that_are_refused(tmp_path: Path, nodes: list[Any], why: str) -> None:
    arrays = {"wi": w(1, 16, 5), "wr": w(1, 16, 4), "h": w(1, 2, 4)}
    path = save(tmp_path / "m.onnx", graph(nodes, arrays, {"x3": (TensorProto.FLOAT, ["n", 7, 5])}))
    with pytest.raises(UserError, match=why):
        netdsl.import_model(path)


def result(found: Any, x: np.ndarray) -> np.ndarray:
    """Return the only output of an imported net."""
    session = found.net.session(weights=found.weights)
    (name,) = session.outputs
    return session(x=x)[name]


@pytest.mark.parametrize("batch", [1, "n"])
def test_a_model_that_computes_with_the_size_of_its_batch(tmp_path: Path, batch: int | str) -> None:
    nodes = [
        n("Shape", "x", "s"),
        n("Gather", "s zero", "examples", axis=0),
        n("Gather", "s one", "places", axis=0),
        n("Mul", "examples places", "rows"),
        n("Unsqueeze", "rows first", "rows1"),
        n("Concat", "rows1 three", "matrix", axis=0),
        n("Reshape", "x matrix", "a"),
        n("Gemm", "a w b", "c"),
        n("Unsqueeze", "c first", "y"),
    ]
    arrays = {"zero": np.array(0), "one": np.array(1), "first": ints(0), "three": ints(3), "w": w(3, 2), "b": w(2)}
    path = save(tmp_path / "m.onnx", graph(nodes, arrays, {"x": (TensorProto.FLOAT, [batch, "length", 3])}))
    found = netdsl.import_model(path)
    assert found["proved"]
    told = ["batches of several examples: the model computes with the size of the batch"]
    assert [*found["left_out"]] == (told if batch == "n" else [])
    x = RANDOM.normal(0, 1, (1, 5, 3)).astype("f4")
    (wanted,) = run(path, {"x": x})
    np.testing.assert_allclose(result(found, x), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        [n("Conv", "x w b", "y", auto_pad="SAME_UPPER")],
        [n("Conv", "x w", "a", auto_pad="SAME_UPPER", strides=[2, 2]), n("Add", "a c", "y")],
        [n("MaxPool", "x", "y", auto_pad="SAME_UPPER", kernel_shape=[2, 3], strides=[2, 2])],
        [n("AveragePool", "x", "y", auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 1], count_include_pad=1)],
    ],
)
def test_padding_of_sizes_that_are_known_only_at_run_time(tmp_path: Path, nodes: list[Any]) -> None:
    arrays = {"w": w(4, 3, 2, 2), "b": w(4), "c": w(4, 1, 1)}
    path = save(tmp_path / "m.onnx", graph(nodes, arrays, {"x": (TensorProto.FLOAT, ["n", 3, "h", "w_"])}))
    found = netdsl.import_model(path)
    assert found["proved"]
    assert "pad same_upper" in found.text
    strided = any(each.name == "strides" for each in nodes[0].attribute)
    for height, width in [(32, 64), (96, 32)] if strided else [(8, 7), (9, 11)]:
        x = RANDOM.normal(0, 1, (2, 3, height, width)).astype("f4")
        (wanted,) = run(path, {"x": x})
        np.testing.assert_allclose(result(found, x), wanted, atol=1e-5)


def test_batches_of_different_sizes_are_refused(tmp_path: Path) -> None:
    inputs = {"a": (TensorProto.FLOAT, [2, 3]), "b": (TensorProto.FLOAT, [1, 3])}
    path = save(tmp_path / "m.onnx", graph([n("Add", "a b", "y")], {}, inputs))
    with pytest.raises(UserError, match="its batch has the size 1, and another's 2"):
        netdsl.import_model(path)
