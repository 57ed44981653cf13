"""Data of an ONNX model outside its file: read from the model's folder, and from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper

from netdsl.backend.session import Session
from netdsl.base.user_error import UserError
from netdsl.weights.errors import OutsideModelFolder
from netdsl.weights.file import open_weights
from netdsl.weights.onnx_external import data_files
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

W = np.arange(6, dtype="f4").reshape(2, 3)
X = np.array([[2, -1]], "f4")


def tensor(location: str, name: str = "w", **more: str) -> TensorProto:
    found = TensorProto(name=name, dims=W.shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "length": str(W.nbytes), **more}.items():
        found.external_data.add(key=key, value=value)
    return found


def product(weight: TensorProto | None, *nodes: NodeProto) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    steps = [*nodes, helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(steps, "g", [x], [y], [weight] if weight else [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data inside and outside a model's folder, and links of all kinds between them."""
    for name in ("m/sub", "out", "m2"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("out/secret", "m2/secret", "m/in", "m/sub/in"):
        (tmp_path / name).write_bytes(W.tobytes())
    links = {"link": "../out/secret", "dir": "../out", "loop": "loop", "inner": "in", "chain": "link", "near": "sub/in"}
    for name, target in {**links, "m2dir": str(tmp_path / "m2"), "up": "sub/../../out/secret"}.items():
        (tmp_path / "m" / name).symlink_to(target)
    return tmp_path


def write(folder: Path, model: ModelProto) -> str:
    path = folder / "m" / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.mark.parametrize("location", ["in", "sub/in", "inner", "near", "sub/../in", "./in"])
def test_data_in_the_folder(folder: Path, location: str) -> None:
    path = write(folder, product(tensor(location)))
    assert np.array_equal(open_weights(path).read("w"), W.T)
    assert np.array_equal(Session(path).run({"x": X})["y"], X @ W)


OUTSIDE = ["link", "dir/secret", "chain", "up", "m2dir/secret", "../out/secret", "sub/../../out/secret", "../m2/secret"]
NO_FILE = ["..", ".", "", "sub/..", "a\\b", "in\0", "*/_ORT_MEM_ADDR_/*", "../m"]


@pytest.mark.parametrize("location", [*OUTSIDE, *NO_FILE, "/etc/passwd", "ABSOLUTE"])
def test_data_elsewhere(folder: Path, location: str) -> None:
    location = str(folder / "m" / "in") if location == "ABSOLUTE" else location
    path = write(folder, product(tensor(location)))
    for use in (open_weights, Session, data_files):
        with pytest.raises(OutsideModelFolder, match="not in its folder"):
            use(path)


def test_a_link_in_circles(folder: Path) -> None:
    path = write(folder, product(tensor("loop")))
    with pytest.raises(UserError, match="loop"):
        open_weights(path).read("w")
    with pytest.raises(UserError, match=r"m\.onnx"):
        Session(path)


@pytest.mark.parametrize("command", ["compile", "run", "eval", "weights", "train", "filters"])
def test_each_command_refuses(folder: Path, netdsl: Commands, command: str) -> None:
    path = write(folder, product(tensor("link")))
    netdsl.write(
        n='net n { input x 2; w: dense 3 bias off }\ntrain n { data csv "d.csv" target ["y", "z", "u"]; loss mse }'
    )
    np.save("x.npy", X)
    Path("d.csv").write_text("a,b,y,z,u\n1,2,3,4,5\n")
    arguments = {
        "compile": ["n.net", "--weights", path],
        "run": [path, "x.npy"],
        "eval": [path, "--data", 'csv "d.csv" target ["y", "z", "u"]'],
        "weights": [path],
        "train": ["n.net", "--weights", path],
        "filters": ["n.net", "--weights", path],
    }[command]
    ran = netdsl(command, *arguments)
    assert ran.code == 1, ran
    assert "E0708" in ran.err
    assert "keeps data in link, which is not in its folder" in ran.err


def places() -> dict[str, ModelProto]:
    """A tensor with data elsewhere, at each place of a model that may hold one."""
    bad = tensor("../out/secret")
    constant = helper.make_node("Constant", [], ["w"], value=bad)
    sparse = SparseTensorProto(values=bad)
    listed = helper.make_node("Constant", [], ["w"])
    listed.attribute.append(helper.make_attribute("tensors", [bad]))
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("v", 1, [2, 3])], [bad])
    branches = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    function = product(None)
    function.functions.append(helper.make_function("d", "F", [], ["w"], [constant], [helper.make_opsetid("", 17)]))
    training = product(None)
    training.training_info.add().algorithm.initializer.append(bad)
    sparse_model = product(None)
    sparse_model.graph.sparse_initializer.append(sparse)
    return {
        "constant": product(None, constant),
        "list": product(None, listed),
        "branch": product(None, branches),
        "function": function,
        "training": training,
        "sparse": sparse_model,
    }


@pytest.mark.parametrize("place", places())
def test_tensors_at_any_place(folder: Path, place: str) -> None:
    with pytest.raises(OutsideModelFolder):
        Session(write(folder, places()[place]))


def test_a_model_opened_by_a_link_has_the_links_folder(folder: Path) -> None:
    """As in onnx and onnxruntime, the path by which a model is opened decides."""
    write(folder, product(tensor("in")))
    linked = folder / "out" / "m.onnx"
    linked.symlink_to("../m/m.onnx")
    (folder / "out" / "in").write_bytes((2 * W).tobytes())
    assert np.array_equal(open_weights(str(linked)).read("w"), 2 * W.T)
    (folder / "out" / "in").unlink()
    (folder / "out" / "in").symlink_to("../m/in")
    with pytest.raises(OutsideModelFolder):
        open_weights(str(linked))
    (folder / "door").symlink_to("m")
    os.chdir(folder)
    assert np.array_equal(open_weights("door/m.onnx").read("w"), W.T)
    assert np.array_equal(Session("door/m.onnx").run({"x": X})["y"], X @ W)


def test_damage_is_left_to_the_runtime(folder: Path) -> None:
    data = product(tensor("in")).SerializeToString()
    path = folder / "m" / "m.onnx"
    for end in range(0, len(data), 3):
        path.write_bytes(data[:end])
        data_files(str(path))
    path.write_bytes(b"\xff" * 50)
    data_files(str(path))
