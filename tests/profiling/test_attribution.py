"""Which nodes a kernel computes: every node of a model has one owner, and no kernel is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import netdsl
from netdsl.backend.quantize import quantize
from netdsl.backend.session import OPTIMIZED, Session
from netdsl.profiling.attribution import Attribution, RunNode, base_names, operator
from netdsl.profiling.model_nodes import ModelNode, ModelNodes, inlined, model_nodes, read_model
from tests.support.paths import ROOT

FUSED = {
    "relu1_nchwc": "relu1",
    "norm0_bn_nchwc": "norm0",
    "fused dense1": "dense1",
    "features.0.2/QuickGeluFusion/": "features.0.2",
    "stage2.1.slice2/GatherSliceToSplitFusion": "stage2.1.slice2",
    "conv1_token_17": "conv1",
    "rnn/Reshape_6_new_reshape": "rnn/Reshape_6",
    "layer1.0.conv1": "layer1.0.conv1",
    "InsertedPrecisionFreeCast_conv1.2_nchwc": "conv1.2",
    "relu1_DequantizeLinear/duplicated_token_3": "relu1_DequantizeLinear",
}
SMALL = (
    "resnet20",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "crnn",
    "wavenet",
    "deit_ti",
)
"""Nets of the zoo with the fusions, layouts and loops that there are."""

ZOO = json.loads((ROOT / "specs" / "index.json").read_text())
LARGE = {name for name, entry in ZOO.items() if entry["params"] > 100e6}
"""Nets whose sessions take more memory than a test may."""


def node(op: str, name: str, *inputs: str) -> ModelNode:
    return ModelNode(name, op, inputs, [name])


def owners(found: Attribution, run: list[RunNode]) -> dict[str, str]:
    return {node.name: run[at].name for node, at in found.owner.items()}


@pytest.mark.parametrize("name", FUSED)
def test_a_kernel_is_named_after_a_node(name: str) -> None:
    assert base_names(name)[-1] == FUSED[name]


def test_a_sum_belongs_to_the_convolution_that_runs_last() -> None:
    nodes = [
        *(node("Conv", "conv1", "x", "w1"), node("BatchNormalization", "bn1", "conv1")),
        *(node("Conv", "conv2", "x", "w2"), node("BatchNormalization", "bn2", "conv2")),
        *(node("Add", "add", "bn1", "bn2"), node("Relu", "relu", "add"), node("Conv", "conv3", "relu", "w3")),
    ]
    run = [RunNode("bn1_nchwc", "Conv"), RunNode("bn2_nchwc", "Conv"), RunNode("conv3_nchwc", "Conv")]
    found = Attribution(nodes, run)
    second = dict.fromkeys(("conv2", "bn2", "add", "relu"), "bn2_nchwc")
    assert owners(found, run) == {"conv1": "bn1_nchwc", "bn1": "bn1_nchwc", **second, "conv3": "conv3_nchwc"}
    assert [each.main and each.main.name for each in found.owned] == ["conv1", "conv2", "conv3"]


def test_the_operator_of_a_kernel_is_not_looked_for_behind_other_kernels() -> None:
    nodes = [node("Split", "split", "x"), node("Relu", "relu", "split"), node("Slice", "slice", "relu")]
    run = [RunNode("split", "Split"), RunNode("relu", "Relu"), RunNode("slice/GatherSliceToSplitFusion", "Split")]
    found = Attribution(nodes, run)
    assert [each.main and each.main.name for each in found.owned] == ["split", "relu", "slice"]


def test_a_constant_belongs_to_its_first_reader() -> None:
    nodes = [
        node("Transpose", "turned", "w"),
        node("Relu", "relu", "x"),
        node("MatMul", "product", "relu", "turned"),
        node("MatMul", "second", "product", "turned"),
    ]
    run = [RunNode("relu", "Relu"), RunNode("product", "MatMul"), RunNode("second", "MatMul")]
    assert owners(Attribution(nodes, run), run)["turned"] == "product"


def test_a_name_of_an_unknown_form_is_unknown() -> None:
    run = [RunNode("relu", "Relu"), RunNode("GeneratedKernel_17", "Mystery")]
    found = Attribution([node("Relu", "relu", "x")], run)
    assert [each.main and each.main.name for each in found.owned] == ["relu", None]


def test_a_kernel_without_a_name_of_a_node_is_known_by_its_result() -> None:
    nodes = [node("Add", "add", "x", "y"), node("LayerNormalization", "norm", "add")]
    run = [RunNode("SkipLayerNormalization", "SkipLayerNormalization", ["x", "y"], ["norm"])]
    found = Attribution(nodes, run)
    assert found.owned[0].main is nodes[1]
    assert owners(found, run) == dict.fromkeys(("add", "norm"), "SkipLayerNormalization")


def test_a_conversion_belongs_to_the_kernel_that_needs_it() -> None:
    nodes = [node("Relu", "relu", "x"), node("Conv", "conv", "relu", "w"), node("Flatten", "flat", "conv")]
    run = [
        RunNode("relu", "Relu", ["x"], ["relu"]),
        RunNode("ReorderInput", "ReorderInput", ["relu"], ["token_0"]),
        RunNode("conv_nchwc", "Conv", ["token_0", "w"], ["token_1"]),
        RunNode("ReorderOutput", "ReorderOutput", ["token_1"], ["conv"]),
        RunNode("flat", "Flatten", ["conv"], ["flat"]),
    ]
    found = Attribution(nodes, run)
    assert [each.main and each.main.name for each in found.owned] == ["relu", "conv", "conv", "conv", "flat"]
    assert [each.layout for each in found.owned] == [False, True, False, True, False]
    assert [len(each.nodes) for each in found.owned] == [1, 0, 1, 0, 1]


def test_conversions_in_a_row_belong_to_the_nearest_kernel() -> None:
    """A model of half precision: the convolution runs in single precision, and its result is an output."""
    run = [
        RunNode("InsertedPrecisionFreeCast_conv_nchwc", "Conv", ["x", "w"], ["token_0"]),
        RunNode("ReorderOutput", "ReorderOutput", ["token_0"], ["InsertedPrecisionFreeCast_conv"]),
        RunNode("InsertedPrecisionFreeCast_conv", "Cast", ["InsertedPrecisionFreeCast_conv"], ["conv"]),
    ]
    found = Attribution([node("Conv", "conv", "x", "w")], run)
    assert [each.main and each.main.name for each in found.owned] == ["conv"] * 3
    assert [each.layout for each in found.owned] == [False, True, True]


def test_a_copy_of_a_node_does_not_own_it() -> None:
    nodes = [node("DequantizeLinear", "d", "x"), node("Conv", "conv", "d", "w"), node("Relu", "relu", "d")]
    run = [RunNode("d/duplicated", "DequantizeLinear"), RunNode("d", "DequantizeLinear"), RunNode("conv", "Conv")]
    found = Attribution(nodes, run)
    assert [each.main and each.main.name for each in found.owned] == ["d", "d", "conv"]
    assert owners(found, run)["d"] == "d"


def test_the_parts_of_an_operator_without_a_kernel_belong_to_it() -> None:
    part = "_inlfunc_Softmax_token_2_X_"
    run = [
        RunNode("relu", "Relu", ["x"], ["relu"]),
        RunNode(f"{part}Exp", "Exp", ["relu"], [f"{part}Exp"]),
        RunNode(f"{part}Sum", "ReduceSum", [f"{part}Exp"], [f"{part}Sum"]),
        RunNode(f"{part}Y", "Div", [f"{part}Exp", f"{part}Sum"], ["scores"]),
    ]
    found = Attribution([node("Relu", "relu", "x"), node("Softmax", "scores", "relu")], run)
    assert [each.main and each.main.name for each in found.owned] == ["relu", "scores", "scores", "scores"]


def optimized(model: onnx.ModelProto, folder: Path) -> tuple[ModelNodes, ModelNodes]:
    """A model, and what onnxruntime makes of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / OPTIMIZED)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return model_nodes(model), model_nodes(read_model(options.optimized_model_filepath))


def misattributed(model: ModelNodes, made: ModelNodes) -> Iterator[str]:
    """Yield what is wrong with an attribution, and with one by names alone: by the values of the optimized model, which
    have their names still if no layout was changed, another kernel computes a node."""
    run = [RunNode(each.name, each.op, each.inputs, each.outputs) for each in made.nodes]
    found = Attribution(model.nodes, run)
    yield from (f"{each} has no owner" for each in model.nodes if each not in found.owner)
    yield from (f"{each} is unknown" for each, it in zip(run, found.owned, strict=True) if it.main is None)
    counted = [each for it in found.owned for each in it.nodes]
    yield from (f"{each} has several owners" for each in set(counted) if counted.count(each) > 1)
    named = Attribution(model.nodes, [RunNode(each.name, each.op) for each in run])
    makers = {value: each for each in model.nodes for value in each.outputs}
    for at, kernel in enumerate(run):
        for value in kernel.outputs:
            split = operator(kernel.op) == "Split"  # of several slices, the names of the others are lost
            if value in makers and not found.owned[at].layout and not split and named.owner[makers[value]] != at:
                yield f"{makers[value]} is not computed by {run[named.owner[makers[value]]]} but by {kernel}"


@pytest.mark.parametrize("name", SMALL)
def test_each_node_has_one_owner(name: str, tmp_path: Path) -> None:
    assert [*misattributed(*optimized(netdsl.load(name).to_onnx(), tmp_path))] == []


def other_form(name: str, form: str) -> onnx.ModelProto:
    """A net of the zoo in half precision, in int8 or with functions."""
    net = netdsl.load(name)
    if form != "int8":
        return net.to_onnx(dtype="f16") if form == "f16" else inlined(net.to_onnx(functions=True))
    model = net.to_onnx().SerializeToString()
    (x,) = Session(model).inputs.values()
    examples = np.random.default_rng(0).standard_normal((2, *(size or 32 for size in x.shape[1:])), np.float32)
    return quantize(model, [{x.name: examples}])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["f16", "int8", "functions"])
@pytest.mark.parametrize("name", SMALL)
def test_each_node_has_one_owner_in_other_forms(name: str, form: str, tmp_path: Path) -> None:
    assert [*misattributed(*optimized(other_form(name, form), tmp_path))] == []


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", sorted(ZOO.keys() - LARGE))
def test_each_node_of_the_zoo_has_one_owner(name: str, batch: int, tmp_path: Path) -> None:
    assert [*misattributed(*optimized(netdsl.load(name).to_onnx(batch=batch), tmp_path))] == []


def test_a_node_reads_what_its_body_captures() -> None:
    body = onnx.parser.parse_graph("b (float[2] a) => (float[2] c) { d = Add(a, outer) c = Mul(d, a) }")
    scan = onnx.helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    graph = onnx.helper.make_graph([scan], "g", [], [])
    (found,) = model_nodes(onnx.helper.make_model(graph)).nodes
    assert (found.name, found.inputs) == ("y", ("x", "outer"))
