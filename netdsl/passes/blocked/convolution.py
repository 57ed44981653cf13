"""Convolutions in the blocked layout, and their gradients.

`B` in comments is the size of a block; shapes in comments are those in memory.
"""

from __future__ import annotations

from math import isqrt, prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import affine, blocked_conv, reorder_output
from netdsl.passes.blocked.layout import Layout, blocked_map, kernel, narrow_kernel, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Operation, Value
    from netdsl.ops.convolution import Conv
    from netdsl.ops.convolution_gradients import ConvDx
    from netdsl.passes.blocked.blocker import Blocker
    from netdsl.passes.blocked.layout import Layout


class Axis:
    """One axis of a convolution to differentiate: `size` input pixels became `places` outputs."""

    __slots__ = ("dilation", "kernel", "pad", "places", "size", "stride")

    def __init__(self, size: int, places: int, kernel: int, stride: int, pad: int, dilation: int) -> None:
        self.size = size
        self.places = places
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.dilation = dilation

    @property
    def rows(self) -> int:
        """Return the number of pixels per phase; the last may lie beyond the image."""
        return -(-self.size // self.stride)

    def taps(self, phase: int) -> list[int]:
        """Return the kernel taps that read the pixels of a phase, last first."""
        return [*range((phase + self.pad) % self.stride, self.kernel, self.stride)][::-1]

    def ends(self, phase: int) -> tuple[int, int]:
        """Return how far the windows of a phase reach beyond dy, before and after."""
        taps = self.taps(phase)
        first, last = ((phase + self.pad - tap) // self.stride for tap in (taps[0], taps[-1]))
        return -first, self.rows - self.places + last

    @property
    def pads(self) -> tuple[int, int] | None:
        """Return the padding of the only phase of an axis without stride, or None if a phase would have to be
        cropped."""
        if self.stride == 1:
            before = (self.kernel - 1) * self.dilation - self.pad
            after = self.size + (self.kernel - 1) * self.dilation - before - self.places
            return (before, after) if min(before, after) >= 0 else None
        ends = [self.ends(phase) for phase in range(self.stride) if self.taps(phase)]
        return ends[0] if min(map(min, ends)) >= 0 else None


def phases(dy: Value, taps: Taps, axes: Sequence[Axis], layout: Layout, group: int, block: int) -> Value:
    """dx, in `layout`."""
    (n, channels, *_), (tall, wide) = layout.padded, axes
    blocks = channels // block
    lines, pixels = n * blocks * tall.rows, wide.rows
    zero = None
    rows = []
    for i in range(tall.stride):
        columns = []
        for j in range(wide.stride):
            if tall.taps(i) and wide.taps(j):
                ends = (tall.ends(i), wide.ends(j))
                pads = (*(e[0] for e in ends), *(e[1] for e in ends))
                made = blocked_conv(dy, taps.take((tall.taps(i), wide.taps(j))), pads=pads, group=group)
            else:
                made = zero = zero or ops.zeros(dy.graph, (n, channels, tall.rows, pixels), dy.dtype)
            columns.append(ops.reshape(made, (lines, pixels, 1, block), batch=False))
        row = ops.concat(columns, 2)
        rows.append(ops.reshape(row, (lines, 1, pixels * wide.stride * block), batch=False))
    whole = ops.concat(rows, 1)
    sizes = (tall.rows * tall.stride, wide.rows * wide.stride)
    whole = ops.reshape(whole, (n * blocks, sizes[0], sizes[1] * block), batch=False)
    if sizes != (tall.size, wide.size):
        whole = ops.slice(whole, (1, 2), (0, 0), (tall.size, wide.size * block))
    assert prod(known(whole.shape)) == prod(layout.padded)
    return ops.reshape(whole, layout.padded, batch=False)


def conv(b: Blocker, operation: Operation) -> bool:
    """Conv: dense or depthwise, any stride and dilation."""
    op: Conv = operation.op  # type: ignore[assignment]
    x, w, *bias = operation.inputs
    (y,) = operation.outputs
    if not suits(x.shape, w.shape, op.group):
        return False
    from_layout = _image(b, x, op.group)
    made = blocked_conv(
        b.get(x, from_layout),
        b.get(w, weights(b, w.shape, op.group, from_layout)),
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


def weights(b: Blocker, shape: Shape, group: int, x: Layout) -> Layout:
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


def dx(b: Blocker, operation: Operation) -> bool:
    """ConvDx: a convolution with the flipped kernel; with strides, one for each phase."""
    op: ConvDx = operation.op  # type: ignore[assignment]
    dy, w = operation.inputs
    (x,) = operation.outputs
    axes = _axes(op, known(w.shape)[2:], known(dy.shape)[2:])
    if not suits(x.shape, w.shape, op.group) or any(axis.pads is None for axis in axes):
        return False
    layout = blocked_map(x.shape, b.block)
    strided = max(op.strides) > 1
    if (strided and max(op.dilations) > 1) or b.choose(operation, "blocked", "std") == "std":
        return False
    depthwise = op.group > 1
    group = layout.padded[1] if depthwise else 1
    stored = b.get(w, weights(b, w.shape, op.group, layout))
    scaled = None if depthwise else scaled_gradient(b, dy, prod(known(stored.shape)))
    image = b.get(dy, blocked_map(dy.shape, b.block)) if scaled is None else scaled[0]
    if scaled is not None:
        stored = scale_kernel(stored, scaled[1])
    taps = _depthwise_taps(stored, b.block) if depthwise else _transposed_taps(stored, b.block)
    if strided:
        made = phases(image, taps, axes, layout, group, b.block)
    else:
        pads = [axis.pads for axis in axes if axis.pads]
        made = blocked_conv(
            image,
            taps.take([range(axis.kernel)[::-1] for axis in axes]),
            pads=(*(p[0] for p in pads), *(p[1] for p in pads)),
            dilations=op.dilations,
            group=group,
        )
    b.put(x, made, layout)
    return True


def _axes(op: ConvDx, kernel_shape: tuple[int, ...], places: tuple[int, ...]) -> list[Axis]:
    rows = zip(op.sizes, places, kernel_shape, op.strides, op.pads, op.dilations, strict=False)
    return [Axis(*row) for row in rows]


def scaled_gradient(b: Blocker, dy: Value, cost: int) -> tuple[Value, Value] | None:
    """Return a gradient and a factor per channel that is still to be applied, if applying it to the kernel is
    cheaper."""
    found = b.scaled.get(dy)
    return found[:2] if found is not None and prod(known(found[0].shape)) > 2 * cost else None


def scale_kernel(w: Value, scale: Value) -> Value:
    """Return a kernel [O/B, …, B of O] with its outputs scaled, as a map whose channels are the outputs."""
    outputs, *rest = known(w.shape)
    rows = ops.reshape(w, (1, outputs, 1, prod(rest)), batch=False)
    return ops.reshape(affine(rows, scale), w.shape, batch=False)


class Taps:
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


def _depthwise_taps(w: Value, block: int) -> Taps:
    channels, _, *taps = known(w.shape)
    count = prod(taps)
    tiles = ops.reshape(w, (channels // block * count, block), batch=False)
    return Taps(tiles, [(channels // block, count)], (channels, 1, *taps))


def _transposed_taps(w: Value, block: int) -> Taps:
    """[O/B, C/B, *K, B of C, B of O] -> the taps of [C/B, O/B, *K, B of O, B of C]. ReorderOutput transposes tiles."""
    outputs, inputs, *taps = known(w.shape)
    count, side = prod(taps), isqrt(block)
    tiles = ops.reshape(w, (outputs // block * (inputs // block) * count, block, side, block // side), batch=False)
    tiles = ops.reshape(reorder_output(tiles, block), (tiles.shape[0], block * block), batch=False)
    lead = [(inputs // block, count), (outputs // block, inputs // block * count)]
    return Taps(tiles, lead, (inputs, outputs, *taps))
