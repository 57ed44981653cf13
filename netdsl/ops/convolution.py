"""Convolutions over any number of spatial axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.formula import element_count
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import Reach, groups, window
from netdsl.ops.base import apply, known
from netdsl.ops.indexing import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value

__all__ = ["conv", "conv_transpose"]


def windows(size: Dim, kernel: int, stride: int, pads: int, dilation: int = 1) -> Dim:
    """Return the number of windows that fit: (size + pads - dilation*(kernel - 1) - 1) // stride + 1."""
    return (size + pads - (kernel - 1) * dilation - 1) // stride + 1


class Conv(Op):
    """y[o] = b[o] + sum over i, k of w[o, i, k] * x[i, stride*p + dilation*k - pad], per group. ONNX Conv.

    x [N, C, *S], w [O, C/group, *K], b [O] -> [N, O, *P]. `pads` are all befores, then all afters.
    """

    __slots__ = ("dilations", "group", "pads", "strides")

    def __init__(self, strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...], group: int) -> None:
        self.strides = strides
        self.pads = pads
        self.dilations = dilations
        self.group = group

    def infer(self, x: Shape, w: Shape, b: Shape = ()) -> Shape:
        rank = len(self.strides)
        assert len(x) == len(w) == rank + 2, f"{x} convolved with {w} over {rank} axes"
        assert x[1] == w[1] * self.group, f"{x} convolved with {w} in {self.group} groups"
        assert b in ((), w[:1]), f"{w[0]} channels, a bias {b}"
        before, after = self.pads[:rank], self.pads[rank:]
        pads = map(sum, zip(before, after, strict=True))
        spatial = map(windows, x[2:], known(w[2:]), self.strides, pads, self.dilations)
        return x[0], w[0], *spatial

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(y[1:]) * element_count(xs[1][1:])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis < 2:
            return groups(1, known(xs[1])[1] * self.group, known(xs[1])[0], self.group) if axis else Reach(0)
        span = (known(xs[1])[axis] - 1) * self.dilations[axis - 2] + 1
        return window(axis, span, self.strides[axis - 2], self.pads[axis - 2])

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Conv", self.attributes | {"kernel_shape": xs[1].shape[2:]})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, w, *bias = xs
        dx = ops.conv_dx(dy, w, self, known(x.shape)[2:])
        dw = ops.conv_dw(x, dy, self, known(w.shape)[2:])
        return dx, dw, *(ops.sum_by_channel(dy) for _ in bias)


class ConvTranspose(Op):
    """The gradient of Conv with respect to its input, as a layer. ONNX ConvTranspose.

    x [N, C, *S], w [C, O/group, *K], b [O] -> [N, O, *P] with
    P = (S - 1)*stride + dilation*(K - 1) + 1 - pads + output_padding.
    """

    __slots__ = ("dilations", "group", "output_padding", "pads", "strides")

    def __init__(
        self,
        strides: tuple[int, ...],
        pads: tuple[int, ...],
        output_padding: tuple[int, ...],
        dilations: tuple[int, ...],
        group: int,
    ) -> None:
        self.strides = strides
        self.pads = pads
        self.output_padding = output_padding
        self.dilations = dilations
        self.group = group

    def infer(self, x: Shape, w: Shape, b: Shape = ()) -> Shape:
        rank = len(self.strides)
        assert len(x) == len(w) == rank + 2, f"{x} convolved with {w} over {rank} axes"
        assert x[1] == w[0], f"{x} convolved with {w}"
        _, channels, *kernel = known(w)
        channels *= self.group
        assert b in ((), (channels,)), f"{channels} channels, a bias {b}"
        spatial = (
            (x[i + 2] - 1) * self.strides[i]
            + ((kernel[i] - 1) * self.dilations[i] + 1 - self.pads[i] - self.pads[rank + i] + self.output_padding[i])
            for i in range(rank)
        )
        return x[0], channels, *spatial

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(xs[0][1:]) * element_count(xs[1][1:])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis < 2:
            return groups(1, known(xs[1])[0], known(xs[1])[1] * self.group, self.group) if axis else Reach(0)
        span = (known(xs[1])[axis] - 1) * self.dilations[axis - 2] + 1
        pad, stride = self.pads[axis - 2], self.strides[axis - 2]
        return Reach(axis, first=pad - max(0, span - stride), last=pad, up=stride)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("ConvTranspose", self.attributes | {"kernel_shape": xs[1].shape[2:]})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Return the gradients of the convolution that this op transposes."""
        x, w, *bias = xs
        back = Conv(self.strides, self.pads, self.dilations, self.group)
        dx = apply(back, dy, w)
        return dx, ops.conv_dw(dy, x, back, known(w.shape)[2:]), *(ops.sum_by_channel(dy) for _ in bias)


def conv(
    x: Value,
    w: Value,
    bias: Value | None = None,
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> Value:
    ones = (1,) * (len(x.shape) - 2)
    op = Conv(tuple(strides or ones), tuple(pads or (0, 0) * len(ones)), tuple(dilations or ones), group)
    return apply(op, x, w, *(() if bias is None else (bias,)))


def conv_transpose(
    x: Value,
    w: Value,
    bias: Value | None = None,
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> Value:
    ones = (1,) * (len(x.shape) - 2)
    none = (0,) * len(ones)
    steps, pads, more = tuple(strides or ones), tuple(pads or none * 2), tuple(output_padding or none)
    if any(m >= step for m, step in zip(more, steps, strict=True)):
        (x, pads), more = _without_output_padding(x, steps, pads, more), none
    op = ConvTranspose(steps, pads, more, tuple(dilations or ones), group)
    return apply(op, x, w, *(() if bias is None else (bias,)))


def _without_output_padding(
    x: Value, strides: tuple[int, ...], pads: tuple[int, ...], more: tuple[int, ...]
) -> tuple[Value, tuple[int, ...]]:
    """Replace output padding by smaller pads at the end, and append zeros to the input where these would be negative.

    onnxruntime rejects an output padding of at least the stride; PyTorch accepts it if it is below the dilation.
    """
    rank = len(more)
    zeros = tuple(max(0, -(-(m - after) // step)) for m, after, step in zip(more, pads[rank:], strides, strict=True))
    afters = (a + n * step - m for a, n, step, m in zip(pads[rank:], zeros, strides, more, strict=True))
    x = pad(x, (0,) * rank + zeros) if any(zeros) else x
    return x, (*pads[:rank], *afters)
