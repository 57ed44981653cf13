"""Recurrent layers against PyTorch, at inference and in training, and whole trainings with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import netdsl
from netdsl import ops
from netdsl.app.attack import attack_graph
from netdsl.backend.compile import CompileOptions, compile_to_bytes
from netdsl.backend.emit import OPSETS, check, emit
from netdsl.backend.quantize import quantize
from netdsl.backend.serialize import to_bytes
from netdsl.lower import lower, lower_training
from netdsl.ops.scanning import Scan
from netdsl.passes.finish import finish
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import expand_macros, prune
from netdsl.train.loop import Trainer
from netdsl.train.nonfinite import Diverged
from tests.support.exact import evaluator
from tests.support.paths import DATA
from tests.support.programs import net_of
from tests.train.test_step import step_of

NUMBERS = json.loads((DATA / "recurrent_torch.json").read_text("utf-8"))
CALLS = {"rnn": "rnn 2", "relu": "rnn 2 act relu", "gru": "gru 2", "lstm": "lstm 2"}
PLAIN: dict[str, Any] = {"step_backend": "plain", "threads": 1}


def torch_net(cell: str) -> Any:
    size = len(NUMBERS[cell]["state"]) // 2
    return net_of(
        f"net t {{ input n 1 dtype i64; input s {size}; input x 3x4\n"
        f"r: {CALLS[cell]} layers 2 bidirectional on lengths n initial s\noutput y\noutput last {{ state r }} }}"
    )


def torch_feeds(net: Any) -> dict[str, Any]:
    """What tests/data/README.md says of the inputs and weights."""
    feeds = {
        "n": np.array([[4], [2]]),
        "s": np.sin(np.arange(2 * net.inputs[1].shape[0]) * 1.3).reshape(2, -1),
        "x": np.cos(np.arange(24) * 0.9).reshape(2, 3, 4),
        "step": np.array(0, "u4"),
    }
    for i, (name, p) in enumerate(net.parameters.items()):
        feeds[name] = np.sin(np.arange(np.prod(p.shape)) * 0.7 + i).reshape(p.shape) * 0.6
    return feeds


def run(model: bytes, feeds: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    kinds = {x.name: {"tensor(float)": "f4", "tensor(double)": "f8"}.get(x.type) for x in session.get_inputs()}
    given = {name: feeds[name].astype(kind) if kind else feeds[name] for name, kind in kinds.items()}
    return dict(zip([y.name for y in session.get_outputs()], session.run(None, given), strict=True))


@pytest.mark.parametrize("cell", CALLS)
@pytest.mark.parametrize("opset", OPSETS)
def test_inference_is_that_of_pytorch(cell: str, opset: int) -> None:
    net = torch_net(cell)
    feeds, emitted = torch_feeds(net), emit(lower(net), opset=opset)
    check(emitted)
    found = run(to_bytes(emitted, [(p.name, feeds[p.name].astype("f4")) for p in emitted.parameters]), feeds)
    np.testing.assert_allclose(found["y"].reshape(-1), NUMBERS[cell]["y"], atol=1e-5)
    np.testing.assert_allclose(found["last"].reshape(-1), NUMBERS[cell]["state"], atol=1e-5)


def test_each_layer_but_the_first_drops_other_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    monkeypatch.setattr(ops, "dropout", lambda x, _p, key, _step, **_rows: keys.append(key) or x)
    lower_training(net_of("net n { input x 3x4; lstm 2 layers 3 dropout 0.5 }"), batch=2, seed=0)
    assert len(keys) == len(set(keys)) == 2


@pytest.mark.parametrize("cell", CALLS)
def test_an_empty_sequence_leaves_the_state(cell: str) -> None:
    """onnxruntime's operators would return zeros."""
    net = torch_net(cell)
    feeds, emitted = torch_feeds(net), emit(lower(net))
    feeds["n"] = np.array([[0], [2]])
    found = run(to_bytes(emitted, [(p.name, feeds[p.name].astype("f4")) for p in emitted.parameters]), feeds)
    np.testing.assert_array_equal(found["last"][0], feeds["s"][0].astype("f4"))
    assert not found["y"][0].any()


def differentiated(net: Any) -> Any:
    """The training graph with a loss of both outputs, and its gradients."""
    graph = lower_training(net, batch=2, seed=0)
    terms = []
    for function, y in ((np.sin, graph.outputs["y"]), (np.cos, graph.outputs["last"])):
        factors = function(np.arange(np.prod(y.shape))).tolist()
        product = ops.mul(y, ops.constant(graph, factors, shape=y.shape))
        terms.append(ops.reduce_sum(product, range(len(y.shape)), keepdims=False))
    loss = ops.add(*terms)
    graph.output("loss", loss)
    for name, found in zip(graph.parameters, gradients(loss, list(graph.parameters.values())), strict=True):
        graph.output(f"d/{name}", ops.identity(found))
    return prune(expand_macros(graph))


@pytest.mark.parametrize("cell", CALLS)
@pytest.mark.parametrize("float_type", ["f32", "f64"])
def test_gradients_are_those_of_pytorch(cell: str, float_type: str) -> None:
    net = torch_net(cell)
    emitted = emit(differentiated(net), float_type=float_type)
    check(emitted)
    found, expected = run(to_bytes(emitted, ()), torch_feeds(net)), NUMBERS[cell]
    close = {"f32": 1e-5, "f64": 1e-7}[float_type]
    np.testing.assert_allclose(found["y"].reshape(-1), expected["y"], atol=close)
    np.testing.assert_allclose(found["loss"], expected["loss"], atol=close)
    sums = {
        name[4:]: (array * np.cos(np.arange(array.size)).reshape(array.shape)).sum()
        for name, array in found.items()
        if name.startswith("d/")
    }
    sums = {name.rpartition(".")[2]: value for name, value in sums.items()}
    assert list(sums) == list(expected["gradients"]), "the names and their order are PyTorch's"
    for name, value in expected["gradients"].items():
        assert sums[name] == pytest.approx(value, rel=10 * close, abs=10 * close), name


@pytest.mark.parametrize("cell", CALLS)
@pytest.mark.parametrize(("length", "given"), [(1, ""), (3, ""), (3, " initial s"), (3, " lengths n initial s")])
def test_gradients_are_central_differences(cell: str, length: int, given: str) -> None:
    size = {"lstm": 8}.get(cell, 4)
    inputs = f"input n 1 dtype i64; input s {size}; input x 3x{length}"
    net = net_of(f"net t {{ {inputs}\nr: {CALLS[cell]} bidirectional on{given}\noutput y\noutput last {{ state r }} }}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = to_bytes(emit(differentiated(net), float_type="f64"), ())
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {name: array[..., :length] if name == "x" else array for name, array in torch_feeds(net).items()}
    feeds["s"], feeds["n"] = np.sin(np.arange(2.0 * size)).reshape(2, size), np.array([[length], [0]])
    feeds = {x.name: feeds[x.name] for x in session.get_inputs()}
    along = {name: np.cos(np.arange(p.size)).reshape(p.shape) for name, p in feeds.items() if name in net.parameters}
    up, down = (
        session.run(["loss"], feeds | {name: feeds[name] + each * d for name, d in along.items()})[0]
        for each in (1e-6, -1e-6)
    )
    found = zip(session.run([f"d/{name}" for name in along], feeds), along.values(), strict=True)
    assert sum((gradient * d).sum() for gradient, d in found) == pytest.approx((up - down) / 2e-6, abs=1e-7)


@pytest.mark.parametrize(("cell", "sizes"), [("rnn", [3, 3]), ("relu", [3, 3]), ("gru", [13, 7]), ("lstm", [12, 10])])
def test_a_step_of_a_scan_computes_what_depends_on_the_state(cell: str, sizes: list[int]) -> None:
    graph = differentiated(net_of(f"net t {{ input x 3x5; r: {CALLS[cell]}; output y; output last {{ state r }} }}"))
    bodies = [each.op.body for each in graph.operations if isinstance(each.op, Scan)]
    assert [len(body.operations) for body in bodies] == sizes


@pytest.mark.parametrize(
    "cell", ["rnn 8", "gru 8", "lstm 8 layers 2 bidirectional on lengths n", "lstm 8 lengths n last on"]
)
def test_the_size_of_a_step_does_not_depend_on_the_length(cell: str) -> None:
    def size(length: int) -> int:
        text = f"net t {{ input n 1 dtype i64; input x 4x{length}; {cell}; reduce mean (-1); flatten; dense 3 }}"
        graph = step_of(f"{text}\ntrain t {{ data xor; loss cross_entropy; batch 4 }}")
        return len(to_bytes(emit(finish(graph, "loss").graph), ()))

    assert size(500) <= 1.1 * size(20)


def test_drawn_weights_are_those_of_pytorch() -> None:
    """uniform(-1/sqrt(H), 1/sqrt(H)), whatever the input's size; `init` and `bias_init` replace it."""
    (node,) = net_of("net t { input x 3x4; lstm 16 }").nodes[1:]
    assert {str(p.init) for p in node.parameters.values()} == {"uniform(-0.25, 0.25)"}
    (node,) = net_of("net t { input x 3x4; gru 16 init orthogonal bias_init zeros }").nodes[1:]
    assert [str(p.init) for p in node.parameters.values()] == ["orthogonal", "orthogonal", "zeros", "zeros"]


def test_half_precision_comes_near() -> None:
    net = net_of("net t { input x 8x9; r: lstm 6 layers 2 bidirectional on; output y; output last { state r } }")
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 8, 9)).astype("f4")}
    whole, half = (run(compile_to_bytes(net, CompileOptions(dtype=dtype)), feeds) for dtype in ("f32", "f16"))
    for name, array in whole.items():
        assert half[name].dtype == np.float32
        np.testing.assert_allclose(half[name], array, atol=2e-3)


def test_quantization_leaves_recurrences_in_single_precision() -> None:
    """onnxruntime has no integer kernels for them; the layers around them are quantized."""
    net = net_of("net t { input x 8x20; conv 3 16; relu; lstm 8 bidirectional on; linear 4 }")
    x = np.random.default_rng(0).standard_normal((32, 8, 20)).astype("f4")
    whole = compile_to_bytes(net)
    found = quantize(whole, [{"x": x}])
    assert {"LSTM", "QuantizeLinear"} <= {node.op_type for node in found.graph.node}
    expected = run(whole, {"x": x})["output"]
    np.testing.assert_allclose(
        run(found.SerializeToString(), {"x": x})["output"], expected, atol=0.1 * np.abs(expected).max()
    )


def test_the_gradient_of_an_attack() -> None:
    net = net_of("net t { input image 1x5x4; reshape [4, 5]; gru 6 bidirectional on last on; dense 3 }")
    graph = attack_graph(net)
    rng = np.random.default_rng(0)
    feeds = {p.name: rng.standard_normal(p.shape) * 0.5 for p in net.parameters.values()}
    emitted = emit(graph, float_type="f64")
    model = to_bytes(emitted, [(p.name, feeds[p.name]) for p in emitted.parameters])
    x, step = rng.standard_normal((1, 1, 5, 4)), rng.standard_normal((1, 1, 5, 4))
    exact = evaluator(model)  # onnxruntime has no Softplus in double precision

    def attacked(image: Any) -> dict[str, Any]:
        found = exact.run(None, {"image": image, "attack.label": np.array([1])})
        return dict(zip(exact.output_names, found, strict=True))

    lead = [np.log(np.expm1(attacked(x + h * step)["attack.loss"])).sum() for h in (1e-6, -1e-6)]
    assert (lead[0] - lead[1]) / 2e-6 == pytest.approx((attacked(x)["attack.gradient"] * step).sum(), rel=1e-6)


# Trainings


PROGRAM = """net last {{
  input n 1 dtype i64
  input x 3x12
  {body}
  dense 3
}}
train last {{
  data npz "data.npz"
  loss cross_entropy; metric accuracy
  optimizer adam lr 0.01
  batch 16; epochs 8; seed 2
}}
"""
BODY = "r: lstm 16 layers 2 dropout 0.1 lengths n last on"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The class is the largest channel of the last place, behind which there is noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 3, 12)).astype("f4")
    n = rng.integers(4, 13, (512, 1))
    target = x[np.arange(512), :, n[:, 0] - 1].argmax(1)
    np.savez(tmp_path / "data.npz", x=x, n=n, target=target)
    path = tmp_path / "last.net"
    path.write_text(PROGRAM.format(body=BODY))
    return path


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        "r: gru 16 bidirectional on lengths n; state r",
        "m: rnn 8 lengths n; state m; s: dense 16; from x; rnn 16 initial s lengths n last on",
        "h: param 16; from x; gru 16 initial h lengths n last on",
    ],
)
def test_training_learns_the_last_place(program: Path, body: str) -> None:
    program.write_text(PROGRAM.format(body=body))
    losses = [row["loss"] for row in netdsl.fit(program, **PLAIN).history]
    assert losses[-1] < 0.75 * losses[0]


def test_an_interrupted_run_resumes_with_the_same_bits(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, settings = Trainer._step, {"train.epochs": 2}
    netdsl.fit(program, out=program.parent / "whole", settings=settings, **PLAIN)

    def interrupted(self: Trainer, feeds: Any) -> None:
        step(self, feeds)
        self.stopped = self.position.step == 5

    monkeypatch.setattr(Trainer, "_step", interrupted)
    netdsl.fit(program, out=program.parent / "run", settings=settings, **PLAIN)
    monkeypatch.setattr(Trainer, "_step", step)
    netdsl.fit(program, out=program.parent / "run", settings=settings, resume=True, **PLAIN)
    names = ("last.safetensors", "best.safetensors")
    assert all((program.parent / "run" / n).read_bytes() == (program.parent / "whole" / n).read_bytes() for n in names)


def test_the_blocked_backend_computes_the_same(program: Path) -> None:
    program.write_text(
        PROGRAM.format(body="reshape [3, 3, 4]; conv 3x3 16; relu; reshape [48, 4]; gru 8 lengths n last on")
    )
    found = [netdsl.fit(program, step_backend=each, threads=1).history[-1]["loss"] for each in ("plain", "nchwc")]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_nan_that_arises_in_a_recurrence_is_located(program: Path) -> None:
    program.write_text(PROGRAM.format(body="r: rnn 16 act relu init constant(1e3) lengths n last on"))
    with pytest.raises(Diverged) as caught:
        netdsl.fit(program, **PLAIN)
    assert re.search(r"it first appears in `r`, .*last.net:4:6", str(caught.value)), caught.value


def test_a_step_is_compiled_of_standard_operators(program: Path) -> None:
    graph = step_of(program.read_text().replace(" dropout 0.1", ""))
    for opset in OPSETS:
        emitted = emit(graph, opset=opset)
        check(emitted)
        assert sum(node.op_type == "Scan" for node in emitted.model.graph.node) == 4
        onnxruntime.InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])
