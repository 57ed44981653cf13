"""Let elementwise operations broadcast their operands, instead of reading repeated copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import elements
from netdsl.ir.graph import Constant
from netdsl.ops.arithmetic import Elementwise, Mul
from netdsl.ops.comparison import Where
from netdsl.ops.shaping import Expand
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def broadcast_numbers(graph: Graph) -> Graph:
    """Read a single number itself where an elementwise operation reads one that is expanded to the result's shape.

    The gradient of a sum over all elements is such a value, of the size of the elements.
    """
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    copy = Copy(graph)
    for operation in graph.operations:
        if not isinstance(operation.op, (Elementwise, Where)):
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
