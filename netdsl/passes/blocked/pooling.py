"""Pooling in the blocked layout."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import apply
from netdsl.ops.nchwc import BlockedAveragePool, BlockedMaxPool
from netdsl.ops.pooling import MaxPool
from netdsl.ops.pooling_gradients import MaxPoolDx
from netdsl.passes.blocked.layout import Layout, blocked_map

if TYPE_CHECKING:
    from netdsl.ir.graph import Operation
    from netdsl.ops.pooling import AveragePool
    from netdsl.passes.blocked.blocker import Blocker


def lower_max_pool(b: Blocker, operation: Operation) -> bool:
    """Lower MaxPool."""
    op: MaxPool = operation.op  # type: ignore[assignment]
    (x,), (y,) = operation.inputs, operation.outputs
    if b.native(x) is None or len(x.shape) != 4:
        return False
    image = b.get(x, blocked_map(x.shape, b.block))
    b.put(y, apply(BlockedMaxPool(op.kernel_shape, op.strides, op.pads), image), blocked_map(y.shape, b.block))
    return True


def lower_max_pool_dx(b: Blocker, operation: Operation) -> bool:
    """Lower MaxPoolDx to the gradient of a pool with one more axis, the positions within a block."""
    op: MaxPoolDx = operation.op  # type: ignore[assignment]
    (dx,) = operation.outputs
    if b.native(operation.inputs[1]) is None or len(dx.shape) != 4:
        return False
    layouts = [Layout(x.shape, b.block, (1,)) for x in operation.inputs]
    stored = [b.get(x, blocked_map(x.shape, b.block)) for x in operation.inputs]
    stored = [ops.reshape(x, layout.memory, batch=False) for x, layout in zip(stored, layouts, strict=True)]
    pool = MaxPool((*op.kernel_shape, 1), (*op.strides, 1), (*op.pads[:2], 0, *op.pads[2:], 0))
    made = ops.reshape(apply(MaxPoolDx(pool), *stored), layouts[1].padded, batch=False)
    b.put(dx, made, blocked_map(dx.shape, b.block))
    return True


def lower_average_pool(b: Blocker, operation: Operation) -> bool:
    """Lower AveragePool, as a layer or as its own gradient."""
    op: AveragePool = operation.op  # type: ignore[assignment]
    (x,), (y,) = operation.inputs, operation.outputs
    if b.native(x) is None or len(x.shape) != 4:
        return False
    made = apply(
        BlockedAveragePool(op.kernel_shape, op.strides, op.pads, op.count_include_pad),
        b.get(x, blocked_map(x.shape, b.block)),
    )
    b.put(y, made, blocked_map(y.shape, b.block))
    return True


def lower_global_average_pool(b: Blocker, operation: Operation) -> bool:
    """Lower GlobalAveragePool to the mean of each map."""
    (x,), (y,) = operation.inputs, operation.outputs
    layout = b.native(x)
    if layout is None or len(x.shape) != 4:
        return False
    n, blocks, *sizes, block = layout.memory
    rows = ops.reshape(b.get(x, layout), (n * blocks, prod(sizes), block), batch=False)
    target = blocked_map(y.shape, b.block)
    b.put(y, ops.reshape(ops.reduce_mean(rows, (1,)), target.padded, batch=False), target)
    return True
