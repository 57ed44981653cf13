"""A model's initialisers as a file of weights."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from netdsl.base.user_error import UserError
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import open_weights
from tests.support.cli_tools import MNIST, Commands, netdsl

__all__ = ["netdsl"]

A = np.linspace(-1, 1, 6, dtype="f4").reshape(2, 3)


def model(path: Path, *tensors: TensorProto) -> str:
    graph = helper.make_graph([], "g", [], [], [*tensors])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return str(path)


def raw(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(array, name)


@pytest.mark.parametrize("options", [[], ["--external-data"]])
def test_what_netdsl_compiled_is_read_back(netdsl: Commands, options: list[str]) -> None:
    picture = MNIST / "digits" / "3_18.png"
    expected = netdsl("run", "lenet5", picture, "--weights", MNIST / "lenet5.safetensors")
    netdsl("compile", "lenet5", "--weights", MNIST / "lenet5.safetensors", "-o", "m.onnx", *options)
    again = netdsl("run", "lenet5", picture, "--weights", "m.onnx")
    assert (again.code, again.out) == (0, expected.out), again


def test_forms_of_tensors(tmp_path: Path) -> None:
    listed = helper.make_tensor("listed", TensorProto.FLOAT, (2, 3), A.reshape(-1).tolist())
    doubles = helper.make_tensor("doubles", TensorProto.DOUBLE, (2, 3), A.reshape(-1).astype("f8").tolist())
    high = (A.view(np.uint32) >> 16).astype("<u2")
    halves = helper.make_tensor("bfloat16", TensorProto.BFLOAT16, (2, 3), high.tobytes(), raw=True)
    empty = raw("empty", np.zeros((0, 3), "f4"))
    passed = [raw("count", np.array([3])), raw("single", np.float32(0.5)), raw("mask", np.array([True]))]
    path = model(tmp_path / "m.onnx", listed, doubles, halves, raw("raw", A), raw("f2", A.astype("f2")), empty, *passed)
    file = open_weights(path)
    assert list(file.entries) == ["listed", "doubles", "bfloat16", "raw", "f2", "empty"]
    for key in ("listed", "raw"):
        assert np.array_equal(file.read(key), A)
    assert np.array_equal(file.read("doubles"), A.astype("f8"))
    assert np.array_equal(file.read("f2"), A.astype("f2"))
    assert np.abs(file.read("bfloat16") - A).max() < 0.01
    assert file.read("empty").shape == (0, 3)


def refusal(path: str) -> str:
    with pytest.raises(BadWeightFile) as caught:
        file = open_weights(path)
        for key in file.entries:
            file.read(key)
    return caught.value.message


def test_data_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()

    def at(place: str, **more: str) -> str:
        tensor = TensorProto(name="a", dims=[2, 3], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        for key, value in {"location": place, "length": "24", **more}.items():
            tensor.external_data.add(key=key, value=value)
        return model(tmp_path / "models" / "m.onnx", tensor)

    (tmp_path / "models" / "data").write_bytes(bytes(4) + A.tobytes())
    assert np.array_equal(open_weights(at("data", offset="4")).read("a"), A)
    assert "ends before `a` does" in refusal(at("data", offset="5"))
    assert "is not a number" in refusal(at("data", offset="-1"))
    assert "of shape [2, 3] has 20 bytes of float32" in refusal(at("data", length="20"))


def test_damaged_models(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    wrong = raw("a", A)
    wrong.dims[0] = 10**12
    assert "of shape [1000000000000, 3] has 24 bytes" in refusal(model(path, wrong))
    assert "`a` occurs twice" in refusal(model(path, raw("a", A), raw("a", A)))
    assert "not an ONNX model with weights" in refusal(model(path))
    data = Path(model(path, raw("a", A))).read_bytes()
    path.write_bytes(data[:-9])
    assert "reaches beyond its message" in refusal(str(path))
    path.write_bytes(b"\xff" * 20)
    assert "a number has no end" in refusal(str(path))
    path.write_bytes(b"<!DOCTYPE html>")
    assert "is a web page" in refusal(str(path))


WHOLE = helper.make_model(helper.make_graph([], "g", [], [], [raw("a", A), raw("b", A)])).SerializeToString()


def onnxs_own(data: bytes) -> dict[str, np.ndarray] | None:
    """The weights as onnx reads them; None where it does not."""
    try:
        tensors = onnx.load_from_string(data).graph.initializer
        return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    except Exception:  # whatever protobuf and numpy raise
        return None


def test_mutants_fail_in_words_or_are_read_as_onnx_reads_them(tmp_path: Path) -> None:
    chance = random.Random(0)
    mutants = [WHOLE[:end] for end in range(len(WHOLE))]
    for _ in range(600):
        data = bytearray(WHOLE)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        mutants.append(bytes(data))
    refused = compared = 0
    for data in mutants:
        (tmp_path / "m.onnx").write_bytes(data)
        expected = onnxs_own(data)
        try:
            file = open_weights(str(tmp_path / "m.onnx"))
            found = {key: file.read(key) for key in file.entries}
        except UserError as error:
            assert error.code.startswith(("E06", "E07"))  # noqa: PT017
            refused += 1
            continue
        if expected is not None:
            compared += 1
            for key, array in found.items():
                np.testing.assert_array_equal(array, expected[key].astype(array.dtype))
    assert refused > len(mutants) / 3
    assert compared > len(mutants) / 10


def test_it_is_onnxs_own_reading() -> None:
    assert onnx.load_from_string(WHOLE).graph.initializer[1].name == "b"


def test_weights_of_a_model_in_int8(netdsl: Commands) -> None:
    """Weights are rounded to 64 steps or more on each side of zero; biases make up for the mean rounding error."""
    how = ["--weights", MNIST / "lenet5.safetensors", "--quantize", "int8", "--calibrate", MNIST / "digits"]
    assert netdsl("compile", "lenet5", *how, "-o", "q.onnx").code == 0
    assert netdsl("compile", "lenet5", "--weights", "q.onnx", "--rename", "_quantized$", "", "-o", "m.onnx").code == 0
    before, after = open_weights(str(MNIST / "lenet5.safetensors")), open_weights("m.onnx")
    assert before.entries.keys() == after.entries.keys()
    for key in before.entries:
        a, b = before.read(key), after.read(key)
        assert 0 < np.abs(a - b).max() <= np.abs(a).max() / (5 if key.endswith("bias") else 127), key
