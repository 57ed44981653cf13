"""Batch normalization in the blocked layout: sums are depthwise convolutions whose kernel is the image."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import blocked_affine, blocked_conv
from netdsl.passes.blocked.layout import blocked_map, vector

if TYPE_CHECKING:
    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.base import Operand
    from netdsl.ops.batch_training import BnGrad, BnTrain
    from netdsl.ops.sync_batch_norm import SyncBn, SyncBnDx, SyncBnSums
    from netdsl.passes.blocked.blocker import Blocker


def lower_batch_norm(b: Blocker, operation: Operation) -> bool:
    """Lower BnTrain to y = a*x + c with two numbers per channel."""
    op: BnTrain = operation.op  # type: ignore[assignment]
    x, scale, bias = operation.inputs
    if not _fits(b, x):
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(scale.shape, b.block)
    image = b.get(x, layout)
    mean, var = moments(image, b.block)
    b.put(operation.outputs[0], _normalized(b, image, scale, bias, mean, var, op.epsilon), layout)
    b.put(operation.outputs[1], mean, numbers)
    b.put(operation.outputs[2], var, numbers)
    return True


def lower_moments(b: Blocker, operation: Operation) -> bool:
    """Lower ChannelMoments."""
    (x,) = operation.inputs
    if not _fits(b, x):
        return False
    for y, made in zip(operation.outputs, moments(b.get(x, blocked_map(x.shape, b.block)), b.block), strict=True):
        b.put(y, made, vector(y.shape, b.block))
    return True


def lower_sync_batch_norm(b: Blocker, operation: Operation) -> bool:
    """Lower SyncBn to y = a*x + c with two numbers per channel."""
    op: SyncBn = operation.op  # type: ignore[assignment]
    x, scale, bias, mean, var, _ = operation.inputs
    if not _fits(b, x):
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(scale.shape, b.block)
    statistics = b.get(mean, numbers), b.get(var, numbers)
    b.put(operation.outputs[0], _normalized(b, b.get(x, layout), scale, bias, *statistics, op.epsilon), layout)
    return True


def _fits(b: Blocker, x: Value) -> bool:
    return b.native(x) is not None and len(x.shape) == 4


def _normalized(b: Blocker, image: Value, scale: Value, bias: Value, mean: Value, var: Value, epsilon: float) -> Value:
    """Return the normalized image; its statistics are blocked already."""
    numbers = vector(scale.shape, b.block)
    a = ops.mul(b.get(scale, numbers), _inverse(var, epsilon))
    return blocked_affine(image, a, ops.sub(b.get(bias, numbers), ops.mul(mean, a)))


def lower_batch_norm_gradient(b: Blocker, operation: Operation) -> bool:
    """Lower BnGrad to dx = a*(dy + b*x + c); a moves into the kernel of the preceding convolution if possible."""
    op: BnGrad = operation.op  # type: ignore[assignment]
    dy, x, scale, mean, var = operation.inputs
    if not _fits(b, x):
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(scale.shape, b.block)
    image, back = b.get(x, layout), b.get(dy, layout)
    share, middle = _share(x), b.get(mean, numbers)
    inverse = _inverse(b.get(var, numbers), op.epsilon)
    dscale, dbias = _sums_of(back, image, middle, inverse, b.block)
    unscaled = _unscaled(back, image, middle, inverse, dscale, dbias, share, -share)
    b.scaled[operation.outputs[0]] = unscaled, ops.mul(b.get(scale, numbers), inverse), layout
    b.put(operation.outputs[1], dscale, numbers)
    b.put(operation.outputs[2], dbias, numbers)
    return True


def lower_sync_batch_norm_sums(b: Blocker, operation: Operation) -> bool:
    """Lower SyncBnSums."""
    op: SyncBnSums = operation.op  # type: ignore[assignment]
    dy, x, mean, var = operation.inputs
    if not _fits(b, x):
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(mean.shape, b.block)
    image, back, middle = b.get(x, layout), b.get(dy, layout), b.get(mean, numbers)
    found = _sums_of(back, image, middle, _inverse(b.get(var, numbers), op.epsilon), b.block)
    for y, made in zip(operation.outputs, found, strict=True):
        b.put(y, made, numbers)
    return True


def lower_sync_batch_norm_dx(b: Blocker, operation: Operation) -> bool:
    """Lower SyncBnDx to dx = a*(dy + b*x + c), as BnGrad."""
    op: SyncBnDx = operation.op  # type: ignore[assignment]
    dy, x, *vectors, share = operation.inputs
    if not _fits(b, x):
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(vectors[0].shape, b.block)
    scale, mean, var, dscale, dbias = (b.get(each, numbers) for each in vectors)
    inverse, part = _inverse(var, op.epsilon), b.get(share)
    image, back = b.get(x, layout), b.get(dy, layout)
    unscaled = _unscaled(back, image, mean, inverse, dscale, dbias, part, ops.neg(part))
    b.scaled[operation.outputs[0]] = unscaled, ops.mul(scale, inverse), layout
    return True


def _sums_of(dy: Value, x: Value, mean: Value, inverse: Value, block: int) -> tuple[Value, Value]:
    """Return dscale and dbias, given 1 / sqrt(var + epsilon)."""
    dbias = channel_sums(dy, block)
    return ops.mul(ops.sub(channel_products(dy, x, block), ops.mul(mean, dbias)), inverse), dbias


def _unscaled(
    dy: Value,
    x: Value,
    mean: Value,
    inverse: Value,
    dscale: Value,
    dbias: Value,
    share: Operand,
    minus: Operand,
) -> Value:
    """Return dx / a, given 1 / sqrt(var + epsilon), and the share of an element and its negative."""
    slope = ops.mul(ops.mul(inverse, dscale), minus)
    offset = ops.neg(ops.add(ops.mul(dbias, share), ops.mul(slope, mean)))
    return blocked_affine(x, slope, offset, dy)


def _share(x: Value) -> float:
    shape = known(x.shape)
    return shape[1] / prod(shape)


def _inverse(var: Value, epsilon: float) -> Value:
    return ops.reciprocal(ops.sqrt(ops.add(var, epsilon)))


RUN = 128
"""Approximate number of elements summed sequentially before partial sums are added; rounding grows with it."""


def moments(x: Value, block: int) -> tuple[Value, Value]:
    """Return the mean and the biased variance, [N, C, H, W] -> [C] twice.

    The variance is the sum of that within runs and that between runs. The mean of squares minus the squared mean would
    cancel catastrophically where the mean exceeds the deviation; within runs the errors are many and average out.
    Source: Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance.
    """
    n, channels, *sizes = known(x.shape)
    run, share = _run(prod(sizes)), 1 / (n * prod(sizes))
    sums = _sums(x, block)
    mean = ops.mul(_total(sums), share)
    means = ops.mul(sums, 1 / run)
    within = ops.sub(_products(x, x, block), ops.mul(sums, means))
    apart = ops.sub(means, ops.reshape(mean, (channels // block, 1, block), batch=False))
    terms = ops.add(within, ops.mul(ops.mul(apart, apart), run))
    # Rounding may make it negative, and its square root NaN.
    return mean, ops.relu(ops.mul(_total(terms), share))


def channel_sums(x: Value, block: int) -> Value:
    """Return the sum of each channel, [N, C, H, W] -> [C]."""
    return _total(_sums(x, block))


def channel_products(x: Value, y: Value, block: int) -> Value:
    """Return the sum of x*y for each channel, [N, C, H, W] twice -> [C]."""
    return _total(_products(x, y, block))


def map_products(x: Value, y: Value, block: int) -> Value:
    """Return the sum of x*y for each map, [N, C, H, W] twice -> [N * C / block, block]."""
    return _map_totals(_products(x, y, block))


def _sums(x: Value, block: int) -> Value:
    """Return the sums of the runs, [N, C/B, runs, B] in memory order."""
    n, channels, *sizes = known(x.shape)
    run = _run(prod(sizes))
    rows = ops.reshape(x, (n * channels * prod(sizes) // block // run, run, block), batch=False)
    each = ops.reduce_sum(rows, (1,), keepdims=False)
    return ops.reshape(each, (n, channels // block, prod(sizes) // run, block), batch=False)


def _products(x: Value, y: Value, block: int) -> Value:
    """Return the sums of x*y over the runs, [N, C/B, runs, B] in memory order."""
    n, channels, *sizes = known(x.shape)
    run = _run(prod(sizes))
    maps = n * channels * prod(sizes) // run
    each = blocked_conv(
        ops.reshape(x, (1, maps, 1, run), batch=False), ops.reshape(y, (maps, 1, 1, run), batch=False), group=maps
    )
    return ops.reshape(each, (n, channels // block, prod(sizes) // run, block), batch=False)


def _total(sums: Value) -> Value:
    """Add the sums of runs, [N, C/B, runs, B] -> [C]."""
    n, blocks, _, block = known(sums.shape)
    return ops.reduce_sum(ops.reshape(_map_totals(sums), (n, blocks * block), batch=False), (0,), keepdims=False)


def _map_totals(sums: Value) -> Value:
    """Add the sums of runs, [N, C/B, runs, B] -> [N * C/B, B]."""
    n, blocks, count, block = known(sums.shape)
    rows = ops.reshape(sums, (n * blocks, count, block), batch=False)
    return (
        ops.reduce_sum(rows, (1,), keepdims=False) if count > 1 else ops.reshape(rows, (n * blocks, block), batch=False)
    )


def _run(count: int) -> int:
    """Return the length of a run, a divisor of the count."""
    return next(length for length in range(min(RUN, count), count + 1) if count % length == 0)
