"""Tracing: statistics of layers against onnxruntime and NumPy, gradients against finite differences, blame for NaN."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import onnxruntime
import pytest

import netdsl as package
from netdsl.app.reporter import SILENT
from netdsl.app.trace import OUTPUT_BYTES, TraceOptions, trace_outputs
from netdsl.app.trace_data import TraceData
from netdsl.backend.compile import compile_to_bytes
from netdsl.report.feature_maps import draw_maps, shades
from netdsl.report.statistics import Statistics
from netdsl.report.trace import Row, flag_gradients, layer_flags
from tests.support.cli_tools import MNIST, Commands, netdsl, weighed
from tests.support.programs import net_of

__all__ = ["netdsl"]

Array = np.ndarray[Any, Any]

CNN = """net cnn {
  input image 1x8x8 dtype u8
  scale 1/255
  conv 3x3 4 pad same bias off; bn; relu
  skip { conv 3x3 4 pad same; relu6 }; sigmoid; hard_tanh
  maxpool 2; flatten; dropout 0.5
  clip (-0.1) 0.1; dense 3; softmax
}"""
TWO = """net two {
  input left [6]
  input right [4]
  a: concat { from left; dense 5; tanh } { from right; dense 5; softsign }
  dense 2
}"""
TOKENS = "net tokens { input text [?L] dtype i64; embedding 11 8; lstm 6; reduce mean 1; dense 3 }"
ATTENTION = "net attention { input x [4, ?L]; skip { layernorm; linear 12; attention 2; linear 4 }; linear 3 }"
NETS = {"lenet5": None, "mlp": None, "cnn": CNN, "two": TWO, "tokens": TOKENS}


def loaded(name: str) -> Any:
    text = NETS[name]
    return package.load(name) if text is None else package.parse(text)


def random_inputs(net: Any, count: int) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    found: dict[str, Array] = {}
    for name, value in net.inputs.items():
        shape = (count, *(size if isinstance(size, int) else 7 for size in value.shape))
        if value.dtype == "int64":
            found[name] = rng.integers(0, 11, shape)
        elif value.dtype == "uint8":
            found[name] = rng.integers(0, 256, shape, np.uint8)
        else:
            found[name] = rng.standard_normal(shape).astype(np.float32)
    return found


def outputs_of_layers(net: Any, feeds: dict[str, Array]) -> dict[str, Array]:
    """The outputs of all layers by onnxruntime, from the compiled model, whose last node of a layer has its output."""
    model = net.to_onnx()
    last = {
        prop.value: node.output[0]
        for node in model.graph.node
        for prop in node.metadata_props
        if prop.key == "netdsl.layer"
    }
    known = {each.name for each in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in last.values() if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(last, session.run([*last.values()], feeds), strict=True))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*random weights")
def test_statistics_are_numpys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.app.trace.OUTPUT_BYTES", 20_000)  # so that there are several parts
    net = loaded(name)
    feeds = random_inputs(net, 7)
    found = {row["name"]: row for row in net.trace(feeds).layers}
    expected = {**feeds, **outputs_of_layers(net, feeds)}
    computing = {layer.name for layer in net.layers if layer.kind != "dropout"}
    assert computing <= found.keys() <= expected.keys()
    for key, row in found.items():
        wide = expected[key].astype(np.float64)
        size = np.abs(wide).max() + 1e-30
        assert row["count"] == wide.size, key
        assert sorted(row["shape"]) == sorted(wide.shape[1:])  # compiling drops some transpositions
        assert row["mean"] == pytest.approx(wide.mean(), abs=1e-6 * size), key
        assert row["std"] == pytest.approx(wide.std(), abs=1e-6 * size), key
        assert (row["min"], row["max"]) == pytest.approx((wide.min(), wide.max()), abs=1e-6 * size), key
        assert row["zeros"] == pytest.approx((wide == 0).mean(), abs=1e-6), key
        assert row["nan"] == row["infinite"] == 0
        assert sum(row["histogram"]) == wide.size


SATURATED = {
    "relu": lambda y: y == 0,
    "relu6": lambda y: (y == 0) | (y == 6),
    "sigmoid": lambda y: (y <= 0.01) | (y >= 0.99),
    "tanh": lambda y: np.abs(y) >= 0.99,
    "softsign": lambda y: np.abs(y) >= 0.99,
    "hard_tanh": lambda y: np.abs(y) == 1,
    "hard_sigmoid": lambda y: (y == 0) | (y == 1),
    "clip (-0.3) 0.7": lambda y: (y == np.float32(-0.3)) | (y == np.float32(0.7)),
    "elu": lambda y: y <= -0.99,
    "celu 2": lambda y: y <= -1.98,
    "selu": lambda y: y <= -0.99 * 1.0507009873554805 * 1.6732632423543772,
}


@pytest.mark.parametrize("layer", SATURATED)
def test_saturation_is_that_of_the_activation(layer: str) -> None:
    net = package.parse(f"net n {{ input x 50; {layer} }}")
    x = (np.random.default_rng(0).standard_normal((40, 50)) * 60).astype(np.float32)
    traced = net.trace(x, values=[f"{layer.split()[0]}1"])
    (y,) = traced.outputs.values()
    assert 0 < SATURATED[layer](y).sum() < y.size
    assert traced.layers[1]["saturated"] == pytest.approx(SATURATED[layer](y).mean())
    assert package.parse("net n { input x 5; gelu }").trace(x[:, :5]).layers[1]["saturated"] is None


WEIGHTS = [
    (node.name, parameter.name) for node in package.load("lenet5")._net.nodes for parameter in node.parameters.values()
]


@pytest.mark.parametrize(("layer", "weight"), WEIGHTS)
def test_a_nan_in_a_weight_is_blamed_on_its_line(layer: str, weight: str) -> None:
    net = package.load("lenet5")
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(p.shape).astype(np.float32) for name, p in net.parameters.items()}
    weights[weight].flat[-1] = np.nan
    found = net.trace(rng.standard_normal((3, 1, 28, 28)), weights=weights, allow_nonfinite=True)
    row = next(row for row in found.layers if row["flags"] and row["flags"][0] == "nonfinite")
    assert row["name"] == layer
    place = next(node.span for node in net._net.nodes if node.name == layer)
    assert f"`{layer}`, {place}: " in found["first_nonfinite"]
    assert f"its inputs are finite, but its weight `{weight}` is not" in found["first_nonfinite"]
    assert f"First non-finite numbers: `{layer}`" in repr(found)


def test_infinite_numbers_are_born_where_inputs_are_finite(netdsl: Commands) -> None:
    netdsl.write(n="net n {\n  input x 3\n  scale 100\n  exp\n  dense 2\n}")
    np.save("x.npy", np.eye(3, dtype=np.float32))
    ran = netdsl("trace", "n.net", "x.npy")
    assert ran.code == 1
    assert "First non-finite numbers: `exp1`, n.net:4:3: 3 infinite of 9; its inputs and weights are finite" in ran.out
    np.save("x.npy", np.array([[0, np.nan, 1]], np.float32))
    ran = netdsl("trace", "n.net", "x.npy", "--layers", "dense1")
    assert ran.code == 1
    assert "`x`, n.net:2:9: 1 NaN of 3, in the data" in ran.out
    assert "scale1" not in ran.out


def test_flags() -> None:
    net = package.parse("net n { input x 2x4x4; conv 1x1 3; relu; dense 2; sign; step }")
    weights = {
        "conv1.weight": np.array([[30, 0], [0, 1], [-1, -1]], np.float32).reshape(3, 2, 1, 1),
        "conv1.bias": np.array([0, -100, 0], np.float32),
        "dense1.weight": np.zeros((2, 48), np.float32),
        "dense1.bias": np.array([1, 2], np.float32),
    }
    x = np.random.default_rng(0).random((4, 2, 4, 4)).astype(np.float32)
    rows = {row["name"]: row for row in net.trace(x, weights=weights).layers}
    assert rows["conv1"]["flags"] == ["jump"]
    assert (rows["relu1"]["flags"], rows["relu1"]["dead"]) == (["dead"], 2)
    (relu,) = (row for row in net.trace(x[:1], weights=weights).layers if row["name"] == "relu1")
    assert (relu["flags"], relu["dead"]) == ([], 2)  # 16 numbers of a channel are no evidence
    assert rows["dense1"]["flags"] == ["same"]
    assert rows["sign1"]["flags"] == ["constant"]
    parameters = {row["name"]: row for row in net.trace(parameters=True, weights=weights).layers}
    assert parameters["dense1.weight"]["flags"] == ["constant"]


def statistics(numbers: list[float], low: float = -math.inf, channels: int = 1) -> Statistics:
    found = Statistics(low)
    found.add(np.array(numbers, np.float32).reshape(1, channels, -1))
    return found


@pytest.mark.parametrize(("zeros", "flags"), [(89, []), (90, ["saturated"]), (91, ["saturated"]), (100, ["constant"])])
def test_nine_of_ten_numbers_are_saturated(zeros: int, flags: list[str]) -> None:
    assert [*layer_flags(statistics([0.0] * zeros + [1.0] * (100 - zeros), 0), [], None)] == flags


@pytest.mark.parametrize(("size", "flags"), [(31, []), (32, ["dead"]), (33, ["dead"])])
def test_a_channel_is_dead_from_32_numbers_on(size: int, flags: list[str]) -> None:
    assert [*layer_flags(statistics([0.0] * size + [1.0] * size, channels=2), [], None)] == flags


@pytest.mark.parametrize(("ratio", "flags"), [(10.0, []), (10.1, ["jump"])])
def test_a_deviation_jumps_above_ten_times(ratio: float, flags: list[str]) -> None:
    assert [*layer_flags(statistics([1.0, 2.0]), [], ratio)] == flags


GRADIENTS = {
    "below the median": ([4e-4, 1.0, 1.0, 1e-2], ["vanishing"]),
    "below the last one": ([9e-4, 1e-2, 1e-2, 1.0], ["vanishing"]),
    "a thousandth": ([1.001e-3, 1.0, 1.0, 1.0], []),
    "above": ([1001.0, 1.0, 1.0, 1.0], ["exploding"]),
    "a thousand times": ([1000.0, 1.0, 1.0, 1.0], []),
    "nothing": ([0.0, 1.0, 1.0, 1.0], ["none"]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_compared_with_the_median_and_the_last(name: str) -> None:
    norms, flags = GRADIENTS[name]
    rows = [
        Row(name=f"a{at}", kind="dense", line=1, stats=statistics([1.0]), flags={}, gradient=statistics([norm]))
        for at, norm in enumerate(norms)
    ]
    flag_gradients(rows, dict.fromkeys((row.name for row in rows), next(iter(loaded("mlp")._net.nodes))))
    assert [*rows[0].flags] == flags


# gradients


DYING = "net dying { input x 5; a: dense 6; relu; b: dense 3 }"


def mlp_loss(w: dict[str, Array], x: Array, y: Array, hidden: Array | None = None) -> float:
    """The loss of the net DYING in double precision, from its input or from the output of the ReLU."""
    h = np.maximum(x @ w["a.weight"].T + w["a.bias"], 0) if hidden is None else hidden
    z = h @ w["b.weight"].T + w["b.bias"]
    z = z - z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]))


def differences(loss: Callable[[Array], float], at: Array) -> Array:
    found = np.zeros(at.shape)
    for place in np.ndindex(*at.shape):
        step = np.zeros(at.shape)
        step[place] = 1e-6
        found[place] = (loss(at + step) - loss(at - step)) / 2e-6
    return found


def test_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(3)
    net = package.parse(DYING)
    w = {name: rng.standard_normal(p.shape).astype(np.float32) for name, p in net.parameters.items()}
    w["a.bias"][2] = -100
    w["b.weight"][:, 0] = 0  # no gradient reaches a unit that is not dead
    x, y = rng.standard_normal((8, 5)).astype(np.float32), rng.integers(0, 3, 8)
    rows = {row["name"]: row for row in net.trace(x, y, gradients=True, weights=w).layers}
    wide = {name: array.astype(np.float64) for name, array in w.items()}
    for name in w:
        gradient = differences(lambda at, name=name: mlp_loss({**wide, name: at}, x, y), wide[name])
        check_gradient(rows[name], gradient)
        assert rows[name]["norm"] == pytest.approx(np.linalg.norm(wide[name]), rel=1e-6)
        assert rows[name]["ratio"] == pytest.approx(np.linalg.norm(gradient) / np.linalg.norm(wide[name]), rel=1e-4)
    hidden = np.maximum(x @ wide["a.weight"].T + wide["a.bias"], 0)
    check_gradient(rows["relu1"], differences(lambda at: mlp_loss(wide, x, y, at), hidden))
    dead = (hidden == 0).all(0)
    assert rows["relu1"]["dead"] == dead.sum() >= 1
    assert "dead" in rows["relu1"]["flags"]


def check_gradient(row: dict[str, Any], expected: Array) -> None:
    assert row["gradient"] == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    assert row["mean"] == pytest.approx(expected.mean(), abs=1e-5)
    assert row["std"] == pytest.approx(expected.std(), rel=1e-4)
    assert (row["min"], row["max"]) == pytest.approx((expected.min(), expected.max()), abs=1e-5)
    assert row["zeros"] == pytest.approx((np.abs(expected) < 1e-9).mean())


def test_gradients_of_a_deep_net_of_sigmoids_vanish(netdsl: Commands) -> None:
    layers = "; ".join(["dense 8", "sigmoid"] * 12)
    netdsl.write(
        deep=f"net deep {{ input x 2; {layers}; dense 2 }}\ntrain deep {{ data xor; loss cross_entropy; batch 4 }}"
    )
    ran = netdsl("trace", "deep.net", "--gradients", "--format", "json")
    assert ran.code == 0, ran
    rows = {row["name"]: row for row in json.loads(ran.out)["layers"]}
    assert "vanishing" in rows["dense1"]["flags"]
    assert "vanishing" in rows["dense1.weight"]["flags"]
    assert not rows["dense13"]["flags"]
    text = netdsl("trace", "deep.net", "--gradients", "--layers", "dense1", "--format", "csv")
    assert [row["name"] for row in csv.DictReader(io.StringIO(text.out))] == ["dense1", "dense1.weight", "dense1.bias"]


def test_gradients_are_those_of_one_whole_batch_in_f32(netdsl: Commands) -> None:
    net = "net n { input x 2; dense 6; relu; dense 2 }\ntrain n { data xor; loss cross_entropy; batch 4"
    netdsl.write(whole=f"{net} }}", parts=f"{net}; accumulate 2 }}", half=f"{net}; dtype f16 }}")
    whole, parts, half = (netdsl("trace", f"{name}.net", "--gradients") for name in ("whole", "parts", "half"))
    assert whole.out == parts.out == half.out
    assert ["gradients in f32" in ran.err for ran in (whole, parts, half)] == [False, False, True]


def test_a_batch_of_the_training_is_traced_without_input(netdsl: Commands) -> None:
    net = "net dying { input x 2; a: dense 6; relu; b: dense 2 }"
    netdsl.write(dying=f"{net}\ntrain dying {{ data xor; loss cross_entropy; batch 8 }}")
    for options in ([], ["--gradients"], ["--data", "xor n 40"], ["--gradients", "--data", "xor", "--examples", "3"]):
        ran = netdsl("trace", "dying.net", *options, "--format", "json")
        assert ran.code == 0, ran
        assert json.loads(ran.out)["examples"] == (3 if "3" in options else 4 if "--data" not in options else 8)


def test_targets_as_inputs(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 5; dense 3 }")
    np.save("x.npy", np.ones((6, 5), np.float32))
    np.save("y.npy", np.arange(6) % 3)
    ran = netdsl("trace", "n.net", "x=x.npy", "target=y.npy", "--gradients")
    assert ran.code == 0, ran
    assert "n: gradients, 6 examples" in ran.out
    ran = netdsl("trace", "n.net", "x=x.npy", "--gradients")
    assert (ran.code, "no data for target" in ran.err) == (2, True)


# the command


def test_values_and_pictures(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2x6x6; conv 3x3 5; relu; dense 3 }")
    np.save("x.npy", np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype(np.float32))
    assert netdsl("trace", "n.net", "x.npy", "--values", "conv1", "dense*", "-o", "v.npz").code == 0
    with np.load("v.npz") as archive:
        assert {name: archive[name].shape for name in archive} == {"conv1": (4, 5, 6, 6), "dense1": (4, 3)}
    expected = outputs_of_layers(package.load("n.net"), {"x": np.load("x.npy")})["conv1"]
    with np.load("v.npz") as archive:
        np.testing.assert_allclose(archive["conv1"], expected, atol=1e-6)
    for options in (["--layer", "relu1"], [], ["--layers", "conv1"]):
        ran = netdsl("trace", "n.net", "x.npy", "-o", "p.svg", *options)
        assert (ran.code, "p.svg: a picture of n" in ran.err) == (0, True)
        ElementTree.parse("p.svg")
    assert netdsl("trace", "n.net", "--random", "--gradients", "-o", "p.svg").code == 0
    Path("p.svg").write_text("mine")
    assert "E0611" in netdsl("trace", "n.net", "x.npy", "-o", "p.svg").err


WRONG = {
    "n.net": "E0928",
    "n.net x.npy --random": "E0928",
    "n.net --gradients": "E0928",
    "n.net x.npy --layers conv9": "E0927",
    "n.net x.npy --layer conv9 -o a.svg": "E0927",
    "n.net x.npy --values conv9 -o a.npz": "E0927",
    "n.net x.npy --layer dense1 -o a.svg": "E0929",
    "n.net x.npy --layer conv1": "E0641",
    "n.net x.npy --values conv1": "E0641",
    "n.net x.npy -o a.npz": "E0641",
    "n.net x.npy --gradients --layer conv1 -o a.svg": "E0641",
    "n.net x.npy --parameters": "E0641",
    "n.net x.npy -o a.gif": "E0643",
}


@pytest.mark.parametrize("line", WRONG)
def test_mistakes(netdsl: Commands, line: str) -> None:
    netdsl.write(n="net n { input x 2x6x6; conv 3x3 5; relu; dense 3 }")
    np.save("x.npy", np.zeros((4, 2, 6, 6), np.float32))
    ran = netdsl("trace", *line.split())
    assert f"[{WRONG[line]}]" in ran.err, ran
    assert ran.out == ""
    assert not [path for path in Path().iterdir() if path.name.startswith("a.")]


def test_formats_have_the_same_rows(netdsl: Commands) -> None:
    np.save("x.npy", np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32))
    for options in (["x.npy"], ["--parameters"], ["--random", "--gradients"]):
        line = "trace", "lenet5", *options, "--weights", MNIST / "lenet5.safetensors"
        found = json.loads(netdsl(*line, "--format", "json").out)
        rows = [*csv.DictReader(io.StringIO(netdsl(*line, "--format", "csv").out))]
        assert [row["name"] for row in rows] == [row["name"] for row in found["layers"]]
        assert [*rows[0]] == [*found["layers"][0]]
        assert float(rows[0]["mean"]) == pytest.approx(found["layers"][0]["mean"])
        for form in ("text", "markdown"):
            text = netdsl(*line, "--format", form).out
            assert all(row["name"] in text for row in rows)


@pytest.mark.parametrize("text", [TOKENS, ATTENTION, CNN, TWO])
def test_random_inputs_fit_every_net(text: str, netdsl: Commands) -> None:
    netdsl.write(n=text)
    assert netdsl("trace", "n.net", "--random", "--examples", "3").code == 0


def test_parts_are_sized_by_the_first_example() -> None:
    net = net_of("net n { input x 1000; repeat 3 { relu } }")
    sizes: list[int] = []
    x = np.ones((300_000 // 4, 1000), np.float16).astype(np.float32)[:200]
    options = TraceOptions(TraceData(arrays={"x": x}), layers="relu1")
    trace_outputs(net, None, options, SILENT, values=["relu1"], sink=lambda arrays: sizes.append(len(arrays["relu1"])))
    assert sizes == [1, 199]
    assert OUTPUT_BYTES > 199 * 12_000


# pictures


def test_each_map_has_its_own_scale() -> None:
    maps = np.array([[[0, 1], [2, 4]], [[-10, 0], [10, 10]], [[7, 7], [7, 7]]], np.float32)
    assert shades(maps)[..., 0].tolist() == [[[0, 64], [128, 255]], [[0, 128], [255, 255]], [[128, 128], [128, 128]]]
    maps[0, 0, 0] = np.nan
    assert shades(maps)[0, 0].tolist() == [[255, 0, 255], [0, 0, 0]]


@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 28, 28), (200, 3, 3), (5, 40), (3, 1, 9), (2, 300, 400)])
def test_maps_of_any_size(shape: tuple[int, ...]) -> None:
    canvas = draw_maps("relu", np.random.default_rng(0).standard_normal(shape))
    ElementTree.fromstring(canvas.svg())
    assert canvas.png().startswith(b"\x89PNG")


def test_the_compiled_model_is_that_of_run() -> None:
    """The oracle above is independent of `trace`: its model is the one that `run` loads."""
    net = net_of(CNN)
    model = onnx.load_from_string(compile_to_bytes(net))
    assert {each.name for each in model.graph.input} == {"image"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is measured as on Linux")
def test_the_batch_is_cut_so_that_outputs_fit_into_memory(tmp_path: Path) -> None:
    code = "import sys, netdsl; netdsl.load(sys.argv[1]).trace(random=True, examples=32)"
    _, peak = weighed(code, "resnet18", cwd=tmp_path)
    assert peak < 2**30 + 45 * 2**20
