"""The gradient of a convolution's kernel in the blocked layout: a convolution whose kernel is dy.

Images are read as rows in which the channels of a block are adjacent, so that the batch becomes the channel axis and
the image channels become positions along a row; the result is then almost in kernel order. Shapes in comments are
those in memory; B is the block size.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import blocked_conv, reorder_input
from netdsl.passes.blocked.convolution import kernel_layout, scale_kernel, suits, unscaled_gradient
from netdsl.passes.blocked.layout import Layout, blocked_map

if TYPE_CHECKING:
    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.convolution_gradients import ConvDw
    from netdsl.passes.blocked.blocker import Blocker


def lower_conv_dw(b: Blocker, operation: Operation) -> bool:
    """Lower ConvDw, dense without dilation or depthwise."""
    op: ConvDw = operation.op  # type: ignore[assignment]
    x, dy = operation.inputs
    (w,) = operation.outputs
    if not suits(x.shape, w.shape, op.group) or (op.group == 1 and max(op.dilations) > 1) or op.reads_nothing(x, dy):
        return False
    option = b.choose(operation, *_options(op, dy, b.block))
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
        rows = _plain_rows(stored) if narrow else _blocked_rows(stored, b.block)
        made = _dense(op, rows, back, layout, b.block, int(option.removeprefix("parts")))
    b.put(w, scale_kernel(made, scale), layout)
    return True


def _options(op: ConvDw, dy: Value, block: int) -> list[str]:
    """Return the options: the whole batch at once, or in parts whose results are added, which run in parallel. Parts
    come first if there is only one block of outputs, so that the whole batch would run on one thread."""
    if op.group > 1:
        return ["maps", "std"]
    n, outputs, *_ = known(dy.shape)
    parts = ["parts1"]
    if n % (4 * block) == 0:
        parts.insert(outputs > block, "parts4")
    return [*parts, "std"]


def _depthwise(op: ConvDw, x: Value, dy: Value, layout: Layout, block: int) -> Value:
    """Convolve each map with its dy as the kernel, then sum over the batch."""
    n, channels, *sizes = known(x.shape)
    pads = _pads(op, sizes, known(dy.shape)[2:])
    cut = [min(0, p) for p in pads]
    if any(cut):
        x = ops.reshape(x, (n * channels // block, sizes[0], sizes[1], block), batch=False)
        x = ops.padded(x, (0, 0, 0, cut[2], cut[3], 0))
        sizes = [sizes[0] + cut[2], sizes[1] + cut[3]]
    each = blocked_conv(
        ops.reshape(x, (1, n * channels, *sizes), batch=False),
        ops.reshape(dy, (n * channels, 1, *known(dy.shape)[2:]), batch=False),
        strides=op.dilations,
        dilations=op.strides,
        pads=tuple(max(0, p) for p in pads),
        group=n * channels,
    )
    total = ops.reduce_sum(ops.reshape(each, (n, prod(layout.padded)), batch=False), (0,), keepdims=False)
    return ops.reshape(total, layout.padded, batch=False)


def _pads(op: ConvDw, sizes: list[int], places: tuple[int, ...]) -> tuple[int, ...]:
    """Return the padding beyond the image; negative if its last pixels are not read."""
    rows = zip(places, op.strides, op.spans(op.kernel_shape), op.pads, sizes, strict=False)
    return (*op.pads[:2], *((p - 1) * s + span - pad - size for p, s, span, pad, size in rows))


class _Rows:
    """Images [groups, N, H, W * width], with `width` adjacent channels in each of `groups` groups."""

    __slots__ = ("sizes", "value", "width")

    def __init__(self, value: Value, sizes: list[int], width: int) -> None:
        self.value = value
        self.sizes = sizes
        self.width = width


def _plain_rows(x: Value) -> _Rows:
    n, channels, *sizes = known(x.shape)
    if channels > 1:
        x = ops.transpose(x, (0, 2, 3, 1))
    return _Rows(ops.reshape(x, (1, n, sizes[0], sizes[1] * channels), batch=False), sizes, channels)


def _blocked_rows(x: Value, block: int) -> _Rows:
    n, channels, *sizes = known(x.shape)
    blocks = channels // block
    if blocks > 1:
        x = ops.transpose(ops.reshape(x, (n, blocks, prod(sizes) * block), batch=False), (1, 0, 2))
    return _Rows(ops.reshape(x, (blocks, n, sizes[0], sizes[1] * block), batch=False), sizes, block)


def _dense(op: ConvDw, rows: _Rows, dy: Value, layout: Layout, block: int, parts: int) -> Value:
    n, outputs, *places = known(dy.shape)
    groups, width = known(rows.value.shape)[0], rows.width
    top, left, bottom, right = _pads(op, rows.sizes, (places[0], places[1]))
    x = ops.padded(rows.value, (top, left * width, bottom, right * width))
    if n < block:
        maps = _plain_batch(dy, block)
    else:
        x, dy = _filled(x, 1, n, block), _filled(dy, 0, n, block)
        n = known(dy.shape)[0]
        x, maps = reorder_input(x, block), _blocked_batch(dy, parts, block)
    found = blocked_conv(
        x,
        ops.reshape(maps, (parts * outputs, n // parts, *places), batch=False),
        dilations=(op.strides[0], op.strides[1] * width),
        group=parts,
    )
    if parts > 1:
        found = ops.reshape(found, (groups, parts, prod(layout.padded) // groups), batch=False)
        found = ops.reduce_sum(found, (1,), keepdims=False)
    taps, blocks = prod(op.kernel_shape), outputs // block
    # [groups, O/B, taps * width, B] -> [O/B, groups, taps, width, B] or, of plain channels, [O/B, width, taps, B]
    if layout.axes == (0,) and width > 1:
        found = ops.transpose(ops.reshape(found, (blocks, taps, width, block), batch=False), (0, 2, 1, 3))
    elif groups > 1 < blocks:
        found = ops.transpose(ops.reshape(found, (groups, blocks, taps * width * block), batch=False), (1, 0, 2))
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


def _blocked_batch(dy: Value, parts: int, block: int) -> Value:
    """[N, O/B, H, W, B] -> [parts, O/B, N/B/parts, H, W, B of N, B of O]."""
    n, outputs, *places = known(dy.shape)
    shape = (parts, n // block // parts, block, outputs // block, prod(places), block)
    return ops.transpose(ops.reshape(dy, shape, batch=False), (0, 3, 1, 4, 2, 5))
