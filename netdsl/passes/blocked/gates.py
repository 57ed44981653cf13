"""Sums and products of a map and numbers per channel, in the blocked layout: depthwise convolutions.

onnxruntime broadcasts numbers that are adjacent for the channels of a block only over a block at a time, which takes
ten times as long. If each image has numbers of its own, the maps of all images are channels of one image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.ops.arithmetic import Mul
from netdsl.ops.base import known
from netdsl.ops.nchwc import blocked_conv
from netdsl.ops.shaping import Expand
from netdsl.passes.blocked.elementwise import lower_elementwise
from netdsl.passes.blocked.layout import blocked_map, to_layout

if TYPE_CHECKING:
    from netdsl.ir.graph import Operation, Value
    from netdsl.passes.blocked.blocker import Blocker


class _Affine(NamedTuple):
    """scale*x + offset for a map x; None is 1 or 0."""

    x: Value
    scale: Value | None
    offset: Value | None


def lower_product(b: Blocker, operation: Operation) -> bool:
    """Lower a Mul: of a map and numbers per channel to a convolution."""
    return _lower(b, operation, _product(operation)) or lower_elementwise(b, operation)


def lower_sum(b: Blocker, operation: Operation) -> bool:
    """Lower an Add: of a map, or of its product with numbers per channel, and such numbers to a convolution."""
    return _lower(b, operation, _sum(operation)) or lower_elementwise(b, operation)


def _product(operation: Operation) -> _Affine | None:
    """Return a product in this form, or None."""
    (y,) = operation.outputs
    for x, numbers in _pairs(operation):
        if x.shape == y.shape and _per_channel(numbers, y):
            return _Affine(x, numbers, None)
    return None


def _sum(operation: Operation) -> _Affine | None:
    """Return a sum in this form, or None."""
    (y,) = operation.outputs
    for x, other in _pairs(operation):
        source, product = other.producer, x.producer
        numbers = source.inputs[0] if source is not None and isinstance(source.op, Expand) else other
        if x.shape == y.shape and _per_channel(numbers, y):
            before = _product(product) if product is not None and isinstance(product.op, Mul) else None
            return before._replace(offset=numbers) if before else _Affine(x, None, numbers)
    return None


def _pairs(operation: Operation) -> list[tuple[Value, Value]]:
    """Return the two operands in both orders."""
    if len(operation.inputs) != 2:
        return []
    a, b = operation.inputs
    return [(a, b), (b, a)]


def _per_channel(x: Value, y: Value) -> bool:
    """Return whether a value has one number for each channel of a map, for all images or for each."""
    if len(y.shape) != 4 or y.dtype != "f32" or len(x.shape) not in (3, 4):
        return False
    n, channels, *sizes = known(y.shape)
    return _aligned(x) in ((1, channels, 1, 1), (n, channels, 1, 1)) and sizes != [1, 1]


def _aligned(x: Value) -> tuple[int, ...]:
    return (1,) * (4 - len(x.shape)) + known(x.shape)


def _lower(b: Blocker, operation: Operation, form: _Affine | None) -> bool:
    """Lower an operation in this form; return False if it has none, or is plain."""
    (y,) = operation.outputs
    layout = blocked_map(y.shape, b.block)
    if form is None or layout.plain or layout not in (b.native(form.x), b.expected(y)):
        return False
    numbers = [each for each in (form.scale, form.offset) if each is not None]
    n, channels, *sizes = layout.padded
    images = n if any(_aligned(each)[0] > 1 for each in numbers) else 1
    maps = images * channels
    scale, offset = (None if each is None else _spread(b, each, images) for each in (form.scale, form.offset))
    kernel = ops.constant(b.new, 1.0, "f32", (maps,)) if scale is None else scale
    made = blocked_conv(
        ops.reshape(b.get(form.x, layout), (n // images, maps, *sizes), batch=False),
        ops.reshape(kernel, (maps, 1, 1, 1), batch=False),
        offset,
        group=maps,
    )
    b.put(y, ops.reshape(made, layout.padded, batch=False), layout)
    return True


def _spread(b: Blocker, x: Value, images: int) -> Value:
    """Return numbers per channel as a vector with those of each image."""
    shape = _aligned(x)
    layout = blocked_map(shape, b.block)
    stored = b.get(x, layout) if x.shape == shape else to_layout(ops.reshape(b.get(x), shape, batch=False), layout)
    channels = layout.padded[1]
    if shape[0] < images:
        stored = ops.expand(stored, (images, channels, 1, 1))
    return ops.reshape(stored, (images * channels,), batch=False)
