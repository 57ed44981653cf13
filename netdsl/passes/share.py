"""Compute equal values once."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl.ir.graph import Constant
from netdsl.ops.base import known
from netdsl.ops.shaping import Reshape
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def share(graph: Graph, most: int | None = None) -> Graph:
    """Merge operations of equal ops on equal values, such as the causal masks of all layers. Outputs and new states
    stay values of their own.

    With `most`, values of more elements are computed again rather than kept, but for Reshapes, which take no memory.
    """
    copy = Copy(graph)
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    found: dict[object, tuple[Value, ...]] = {}
    for operation in graph.operations:
        is_kept = most is None or isinstance(operation.op, Reshape) or _size(operation) <= most
        key = _key(operation, copy) if is_kept and ends.isdisjoint(operation.outputs) else None
        if key is not None and key in found:
            copy.values.update(zip(operation.outputs, found[key], strict=True))
            continue
        copy.keep(operation)
        if key is not None:
            found[key] = tuple(map(copy.value, operation.outputs))
    return copy.finish()


def _size(operation: Operation) -> int:
    """Return the number of elements of the results, whose sizes are known."""
    return sum(prod(known(y.shape)) for y in operation.outputs)


def _key(operation: Operation, copy: Copy) -> object | None:
    """Return what makes operations equal, or None if it cannot be compared."""
    op = operation.op
    attributes = repr(op.attributes)
    if " at 0x" in attributes:  # a graph, or another object without a value
        return None
    inputs = (
        (x.tensor.dtype, x.tensor.shape, str(x.tensor.data)) if isinstance(x, Constant) else copy.value(x)
        for x in operation.inputs
    )
    return (type(op), attributes, *inputs)
