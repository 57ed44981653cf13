"""Checkpoints in several files, and formats and types that are named although they are not read."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

import netdsl as netdsl_package
from netdsl.base.user_error import UserError
from netdsl.weights.file import open_weights
from tests.support.cli_tools import Commands, netdsl
from tests.support.paths import TESTS

__all__ = ["netdsl"]

A = np.arange(6, dtype="f4").reshape(2, 3) / 4
B = np.array([0.5, -1], "f4")
C = np.arange(8, dtype="f4").reshape(4, 2) - 3
X = np.array([[2, -1, 0.5]], "f4")
NET = "net n { input x 3; a: dense 2; c: dense 4 bias off }"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PLACES = {"a.weight": ONE, "a.bias": TWO, "c.weight": TWO}
INDEX = "model.safetensors.index.json"


def write(folder: Path, places: Any = None, **more: Any) -> str:
    """Two shards and their index, as `save_pretrained` of Hugging Face's transformers writes them."""
    folder.mkdir(exist_ok=True)
    save_file({"a.weight": A}, folder / ONE, {"format": "pt"})
    save_file({"a.bias": B, "c.weight": C}, folder / TWO, {"format": "pt"})
    index = {"metadata": {"total_size": 64}, "weight_map": PLACES if places is None else places, **more}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return str(folder / INDEX)


def test_shards_are_one_file_of_weights(netdsl: Commands) -> None:
    path = write(Path("ckpt"))
    netdsl.write(n=NET)
    np.save("x.npy", X)
    listed = netdsl("weights", path)
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()[1:4]] == list(PLACES)
    assert "3 tensors, 16 numbers, 64 bytes" in listed.out
    expected = (X @ A.T + B) @ C.T
    for more in ([], ["--match", "order"]):
        ran = netdsl("run", "n.net", "x.npy", "--weights", path, "-o", "y.npz", *more, "--force")
        assert ran.code == 0, ran
        (found,) = np.load("y.npz").values()
        assert np.allclose(found, expected, rtol=1e-6)
    assert netdsl("compile", "n.net", "--weights", path).code == 0
    (found,) = netdsl_package.load("n.net").session(weights=path)(x=X).values()
    assert np.allclose(found, expected, rtol=1e-6)


def test_an_index_in_a_cache_of_links(tmp_path: Path) -> None:
    """Hugging Face's cache keeps files by their hashes, and a snapshot's names as links to them."""
    write(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for at, name in enumerate((ONE, TWO, INDEX)):
        (tmp_path / "blobs" / name).rename(tmp_path / "blobs" / f"hash{at}")
        (snapshot / name).symlink_to(f"../../blobs/hash{at}")
    file = open_weights(str(snapshot / INDEX))
    assert np.array_equal(file.read("c.weight"), C)
    os.chdir(snapshot)
    assert np.array_equal(open_weights(INDEX).read("a.weight"), A)


def refusal(path: str) -> str:
    with pytest.raises(UserError) as caught:
        open_weights(path)
    assert caught.value.code == "E0701"
    return str(caught.value)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (
            {**PLACES, "a.bias": "model-00003-of-00003.safetensors"},
            "needs model-00003-of-00003.safetensors, which",
        ),
        ({**PLACES, "a.bias": ONE}, f"`a.bias` is in {TWO}, expected in {ONE}"),
        ({**PLACES, "d.weight": ONE}, "`d.weight` is not in model-00001"),
        ({"a.weight": ONE, "a.bias": TWO}, "contains `c.weight`, which is not in the index"),
        ({**PLACES, "a.bias": "../secret"}, "is not in its folder"),
        ({**PLACES, "a.bias": "/etc/passwd"}, "is not in its folder"),
        ({**PLACES, "a.bias": "sub/../../secret"}, "is not in its folder"),
        ({**PLACES, "a.bias": "link"}, "its shard link is not in its folder"),
        ({**PLACES, "a.bias": "loop"}, "loop"),
        ({**PLACES, "a.bias": ".."}, "is not in its folder"),
        ({**PLACES, "a.bias": ""}, "its shard without a name is not in its folder"),
        ({**PLACES, "a.bias": "in\0"}, "is not in its folder"),
        ({**PLACES, "a.bias": INDEX}, "is damaged, or has an unsupported format"),
        ({**PLACES, "a.bias": 3}, "contains something other than file names"),
        ({**PLACES, "a.bias": None}, "contains something other than file names"),
        ({"/layers/dense/vars": "model_00000.weights.h5"}, "sharded Keras weights"),
        ({"/layers/dense/vars": ["model_00000.weights.h5", "model_00001.weights.h5"]}, "sharded Keras weights"),
        ({}, "without a `weight_map`"),
        ([], "without a `weight_map`"),
    ],
)
def test_bad_indices(tmp_path: Path, places: Any, said: str) -> None:
    path = write(tmp_path / "ckpt", places)
    save_file({"a.bias": B}, tmp_path / "secret")
    (tmp_path / "ckpt" / "link").symlink_to("../secret")
    (tmp_path / "ckpt" / "loop").symlink_to("loop")
    assert said in refusal(path)


def test_what_is_no_index(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "ckpt"))
    text = path.read_text()
    path.write_text(text.replace('"a.bias"', '"a.weight"'))
    assert "`a.weight` occurs twice" in refusal(str(path))
    for broken in (text[:40], "{" + "[" * 100_000, '{"model_type": "bert"}'):
        path.write_text(broken)
        assert "not JSON" in (said := refusal(str(path))) or "without a `weight_map`" in said
    path.write_text(text)
    (path.parent / TWO).write_bytes((path.parent / TWO).read_bytes()[:-1])
    assert f"{TWO} is damaged" in refusal(str(path))


# --- what is named for what it is -----------------------------------------------------------------------------------

SMALL = {
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
"""Bits of the small floats in safetensors' specification."""


@pytest.mark.parametrize("kind", SMALL)
def test_small_floats_in_safetensors(netdsl: Commands, kind: str) -> None:
    count = 8 * 3 * SMALL[kind] // 8
    header = json.dumps({"w.weight": {"dtype": kind, "shape": [8, 3], "data_offsets": [0, count]}}).encode()
    Path("w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(count))
    netdsl.write(n="net n { input x 3; w: dense 8 bias off }")
    listed = netdsl("weights", "w.safetensors")
    assert listed.code == 0
    assert f"24 numbers, {count} bytes" in listed.out
    ran = netdsl("compile", "n.net", "--weights", "w.safetensors")
    assert ran.code == 1
    assert f"`w.weight` is float{SMALL[kind]}_" in ran.err
    assert "E0703" in ran.err


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("used", [True, False])
def test_small_floats_in_onnx(netdsl: Commands, kind: str, raw: bool, used: bool) -> None:
    data: Any = bytes(24) if raw else [0.5] * 24
    weight = helper.make_tensor("w.weight", getattr(TensorProto, kind), (8, 3), data, raw=raw)
    scale = helper.make_tensor("s", TensorProto.FLOAT, (), [0.5])
    nodes = [
        helper.make_node("DequantizeLinear", ["w.weight", "s"], ["d"]),
        helper.make_node("Gemm", ["x", "d"], ["y"], transB=1),
    ]
    graph = helper.make_graph(nodes if used else [], "g", [], [], [weight, scale])
    Path("m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    netdsl.write(n="net n { input x 3; w: dense 8 bias off }")
    ran = netdsl("compile", "n.net", "--weights", "m.onnx")
    assert (ran.code, "`w.weight` is float8_e" in ran.err) == (1, True), ran


@pytest.mark.parametrize("form", ["float8", "float8_legacy"])
def test_small_floats_of_pytorch(netdsl: Commands, form: str) -> None:
    """`float8.pth` and `float8_legacy.pth` were saved by torch 2.13: `a` and `b` are float8, `u` is uint16."""
    path = TESTS / "data" / f"{form}.pth"
    assert {key: entry.dtype for key, entry in open_weights(str(path)).entries.items()} == {
        "a": "float8_e4m3fn",
        "b": "float8_e5m2",
        "c": "float32",
        "u": "uint16",
    }
    assert open_weights(str(path)).read("c").tolist() == [1, 1]
    netdsl.write(n="net n { input x 3; w: dense 2 bias off }")
    ran = netdsl("compile", "n.net", "--weights", path, "--match", "order")
    assert "E0702" in ran.err
    assert netdsl("weights", path).out.splitlines()[1].split() == ["a", "float8_e4m3fn", "2x3", "6", "6"]


@pytest.mark.parametrize("member", ["m/archive_format", "serialized_exported_program.json"])
def test_exported_programs(tmp_path: Path, member: str) -> None:
    """The members are those of torch 2.13's and of torch 2.1's `torch.export.save`."""
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr(member, "pt2")
        archive.writestr("m/data/weights/weight_0", bytes(24))
    said = refusal(str(tmp_path / "m.pt2"))
    assert "is a program exported by `torch.export`" in said
    assert "state_dict" in said
    assert "damaged" not in said
