"""Weights of Keras's models compute here what they compute there, in whatever order each holds a value's elements."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl.base.user_error import UserError
from netdsl.weights.errors import OrderUnknown
from netdsl.weights.file import open_weights
from netdsl.weights.keras_graph import KerasGraph
from netdsl.weights.keras_order import ELEMENTWISE
from netdsl.weights.match import match_weights
from tests.support.paths import TESTS
from tests.support.reference import open_net

h5py = pytest.importorskip("h5py")

MODELS: dict[str, Any] = json.loads(gzip.decompress((TESTS / "data/keras_orders.json.gz").read_bytes()))
"""Small models by name: a net, inputs (channels first), what Keras predicts, and what its files hold."""

BY_ORDER_ONLY = ("shared", "names_bad")
"""The layers' names in the model are others than in the net."""

REFUSED = {
    "custom_REFUSE": "E0707",
    "ops_transpose_REFUSE": "E0707",
    "bn_axis1_last_REFUSE": "E0707",
    "ln_axis1_REFUSE": "E0707",
    "mixed_concat_REFUSE": "E0707",
    "dense_reshape_permute_pool_REFUSE": "E0707",
    "concat_dense_reshape_REFUSE": "E0707",
    "prelu_h_REFUSE": "E0702",
    "gru_REFUSE": "E0702",
}
POINTWISE = ("td_dense", "dense_seq", "dense_map")
"""Dense layers on a sequence or map, where the net has a pointwise convolution. By order, shapes must be equal."""

OTHER_NAMES = ("td_dense", "weights.h5")
"""A model and a form in which names and the order of the layers differ from those of the net."""


def arrays(listed: list[Any]) -> list[np.ndarray]:
    return [np.array(values, "f4").reshape(shape) for shape, values in listed]


def save(folder: Path, name: str, form: str) -> Path:
    """The file that Keras wrote."""
    about, weights = MODELS[name]["files"][form], arrays(MODELS[name]["weights"])
    path = folder / ("model.weights.h5" if form == "keras" else f"m.{form}")
    with h5py.File(path, "w") as file:
        for place, at in about["arrays"].items():
            file[place] = weights[at]
        for place, texts in about["texts"].items():
            for key, values in texts.items():
                group = file.require_group(place or "/")
                group.attrs[key] = values if key.endswith("names") else values[0]
    if form != "keras":
        return path
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.write(path, path.name)
        archive.writestr("config.json", json.dumps(about["config"]))
    return folder / "m.keras"


def cases() -> list[tuple[str, str, str]]:
    found = [(name, form) for name, each in MODELS.items() for form in each["files"]]
    return [
        (*each, how) for each in found for how in ("name", "order") if how == "order" or each[0] not in BY_ORDER_ONLY
    ]


@pytest.mark.filterwarnings("ignore:.*W0")
@pytest.mark.parametrize(("name", "form", "how"), cases())
def test_a_net_predicts_what_keras_predicts(tmp_path: Path, name: str, form: str, how: Any) -> None:
    refused = REFUSED.get(name)
    if name in POINTWISE and (how == "order" or (name, form) == OTHER_NAMES):
        refused = "E0702"
    predicts(tmp_path, name, form, how, MODELS[name]["net"], refused)


@pytest.mark.parametrize(("name", "form", "how"), [case for case in cases() if case[0] in POINTWISE])
def test_a_dense_layer_on_a_sequence_is_linear(tmp_path: Path, name: str, form: str, how: Any) -> None:
    net = re.sub(r"conv 1(x1)? ", "linear ", MODELS[name]["net"])
    predicts(tmp_path, name, form, how, net, "E0702" if (name, form) == OTHER_NAMES else None)


def predicts(tmp_path: Path, name: str, form: str, how: Any, text: str, refused: str | None) -> None:
    """Compare what a net computes with what Keras did; or expect an error."""
    model = MODELS[name]
    (tmp_path / "n.net").write_text(f"net n {{\n{text}\n}}\n")
    path = save(tmp_path, name, form)
    net = netdsl.load(str(tmp_path / "n.net"))
    if refused is not None:
        with pytest.raises(UserError) as caught:
            net.session(weights=path, match=how)
        assert caught.value.code == refused
        return
    session = net.session(weights=path, match=how)
    xs = arrays(model["x"])
    feeds = {node.name: x.astype(node.dtype) for node, x in zip(session.inputs.values(), xs, strict=True)}
    (found,) = session(**feeds).values()
    (expected,) = arrays([model["y"]])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-5 * max(1, np.abs(expected).max())


def turned(tmp_path: Path, net: str, config: Any, **weights: tuple[int, ...]) -> np.ndarray:
    """The weight `d.weight` for a net, from a `.keras` file with a configuration, in which it counts from 0."""
    (tmp_path / "n.net").write_text(f"net n {{ {net} }}")
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for layer, shape in weights.items():
            group = {"d": "dense", "c": "conv2d"}[layer]
            file[f"layers/{group}/vars/0"] = np.arange(np.prod(shape), dtype="f4").reshape(shape)
            file[f"layers/{group}/vars/1"] = np.zeros(shape[-1], "f4")
            file[f"layers/{group}/vars"].attrs["name"] = layer
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
        archive.writestr("config.json", json.dumps(config))
    return match_weights(open_net(tmp_path / "n.net"), open_weights(str(tmp_path / "m.keras"))).read("d.weight")


NET = "input x 3x4x5; c: conv 1x1 2; d: dense 3"
WEIGHTS = {"c": (1, 1, 3, 2), "d": (40, 3)}
AS_IT_IS = np.arange(120, dtype="f4").reshape(40, 3).T
CHANNELS_LAST = AS_IT_IS.reshape(3, 4, 5, 2).transpose(0, 3, 1, 2).reshape(3, 40)


def layer(kind: str, name: str, *before: str, **about: Any) -> dict[str, Any]:
    """A layer as Keras 2 writes it."""
    nodes = [[[source, 0, 0, {}] for source in before]] if before else []
    return {"class_name": kind, "config": {"name": name, **about}, "name": name, "inbound_nodes": nodes}


def functional(*layers: dict[str, Any]) -> dict[str, Any]:
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "layers": list(layers), **ends}}


X = layer("InputLayer", "x", batch_input_shape=[None, 4, 5, 3])
CONV = layer("Conv2D", "c", "x", data_format="channels_last")
FLAT = layer("Flatten", "f", "c", data_format="channels_last")
DENSE = layer("Dense", "d", "f")


def test_configurations_of_keras_2(tmp_path: Path) -> None:
    assert np.array_equal(turned(tmp_path, NET, functional(X, CONV, FLAT, DENSE), **WEIGHTS), CHANNELS_LAST)
    first = layer("Conv2D", "c", "x", data_format="channels_first")
    assert np.array_equal(turned(tmp_path, NET, functional(X, first, FLAT, DENSE), **WEIGHTS), AS_IT_IS)
    permuted = functional(X, CONV, layer("Permute", "p", "c", dims=[3, 1, 2]), layer("Flatten", "f", "p"), DENSE)
    assert np.array_equal(turned(tmp_path, NET, permuted, **WEIGHTS), AS_IT_IS)
    chain = {"class_name": "Sequential", "config": [first, FLAT, DENSE]}  # of Keras 2.0 and 2.1
    assert np.array_equal(turned(tmp_path, NET, chain, **WEIGHTS), AS_IT_IS)


@pytest.mark.parametrize(
    "between",
    [
        layer("Lambda", "p", "c", function="…"),
        layer("Permute", "p", "c", dims=[3, 1]),
        layer("Permute", "p", "c", dims=["a", 1, 2]),
        layer("Permute", "p", "c"),
        layer("Reshape", "p", "c", target_shape=[7, 7]),
        layer("Permute", "p", "p", dims=[3, 1, 2]),
        layer("Permute", "p", "nowhere", dims=[3, 1, 2]),
        layer("Permute", "p", dims=[3, 1, 2]),
        {"class_name": "Permute", "config": {"name": "p", "dims": [3, 1, 2]}, "inbound_nodes": {"a": 3}},
        {"class_name": "Functional", "config": {"name": "p", "layers": []}, "inbound_nodes": [[["c", 0, 0, {}]]]},
    ],
)
def test_orders_that_cannot_be_known(tmp_path: Path, between: dict[str, Any]) -> None:
    """Foreign layers, and configurations that are damaged on the way to a dense layer."""
    flat = layer("Flatten", "f", "p", data_format="channels_first")
    with pytest.raises(OrderUnknown, match="is unknown"):
        turned(tmp_path, NET, functional(X, CONV, between, flat, DENSE), **WEIGHTS)


def test_a_dense_layer_along_another_axis_is_refused(tmp_path: Path) -> None:
    """Dense maps the last axis, which is the width if channels come first."""
    for net in ("input x 3x4x5; c: conv 1x1 2; d: linear 3", "input x 3x4x5; c: conv 1x1 2; d: conv 1x1 3"):
        weights = {"c": (1, 1, 3, 2), "d": (2, 3)}
        dense = layer("Dense", "d", "c")
        found = turned(tmp_path, net, functional(X, CONV, dense), **weights)
        assert found.reshape(3, 2).tolist() == [[0, 3], [1, 4], [2, 5]]
        first = layer("Conv2D", "c", "x", data_format="channels_first")
        with pytest.raises(OrderUnknown, match="`d` maps the last axis in the Keras model"):
            turned(tmp_path, net, functional(X, first, dense), **weights)


def test_wirings_without_end() -> None:
    inner: Any = {"class_name": "Dense", "config": {"name": "d"}}
    for _ in range(120):
        inner = {"class_name": "Sequential", "config": {"name": "m", "layers": [inner]}}
    assert KerasGraph(inner).steps
    circle = functional(X, layer("Add", "a", "b", "x"), layer("Add", "b", "a", "x"), layer("Dense", "d", "b"))
    assert KerasGraph(circle).way_to("d").unknown == "", "one branch begins at the input"
    assert KerasGraph(circle).way_to("nowhere").unknown == "nowhere"


@pytest.mark.parametrize("kind", sorted(ELEMENTWISE))
def test_layers_that_keep_places(kind: str) -> None:
    """Those that are said to treat each element alike do so: a permuted input permutes the output, and no more."""
    x = np.random.default_rng(1).uniform(0.1, 2, size=(1, 7)).astype("f4")
    order = np.random.default_rng(2).permutation(7)
    arguments = {"scale": "2", "shift": "1", "dropout": "0.5", "drop_path": "0.5", "threshold": "1", "clip": "0.5 1"}
    run = netdsl.parse(f"net n {{ input x 7; {kind} {arguments.get(kind, '')} }}").session()
    (a,), (b,) = run(x=x).values(), run(x=x[:, order]).values()
    assert np.allclose(a[:, order], b, rtol=1e-6, atol=1e-6)
