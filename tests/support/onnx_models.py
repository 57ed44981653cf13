"""Small ONNX models, made node by node, and what onnxruntime computes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
RANDOM = np.random.default_rng(11)


def w(*shape: int) -> Array:
    """Return random weights."""
    return RANDOM.normal(0, 0.5, shape).astype("f4")


def positive(*shape: int) -> Array:
    return RANDOM.uniform(0.5, 1.5, shape).astype("f4")


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def n(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node, whose inputs and outputs are names with spaces between; `-` is one that is left out."""
    names, results = (["" if each == "-" else each for each in words.split()] for words in (inputs, outputs))
    domain = attributes.pop("domain", "")
    return helper.make_node(op, names, results, name=attributes.pop("name", ""), domain=domain, **attributes)


def graph(
    nodes: list[onnx.NodeProto], arrays: Arrays, inputs: dict[str, tuple[int, list[Any]]], outputs: str = "y"
) -> onnx.GraphProto:
    return helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )


def save(path: Path, made: onnx.GraphProto, opset: int = 21, **domains: int) -> Path:
    """Write a model. Versions of IR before 4 list initializers among the inputs."""
    ids = [helper.make_opsetid("", opset), *(helper.make_opsetid(k.replace("_", "."), v) for k, v in domains.items())]
    model = helper.make_model(made, opset_imports=ids, ir_version=3 if opset < 9 else 10)
    if opset < 9:
        for tensor in made.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    path.write_bytes(model.SerializeToString())
    return path


def model(
    path: Path,
    nodes: list[onnx.NodeProto],
    arrays: Arrays,
    *shape: Any,
    opset: int = 21,
    outputs: str = "y",
    kind: int = TensorProto.FLOAT,
    batch: Any = "N",
    **domains: int,
) -> Path:
    """Write a model of one input `x`, whose shape is given without the batch."""
    return save(path, graph(nodes, arrays, {"x": (kind, [batch, *shape])}, outputs), opset, **domains)


def run(path: Path | bytes, feeds: Arrays) -> list[Array]:
    """Compute with each node as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    source = path if isinstance(path, bytes) else str(path)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, feeds)
    return found
