"""Axes of a layer's input, and sliding windows over them: sizes, strides, padding, and the number that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import SIZE
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit

if TYPE_CHECKING:
    from netdsl.base.shape import Dim, Shape

PerAxis = int | tuple[int, ...]


def channel_count(x: Shape) -> int:
    """Return the number of channels. Raises Misfit if it is known only at run time."""
    if not isinstance(x[0], int):
        raise Misfit(problems.NeedsNumber)
    return x[0]


def split_channels(x: Shape, parts: int, argument: str) -> int:
    """Return the number of channels of each part. Raises Misfit if they cannot be split evenly."""
    if channel_count(x) % parts:
        raise Misfit(problems.Indivisible, at=argument, parts=parts, channels=channel_count(x))
    return channel_count(x) // parts


def axis_of(axis: int, x: Shape) -> int:
    """Return the axis counted from the front. Raises Misfit if the shape has no such axis."""
    if not -len(x) <= axis < len(x):
        raise Misfit(problems.OutsideShape, at="axis", what="axis", index=axis, count=len(x))
    return axis % len(x)


def spatial(x: Shape) -> Shape:
    """Return the spatial sizes of `CxL`, `CxHxW` or `CxDxHxW`. Raises Misfit for any other rank."""
    if not 2 <= len(x) <= 4:
        raise Misfit(problems.WrongRank, wanted="channels and one to three spatial axes")
    return x[1:]


def each(sizes: PerAxis, count: int, argument: str) -> tuple[int, ...]:
    """Return one entry per axis (or side). Raises Misfit for a list of another length."""
    if isinstance(sizes, int):
        return (sizes,) * count
    if len(sizes) != count:
        raise Misfit(problems.WrongLength, at=argument, argument=argument, given=len(sizes), wanted=count)
    return sizes


def target_sizes(x: Shape, argument: str, given: PerAxis | None, like: Shape | None) -> Shape:
    """Return the spatial sizes that an argument gives, or those of `like`. Raises Misfit unless there is one of them,
    for as many axes as x has."""
    rank = len(spatial(x))
    if (given is None) == (like is None):
        raise Misfit(problems.OneTarget, at="" if given is None else "like", argument=argument, both=given is not None)
    if given is not None:
        return each(given, rank, argument)
    assert like is not None
    if len(like) != rank + 1:
        raise Misfit(problems.OtherRank, at="like", like=like)
    return like[1:]


def check_borders(mode: str, pads: tuple[int, ...], sizes: Shape, argument: str) -> None:
    """Raise Misfit if a border repeats more elements than its axis has; `pads` are all befores, then all afters."""
    if mode not in ("reflect", "wrap"):
        return
    for axis, size in enumerate(sizes):
        pad = max(pads[axis], pads[len(sizes) + axis])
        if isinstance(size, int) and pad > size - (mode == "reflect"):
            raise Misfit(problems.BeyondMirror, at=argument, mode=mode, pad=pad, axis=axis + 1, size=size)


class Window:
    """A kernel on the spatial axes of an input.

    `pads` are all befores, then all afters; `extra` is what ceil mode reads beyond them per axis; `out` is the number
    of windows per axis.
    """

    __slots__ = ("dilation", "extra", "kernel", "out", "pads", "stride")

    def __init__(
        self,
        x: Shape,
        kernel: PerAxis,
        stride: PerAxis | None,
        pad: str | PerAxis,
        dilation: PerAxis = 1,
        ceil: bool = False,
    ) -> None:
        sizes = spatial(x)
        rank = len(sizes)
        self.kernel = each(kernel, rank, "kernel")
        self.stride = self.kernel if stride is None else each(stride, rank, "stride")
        self.dilation = each(dilation, rank, "dilation")
        spans = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        self.pads = self._pads(sizes, pad, spans)
        both = [b + a for b, a in zip(self.pads[:rank], self.pads[rank:], strict=True)]
        padded = tuple(size + p for size, p in zip(sizes, both, strict=True))
        out: list[Dim] = []
        extra = []
        rows = []
        for axis, (size, span, step) in enumerate(zip(padded, spans, self.stride, strict=True)):
            windows, beyond = (
                _ceil(size, span, step, self.pads[rank + axis]) if ceil else ((size - span) // step + 1, 0)
            )
            if isinstance(windows, int) and windows < 1:
                raise Misfit(problems.WindowTooLarge, at="kernel", window=spans, padded=padded)
            # Elements beyond the padded input do not change the result, but gradients would allocate memory for them.
            limit = size if isinstance(size, int) else SIZE
            rows.append([min(limit, each[axis]) for each in (self.kernel, self.stride, self.dilation)])
            out.append(windows)
            extra.append(0 if self.kernel[axis] > limit else beyond)
        self.kernel, self.stride, self.dilation = zip(*rows, strict=True)
        self.out: Shape = tuple(out)
        self.extra = tuple(extra)

    def _pads(self, sizes: Shape, pad: str | PerAxis, spans: tuple[int, ...]) -> tuple[int, ...]:
        if pad == "valid":
            return (0,) * (2 * len(sizes))
        if pad == "same":
            if any(k % 2 == 0 for k in self.kernel):
                raise Misfit(problems.EvenSame, at="kernel", kernel=self.kernel)
            return tuple(s // 2 for s in spans) * 2
        if isinstance(pad, str):
            total = [_tensorflow(size, s, step) for size, s, step in zip(sizes, spans, self.stride, strict=True)]
            low, high = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
            return low + high if pad == "same_upper" else high + low
        return each(pad, 2 * len(sizes), "pad")


def _tensorflow(size: Dim, span: int, step: int) -> int:
    """Return TensorFlow's padding, with which ceil(size / step) windows fit."""
    beyond = size % step
    if not isinstance(beyond, int):
        raise Misfit(problems.NeedsNumber, at="pad")
    return max(0, span - (beyond or step))


def _ceil(padded: Dim, span: int, step: int, after: int) -> tuple[Dim, int]:
    """Return the number of windows of ceil pooling, and how far the last one reads beyond the padding.

    A last window that would start in the padding or beyond the input is dropped, as in PyTorch.
    """
    if not isinstance(padded, int):
        if after + step > span:  # whether the last window is dropped depends on the size
            raise Misfit(problems.NeedsNumber, at="ceil")
        return (padded - span + step - 1) // step + 1, step - 1
    windows = -(-(padded - span) // step) + 1
    if (windows - 1) * step >= padded - after:
        windows -= 1
    return windows, max(0, (windows - 1) * step + span - padded)
