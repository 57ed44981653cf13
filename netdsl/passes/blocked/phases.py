"""The gradient of a strided convolution's image: one small convolution for each place between two windows.

What reads the pixels h = s*m + a is every s-th tap of the kernel, the same taps for all m: dx[s*m + a] is an ordinary
convolution of dy with these, and the results are put side by side. Source: Shi et al. (2016), section 3.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import blocked_conv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value
    from netdsl.passes.blocked.convolution import Taps
    from netdsl.passes.blocked.layout import Layout


class Axis:
    """One axis of a convolution that is gone back through: `size` pixels became `places`."""

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
        """How many pixels each phase has; the last ones may lie beyond the image."""
        return -(-self.size // self.stride)

    def taps(self, phase: int) -> list[int]:
        """The kernel's taps that read the pixels of a phase, the last first."""
        return [*range((phase + self.pad) % self.stride, self.kernel, self.stride)][::-1]

    def ends(self, phase: int) -> tuple[int, int]:
        """How far a phase's windows reach beyond dy, before and after."""
        taps = self.taps(phase)
        first, last = ((phase + self.pad - tap) // self.stride for tap in (taps[0], taps[-1]))
        return -first, self.rows - self.places + last

    @property
    def pads(self) -> tuple[int, int] | None:
        """The paddings of the one phase that there is without strides; None where some phase would have to be cut."""
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
