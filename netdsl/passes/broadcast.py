"""Let elementwise operations broadcast their operands, instead of reading repeated copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import elements
from netdsl.ir.graph import Constant, Tensor
from netdsl.ops.arithmetic import Elementwise, Mul
from netdsl.ops.base import known
from netdsl.ops.comparison import Where
from netdsl.ops.shaping import Expand, reshape
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

BROADCASTING = (Elementwise, Where)
"""Ops whose operands are broadcast as in NumPy."""


def broadcast_numbers(graph: Graph) -> Graph:
    """Read a single number itself where an elementwise operation reads one that is expanded to the result's shape.

    The gradient of a sum over all elements is such a value, of the size of the elements.
    """
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    copy = Copy(graph)
    for operation in graph.operations:
        if not isinstance(operation.op, BROADCASTING):
            copy.keep(operation)
            continue
        begin = len(copy.new.operations)
        inputs = _narrowed(operation)
        (y,), others = operation.outputs, [x for x in inputs if not _is_one(x)]
        same = isinstance(operation.op, Mul) and [x.shape for x in others] == [y.shape]
        if same and y not in ends:  # which have names of their own
            copy.replace(operation, [copy.value(others[0])], begin)
        else:
            copy.replace(operation, copy.new.apply(operation.op, *map(copy.value, inputs)), begin)
    return prune(copy.finish())


def full_ranks(graph: Graph) -> Graph:
    """Give operands of elementwise operations the rank of the result where onnxruntime broadcasts slowly.

    It compares axes from the last one until either operand has no more. If all of these have one element, as where the
    weight of a 1x1 convolution is multiplied by a number, it broadcasts element by element, a hundred times slower.
    """
    slow = {operation for operation in graph.operations if _is_slow(operation)}
    if not slow:
        return graph
    copy = Copy(graph)
    made: dict[tuple[Value, int], Value] = {}
    for operation in graph.operations:
        if operation not in slow:
            copy.keep(operation)
            continue
        begin, rank = len(copy.new.operations), len(operation.outputs[0].shape)
        for x in operation.inputs:
            if (x, rank) not in made:
                made[x, rank] = _of_rank(x, rank, copy)
        inputs = [made[x, rank] for x in operation.inputs]
        copy.replace(operation, copy.new.apply(operation.op, *inputs), begin)
    return copy.finish()


def _is_slow(operation: Operation) -> bool:
    """Return whether an operation broadcasts over axes of one element, and then over others that an operand lacks."""
    if not isinstance(operation.op, BROADCASTING):
        return False
    shape = operation.outputs[0].shape
    least = min(len(x.shape) for x in operation.inputs)
    return least < len(shape) and elements(shape) != 1 and set(shape[-max(least, 1) :]) == {1}


def _of_rank(x: Value, rank: int, copy: Copy) -> Value:
    """Return an operand with axes of one element before its own."""
    shape = (1,) * (rank - len(x.shape)) + known(x.shape)
    if isinstance(x, Constant):
        return Constant(copy.new, Tensor(x.dtype, shape, x.tensor.data))
    return copy.value(x) if len(x.shape) == rank else reshape(copy.value(x), shape, batch=False)


def _narrowed(operation: Operation) -> list[Value]:
    """Return the operands, with the numbers that expanded ones consist of, if the result keeps its shape."""
    inputs, (y,) = list(operation.inputs), operation.outputs
    for at, x in enumerate(operation.inputs):
        if x.producer and isinstance(x.producer.op, Expand) and elements(x.producer.inputs[0].shape) == 1:
            fewer = [*inputs[:at], x.producer.inputs[0], *inputs[at + 1 :]]
            if operation.op.infer(*(each.shape for each in fewer)) == y.shape:
                inputs = fewer
    return inputs


def _is_one(x: Value) -> bool:
    return isinstance(x, Constant) and set(x.tensor.data) == {1}
