from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest

from netdsl import ops
from netdsl.base.shape import Size, Undecidable
from netdsl.ir.graph import BYTES, DTYPES, Graph, Tensor
from netdsl.ir.init import zeros
from netdsl.ir.net import Parameter
from netdsl.lower import lower, macs, macs_of
from netdsl.ops.linear import Gemm
from tests.support.handmade import Fake, Maker, resnet


def kinds(graph):
    return [type(operation.op).__name__ for operation in graph.operations]


def test_elements_take_the_bytes_of_numpys():
    names, others = {"f": "float", "u": "uint", "i": "int"}, {"bool": "bool", "bf16": "uint16"}
    numpys = {name: others.get(name) or f"{names[name[0]]}{name[1:]}" for name in DTYPES}
    assert {name: np.dtype(numpy).itemsize for name, numpy in numpys.items()} == BYTES


def test_apply_infers_and_records():
    graph = Graph("g")
    x = graph.input("x", (Size("N"), 4))
    w = graph.parameter(Parameter("w", (3, 4), zeros, fan_in=4, fan_out=3))
    (y,) = graph.apply(Gemm(trans_b=True), x, w)
    assert (y.shape, y.dtype) == ((Size("N"), 3), "f32")
    assert y.producer is graph.operations[0]
    assert y.producer.inputs == (x, w)
    assert y.producer.outputs == (y,)


def test_parameter_of_one_declaration_is_one_value():
    graph = Graph("g")
    p = Parameter("w", (3,), zeros, fan_in=1, fan_out=1)
    assert graph.parameter(p) is graph.parameter(p)
    with pytest.raises(AssertionError):
        graph.parameter(Parameter("w", (3,), zeros, fan_in=1, fan_out=1))


def test_values_of_two_graphs_do_not_mix():
    x, y = (Graph(name).input("x", (1, 4)) for name in "ab")
    with pytest.raises(AssertionError):
        ops.add(x, y)


def test_tensor_counts_its_elements():
    with pytest.raises(AssertionError):
        Tensor("f32", (2, 2), (1.0,))


def test_lower_keeps_origin_names_and_order():
    graph = lower(resnet())
    assert list(graph.inputs) == ["image"]
    assert list(graph.outputs) == ["output"]
    assert [p.name for p in graph.parameters.values()] == list(graph.parameters)
    assert list(graph.parameters)[:2] == ["conv1.weight", "bn1.weight"]
    assert kinds(graph)[:3] == ["Conv", "BatchNormalization", "Relu"]
    assert kinds(graph)[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert [o.origin.name for o in graph.operations][-3:] == ["global_avgpool1", "fc", "fc"]
    assert [o.outputs[0].name for o in graph.operations][-3:] == ["global_avgpool1", "", "fc"]


@pytest.mark.parametrize(("batch", "first"), [(None, Size("N")), (3, 3)])
def test_lower_passes_the_batch_through(batch, first):
    graph = lower(resnet(), batch=batch)
    assert {o.outputs[0].shape[0] for o in graph.operations} == {first}


def test_declared_shape_is_distrusted():
    m = Maker()
    x = m.input("x", (4,))
    m.output("y", m.node(Fake("liar", lambda x, _: ops.relu(x)), [x], (5,), "liar1"))
    with pytest.raises(AssertionError, match="liar1"):
        lower(m.net())


def test_training_outputs_are_left_out_with_what_only_they_need():
    m = Maker()
    x = m.input("x", (4,))
    label = m.input("label", (1,), "i64")
    y = m.relu(x, "relu1")
    m.output("main", y)
    m.output("aux", m.dense(y, "aux.dense1", 3), training=True)
    m.output("other", m.identity(label, "dropout1"), training=True)
    graph = lower(m.net())
    assert (list(graph.inputs), list(graph.outputs), list(graph.parameters)) == (["x"], ["main"], [])
    assert kinds(graph) == ["Relu"]


def test_each_output_is_a_value_of_its_own():
    m = Maker()
    x = m.input("x", (4,))
    y = m.relu(x, "relu1")
    m.output("a", y)
    m.output("b", y)
    m.output("c", x)
    m.output("d", m.identity(y, "dropout1"))
    graph = lower(m.net())
    assert kinds(graph) == ["Relu", "Identity", "Identity", "Identity"]
    assert len(set(graph.outputs.values())) == 4
    assert all(v.producer for v in graph.outputs.values())
    assert [o.origin.name for o in graph.operations] == ["relu1", "relu1", "x", "dropout1"]


@pytest.mark.parametrize(("dtype", "expected"), [("f32", "f32"), ("u8", "f32"), ("f16", "f32"), ("i64", "i64")])
def test_input_types(dtype, expected):
    m = Maker()
    x = m.input("x", (4,), dtype)
    m.output("y", m.identity(x, "dropout1"))
    graph = lower(m.net())
    assert graph.inputs["x"].dtype == dtype
    assert graph.outputs["y"].dtype == expected


def test_reused_weights_are_one_parameter():
    m = Maker()
    x = m.input("x", (4,))
    first = m.dense(x, "a", 4)
    second = m.node(first.layer, [first], (4,), "b", first.parameters.values())
    m.output("y", second)
    graph = lower(m.net())
    assert list(graph.parameters) == ["a.weight", "a.bias"]
    assert graph.operations[0].inputs[1:] == graph.operations[1].inputs[1:]


def test_ten_thousand_layers():
    m = Maker()
    x = m.input("x", (4,))
    for i in range(10_000):
        x = m.relu(x, f"relu{i + 1}")
    m.output("y", m.add([x] * 10_000, "add1"))
    graph = lower(m.net())
    assert len(graph.operations) == 10_001
    assert len(graph.operations[-1].inputs) == 10_000


def test_macs_by_hand():
    m = Maker()
    x = m.input("x", (3, 8, 8))
    c = m.conv(x, "conv1", 6, 3, 2, bias=True)
    s = m.add([c, c], "add1")
    d = m.dense(s, "dense1", 10)
    m.output("y", d)
    m.output("aux", m.dense(s, "dense2", 1000), training=True)
    conv, dense = 6 * 4 * 4 * 3 * 3 * 3, 6 * 4 * 4 * 10
    assert [macs_of([node]) for node in (c, s, d)] == [conv, 0, dense]
    assert macs(m.net()) == conv + dense


def test_macs_of_a_size_known_at_run_time():
    m = Maker()
    x = m.input("x", (3, Size("H"), 8))
    with pytest.raises(Undecidable):
        macs_of([m.conv(x, "conv1", 6, 3)])


def test_macs_of_resnet50_by_an_independent_count():
    """The count of this net in conv-by-conv arithmetic, with the stride in the 3x3 convolution."""
    expected, size, channels = 112 * 112 * 64 * 3 * 49, 112, 64
    for stage, rounds in enumerate((3, 4, 6, 3)):
        planes = 64 << stage
        for j in range(rounds):
            out = size // 2 if j == 0 else size
            expected += size**2 * planes * channels + out**2 * (planes * planes * 9 + planes * 4 * planes)
            expected += out**2 * channels * 4 * planes * (j == 0)
            size, channels = out, 4 * planes
    assert macs(resnet((3, 4, 6, 3), 64, (3, 224, 224), 1000)) == expected + 2048 * 1000


def test_lowering_imports_no_numpy():
    modules = "netdsl.lower, netdsl.ops.api, netdsl.backend.compile"
    code = f"import sys, {modules}; print({{'numpy', 'onnx'}} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_functions_of_each_family_are_in_ops():
    modules = [import_module(f"netdsl.ops.{each.name}") for each in iter_modules(ops.__path__)]
    listed = [(module, name) for module in modules for name in getattr(module, "__all__", ())]
    names = [name for _, name in listed]
    assert {"relu", "conv"} <= set(names)
    assert len(names) == len(set(names))
    assert [name for module, name in listed if getattr(ops, name) is not getattr(module, name)] == []


def test_ops_are_imported_on_first_use():
    code = (
        "import sys, netdsl.ops as o; print('netdsl.ops.api' in sys.modules, o.relu, 'netdsl.ops.api' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.startswith("False ")
    assert out.endswith("True\n")
    with pytest.raises(AttributeError):
        _ = ops.no_such_op
