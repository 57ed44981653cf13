"""Write models of half precision in float32, since a net computes so.

Weights are widened exactly; what is computed is no longer rounded to half precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from onnx import GraphProto

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
TYPES = ("to", "dtype")
"""Attributes that are a type of elements."""


def widen(model: ModelProto) -> bool:
    """Rewrite a model in place, and return whether any of it has half precision."""
    found = False
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        found |= _widen(graph)
        waiting += [each.g for node in graph.node for each in node.attribute if each.HasField("g")]
    return found


def _widen(graph: GraphProto) -> bool:
    """Rewrite a graph without those in its nodes. Its initializers stay in their files: a Cast follows each."""
    del graph.value_info[:]
    casts: list[NodeProto] = []
    for tensor in graph.initializer:
        if tensor.data_type in HALF:
            name, tensor.name = tensor.name, f"{tensor.name}/half"
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    known = {cast.output[0]: cast.input[0] for cast in casts}
    found = bool(casts)
    for value in graph.input:
        if value.type.tensor_type.elem_type in HALF:
            if value.name in known:  # an initializer among the inputs, as in old versions of IR
                value.name = known[value.name]
            else:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
                found = True
    for attribute in [each for node in graph.node for each in node.attribute]:
        if attribute.name in TYPES and attribute.i in HALF:
            attribute.i, found = TensorProto.FLOAT, True
        elif attribute.t.data_type in HALF:
            attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32)))
            found = True
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return found
