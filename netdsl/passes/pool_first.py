"""Move monotone activations after max pooling, where there are fewer elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ops.activations import Clip, Relu
from netdsl.ops.pooling import MaxPool
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

MONOTONE = (Relu, Clip)
"""Activations that are monotone to the last bit, so that max f(x) = f(max x)."""


def pool_first(graph: Graph) -> Graph:
    """Move each activation that only max pools read after them. Run before differentiation."""
    readers: dict[Value, list[Operation]] = {}
    for operation in graph.operations:
        for x in operation.inputs:
            readers.setdefault(x, []).append(operation)
    kept = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    later = {
        operation.outputs[0]: operation
        for operation in graph.operations
        if isinstance(operation.op, MONOTONE)
        and operation.outputs[0] not in kept
        and all(isinstance(reader.op, MaxPool) for reader in readers.get(operation.outputs[0], ()))
    }
    copy = Copy(graph)
    for operation in graph.operations:
        if operation.outputs[0] in later:
            continue
        activation = later.get(operation.inputs[0]) if operation.inputs else None
        if activation is None:
            copy.keep(operation)
            continue
        begin = len(copy.new.operations)
        (pooled,) = copy.new.apply(operation.op, copy.value(activation.inputs[0]))
        copy.replace(operation, copy.new.apply(activation.op, pooled), begin)
        copy.new.operations[-1].origin = activation.origin
    return copy.finish()
