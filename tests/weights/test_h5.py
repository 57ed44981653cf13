"""Keras's weights: what Keras 3.15 wrote computes here what it computed there; and hostile HDF5 files."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netdsl as netdsl_package
from netdsl.base.user_error import UserError
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import open_weights
from netdsl.weights.keras import layout, words_of
from netdsl.weights.keras_graph import snake_case
from netdsl.weights.keras_recurrent import recurrent_words
from netdsl.weights.match import match_weights
from tests.support.cli_tools import Commands, netdsl, spawn
from tests.support.paths import DATA
from tests.support.reference import open_net

h5py = pytest.importorskip("h5py")

__all__ = ["netdsl"]

NET = """net k {
  input image 3x6x6
  c1: conv 3x3 4
  b1: bn
  relu
  dw: conv 3x3 4 groups 4 bias off
  b2: bn
  up: deconv 2x2 5 stride 2
  maxpool 4x4 stride 4
  d1: dense 7
  relu
  d2: dense 3
}
"""
"""The model of `keras_3_15.keras` and `.h5`: its `flatten` is of channels last, and `b2` has no gamma."""

CHAIN = "net s { input x 2x6x6; repeat 11 { conv 3x3 2 }; global_avgpool; top: dense 3 }"
"""That of `keras_3_15.weights.h5`: eleven convolutions of one shape, called `conv_l` down to `conv_b` there."""


def outputs(netdsl: Commands, net: str, weights: str, *more: str) -> tuple[np.ndarray, np.ndarray]:
    """What a net gives with the weights of a file, and what Keras gave."""
    netdsl.write(n=net)
    expected = np.load(DATA / (weights.rpartition(".")[0] + ".npz"))
    np.save("x.npy", expected["x"])
    ran = netdsl("run", "n.net", "x.npy", "--weights", DATA / weights, "-o", "y.npz", *more)
    assert ran.code == 0, ran
    (found,) = np.load("y.npz").values()
    return found, expected["y"]


@pytest.mark.parametrize("how", ["name", "order"])
@pytest.mark.parametrize("form", ["keras", "h5"])
def test_a_model_that_keras_saved(netdsl: Commands, form: str, how: str) -> None:
    found, expected = outputs(netdsl, NET, f"keras_3_15.{form}", "--match", how)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


RECURRENT = "{}: lstm 4; {}: gru 3 bidirectional on; {}: lstm 2 bidirectional on; {}: rnn 6 last on; {}: dense 3"


@pytest.mark.parametrize("how", ["name", "order"])
@pytest.mark.parametrize("form", ["keras", "h5", "weights.h5"])
def test_recurrent_layers_that_keras_saved(netdsl: Commands, form: str, how: str) -> None:
    """All weights are random, also the biases."""
    body = RECURRENT.format(*("abcde" if how == "name" else "pqrst"))
    found, expected = outputs(
        netdsl, f"net r {{ input x 5x7; {body} }}", f"keras_3_15_recurrent.{form}", "--match", how
    )
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


GRU = {"kernel": (5, 12), "recurrent_kernel": (4, 12), "bias": (2, 12)}


@pytest.mark.parametrize(
    ("shapes", "about", "reason"),
    [
        (GRU | {"bias": (12,)}, {}, "has `reset_after=False`"),
        ({"kernel": (5, 12), "recurrent_kernel": (4, 12)}, {"reset_after": False}, "has `reset_after=False`"),
        ({"kernel": (5, 12), "recurrent_kernel": (4, 12)}, {}, "has no biases, which would tell"),
        (GRU, {"recurrent_activation": "hard_sigmoid"}, "the gates of `r` are hard_sigmoid"),
        ({"kernel": (5, 8), "recurrent_kernel": (4, 8)}, {}, "neither LSTM nor GRU nor SimpleRNN"),
    ],
)
def test_other_recurrent_layers_are_refused(shapes: Any, about: Any, reason: str) -> None:
    assert recurrent_words("w.keras", "r", GRU, {"reset_after": True})[0] == "gru"
    with pytest.raises(BadWeightFile, match=re.escape(reason)):
        recurrent_words("w.keras", "r", shapes, about)


def test_weights_that_keras_saved_without_the_model(netdsl: Commands) -> None:
    found, expected = outputs(netdsl, CHAIN, "keras_3_15.weights.h5", "--match", "order")
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    assert list(open_weights(str(DATA / "keras_3_15.weights.h5")).entries)[:3] == [
        "conv_l.weight",
        "conv_l.bias",
        "conv_k.weight",
    ]


@pytest.mark.filterwarnings("ignore:.*W0302")
def test_from_python_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "n.net").write_text(NET)
    expected = np.load(DATA / "keras_3_15.npz")
    session = netdsl_package.load(str(tmp_path / "n.net")).session(weights=DATA / "keras_3_15.keras")
    (found,) = session(image=expected["x"]).values()
    assert np.abs(found - expected["y"]).max() <= 1e-6 * np.abs(expected["y"]).max()


def test_a_file_is_fitted_once(tmp_path: Path) -> None:
    """The columns behind a flattened map are not turned twice."""
    (tmp_path / "n.net").write_text(NET)
    net = open_net(tmp_path / "n.net")
    once = match_weights(net, open_weights(str(DATA / "keras_3_15.keras")))
    assert np.array_equal(match_weights(net, once).read("d1.weight"), once.read("d1.weight"))
    assert not np.array_equal(once.read("d1.weight"), open_weights(once.path).read("d1.weight"))


def test_without_h5py_it_is_said_what_is_missing(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    ran = netdsl("weights", DATA / "keras_3_15.keras")
    assert (ran.code, ran.out) == (2, "")
    assert "which requires h5py" in ran.err
    assert "pip install 'netdsl[keras]'" in ran.err


def test_what_is_left_out_is_neutral() -> None:
    file = open_weights(str(DATA / "keras_3_15.keras"))
    assert file.read("b2.weight").tolist() == [1.0] * 4
    assert file.entries["b2.weight"].shape == (4,)
    assert [key for key in file.entries if key.startswith("b2")] == [
        "b2.weight",
        "b2.bias",
        "b2.running_mean",
        "b2.running_var",
    ]


@pytest.mark.parametrize(
    ("word", "kind", "shape", "turned"),
    [
        ("kernel", "conv2d", (3, 5, 7, 11), (11, 7, 3, 5)),
        ("kernel", "conv1d", (3, 7, 11), (11, 7, 3)),
        ("kernel", "conv3d", (2, 3, 5, 7, 11), (11, 7, 2, 3, 5)),
        ("kernel", "conv2d_transpose", (3, 5, 11, 7), (7, 11, 3, 5)),
        ("kernel", "depthwise_conv2d", (3, 5, 7, 2), (14, 1, 3, 5)),
        ("depthwise_kernel", "", (3, 5, 7, 2), (14, 1, 3, 5)),
        ("pointwise_kernel", "separable_conv2d", (1, 1, 7, 2), (2, 7, 1, 1)),
        ("kernel", "dense", (7, 11), (11, 7)),
        ("embeddings", "embedding", (7, 11), (7, 11)),
        ("alpha", "p_re_lu", (1, 1, 7), (7,)),
        ("alpha", "p_re_lu", (1, 7), (7,)),
        ("alpha", "p_re_lu", (7,), (7,)),
        ("alpha", "p_re_lu", (1, 1, 1), (1,)),
        ("alpha", "p_re_lu", (7, 1, 1), (7, 1, 1)),
        ("alpha", "p_re_lu", (1, 7, 1), (1, 7, 1)),
        ("gamma", "batch_normalization", (7,), (7,)),
    ],
)
def test_layouts(word: str, kind: str, shape: tuple[int, ...], turned: tuple[int, ...]) -> None:
    how = layout(word, kind, shape)
    assert how.shape == turned
    array = np.arange(np.prod(shape)).reshape(shape)
    found = how.apply(array)
    assert found.shape == turned
    if kind == "depthwise_conv2d":  # output c * multiplier + m sees channel c
        assert np.array_equal(found[5, 0], array[:, :, 2, 1])
    elif kind.startswith("conv2d"):
        assert np.array_equal(found[4, 2], array[:, :, 2, 4])


@pytest.mark.parametrize(
    ("kind", "count", "about", "words"),
    [
        ("dense", 2, {}, ["kernel", "bias"]),
        ("conv2d", 1, {}, ["kernel"]),
        ("separable_conv2d", 3, {}, ["depthwise_kernel", "pointwise_kernel", "pointwise_bias"]),
        ("batch_normalization", 4, {}, ["gamma", "beta", "moving_mean", "moving_variance"]),
        ("batch_normalization", 2, {}, ["moving_mean", "moving_variance"]),
        ("batch_normalization", 3, {}, None),
        ("batch_normalization", 3, {"center": False}, ["gamma", "moving_mean", "moving_variance"]),
        ("layer_normalization", 1, {"scale": False}, ["beta"]),
        ("layer_normalization", 1, {}, None),
        ("p_re_lu", 1, {}, ["alpha"]),
        ("conv_lstm2d", 2, {}, ["vars.0", "vars.1"]),
        ("conv1d_transpose", 2, {}, ["kernel", "bias"]),
        ("depthwise_conv1d", 1, {}, ["kernel"]),
        ("lstm", 3, {}, ["vars.0", "vars.1", "vars.2"]),
        ("conv2d", 3, {}, ["vars.0", "vars.1", "vars.2"]),
    ],
)
def test_the_words_of_numbered_arrays(kind: str, count: int, about: dict[str, Any], words: list[str] | None) -> None:
    assert words_of(kind, count, about) == words


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Conv2DTranspose", "conv2d_transpose"),
        ("ReLU", "re_lu"),
        ("PReLU", "p_re_lu"),
        ("LeakyReLU", "leaky_re_lu"),
        ("ELU", "elu"),
        ("GRU", "gru"),
        ("DepthwiseConv1D", "depthwise_conv1d"),
        ("BatchNormalization", "batch_normalization"),
    ],
)
def test_groups_are_called_after_classes(name: str, snake: str) -> None:
    assert snake_case(name) == snake


# --- hostile files -------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(BadWeightFile) as caught:
        open_weights(str(path))
    assert path.name in caught.value.message
    return caught.value.message


def test_nothing_is_read_from_elsewhere(tmp_path: Path) -> None:
    path, other = tmp_path / "w.weights.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["a"] = np.zeros(3)
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(other), "a")
    assert "is a link" in refusal(path)
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = h5py.SoftLink("/somewhere")
    assert "is a link" in refusal(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (3,), "f8", external=[(str(other), 0, 24)])
    assert "has its data in another file" in refusal(path)
    with h5py.File(path, "w") as file:
        virtual = h5py.VirtualLayout((3,), "f8")
        virtual[:] = h5py.VirtualSource(str(other), "a", (3,))
        file.create_virtual_dataset("layers/dense/vars/0", virtual)
    assert "has its data in another file" in refusal(path)


def test_odd_files(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = h5py.Group(file.create_group("a").id)
        file["a/c"] = file["a"]
    assert "nested without end" in refusal(path)
    with h5py.File(path, "w"):
        pass
    assert "contains no weights as saved by Keras" in refusal(path)
    with h5py.File(path, "w") as file:
        file["layers/batch_normalization/vars/0"] = np.ones(3)
        file["layers/batch_normalization/vars/1"] = np.ones(3)
        file["layers/batch_normalization/vars/2"] = np.ones(3)
    assert "has 3 arrays, and does not say which of gamma and beta is missing" in refusal(path)
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.array(["text"], "S4")
    assert "contains no weights as saved by Keras" in refusal(path)


@pytest.mark.parametrize(
    ("name", "limit", "excess"), [("MAX_GROUPS", 5, "a/b/vars/more"), ("MAX_GROUP_DEPTH", 4, "a/b/vars/c/d")]
)
def test_groups_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, excess: str
) -> None:
    """The root counts as a group, at depth 0."""
    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        file["a/b/vars/0"] = np.zeros(3)
        file.create_group("a/b/vars/c")
    monkeypatch.setattr(f"netdsl.weights.h5.{name}", limit)
    open_weights(str(path))
    with h5py.File(path, "a") as file:
        file.create_group(excess)
    assert "nested without end" in refusal(path)


def test_a_declared_size_is_held_against_the_nets(netdsl: Commands) -> None:
    netdsl.write(n="net a { input x 3; dense 2 }")
    with h5py.File("w.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000))
        file["layers/dense/vars/1"] = np.zeros(2, "f4")
        file["layers/dense/vars"].attrs["name"] = "dense1"
    np.save("x.npy", np.ones((1, 3), "f4"))
    ran = netdsl("run", "n.net", "x.npy", "--weights", "w.h5")
    assert ran.code == 1
    assert "dense1.weight is 1000000x1000000, expected 2x3" in ran.err


LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "evil", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}},
}


def archive(path: Path, config: object, **changes: bytes) -> Path:
    with zipfile.ZipFile(DATA / "keras_3_15.keras") as source, zipfile.ZipFile(path, "w") as target:
        target.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        target.writestr("model.weights.h5", changes.get("h5", source.read("model.weights.h5")))
    return path


def test_configurations(tmp_path: Path) -> None:
    """They name layers, and nothing of them is run; without one, or with an odd one, groups have their own names."""
    for config in ({"config": {"layers": [LAMBDA]}}, {}, [], 3, {"config": {"layers": [1, {"class_name": 2}]}}):
        path = archive(tmp_path / "w.keras", config)
        with pytest.raises(BadWeightFile, match="which of gamma and beta"):
            open_weights(str(path))
    assert "not JSON" in refusal(archive(tmp_path / "w.keras", b"{"))
    assert "not JSON" in refusal(archive(tmp_path / "w.keras", b"[" * 100_000))
    assert "it cannot be read as HDF5" in refusal(archive(tmp_path / "w.keras", {}, h5=b"\x89HDF"))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 255), st.floats(0.3, 1))
def test_damaged_files_fail_in_words(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, end: float
) -> None:
    data = bytearray((DATA / "keras_3_15.keras").read_bytes())
    data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("f") / "w.keras"
    path.write_bytes(data[: int(len(data) * end)] if byte % 4 == 0 else data)
    try:
        file = open_weights(str(path))
        for key in file.entries:
            file.read(key)
    except UserError as error:
        assert error.code in ("E0701", "E0801")  # noqa: PT017


@pytest.mark.parametrize("h5", [b"x", b"\x89HDF\r\n\x1a\n" + bytes(3000)])
def test_python_comes_to_its_end_after_a_damaged_file(tmp_path: Path, h5: bytes) -> None:
    """What the library left behind of a file that it could not open is gone before Python is."""
    archive(tmp_path / "w.keras", {}, h5=h5)
    ran = spawn("weights", "w.keras", cwd=tmp_path)
    assert (ran.returncode, b"it cannot be read as HDF5" in ran.stderr) == (1, True)
