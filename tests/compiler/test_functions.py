"""Blocks as functions of a model: what comes out when they are inlined, what they are called, what goes with them."""

from __future__ import annotations

from collections import Counter
from functools import cache
from io import BytesIO
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest

from netdsl import load
from netdsl.backend.compile import CompileOptions, compile_net, structure
from netdsl.backend.emit import Emitted
from netdsl.backend.functions import Call, _tree
from netdsl.base.text import Frame, Source, Span
from netdsl.elaborate.library import zoo_nets
from netdsl.ir.graph import Operation, Origin
from netdsl.ir.net import Net, Node
from netdsl.lower import lower
from netdsl.ops.activations import Relu
from tests.support.cli_tools import Commands, netdsl
from tests.support.programs import net_of
from tests.support.reference import open_net

__all__ = ["netdsl"]

NESTED = """
block unit(width) { conv 3x3 width bias off; bn; relu }
block gate { mul { global_avgpool; conv 1x1 channels; sigmoid } }
net nested {
  input image 3x6x6
  unit 4
  first: unit 4
  gate
  a: unit 4
  output early { gate; dense 2 }
  second: unit 4
  concat { } { reuse first }
  gate
  output late { unit 2; global_avgpool; dense 3 }
}
"""
STATISTICS = ("weight", "bias", "running_mean", "running_var")
PROGRAMS = {
    "nested": NESTED,
    "constants": "block c { upsample 2; slice 0 0 2; pad 1; clip 0 1; reshape 2x144; relu6 }\n"
    "net n { input x 4x5x5\n c\n reshape 4x9x8\n c2: seq { relu; slice 1 0 5; slice 2 0 5; c } }",
    "an output within": "block c { conv 3x3 2 }\n"
    "net n { input x 4x5x5\n conv 1x1 4\n output y { c }\n output z { c; relu } }",
    "two results": "block c(n) { a: conv 3x3 n; b: relu }\n"
    "net n { input x 4x5x5\n l: c 4\n add { } { from l.a }\n dense 3 }",
    "alone": "block c { relu }\nnet n { input x 4\n c\n c\n c }",
    "no block": "net n { input x 4\n dense 3\n relu }",
    "bytes": "block c { scale 1/255; conv 3x3 4; lrn 5 }\nnet n { input x 3x5x5 dtype u8\n c\n c }",
}


def model_of(net: Net, **how: Any) -> onnx.ModelProto:
    file = BytesIO()
    compile_net(net, file, CompileOptions(**how))
    return onnx.load_from_string(file.getvalue())


def run(model: onnx.ModelProto) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feeds = {}
    for x in session.get_inputs():
        shape = [size if isinstance(size, int) else 2 for size in x.shape]
        data = random.integers(0, 255, shape) if "uint8" in x.type else random.standard_normal(shape)
        feeds[x.name] = data.astype({"tensor(uint8)": "u1", "tensor(float16)": "f2"}.get(x.type, "f4"))
    return list(session.run(None, feeds))


def test_an_operation_is_in_calls_that_it_came_from() -> None:
    """In any order: operations that a pass moved out of their call stay outside, with the calls inside it."""
    span = Span(Source("n.net", ""), 0, 0)
    call: Any = ("a block", {})
    layer: Any = None
    outer = Frame(None, span, call=call)
    inner = Frame(outer, span, call=call)
    others = [None, Frame(None, span, call=call), Frame(outer, span, call=call)]
    for frames in permutations([outer, inner, inner, *others]):
        operations = []
        for frame in frames:
            operation = Operation(Relu(), ())
            operation.origin = Origin(Node(layer, (), (), "n", {}, span, frame))
            operations.append(operation)
        found: dict[int, list[Frame]] = {}
        called: list[Frame] = []
        pending: list[tuple[Call, list[Frame]]] = [(_tree(operations), [])]
        for each, path in pending:
            for part in each.parts:
                if isinstance(part, Call):
                    assert part.frame
                    called.append(part.frame)
                    pending.append((part, [*path, part.frame]))
                else:
                    found[part] = path
        assert len(called) == len({*called})
        assert sorted(found) == list(range(len(frames)))
        for at, frame in enumerate(frames):
            assert found[at] == [*(frame or ())][::-1][: len(found[at])]


def operators(model: onnx.ModelProto) -> Counter[tuple[str, bytes]]:
    """What is computed in a model, functions inlined, but for how constants are held."""
    plain = onnx.inliner.inline_local_functions(model) if model.functions else model
    found: Counter[tuple[str, bytes]] = Counter()
    for node in plain.graph.node:
        if node.op_type != "Constant":
            attributes = b"".join(each.SerializeToString(deterministic=True) for each in node.attribute)
            found[node.op_type, attributes] += 1
    return found


@pytest.mark.parametrize("opset", [17, 21, 26])
@pytest.mark.parametrize("name", PROGRAMS)
def test_results_and_weights_stay(name: str, opset: int) -> None:
    net = net_of(PROGRAMS[name])
    plain, folded = model_of(net, opset=opset), model_of(net, opset=opset, functions=True)
    assert bool(folded.functions) == ("block" in PROGRAMS[name])
    assert operators(plain) == operators(folded)
    assert [x.name for x in plain.graph.input] == [x.name for x in folded.graph.input]
    assert [y.name for y in plain.graph.output] == [y.name for y in folded.graph.output]
    weights = {tensor.name: tensor for tensor in plain.graph.initializer}
    for tensor in folded.graph.initializer:
        assert tensor == weights[tensor.name]
    assert {tensor.name for tensor in folded.graph.initializer} >= net.parameters.keys()
    for expected, found in zip(run(plain), run(folded), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("how", [{"dtype": "f16"}, {"dtype": "f16", "io": "f16"}, {"batch": 3}], ids=str)
@pytest.mark.parametrize("name", ["nested", "bytes", "constants", "an output within"])
def test_other_ways_to_compile(name: str, how: dict[str, Any]) -> None:
    net = net_of(PROGRAMS[name])
    plain, folded = model_of(net, **how), model_of(net, functions=True, **how)
    onnx.checker.check_model(folded, full_check=True)
    assert operators(plain) == operators(folded)
    for expected, found in zip(run(plain), run(folded), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_equal_calls_share_a_function_and_blocks_nest() -> None:
    model = model_of(net_of(PROGRAMS["nested"]), functions=True)
    assert [(function.name, function.domain) for function in model.functions] == [
        ("unit", "netdsl"),
        ("gate", "netdsl"),
    ]
    unit = model.functions[0]
    assert list(unit.input) == ["x", "conv1.weight", *(f"bn1.{name}" for name in STATISTICS)]
    assert list(unit.output) == ["y"]
    assert [node.op_type for node in unit.node] == ["Conv", "BatchNormalization", "Relu"]
    assert unit.doc_string == "the block unit of test.net:2:7"
    first = next(node for node in model.graph.node if node.name == "first")
    assert (first.op_type, first.input[1]) == ("unit", "first.conv1.weight")
    assert {entry.key: entry.value for entry in first.metadata_props} == {"netdsl.source": "test.net:7:10"}

    inner = model_of(
        net_of("block a { relu }\nblock b { a; conv 1x1 2 }\nnet n { input x 2x3x3\n b\n b\n a }"), functions=True
    )
    assert [function.name for function in inner.functions] == ["a", "b"]
    assert [node.op_type for node in inner.functions[1].node] == ["a", "Conv"]
    assert [node.op_type for node in inner.graph.node] == ["b", "b", "a"]


def test_other_arguments_are_another_function_and_other_shapes_are_not() -> None:
    program = "block a(n, k) { conv k n }\nnet n { input x 2x9x9\n a 3 3x3\n a 4 3x3\n a 4 5x5\n a 4 3x3 }"
    model = model_of(net_of(program), functions=True)
    assert [node.op_type for node in model.graph.node] == ["a", "a", "a_1", "a"]


def test_equal_nets_give_equal_bytes_and_the_plain_model_is_as_ever() -> None:
    net = net_of(PROGRAMS["nested"])
    first, again = model_of(net, functions=True), model_of(net_of(PROGRAMS["nested"]), functions=True)
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert not model_of(net).functions
    assert {each.domain for each in model_of(net).opset_import} == {""}


@cache
def skeletons(name: str) -> tuple[Emitted, Emitted]:
    net = open_net(name)
    return structure(lower(net)), structure(lower(net), functions=True)


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("googlenet", "resnet18", "squeezenet", "lenet5")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo_nets()
    ],
)
def test_the_zoo(name: str) -> None:
    """The structure is checked by onnx, and is the same after inlining."""
    plain, folded = skeletons(name)
    assert operators(plain.skeleton) == operators(folded.skeleton)
    assert [p.name for p in plain.parameters] == [p.name for p in folded.parameters]
    assert len(folded.model.graph.node) <= len(plain.model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "googlenet", "densenet121", "mobilenet_v3_large", "enet_encoder"])
def test_the_zoos_results(name: str) -> None:
    net = open_net(name)
    for expected, found in zip(run(model_of(net, batch=1)), run(model_of(net, batch=1, functions=True)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_command(netdsl: Commands) -> None:
    ran = netdsl("compile", "resnet18", "--functions", "--external-data")
    assert ran.code == 0
    assert "15 nodes, 2 functions, opset 21" in " ".join(ran.err.split()), ran.err
    model = onnx.load("resnet18.onnx")
    assert {function.name for function in model.functions} == {"basic", "basic_1"}


@pytest.mark.parametrize("others", [("--training",), ("--quantize", "int8", "--calibrate", "x.npy")])
def test_what_does_not_go_together(netdsl: Commands, others: tuple[str, ...]) -> None:
    ran = netdsl("compile", "lenet5", "--functions", *others)
    assert ran.code == 2
    assert "E0641" in ran.err
    assert "--functions" in ran.err


def test_from_python(tmp_path: Path) -> None:
    net = load("resnet18")
    net.save(tmp_path / "a.onnx", functions=True)
    model = net.to_onnx(functions=True)
    assert [function.name for function in model.functions] == ["basic", "basic_1"]
    assert onnx.load(tmp_path / "a.onnx") == model
