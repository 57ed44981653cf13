"""onnxruntime's optimizer leaves no more nodes of our models than of PyTorch's exports of the same nets.

`NETDSL_TORCH_PYTHON=/path/to/python pytest -m slow tests/compiler/test_lean_exports.py`, as for `test_twins`, with
onnxscript.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from netdsl.app.frontend import load_net
from netdsl.backend.compile import CompileOptions, compile_net
from netdsl.diagnostics.report import Report
from netdsl.ir.net import Net
from tests.compiler.test_twins import TV, TWINS, Twin, twin
from tests.importing.test_twins_come_back import CLASSIFIERS, SAME_NAME

pytestmark = pytest.mark.slow

assert twin  # the fixture

EXPORTERS = ("legacy", "dynamo")
LEVELS = {
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

SEQUENCES = "gpt2 bert llama lstm_lm swin_t mixer_s_32 mixer_b_16 vit_ti_16 vit_b_16"

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (TV.format(name), {}) for name in SAME_NAME.split()},
    **{name: (model, {}) for name, model in CLASSIFIERS.items()},
    **{name: each for name, each in TWINS.items() if each[0].startswith("torchvision.")},
    **{name: TWINS[name] for name in SEQUENCES.split()},
}
"""The twin, as an expression, and parameters of our net."""

SAME = {"resnet18", "resnet50", "mobilenet_v2"}
"""Nets of which onnxruntime computes the same, node by node, as of the older exporter's, so that they take as long."""


def optimized(model: Path, level: str) -> onnx.ModelProto:
    """Return a model as onnxruntime computes it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(model.with_name("optimized.onnx"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its bodies."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes(attribute.g)


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in nodes(model.graph))


def computation(model: onnx.ModelProto) -> tuple[list[str], Counter[str]]:
    """Return what a model computes, as digests of its outputs and of all nodes: equal for models that differ only in
    names, in attributes with default values, and in the operands of sums and products that are first or fused."""
    known = {value.name: f"input {at}" for at, value in enumerate(model.graph.input)}
    known.update((tensor.name, _tensor(tensor)) for tensor in model.graph.initializer)
    found: Counter[str] = Counter()
    for node in model.graph.node:
        inputs = [known.get(name, "") for name in node.input]
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        attributes = {name: value for name, value in attributes.items() if not _is_default(name, value)}
        made = _digest(node.op_type, inputs if node.op_type not in ("Add", "Mul") else sorted(inputs), attributes)
        if node.op_type in ("Conv", "FusedConv") and len(inputs) > 3:  # whose last input is added to its result
            activation = {name: attributes.pop(name) for name in [*attributes] if name.startswith("activation")}
            whole = sorted([f"{_digest(node.op_type, inputs[:3], attributes)} 0", inputs[3]])
            made = _digest("sum", whole, activation)
        found[made] += 1
        known.update((name, f"{made} {at}") for at, name in enumerate(node.output))
    return [known[value.name] for value in model.graph.output], found


def _tensor(tensor: onnx.TensorProto) -> str:
    """Return the shape of a tensor, and its values if they are sizes or a single number."""
    values = numpy_helper.to_array(tensor)
    known = values.ravel().tolist() if values.dtype.kind == "i" or values.size == 1 else values.shape
    return f"{values.dtype} {known}"


def _is_default(name: str, value: Any) -> bool:
    return name == "dilations" and {*value} == {1}


def _digest(kind: str, inputs: list[str], attributes: dict[str, Any]) -> str:
    said = repr((kind, inputs, sorted(attributes.items())))
    return hashlib.sha256(said.encode()).hexdigest()


def ours(net: Net, batch: int, path: Path) -> None:
    with path.open("wb") as file:
        compile_net(net, file, CompileOptions(batch=batch or None))


def export(net: Net, model: str, twin: Twin, folder: Path, exporter: str, batch: int) -> Path | None:
    """Return an export of a twin, or None if PyTorch cannot export it so."""
    shapes = [list(each.shape) for each in net.inputs]
    names = {"inputs": [each.name for each in net.inputs], "outputs": [*net.inference_outputs]}
    try:
        twin(model, shapes, folder, exporter=exporter, optimized=True, batch=batch, **names)
    except AssertionError:
        return None
    return (folder / "model.onnx").rename(folder / f"{exporter}.onnx")


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("name", NETS)
def test_onnxruntime_keeps_no_more_nodes_than_of_an_export(name: str, batch: int, twin: Twin, tmp_path: Path) -> None:
    model, settings = NETS[name]
    net = load_net(name, Report(), settings=settings)
    assert net is not None
    made = (export(net, model, twin, tmp_path, exporter, batch) for exporter in EXPORTERS)
    exports = [path for path in made if path is not None]
    if not exports:
        pytest.skip("neither exporter can export it so")
    ours(net, batch, tmp_path / "ours.onnx")
    for level in LEVELS:
        theirs = min((kinds(optimized(path, level)) for path in exports), key=Counter.total)
        found = kinds(optimized(tmp_path / "ours.onnx", level))
        assert found.total() <= theirs.total(), f"{level}: {found - theirs} for {theirs - found}"
    if name in SAME:
        paths = (tmp_path / "ours.onnx", tmp_path / "legacy.onnx")
        assert len({repr(computation(optimized(path, "all"))[0]) for path in paths}) == 1
