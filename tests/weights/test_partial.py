"""Transfer learning: a part of a file's weights is taken, and it is said which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import numpy_helper

import netdsl as api
from netdsl.weights.errors import UnknownWeightLabel, WeightsDoNotFit
from netdsl.weights.file import open_weights
from netdsl.weights.match import match_weights
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

NET = """\
net tuned(classes = 2) {
  input x 2
  h1: dense 5
  relu
  h2: dense 4
  relu
  fc: dense classes
}
train tuned { data xor; loss cross_entropy; epochs 4; batch 4; optimizer sgd lr 0.1 momentum 0.9 }
"""
RANDOM = np.random.default_rng(3)
SHAPES = {"h1.weight": (5, 2), "h1.bias": (5,), "h2.weight": (4, 5), "h2.bias": (4,)}
BODY = {name: RANDOM.normal(size=shape).astype("f4") for name, shape in SHAPES.items()}
HEAD = {"fc.weight": RANDOM.normal(size=(7, 4)).astype("f4"), "fc.bias": RANDOM.normal(size=7).astype("f4")}


def saved(**more: np.ndarray) -> str:
    safetensors.numpy.save_file({**BODY, **more}, "w.safetensors")
    return "w.safetensors"


def held(path: str) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


def drawn(netdsl: Commands, seed: int = 0) -> dict[str, np.ndarray]:
    netdsl("compile", "a.net", "--seed", seed, "-o", "drawn.onnx", "--force")
    return held("drawn.onnx")


WAYS = {
    "except a layer": (["--except", "fc"], True),
    "except its weights": (["--except", "fc.weight", "fc.bias"], True),
    "except a pattern": (["--except", "f?"], True),
    "except twice": (["--except", "fc.weight", "--except", "*.bia[s]", "fc"], True),
    "partial": (["--partial"], False),
    "drop the head": (["--rename", "^fc", "-", "--partial"], True),
    "drop and except": (["--rename", "^fc", "-", "--except", "fc"], True),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_body_is_the_files_and_the_head_is_drawn(netdsl: Commands, way: str) -> None:
    options, head = WAYS[way]
    netdsl.write(a=NET)
    path = saved(**(HEAD if head else {}))
    expected = drawn(netdsl, 5)
    ran = netdsl("compile", "a.net", "--weights", path, *options, "--seed", 5, "-o", "m.onnx")
    assert ran.code == 0, ran
    found = held("m.onnx")
    files = [name for name in BODY if not (way == "except twice" and name.endswith("bias"))]
    assert found.keys() == expected.keys()
    for name in found:
        assert np.array_equal(found[name], BODY[name] if name in files else expected[name]), name
    assert "weights are initialized randomly, from seed 5:\n" in ran.err
    assert ("fc.weight  2x4\n" in ran.err, "fc.bias    2\n" in ran.err) == (True, True)
    told = "are unused:\n" in ran.err
    assert told == (head and not way.startswith("drop"))
    assert f"from {path} except" in ran.err


def test_what_is_partial_and_shaped_otherwise_is_an_error(netdsl: Commands) -> None:
    """As in PyTorch, `strict=False` is for names, and not for shapes."""
    netdsl.write(a=NET)
    refused = netdsl("compile", "a.net", "--weights", saved(**HEAD), "--partial")
    assert refused.code == 1
    assert "fc.weight is 7x4, expected 2x4" in refused.err


@pytest.mark.parametrize(
    "options", [["--except", "*"], ["--partial", "--rename", "^", "module."], ["--rename", ".", "-"]]
)
def test_nothing_taken_is_an_error(netdsl: Commands, options: list[str]) -> None:
    netdsl.write(a=NET)
    refused = netdsl("compile", "a.net", "--weights", saved(), *options)
    assert (refused.code, "E0702" in refused.err) == (1, True), refused
    assert not Path("tuned.onnx").exists()


def test_a_prefix_is_still_noticed(netdsl: Commands) -> None:
    netdsl.write(a=NET)
    whole = {f"module.{name}": each for name, each in {**BODY, **HEAD}.items()}
    np.savez("w.npz", **whole)
    refused = netdsl("compile", "a.net", "--weights", "w.npz", "--partial")
    assert r"--rename '^module\.' ''" in refused.err


LABELS = {
    "fd": "tuned has no layer or weight `fd`: it has h1, h2, fc",
    "fc.wieght": "did you mean `fc.weight`?",
    "h": "it has h1, h2, fc",
    "": "no layer or weight ``",
    "[": "no layer or weight `[`",
    "fc.": "no layer or weight `fc.`",
    "\x1b[31m": r"no layer or weight `\x1b[31m`",
}


@pytest.mark.parametrize("label", LABELS)
def test_a_label_of_nothing_is_an_error(netdsl: Commands, label: str) -> None:
    netdsl.write(a=NET)
    refused = netdsl("compile", "a.net", "--weights", saved(**HEAD), "--except", "fc", label)
    assert (refused.code, "E0712" in refused.err) == (2, True), refused
    assert LABELS[label] in refused.err


@pytest.mark.parametrize("quiet", [[], ["-q"]])
@pytest.mark.parametrize("command", ["run", "eval", "compile"])
def test_random_weights_are_a_warning_even_if_quiet(netdsl: Commands, command: str, quiet: list[str]) -> None:
    netdsl.write(a=NET)
    np.save("x.npy", np.ones((1, 2), "f4"))
    line = {"run": ["a.net", "x.npy"], "eval": ["a.net", "--data", "xor"], "compile": ["a.net"]}[command]
    ran = netdsl(command, *line, *quiet, "--weights", saved(), "--partial")
    assert ran.code == 0, ran
    assert ran.err.startswith("warning: 2 of 6 weights are initialized randomly, from seed 0:\n  fc.weight  2x4\n")


@pytest.mark.parametrize(
    ("held", "settings", "help", "no"),
    [
        (HEAD, [], "--set classes=7 makes the shapes of tuned match the file", None),
        (HEAD, [], "--except fc leaves it initial and loads the rest", None),
        (HEAD, ["--set", "classes=9"], "--set classes=7 makes", None),
        ({"fc.weight": HEAD["fc.weight"], "fc.bias": HEAD["fc.bias"][:6]}, [], "--except fc", "--set"),
        ({"fc.weight": HEAD["fc.weight"][:, :3], "fc.bias": HEAD["fc.bias"]}, [], "--except fc", "--set"),
        ({}, [], "--except fc", "--set"),
        (
            {"head.weight": HEAD["fc.weight"], "top.bias": HEAD["fc.bias"]},
            [],
            "--partial loads the 4 of 6 weights",
            "--set",
        ),
    ],
)
def test_a_head_that_does_not_fit(
    netdsl: Commands, held: dict[str, np.ndarray], settings: list[str], help: str, no: str | None
) -> None:
    netdsl.write(a=NET)
    saved(**held)
    refused = netdsl("compile", "a.net", "--weights", "w.safetensors", *settings)
    assert (refused.code, help in refused.err) == (1, True), refused
    assert no is None or no not in refused.err


def test_the_parameter_that_is_suggested_is_the_one_that_does_it(netdsl: Commands) -> None:
    """`width` has the number that `classes` has, and does not solve it; `more` is one less than the sizes."""
    text = "net a(width = 4, classes = 4, more = 3) { input x 2; h: dense 6; mid: dense width; fc: dense %s }"
    arrays = {"h.weight": np.ones((6, 2), "f4"), "h.bias": np.ones(6, "f4")}
    arrays |= {"mid.weight": np.ones((4, 6), "f4"), "mid.bias": np.ones(4, "f4")}
    np.savez("w.npz", **arrays, **{"fc.weight": np.ones((9, 4), "f4"), "fc.bias": np.ones(9, "f4")})
    for size, told in (("classes", "--set classes=9"), ("more + 1", "--set more=8"), ("4", None)):
        netdsl.write(a=text.replace("%s", f"({size})" if " " in size else size))
        refused = netdsl("compile", "a.net", "--weights", "w.npz")
        assert refused.code == 1
        assert ("--set" in refused.err) == (told is not None), refused
        assert told is None or told in refused.err
        if told is not None:
            assert netdsl("compile", "a.net", "--weights", "w.npz", *told.split(), "-o", "b.onnx", "--force").code == 0


def test_rules_of_a_file_that_drop_names(netdsl: Commands) -> None:
    netdsl.write(a=NET)
    Path("a.rename").write_text("^backbone\\. ->\n^ema_ -> -  # a copy that nobody needs\n")
    np.savez("w.npz", **{f"backbone.{name}": each for name, each in BODY.items()}, ema_h1=np.ones(3))
    ran = netdsl("compile", "a.net", "--weights", "w.npz", "--except", "fc")
    assert ran.code == 0, ran
    assert np.array_equal(held("tuned.onnx")["h2.weight"], BODY["h2.weight"])
    refused = netdsl("compile", "a.net", "--weights", "w.npz", "--rename", "nothing", "-", "--force")
    assert (refused.code, "changes no name" in refused.err) == (2, True)


TRAIN = ["train", "a.net", "--step-backend", "plain", "--threads", "1"]


def test_training_begins_with_the_body_and_goes_on_without_the_file(netdsl: Commands) -> None:
    netdsl.write(a=NET)
    how = ["--weights", saved(**HEAD), "--except", "fc"]
    ran = netdsl(*TRAIN, *how, "--out", "whole")
    assert ran.code == 0, ran
    assert "2 of 6 weights are initialized randomly" in ran.err
    assert "warning" not in ran.err
    assert json.loads(Path("whole/run.json").read_text())["initial"] == ["fc.weight", "fc.bias"]
    assert netdsl(*TRAIN, *how, "--out", "half", "--epochs", "2").code == 0
    Path("w.safetensors").unlink()
    resumed = netdsl(*TRAIN, *how, "--out", "half", "--resume")
    assert resumed.code == 0, resumed
    assert "are initialized randomly" not in resumed.err
    assert Path("half/last.safetensors").read_bytes() == Path("whole/last.safetensors").read_bytes()
    alone = netdsl("train", "a.net", "--resume", "--out", "half", "--except", "fc")
    assert (alone.code, "--except goes with --weights" in alone.err) == (2, True)


def test_training_begins_with_these_very_weights(netdsl: Commands) -> None:
    """A rate of nothing leaves them as they are."""
    netdsl.write(a=NET)
    expected = drawn(netdsl)
    ran = netdsl(*TRAIN, "--weights", saved(**HEAD), "--except", "fc", "--set", "train.lr=1e-30", "--out", "r")
    assert ran.code == 0, ran
    found = safetensors.numpy.load_file("r/last.safetensors")
    for name, array in found.items():
        assert np.allclose(array, BODY[name] if name in BODY else expected[name], rtol=0, atol=1e-25), name


def test_a_step_is_compiled_with_them(netdsl: Commands) -> None:
    netdsl.write(a=NET)
    expected = drawn(netdsl)
    ran = netdsl("compile", "a.net", "--training", "--weights", saved(**HEAD), "--except", "fc", "-o", "s.onnx")
    assert ran.code == 0, ran
    found = held("s.onnx")
    for name in expected:
        assert np.array_equal(found[name], BODY[name] if name in BODY else expected[name]), name


def test_partial_does_not_go_with_an_order(netdsl: Commands) -> None:
    netdsl.write(a=NET)
    refused = netdsl("compile", "a.net", "--weights", saved(), "--partial", "--match", "order")
    assert (refused.code, "--partial cannot be combined with --match order" in refused.err) == (2, True)


# --- from Python ---------------------------------------------------------------------------------------------------


def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.net").write_text(NET)
    net = api.load("a.net")
    x = RANDOM.normal(size=(3, 2)).astype("f4")
    with pytest.warns(UserWarning, match=r"2 of 6 weights are initialized randomly, from seed 0:\n  fc.weight  2x4"):
        found = net.session(weights={**BODY, **HEAD}, exclude=["fc"])(x=x)["output"]
    initial = {each.name: numpy_helper.to_array(each) for each in net.to_onnx().graph.initializer}
    h = x
    for name in ("h1", "h2"):
        h = np.maximum(h @ BODY[f"{name}.weight"].T + BODY[f"{name}.bias"], 0)
    assert np.abs(h @ initial["fc.weight"].T + initial["fc.bias"] - found).max() < 1e-5
    with pytest.warns(UserWarning, match="are initialized randomly"):
        net.save("m.onnx", weights=BODY, partial=True)
    assert np.array_equal(held("m.onnx")["h1.weight"], BODY["h1.weight"])
    begun: dict[str, Any] = {"settings": {"train.lr": 1e-30, "train.epochs": 1}, "step_backend": "plain"}
    trained = api.fit("a.net", weights={**BODY, **HEAD}, exclude=("fc",), **begun)
    assert np.array_equal(trained.weights["h1.weight"], BODY["h1.weight"])
    assert np.array_equal(trained.weights["fc.weight"], initial["fc.weight"])


def test_python_that_asks_for_nonsense() -> None:
    net = api.parse(NET.partition("train")[0])
    for wrong in ({"exclude": ["fc"]}, {"partial": True}):
        with pytest.raises(TypeError, match="go with weights"):
            net.to_onnx(**wrong)  # type: ignore[arg-type]
    for labels in ("fc", 3, [3], None):
        with pytest.raises(TypeError, match="exclude is a collection of labels, not"):
            net.to_onnx(weights=BODY, exclude=labels)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="2 of 6"):
        net.to_onnx(weights=BODY, exclude=(label for label in ["fc"]))
    with pytest.raises(ValueError, match="partial=True cannot be combined with"):
        net.to_onnx(weights=BODY, partial=True, match="order")
    with pytest.raises(UnknownWeightLabel):
        net.to_onnx(weights=BODY, exclude=["fx"])
    with pytest.raises(WeightsDoNotFit) as caught:
        net.to_onnx(weights={**BODY, **HEAD})
    assert caught.value.helps[0] == "classes=7 makes the shapes of tuned match the file"


def test_training_heads_that_the_file_lacks_are_listed_where_they_are_trained(netdsl: Commands) -> None:
    head = "h: dense 5\n  relu\n  output side training { aux: dense 2 }"
    losses = "loss cross_entropy; loss side cross_entropy weight 0.3"
    netdsl.write(a=NET.replace("h1: dense 5\n  relu", head).replace("loss cross_entropy", losses))
    np.savez("w.npz", **{"h.weight": np.ones((5, 2), "f4"), "h.bias": np.ones(5, "f4")})
    compiled = netdsl("compile", "a.net", "--weights", "w.npz", "--partial")
    trained = netdsl(*TRAIN, "--weights", "w.npz", "--partial")
    assert (compiled.code, trained.code) == (0, 0), (compiled, trained)
    assert ("4 of 8 weights" in compiled.err, "aux.weight" in compiled.err) == (True, False)
    assert ("6 of 8 weights" in trained.err, "aux.weight  2x5" in trained.err) == (True, True)


def test_names_in_the_file_go_with_its_head(netdsl: Commands) -> None:
    """Names of classes that belong to a head which is left out are not those of the new one."""
    netdsl.write(a=NET)
    safetensors.numpy.save_file({**BODY, **HEAD}, "w.safetensors", {"note": "of seven classes"})
    net = api.load("a.net", classes=7)._net
    file = open_weights("w.safetensors")
    assert match_weights(net, file).metadata == {"note": "of seven classes"}
    assert match_weights(net, file, exclude=["fc"]).metadata == {}
