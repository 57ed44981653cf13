"""Keep runtimes from computing large constants when they load a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import BYTES, STEP, Constant
from netdsl.ops.random import Range
from netdsl.ops.scanning import Scan
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

LARGE = 2**16
"""Minimum size in bytes of a constant that is computed in each step."""


def at_run_time(graph: Graph) -> Graph:
    """Let large values that are the same in each step depend on its number.

    Runtimes compute operations on constants when they load a model, and keep the results, such as a causal mask or the
    zeros to which the gradient of an embedding is added. That can take longer than loading the model itself.
    """
    copy = Copy(graph)
    zero = _Zero(copy)
    constant: set[Value] = set()
    for operation in graph.operations:
        computed = any(not isinstance(x, Constant) and x not in constant for x in operation.inputs)
        if computed or isinstance(operation.op, Scan):
            copy.keep(operation)
        elif max(elements(y.shape) * BYTES[y.dtype] for y in operation.outputs) < LARGE:
            copy.keep(operation)
            constant.update(operation.outputs)
        else:
            begin = len(copy.new.operations)
            copy.replace(operation, _moving(operation, copy, zero), begin)
    return copy.finish()


class _Zero:
    """Returns zeros of each type, made of the number of the step."""

    def __init__(self, copy: Copy) -> None:
        self.step = copy.values[copy.old.state[STEP].before]
        self.found: dict[str, Value] = {}

    def __call__(self, dtype: str) -> Value:
        if dtype not in self.found:
            number = ops.mul(ops.cast(self.step, "i64"), 0)
            self.found[dtype] = ops.cast(number, dtype)
        return self.found[dtype]


def _moving(operation: Operation, copy: Copy, zero: _Zero) -> tuple[Value, ...]:
    """Return the results of an operation, one of whose inputs depends on the step."""
    if isinstance(operation.op, Range):
        count = ops.add(ops.constant(copy.new, operation.op.count, "i64"), zero("i64"))
        return (ops.mul(ops.count_to(count, operation.op.count), operation.op.delta),)
    inputs = [copy.value(x) for x in operation.inputs]
    at = min(range(len(inputs)), key=lambda at: elements(inputs[at].shape))
    add = ops.logical_or if inputs[at].dtype == "bool" else ops.add
    inputs[at] = add(inputs[at], zero(inputs[at].dtype))
    return copy.new.apply(operation.op, *inputs)
