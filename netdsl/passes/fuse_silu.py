"""Compute x sigmoid(x) in one pass over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ops.activations import Sigmoid
from netdsl.ops.arithmetic import Mul
from netdsl.ops.quick_gelu import quick_gelu
from netdsl.passes.rewrite import Copy, prune, readers_of

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def fuse_silu(graph: Graph) -> Graph:
    """Replace each product of a value and its sigmoid, in f32, if nothing else reads the sigmoid."""
    readers = readers_of(graph)
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    copy = Copy(graph)
    for operation in graph.operations:
        x = _argument(operation)
        if x is None or any(len(readers[each]) > 1 or each in ends for each in operation.inputs if each is not x):
            copy.keep(operation)
        else:
            begin = len(copy.new.operations)
            copy.replace(operation, [quick_gelu(copy.value(x))], begin)
    return prune(copy.finish())


def _argument(operation: Operation) -> Value | None:
    """Return x if the operation computes x sigmoid(x), or None."""
    if not isinstance(operation.op, Mul) or operation.outputs[0].dtype != "f32":
        return None
    a, b = operation.inputs
    for x, other in ((a, b), (b, a)):
        if other.producer is not None and isinstance(other.producer.op, Sigmoid) and other.producer.inputs == (x,):
            return x
    return None
