"""Axes reduced to one value each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ops.base import Form, Op, apply, ints
from netdsl.ops.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class Reduce(Op):
    """Reduces `axes`, which stay as 1 with `keepdims`, and go without."""

    __slots__ = ("axes", "keepdims")
    axes_as_input_from = 18

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes = axes
        self.keepdims = keepdims

    def infer(self, x: Shape) -> Shape:
        gone = {axis % len(x) for axis in self.axes}
        if self.keepdims:
            return tuple(1 if i in gone else size for i, size in enumerate(x))
        return tuple(size for i, size in enumerate(x) if i not in gone)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        gone = {each % len(xs[0]) for each in self.axes}
        return None if axis in gone else Reach(axis - (0 if self.keepdims else sum(each < axis for each in gone)))

    def onnx(self, opset: int, *xs: Value) -> Form:
        keep = {"keepdims": int(self.keepdims)}
        if opset < self.axes_as_input_from:
            return Form(type(self).__name__, keep | {"axes": self.axes})
        return Form(type(self).__name__, keep, extra={"axes": ints(*self.axes)})


class ReduceMean(Reduce):
    """The mean. ONNX ReduceMean."""

    __slots__ = ()


class ReduceMax(Reduce):
    """The largest. ONNX ReduceMax."""

    __slots__ = ()


class ReduceSum(Reduce):
    """The sum. ONNX ReduceSum."""

    __slots__ = ()
    axes_as_input_from = 13


def reduce_mean(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    return apply(ReduceMean(tuple(axes), keepdims), x)


def reduce_max(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    return apply(ReduceMax(tuple(axes), keepdims), x)


def reduce_sum(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    return apply(ReduceSum(tuple(axes), keepdims), x)
