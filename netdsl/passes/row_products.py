"""Compute linear maps of the last axis as products of one matrix of rows with the weight as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import product
from netdsl.ir.graph import Parameter
from netdsl.ops.arithmetic import Add
from netdsl.ops.linear import MatMul
from netdsl.ops.shaping import Reshape, Transpose
from netdsl.passes.rewrite import Copy, prune, readers_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from netdsl.ir.graph import Graph, Operation, Value


def row_products(graph: Graph, without: Collection[str] = ()) -> Graph:
    """Replace x W^T + b, for a weight W and x of several axes, by a Gemm of all rows of x.

    Runtimes transpose the weight of a MatMul when they load a model, and need twice its memory meanwhile; a Gemm reads
    it transposed. Products with the weights named in `without` stay as they are.
    """
    readers = readers_of(graph)
    copy = Copy(graph)
    biased: dict[Operation, Value] = {}
    for operation in graph.operations:
        begin = len(copy.new.operations)
        if operation in biased:
            copy.replace(operation, [copy.value(biased[operation])], begin)
            continue
        weight = _weight(operation)
        if weight is None or weight.name in without:
            copy.keep(operation)
            continue
        x, (y,) = operation.inputs[0], operation.outputs
        following = readers.get(y, [])
        bias = _bias(following[0], y) if len(following) == 1 and y not in graph.outputs.values() else None
        if bias is not None:
            biased[following[0]] = y
        rows = ops.reshape(copy.value(x), (product(x.shape[:-1]), x.shape[-1]), batch=False)
        made = ops.gemm(rows, copy.value(weight), bias and copy.value(bias), trans_b=True)
        copy.replace(operation, [ops.reshape(made, y.shape, batch=False)], begin)
    return prune(copy.finish())


def _weight(operation: Operation) -> Parameter | None:
    """Return the weight W of an operation x W^T, if the rows of x can be joined."""
    if not isinstance(operation.op, MatMul):
        return None
    x, transposed = operation.inputs
    made = transposed.producer
    if len(x.shape) < 3 or made is None or not isinstance(made.op, Transpose) or len(transposed.shape) != 2:
        return None
    if sum(not isinstance(size, int) for size in x.shape) > 1:
        return None
    (weight,) = made.inputs
    return weight if isinstance(weight, Parameter) else None


def _bias(operation: Operation, y: Value) -> Value | None:
    """Return the bias that an operation adds to y, or None."""
    if not isinstance(operation.op, Add) or len(operation.inputs) != 2 or operation.outputs[0].shape != y.shape:
        return None
    bias = next((x for x in operation.inputs if x is not y), y)
    if bias.producer and isinstance(bias.producer.op, Reshape) and bias.shape[-1:] == y.shape[-1:]:
        (bias,) = bias.producer.inputs
    return bias if isinstance(bias, Parameter) and bias.shape == y.shape[-1:] else None
