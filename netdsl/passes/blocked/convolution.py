"""Convolutions in the blocked layout, and their gradients.

`B` in comments is the size of a block; shapes in comments are those in memory.
"""

from __future__ import annotations

from math import isqrt, prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import blocked_affine, blocked_conv, reorder_output
from netdsl.passes.blocked.layout import Layout, blocked_map, kernel, narrow_kernel, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.convolution import Conv
    from netdsl.ops.convolution_gradients import ConvDx
    from netdsl.passes.blocked.blocker import Blocker
    from netdsl.passes.blocked.layout import Layout


class _Axis(NamedTuple):
    """One axis of a convolution to differentiate: `size` input pixels became `places` outputs.

    Every `stride`-th pixel belongs to the same phase. The gradient of a phase is a convolution of dy with the taps that
    read its pixels.
    """

    size: int
    places: int
    kernel: int
    stride: int
    pad: int
    dilation: int

    @property
    def rows(self) -> int:
        """Return the number of pixels per phase; the last may lie beyond the image."""
        return -(-self.size // self.stride)

    def taps(self, phase: int) -> list[int]:
        """Return the kernel taps that read the pixels of a phase, last first; dilation requires a stride of 1."""
        return [*range((phase + self.pad) % self.stride, self.kernel, self.stride)][::-1]

    def pads(self, phase: int) -> tuple[int, int]:
        """Return the padding of dy before and after it that the pixels of a phase are computed with."""
        taps = self.taps(phase)
        first, last = ((phase + self.pad - tap * self.dilation) // self.stride for tap in (taps[0], taps[-1]))
        return -first, self.rows - self.places + last

    @property
    def crops(self) -> bool:
        """Return whether a phase has negative padding, which a convolution does not support."""
        return any(min(self.pads(phase)) < 0 for phase in range(self.stride) if self.taps(phase))


def lower_conv(b: Blocker, operation: Operation) -> bool:
    """Lower a dense or depthwise Conv of any stride and dilation."""
    op: Conv = operation.op  # type: ignore[assignment]
    x, w, *bias = operation.inputs
    (y,) = operation.outputs
    if not suits(x.shape, w.shape, op.group):
        return False
    from_layout = _image(b, x, op.group)
    made = blocked_conv(
        b.get(x, from_layout),
        b.get(w, kernel_layout(b, w.shape, op.group, from_layout)),
        b.get(bias[0], vector(bias[0].shape, b.block)) if bias else None,
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        group=_group(from_layout, op.group),
    )
    b.put(y, made, blocked_map(y.shape, b.block))
    return True


def suits(x: Shape, w: Shape, group: int) -> bool:
    """Return whether the operation is a dense or depthwise 2-D convolution."""
    return len(x) == 4 and (group == 1 or (x[1] == w[0] == group))


def kernel_layout(b: Blocker, shape: Shape, group: int, x: Layout) -> Layout:
    """Return the layout of a kernel for an image in the layout of `x`."""
    narrow = group > 1 or (x.plain and known(shape)[1] < b.block)
    return (narrow_kernel if narrow else kernel)(shape, b.block)


def _image(b: Blocker, x: Value, group: int) -> Layout:
    """Return the layout in which an image is read: plain if it has fewer channels than a block."""
    if group == 1 and known(x.shape)[1] < b.block and b.native(x) is None:
        return Layout(x.shape)
    return blocked_map(x.shape, b.block)


def _group(x: Layout, group: int) -> int:
    return x.padded[1] if group > 1 else 1


def lower_conv_dx(b: Blocker, operation: Operation) -> bool:
    """Lower ConvDx to a convolution with the flipped kernel or, with strides, to one for each phase."""
    op: ConvDx = operation.op  # type: ignore[assignment]
    dy, w = operation.inputs
    (x,) = operation.outputs
    sides = zip(op.sizes, known(dy.shape)[2:], known(w.shape)[2:], op.strides, op.pads, op.dilations, strict=False)
    axes = [_Axis(*side) for side in sides]
    if not suits(x.shape, w.shape, op.group) or any(axis.crops for axis in axes):
        return False
    if max(op.strides) > 1 < max(op.dilations) or b.choose(operation, "blocked", "std") == "std":
        return False
    layout = blocked_map(x.shape, b.block)
    stored = b.get(w, kernel_layout(b, w.shape, op.group, layout))
    image, scale = unscaled_gradient(b, dy, op.group, prod(known(stored.shape)))
    taps = (_depthwise_taps if op.group > 1 else _transposed_taps)(scale_kernel(stored, scale), b.block)
    group = _group(layout, op.group)
    if max(op.strides) == 1:
        made = _phase(image, taps, axes, (0, 0), group)
    else:
        made = _interleaved(image, taps, axes, layout, group, b.block)
    b.put(x, made, layout)
    return True


def _phase(dy: Value, taps: _Taps, axes: Sequence[_Axis], phases: Sequence[int], group: int) -> Value:
    """Return the pixels of dx in one phase of each axis."""
    pads = [axis.pads(phase) for axis, phase in zip(axes, phases, strict=True)]
    return blocked_conv(
        dy,
        taps.take([axis.taps(phase) for axis, phase in zip(axes, phases, strict=True)]),
        pads=(*(before for before, _ in pads), *(after for _, after in pads)),
        dilations=tuple(axis.dilation for axis in axes),
        group=group,
    )


def _interleaved(dy: Value, taps: _Taps, axes: Sequence[_Axis], layout: Layout, group: int, block: int) -> Value:
    """Return dx in `layout`, put together from its phases; those that no tap reads are zero."""
    (n, channels, *_), (tall, wide) = layout.padded, axes
    blocks = channels // block
    lines, pixels = n * blocks * tall.rows, wide.rows
    zero = None
    rows = []
    for i in range(tall.stride):
        columns = []
        for j in range(wide.stride):
            if tall.taps(i) and wide.taps(j):
                made = _phase(dy, taps, axes, (i, j), group)
            else:
                made = zero = zero or ops.zeros(dy.graph, (n, channels, tall.rows, pixels), dy.dtype)
            columns.append(ops.reshape(made, (lines, pixels, 1, block), batch=False))
        row = ops.concat(columns, 2)
        rows.append(ops.reshape(row, (lines, 1, pixels * wide.stride * block), batch=False))
    sizes = (tall.rows * tall.stride, wide.rows * wide.stride)
    whole = ops.reshape(ops.concat(rows, 1), (n * blocks, sizes[0], sizes[1] * block), batch=False)
    if sizes != (tall.size, wide.size):
        whole = ops.slice(whole, (1, 2), (0, 0), (tall.size, wide.size * block))
    assert prod(known(whole.shape)) == prod(layout.padded)
    return ops.reshape(whole, layout.padded, batch=False)


def unscaled_gradient(b: Blocker, dy: Value, group: int, kernel: int) -> tuple[Value, Value | None]:
    """Return dy in the blocked layout, and a factor per channel that is still to be applied, or None.

    The factor is left to a kernel of `kernel` elements if that is cheaper than applying it to dy.
    """
    if group == 1 and dy in b.scaled:
        unscaled, scale, _ = b.scaled[dy]
        if prod(known(unscaled.shape)) > 2 * kernel:
            return unscaled, scale
    return b.get(dy, blocked_map(dy.shape, b.block)), None


def scale_kernel(w: Value, scale: Value | None) -> Value:
    """Return a kernel [O/B, …, B of O] with its outputs scaled, as a map whose channels are the outputs."""
    if scale is None:
        return w
    outputs, *rest = known(w.shape)
    rows = ops.reshape(w, (1, outputs, 1, prod(rest)), batch=False)
    return ops.reshape(blocked_affine(rows, scale), w.shape, batch=False)


class _Taps:
    """The taps of a kernel, from which kernels with a subset of them are built."""

    __slots__ = ("_lead", "_shape", "_tiles")

    def __init__(self, tiles: Value, lead: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> None:
        """Initialize from `tiles` [T * taps, inner]; `lead` gives a size and a step in taps for each leading axis."""
        self._tiles = tiles
        self._lead = lead
        self._shape = shape

    def take(self, chosen: Sequence[Sequence[int]]) -> Value:
        """Return the kernel made of these rows and columns of taps."""
        outputs, inputs, _, width = self._shape
        starts = [0]
        for size, step in self._lead:
            starts = [start + i * step for start in starts for i in range(size)]
        rows, columns = chosen
        order = [start + i * width + j for start in starts for i in rows for j in columns]
        tiles = self._tiles
        if order != list(range(known(tiles.shape)[0])):
            tiles = ops.gather(tiles, order, 0)
        return ops.reshape(tiles, (outputs, inputs, len(rows), len(columns)), batch=False)


def _depthwise_taps(w: Value, block: int) -> _Taps:
    channels, _, *taps = known(w.shape)
    count = prod(taps)
    tiles = ops.reshape(w, (channels // block * count, block), batch=False)
    return _Taps(tiles, [(channels // block, count)], (channels, 1, *taps))


def _transposed_taps(w: Value, block: int) -> _Taps:
    """Return the taps of [C/B, O/B, *K, B of O, B of C], the transpose of [O/B, C/B, *K, B of C, B of O].

    ReorderOutput transposes the tiles.
    """
    outputs, inputs, *taps = known(w.shape)
    count, side = prod(taps), isqrt(block)
    tiles = ops.reshape(w, (outputs // block * (inputs // block) * count, block, side, block // side), batch=False)
    tiles = ops.reshape(reorder_output(tiles, block), (tiles.shape[0], block * block), batch=False)
    lead = [(inputs // block, count), (outputs // block, inputs // block * count)]
    return _Taps(tiles, lead, (inputs, outputs, *taps))
