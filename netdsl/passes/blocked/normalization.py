"""Batch normalisation in the blocked layout: sums are depthwise convolutions whose kernel is the image."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import affine, blocked_conv
from netdsl.passes.blocked.layout import blocked_map, vector

if TYPE_CHECKING:
    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.batch_training import BnGrad, BnTrain
    from netdsl.passes.blocked.blocker import Blocker


def batch_norm(b: Blocker, operation: Operation) -> bool:
    """BnTrain: y = a*x + c with two numbers a channel."""
    op: BnTrain = operation.op  # type: ignore[assignment]
    x, scale, bias = operation.inputs
    if b.native(x) is None or len(x.shape) != 4:
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(scale.shape, b.block)
    image = b.get(x, layout)
    share = _share(x)
    mean = ops.mul(channel_sums(image, b.block), share)
    square = ops.mul(channel_products(image, image), share)
    # Rounding must not bring it below 0, whose root is no number.
    var = ops.relu(ops.sub(square, ops.mul(mean, mean)))
    a = ops.mul(b.get(scale, numbers), _inverse(var, op.epsilon))
    made = affine(image, a, ops.sub(b.get(bias, numbers), ops.mul(mean, a)))
    b.put(operation.outputs[0], made, layout)
    b.put(operation.outputs[1], mean, numbers)
    b.put(operation.outputs[2], var, numbers)
    return True


def gradient(b: Blocker, operation: Operation) -> bool:
    """BnGrad: dx = a*(dy + b*x + c); the factor a goes into the kernel of the convolution before, where it may."""
    op: BnGrad = operation.op  # type: ignore[assignment]
    dy, x, scale, mean, var = operation.inputs
    if b.native(x) is None or len(x.shape) != 4:
        return False
    layout, numbers = blocked_map(x.shape, b.block), vector(scale.shape, b.block)
    image, back = b.get(x, layout), b.get(dy, layout)
    share, middle = _share(x), b.get(mean, numbers)
    inverse = _inverse(b.get(var, numbers), op.epsilon)
    dbias = channel_sums(back, b.block)
    dscale = ops.mul(ops.sub(channel_products(back, image), ops.mul(middle, dbias)), inverse)
    slope = ops.mul(ops.mul(inverse, dscale), -share)
    offset = ops.neg(ops.add(ops.mul(dbias, share), ops.mul(slope, middle)))
    unscaled = affine(image, slope, offset, back)
    b.scaled[operation.outputs[0]] = unscaled, ops.mul(b.get(scale, numbers), inverse), layout
    b.put(operation.outputs[1], dscale, numbers)
    b.put(operation.outputs[2], dbias, numbers)
    return True


def _share(x: Value) -> float:
    shape = known(x.shape)
    return shape[1] / prod(shape)


def _inverse(var: Value, epsilon: float) -> Value:
    return ops.reciprocal(ops.sqrt(ops.add(var, epsilon)))


def channel_sums(x: Value, block: int) -> Value:
    """[N, C, H, W] -> [C]."""
    n, channels, *sizes = known(x.shape)
    rows = ops.reshape(x, (n * channels // block, prod(sizes), block), batch=False)
    each = ops.reduce_sum(rows, (1,), keepdims=False)
    return ops.reduce_sum(ops.reshape(each, (n, channels), batch=False), (0,), keepdims=False)


def channel_products(x: Value, y: Value) -> Value:
    """The sums of x*y: [N, C, H, W] twice -> [C]."""
    n, channels, *sizes = known(x.shape)
    each = blocked_conv(
        ops.reshape(x, (1, n * channels, *sizes), batch=False),
        ops.reshape(y, (n * channels, 1, *sizes), batch=False),
        group=n * channels,
    )
    return ops.reduce_sum(ops.reshape(each, (n, channels), batch=False), (0,), keepdims=False)
