"""Classes and columns by name: training, validation, evaluation and models, held against NumPy and onnxruntime."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from safetensors.numpy import load_file

import netdsl as api
from netdsl.base.user_error import UserError
from netdsl.weights.safetensors import write_tensors
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

STD = ("--step-backend", "plain", "--threads", "1", "--force")
COLUMNS = ("length", "width", "depth", "mass")
WORDS = ("oak", "ash", "elm")

TREES = """
net trees { input x 4; dense 3 }
train trees {
  data csv "t.csv" target "kind"
  validate csv "v.csv" target "kind"
  loss cross_entropy
  optimizer sgd lr 0.1
  batch 6; epochs 8; seed 3
}
"""


def rows() -> tuple[np.ndarray[Any, Any], list[str]]:
    """Examples whose class is that of the column that is largest of the first three."""
    x = np.random.default_rng(5).uniform(-1, 1, (60, 4)).astype(np.float32)
    x[np.arange(60), np.arange(60) % 3] += 2
    return x, [WORDS[number % 3] for number in range(60)]


def table(path: str, columns: Sequence[str], values: Mapping[str, Sequence[object]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(values[name] for name in columns), strict=True))


def trees(validation: Sequence[str] = ("mass", "kind", "width", "length", "depth"), **renamed: str) -> None:
    """Write t.csv, and v.csv with the same rows and these columns, some of other names."""
    x, words = rows()
    values: dict[str, Any] = {**dict(zip(COLUMNS, x.T.tolist(), strict=True)), "kind": words, "more": [1] * 60}
    table("t.csv", (*COLUMNS, "kind"), values)
    values |= {new: values[old] for old, new in renamed.items()}
    table("v.csv", [renamed.get(name, name) for name in validation], values)


def figures(run: str) -> list[dict[str, str]]:
    with open(f"{run}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def by_onnxruntime(model: str) -> float:
    """The accuracy of a model on the rows, their classes in sorted order."""
    x, words = rows()
    session = onnxruntime.InferenceSession(model)
    (scores,) = session.run(None, {session.get_inputs()[0].name: x})
    return float(np.mean([sorted(WORDS)[at] for at in scores.argmax(1)] == np.array(words)))


def test_columns_of_validation_are_matched_by_name(netdsl: Commands) -> None:
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD).code == 0
    last = figures("runs/trees")[-1]
    wanted = by_onnxruntime("runs/trees/last.onnx")
    assert 0.9 < wanted == pytest.approx(float(last["validation_accuracy"]))


@pytest.mark.parametrize("model", [True, False])
def test_columns_of_eval_are_matched_by_name(netdsl: Commands, model: bool) -> None:
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD).code == 0
    file = ("runs/trees/best.onnx",) if model else ("trees.net", "--weights", "runs/trees/best.safetensors")
    wanted = by_onnxruntime("runs/trees/best.onnx")
    for data in ('csv "t.csv" target "kind"', 'csv "v.csv" target "kind"'):
        ran = netdsl("eval", *file, "--data", data, "--json")
        found = json.loads(ran.out)
        assert (found["accuracy"], found["classes"]) == (pytest.approx(wanted), sorted(WORDS)), ran
    if not model:
        assert json.loads(netdsl("eval", *file, "--json").out)["accuracy"] == pytest.approx(wanted)


def test_weights_without_names_have_those_of_the_training_data(netdsl: Commands) -> None:
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD).code == 0
    np.savez("w.npz", **load_file("runs/trees/best.safetensors"))
    weights = ("eval", "trees.net", "--weights", "w.npz", "--json")
    data = ("--data", 'csv "v.csv" target "kind"')
    Path("own.txt").write_text("x\ny\nz\n")
    for more in ((), data, ("--labels", "own.txt"), (*data, "--labels", "own.txt")):
        found = json.loads(netdsl(*weights, *more).out)
        assert found["accuracy"] == pytest.approx(by_onnxruntime("runs/trees/best.onnx"))
        assert found["classes"] == (["x", "y", "z"] if "--labels" in more else sorted(WORDS))
    Path("t.csv").unlink()
    ran = netdsl(*weights, *data)
    assert ran.code == 1
    assert "neither the weights nor the training data name classes and columns: there is no file t.csv" in ran.err
    assert json.loads(ran.out)["code"] == "E0836"


OTHERS: dict[str, tuple[Sequence[str], dict[str, str], str]] = {
    "missing": (("kind", "length", "width", "depth"), {}, "`mass` is missing"),
    "new": ((*COLUMNS, "kind", "more"), {}, "`more` is new"),
    "renamed": ((*COLUMNS, "kind"), {"width": "Width"}, "`width` is missing and `Width` is new"),
    "two renamed": (
        (*COLUMNS, "kind"),
        {"width": "a", "mass": "b"},
        "`width`, `mass` are missing and `a`, `b` are new",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_columns_are_refused(netdsl: Commands, case: str) -> None:
    columns, renamed, said = OTHERS[case]
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD).code == 0
    trees(columns, **renamed)
    data = ("--data", 'csv "v.csv" target "kind"')
    for command in (
        ("train", "trees.net", "--out", "other", *STD),
        ("eval", "trees.net", "--weights", "runs/trees/best.safetensors"),
        ("eval", "trees.net", "--weights", "runs/trees/best.safetensors", *data),
        ("eval", "runs/trees/best.onnx", *data),
    ):
        ran = netdsl(*command)
        assert ran.code == 1
        assert f"error[E0873]: the columns of v.csv are not those of training: {said}" in ran.err


def test_a_target_may_be_called_otherwise_but_is_no_input(netdsl: Commands) -> None:
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD).code == 0
    trees(kind="species")
    assert netdsl("eval", "runs/trees/best.onnx", "--data", 'csv "v.csv" target "species"').code == 0
    assert "`length` is missing" in netdsl("eval", "runs/trees/best.onnx", "--data", 'csv "v.csv" target "length"').err


VALUES = """
net values { input x 3; dense 2 }
train values {
  data csv "t.csv" target ["u", "v"]
  loss mse
  optimizer sgd lr 0.05
  batch 4; epochs 40; seed 1
}
"""


def test_several_targets_are_matched_by_name(netdsl: Commands) -> None:
    netdsl.write(values=VALUES)
    x = np.random.default_rng(2).normal(0, 1, (20, 3))
    values: dict[str, Any] = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "u": x[:, 0] - 3 * x[:, 1], "v": x[:, 2]}
    table("t.csv", list(values), values)
    assert netdsl("train", "values.net", *STD).code == 0
    session = onnxruntime.InferenceSession("runs/values/best.onnx")
    (y,) = session.run(None, {"x": x.astype(np.float32)})
    wanted = float(((y - np.stack([values["u"], values["v"]], 1)) ** 2).mean())
    weights = ("--weights", "runs/values/best.safetensors", "--json")
    for targets in ('["u", "v"]', '["v", "u"]'):
        ran = netdsl("eval", "values.net", *weights, "--data", f'csv "t.csv" target {targets}')
        assert json.loads(ran.out)["loss"] == pytest.approx(wanted, rel=1e-4), ran
    table("w.csv", ["u", "a", "b", "c", "w"], {**values, "w": values["v"]})
    ran = netdsl("eval", "values.net", *weights, "--data", 'csv "w.csv" target ["u", "w"]')
    assert json.loads(ran.out)["code"] == "E0873"
    assert "the targets of w.csv are u, w, but in training they were u, v" in ran.out


PICTURES = """
net pictures { input image 3x4x5; scale 1/255; dense 3 }
train pictures { data folder "F"; loss cross_entropy; optimizer sgd lr 0.2; batch 3; epochs 15 }
"""
COLORS = {"blue one": (10, 20, 250), "grün": (20, 240, 30), "red=1,2": (250, 30, 10)}
NAMES = sorted(COLORS)


def pictures(folder: str, **names: str) -> None:
    """Write a folder of pictures for each class, by its own name or another one."""
    for at, (name, color) in enumerate(COLORS.items()):
        place = Path(folder, names.get(str(at), name))
        place.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (5, 4), tuple(value - number for value in color)).save(place / f"{number}.png")  # type: ignore[arg-type]


def trained(netdsl: Commands) -> None:
    netdsl.write(pictures=PICTURES)
    pictures("F")
    assert netdsl("train", "pictures.net", *STD).code == 0


FILES = (("runs/pictures/best.onnx",), ("pictures.net", "--weights", "runs/pictures/best.safetensors"))


@pytest.mark.parametrize("file", FILES)
def test_folders_are_matched_by_name(netdsl: Commands, file: Sequence[str]) -> None:
    trained(netdsl)
    for subset in ([0, 1, 2], [2], [0, 2], [1]):
        folder = Path("V" + "".join(map(str, subset)))
        for at in subset:
            (folder / NAMES[at]).mkdir(parents=True)
            (folder / NAMES[at] / "a.png").write_bytes(Path("F", NAMES[at], "1.png").read_bytes())
        found = json.loads(netdsl("eval", *file, "--data", f'folder "{folder}"', "--json").out)
        assert found["accuracy"] == 1
        assert found["classes"] == NAMES
        assert np.diag(found["confusion"]["output"]).tolist() == [int(at in subset) for at in range(3)]
    pictures("W", **{"1": "yellow"})
    ran = netdsl("eval", *file, "--data", 'folder "W"')
    assert ran.code == 1
    assert f"error[E0836]: W has a class `yellow`, but the classes are {', '.join(NAMES)}" in ran.err


def metadata(model: str) -> dict[str, str]:
    return {prop.key: prop.value for prop in onnx.load(model).metadata_props}


def test_models_say_what_their_classes_are(netdsl: Commands) -> None:
    trained(netdsl)
    netdsl.write(w="")
    kept = ("--weights", "runs/pictures/best.safetensors")
    np.save("some.npy", np.random.default_rng(0).uniform(0, 255, (9, 3, 4, 5)).astype(np.float32))
    again = ("compile", "pictures.net", *kept, "-o")
    assert netdsl(*again, "plain.onnx", "--functions").code == 0
    assert netdsl(*again, "half.onnx", "--dtype", "f16", "--io", "f16").code == 0
    assert netdsl(*again, "int8.onnx", "--quantize", "int8", "--calibrate", "some.npy").code == 0
    assert netdsl(*again, "apart.onnx", "--external-data").code == 0
    other = ("compile", "pictures.net", "--weights", "runs/pictures/best.onnx", "-o", "other.onnx")
    assert netdsl(*other).code == 0
    checkpoint = next(Path("runs/pictures/checkpoints").iterdir())
    for model in ("plain", "half", "int8", "apart", "other", "runs/pictures/last", "runs/pictures/best"):
        assert json.loads(metadata(f"{model}.onnx")["netdsl.classes.output"]) == NAMES, model
    for file in (checkpoint, "runs/pictures/last.safetensors"):
        data = Path(file).read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert json.loads(header["__metadata__"]["netdsl.classes.output"]) == NAMES
    assert netdsl("compile", "pictures.net", "-o", "drawn.onnx").code == 0
    assert not any(key.startswith("netdsl.classes") for key in metadata("drawn.onnx"))


def header(path: str) -> dict[str, str]:
    data = Path(path).read_bytes()
    found: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found


LOSSES = {
    "cross_entropy": ("input x 4; dense 3", "data npz 't.npz'; loss cross_entropy", {"output": "cross_entropy"}),
    "logistic": ("input x 4; dense 1", "data clouds; loss logistic", {"output": "logistic"}),
    "hinge": ("input x 4; dense 1", "data clouds; loss hinge", {"output": "hinge"}),
    "numbers": ("input x 4; dense 3", "data npz 'n.npz'; loss mse", {"output": "mse"}),
    "two outputs": (
        "input x 4; dense 3; output a { identity }; output b { dense 3 }",
        "data npz 't.npz'; loss a mse; loss b cross_entropy",
        {"a": "mse", "b": "cross_entropy"},
    ),
    "a head of training alone": (
        "input x 4; output side training { dense 3 }; dense 3",
        "data npz 't.npz'; loss side hinge; loss output cross_entropy",
        {"output": "cross_entropy"},
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_models_know_the_loss_of_each_output(netdsl: Commands, case: str) -> None:
    def losses_in(metadata: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in metadata.items() if key.startswith("netdsl.loss.")}

    net, lines, losses = LOSSES[case]
    block = lines.replace("'", '"')
    netdsl.write(n=f"net n {{ {net} }}\ntrain n {{ {block}; epochs 1; batch 2 }}")
    x, y, floats = np.zeros((4, 4), np.float32), np.arange(4) % 3, np.zeros((4, 3), np.float32)
    np.savez("t.npz", x=x, y=y, **{"target.a": floats, "target.b": y})
    np.savez("n.npz", x=x, y=floats)
    assert netdsl("train", "n.net", *STD).code == 0
    assert netdsl("compile", "n.net", "--weights", "runs/n/best.safetensors", "-o", "own.onnx").code == 0
    assert netdsl("compile", "n.net", "--weights", "runs/n/last.onnx", "-o", "again.onnx").code == 0
    wanted = {f"netdsl.loss.{output}": loss for output, loss in losses.items()}
    for found in (
        *map(header, ("runs/n/best.safetensors", "runs/n/last.safetensors")),
        *map(metadata, ("runs/n/best.onnx", "own.onnx", "again.onnx")),
    ):
        assert losses_in(found) == wanted
    trained = api.fit("n.net", threads=1, step_backend="plain")
    trained.net.save("saved.onnx", weights=trained.best)
    assert losses_in(metadata("saved.onnx")) == wanted
    netdsl("compile", "n.net", "-o", "drawn.onnx")
    assert losses_in(metadata("drawn.onnx")) == {}


def test_the_classes_of_mnist_are_digits(netdsl: Commands) -> None:
    netdsl.write(n='net n { input x 2x2; dense 10 }\ntrain n { data mnist "."; loss cross_entropy; epochs 1; batch 4 }')
    Path("train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2, *range(16)]))
    Path("train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4, 7, 0, 9, 1]))
    assert netdsl("train", "n.net", *STD).code == 0
    for found in (header("runs/n/best.safetensors"), metadata("runs/n/last.onnx")):
        assert json.loads(found["netdsl.classes.output"]) == list("0123456789")


@pytest.mark.parametrize("file", FILES)
def test_run_prints_the_names(netdsl: Commands, file: Sequence[str]) -> None:
    trained(netdsl)
    for name in NAMES:
        ran = netdsl("run", *file, f"F/{name}/0.png", "--top", 1)
        assert ran.out.startswith(f"F/{name}/0.png  {name} "), ran
        assert ran.out.endswith(" %\n")
        record = json.loads(netdsl("run", *file, f"F/{name}/0.png", "--top", 1, "--json").out)
        assert record["outputs"]["output"]["top"][0]["label"] == name
    Path("own.txt").write_text("x\ny\nz\n")
    assert netdsl("run", *file, f"F/{NAMES[1]}/0.png", "--labels", "own.txt").out.split("  ")[1].startswith("y ")


def test_a_model_without_names_has_numbers(netdsl: Commands) -> None:
    netdsl.write(pictures=PICTURES.replace('folder "F"', 'npz "t.npz"'))
    pictures("F")
    x = np.stack([np.asarray(Image.open(f"F/{name}/{at}.png")).transpose(2, 0, 1) for name in NAMES for at in range(3)])
    np.savez("t.npz", x=x.astype(np.float32), y=np.repeat(np.arange(3), 3))
    assert netdsl("train", "pictures.net", *STD).code == 0
    assert not any(key.startswith(("netdsl.classes", "netdsl.columns")) for key in metadata("runs/pictures/best.onnx"))
    pictures("D", **{"0": "0", "1": "1", "2": "2"})
    Path("names.txt").write_text("\n".join(NAMES))
    for file in FILES:
        assert json.loads(netdsl("eval", *file, "--data", 'folder "D"', "--json").out)["accuracy"] == 1
        ran = netdsl("eval", *file, "--data", 'folder "F"')
        assert "error[E0836]: F has a class `blue one`, but the net's classes have no names, only numbers" in ran.err
        assert "--labels FILE" in ran.err
        named = netdsl("eval", *file, "--data", 'folder "F"', "--labels", "names.txt", "--json")
        assert (json.loads(named.out)["accuracy"], json.loads(named.out)["classes"]) == (1, NAMES)


@pytest.mark.parametrize("labels", ["0,1,10,2,3,4,5,6,7,8,9", "1,2,3"])
def test_class_numbers_are_no_places_in_a_sorted_list(netdsl: Commands, labels: str) -> None:
    names = labels.split(",")
    netdsl.write(n=f'net n {{ input x 1; dense {len(names)} }}\ntrain n {{ data npz "t.npz"; loss cross_entropy }}')
    x = np.arange(len(names), dtype=np.float32)[:, None]
    np.savez("t.npz", x=x, y=np.arange(len(names)))
    weights = np.zeros((len(names), 1), np.float32), np.zeros(len(names), np.float32)
    weights[1][-1] = 1  # it always says the last
    np.savez("w.npz", **{"dense1.weight": weights[0], "dense1.bias": weights[1]})
    table("v.csv", ["a", "kind"], {"a": [1] * len(names), "kind": [f"{name}.0" for name in names]})
    ran = netdsl("eval", "n.net", "--weights", "w.npz", "--data", 'csv "v.csv" target "kind"', "--json")
    if "0" in names:
        assert json.loads(ran.out)["accuracy"] == 1 / 11
        assert np.array(json.loads(ran.out)["confusion"]["output"])[10, 10] == 1
    else:
        assert json.loads(ran.out)["code"] == "E0832"


def test_words_of_a_logistic_loss(netdsl: Commands) -> None:
    netdsl.write(n='net n { input x 1; dense 1 }\ntrain n { data csv "t.csv" target "ok"; loss logistic; epochs 40 }')
    table("t.csv", ["a", "ok"], {"a": [-1, -2, 1, 2], "ok": ["no", "no", "yes", "yes"]})
    assert netdsl("train", "n.net", "--set", "train.lr=0.5", *STD).code == 0
    table("v.csv", ["ok", "a"], {"a": [1, 3], "ok": ["yes", "yes"]})
    weights = ("--weights", "runs/n/best.safetensors", "--data", 'csv "v.csv" target "ok"')
    assert json.loads(netdsl("eval", "n.net", *weights, "--json").out)["accuracy"] == 1
    table("v.csv", ["ok", "a"], {"a": [1, 3], "ok": ["yes", "maybe"]})
    assert "`maybe`, but the classes are no, yes" in netdsl("eval", "n.net", *weights).err


def test_validation_is_matched_with_data_that_have_no_names(netdsl: Commands) -> None:
    netdsl.write(
        pictures=PICTURES.replace("; loss", '; validate folder "F"; loss').replace('folder "F"', 'npz "t.npz"', 1)
    )
    pictures("F")
    np.savez("t.npz", x=np.zeros((3, 3, 4, 5), np.float32), y=np.arange(3))
    assert "E0836" in netdsl("train", "pictures.net", *STD).err
    x = np.zeros((3, 3, 4, 5), np.float32)
    with pytest.raises(UserError, match="have no names, only numbers, 0 to 2"):
        api.fit("pictures.net", data=(x, np.arange(3)), threads=1)


DAMAGED = {
    "no JSON": ("netdsl.classes.output", "[", "are not a JSON list of different names"),
    "no list": ("netdsl.classes.output", '"abc"', "are not a JSON list of different names"),
    "no texts": ("netdsl.classes.output", "[1, 2, 3]", "are not a JSON list of different names"),
    "empty": ("netdsl.classes.output", "[]", "are not a JSON list of different names"),
    "twice": ("netdsl.classes.output", '["a", "a", "b"]', "are not a JSON list of different names"),
    "too few": ("netdsl.classes.output", '["a", "b"]', "names 2 classes, but the output `output` has 3"),
    "too many": ("netdsl.classes.other", '["a", "b", "c", "d"]', "names 4 classes, but the output `output` has 3"),
    "columns": ("netdsl.columns.x", '["a", "b", "c"]', "names 3 columns, but the input `x` has 4"),
    "deep": ("netdsl.classes.output", "[" * 100_000, "are not a JSON list of different names"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_names_that_do_not_fit_are_refused(netdsl: Commands, case: str) -> None:
    key, text, said = DAMAGED[case]
    netdsl.write(n="net n { input x 4; dense 3 }")
    tensors = {"dense1.weight": np.zeros((3, 4), np.float32), "dense1.bias": np.zeros(3, np.float32)}
    with Path("w.safetensors").open("wb") as file:
        write_tensors(file, tensors, {key: text})
    np.save("x.npy", np.zeros((1, 4), np.float32))
    table("v.csv", [*"abcd", "kind"], {name: [0] for name in [*"abcd", "kind"]})
    assert netdsl("compile", "n.net").code == 0
    model = onnx.load("n.onnx")
    model.metadata_props.add(key=key, value=text)
    onnx.save(model, "n.onnx")
    data = ("--data", 'csv "v.csv" target "kind"')
    for command in (
        ("compile", "n.net", "--weights", "w.safetensors", "-o", "m.onnx"),
        ("run", "n.net", "x.npy", "--weights", "w.safetensors"),
        ("eval", "n.net", "--weights", "w.safetensors", *data),
        ("run", "n.onnx", "x.npy"),
        ("eval", "n.onnx", *data),
    ):
        ran = netdsl(*command)
        assert ran.code == 1
        assert "error[E0872]" in ran.err
        assert said in ran.err
    assert not Path("m.onnx").exists()


def test_a_run_goes_on_with_the_names_that_it_began_with(netdsl: Commands) -> None:
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD, "--epochs", 3).code == 0
    unbroken = ("train", "trees.net", *STD[:4])
    text = Path("t.csv").read_text()
    for old, new, name in (("mass", "weight", "columns.x"), ("oak", "yew", "classes.output")):
        Path("t.csv").write_text(text.replace(old, new))
        Path("v.csv").write_text(text.replace(old, new))
        ran = netdsl(*unbroken, "--resume")
        assert "E0864" in ran.err
        assert f"the training's `{name}` is not the same" in ran.err
    trees()
    assert netdsl(*unbroken, "--resume").code == 0
    assert netdsl(*unbroken, "--out", "whole").code == 0
    for file in ("best.safetensors", "last.onnx", "curves.svg"):
        assert Path("runs/trees", file).read_bytes() == Path("whole", file).read_bytes(), file


def test_a_training_from_weights_with_other_names_says_so(netdsl: Commands) -> None:
    netdsl.write(trees=TREES)
    trees()
    assert netdsl("train", "trees.net", *STD).code == 0
    again = ("train", "trees.net", *STD, "--weights", "runs/trees/best.safetensors", "--out", "again")
    assert "has the" not in netdsl(*again).err
    Path("t.csv").write_bytes(Path("v.csv").read_bytes().replace(b"oak", b"yew"))
    Path("v.csv").write_bytes(Path("t.csv").read_bytes())
    said = netdsl(*again).err
    assert "has the columns length, width, depth, mass, and the data have mass, width, length, depth" in said
    assert "has the classes ash, elm, oak, and the data have ash, elm, yew" in said


def test_python_has_the_names(netdsl: Commands) -> None:
    netdsl.write(trees=TREES, other="net other { input x 4; dense 3 }")
    trees()
    found = api.fit("trees.net", threads=1, step_backend="plain")
    wanted = {"output": tuple(sorted(WORDS))}
    assert found.net.class_names == wanted
    assert found.net.session(weights=found.best).class_names == wanted
    found.net.save("m.onnx", weights=found.best)
    assert json.loads(metadata("m.onnx")["netdsl.classes.output"]) == sorted(WORDS)
    ran = netdsl("eval", "m.onnx", "--data", 'csv "v.csv" target "kind"', "--json")
    assert json.loads(ran.out)["accuracy"] == pytest.approx(by_onnxruntime("m.onnx"))
    assert api.load("other.net").class_names == {}
    assert api.load("other.net").session(weights="m.onnx").class_names == wanted


def test_attack_knows_the_names(netdsl: Commands) -> None:
    trained(netdsl)
    weights = ("--weights", "runs/pictures/best.safetensors")
    ran = netdsl("attack", "pictures.net", f"F/{NAMES[2]}/0.png", "--label", NAMES[2], *weights)
    assert ran.code == 0
    assert f"  image        {NAMES[2]}: " in ran.out
    (Path("V") / NAMES[2]).mkdir(parents=True)
    (Path("V") / NAMES[2] / "a.png").write_bytes(Path("F", NAMES[2], "1.png").read_bytes())
    found = netdsl("attack", "pictures.net", *weights, "--data", 'folder "V"', "--epsilon", "0", "--json")
    assert json.loads(found.out)["rows"][0]["accuracy"] == 1
    assert "E0836" in netdsl("attack", "pictures.net", "--data", 'folder "V"').err
