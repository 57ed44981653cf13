"""Weights that a file has with other axes, or under several names: pointwise kernels, and tied layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from safetensors.numpy import save_file

import netdsl as netdsl_package
from netdsl.base.user_error import UserError
from tests.support.cli_tools import Commands, netdsl
from tests.support.torch_zip import View, write

__all__ = ["netdsl"]

W = np.arange(12, dtype="f4").reshape(4, 3) / 8
B = np.array([1, -1, 0.5, 0], "f4")
X = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("f4")
Y = np.einsum("oc,ncl->nol", W, X) + B[:, None]


@pytest.mark.parametrize("axes", [0, 1, 2])
@pytest.mark.parametrize("layer", ["linear 4", "conv 1 4"])
def test_matrices_and_pointwise_kernels_are_one_map(layer: str, axes: int) -> None:
    net = netdsl_package.parse(f"net n {{ input x 3x5; a: {layer} }}")
    weights = {"a.weight": W.reshape(4, 3, *[1] * axes), "a.bias": B}
    (found,) = net.session(weights=weights)(x=X).values()
    assert np.abs(found - Y).max() < 1e-6
    (renamed,) = net.session(weights={f"m.{key}": w for key, w in weights.items()}, rename={"^m[.]": ""})(x=X).values()
    assert np.array_equal(renamed, found)
    turned = {"a.weight": W.T.copy(), "a.bias": B}
    (found,) = net.session(weights=turned, transpose=["weight"])(x=X).values()
    assert np.abs(found - Y).max() < 1e-6


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("linear 4", (3, 4)),
        ("linear 4", (4, 3, 5)),
        ("linear 4", (4, 3, 1, 5)),
        ("linear 4", (12,)),
        ("conv 1 4", (3, 4)),
        ("conv 3 4", (4, 3)),
        ("conv 3 4", (4, 3, 3, 1)),
        ("conv 3 4", (4, 3, 1)),
        ("conv 1 3 groups 3", (3, 1)),
        ("deconv 1 4", (3, 4)),
        ("dwconv 1", (3, 1)),
        ("dense 4", (4, 15, 1)),
    ],
)
def test_other_shapes_are_refused(layer: str, shape: tuple[int, ...]) -> None:
    net = netdsl_package.parse(f"net n {{ input x 3x5; a: {layer} bias off }}")
    with pytest.raises(UserError) as caught:
        net.to_onnx(weights={"a.weight": np.zeros(shape, "f4")})
    assert caught.value.code == "E0702"


def test_by_order_shapes_are_equal() -> None:
    net = netdsl_package.parse("net n { input x 3x5; a: linear 4 bias off }")
    with pytest.raises(UserError, match="number 1 is different"):
        net.to_onnx(weights={"b.weight": W[..., None]}, match="order")


@pytest.mark.parametrize("layer", ["linear 4", "conv 1 4", "conv 1 4 bias off"])
@pytest.mark.parametrize("graph", ["y = Conv (x, w)", "t = Transpose <perm = [0, 2, 1]> (x) u = MatMul (t, w)"])
def test_the_graph_of_a_model_may_have_either(tmp_path: Path, layer: str, graph: str) -> None:
    """A Conv of 1 for `linear`, and a MatMul, whose weight is [in, out], for `conv 1`."""
    size, values = ("4, 3, 1", W) if "Conv" in graph else ("3, 4", W.T)
    end = "" if "Conv" in graph else "y = Transpose <perm = [0, 2, 1]> (u)"
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, 5] x) => (float[N, 4, 5] y) '
        f"<float[{size}] w = {{{', '.join(map(str, values.reshape(-1)))}}}> {{ {graph} {end} }}"
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "a.onnx")
    net = netdsl_package.parse(f"net n {{ input x 3x5; a: {layer.removesuffix(' bias off')} bias off }}")
    (found,) = net.session(weights=tmp_path / "a.onnx", rename={"^w$": "a.weight"})(x=X).values()
    assert np.abs(found - np.einsum("oc,ncl->nol", W, X)).max() < 1e-6


# --- tied weights --------------------------------------------------------------------------------------------------

NET = "net n { input x 3; up: dense 3; relu; down: reuse up }"
SQUARE = np.arange(9, dtype="f4").reshape(3, 3) - 4
BIAS = np.array([0.5, -0.5, 1], "f4")
OWN = {"up.weight": SQUARE, "up.bias": BIAS}


def twice(x: Any) -> Any:
    return np.maximum(x @ SQUARE.T + BIAS, 0) @ SQUARE.T + BIAS


def save(folder: Path, form: str, arrays: dict[str, Any]) -> Any:
    """Write weights in a format; the same tensor twice shares its storage in a checkpoint of PyTorch."""
    path = folder / f"w.{form}"
    if form == "npz":
        np.savez(path, **arrays)
    elif form == "safetensors":
        save_file({name: array.copy() for name, array in arrays.items()}, path)
    elif form == "pth":
        views = {id(array): View(array.reshape(-1), 0, array.shape, (3, 1)[-array.ndim :]) for array in arrays.values()}
        write(path, {name: views[id(array)] for name, array in arrays.items()})
    elif form == "shards":
        places = {name: f"{at}.safetensors" for at, name in enumerate(arrays)}
        for name, place in places.items():
            save_file({name: arrays[name]}, folder / place)
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": places}))
    else:
        return arrays
    return path


@pytest.mark.parametrize("form", ["npz", "safetensors", "pth", "shards", "mapping"])
@pytest.mark.parametrize("names", ["up", "down", "up down", "mixed"])
def test_a_tied_weight_has_any_of_its_names(tmp_path: Path, form: str, names: str) -> None:
    arrays = {f"{layer}.{word}": OWN[f"up.{word}"] for layer in names.split() for word in ("weight", "bias")}
    if names == "mixed":
        arrays = {"down.weight": SQUARE, "up.bias": BIAS}
    net = netdsl_package.parse(NET)
    x = np.float32([[1, 2, 3], [-1, 0.5, 2]])
    (found,) = net.session(weights=save(tmp_path, form, arrays))(x=x).values()
    assert np.abs(found - twice(x)).max() < 1e-5
    prefixed = {f"model.{name}": array for name, array in arrays.items()}
    (found,) = net.session(weights=save(tmp_path, form, prefixed), rename={"^model[.]": ""})(x=x).values()
    assert np.abs(found - twice(x)).max() < 1e-5


def test_the_rename_file_beside_a_net_may_lead_to_any_name(netdsl: Commands) -> None:
    netdsl.write(n=NET)
    np.savez("w.npz", a=SQUARE, b=BIAS)
    Path("n.rename").write_text("^a$ -> down.weight\n^b$ -> up.bias\n")
    np.savez("own.npz", **OWN)
    for name in ("w", "own"):
        assert netdsl("compile", "n.net", "--weights", f"{name}.npz", "-o", f"{name}.onnx").code == 0
    assert Path("w.onnx").read_bytes() == Path("own.onnx").read_bytes()


OTHER = SQUARE.copy()
OTHER[1, 1] = np.nextafter(OTHER[1, 1], np.float32(1))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (OTHER, "1 of 9 values differ"),
        (SQUARE.astype("f8"), "one is float32 3x3, the other float64 3x3"),
        (SQUARE[:2], "one is float32 3x3, the other float32 2x3"),
    ],
)
def test_weights_that_are_not_tied_are_refused(netdsl: Commands, other: np.ndarray, told: str) -> None:
    netdsl.write(n=NET)
    np.savez("w.npz", **OWN, **{"down.weight": other})
    refused = netdsl("compile", "n.net", "--weights", "w.npz")
    assert (refused.code, refused.err) == (
        1,
        "error[E0713]: `up.weight` and `down.weight` are not tied in w.npz, but in the net both are `up.weight`: "
        f"{told}\n  = help: untie them in the net, or load one of them: --drop '^down\\.weight$'\n",
    )
    assert netdsl("compile", "n.net", "--weights", "w.npz", "--drop", r"^down\.weight$").code == 0


def test_zeros_of_both_signs_are_not_tied() -> None:
    net = netdsl_package.parse(NET)
    zeros, nans = np.zeros(3, "f4"), np.full(3, np.nan, "f4")
    with pytest.raises(UserError, match=r"not tied in the mapping, .*: 3 of 3 values differ"):
        net.to_onnx(weights={"up.weight": SQUARE, "up.bias": zeros, "down.bias": -zeros})
    net.to_onnx(weights={"up.weight": SQUARE, "up.bias": nans, "down.bias": nans.copy()}, allow_nonfinite=True)
