"""Pooling in the blocked layout."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.ops.activations import heaviside
from netdsl.ops.base import apply, constant, known
from netdsl.ops.nchwc import BlockedAveragePool, BlockedMaxPool, blocked_conv
from netdsl.ops.pooling_gradients import BELOW_ALL
from netdsl.passes.blocked.layout import blocked_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.pooling import AveragePool, MaxPool
    from netdsl.ops.pooling_gradients import MaxPoolDx
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
    """Lower MaxPoolDx to pools along one axis at a time, as it expands itself, but with depthwise convolutions for all
    that moves: they run on several threads."""
    op: MaxPoolDx = operation.op  # type: ignore[assignment]
    (dx,) = operation.outputs
    if b.native(operation.inputs[1]) is None or len(dx.shape) != 4:
        return False
    dy, x, y = (b.get(each, blocked_map(each.shape, b.block)) for each in operation.inputs)
    axes = [axis for axis, each in enumerate(zip(op.kernel_shape, op.strides, strict=True)) if each != (1, 1)]
    steps: list[_Along] = []
    for axis in reversed(axes):
        steps.append(_Along(steps[-1].pooled() if steps else x, axis, op, b.block))
    steps.reverse()
    for along in steps:
        dy, y = along.back(dy, y), along.x
    b.put(dx, dy, blocked_map(dx.shape, b.block))
    return True


class _Along:
    """A pool of a blocked map along one axis, 0 or 1."""

    def __init__(self, x: Value, axis: int, pool: MaxPoolDx, block: int) -> None:
        self.x = x
        self.axis = axis
        self.block = block
        self.kernel, self.stride = pool.kernel_shape[axis], pool.strides[axis]
        self.pads = pool.pads[axis], pool.pads[axis + 2]
        self.size = known(x.shape)[axis + 2]
        self.many = (self.size + sum(self.pads) - self.kernel) // self.stride + 1

    def pooled(self) -> Value:
        """Return the maximum of each window."""
        pool = BlockedMaxPool(self.pair(self.kernel), self.pair(self.stride), self.ends(*self.pads))
        return apply(pool, self.x)

    def back(self, dy: Value, y: Value) -> Value:
        """Return the gradient of x, that of a window at its first maximum."""
        before = self.pads[0]
        after = max(0, (self.many - 1) * self.stride + self.kernel - before - self.size)
        x, rest = self.extended(before, after), dy
        phases: list[Value | None] = [None] * self.stride
        count = -(-(self.size + before + after) // self.stride)
        for place in range(self.kernel):
            part = rest
            if place < self.kernel - 1:
                lower = self.conv(x, self.kernel, place, -1.0, strides=self.pair(self.stride), addend=y)
                rest = ops.mul(part, heaviside(lower))
                part = ops.sub(part, rest)
            later, phase = divmod(place, self.stride)
            ends = later, count - self.many - later
            if phases[phase] is not None or any(ends):
                part = self.conv(part, pads=self.ends(*ends), addend=phases[phase])
            phases[phase] = part
        return self.interleaved(phases, count)

    def extended(self, before: int, after: int) -> Value:
        """Return x with ends that are no maxima."""
        if not (before or after):
            return self.x
        n, channels, *sizes = known(self.x.shape)
        rows = ops.reshape(self.x, (n * channels // self.block, *sizes, self.block), batch=False)
        rows = ops.pad(rows, (0, *self.pair(before, 0), 0, 0, *self.pair(after, 0), 0), BELOW_ALL)
        sizes[self.axis] += before + after
        return ops.reshape(rows, (n, channels, *sizes), batch=False)

    def interleaved(self, phases: Sequence[Value | None], count: int) -> Value:
        """Return a map with phase i at i, i + stride, …, cut to the size of x."""
        found = next(each for each in phases if each is not None)
        n, channels, *sizes = known(found.shape)
        if len(phases) > 1:
            outer = n * channels // self.block * prod(sizes[: self.axis])
            inner = prod(sizes[self.axis + 1 :]) * self.block
            zero = ops.zeros(found.graph, found.shape, found.dtype)
            each = [ops.reshape(part or zero, (outer, count, 1, inner), batch=False) for part in phases]
            sizes[self.axis] = count * self.stride
            found = ops.reshape(ops.concat(each, 2), (n, channels, *sizes), batch=False)
        more = sizes[self.axis] - self.size
        return self.conv(found, more + 1, self.pads[0]) if more else found

    def conv(self, x: Value, width: int = 1, place: int = 0, factor: float = 1.0, **more: Any) -> Value:
        """Return the product of a factor and the element at a place of each window of a width, plus `addend`."""
        channels = known(x.shape)[1]
        taps = [factor if i == place else 0.0 for i in range(width) for _ in range(self.block)]
        kernel = constant(x.graph, taps * (channels // self.block), x.dtype, (channels, 1, *self.pair(width)))
        return blocked_conv(x, kernel, group=channels, **more)

    def pair(self, along: int, other: int = 1) -> tuple[int, int]:
        """Return a number for each axis."""
        return (other, along) if self.axis else (along, other)

    def ends(self, before: int, after: int) -> tuple[int, ...]:
        """Return the padding of this axis."""
        return *self.pair(before, 0), *self.pair(after, 0)


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
