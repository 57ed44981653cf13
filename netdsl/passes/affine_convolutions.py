"""Multiply and shift channels on all threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import Constant
from netdsl.ops.base import apply, known
from netdsl.ops.fused_conv import FusedConv
from netdsl.ops.normalization import BatchNormalization
from netdsl.passes.blocked.lowering import fuse
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation, Value

MIN_MAP = 2**8
"""Minimum number of elements of a map: for smaller ones, a convolution takes longer than it saves."""


def affine_convolutions(graph: Graph) -> Graph:
    """Compute `scale x + bias` per channel as depthwise convolutions with kernels of one element, and with them what is
    added to it or the activation.

    onnxruntime normalizes on one thread, but convolves on all of them, and convolutions add and activate in the same
    pass over memory.
    """
    found = {operation for operation in graph.operations if _is_affine(operation)}
    if not found:
        return graph
    copy = Copy(graph)
    for operation in graph.operations:
        if operation in found:
            begin = len(copy.new.operations)
            x, scale, bias = map(copy.value, operation.inputs[:3])
            kernel = ops.reshape(scale, (*known(scale.shape), 1, 1, 1), batch=False)
            shift = () if _is_all(operation.inputs[2], 0) else (bias,)
            op = FusedConv((1, 1), (0,) * 4, (1, 1), known(scale.shape)[0], bias=bool(shift))
            copy.replace(operation, [apply(op, x, kernel, *shift)], begin)
        else:
            copy.keep(operation)
    return fuse(copy.finish())


def _is_affine(operation: Operation) -> bool:
    """Return whether an operation is an `ops.affine` of large maps."""
    if not isinstance(operation.op, BatchNormalization):
        return False
    x, _, _, mean, var = operation.inputs
    large = len(x.shape) == 4 and x.dtype == "f32" and elements(x.shape[2:]) >= MIN_MAP
    return large and _is_all(mean, 0) and _is_all(var, 1)


def _is_all(x: Value, number: float) -> bool:
    return isinstance(x, Constant) and set(x.tensor.data) == {number}
