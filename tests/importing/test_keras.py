"""Models saved by Keras compute what Keras predicts."""

from __future__ import annotations

import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netdsl.base.user_error import UserError
from netdsl.importing.errors import ImportRefused
from tests.importing.imported import imported, outputs
from tests.support.paths import TESTS
from tests.weights.test_keras_order import MODELS, arrays, save

h5py = pytest.importorskip("h5py")

REFUSED = {
    **dict.fromkeys(["last_flatfirst", "mixed_permute", "mixed_concat_REFUSE"], "a layer with the channels first"),
    **dict.fromkeys(["bn_axis1_last_REFUSE", "ln_axis1_REFUSE"], "along another axis than the channels"),
    **dict.fromkeys(["prelu_h_REFUSE", "prelu_shared"], "a PReLU with a slope for each position"),
    "custom_REFUSE": "mine): netdsl does not know it",
    "custom_weights": "a layer of class",
    "ops_transpose_REFUSE": "a layer of class transpose",
    "ops_reshape": "a reshape with these arguments",
}
"""What is refused of the models by name."""

SAVED = [(name, form) for name, model in MODELS.items() for form in ("keras", "h5") if form in model["files"]]


def orders(x: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return an input in each order that it may have in the list of models, with the channels first."""
    first = np.moveaxis(x, -1, 1) if x.ndim > 2 else x
    fitting = [each for each in (x, first) if each.shape[1:] == shape]
    whole = [np.moveaxis(x.reshape(len(x), *shape[1:], shape[0]), -1, 1), x.reshape(len(x), *shape)]
    return fitting or whole


@pytest.mark.parametrize(("name", "form"), SAVED)
def test_a_model_predicts_what_keras_predicts(tmp_path: Path, name: str, form: str) -> None:
    path = save(tmp_path, name, form)
    if name in REFUSED:
        with pytest.raises(UserError) as caught:
            imported(path)
        assert REFUSED[name] in str(caught.value)
        return
    found = imported(path)
    model = MODELS[name]
    inputs = zip(model_inputs(found), arrays(model["x"]), strict=True)
    (wanted,) = arrays([model["y"]])
    differences = []
    for choice in itertools.product(*(orders(x, layer.shape) for layer, x in inputs)):
        feeds = {
            key: x.astype("i8" if layer.dtype == "i64" else "f4")
            for (key, layer), x in zip(found.flat.inputs.items(), choice, strict=True)
        }
        result = next(iter(outputs(found, feeds).values()))
        forms = [result, np.moveaxis(result, 1, -1) if result.ndim > 2 else result]
        differences += [float(np.abs(form.reshape(-1) - wanted.reshape(-1)).max()) for form in forms]
    assert min(differences) <= 2e-5 * max(1.0, float(np.abs(wanted).max()))


def model_inputs(found: Any) -> list[Any]:
    return list(found.flat.inputs.values())


def test_a_file_of_keras() -> None:
    found = imported(TESTS / "data/keras_3_15.keras")
    known = np.load(TESTS / "data/keras_3_15.npz")
    (name,) = found.flat.inputs
    (result,) = outputs(found, {name: known["x"].astype("f4")}).values()
    assert np.abs(result - known["y"]).max() < 1e-5


@pytest.mark.parametrize("name", ["classifier", "blocks", "text", "attention", "siamese"])
def test_a_model_of_the_layers_table(name: str) -> None:
    found = imported(TESTS / f"data/keras_import_{name}.keras")
    known = np.load(TESTS / "data/keras_import.npz")
    feeds = {}
    for at, (key, layer) in enumerate(found.flat.inputs.items()):
        x = known[f"{name} x{at}"]
        x = np.moveaxis(x, -1, 1) if x.ndim > 2 else x
        feeds[key] = x.astype("i8" if layer.dtype == "i64" else "f4")
    for at, result in enumerate(outputs(found, feeds).values()):
        wanted = known[f"{name} y{at}"]
        assert np.abs(result - wanted).max() < 2e-6 * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.parametrize("name", ["seq_old", "functional", "nested", "td_conv", "text"])
def test_a_model_of_keras_2(tmp_path: Path, name: str) -> None:
    """Its files count the calls of nested models from 1, and its hard_sigmoid is another function."""
    with zipfile.ZipFile(TESTS / "data/keras_2.zip") as models:
        path = Path(models.extract(f"{name}.h5", tmp_path))
        known = np.load(models.extract(f"{name}.npz", tmp_path))
    found = imported(path)
    feeds = {}
    for at, (key, layer) in enumerate(found.flat.inputs.items()):
        x = known[f"x{at}"]
        feeds[key] = (np.moveaxis(x, -1, 1) if x.ndim > 2 else x).astype("i8" if layer.dtype == "i64" else "f4")
    for at, result in enumerate(outputs(found, feeds).values()):
        assert np.abs(result - known[f"y{at}"]).max() < 2e-6 * max(1.0, float(np.abs(known[f"y{at}"]).max()))


def test_weights_without_a_model_are_refused(tmp_path: Path) -> None:
    name = next(name for name, model in MODELS.items() if "weights.h5" in model["files"])
    with pytest.raises(UserError, match="no configuration of a model"):
        imported(save(tmp_path, name, "weights.h5"))


def test_a_masking_layer_is_refused(tmp_path: Path) -> None:
    def change(config: Any) -> Any:
        config["config"]["layers"][-1]["class_name"] = "Masking"
        return config

    with pytest.raises(ImportRefused, match="a Masking layer"):
        imported(changed(tmp_path, change))


def test_the_text_of_a_model() -> None:
    assert (
        imported(TESTS / "data/keras_import_classifier.keras").text
        == """\
# Imported by netdsl from keras_import_classifier.keras, written by Keras.
net sequential {
  input input_layer 3x12x12
  conv2d: conv 3x3 4 pad valid; relu
  maxpool 2x2
  conv2d_1: conv 3x3 6 stride 2 pad same_upper; batch_normalization: bn eps 0.001; relu; dropout 0.5  # allow W0302: as in the model
  dense: dense 8; tanh
  dense_1: dense 5; softmax
}
"""  # noqa: E501
    )


@pytest.mark.parametrize("option", ["use_causal_mask", "attention_mask", "return_attention_scores"])
def test_a_call_with_options_is_refused(tmp_path: Path, option: str) -> None:
    def change(config: Any) -> Any:
        (layer,) = (each for each in config["config"]["layers"] if each["class_name"] == "MultiHeadAttention")
        layer["inbound_nodes"][0]["kwargs"] = {option: True, "training": False, "query_mask": None}
        return config

    with pytest.raises(ImportRefused, match=option):
        imported(changed(tmp_path, change, "attention"))


def changed(folder: Path, change: Any, name: str = "classifier") -> Path:
    """Return a model with another configuration."""
    source = TESTS / f"data/keras_import_{name}.keras"
    path = folder / "model.keras"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        config = json.loads(old.read("config.json"))
        new.writestr("config.json", change if isinstance(change, str) else json.dumps(change(config)))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    return path


def nested(config: Any) -> Any:
    for _ in range(150):
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": [config]}}
    return config


def cyclic(_: Any) -> Any:
    def layer(name: str, source: str) -> Any:
        node = [{"args": [{"config": {"keras_history": [source, 0, 0]}}], "kwargs": {}}]
        return {"class_name": "ReLU", "name": name, "config": {"name": name}, "inbound_nodes": node}

    inner = {
        "name": "m",
        "layers": [layer("a", "b"), layer("b", "a")],
        "input_layers": [],
        "output_layers": [["a", 0, 0]],
    }
    return {"class_name": "Functional", "config": inner}


def functional(about: Any, calls: Any) -> Any:
    """Return a model of an input and a layer that is called so, whose class and arguments are `about`."""
    given = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [None, 4]}}
    layer = {"name": "a", "inbound_nodes": calls, **about}
    inner = {"name": "m", "layers": [given, layer], "input_layers": ["x", 0, 0], "output_layers": ["a", 0, 0]}
    return {"class_name": "Functional", "config": inner}


RELU = {"class_name": "ReLU", "config": {"name": "a"}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: functional(RELU, 7), "the calls of a layer are not a list"),
        (lambda _: functional(RELU, [[{"a": 1}]]), "results of no layer|a ReLU|a re_lu"),
        (lambda _: functional({"class_name": "Average", "config": {}}, [[]]), "an? average"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "neither a Functional nor a Sequential"),
        (cyclic, "of a cycle"),
        (nested, "has no layers"),
        (lambda config: {**config, "config": {"name": "m"}}, "has no layers"),
        (lambda config: {**config, "class_name": "Functional"}, "results of no layer"),
    ],
)
def test_damaged_configurations_are_refused(tmp_path: Path, change: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        imported(changed(tmp_path, change))


def test_arguments_of_other_types_end_in_an_error_or_in_a_net(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values: list[Any] = [None, -1, 0, 10**12, "x", [], [1], {}, 1.5, True]

    def change(config: Any) -> Any:
        layers = config["config"]["layers"]
        about = layers[generator.integers(len(layers))]["config"]
        about[list(about)[generator.integers(len(about))]] = values[generator.integers(len(values))]
        return config

    ends = []
    for _ in range(20):
        try:
            ends.append(imported(changed(tmp_path, change)).text)
        except UserError as error:
            ends.append(error.code)
    assert {"E0670", "E0671"} & {*ends}
    assert any(end.startswith("# Imported") for end in ends)


def test_an_input_without_a_size_is_given_one(tmp_path: Path) -> None:
    def change(config: Any) -> Any:
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, None, 12, 3]
        return config

    path = changed(tmp_path, change)
    with pytest.raises(ImportRefused, match="--input input_layer="):
        imported(path)
    assert "input input_layer 3x12x12" in imported(path, shapes={"input_layer": (12, 12, 3)}).text
