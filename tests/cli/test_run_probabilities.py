"""Probabilities that `netdsl run` prints, held against NumPy: where they are known, and where they are not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from netdsl.weights.safetensors import write_tensors
from tests.support.cli_tools import MNIST, ROOT, Commands, netdsl

__all__ = ["netdsl"]

X = np.random.default_rng(3).normal(0, 2, (5, 4)).astype(np.float32)
IDENTITY = np.eye(4, dtype=np.float32)


def softmax(rows: Any) -> Any:
    powers = np.exp(rows.astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


def weights(rows: int, **metadata: str) -> None:
    """Write w.safetensors for a dense layer that returns the first numbers of its input, and x.npy."""
    np.save("x.npy", X)
    with open("w.safetensors", "wb") as file:
        arrays = {"dense1.weight": IDENTITY[:rows], "dense1.bias": np.zeros(rows, np.float32)}
        write_tensors(file, arrays, {f"netdsl.{key}.output": value for key, value in metadata.items()})


def records(netdsl: Commands, *command: object) -> list[dict[str, Any]]:
    ran = netdsl("run", *command, "--json", "--top", 10)
    assert (ran.code, ran.err) == (0, ""), ran
    return [json.loads(line)["outputs"]["output"] for line in ran.out.splitlines()]


def of_classes(record: dict[str, Any], key: str) -> list[float]:
    return [each[key] for each in sorted(record["top"], key=lambda each: each["class"])]


NET = ("n.net", "--weights", "w.safetensors")


@pytest.mark.parametrize("options", [(), ("--dtype", "f16"), ("--dtype", "f16", "--io", "f16")])
def test_cross_entropy_has_the_softmax(netdsl: Commands, options: tuple[str, ...]) -> None:
    netdsl.write(n="net n { input x 4; dense 3 }")
    weights(3, loss="cross_entropy", classes='["a", "b", "c"]')
    assert netdsl("compile", *NET, "-o", "m.onnx", *options).code == 0
    for command in (NET, ("m.onnx",)):
        found = records(netdsl, *command, "x.npy")
        values = np.array([of_classes(record, "value") for record in found])
        np.testing.assert_allclose(values, X[:, :3], atol=2e-2 if options else 1e-6)
        chances = [of_classes(record, "probability") for record in found]
        np.testing.assert_allclose(chances, softmax(values), atol=1e-9)
        assert [[each["label"] for each in record["top"]] for record in found] == [
            ["abc"[at] for at in np.argsort(-row)] for row in values
        ]


def test_a_line_has_percent(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 4; dense 3 }")
    weights(3, loss="cross_entropy", classes='["circle", "square", "\\u001b[31mtriangle"]')
    np.save("x.npy", np.float32([[0, 1, 5, 0], [0, 0, 0, 0], [0, 0, np.inf, 0], [0, 0, 1e4, 0]]))
    ran = netdsl("run", *NET, "x.npy", "--top", 2)
    assert ran.out.splitlines() == [
        "x.npy[0]  \\x1b[31mtriangle 97.6 %  square 1.8 %",
        "x.npy[1]  circle 33.3 %  square 33.3 %",
        "x.npy[2]  circle nan %  square nan %",
        "x.npy[3]  \\x1b[31mtriangle 100.0 %  circle 0.0 %",
    ]
    assert "circle: 0  square: 0" in netdsl("run", *NET, "x.npy", "--top", 2, "--logits").out
    assert "probability" not in records(netdsl, *NET, "x.npy", "--logits")[0]["top"][0]
    assert records(netdsl, *NET, "x.npy")[2]["top"][0]["probability"] == "nan"


def test_logistic_has_the_sigmoid_of_its_number(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 4; dense 1 }")
    weights(1, loss="logistic", classes='["no", "yes"]')
    assert netdsl("compile", *NET, "-o", "m.onnx").code == 0
    Path("two.txt").write_text("minus\nplus\n")
    Path("three.txt").write_text("a\nb\nc\n")
    for command in (NET, ("m.onnx",)):
        found = records(netdsl, *command, "x.npy")
        np.testing.assert_allclose([record["value"] for record in found], X[:, 0], atol=1e-6)
        yes = 1 / (1 + np.exp(-X[:, 0].astype(np.float64)))
        chances = [of_classes(record, "probability") for record in found]
        np.testing.assert_allclose(chances, np.stack([1 - yes, yes], 1), atol=1e-6)
        assert [record["top"][0]["label"] for record in found] == ["yes" if x > 0 else "no" for x in X[:, 0]]
        assert not any("value" in each for record in found for each in record["top"])
        line = netdsl("run", *command, "x.npy", "--labels", "two.txt", "--top", 1).out.splitlines()[0]
        assert line == f"x.npy[0]  plus {100 * yes[0]:.1f} %"
        assert netdsl("run", *command, "x.npy", "--logits").out.splitlines()[0] == f"x.npy[0]  {X[0, 0]:.6g}"
        ran = netdsl("run", *command, "x.npy", "--labels", "three.txt")
        assert (ran.code, "three.txt has 3 labels, but the output `output` has 2 classes" in ran.err) == (1, True)


def test_an_output_that_is_a_softmax_is_printed_as_it_is(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 4; dense 3; softmax }")
    weights(3)
    assert netdsl("compile", *NET, "-o", "m.onnx").code == 0
    assert netdsl("compile", *NET, "-o", "half.onnx", "--dtype", "f16").code == 0
    for command in (NET, ("m.onnx",), ("half.onnx",), (*NET, "--softmax")):
        chances = [of_classes(record, "probability") for record in records(netdsl, *command, "x.npy")]
        np.testing.assert_allclose(chances, softmax(X[:, :3]), atol=2e-3 if "half.onnx" in command else 1e-6)


@pytest.mark.parametrize(
    ("nodes", "known"),
    [
        ([("Softmax", {})], True),
        ([("Softmax", {"axis": 1}), ("Identity", {})], True),
        ([("Softmax", {"axis": 0})], False),
        ([("Softmax", {}), ("Relu", {})], False),
        ([("Sigmoid", {})], False),
    ],
)
def test_a_softmax_of_another_tool_is_recognized(
    netdsl: Commands, nodes: list[tuple[str, dict[str, int]]], known: bool
) -> None:
    names = ["x", *(f"v{at}" for at in range(1, len(nodes))), "y"]
    graph = helper.make_graph(
        [helper.make_node(op, [names[at]], [names[at + 1]], **more) for at, (op, more) in enumerate(nodes)],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "m.onnx")
    np.save("x.npy", X)
    ran = netdsl("run", "m.onnx", "x.npy", "--json", "--top", 4)
    found = [json.loads(line)["outputs"]["y"]["top"] for line in ran.out.splitlines()]
    assert all(("probability" in each) == known for top in found for each in top)
    if known:
        assert all(each["probability"] == each["value"] for top in found for each in top)


UNKNOWN = {
    "weights from elsewhere": (3, {}),
    "classes alone": (3, {"classes": '["a", "b", "c"]'}),
    "a loss without probabilities": (3, {"loss": "hinge"}),
    "a loss of a later version": (3, {"loss": "evidence"}),
    "a loss that does not fit": (3, {"loss": "logistic"}),
    "a number": (1, {"loss": "cross_entropy"}),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_known_is_not_guessed(netdsl: Commands, case: str) -> None:
    rows, metadata = UNKNOWN[case]
    netdsl.write(n=f"net n {{ input x 4; dense {rows} }}")
    weights(rows, **metadata)
    ran = netdsl("run", *NET, "x.npy")
    assert ran.code == 0
    assert "%" not in ran.out
    assert "probability" not in netdsl("run", *NET, "x.npy", "--json").out


CHANGED = {
    "softmax": True,
    "reshape 3x1x1; softmax": True,
    "softmax; reshape 3x1x1": None,
    "log_softmax": True,
    "dropout 0.5; reshape 3x1": True,
    "sigmoid": False,
    "sigmoid; reshape 3x1x1": False,
    "tanh": False,
    "step": False,
    "sign": False,
    "exp": False,
    "hard_sigmoid; dropout 0.1": False,
}
"""What is added to a net after its training, and whether the probabilities are known then; None: they may be."""


FORMS = (("--dtype", "f16"), ("--functions",), ("--quantize", "int8", "--calibrate", "x.npy"))


@pytest.mark.parametrize(
    ("added", "options"),
    [*((added, ()) for added in CHANGED), *(("softmax", form) for form in FORMS), ("sigmoid", FORMS[2])],
)
def test_a_net_changed_after_training_prints_no_other_probabilities(
    netdsl: Commands, added: str, options: tuple[str, ...]
) -> None:
    netdsl.write(n=f"net n {{ input x 4; dense 3; tail }}\nblock tail {{ {added} }}")
    weights(3, loss="cross_entropy")
    assert netdsl("compile", *NET, "-o", "m.onnx", *options).code == 0
    for command in (NET, ("m.onnx",)):
        for record, row in zip(records(netdsl, *command, "x.npy"), softmax(X[:, :3]), strict=True):
            found = [each.get("probability") for each in sorted(record["top"], key=lambda each: each["class"])]
            if found[0] is not None:
                assert CHANGED[added] is not False
                np.testing.assert_allclose(found, row, atol=2e-2 if options else 1e-6)
            elif not options:
                assert not CHANGED[added]


@pytest.mark.parametrize("added", ["sigmoid", "tanh", "step", "sign; reshape 1x1x1"])
def test_a_sigmoid_added_to_a_logit_is_not_a_logit(netdsl: Commands, added: str) -> None:
    netdsl.write(n=f"net n {{ input x 4; dense 1; {added} }}")
    weights(1, loss="logistic", classes='["no", "yes"]')
    assert netdsl("compile", *NET, "-o", "m.onnx").code == 0
    for command in (NET, ("m.onnx",)):
        assert all({*record} == {"value"} for record in records(netdsl, *command, "x.npy"))


def test_logits_from_elsewhere(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 4; dense 3 }")
    weights(3)
    chances = [of_classes(record, "probability") for record in records(netdsl, *NET, "x.npy", "--softmax")]
    np.testing.assert_allclose(chances, softmax(X[:, :3]), atol=1e-6)


SHIPPED = {
    "mnist/lenet5": "../specs/lenet5.net",
    "mnist_table/lenet5": "mnist_table/lenet5.net",
    "fgsm/ordinary": "fgsm/fgsm.net:ordinary",
    "fgsm/defended": "fgsm/fgsm.net:defended",
}


@pytest.mark.parametrize("weights", SHIPPED)
def test_shipped_weights_predict_probabilities(netdsl: Commands, weights: str) -> None:
    """On test images, a digit's mean probability is its frequency, as after training with cross-entropy."""
    net = ROOT / "examples" / SHIPPED[weights]
    images = MNIST / "t10k-images-idx3-ubyte.gz", "--shard", "0/5"
    labels = np.frombuffer(gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz").read()[8:2008], "u1")
    found = records(netdsl, net, *images, "--weights", ROOT / "examples" / f"{weights}.safetensors", "-q")
    assert {each["label"] for each in found[0]["top"]} == {*"0123456789"}
    chances = np.array([of_classes(record, "probability") for record in found])
    np.testing.assert_allclose(chances.mean(0), np.bincount(labels) / len(labels), atol=5e-3)


REFUSED = {
    "another loss": ("dense 3", 3, {"loss": "hinge"}, "the output `output` was trained with the loss `hinge`"),
    "numbers": (
        "dense 3",
        3,
        {"loss": "mse"},
        "the output `output` was trained with the loss `mse`, so it has no logits",
    ),
    "bounded numbers": ("dense 3; sigmoid", 3, {"loss": "mse"}, "was trained with the loss `mse`"),
    "a number": ("dense 1", 1, {}, "has no output with a number for each of several classes"),
    "a map": ("dense 4; reshape 1x2x2", 4, {}, "has no output with a number for each of several classes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_logits(netdsl: Commands, case: str) -> None:
    layers, rows, metadata, said = REFUSED[case]
    netdsl.write(n=f"net n {{ input x 4; {layers} }}")
    weights(rows, **metadata)
    ran = netdsl("run", *NET, "x.npy", "--softmax", "-o", "o.npz")
    assert (ran.code, ran.out, said in ran.err, Path("o.npz").exists()) == (2, "", True, False), ran
    assert "E0624" in ran.err


def test_outputs_have_their_own_losses(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; output a { identity }; output b { identity }; output c { reshape 1x1x2 } }")
    netdsl("compile", "n.net")
    model = onnx.load("n.onnx")
    model.metadata_props.add(key="netdsl.loss.a", value="cross_entropy")
    onnx.save(model, "n.onnx")
    np.save("x.npy", np.float32([[0, 0]]))
    assert netdsl("run", "n.onnx", "x.npy").out == "x.npy[0]  a: 0: 50.0 %  1: 50.0 %  b: 0: 0  1: 0  c: 0: 0  1: 0\n"
    model.metadata_props.add(key="netdsl.loss.d", value="cross_entropy")
    onnx.save(model, "n.onnx")
    ran = netdsl("run", "n.onnx", "x.npy")
    assert (ran.code, "error[E0872]: n.onnx has names for `d` (`netdsl.loss.…`)" in ran.err) == (1, True)
