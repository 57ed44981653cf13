"""Eight bits: what int8 costs in accuracy, what is folded, and what calibration refuses."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from programs import flow

from netdsl.compile import compile_to_bytes
from netdsl.diagnostics.report import Report
from netdsl.frontend import load_net
from netdsl.quantize import CannotQuantize, fold, quantize
from tests.cli_tools import MNIST, Commands, netdsl, spawn

__all__ = ["netdsl"]

NET = "net n { input x 3; dense 4; relu; dense 2 }"


def images() -> np.ndarray:
    with gzip.open(MNIST / "t10k-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 1, 28, 28)


def labels() -> np.ndarray:
    with gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz") as file:
        return np.frombuffer(file.read()[8:], np.uint8)


def run(model: bytes | Path, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_lenet5_in_int8_names_the_digits(netdsl: Commands) -> None:
    np.save("hundred.npy", images()[:100])
    weights = MNIST / "lenet5.safetensors"
    line = [
        "compile",
        "lenet5",
        "--weights",
        weights,
        "--quantize",
        "int8",
        "--calibrate",
        "hundred.npy",
        "-o",
        "m.onnx",
    ]
    ran = netdsl(*line)
    assert ran.code == 0, ran
    size = Path("m.onnx").stat().st_size
    assert size < 246_824 / 3
    assert ran.err == f"m.onnx: {size:,} bytes, 61,706 parameters from {weights}, 50 nodes, opset 21, int8\n"
    onnx.checker.check_model("m.onnx", full_check=True)
    found = netdsl("run", "m.onnx", MNIST / "t10k-images-idx3-ubyte.gz", "-o", "o.npz", "--batch", 1000)
    assert found.code == 0
    with np.load("o.npz") as outputs:
        right = int((outputs["output"].argmax(1) == labels()).sum())
    assert right >= 9_880  # 9,923 on an x86 with VNNI; 9,921 in f32


def test_the_model_is_netdsls_and_its_nodes_have_their_places(netdsl: Commands) -> None:
    netdsl.write(n=NET)
    np.save("x.npy", np.ones((2, 3), np.float32))
    line = ["compile", "n.net", "--quantize", "int8", "--calibrate", "x.npy", "--metadata", "author=A"]
    for _ in range(2):  # the second replaces the first, which is ours
        assert netdsl(*line).code == 0
    model = onnx.load("n.onnx")
    known = {prop.key: prop.value for prop in model.metadata_props}
    assert (model.producer_name, known["author"], known["netdsl.quantized"]) == ("netdsl", "A", "int8")
    assert "onnx.infer" not in known
    places = [prop.value for node in model.graph.node for prop in node.metadata_props if prop.key == "netdsl.layer"]
    assert places == ["dense1", "dense2"]  # the ranges behind the relu begin at zero, which does its work
    types = {t.name: t.data_type for t in model.graph.initializer}
    assert types["dense1.weight_quantized"] == onnx.TensorProto.INT8
    scales = {t.name: tuple(t.dims) for t in model.graph.initializer if t.name.endswith("weight_scale")}
    assert scales == {"dense1.weight_scale": (4,), "dense2.weight_scale": (2,)}


@pytest.mark.parametrize("opset", [17, 18, 21, 26])
def test_every_kind_of_layer_is_quantised_or_left_alone(opset: int) -> None:
    body = """
        input x 3x16x16; normalize mean [0.5, 0.5, 0.5] std [0.2, 0.2, 0.2]
        conv 3x3 8; bn; relu; maxpool 2; lrn 3
        conv 3x3 16 groups 2; leaky_relu; groupnorm 4; avgpool 2
        skip { conv 3x3 16; bn; silu }
        flatten; dense 12; prelu; dense 5; softmax
    """
    net = flow(body.replace("\n", ";"))
    x = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)
    model = compile_to_bytes(net, opset=opset)
    made = quantize(model, [{"x": x}])
    onnx.checker.check_model(made, full_check=True)
    assert made.opset_import[0].version == opset
    np.testing.assert_allclose(run(made.SerializeToString(), x=x), run(model, x=x), atol=0.1)


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((2, 3, 64, 64), np.float32))
    found = set()
    for seed in "012":
        (tmp_path / "n.net").write_text(
            "net n { input image 3x64x64; conv 3x3 8; bn; relu\n"
            "concat { conv 1x1 4 } { conv 3x3 4 pad same; relu } { maxpool 3x3 stride 1 pad same }\n"
            "avgpool 8; dense 4; softmax }"
        )
        done = spawn(
            *("compile", "n.net", "--quantize", "int8", "--calibrate", "x.npy"), cwd=tmp_path, PYTHONHASHSEED=seed
        )
        assert done.returncode == 0, done.stderr
        found.add((tmp_path / "n.onnx").read_bytes())
    assert len(found) == 1


def test_resnet18_says_nearly_the_same() -> None:
    net = load_net("resnet18", Report(), settings=["classes=10"])
    x = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
    model = compile_to_bytes(net)
    made = quantize(model, [{"image": x[:2]}, {"image": x[2:]}])
    assert "BatchNormalization" not in kinds(made)
    exact, found = run(model, image=x), run(made.SerializeToString(), image=x)
    assert np.abs(found - exact).max() / np.abs(exact).max() < 0.1


# Folding


def weighted(net) -> onnx.ModelProto:
    """The net with batch norms that do something."""
    model = onnx.load_from_string(compile_to_bytes(net))
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.raw_data = rng.uniform(0.5, 2, tuple(tensor.dims)).astype("<f4").tobytes()
    return model


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("conv 3x3 4; bn; relu", ["Conv", "Relu"]),
        ("conv 3x3 4 bias off; bn eps 0.1; relu", ["Conv", "Relu"]),
        ("conv 3x3 6 groups 3; bn", ["Conv"]),
        ("flatten; dense 5; bn", ["Flatten", "Gemm"]),
        ("bn; conv 3x3 4", ["BatchNormalization", "Conv"]),
        ("conv 3x3 4; relu; bn", ["Conv", "Relu", "BatchNormalization"]),
        ("deconv 3x3 4; bn", ["ConvTranspose", "BatchNormalization"]),
        ("c: conv 3x3 4; bn; add c", ["Conv", "BatchNormalization", "Add"]),
        ("conv 3x3 4; bn; conv 1x1 4; bn", ["Conv", "Conv"]),
        ("conv 3x3 4; bn; bn", ["Conv"]),
    ],
)
def test_a_batch_norm_goes_into_what_is_before_it(body: str, left: list[str]) -> None:
    model = weighted(flow(f"input x 3x6x6; {body}"))
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6)).astype(np.float32)
    expected = run(model.SerializeToString(), x=x)
    fold(model)
    assert kinds(model) == left
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model.SerializeToString(), x=x), expected, rtol=1e-3, atol=1e-3)
    used = {name for node in model.graph.node for name in node.input}
    assert {t.name for t in model.graph.initializer} <= used
    assert all(numpy_helper.to_array(t).size for t in model.graph.initializer)


# What is refused


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("--quantize int8", 2, "error[E0641]: --quantize int8 needs examples"),
        ("--calibrate x.npy", 2, "error[E0641]: --calibrate goes with --quantize int8"),
        ("--quantize int8 --calibrate x.npy --dtype f16", 2, "--quantize int8 does not go with --dtype f16"),
        ("--quantize int8 --calibrate x.npy --external-data", 2, "does not go with --external-data"),
        ("--quantize int4 --calibrate x.npy", 2, "invalid choice: 'int4'"),
        ("--quantize int8 --calibrate none.npy", 2, "error[E0601]: there is no file none.npy"),
        ("--quantize int8 --calibrate n.net", 1, "error[E0801]"),
        ("--quantize int8 --calibrate wide.npy", 1, "error[E0802]: wide.npy holds 2x5"),
        ("--quantize int8 --calibrate x=x.npy", 0, ""),
        ("--quantize int8 --calibrate x.npy --batch 4", 0, ""),
        ("--quantize int8 --calibrate nan.npy", 1, "error[E0682]: the examples for `x` hold NaN or infinite numbers"),
        ("--quantize int8 --calibrate x.npy -o x.npy --force", 2, "error[E0613]: x.npy is read by this command"),
    ],
)
def test_calibration(netdsl: Commands, line: str, code: int, said: str) -> None:
    netdsl.write(n=NET)
    np.save("x.npy", np.ones((2, 3), np.float32))
    np.save("wide.npy", np.ones((2, 5), np.float32))
    np.save("nan.npy", np.array([[1, 2, 3], [1, np.nan, 3]], np.float32))
    before = {path.name: path.read_bytes() for path in netdsl.folder.iterdir()}
    ran = netdsl("compile", "n.net", *line.split())
    assert ran.code == code, ran
    assert said in ran.err
    assert code == 0 or {path.name: path.read_bytes() for path in netdsl.folder.iterdir()} == before


def test_a_folder_of_pictures_calibrates(netdsl: Commands) -> None:
    weights = MNIST / "lenet5.safetensors"
    line = ["compile", "lenet5", "--weights", weights, "--quantize", "int8", "--calibrate"]
    assert netdsl(*line, MNIST / "digits", "-o", "a.onnx").code == 0
    pictures = [word for path in sorted((MNIST / "digits").glob("*.png")) for word in ("--calibrate", path)]
    assert netdsl(*line[:-1], *pictures, "-o", "b.onnx").code == 0
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_what_becomes_nan_is_told() -> None:
    with pytest.raises(CannotQuantize, match="cannot be quantised: onnxruntime says"):
        quantize(compile_to_bytes(flow("input x 3; log; dense 4")), [{"x": -np.ones((1, 3), np.float32)}])


def test_inputs_of_different_lengths_are_told(netdsl: Commands) -> None:
    netdsl.write(n="net n { input a 3; input b 3; add a b; dense 2 }")
    np.save("a.npy", np.ones((2, 3), np.float32))
    np.save("b.npy", np.ones((3, 3), np.float32))
    line = ["compile", "n.net", "--quantize", "int8", "--calibrate", "a=a.npy"]
    assert "no data for b" in netdsl(*line).err
    assert "the inputs differ in length: a has 2, b has 3" in netdsl(*line, "--calibrate", "b=b.npy").err
    assert netdsl(*line, "--calibrate", "b=a.npy").code == 0


def test_the_log_is_as_it_was() -> None:
    before = logging.root.manager.disable
    with pytest.raises(CannotQuantize):
        quantize(compile_to_bytes(flow("input x 3; dense 4")), [{"x": np.ones((1, 4), np.float32)}])
    assert logging.root.manager.disable == before
