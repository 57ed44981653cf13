"""Half precision: what is computed in it, at which opsets it runs, how near it comes, and what it cannot hold."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest

from netdsl.app.frontend import load_net
from netdsl.backend.compile import OPSET, CompileOptions, compile_to_bytes
from netdsl.backend.emit import OPSETS, check, emit
from netdsl.backend.serialize import to_bytes, write
from netdsl.diagnostics.report import Report
from netdsl.ir.op import Op
from netdsl.lower import lower
from netdsl.passes.equal_ranks import equal_ranks
from netdsl.passes.half import BeyondHalf, half
from netdsl.passes.rewrite import expand_macros
from netdsl.passes.sink_transposes import sink_transposes
from tests.layers.test_layers import array, feeds, nets
from tests.support.cli_tools import MNIST, Commands, netdsl
from tests.support.layer_cases import GROUPS, SIZES
from tests.support.programs import flow

__all__ = ["netdsl"]

F16, F32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def model(net, opset=OPSET, dtype="f16", io="f32"):
    """The checked model with the weights of the tests of layers."""
    graph = lower(net)
    emitted = emit(half(graph, io=io) if dtype == "f16" else graph, opset=opset)
    check(emitted)
    return to_bytes(emitted, [(p.name, array(p.name, p.shape, "f32")) for p in emitted.parameters])


def session(made):
    return onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])


def types(made):
    """Of inputs, weights and outputs."""
    graph = onnx.load_from_string(made).graph
    ends = [{value.type.tensor_type.elem_type for value in values} for values in (graph.input, graph.output)]
    return ends[0], {t.data_type for t in graph.initializer}, ends[1]


@cache
def results(group, dtype, io="f32"):
    runs = session(model(nets(group), dtype=dtype, io=io))
    fed = feeds(nets(group), SIZES[0])
    fed = {x.name: fed[x.name].astype(TYPES.get(x.type, fed[x.name].dtype)) for x in runs.get_inputs()}
    return dict(zip(GROUPS[group], runs.run(None, fed), strict=True))


@pytest.mark.parametrize(("group", "call"), [(group, call) for group, calls in GROUPS.items() for call in calls])
def test_every_layer_comes_near(group, call):
    exact, found = results(group, "f32")[call], results(group, "f16")[call]
    assert found.dtype == exact.dtype
    assert np.isfinite(found).all() == np.isfinite(exact).all()
    scale = np.abs(exact[np.isfinite(exact)]).max(initial=1)
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=0.01 * scale)


@pytest.mark.parametrize("group", GROUPS)
def test_every_opset_has_the_operators(group):
    for opset in OPSETS:
        session(model(nets(group), opset))


@pytest.mark.parametrize("group", GROUPS)
def test_inputs_and_outputs_may_be_halves_too(group):
    for call, exact in results(group, "f32").items():
        found = results(group, "f16", "f16")[call]
        assert found.dtype == (np.float16 if exact.dtype == np.float32 else exact.dtype)


RESNET = load_net("resnet18", Report())


def test_weights_are_halves_and_the_ends_as_they_are_wanted():
    assert types(model(RESNET)) == ({F32}, {F16}, {F32})
    assert types(model(RESNET, io="f16")) == ({F16}, {F16}, {F16})
    assert types(model(flow("input a 4 dtype f16; identity")))[0] == {F16}
    assert types(model(flow("input a 4 dtype u8; relu")))[0] == {onnx.TensorProto.UINT8}


def test_all_nodes_but_casts_have_a_place_and_the_wide_ones_their_casts():
    graph = onnx.load_from_string(model(flow("input a 8x5x5; relu; lrn 3; conv 3x3 4"))).graph
    assert [n.op_type for n in graph.node] == ["Cast", "Relu", "Cast", "LRN", "Cast", "Conv", "Cast"]
    layers = [{e.key: e.value for e in n.metadata_props}["netdsl.layer"] for n in graph.node]
    assert layers == ["a", "relu1", "lrn1", "lrn1", "lrn1", "conv1", "conv1"]


@pytest.mark.parametrize("layer", ["lrn 5", "lrn 3 within on", "rmsnorm", "l2norm"])
def test_squares_that_no_half_holds_are_added_in_single_precision(layer):
    net = flow(f"input a 8x1x1; {layer}")
    x = np.full((1, 8, 1, 1), 1000, np.float32)
    (exact,), (found,) = (session(model(net, dtype=dtype)).run(None, {"a": x}) for dtype in ("f32", "f16"))
    np.testing.assert_allclose(found, exact, rtol=2e-3)


def test_resnet18_says_nearly_the_same():
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    exact, found = (
        session(compile_to_bytes(RESNET, CompileOptions(dtype=dtype))).run(None, {"image": x})[0]
        for dtype in ("f32", "f16")
    )
    assert np.abs(found - exact).max() / np.abs(exact).max() < 1e-2
    assert (found.argmax(1) == exact.argmax(1)).all()


def test_lenet5_names_the_digits_as_well(netdsl: Commands):
    weights = MNIST / "lenet5.safetensors"
    for ends in ("f32", "f16"):
        ran = netdsl("compile", "lenet5", "--weights", weights, "--dtype", "f16", "--io", ends, "-o", "m.onnx")
        assert (ran.code, ran.err.endswith(" nodes, opset 21, f16\n")) == (0, True)
        onnx.checker.check_model("m.onnx", full_check=True)
        assert abs(correct(netdsl) - 9_921) <= 3


def correct(netdsl):
    """How many of the test digits the model m.onnx names."""
    import gzip

    assert netdsl("run", "m.onnx", MNIST / "t10k-images-idx3-ubyte.gz", "-o", "o.npz", "--batch", 1000).code == 0
    labels = np.frombuffer(gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz").read()[8:], np.uint8)
    with np.load("o.npz") as outputs:
        return int((outputs["output"].argmax(1) == labels).sum())


# What a half cannot hold


def test_a_weight_beyond_is_named():
    net = flow("input a 4; dense 2 bias off")
    emitted = emit(half(lower(net)))
    for value, said in ((65519.9, None), (1e5, "has a magnitude of 100000"), (-7e4, "has a magnitude of 70000")):
        weights = [("dense1.weight", np.full((2, 4), value, np.float32))]
        if said is None:
            assert onnx.load_from_string(to_bytes(emitted, weights))
            continue
        with pytest.raises(
            BeyondHalf, match=f"the weight `dense1.weight` {said}, but half precision is limited to 65,504"
        ):
            write(emitted, weights, io.BytesIO())


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("input a 4; scale 70000", "70000"),
        ("input a 4; scale 1e-9", "1e-09"),
        ("input a 1x4x4; pad 1 value 1e6", "1e"),
        ("input a 3x4x4; normalize mean [1e6, 1, 1] std [1, 1, 1]", "1e"),
    ],
)
def test_a_number_beyond_is_named_with_its_layer(body, number):
    with pytest.raises(BeyondHalf, match=rf"the layer `\w+` uses {number}"):
        half(lower(flow(body)))


def kinds(of=Op):
    return [of, *(each for sub in of.__subclasses__() for each in kinds(sub))]


def test_every_attribute_is_seen_also_an_inherited_one():
    assert len(kinds()) > 70
    for kind in kinds():
        op = object.__new__(kind)
        given = {name: object() for base in kind.__mro__ for name in vars(base).get("__slots__", ())}
        for name, value in given.items():
            setattr(op, name, value)
        assert op.attributes == given, kind


@pytest.mark.parametrize("call", ["leaky_relu 1e-9", "leaky_relu 70000", "elu 1e-9", "elu 70000"])
def test_a_slope_beyond_is_applied_in_single_precision(call):
    x = np.array([[-2, -1, 0.5, 1]], np.float32)
    (y,) = session(model(flow(f"input a 4; {call}; scale 1e-3"))).run(None, {"a": x})
    (right,) = session(to_bytes(emit(lower(flow(f"input a 4; {call}; scale 1e-3"))), [])).run(None, {"a": x})
    np.testing.assert_allclose(y, right, rtol=2e-3, atol=1e-6)


def test_limits_beyond_are_no_limits():
    net = flow("input a 4; clip (-1e9) 1e9")
    x = np.array([[-6e4, -1, 1, 6e4]], np.float32)
    (y,) = session(model(net)).run(None, {"a": x})
    np.testing.assert_allclose(y, x, rtol=1e-3)


STEPS_FIRST = (
    "lstm 6; permute [1, 0]; linear 3",
    "rnn 6; permute [1, 0]; linear 5; layernorm; linear 3",
    "gru 6; permute [1, 0]; output y { linear 4 }; linear 3; softmax",
)
RUN = """
import sys
import onnxruntime
for line in sys.stdin:
    made = onnxruntime.InferenceSession(bytes.fromhex(line), providers=["CPUExecutionProvider"])
    print([y.tolist() for y in made.run(None, {"x": [[[0.1 * i - 0.02 * i * j for j in range(7)] for i in range(8)]]})])
"""


def test_products_of_steps_do_not_crash() -> None:
    """onnxruntime would end the process: it moves a conversion before the transposition of a recurrent result."""
    nets = [flow(f"input x 8x7\n{body}") for body in STEPS_FIRST]
    made = [[compile_to_bytes(net, CompileOptions(dtype=dtype)).hex() for net in nets] for dtype in ("f16", "f32")]
    halves, singles = (
        subprocess.run([sys.executable, "-c", RUN], input="\n".join(lines), check=True, capture_output=True, text=True)
        for lines in made
    )
    for half_, single in zip(halves.stdout.splitlines(), singles.stdout.splitlines(), strict=True):
        for found, expected in zip(json.loads(half_), json.loads(single), strict=True):
            np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("body", ["lstm 6; linear 3", "rnn 6 bidirectional on; linear 3; gru 4; relu; linear 2"])
def test_products_that_do_not_crash_stay(body: str) -> None:
    graph = sink_transposes(expand_macros(half(lower(flow(f"input x 8x7\n{body}")))))
    assert equal_ranks(graph) is graph


def test_io_is_for_halves(netdsl: Commands):
    ran = netdsl("compile", "xor", "--io", "f16")
    assert (ran.code, list(netdsl.folder.iterdir())) == (2, [])
    assert "--io needs --dtype f16" in ran.err


def test_the_weights_of_a_half_are_half_as_large(netdsl: Commands):
    for dtype in ("f32", "f16"):
        assert netdsl("compile", "lenet5", "--dtype", dtype, "--external-data", "-o", f"{dtype}.onnx").code == 0
    tensors = {name: onnx.load(f"{name}.onnx", load_external_data=False).graph.initializer for name in ("f32", "f16")}
    lengths = {
        name: sum(int(e.value) for t in found for e in t.external_data if e.key == "length")
        for name, found in tensors.items()
    }
    assert lengths == {"f32": 246_824, "f16": 123_412}
    onnx.checker.check_model("f16.onnx", full_check=True)
