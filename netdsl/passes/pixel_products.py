"""Compute convolutions of single pixels, such as those after a global pool, as products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.convolution import Conv
from netdsl.passes.rewrite import Copy

if TYPE_CHECKING:
    from netdsl.ir.graph import Graph, Operation


def pixel_products(graph: Graph) -> Graph:
    """Replace each dense convolution of one pixel with a kernel of one pixel by a Gemm. Run before differentiation: the
    gradients are products too, one for the whole batch."""
    copy = Copy(graph)
    for operation in graph.operations:
        if not _is_product(operation):
            copy.keep(operation)
            continue
        begin, (y,) = len(copy.new.operations), operation.outputs
        x, w, *bias = map(copy.value, operation.inputs)
        rows, weight = (ops.reshape(each, known(each.shape)[:2], batch=False) for each in (x, w))
        made = ops.gemm(rows, weight, *bias, trans_b=True)
        copy.replace(operation, [ops.reshape(made, y.shape, batch=False)], begin)
    return copy.finish()


def _is_product(operation: Operation) -> bool:
    op = operation.op
    if not isinstance(op, Conv) or op.group > 1 or any(op.pads):
        return False
    return all(size == 1 for each in operation.inputs[:2] for size in each.shape[2:])
