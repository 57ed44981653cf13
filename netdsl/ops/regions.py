"""Averages over boxes of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Macro, OnnxNode
from netdsl.ir.reach import UNKNOWN_REACH, Reach
from netdsl.ops.base import apply, constant

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["roi_align"]


class RoiPooling(Macro):
    """Base class of RoIAlign, which divides boxes into bins, each the mean of samples x samples bilinear samples.

    Source: He et al. (2017), section 3.
    """

    __slots__ = ("aligned", "bins", "samples", "scale")

    def __init__(self, bins: tuple[int, int], samples: int, scale: float, aligned: bool) -> None:
        self.bins = bins
        self.samples = samples
        self.scale = scale
        self.aligned = aligned


class RoiAlign(RoiPooling):
    """RoIAlign of x [N, C, H, W] and R boxes [N, 4, R] of each example: left, top, right, bottom -> [N, C, R, *bins].

    Up to opset 21, it becomes ONNX's operator for a known number of boxes; onnxruntime has none from opset 22 on.
    """

    __slots__ = ()

    def infer(self, x: Shape, boxes: Shape) -> Shape:
        assert boxes[:2] == (x[0], 4), f"boxes {boxes} of {x}"
        return *x[:2], boxes[2], *self.bins

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if at:
            return Reach(axis) if axis != 1 else None
        return UNKNOWN_REACH if axis > 1 else Reach(axis)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        """Samples of all boxes are one grid [N, R * rows, columns, 2]; those outside count 0."""
        x, boxes = xs
        n, count, s = x.shape[0], boxes.shape[2], self.samples
        rows, columns = (bins * s for bins in self.bins)
        (grid_y, seen_y), (grid_x, seen_x) = (self._axis(x, boxes, axis) for axis in (2, 3))
        across, down = (n, count, 1, columns, 1), (n, count, rows, 1, 1)
        grid = ops.add(
            ops.mul(ops.reshape(grid_x, across, batch=False), constant(x.graph, [1.0, 0.0])),
            ops.mul(ops.reshape(grid_y, down, batch=False), constant(x.graph, [0.0, 1.0])),
        )
        y = ops.grid_sample(x, ops.reshape(grid, (count * rows, columns, 2)), "border", False)
        seen = ops.mul(ops.reshape(seen_x, across, batch=False), ops.reshape(seen_y, down, batch=False))
        y = ops.mul(y, ops.reshape(seen, (1, count * rows, columns)))
        y = ops.average_pool(y, (s, s), (s, s)) if s > 1 else y
        return (ops.reshape(y, (x.shape[1], count, *self.bins)),)

    def _axis(self, x: Value, boxes: Value, axis: int) -> tuple[Value, Value]:
        """Return the coordinates of samples along an axis as a grid has them, and 1 for those in the map, else 0; both
        are [N, R, samples]."""
        count, known = boxes.shape[2], x.shape[axis]
        size = known if isinstance(known, int) else ops.cast(ops.shape_of(x, axis, axis + 1), x.dtype)
        first, last = (
            ops.mul(ops.reshape(ops.slice(boxes, (1,), (side,), (side + 1,)), (count, 1)), self.scale)
            for side in (3 - axis, 5 - axis)
        )
        extent = ops.sub(last, first)
        if self.aligned:
            first = ops.sub(first, 0.5)
        else:
            extent = ops.maximum(extent, 1)
        samples = self.bins[axis - 2] * self.samples
        steps = ops.div(ops.add(ops.cast(ops.counter(x.graph, samples), x.dtype), 0.5), samples)
        place = ops.add(first, ops.mul(extent, steps))
        seen = ops.logical_and(ops.greater_or_equal(place, -1), ops.greater_or_equal(size, place))
        return ops.sub(ops.div(ops.add(ops.mul(place, 2), 1), size), 1), ops.cast(seen, x.dtype)

    def expand_at(self, opset: int, *xs: Value) -> tuple[Value, ...]:
        x, boxes = xs
        n, _, count = boxes.shape
        if not 0 < opset < 22 or not isinstance(count, int):
            return self.expand(*xs)
        rows = ops.reshape(ops.transpose(boxes, (0, 2, 1)), (n * count, 4), batch=False)
        numbers = ops.reshape(ops.places(boxes, 0), (n, 1), batch=False)
        numbers = ops.add(numbers, constant(x.graph, 0, "i64", (count,)))
        operator = RoiAlignOperator(self.bins, self.samples, self.scale, self.aligned)
        y = apply(operator, x, rows, ops.reshape(numbers, (n * count,), batch=False))
        y = ops.reshape(y, (n, count, x.shape[1], *self.bins), batch=False)
        return (ops.transpose(y, (0, 2, 1, 3, 4)),)


class RoiAlignOperator(RoiPooling):
    """RoIAlign of x [N, C, H, W], boxes [K, 4] and the number of the example of each, [K] -> [K, C, *bins]. ONNX
    RoiAlign."""

    __slots__ = ()

    def native(self, opset: int) -> bool:
        return 0 < opset < 22

    def infer(self, x: Shape, boxes: Shape, numbers: Shape) -> Shape:
        return boxes[0], x[1], *self.bins

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        sizes = dict(zip(("output_height", "output_width"), self.bins, strict=True))
        where = "half_pixel" if self.aligned else "output_half_pixel"
        numbers = {"sampling_ratio": self.samples, "spatial_scale": self.scale}
        return OnnxNode("RoiAlign", {**sizes, **numbers, "mode": "avg", "coordinate_transformation_mode": where})


def roi_align(
    x: Value,
    boxes: Value,
    bins: tuple[int, int],
    samples: int,
    scale: float,
    aligned: bool,
    *,
    composed: bool = False,
) -> Value:
    """Return RoIAlign of x [N, C, H, W] and boxes [N, 4, R]; if `composed`, in simpler ops, which have gradients."""
    op = RoiAlign(bins, samples, scale, aligned)
    return op.expand(x, boxes)[0] if composed else apply(op, x, boxes)
