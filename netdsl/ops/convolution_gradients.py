"""Gradients of convolutions, as macros until a backend decides how to compute them.

They expand to the ordinary convolutions that measured fastest in onnxruntime on CPUs.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.formula import element_count
from netdsl.ir.graph import HALVES
from netdsl.ir.op import Macro
from netdsl.ops.base import apply, known
from netdsl.ops.convolution import windows

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value
    from netdsl.ops.convolution import Conv

__all__ = ["conv_dw", "conv_dx"]


class ConvGradient(Macro):
    """A gradient of a convolution with these attributes."""

    __slots__ = ("dilations", "group", "pads", "strides")

    def __init__(self, conv: Conv) -> None:
        self.strides = conv.strides
        self.pads = conv.pads
        self.dilations = conv.dilations
        self.group = conv.group

    def spans(self, kernel_shape: tuple[int, ...]) -> list[int]:
        """Return the extent of a window along each axis."""
        return [(k - 1) * d + 1 for k, d in zip(kernel_shape, self.dilations, strict=True)]


class ConvDw(ConvGradient):
    """dw[o, i, k] = sum over n, p of dy[n, o, p] * x[n, i, stride*p + dilation*k - pad], per group.

    x [N, C, *S], dy [N, O, *P] -> [O, C/group, *K].
    """

    __slots__ = ("kernel_shape",)

    def __init__(self, conv: Conv, kernel_shape: tuple[int, ...]) -> None:
        super().__init__(conv)
        self.kernel_shape = kernel_shape

    def infer(self, x: Shape, dy: Shape) -> Shape:
        channels = known(x[1:2])[0]
        assert x[0] == dy[0], f"{x} and {dy}"
        return dy[1], channels // self.group, *self.kernel_shape

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(xs[1][1:]) * element_count(y[1:])

    def after(self, x: Value, dy: Value) -> list[int]:
        """Return the padding at the end of each axis; negative if the last pixels are not read."""
        sizes, places = known(x.shape)[2:], known(dy.shape)[2:]
        rows = zip(places, self.strides, self.spans(self.kernel_shape), self.pads, sizes, strict=False)
        return [(p - 1) * s + span - before - size for p, s, span, before, size in rows]

    def reads_nothing(self, x: Value, dy: Value) -> bool:
        """Return whether all windows lie in the padding before the image."""
        return any(size + after <= 0 for size, after in zip(known(x.shape)[2:], self.after(x, dy), strict=True))

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        x, dy = xs
        rank, after = len(self.strides), self.after(x, dy)
        if self.reads_nothing(x, dy):
            return (ops.zeros(x.graph, self.infer(x.shape, dy.shape), x.dtype),)
        x = ops.padded(x, (*(0,) * rank, *(min(0, a) for a in after)))
        pads = (*self.pads[:rank], *(max(0, a) for a in after))
        if self.kernel_shape == self.strides and self.group == 1 and not any(pads) and max(self.dilations) == 1:
            return (self._by_patches(x, dy),)
        by_channel = self.group == x.shape[1]
        return ((self._by_channel if by_channel else self._by_rows)(x, dy, pads),)

    def _by_patches(self, x: Value, dy: Value) -> Value:
        """Multiply dy by the windows of x, which do not overlap: a transposition, and one product."""
        channels, outputs, *places = known((x.shape[1], *dy.shape[1:]))
        sizes = [size for pair in zip(places, self.kernel_shape, strict=True) for size in pair]
        order = (0, *range(2, len(sizes) + 2, 2), 1, *range(3, len(sizes) + 2, 2))
        patches = ops.transpose(ops.reshape(x, (channels, *sizes)), order)
        rows, columns = known(x.shape)[0] * prod(places), channels * prod(self.kernel_shape)
        slopes = ops.transpose(dy, (1, 0, *range(2, len(places) + 2)))
        found = ops.gemm(
            ops.reshape(slopes, (outputs, rows), batch=False), ops.reshape(patches, (rows, columns), batch=False)
        )
        return ops.reshape(found, (outputs, channels, *self.kernel_shape), batch=False)

    def _by_channel(self, x: Value, dy: Value, pads: tuple[int, ...]) -> Value:
        """Depthwise: a grouped convolution whose kernels are the maps of dy, summed over the batch."""
        (n, channels, *sizes), (_, outputs, *places) = known(x.shape), known(dy.shape)
        each = ops.conv(
            ops.reshape(x, (1, n * channels, *sizes), batch=False),
            ops.reshape(dy, (n * outputs, 1, *places), batch=False),
            strides=self.dilations,
            dilations=self.strides,
            pads=pads,
            group=n * channels,
        )
        each = ops.cast(ops.reshape(each, (n, outputs * prod(self.kernel_shape)), batch=False), _wide(x.dtype))
        total = ops.cast(ops.reduce_sum(each, (0,)), x.dtype)
        return ops.reshape(total, (outputs, 1, *self.kernel_shape), batch=False)

    def _by_rows(self, x: Value, dy: Value, pads: tuple[int, ...]) -> Value:
        """Convolve x, as one image whose rows interleave the channels of each pixel and whose channels are the batch,
        with dy.

        Taps along a row are whole pixels apart; the positions between them are the channels.
        """
        (n, channels, *sizes), outputs = known(x.shape), known(dy.shape)[1]
        rank, group, width = len(sizes), self.group, channels // self.group
        image = ops.reshape(x, (n, group, width, *sizes), batch=False)
        image = ops.transpose(image, (1, 0, *range(3, rank + 3), 2))
        found = ops.conv(
            ops.reshape(image, (1, group * n, *sizes[:-1], sizes[-1] * width), batch=False),
            ops.transpose(dy, (1, 0, *range(2, rank + 2))),
            strides=(*self.dilations[:-1], 1),
            dilations=(*self.strides[:-1], self.strides[-1] * width),
            pads=(*pads[: rank - 1], pads[rank - 1] * width, *pads[rank:-1], pads[-1] * width),
            group=group,
        )
        taps = known(found.shape)[-1] // width
        found = ops.reshape(found, (outputs, *self.kernel_shape[:-1], taps, width), batch=False)
        if self.dilations[-1] > 1:
            found = ops.slice(found, (rank,), (0,), (None,), (self.dilations[-1],))
        return ops.transpose(found, (0, rank + 1, *range(1, rank + 1)))


def _wide(dtype: str) -> str:
    """Return the type in which to add numbers of a type."""
    return "f32" if dtype in HALVES else dtype


class ConvDx(ConvGradient):
    """dx[n, i, q] = sum over o, and over p and k with stride*p + dilation*k - pad = q, of dy[n, o, p] * w[o, i, k].

    dy [N, O, *P], w [O, C/group, *K] -> [N, C, *S], `sizes` being S.
    """

    __slots__ = ("sizes",)

    def __init__(self, conv: Conv, sizes: tuple[int, ...]) -> None:
        super().__init__(conv)
        self.sizes = sizes

    def infer(self, dy: Shape, w: Shape) -> Shape:
        assert dy[1] == w[0], f"{dy} through {w}"
        rank, sides = len(self.strides), zip(self.pads, self.pads[len(self.strides) :], strict=False)
        seen = tuple(map(windows, self.sizes, known(w[2:]), self.strides, map(sum, sides), self.dilations))
        assert dy[2:] == seen[:rank], f"{dy} from {self.sizes}"
        return dy[0], known(w[1:2])[0] * self.group, *self.sizes

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(xs[0][1:]) * element_count(xs[1][1:])

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        dy, w = xs
        return ((self._transposed if self._prefers_transposed(dy, w) else self._flipped)(dy, w),)

    def _prefers_transposed(self, dy: Value, w: Value) -> bool:
        """Return whether ConvTranspose is faster: with strides, few channels, or many channels on small maps, as
        measured."""
        if max(self.strides) > 1 or self.group > 1:
            return max(self.strides) > 1
        return known(w.shape)[1] < 16 or (prod(known(w.shape)) > 400_000 and prod(known(dy.shape)[2:]) <= 14**2)

    def _transposed(self, dy: Value, w: Value) -> Value:
        rank, places, spans = len(self.strides), known(dy.shape)[2:], self.spans(known(w.shape)[2:])
        full = [(p - 1) * s + span for p, s, span in zip(places, self.strides, spans, strict=True)]
        missing = [
            size - (whole - b - a)
            for size, whole, b, a in zip(self.sizes, full, self.pads[:rank], self.pads[rank:], strict=True)
        ]
        return ops.conv_transpose(
            dy,
            w,
            strides=self.strides,
            pads=self.pads,
            output_padding=missing,
            dilations=self.dilations,
            group=self.group,
        )

    def _flipped(self, dy: Value, w: Value) -> Value:
        """Return a convolution with the flipped kernel."""
        spans = self.spans(known(w.shape)[2:])
        before = [span - 1 - pad for span, pad in zip(spans, self.pads, strict=False)]
        after = [
            size + span - 1 - b - length
            for size, span, b, length in zip(self.sizes, spans, before, known(dy.shape)[2:], strict=True)
        ]
        pads = (*before, *after)
        dy = ops.padded(dy, [min(0, p) for p in pads])
        return ops.conv(dy, self._kernel(w), pads=[max(0, p) for p in pads], dilations=self.dilations, group=self.group)

    def _kernel(self, w: Value) -> Value:
        """Return the kernel flipped, [O, C/group, *K] -> [C, O/group, *K]."""
        outputs, width, *kernel = known(w.shape)
        group, taps = self.group, prod(kernel)
        w = ops.reshape(w, (group, outputs // group, width, taps), batch=False)
        if taps > 1:
            w = ops.gather(w, range(taps - 1, -1, -1), 3)
        if width > 1 < outputs // group:
            w = ops.transpose(w, (0, 2, 1, 3))
        return ops.reshape(w, (group * width, outputs // group, *kernel), batch=False)


def conv_dw(x: Value, dy: Value, conv: Conv, kernel_shape: tuple[int, ...]) -> Value:
    return apply(ConvDw(conv, kernel_shape), x, dy)


def conv_dx(dy: Value, w: Value, conv: Conv, sizes: tuple[int, ...]) -> Value:
    """Return the gradient of the input, an image of the given `sizes`."""
    return apply(ConvDx(conv, sizes), dy, w)
