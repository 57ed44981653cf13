from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from netdsl import ops
from netdsl.backend.compile import CompileOptions, compile_net, compile_to_bytes, structure
from netdsl.backend.emit import OPSETS, Names, check, emit
from netdsl.backend.serialize import TooLargeForOnnx, _varint, to_bytes, write
from netdsl.base.shape import Size
from netdsl.base.user_error import UserError
from netdsl.ir.graph import FORWARD, Graph, Origin
from netdsl.ir.init import Init, zeros
from netdsl.ir.net import Parameter
from netdsl.lower import lower
from netdsl.passes.half import half
from netdsl.weights.draw import draw, draw_all
from tests.support.handmade import Fake, Maker, resnet
from tests.support.paths import TESTS
from tests.support.programs import net_of


def model_of(net, **options):
    return onnx.load_from_string(compile_to_bytes(net, CompileOptions(**options)))


def props(message):
    return {entry.key: entry.value for entry in message.metadata_props}


@cache
def image(batch):
    return np.random.default_rng(0).standard_normal((batch, 3, 16, 16)).astype(np.float32)


def run(data, batch):
    from onnxruntime import InferenceSession

    session = InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image(batch)})[0]


@pytest.mark.parametrize("bits", range(0, 64, 7))
def test_numbers_are_written_as_protobuf_writes_them(bits):
    for number in {min(max(0, 2**bits + offset), 2**63 - 1) for offset in (-2, -1, 0, 1)}:
        assert onnx.ModelProto(model_version=number).SerializeToString() == b"\x28" + _varint(number)


@pytest.mark.parametrize("sizes", [range(16, 40), range(120, 132), range(4070, 4100), range(16380, 16388)])
def test_tensors_of_every_length_are_read_back(sizes):
    """A message's length, a shape and a name grow by a byte at 128, and by another at 16,384."""
    for size in sizes:
        name = "l" * (size % 200 + 1)
        model = model_of(net_of(f"net n {{ input x {size}; {name}: dense 1 bias off }}"))
        (weight,) = model.graph.initializer
        assert (weight.name, list(weight.dims)) == (f"{name}.weight", [1, size])
        assert numpy_helper.to_array(weight).size == size
        onnx.checker.check_model(model)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_residual_net_runs_at_every_opset(opset):
    data = compile_to_bytes(resnet(), CompileOptions(opset=opset))
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version >= 10) == (opset, True)
    assert run(data, 1).shape == (1, 5)
    expected = ReferenceEvaluator(model).run(None, {"image": image(3)})[0]
    np.testing.assert_allclose(run(data, 3), expected, rtol=1e-4, atol=1e-5)


def test_double_precision_is_the_same_net():
    net = resnet()
    emitted = emit(lower(net), float_type="f64")
    check(emitted)
    data = to_bytes(emitted, draw_all(net.parameters.values(), 0))
    model = onnx.load_from_string(data)
    assert {t.data_type for t in model.graph.initializer} == {onnx.TensorProto.DOUBLE}
    (y,) = ReferenceEvaluator(model).run(None, {"image": image(3).astype(np.float64)})
    assert y.dtype == np.float64
    np.testing.assert_allclose(run(compile_to_bytes(net), 3), y, rtol=1e-4, atol=1e-5)


def test_the_stream_parses_to_the_drawn_weights():
    net = resnet()
    graph = model_of(net, seed=7).graph
    assert [t.name for t in graph.initializer] == list(net.parameters)
    for tensor in graph.initializer:
        drawn = np.concatenate(list(draw(net.parameters[tensor.name], 7)))
        assert tuple(tensor.dims) == net.parameters[tensor.name].shape
        np.testing.assert_array_equal(numpy_helper.to_array(tensor).ravel(), drawn)


def test_given_weights_are_taken_as_they_are():
    net = resnet()
    rng = np.random.default_rng(1)
    # Doubles, big-endian and not contiguous: whatever numpy can hold becomes little-endian float32.
    weights = {name: rng.random(p.shape[::-1]).astype(">f8").T for name, p in net.parameters.items()}
    graph = onnx.load_from_string(to_bytes(emit(lower(net)), weights.items())).graph
    for tensor in graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name].astype(np.float32))


@pytest.mark.parametrize("change", ["order", "missing", "short", "long"])
def test_wrong_weights_are_asserts(change):
    net = resnet()
    weights = [(name, np.zeros(p.shape, np.float32)) for name, p in net.parameters.items()]
    if change == "order":
        weights[0], weights[1] = weights[1], weights[0]
    if change == "missing":
        weights.pop()
    if change == "short":
        weights[0] = weights[0][0], weights[0][1][1:]
    if change == "long":
        weights[0] = weights[0][0], [weights[0][1]] * 2
    with pytest.raises((AssertionError, ValueError)):
        to_bytes(emit(lower(net)), weights)


def test_the_skeleton_takes_the_weights_as_inputs():
    net = resnet()
    emitted = structure(lower(net))
    assert [x.name for x in emitted.skeleton.graph.input] == ["image", *net.parameters]
    assert [x.name for x in emitted.model.graph.input] == ["image"]


def test_the_checker_sees_the_shapes():
    """A body that lies about its result's size is caught by onnx, not only by us."""
    emitted = emit(lower(resnet()))
    emitted.model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6
    with pytest.raises(onnx.shape_inference.InferenceError):
        check(emitted)


@pytest.mark.parametrize(("batch", "dim"), [(None, "N"), (4, 4)])
def test_batch(batch, dim):
    graph = model_of(resnet(), batch=batch).graph
    for value in (*graph.input, *graph.output):
        first = value.type.tensor_type.shape.dim[0]
        assert (first.dim_param or first.dim_value) == dim


def test_formulas_are_named():
    m = Maker()
    x = m.input("x", (3, Size("H"), 8))
    m.output("y", m.conv(x, "conv1", 2, 3, 2))
    graph = model_of(m.net()).graph
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert dims == [["N", 3, "H", 8], ["N", 2, "(H + 1)//2", 4]]


def test_a_model_tells_where_it_comes_from():
    net = resnet(
        doc="Two\nlines.",
        settings={"depth": 50, "unit": Fake("basic", name="basic")},
        about={"year": 2012, "paper": "He", "top5": [1, 2]},
    )
    model = model_of(net)
    assert (model.producer_name, model.doc_string, model.graph.name) == ("netdsl", "Two\nlines.", "resnet")
    known = props(model)
    assert model.producer_version == known.pop("netdsl.version")
    assert known == {
        "netdsl.source": "resnet.net",
        "netdsl.source_sha256": hashlib.sha256(net.source.text.encode()).hexdigest(),
        "netdsl.set.depth": "50",
        "netdsl.set.unit": '"basic"',
        "netdsl.about.year": "2012",
        "netdsl.about.paper": "He",
        "netdsl.about.top5": "[1, 2]",
    }  # fmt: skip


def test_a_node_tells_where_it_comes_from():
    net = resnet()
    lines = {node.name: str(node.span).rpartition("/")[2] for node in net.nodes}
    model = model_of(net)
    for node in model.graph.node:
        about = props(node)
        assert about["netdsl.source"] == lines[about["netdsl.layer"]]
        assert node.name.partition("/")[0] == about["netdsl.layer"]
    assert b"/home" not in model.SerializeToString()


def test_names_are_those_of_the_net():
    net = resnet()
    graph = model_of(net).graph
    names = [node.name for node in graph.node]
    layers = [node.name for node in net.nodes if node.layer.kind not in ("input", "dropout")]
    assert names == [*layers[:-1], "fc/Flatten", "fc"]
    assert [list(node.output) for node in graph.node[-2:]] == [["fc/Flatten"], ["output"]]
    assert all(list(node.output) == [node.name] for node in graph.node[:-1])


def test_names_that_collide():
    m = Maker()
    x = m.input("relu1", (4,))
    y = m.relu(x, "relu1")
    y = m.relu(y, "taken")
    y = m.scale(m.scale(y, "twice", 2.0), "twice_1", 3.0)
    double = m.node(Fake("double", lambda x, _: ops.relu(ops.relu(ops.relu(x)))), [y], (4,), "double")
    m.output("taken", m.relu(double, "end"))
    model = model_of(m.net())
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    assert [n.name for n in graph.node] == [
        "relu1_1",
        "taken",
        "twice/Mul",
        "twice",
        "twice_1/Mul",
        "twice_1",
        "double/Relu",
        "double/Relu_1",
        "double",
        "end",
    ]
    assert [n.output[0] for n in graph.node][:4] == ["relu1_1", "taken_1", "twice/Mul", "twice"]
    assert graph.node[-1].output[0] == "taken"
    constants = ["twice/Mul/constant", "twice/constant", "twice_1/Mul/constant", "twice_1/constant"]
    assert [t.name for t in graph.initializer] == constants


def test_names_are_handed_out_once():
    names = Names(["a"])
    assert [names.take(wanted) for wanted in ["a", "a_1", "a", "b", "b"]] == ["a_1", "a_1_1", "a_2", "b", "b_1"]


def test_two_outputs_of_one_value_and_an_input():
    m = Maker()
    x = m.input("x", (4,))
    y = m.relu(x, "relu1")
    for name, node in {"a": y, "b": y, "c": x}.items():
        m.output(name, node)
    model = model_of(m.net())
    onnx.checker.check_model(model, full_check=True)
    values = ReferenceEvaluator(model).run(None, {"x": np.float32([[-1, 0, 1, 2]])})
    np.testing.assert_array_equal(np.concatenate(values), [[0, 0, 1, 2], [0, 0, 1, 2], [-1, 0, 1, 2]])


def test_pixels_begin_with_a_cast():
    m = Maker()
    x = m.input("x", (4,), "u8")
    m.output("y", m.scale(x, "scale1", 2.0))
    model = model_of(m.net())
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.uint8([[0, 1, 2, 255]])})
    np.testing.assert_array_equal(y, [[0.5, 2.5, 4.5, 510.5]])


SCRIPT = """
import hashlib, sys
sys.path[:0] = {path!r}
from tests.support.handmade import resnet
from netdsl.backend.compile import compile_to_bytes
data = compile_to_bytes(resnet(settings={{"a": 1, "b": "x"}}, about={{"year": 2012}}))
print(hashlib.sha256(data).hexdigest())
"""


def test_equal_bytes_in_every_process():
    here = TESTS
    script = SCRIPT.format(path=[str(here), str(here.parent)])
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


def test_the_stream_passes_in_small_pieces():
    """No write is larger than a block of weights, and what is written last is the last weight."""

    class Pieces(io.BytesIO):
        def write(self, data):
            sizes.append(memoryview(data).nbytes)
            return super().write(data)

    sizes = []
    m = Maker()
    m.output("y", m.dense(m.input("x", (1500,)), "dense1", 1500, Init("normal", 1.0)))
    file = Pieces()
    compile_net(m.net(), file)
    assert max(sizes) == 4 << 20
    assert sizes[-1] == 4 * 1500
    assert file.getvalue() == compile_to_bytes(m.net())


class Nowhere:
    def write(self, data):
        raise AssertionError("something was written")


def huge(units):
    m = Maker()
    weight = Parameter("dense1.weight", (units, 1 << 16), zeros, fan_in=1, fan_out=1)
    body = lambda x, w: ops.gemm(x, w.weight, trans_b=True)  # noqa: E731
    m.output("y", m.node(Fake("dense", body), [m.input("x", (1 << 16,))], (units,), "dense1", [weight]))
    return m.net()


def test_more_than_a_protobuf_message_holds_is_said_before_anything_is_written():
    with pytest.raises(TooLargeForOnnx) as caught:
        compile_net(huge(1 << 13), Nowhere())
    assert isinstance(caught.value, UserError)
    assert "2.1 GB" in caught.value.message


def test_lengths_below_the_limit_are_exact():
    """1.9 GB, of which only the lengths are looked at."""

    class Counter:
        total = 0
        head = b""

        def write(self, data):
            self.head = self.head or bytes(data)
            self.total += memoryview(data).nbytes

    file = Counter()
    row = np.zeros(1 << 22, np.float32)
    write(emit(lower(huge(7424))), [("dense1.weight", (row for _ in range(116)))], file)
    # The graph is the last field of the head: its tag, its length in five digits, then its first bytes.
    marks = [i for i in range(len(file.head)) if file.head[i] == 7 << 3 | 2]
    lengths = {
        sum((file.head[i + 1 + k] & 127) << 7 * k for k in range(5)) + i + 6 for i in marks if i + 5 < len(file.head)
    }
    assert file.total in lengths


def test_ten_thousand_layers():
    m = Maker()
    x = m.input("x", (4,))
    for i in range(10_000):
        x = m.relu(x, f"relu{i + 1}")
    m.output("y", x)
    assert len(structure(lower(m.net())).model.graph.node) == 10_000


def test_settings_are_json():
    known = props(model_of(resnet(settings={"repeats": [3, 4], "on": True, "ratio": 0.5})))
    assert [json.loads(known[f"netdsl.set.{key}"]) for key in ("repeats", "on", "ratio")] == [[3, 4], True, 0.5]


def scanning():
    """A graph whose scans share a body, which reads a value of the graph by name and has a constant."""
    graph = Graph("scans")
    x, w = graph.input("x", (5, 2, 3)), graph.input("w", (3, 3))

    def step(h, x, w):
        after = ops.tanh(ops.add(ops.gemm(h, w), x, 0.5))
        return [after], [after]

    last, y = ops.scan(step, [ops.zeros(graph, (2, 3))], [x], [w])
    again, z = graph.apply(y.producer.op, last, y, w)
    for name, value in (("y", y), ("z", z), ("last", again)):
        graph.output(name, value)
    return graph


@pytest.mark.parametrize("opset", OPSETS)
def test_scans_compute_what_their_bodies_do(opset):
    from onnxruntime import InferenceSession

    emitted = emit(scanning(), opset=opset)
    check(emitted)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 2, 3), np.float32), rng.standard_normal((3, 3), np.float32)
    session = InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])
    state, rows = np.zeros((2, 3)), x
    for found in session.run(["y", "z"], {"x": x, "w": w}):
        expected = []
        for row in rows:
            state = np.tanh(state @ w + row + 0.5)
            expected.append(state)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        rows = expected
    np.testing.assert_allclose(session.run(["last"], {"x": x, "w": w})[0], state, atol=1e-5)


def test_names_are_unique_in_bodies_too():
    graph = emit(scanning()).model.graph
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    assert len(bodies) == 2
    values, nodes = [], []
    for each in (graph, *bodies):
        values += [x.name for x in (*each.input, *each.initializer)] + [y for node in each.node for y in node.output]
        nodes += [node.name for node in each.node]
    assert len(set(values)) == len(values)
    assert len(set(nodes)) == len(nodes)
    assert all("w" in [x for node in body.node for x in node.input] for body in bodies)
    assert [len(node.input) for node in graph.node if node.op_type == "Scan"] == [2, 2]


def test_scans_in_half_precision():
    from onnxruntime import InferenceSession

    feeds = {"x": np.ones((5, 2, 3), np.float32), "w": np.eye(3, dtype=np.float32)}
    one, two = (
        InferenceSession(to_bytes(emit(graph), ()), providers=["CPUExecutionProvider"]).run(None, feeds)
        for graph in (scanning(), half(scanning()))
    )
    for a, b in zip(one, two, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_bodies_are_not_part_of_functions():
    with pytest.raises(AssertionError, match="body"):
        structure(scanning(), functions=True)


def test_a_lean_model_has_equal_constants_once_short_names_and_no_metadata():
    graph = Graph("constants")
    x = graph.input("x", (2, 3))
    with graph.owned(Origin(phase=FORWARD)):
        y = ops.add(ops.mul(ops.reshape(x, (3, 2), batch=False), 2.0), 1.0)
        graph.output("y", ops.reshape(ops.mul(ops.reshape(y, (6,), batch=False), 2.0), (3, 2), batch=False))
    apart, merged = emit(graph).model, emit(graph, lean=True).model
    assert len(apart.graph.initializer) == 6
    assert len(merged.graph.initializer) == 4
    assert all(node.metadata_props for node in apart.graph.node)
    assert not any(node.metadata_props for node in merged.graph.node)
    assert [node.name for node in merged.graph.node] == [node.name for node in apart.graph.node]
    inner = {name for node in merged.graph.node for name in (*node.input, *node.output)} - {"x", "y"}
    assert max(map(len, inner)) <= 3
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    expected, found = (ReferenceEvaluator(model).run(None, feeds)[0] for model in (apart, merged))
    np.testing.assert_array_equal(found, expected)
