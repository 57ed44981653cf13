"""Reshape once where several Reshapes follow each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import apply
from netdsl.ops.shaping import Reshape
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def merge_reshapes(graph: Graph) -> Graph:
    """Reshape what the first of several Reshapes reads, and drop those that change nothing. Outputs and new states
    stay values of their own."""
    copy = Copy(graph)
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    for operation in graph.operations:
        source = _source(operation)
        if source is None:
            copy.keep(operation)
        elif source.shape == operation.outputs[0].shape and operation.outputs[0] not in ends:
            copy.values[operation.outputs[0]] = copy.value(source)
        else:
            begin = len(copy.new.operations)
            copy.replace(operation, [apply(operation.op, copy.value(source))], begin)
    return prune(copy.finish())


def _source(operation: Operation) -> Value | None:
    """Return the value that a Reshape may read instead of its input: the input itself if nothing else."""
    if not isinstance(operation.op, Reshape):
        return None
    (x,), shape = operation.inputs, operation.op.shape
    found = x
    while x.producer is not None and isinstance(x.producer.op, Reshape):
        (x,) = x.producer.inputs
        if x.shape == shape or ops.can_reshape(x.shape, shape):
            found = x
    return found
