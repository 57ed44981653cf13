"""Reverse-mode differentiation of a graph, from the rule of each op."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import BACKWARD
from netdsl.ops.arithmetic import add
from netdsl.ops.base import constant
from netdsl.passes.products import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Operation, Origin, Value


def gradients(y: Value, xs: Sequence[Value]) -> list[Value | None]:
    """Return the derivatives of the scalar `y` with respect to each of `xs`, or None for an `x` that `y` does not
    depend on.

    The operations are appended to the graph, for the layers and losses that they differentiate. Only operations
    between `xs` and `y` are differentiated. All sizes must be numbers. Source: Linnainmaa (1970); Rumelhart, Hinton &
    Williams (1986).
    """
    assert y.shape == (), y
    between = _depending(y.graph.operations, xs)
    parts: dict[Value, list[Value]] = {y: [constant(y.graph, 1.0, y.dtype)]}
    for operation in reversed(y.graph.operations[:]):
        if between.isdisjoint(operation.outputs) or not any(part in parts for part in operation.outputs):
            continue
        begin = len(y.graph.operations)
        with y.graph.owned(_backward(operation)):
            dys = tuple(_total(output, parts) for output in operation.outputs)
            found = operation.op.vjps(dys, operation.outputs, operation.inputs)
        for x, dx in zip(operation.inputs, found, strict=True):
            if dx is not None and x in between:
                assert dx.shape == x.shape, f"{operation!r}: the gradient of {x!r} is {dx.shape}"
                parts.setdefault(x, []).append(dx)
        if operation.op in y.graph.products:
            made = (each.op for each in y.graph.operations[begin:])
            y.graph.products.update(op for op in made if isinstance(op, PRODUCTS))
    return [_total(x, parts) for x in xs]


def _backward(operation: Operation) -> Origin | None:
    """Return the origin of the gradient of an operation."""
    return operation.origin and operation.origin.during(BACKWARD)


def _depending(operations: Sequence[Operation], xs: Sequence[Value]) -> set[Value]:
    """Return all values that depend on `xs`, including `xs`."""
    found = set(xs)
    for operation in operations:
        if not found.isdisjoint(operation.inputs):
            found.update(operation.outputs)
    return found


def _total(x: Value, parts: dict[Value, list[Value]]) -> Value | None:
    """Return the sum of the gradients that have reached a value."""
    found = parts.get(x)
    if found is None:
        return None
    if len(found) > 1:
        with x.graph.owned(found[0].origin):
            parts[x] = [add(*found)]
    return parts[x][0]
