"""Write the nodes of models before opset 7 as those of opset 8, since onnxruntime lacks most of the older ones.

onnx's version converter does so for some operators, if all shapes are known; what it leaves out is rewritten here.
Source: onnx's docs/Changelog.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OLDEST = 7
"""The oldest opset of which onnxruntime has all operators."""

TARGET = 8

UNKNOWN = 64
"""What a size that is known only at run time is, while onnx converts a model."""

DROPPED = ("consumed_inputs", "is_test", "broadcast")
"""Attributes that newer opsets do not have."""

NEW_NAMES = {("Pad", "paddings"): "pads"}
"""Attributes with another name in newer opsets."""


def convert(model: ModelProto) -> ModelProto | None:
    """Return a model whose nodes are those of opset 8 by onnx's version converter, or None if it lacks one."""
    from onnx import shape_inference, version_converter

    whole = ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    large = [tensor for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    small = [tensor for tensor in graph.initializer if tensor.data_location != TensorProto.EXTERNAL]
    del graph.initializer[:]
    graph.initializer.extend(small)
    known = {value.name for value in graph.input}
    for tensor in large:
        if tensor.name not in known:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value <= 0:
                dim.dim_value = UNKNOWN
    try:
        found = version_converter.convert_version(shape_inference.infer_shapes(whole), TARGET)
    except Exception:  # its exceptions share no base class
        return None
    found.graph.initializer.extend(large)
    for value in found.graph.input:
        value.CopyFrom(next((each for each in model.graph.input if each.name == value.name), value))
    del found.graph.value_info[:]
    del found.graph.output[:]
    found.graph.output.extend(model.graph.output)
    return found


def upgrade(model: ModelProto, rank_of: Callable[[str], int]) -> list[str]:
    """Rewrite the nodes of a model in place, and return the operators that opset 8 defines anew. `rank_of` returns the
    number of axes of a value."""
    before = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    operators = sorted({node.op_type for node in model.graph.node if _is_new(node.op_type, before)})
    nodes = [new for node in model.graph.node for new in _upgraded(node, rank_of)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.opset_import[:]
    model.opset_import.add(domain="", version=TARGET)
    model.ir_version = max(model.ir_version, 3)
    return operators


def _is_new(operator: str, opset: int) -> bool:
    """Return whether an operator has another definition in opset 8, or none."""
    try:
        return bool(defs.get_schema(operator, TARGET).since_version > opset)
    except defs.SchemaError:
        return True


def _upgraded(node: NodeProto, rank_of: Callable[[str], int]) -> Iterator[NodeProto]:
    new = NodeProto()
    new.CopyFrom(node)
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    del new.attribute[:]
    arithmetic = node.op_type in ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
    if arithmetic and given.get("broadcast") and "axis" in given:
        left, right = map(rank_of, node.input[:2])
        axes = [*range(right, left - given["axis"] % left)]
        if axes:
            name = f"{node.output[0]}/wide"
            yield helper.make_node("Unsqueeze", [node.input[1]], [name], axes=axes)
            new.input[1] = name
    if node.op_type == "Reshape" and "shape" in given:
        name = f"{node.output[0]}/shape"
        shape = numpy_helper.from_array(np.array(given.pop("shape"), np.int64), name)
        yield helper.make_node("Constant", [], [name], value=shape)
        new.input.append(name)
    if node.op_type == "Cast" and isinstance(given["to"], bytes):
        given["to"] = TensorProto.DataType.Value(given["to"].decode())
    if node.op_type == "Concat":
        given.setdefault("axis", 1)
    for name, value in given.items():
        if name not in DROPPED and not (arithmetic and name == "axis"):
            new.attribute.append(helper.make_attribute(NEW_NAMES.get((node.op_type, name), name), value))
    yield new
