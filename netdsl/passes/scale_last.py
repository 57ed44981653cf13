"""Scale the operands of matrix products last, where runtimes make the factor a part of the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import Constant
from netdsl.ops.arithmetic import Mul
from netdsl.ops.linear import MatMul
from netdsl.ops.shaping import Transpose
from netdsl.passes.rewrite import Copy, prune, readers_of

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def scale_last(graph: Graph) -> Graph:
    """Transpose before a multiplication by a number, if only a matrix product reads the result."""
    readers = readers_of(graph)
    copy = Copy(graph)
    for operation in graph.operations:
        found = _scaled(operation, readers)
        if found is None:
            copy.keep(operation)
            continue
        x, factor = found
        begin = len(copy.new.operations)
        assert isinstance(operation.op, Transpose)
        made = ops.mul(ops.transpose(copy.value(x), operation.op.perm), copy.value(factor))
        copy.replace(operation, [made], begin)
    return prune(copy.finish())


def _scaled(operation: Operation, readers: dict[Value, list[Operation]]) -> tuple[Value, Value] | None:
    """Return what a Transpose reads before it is multiplied, and the factor."""
    if not isinstance(operation.op, Transpose):
        return None
    (x,), (y,) = operation.inputs, operation.outputs
    if x.producer is None or not isinstance(x.producer.op, Mul) or len(readers[x]) > 1 or len(x.producer.inputs) != 2:
        return None
    after = readers.get(y, [])
    factor = next((each for each in x.producer.inputs if isinstance(each, Constant)), None)
    if len(after) != 1 or not isinstance(after[0].op, MatMul) or factor is None or elements(factor.shape) != 1:
        return None
    (other,) = (each for each in x.producer.inputs if each is not factor)
    return (other, factor) if len(factor.shape) <= len(other.shape) and other.shape == x.shape else None
