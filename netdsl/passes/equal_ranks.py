"""Give the operands of products equal ranks in half precision, where onnxruntime crashes otherwise.

On a CPU, onnxruntime computes a product in single precision, and moves the conversion of an operand before its
transposition. Versions 1.27 to 1.32 crash after that if the transposition takes the first axis behind others, as
that of a recurrent layer's steps, and the other operand has fewer axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.linear import MatMul
from netdsl.ops.recurrence import Recurrence
from netdsl.ops.shaping import Reshape, Transpose
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

    Perm = tuple[int, ...]


def equal_ranks(graph: Graph) -> Graph:
    """Return a graph whose products of a value with another first axis have operands of equal rank."""
    perms = _perms(graph)

    def endangered(operation: Operation) -> bool:
        differ = isinstance(operation.op, MatMul) and len({len(x.shape) for x in operation.inputs}) > 1
        return differ and any(perm[0] == 1 for x in operation.inputs for perm in perms.get(x, ()))

    if not any(map(endangered, graph.operations)):
        return graph
    copy = Copy(graph)
    for operation in graph.operations:
        begin = len(copy.new.operations)
        if endangered(operation):
            rank = max(len(x.shape) for x in operation.inputs)
            operands = [_widened(copy.value(x), rank) for x in operation.inputs]
            copy.replace(operation, copy.new.apply(operation.op, *operands), begin)
        else:
            copy.keep(operation)
    return copy.finish()


def _perms(graph: Graph) -> dict[Value, set[Perm]]:
    """Return the transpositions of three or more axes that each value may follow, composed as a runtime does that
    moves them behind other ops."""
    found: dict[Value, set[Perm]] = {}
    for operation in graph.operations:
        op, rank = operation.op, len(operation.outputs[0].shape)
        if rank < 3 or isinstance(op, (MatMul, Recurrence, Reshape)):
            continue
        before = {perm for x in operation.inputs for perm in found.get(x, ()) if len(perm) == rank}
        if isinstance(op, Transpose):
            before = {op.perm, *(tuple(perm[axis] for axis in op.perm) for perm in before)}
        found.update(dict.fromkeys(operation.outputs, before))
    return found


def _widened(x: Value, rank: int) -> Value:
    """Return a matrix with axes of size 1 in front."""
    missing = rank - len(x.shape)
    return ops.reshape(x, (*(1,) * missing, *x.shape), batch=False) if missing else x
