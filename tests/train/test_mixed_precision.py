"""`dtype bf16` and `dtype f16`: steps against NumPy with its own rounding, loss scaling, and what stays in f32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.reference
import pytest

import netdsl
from netdsl.app.frontend import load_recipe
from netdsl.backend import providers
from netdsl.backend.session import FellBack, Session
from netdsl.base.dtypes import bfloat16_bits
from netdsl.base.user_error import UserError
from netdsl.cli import main
from netdsl.diagnostics.report import Report
from netdsl.ir.graph import HALVES
from netdsl.ops.convolution import Conv, ConvTranspose
from netdsl.ops.elementwise import Cast
from netdsl.ops.indexing import Gather, Pad, Slice
from netdsl.ops.linear import Gemm, MatMul
from netdsl.ops.scanning import Scan
from netdsl.ops.shaping import Reshape, Transpose
from netdsl.train.export import step_to_bytes
from netdsl.train.loss_scale import GOOD_STEPS, LOSS_SCALE, SKIPPED_STEPS, NoScale
from netdsl.train.prepare import prepare
from netdsl.train.runner import Choices, Runner, initial_state
from netdsl.train.start import initial_weights
from netdsl.train.step import portable, training_step
from netdsl.weights.safetensors import SafetensorsWeights

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph

    Arrays = dict[str, np.ndarray]

EMULATED: dict[str, Any] = {"step_backend": "plain", "threads": 1, "emulate": True}
DIGITS = Path(__file__).parents[2] / "examples" / "mnist"

NETS = {
    "dense": "input x 5; dense 6; tanh; dense 3",
    "conv_bn": "input x 2x6x6; conv 3x3 4 stride 2 bias off; bn; relu; conv 3x3 3; global_avgpool; flatten; dense 3",
    "groups": "input x 4x6x6; conv 3x3 4 groups 4; relu; conv 3x3 8 groups 2; maxpool 2x2; flatten; dense 3",
    "recurrent": "input x 3x5; lstm 4; m: gru 3 bidirectional on; state m; dense 3",
    "transformer": "input x 4x3; linear 12; attention 2 causal on; linear 6; layernorm; gelu; flatten; dense 3",
    "deconv": "input x 2x3x3; deconv 2x2 3 stride 2; prelu; flatten; dense 3",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest number of so many bits, and the even one of two."""
    fraction, exponent = np.frexp(x.astype("f8"))
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits).astype("f4")


ROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bf16": lambda x: rounded(x, 8),
    "f16": lambda x: x.astype("f2").astype("f4"),
}


def write(net: str, lines: str, loss: str = "cross_entropy", data: str = "xor") -> str:
    Path("a.net").write_text(f"net a {{ {net} }}\ntrain a {{ data {data}; loss {loss}; {lines} }}\n")
    return "a.net"


def read(net: str, lines: str, loss: str = "cross_entropy") -> Recipe:
    report = Report()
    found = load_recipe(write(net, lines, loss), report)
    assert found is not None, list(report)
    return found


def runner_of(recipe: Recipe, weights: Arrays | None = None) -> Runner:
    graph = training_step(recipe.net, recipe)
    found = weights or initial_weights(recipe.net, recipe.seed, None)
    return prepare(graph, initial_state(graph, dict(found)), Choices("plain", 1, emulated=recipe.dtype != "f32"))


def fed(x: np.ndarray, target: np.ndarray, rate: float = 0.5) -> Arrays:
    return {"x": x, "target": target, "rate": np.array(rate, "f4")}


@pytest.mark.parametrize("dtype", HALVES)
def test_a_step_of_a_perceptron_is_that_of_numpy(dtype: str) -> None:
    r = ROUND[dtype]
    recipe = read("input x 7; dense 6; relu; dense 3", f"optimizer sgd lr 1 momentum 0.9; batch 8; dtype {dtype}")
    runner = runner_of(recipe)
    before, rng = runner.state(), np.random.default_rng(1)
    x, target = rng.standard_normal((8, 7)).astype("f4"), rng.integers(0, 3, 8)
    runner.step(fed(x, target))
    w1, b1, w2, b2 = (before[f"dense{i}.{part}"] for i in (1, 2) for part in ("weight", "bias"))
    h = np.maximum(r(r(x) @ r(w1).T) + b1, 0)
    y = r(r(h) @ r(w2).T) + b2
    p = np.exp(y - y.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[range(8), target]).mean()
    scale = np.float32(2**16 if dtype == "f16" else 1)
    dy = (p - np.eye(3, dtype="f4")[target]) / np.float32(8) * scale
    dh = r(r(dy) @ r(w2)) * (h > 0)
    expected = {
        "dense2.weight": r(r(dy).T @ r(h)),
        "dense2.bias": dy.sum(0),
        "dense1.weight": r(r(dh).T @ r(x)),
        "dense1.bias": dh.sum(0),
    }
    after = runner.state()
    np.testing.assert_allclose(runner.result("loss"), loss, rtol=1e-6)
    np.testing.assert_allclose(runner.result("output"), y, rtol=1e-6, atol=1e-6)
    for name, gradient in expected.items():
        np.testing.assert_allclose(after[f"{name}.velocity"], gradient / scale, rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(after[name], before[name] - 0.5 * gradient / scale, rtol=1e-6, atol=1e-7)
        assert after[name].dtype == np.float32


def convolved(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("nchwij,ocij->nohw", seen, w, dtype="f4").astype("f4")


@pytest.mark.parametrize("dtype", HALVES)
def test_a_step_of_a_convolution_is_that_of_numpy(dtype: str) -> None:
    r = ROUND[dtype]
    net = "input x 2x5x5; conv 3x3 4 pad 0; tanh; conv 3x3 3 pad 0"
    runner = runner_of(read(net, f"optimizer sgd lr 1; batch 2; dtype {dtype}", "mse weight 1/128"))
    before, rng = runner.state(), np.random.default_rng(2)
    x, target = (rng.standard_normal(shape).astype("f4") for shape in ((2, 2, 5, 5), (2, 3, 1, 1)))
    runner.step(fed(x, target))
    w1, b1, w2, b2 = (before[f"conv{i}.{part}"] for i in (1, 2) for part in ("weight", "bias"))
    h = np.tanh(r(convolved(r(x), r(w1))) + b1[:, None, None])
    y = r(convolved(r(h), r(w2))) + b2[:, None, None]
    scale = np.float32(2**16 if dtype == "f16" else 1)
    dy = 2 * (y - target) / np.float32(y.size) * (scale / 128)
    dh = r(np.einsum("noij,ocij->ncij", np.broadcast_to(r(dy), (2, 3, 3, 3)), r(w2), dtype="f4"))
    dz = (dh * (1 - h * h)).astype("f4")
    dw1 = convolved(r(x).swapaxes(0, 1), r(dz).swapaxes(0, 1)).swapaxes(0, 1)
    expected = {
        "conv2.weight": r(np.einsum("nohw,ncij->ocij", r(dy), r(h))),
        "conv2.bias": dy.sum((0, 2, 3)),
        "conv1.weight": r(dw1),
        "conv1.bias": dz.sum((0, 2, 3)),
    }
    after = runner.state()
    np.testing.assert_allclose(runner.result("output"), y, rtol=1e-6, atol=1e-6)
    for name, gradient in expected.items():
        np.testing.assert_allclose(before[name] - after[name], 0.5 * gradient / scale, rtol=1e-4, atol=1e-6)


MULTIPLY = (Conv, ConvTranspose, Gemm, MatMul)
MOVE = (Cast, Reshape, Transpose, Slice, Gather, Pad)


def types(graph: Graph) -> dict[type, set[str]]:
    """The element types in which each kind of operation of a graph and its bodies computes."""
    found: dict[type, set[str]] = {}
    for operation in graph.operations:
        if isinstance(operation.op, Scan):
            for op, each in types(operation.op.body).items():
                found.setdefault(op, set()).update(each)
        else:
            found.setdefault(type(operation.op), set()).update(x.dtype for x in operation.inputs)
    return found


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("net", NETS)
def test_products_are_computed_in_the_type_and_all_else_in_f32(net: str, dtype: str) -> None:
    lines = "optimizer adamw lr 0.1 decay 0.1 clip 1; average 0.9"
    recipe = read(NETS[net], f"{lines}; batch 4; dtype {dtype}")
    found = types(portable(training_step(recipe.net, recipe)))
    assert not found.keys().isdisjoint(MULTIPLY)
    for op, dtypes in found.items():
        if op in MULTIPLY and not (op is MatMul and net == "transformer"):  # of the sums of a normalization
            assert dtypes == {dtype}, op
        elif op not in (*MULTIPLY, *MOVE):
            assert dtypes.isdisjoint(HALVES), op


MORE = {
    "adam": "optimizer adam lr 0.01; batch 8",
    "accumulated": "optimizer adamw lr 0.01 decay 0.1 clip 0.05; average 0.9; batch 4; accumulate 2",
    "shards": "optimizer sgd lr 0.1 momentum 0.9; batch 8; shards 2; bn sync on",
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("lines", MORE)
@pytest.mark.parametrize("net", ["conv_bn", "recurrent", "transformer"])
def test_a_training_is_near_that_in_f32(net: str, lines: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    shape = {"conv_bn": (2, 6, 6), "recurrent": (3, 5), "transformer": (4, 3)}[net]
    data = rng.standard_normal((16, *shape)).astype("f4"), rng.integers(0, 3, 16)
    file = write(NETS[net], f"{MORE[lines]}; epochs 1; seed 1")
    f32 = netdsl.fit(file, data=data, threads=1, step_backend="plain")
    half = netdsl.fit(file, data=data, settings={"train.dtype": dtype}, **EMULATED)
    assert half.history[-1]["loss"] == pytest.approx(f32.history[-1]["loss"], rel=0.02)
    assert any((half.weights[name] != f32.weights[name]).any() for name in f32.weights)
    for name, array in f32.weights.items():
        np.testing.assert_allclose(half.weights[name], array, atol=0.03, err_msg=name)


SLOPE = "input x 1; dense 1 bias off"
"""With `mse` and one example, the gradient of the output is 2 (w x - t)."""


def test_a_step_with_infinite_gradients_is_skipped_with_half_the_scale_next() -> None:
    """A model of GradScaler over random targets, some of which overflow f16."""
    recipe = read(SLOPE, "optimizer sgd lr 1 momentum 0.5; batch 1; average 0.5; dtype f16", "mse")
    runner, rng, x = runner_of(recipe), np.random.default_rng(0), np.ones((1, 1), "f4")
    scale, skipped, skips = 2.0**16, 0, []
    for step in range(40):
        before = runner.state()
        target = np.array([[4.0 ** rng.integers(-4, 5)]], "f4")
        runner.step(fed(x, target, 2**-6))
        after = runner.state()
        slope = 2 * (np.float32(np.float16(before["dense1.weight"][0, 0])) - target[0, 0]) * scale
        skips.append(bool(np.isinf(np.float16(slope))))
        if skips[-1]:
            scale, skipped = scale / 2, skipped + 1
            for name in ("dense1.weight", "dense1.weight.velocity", "dense1.weight.average"):
                assert after[name] == before[name], name
        else:
            assert after["dense1.weight"] != before["dense1.weight"]
        assert (after[LOSS_SCALE], after[SKIPPED_STEPS], after["step"]) == (scale, skipped, step + 1)
    assert 3 < sum(skips) < 37


def test_the_scale_doubles_after_2000_steps_with_finite_gradients() -> None:
    runner, x = runner_of(read(SLOPE, "batch 1; dtype f16", "mse weight 1/1024")), np.ones((1, 1), "f4")
    runner.restore(runner.state() | {GOOD_STEPS: np.array(1997, "f4")})
    seen = []
    for target in (0, 0, 0, 0, 1e6, 0):
        runner.step(fed(x, np.array([[target]], "f4"), 0.0))
        state = runner.state()
        seen.append((float(state[LOSS_SCALE]) / 2**16, int(state[GOOD_STEPS])))
    assert seen == [(1, 1998), (1, 1999), (2, 0), (2, 1), (1, 0), (1, 1)]


def test_a_skipped_step_does_not_count_in_the_correction_of_adam() -> None:
    recipe, x = read(SLOPE, "optimizer adam lr 1; batch 1; dtype f16", "mse"), np.ones((1, 1), "f4")
    first, second = runner_of(recipe), runner_of(recipe)
    first.step(fed(x, np.array([[1e6]], "f4")))
    for runner in (first, second):
        runner.step(fed(x, np.array([[0.1]], "f4")))
    names = [name for name in second.state() if name.startswith("dense1.weight")]
    assert len(names) == 3
    assert [first.state()[name] for name in names] == [second.state()[name] for name in names]


def test_gradients_that_no_scale_makes_finite_end_the_run() -> None:
    """The gradient of the square root of 0 is infinite, and the loss is not."""
    write("input x 2; dense 1 bias off; sqrt", "batch 4; epochs 20", "mse")
    data = np.zeros((16, 2), "f4"), np.zeros((16, 1), "f4")
    with pytest.raises(NoScale, match=r"at step 33, with a loss scale of 7\.62939e-06"):
        netdsl.fit("a.net", data=data, settings={"train.dtype": "f16"}, **EMULATED)


@pytest.mark.parametrize("lines", ["dtype f16", "dtype bf16; accumulate 2", "dtype f16; shards 2; average 0.9"])
def test_a_resumed_run_has_the_same_bits(lines: str) -> None:
    """Targets of 1e4 make steps of f16 overflow at first."""
    rng = np.random.default_rng(3)
    data = rng.standard_normal((24, 4)).astype("f4"), 1e4 * rng.standard_normal((24, 1)).astype("f4")
    file = write("input x 4; dense 8; relu; dense 1", f"optimizer adam lr 0.01; batch 4; {lines}", "mse")
    whole = netdsl.fit(file, data=data, settings={"train.epochs": 4}, out="whole", **EMULATED)
    netdsl.fit(file, data=data, settings={"train.epochs": 2}, out="parts", **EMULATED)
    resumed = netdsl.fit(file, data=data, settings={"train.epochs": 4}, out="parts", resume=True, **EMULATED)
    for name, array in whole.weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(resumed.weights[name], array)
    for name in ("metrics.csv", "metrics.jsonl", "last.safetensors"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes(), name
    last = json.loads(Path("whole/metrics.jsonl").read_text().splitlines()[-1])
    if "f16" in lines.replace("bf16", ""):
        assert last["skipped"] > 0
        assert last["loss_scale"] == 2.0 ** (16 - last["skipped"])
        (checkpoint,) = Path("whole/checkpoints").iterdir()
        assert SafetensorsWeights(str(checkpoint)).read(LOSS_SCALE) == last["loss_scale"]
    else:
        assert not last.keys() & {"skipped", "loss_scale"}


@pytest.mark.parametrize("dtype", HALVES)
def test_digits_are_learned_as_well_as_in_f32(dtype: str) -> None:
    net = "input image 1x28x28; scale 1/255; dense 32; relu; dense 10"
    lines = "validate 0.2; optimizer sgd lr 0.1 momentum 0.9; batch 100; epochs 1"
    file = write(net, lines, data=f'mnist "{DIGITS.as_posix()}" split test')
    f32 = netdsl.fit(file, threads=1, step_backend="plain")
    half = netdsl.fit(file, settings={"train.dtype": dtype}, **EMULATED)
    accuracy = "validation_accuracy"
    assert abs(half.history[-1][accuracy] - f32.history[-1][accuracy]) < 0.01
    assert f32.history[-1][accuracy] > 0.85


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("net", NETS)
def test_a_compiled_step_is_valid_onnx(net: str, dtype: str) -> None:
    recipe = read(NETS[net], f"batch 4; dtype {dtype}")
    model = onnx.load_model_from_string(step_to_bytes(recipe, opset=22))
    onnx.checker.check_model(model, full_check=True)
    assert json.loads({p.key: p.value for p in model.metadata_props}["netdsl.training"])["dtype"] == dtype
    kinds = {each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)}
    assert kinds.isdisjoint({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})


def test_a_compiled_step_computes_what_training_does() -> None:
    """In onnx's reference, which multiplies f16 in NumPy."""
    recipe = read(NETS["dense"], "optimizer adam lr 0.01; batch 4; dtype f16")
    runner = runner_of(recipe)
    model = onnx.load_model_from_string(step_to_bytes(recipe))
    rng = np.random.default_rng(0)
    feeds = fed(rng.standard_normal((4, 5)).astype("f4"), rng.integers(0, 3, 4))
    given = runner.state() | feeds
    runner.step(feeds)
    reference = onnx.reference.ReferenceEvaluator(model)
    names = [each.name for each in model.graph.output]
    found = dict(zip(names, reference.run(None, given), strict=True))
    for name, expected in runner.state().items():
        np.testing.assert_allclose(found[f"{name}.next"], expected, rtol=2e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["f32", *HALVES])
def test_the_option_of_a_compiled_step_overrides_the_file(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for given in ("f32", *HALVES):
        file = write(NETS["dense"], f"batch 4; dtype {given}")
        assert main(["compile", file, "--training", "--dtype", dtype, "-o", f"{given}.onnx", "--format", "text"]) == 0
        files.append(onnx.load(f"{given}.onnx").graph.SerializeToString())
    assert len(set(files)) == 1
    capsys.readouterr()


def test_f32_is_the_default_to_the_byte() -> None:
    default, explicit = (read(NETS["conv_bn"], f"batch 4{more}") for more in ("", "; dtype f32"))
    assert "dtype" not in default.text
    assert default.text == explicit.text
    one, other = (onnx.load_model_from_string(step_to_bytes(each)).graph for each in (default, explicit))
    assert one.SerializeToString() == other.SerializeToString()


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ({"settings": {"train.dtype": "f16"}}, "E0936", "the provider `cpu` does not compute in f16"),
        ({"settings": {"train.dtype": "bf16"}}, "E0936", "the provider `cpu` does not compute in bf16"),
        ({"emulate": True}, "E0937", "the training is in f32"),
        (
            {"settings": {"train.dtype": "bf16"}, "emulate": True, "step_backend": "nchwc"},
            "E0937",
            "`nchwc` computes in f32, but the training has `dtype bf16`",
        ),
    ],
)
def test_what_cannot_be_computed_in_a_type_is_refused(how: dict[str, Any], code: str, said: str) -> None:
    write(NETS["dense"], "batch 4; epochs 1")
    with pytest.raises(UserError, match=said) as caught:
        netdsl.fit("a.net", data=(np.zeros((8, 5), "f4"), np.zeros(8, int)), threads=1, **how)
    assert caught.value.code == code
    assert caught.value.helps


def test_convolutions_in_bf16_need_a_newer_opset() -> None:
    recipe = read(NETS["conv_bn"], "batch 4; dtype bf16")
    with pytest.raises(UserError, match="requires opset 22 or newer, not 21") as caught:
        step_to_bytes(recipe)
    assert caught.value.code == "E0938"


def test_attacks_have_no_loss_scale() -> None:
    report = Report()
    load_recipe(write(NETS["dense"], "augment fgsm 0.1; dtype f16; batch 4"), report)
    assert [problem.code for problem in report] == ["E0425"]
    assert read(NETS["dense"], "augment fgsm 0.1; dtype bf16; batch 4").dtype == "bf16"


def test_half_precision_is_not_left_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that takes some nodes, and is allowed to leave others to the CPU."""

    class Node:
        def __init__(self, op_type: str) -> None:
            self.op_type, self.name = op_type, "n"

    class Part:
        def __init__(self, name: str, *types: str) -> None:
            self.ep_name, self.types = name, types

        def get_nodes(self) -> list[Node]:
            return [Node(each) for each in self.types]

    class Native:
        def get_providers(self) -> list[str]:
            return ["FakeExecutionProvider", "CPUExecutionProvider"]

        def get_provider_graph_assignment_info(self) -> list[Part]:
            return [Part("FakeExecutionProvider", "Add"), Part("CPUExecutionProvider", "Conv", "Det")]

    monkeypatch.setattr("netdsl.backend.session.choose", lambda _: ("fake", "FakeExecutionProvider", {}, None))
    monkeypatch.setattr(Session, "_open", lambda *_: Native())
    with pytest.raises(FellBack, match="a: fake leaves Conv to the CPU, which computes in f32"):
        Session(b"", name="a", provider="fake", allow_fallback=True, never_left={"Conv", "Gemm"})


def test_bits_of_bfloat16_are_rounded_to_the_nearest_even_number() -> None:
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        numbers = rng.integers(0, 2**32, 5000, dtype=np.uint32).view("f4")
    numbers = np.concatenate([numbers[np.isfinite(numbers) & (np.abs(numbers) > 1e-37)], [1, 1.00390625, 1.01171875]])
    bits = bfloat16_bits(numbers.astype("f4"))
    np.testing.assert_array_equal((bits.astype("u4") << 16).view("f4"), rounded(numbers.astype("f4"), 8))
    assert bfloat16_bits(np.array([np.nan, np.inf, -np.inf], "f4")).tolist() == [0x7FC0, 0x7F80, 0xFF80]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("net", ["dense", "conv_bn", "transformer"])
def test_cuda_computes_what_the_emulation_does(net: str, dtype: str) -> None:
    if "cuda" not in providers.builtin():
        pytest.skip("no cuda here")
    if dtype == "bf16" and net == "conv_bn":
        pytest.skip("not every version of onnxruntime convolves in bf16")
    rng = np.random.default_rng(3)
    shape = {"dense": (5,), "conv_bn": (2, 6, 6), "transformer": (4, 3)}[net]
    data = rng.standard_normal((16, *shape)).astype("f4"), rng.integers(0, 3, 16)
    file = write(NETS[net], f"optimizer sgd lr 0.1; batch 8; epochs 1; dtype {dtype}")
    emulated = netdsl.fit(file, data=data, **EMULATED)
    cuda = netdsl.fit(file, data=data, provider="cuda", allow_fallback=True)
    for name, array in emulated.weights.items():
        np.testing.assert_allclose(cuda.weights[name], array, atol=2e-3, err_msg=name)
