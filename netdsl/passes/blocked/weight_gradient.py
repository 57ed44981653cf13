"""The gradient of a convolution's kernel in the blocked layout: a convolution whose kernel is dy.

Images are read as rows in which the channels of a block are adjacent, so that the batch becomes the channel axis and
the image channels become positions along a row; the result is then almost in kernel order. Read one by one, with a
single channel each, images need not be transposed. Shapes in comments are those in memory; B is the block size.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import constant, known
from netdsl.ops.nchwc import blocked_conv, reorder_input
from netdsl.passes.blocked.convolution import kernel_layout, scale_kernel, suits, unscaled_gradient
from netdsl.passes.blocked.layout import Layout, blocked_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.convolution_gradients import ConvDw
    from netdsl.passes.blocked.blocker import Blocker

MAX_KERNEL = 8
"""Maximum size of a kernel whose gradient is added up image by image by default, as a multiple of the size of an image
and its dy."""

MAX_SLICES = 8
"""Maximum number of images that are cut off one after the other, which needs less memory; more are split at once."""


def lower_conv_dw(b: Blocker, operation: Operation) -> bool:
    """Lower ConvDw, dense without dilation or depthwise."""
    op: ConvDw = operation.op  # type: ignore[assignment]
    x, dy = operation.inputs
    (w,) = operation.outputs
    if not suits(x.shape, w.shape, op.group) or (op.group == 1 and max(op.dilations) > 1) or op.reads_nothing(x, dy):
        return False
    option = b.choose(operation, *_options(op, x, dy, w))
    if option == "std":
        return False
    narrow = op.group == 1 and known(x.shape)[1] < b.block and b.native(x) is None
    image = Layout(x.shape) if narrow else blocked_map(x.shape, b.block)
    layout = kernel_layout(b, w.shape, op.group, image)
    stored = b.get(x, image)
    back, scale = unscaled_gradient(b, dy, op.group, prod(layout.padded))
    if op.group > 1:
        made = _depthwise(op, stored, back, layout, b.block)
    else:
        rows = _plain_rows(op, stored, back) if narrow else _blocked_rows(op, stored, back, b.block)
        found = _by_image(op, rows, back) if option == "images" else _by_batch(op, rows, back, b.block)
        made = _kernel(op, found, rows, layout, b.block)
    b.put(w, scale_kernel(made, scale), layout)
    return True


def _options(op: ConvDw, x: Value, dy: Value, w: Value) -> list[str]:
    """Return the options: image by image, or the whole batch at once, which comes first for large kernels."""
    if op.group > 1:
        return ["maps", "std"]
    image = prod(known(x.shape)[1:]) + prod(known(dy.shape)[1:])
    options = ["images", "parts1"]
    return [*(options if prod(known(w.shape)) <= MAX_KERNEL * image else options[::-1]), "std"]


def _depthwise(op: ConvDw, x: Value, dy: Value, layout: Layout, block: int) -> Value:
    """Convolve each map with its dy as the kernel, then sum over the batch."""
    places = known(dy.shape)[2:]
    x, pads = _cropped(x, _pads(op, x, dy), block)
    if max(op.strides) == 1:  # with strides, it takes as long as it saves
        x, pads = _widened(x, pads)
    n, channels, *sizes = known(x.shape)
    each = blocked_conv(
        ops.reshape(x, (1, n * channels, *sizes), batch=False),
        ops.reshape(dy, (n * channels, 1, *places), batch=False),
        strides=op.dilations,
        dilations=op.strides,
        pads=pads,
        group=n * channels,
    )
    total = ops.reduce_sum(ops.reshape(each, (n, prod(layout.padded)), batch=False), (0,), keepdims=False)
    return ops.reshape(total, layout.padded, batch=False)


def _pads(op: ConvDw, x: Value, dy: Value) -> tuple[int, ...]:
    """Return the padding beyond the image; negative if its last pixels are not read."""
    return (*op.pads[:2], *op.after(x, dy))


def _cropped(x: Value, pads: Sequence[int], block: int) -> tuple[Value, tuple[int, ...]]:
    """Return a blocked image without the last pixels, if they are not read, and the padding that is left."""
    n, channels, *sizes = known(x.shape)
    cut = [min(0, pad) for pad in pads[2:]]
    if any(cut):
        x = ops.padded(ops.reshape(x, (n * channels // block, *sizes, block), batch=False), (0, 0, 0, *cut, 0))
        x = ops.reshape(x, (n, channels, sizes[0] + cut[0], sizes[1] + cut[1]), batch=False)
    return x, tuple(max(0, pad) for pad in pads)


def _widened(x: Value, pads: Sequence[int]) -> tuple[Value, tuple[int, ...]]:
    """Return a blocked image with padded rows, and the padding that is left.

    A convolution computes results that read padding at the end of a row one by one, and others together. Here it pads,
    too, since Pad runs on one thread.
    """
    top, left, bottom, right = pads
    if left or right:
        channels = known(x.shape)[1]
        ones = constant(x.graph, 1.0, x.dtype, (channels, 1, 1, 1))
        x = blocked_conv(x, ones, pads=(0, left, 0, right), group=channels)
    return x, (top, 0, bottom, 0)


class _Rows:
    """Images [N, groups, H, W * width], with `width` adjacent channels in each of `groups` groups; `pads` are still to
    be padded."""

    __slots__ = ("groups", "pads", "value", "width")

    def __init__(self, value: Value, groups: int, width: int, pads: tuple[int, ...]) -> None:
        self.value = value
        self.groups = groups
        self.width = width
        self.pads = pads

    def images(self) -> Iterable[Value]:
        """Return each image as [groups, 1, H, W * width]."""
        n, groups, *sizes = known(self.value.shape)
        return _cut(ops.reshape(self.value, (n * groups, 1, *sizes), batch=False), n)

    def batch(self) -> Value:
        """Return the images as [groups, N, H, W * width]."""
        n, groups, *sizes = known(self.value.shape)
        rows = ops.reshape(self.value, (n, groups, prod(sizes)), batch=False)
        if n > 1 < groups:
            rows = ops.transpose(rows, (1, 0, 2))
        return ops.reshape(rows, (groups, n, *sizes), batch=False)


def _plain_rows(op: ConvDw, x: Value, dy: Value) -> _Rows:
    n, channels, high, wide = known(x.shape)
    top, left, bottom, right = _pads(op, x, dy)
    if channels > 1:
        x = ops.transpose(x, (0, 2, 3, 1))
    rows = ops.reshape(x, (n, 1, high, wide * channels), batch=False)
    rows = ops.padded(rows, (0, left * channels, min(0, bottom), right * channels))
    return _Rows(rows, 1, channels, (top, 0, max(0, bottom), 0))


def _blocked_rows(op: ConvDw, x: Value, dy: Value, block: int) -> _Rows:
    x, pads = _widened(*_cropped(x, _pads(op, x, dy), block))
    n, channels, high, wide = known(x.shape)
    groups = channels // block
    return _Rows(ops.reshape(x, (n, groups, high, wide * block), batch=False), groups, block, pads)


def _by_image(op: ConvDw, rows: _Rows, dy: Value) -> Value:
    """Add up the gradients of the images, each with a single channel: [groups, O/B, taps * width, B]."""
    n, outputs, *places = known(dy.shape)
    total = None
    for image, back in zip(
        rows.images(), _cut(ops.reshape(dy, (n * outputs, 1, *places), batch=False), n), strict=True
    ):
        total = blocked_conv(image, back, None, total, pads=rows.pads, dilations=_dilations(op, rows))
    assert total is not None
    return total


def _dilations(op: ConvDw, rows: _Rows) -> tuple[int, int]:
    return op.strides[0], op.strides[1] * rows.width


def _cut(x: Value, count: int) -> Iterable[Value]:
    """Return equal parts of a value along its first axis; few of them only when they are requested."""
    each = known(x.shape)[0] // count
    if count == 1:
        return (x,)
    if count <= MAX_SLICES:
        return (ops.slice(x, (0,), (i * each,), ((i + 1) * each,)) for i in range(count))
    return ops.split(x, (each,) * count, 0)


def _by_batch(op: ConvDw, rows: _Rows, dy: Value, block: int) -> Value:
    """Convolve the images, with the batch as their channels: [groups, O/B, taps * width, B]."""
    n, outputs, *places = known(dy.shape)
    x = rows.batch()
    if n < block:
        maps = _plain_batch(dy, block)
    else:
        x, dy = reorder_input(_filled(x, 1, n, block), block), _filled(dy, 0, n, block)
        n = known(dy.shape)[0]
        maps = _blocked_batch(dy, block)
    maps = ops.reshape(maps, (outputs, n, *places), batch=False)
    return blocked_conv(x, maps, pads=rows.pads, dilations=_dilations(op, rows))


def _kernel(op: ConvDw, found: Value, rows: _Rows, layout: Layout, block: int) -> Value:
    """Return [groups, O/B, taps * width, B] as [O/B, groups, taps, width, B] or, of plain channels, [O/B, width, taps,
    B]."""
    taps, width, blocks = prod(op.kernel_shape), rows.width, layout.padded[0] // block
    if layout.axes == (0,) and width > 1:
        found = ops.transpose(ops.reshape(found, (blocks, taps, width, block), batch=False), (0, 2, 1, 3))
    elif rows.groups > 1 < blocks:
        found = ops.transpose(ops.reshape(found, (rows.groups, blocks, taps * width * block), batch=False), (1, 0, 2))
    return ops.reshape(found, layout.padded, batch=False)


def _filled(x: Value, axis: int, n: int, block: int) -> Value:
    """Return the batch padded to whole blocks."""
    if n % block == 0:
        return x
    after = [0] * 4
    after[axis] = -n % block
    return ops.pad(x, [0] * 4 + after)


def _plain_batch(dy: Value, block: int) -> Value:
    """[N, O/B, H, W, B] -> [O/B, N, H, W, B]."""
    n, outputs, *places = known(dy.shape)
    if outputs == block:
        return dy
    return ops.transpose(ops.reshape(dy, (n, outputs // block, prod(places) * block), batch=False), (1, 0, 2))


def _blocked_batch(dy: Value, block: int) -> Value:
    """[N, O/B, H, W, B] -> [O/B, N/B, H, W, B of N, B of O]."""
    n, outputs, *places = known(dy.shape)
    shape = (n // block, block, outputs // block, prod(places), block)
    return ops.transpose(ops.reshape(dy, shape, batch=False), (2, 0, 3, 1, 4))
