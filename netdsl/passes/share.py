"""Compute equal values once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import Constant
from netdsl.passes.rewrite import Copy, prune

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value


def share(graph: Graph) -> Graph:
    """Merge operations of equal ops on equal values, such as the causal masks of all layers. Outputs stay values of
    their own."""
    copy = Copy(graph)
    outputs = {*graph.outputs.values()}
    known: dict[object, tuple[Value, ...]] = {}
    for operation in graph.operations:
        key = None if outputs.intersection(operation.outputs) else _key(operation, copy)
        if key is not None and key in known:
            copy.values.update(zip(operation.outputs, known[key], strict=True))
            continue
        copy.keep(operation)
        if key is not None:
            known[key] = tuple(map(copy.value, operation.outputs))
    return prune(copy.finish())


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
