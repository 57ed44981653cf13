"""Write the nodes of models before opset 7 as those of opset 8, since onnxruntime runs no older ones.

onnx's version converter needs all shapes, and leaves out old operators.
Source: onnx's docs/Changelog.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OLDEST = 7
"""The oldest opset that onnxruntime runs."""

TARGET = 8

DROPPED = ("consumed_inputs", "is_test", "broadcast")
"""Attributes that newer opsets do not have."""

NEW_NAMES = {("Pad", "paddings"): "pads"}
"""Attributes with another name in newer opsets."""


def upgrade(model: ModelProto, rank_of: Callable[[str], int]) -> None:
    """Rewrite the nodes of a model in place. `rank_of` returns the number of axes of a value."""
    nodes = [new for node in model.graph.node for new in _upgraded(node, rank_of)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.opset_import[:]
    model.opset_import.add(domain="", version=TARGET)
    model.ir_version = max(model.ir_version, 3)


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
