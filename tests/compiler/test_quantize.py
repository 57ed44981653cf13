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

from netdsl.app.frontend import load_net
from netdsl.backend.compile import CompileOptions, compile_to_bytes
from netdsl.backend.quantize import CannotQuantize, NoRange, fold, quantize, round_weights, transpose_weights
from netdsl.diagnostics.report import Report
from tests.support.cli_tools import MNIST, Commands, netdsl, spawn
from tests.support.programs import flow

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
    assert right >= 9_880  # 9,925 on an x86 with VNNI; 9,921 in f32


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
    model = compile_to_bytes(net, CompileOptions(opset=opset))
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
        ("--quantize int8", 2, "error[E0641]: --quantize int8 needs --calibrate"),
        ("--calibrate x.npy", 2, "error[E0641]: --calibrate needs --quantize int8"),
        ("--quantize int8 --calibrate x.npy --dtype f16", 2, "--quantize int8 cannot be combined with --dtype f16"),
        ("--quantize int8 --calibrate x.npy --external-data", 2, "cannot be combined with --external-data"),
        ("--quantize int4 --calibrate x.npy", 2, "invalid choice: 'int4'"),
        ("--quantize int8 --calibrate none.npy", 2, "error[E0601]: there is no file none.npy"),
        ("--quantize int8 --calibrate n.net", 1, "error[E0801]"),
        ("--quantize int8 --calibrate wide.npy", 1, "error[E0802]: wide.npy is 2x5"),
        ("--quantize int8 --calibrate x=x.npy", 0, ""),
        ("--quantize int8 --calibrate x.npy --batch 4", 0, ""),
        ("--quantize int8 --calibrate nan.npy", 1, "error[E0682]: the examples for `x` contain NaN or infinity"),
        ("--quantize int8 --calibrate x.npy -o x.npy --force", 2, "error[E0613]: x.npy is an input of this command"),
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
    with pytest.raises(CannotQuantize, match="computes NaN or infinity from the examples"):
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


# CPUs without VNNI


def own_scheme(layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray, levels: int = 127) -> np.ndarray:
    """Dense layers with a relu between them, in exact integers: weights by channel, activations by their range here."""

    def grid(value: np.ndarray) -> tuple[float, int]:
        low, high = min(0, value.min()), max(0, value.max())
        scale = (high - low) / 255
        return scale, round(-low / scale)

    def codes(value: np.ndarray, scale: float, zero: int) -> np.ndarray:
        return np.clip(np.rint(value / scale) + zero, 0, 255).astype(np.int64)

    exact, (scale, zero) = x, grid(x)
    q = codes(x, scale, zero)
    for at, (weight, bias) in enumerate(layers):
        steps = np.abs(weight).max(axis=1) / levels
        ints = np.rint(weight / steps[:, None]).astype(np.int64)
        y = ((q - zero) @ ints.T + np.rint(bias / (scale * steps))) * (scale * steps)
        exact = exact @ weight.T + bias
        if at < len(layers) - 1:
            y, exact = np.maximum(y, 0), np.maximum(exact, 0)
        scale, zero = grid(exact)
        q = codes(y, scale, zero)
    return (q - zero) * scale


def saturating(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """A model of dense layers as AVX2's vpmaddubsw computes it: sums of two products saturate at 16 bits."""
    values: dict[str, np.ndarray] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | {"x": x}
    codes: dict[str, tuple[np.ndarray, ...]] = {}
    for node in model.graph.node:
        given = [values[name] for name in node.input]
        (name,) = node.output
        if node.op_type == "QuantizeLinear":
            y, scale, zero = given
            values[name] = np.clip(np.rint(y / scale) + int(zero), -128, 127).astype(np.int64)
        elif node.op_type == "DequantizeLinear":
            q, scale, zero = given
            codes[name] = q.astype(np.int64), scale.astype("f8"), zero.astype(np.int64)
            side = (-1, *(1,) * (q.ndim - 1)) if scale.ndim else ()
            values[name] = (q - zero.reshape(side).astype(np.int64)) * scale.astype("f8").reshape(side)
        elif node.op_type == "Gemm":
            (q, scale, zero), (weight, steps, _), _ = (codes[n] for n in node.input)
            products = (q + 128)[:, None, :] * weight[None]
            if products.shape[2] % 2:
                products = np.pad(products, [(0, 0), (0, 0), (0, 1)])
            sums = np.clip(products[:, :, ::2] + products[:, :, 1::2], -32768, 32767).sum(axis=2)
            values[name] = (sums - (128 + zero) * weight.sum(axis=1)) * (scale * steps) + given[2]
        else:
            assert node.op_type in ("Relu", "Flatten"), node.op_type
            values[name] = np.maximum(given[0], 0) if node.op_type == "Relu" else given[0]
    return values[model.graph.output[0].name]


def error(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.sqrt(((found - right) ** 2).mean() / (right**2).mean()))


def parameters(model: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    tensors = {t.name: numpy_helper.to_array(t).astype("f8") for t in onnx.load_from_string(model).graph.initializer}
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    return [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]


@pytest.mark.parametrize(
    "body", ["dense 64; relu; dense 10", "dense 96; relu; dense 65; relu; dense 33; relu; dense 17"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_cpu_loses_more_than_the_scheme(body: str, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((200, 33)).astype("f4")
    model = compile_to_bytes(flow(f"input x 33; {body}"), CompileOptions(seed=seed))
    exact = run(model, x=x)
    own = error(own_scheme(parameters(model), x.astype("f8")), exact)
    made = quantize(model, [{"x": x[:50]}, {"x": x[50:]}])
    assert error(run(made.SerializeToString(), x=x), exact) <= 1.5 * own
    assert error(saturating(made, x), exact) <= 1.5 * own


def test_the_model_of_saturation_saturates(tmp_path: Path) -> None:
    """Weights of the full range lose what the report of a CPU without VNNI says: a tenth, and more."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Examples(CalibrationDataReader):
        left = 1

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return {"x": x} if self.left == 0 else None

    x = np.random.default_rng(0).standard_normal((100, 32)).astype("f4")
    model = compile_to_bytes(flow("input x 32; dense 64; relu; dense 10"))
    (tmp_path / "model.onnx").write_bytes(model)
    quantize_static(
        tmp_path / "model.onnx", tmp_path / "full.onnx", Examples(), per_channel=True, weight_type=QuantType.QInt8
    )
    assert error(saturating(onnx.load(tmp_path / "full.onnx"), x), run(model, x=x)) > 0.05


@pytest.mark.parametrize(
    "body",
    [
        *(
            "conv 3x3 7; relu; conv 1x1 5",
            "dwconv 3x3; conv 1x1 5",
            "conv 3x3 6 groups 3 bias off",
            "deconv 4x4 6 stride 2",
        ),
        *("deconv 4x4 6 stride 2 groups 3; relu", "flatten; dense 9; relu; dense 1", "a: conv 3x3 3; relu; reuse a"),
        *("conv 3x3 4 init zeros; conv 1x1 5", "conv 3x3 4 init constant(0.3); conv 1x1 5", "conv 1x1 1"),
    ],
)
def test_pairs_of_weights_fit_16_bits(body: str) -> None:
    net = flow(f"input x 3x6x6; {body}")
    x = np.random.default_rng(0).standard_normal((9, 3, 6, 6)).astype("f4")
    model = compile_to_bytes(net)
    made = quantize(model, [{"x": x}])
    kernels = {node.output[0]: node.input for node in made.graph.node if node.op_type == "DequantizeLinear"}
    tensors = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    weighted = [node for node in made.graph.node if node.input[1:] and node.input[1] in kernels]
    assert {node.op_type for node in weighted} <= {"Conv", "Gemm", "ConvTranspose"}
    assert weighted
    for node in weighted:
        weight = tensors[kernels[node.input[1]][0]].astype(np.int64)
        axis = int(node.op_type == "ConvTranspose")
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
        largest = np.sort(np.concatenate([np.maximum(rows, 0), np.zeros_like(rows[:, :1])], 1), axis=1)[:, -2:]
        smallest = np.sort(np.concatenate([np.minimum(rows, 0), np.zeros_like(rows[:, :1])], 1), axis=1)[:, :2]
        assert (255 * largest.sum(axis=1)).max() <= 32767
        assert (255 * smallest.sum(axis=1)).min() >= -32768
    exact = run(model, x=x)
    assert np.abs(run(made.SerializeToString(), x=x) - exact).max() <= 0.06 * np.abs(exact).max()


# Ranges that are a point


@pytest.mark.parametrize(
    "body",
    [
        "conv 3x3 8 bias_init constant(-100); relu; conv 1x1 4 bias_init ones",
        "conv 3x3 8 bias_init constant(-100); relu6; conv 1x1 4 bias_init ones",
        "conv 3x3 8 bias_init constant(-100); clip 0 1; conv 1x1 4 bias_init ones",
        "conv 3x3 8; clip 2 3; conv 1x1 4",
        "conv 3x3 8; clip (-3) (-2); conv 1x1 4",
        "conv 3x3 8; clip 0 0; conv 1x1 4 bias_init ones",
        "conv 3x3 8; clip (-1) 1; conv 1x1 4",
        "conv 3x3 8 bias_init constant(-100); leaky_relu; conv 1x1 4",
        "conv 3x3 8 bias_init constant(-100); sigmoid; conv 1x1 4 bias_init ones",
        "conv 3x3 8 bias_init constant(100); tanh; conv 1x1 4",
        "conv 3x3 8 init zeros; relu; conv 1x1 4 bias_init constant(0.3)",
        "conv 3x3 8 init zeros bias_init constant(2); relu; conv 1x1 4",
        "scale 0; relu; conv 1x1 4 bias_init ones",
        "conv 3x3 8 bias_init constant(-100); relu; maxpool 2; flatten; dense 4 bias_init ones",
        "a: conv 3x3 8 bias_init constant(-100); relu; add { conv 1x1 8 } { conv 3x3 8 }",
        "pad 1 value 100; conv 3x3 4",
    ],
)
def test_activations_without_a_range_stay_what_they_are(body: str) -> None:
    x = np.random.default_rng(0).standard_normal((9, 3, 6, 6)).astype("f4")
    model = compile_to_bytes(flow(f"input x 3x6x6; {body}"))
    exact, found = run(model, x=x), run(quantize(model, [{"x": x}]).SerializeToString(), x=x)
    assert np.abs(found - exact).max() <= 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    "body",
    [
        "conv 1x1 4 bias_init ones",
        "conv 3x3 4 bias_init ones",
        "dense 4 bias_init ones",
        "dwconv 3x3 bias on bias_init ones",
        "deconv 2x2 4 stride 2 bias_init ones",
        "maxpool 2x2; conv 1x1 4 bias_init ones",
        "add { conv 3x3 8 bias_init constant(-90.0); relu } { }; conv 1x1 4 bias_init ones",
        "concat { conv 3x3 8 bias_init constant(-90.0); relu } { }; conv 1x1 4 bias_init ones",
    ],
)
def test_a_bias_after_a_dead_activation_is_exact(body: str) -> None:
    """The scale of an int32 bias is that of the inputs times that of the weights; inputs of 0 have none."""
    x = np.random.default_rng(0).standard_normal((9, 3, 8, 8)).astype("f4")
    model = compile_to_bytes(flow(f"input x 3x8x8; conv 3x3 8 bias_init constant(-100.0); relu; {body}"))
    assert (run(model, x=x) == 1).all()
    assert (run(quantize(model, [{"x": x}]).SerializeToString(), x=x) == 1).all()


@pytest.mark.parametrize("kind", ["f32", "u8"])
def test_examples_of_zeros_are_refused(kind: str) -> None:
    x = np.zeros((4, 3), {"f32": "f4", "u8": "u1"}[kind])
    with pytest.raises(NoRange, match="the examples for `x` are all 0"):
        quantize(compile_to_bytes(flow(f"input x 3 dtype {kind}; dense 4")), [{"x": x}])


def test_constant_examples_are_a_range() -> None:
    x = np.full((4, 3), -7, "f4")
    model = compile_to_bytes(flow("input x 3; dense 4"))
    exact = run(model, x=x)
    found = run(quantize(model, [{"x": x}]).SerializeToString(), x=x)
    np.testing.assert_allclose(found, exact, atol=0.03 * np.abs(exact).max())


def test_words_have_no_range() -> None:
    words = np.zeros((2, 5), np.int64)
    model = compile_to_bytes(flow("input x 5 dtype i64; embedding 9 4; conv 1 3"))
    exact = run(model, x=words)
    found = run(quantize(model, [{"x": words}]).SerializeToString(), x=words)
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("body", "scale"),
    [
        ("exp; dense 4", 1e4),
        ("dense 4 init constant(1e30)", 1e9),
        ("log; relu; dense 4", -1.0),
        ("dense 4; sqrt; dense 2", -1.0),
    ],
)
def test_what_is_not_finite_is_told(body: str, scale: float) -> None:
    with pytest.raises(CannotQuantize):
        quantize(compile_to_bytes(flow(f"input x 3; {body}")), [{"x": np.full((2, 3), scale, "f4")}])


def test_examples_too_small_for_a_scale_are_refused() -> None:
    with pytest.raises(NoRange, match="closer to it than 3e-36"):
        quantize(compile_to_bytes(flow("input x 3; dense 4")), [{"x": np.full((2, 3), 1e-37, "f4")}])


SEQUENCE = np.random.default_rng(0).standard_normal((64, 32, 20)).astype(np.float32) + 1


@pytest.mark.parametrize("statements", ["linear 64; relu; linear 8", "linear 64 bias off; gelu; linear 8 bias off"])
def test_products_with_sequences_have_int8_weights(statements: str) -> None:
    model = compile_to_bytes(flow(f"input x 32x20; {statements}"))
    made = quantize(model, [{"x": each} for each in np.split(SEQUENCE, 4)])
    weights = [tensor for tensor in made.graph.initializer if len(tensor.dims) == 2]
    assert [tensor.data_type for tensor in weights] == [onnx.TensorProto.INT8] * 2
    exact, found = run(model, x=SEQUENCE), run(made.SerializeToString(), x=SEQUENCE)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.03 * exact.std()


@pytest.mark.parametrize("statements", ["linear 8", "linear 8 bias off", "linear 8 bias off; gelu; linear 4"])
def test_rounded_products_with_sequences_have_the_mean_of_the_exact_ones(statements: str, tmp_path: Path) -> None:
    model = compile_to_bytes(flow(f"input x 32x20; {statements}"))
    rounded = onnx.load_from_string(model)
    transpose_weights(rounded)
    round_weights(rounded, [{"x": SEQUENCE}], str(tmp_path))
    onnx.checker.check_model(rounded, full_check=True)
    exact, found = run(model, x=SEQUENCE), run(rounded.SerializeToString(), x=SEQUENCE)
    assert not np.array_equal(found, exact)
    if statements.count("linear") == 1:
        assert np.abs((found - exact).mean(axis=(0, 2))).max() < 1e-6 * exact.std()


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("length", [6, 8])
@pytest.mark.parametrize(
    "body",
    [
        "dtype i64; a: embedding 8 8; linear 8; linear 8 tied a",
        "dtype i64; a: embedding 8 8; flatten; dense 8; dense 8 tied a",
        "dtype f32; dense 8; relu; a: dense 8; dense 8 tied a",
    ],
)
def test_tied_weights_are_int8_and_lookups_in_them_right(body: str, length: int, opset: int) -> None:
    proto = onnx.load_from_string(compile_to_bytes(flow(f"input x {length} {body}"), CompileOptions(opset=opset)))
    (shared,) = (tensor for tensor in proto.graph.initializer if tensor.name == "a.weight")
    shared.raw_data = (numpy_helper.to_array(shared) * np.array([[0.01]] + [[1]] * 7, "f4")).tobytes()
    model = proto.SerializeToString()
    x = np.random.default_rng(0).integers(0, 8, (64, length)).astype("i8" if "i64" in body else "f4")
    made = quantize(model, [{"x": x}])
    weights = [tensor for tensor in made.graph.initializer if len(tensor.dims) == 2]
    assert [tensor.data_type for tensor in weights] == [onnx.TensorProto.INT8] * 2
    exact, found = run(model, x=x), run(made.SerializeToString(), x=x)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.03 * exact.std()
