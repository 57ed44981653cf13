"""Padding, cropping and slicing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Choice, Integer, Operand, Real, Sides, Sizes
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import axis_of, check_borders, each, spatial, target_sizes

if TYPE_CHECKING:
    from netdsl.base.shape import Dim
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


def _sides(x: Shape, sides: int | tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes before and after each spatial axis. Raises Misfit."""
    rank = len(spatial(x))
    both = each(sides, 2 * rank, "sides")
    return both[:rank], both[rank:]


@layer("pad")
class PadLayer(Layer):
    """Padding of the spatial axes: with a constant, zero by default, or with elements of the input.

    Shapes: [C, *S] -> [C, *(before + S + after)] on one to three spatial axes.
    For a b c and a padding of 2, `mode reflect` is c b [a b c] b a and needs sizes less than S, `edge` is
    a a [a b c] c c, and `wrap` is b c [a b c] a b with sizes up to S.
    Conventions: a list has the sizes before each axis, then those after each axis, [top, left, bottom, right], as in
    ONNX; PyTorch's lists start with the last axis. PyTorch calls `edge` replicate, and `wrap` circular. ONNX defines
    `wrap` from opset 19; onnxruntime also runs it at 17 and 18. With sizes known only at run time, onnxruntime rejects
    a reflection that is too large, and repeats `wrap`.
    Source: Johnson et al. (2016), supplement, and Zhu et al. (2017), section 7.2, for reflections.

    ```net
    input x 64x8x8
    pad [0, 0, 1, 1]
    ```
    """

    sides: int | tuple[int, ...] = positional(
        Sides(), doc="elements added on every side, or before each axis, then after each axis"
    )
    mode: str = keyword(Choice("constant", "reflect", "edge", "wrap"), "constant", doc="values of the padding")
    value: float = keyword(Real(), 0.0, doc="padding value of `mode constant`")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        before, after = _sides(x, self.sides)
        if self.mode != "constant" and self.value:
            raise Misfit(problems.ValueUnused, at="value", mode=self.mode, value=self.value)
        check_borders(self.mode, before + after, x[1:], "mode")
        sizes = zip(before, after, x[1:], strict=True)
        return (x[0], *(before + size + after for before, after, size in sizes))

    def body(self, x: Value, w: Weights) -> Value:
        before, after = _sides(x.shape[1:], self.sides)
        return ops.pad(x, before + after, self.value, self.mode) if any(before + after) else x


@layer("pad_channels")
class PadChannelsLayer(Layer):
    """Zero channels added before and after the input's channels.

    Shapes: [C, *S] -> [before + C + after, *S].
    Source: He et al. (2016), section 3.3, option A; Paszke et al. (2016), section 4.

    ```net
    input x 64x8x8
    pad_channels 0 64
    ```
    """

    before: int = positional(Integer(0), doc="number of channels added before")
    after: int = positional(Integer(0), doc="number of channels added after")

    def shape(self, *xs: Shape) -> Shape:
        return (self.before + xs[0][0] + self.after, *xs[0][1:])

    def body(self, x: Value, w: Weights) -> Value:
        if not self.before and not self.after:
            return x
        rest = (0,) * (len(x.shape) - 2)
        return ops.pad(x, (self.before, *rest, self.after, *rest))


@layer("crop")
class CropLayer(Layer):
    """Cropping of the spatial axes: by sides, to sizes, or to those of another value.

    Shapes: [C, *S] -> [C, *(S - before - after)] on one to three spatial axes, or [C, *P] with `to` P, or with `like` a
    value whose spatial sizes are P. These may be known only at run time; onnxruntime, or for `sides` netdsl (E0813),
    then rejects an input that is too small.
    Conventions: a list of sides has the sizes before each axis, then those after each axis, as in `pad`. `to` and
    `like` keep the center, from floor((S - P) / 2) on, as Keras' CenterCrop; torchvision rounds. With `offset` they
    keep the elements from there on, as FCN and Caffe's Crop.
    Source: Ronneberger et al. (2015), figure 1; Long, Shelhamer & Darrell (2015) for offsets.

    ```net
    input x 64x8x8
    crop [1, 1, 1, 1]
    ```
    """

    dtype_transparent = True
    sides: int | tuple[int, ...] | None = positional(
        Sides(), None, doc="elements removed on every side, or before each axis, then after each axis"
    )
    to: int | tuple[int, ...] | None = keyword(Sizes(), None, doc="size that is left of each axis")
    like: str | None = keyword(Operand(), None, doc="label of a value whose spatial sizes are left")
    offset: int | tuple[int, ...] | None = keyword(
        Sizes(0), None, doc="index of the first element that `to` and `like` keep; by default, they keep the center"
    )

    def _offsets(self, x: Shape, sizes: Shape) -> tuple[int | None, ...]:
        """Return the index of the first element that is kept along each axis, or None where it depends on the run.
        Raises Misfit."""
        given = (None,) * len(sizes) if self.offset is None else each(self.offset, len(sizes), "offset")
        found: list[int | None] = []
        for axis, (offset, size, wanted) in enumerate(zip(given, x[1:], sizes, strict=True), 1):
            rest = size - wanted
            if isinstance(rest, int):
                if rest < (offset or 0):
                    raise Misfit(problems.CropOutside, at="offset", axis=axis, size=size, wanted=wanted, offset=offset)
                offset = rest // 2 if offset is None else offset
            found.append(offset)
        return tuple(found)

    def shape(self, x: Shape, like: Shape | None = None) -> Shape:
        if self.sides is None or self.to is not None or like is not None:
            if self.sides is not None:
                raise Misfit(problems.OneTarget, at="sides", argument="sides", both=True)
            sizes = target_sizes(x, "to", self.to, like)
            self._offsets(x, sizes)
            return (x[0], *sizes)
        if self.offset is not None:
            raise Misfit(problems.OneTarget, at="offset", argument="to", both=False)
        out: list[Dim] = [x[0]]
        for axis, (before, after, size) in enumerate(zip(*_sides(x, self.sides), x[1:], strict=True), 1):
            if isinstance(size, int) and before + after >= size:
                raise Misfit(problems.NothingLeft, at="sides", axis=axis, size=size, taken=before + after)
            out.append(size - before - after)
        return tuple(out)

    def body(self, x: Value, w: Weights, like: Value | None = None) -> Value:
        if self.sides is None:
            sizes = target_sizes(x.shape[1:], "to", self.to, like.shape[1:] if like else None)
            return _cropped(x, sizes, self._offsets(x.shape[1:], sizes), like)
        before, after = _sides(x.shape[1:], self.sides)
        cut = [i for i in range(len(before)) if before[i] or after[i]]
        stops = [-after[i] if after[i] else None for i in cut]
        return ops.slice(x, [i + 2 for i in cut], [before[i] for i in cut], stops) if cut else x


def _cropped(x: Value, sizes: Shape, offsets: tuple[int | None, ...], like: Value | None) -> Value:
    """Return the elements of each axis from its offset on, or its center. Sizes known only at run time are those of
    `like`."""
    fixed = []
    for axis, (offset, wanted) in enumerate(zip(offsets, sizes, strict=True), 2):
        rest = x.shape[axis] - wanted
        if isinstance(rest, int):
            if rest:
                assert offset is not None
                fixed.append((axis, offset, offset - rest if offset < rest else None))
            continue
        if isinstance(wanted, int):
            count: Value | int = wanted
            places = ops.counter(x.graph, wanted)
        else:
            assert like is not None
            count = ops.shape_of(like, axis, axis + 1)
            places = ops.count_to(count, wanted)
        # Unlike a slice, a gather fails where the input is too small; for this, the first index is not negative.
        first: Value | int | None = offset
        if first is None:
            first = ops.maximum(ops.div(ops.sub(ops.shape_of(x, axis, axis + 1), count), 2), 0)
        x = ops.gather(x, ops.add(places, first), axis)
    return ops.slice(x, *map(list, zip(*fixed, strict=True))) if fixed else x


@layer("slice")
class SliceLayer(Layer):
    """Slice of an axis, from `start` up to but excluding `stop`.

    Shapes: [*, A, *] -> [*, stop - start, *]. Axes count from 0 (the channels), excluding the batch, and indices
    from 0; negative axes and indices count from the end.
    Conventions: unlike in Python, a slice must lie within its axis and must not be empty. Where A is known only at run
    time, `start` and `stop` count from the same end, and onnxruntime rejects an axis that is too short; or `start`
    counts from the front and `stop` from the end, and netdsl rejects one that leaves nothing (E0813).

    ```net
    input x 64x8x8
    slice 0 32 64
    ```
    """

    dtype_transparent = True
    axis: int = positional(Integer(-SIZE), doc="axis to slice")
    start: int = positional(Integer(-SIZE), doc="index of the first element")
    stop: int | None = positional(Integer(-SIZE), None, doc="index after the last element; by default, the end")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        axis = axis_of(self.axis, x)
        size = x[axis]
        start = self.start if self.start >= 0 else size + self.start
        stop = size if self.stop is None else self.stop if self.stop >= 0 else size + self.stop
        if isinstance(size, int):
            fits = 0 <= start < stop <= size  # type: ignore[operator]
        elif self.start < 0 <= (-1 if self.stop is None else self.stop):
            raise Misfit(problems.NeedsNumber, at="axis")
        else:
            fits = not isinstance(stop - start, int) or stop - start > 0  # type: ignore[operator]
        if not fits:
            raise Misfit(problems.BadSlice, at="start", axis=self.axis, start=self.start, stop=self.stop, size=size)
        return (*x[:axis], stop - start, *x[axis + 1 :])

    def body(self, x: Value, w: Weights) -> Value:
        axis = axis_of(self.axis, x.shape[1:]) + 1
        size = self.shape(x.shape[1:])[axis - 1]
        if isinstance(size, int) and not isinstance(x.shape[axis], int):
            return ops.consecutive(x, axis, self.start, size)
        return ops.slice(x, [axis], [self.start], [self.stop])
