"""Upsampling of spatial axes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.graph import Tensor
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import UNKNOWN_REACH, Reach
from netdsl.ops.base import apply, constant, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["depth_to_space", "resize"]


class Resize(Op):
    """[N, C, *S] -> [N, C, *(factor*S)]: each element repeated, or interpolated between its neighbors. ONNX Resize.

    Interpolation treats elements as cells (half-pixel centers) or, with `corners`, as points whose corners are aligned.
    """

    __slots__ = ("corners", "factors", "linear")

    def __init__(self, factors: tuple[int, ...], linear: bool, corners: bool) -> None:
        self.factors = factors
        self.linear = linear
        self.corners = corners

    def infer(self, x: Shape) -> Shape:
        assert len(x) == len(self.factors) + 2, f"{x} resized by {self.factors}"
        return x[:2] + tuple(size * factor for size, factor in zip(x[2:], self.factors, strict=True))

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        factor = self.factors[axis - 2] if axis > 1 else 1
        if factor == 1 or not self.linear:
            return Reach(axis, up=factor)
        if self.corners:  # not the exact neighbors, which depend on the size, but as many
            return Reach(axis, last=factor, up=factor)
        return Reach(axis, stride=2, first=1 - factor, last=factor, up=2 * factor)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        where = "align_corners" if self.corners else "half_pixel" if self.linear else "asymmetric"
        attributes = {
            "mode": "linear" if self.linear else "nearest",
            "coordinate_transformation_mode": where,
            "nearest_mode": "floor",
        }
        scales = Tensor("f32", (len(self.factors) + 2,), (1.0, 1.0, *map(float, self.factors)))
        return OnnxNode("Resize", attributes, extra={"roi": None, "scales": scales})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Repeated elements are summed; interpolation is a product with a matrix along each axis."""
        if not self.linear:
            return (ops.mul(ops.average_pool(dy, self.factors, self.factors), prod(self.factors)),)
        for axis, factor in enumerate(self.factors, 2):
            if factor > 1:
                dy = self._gathered(dy, axis, factor)
        return (dy,)

    def _gathered(self, dy: Value, axis: int, factor: int) -> Value:
        """Return the adjoint of interpolation along an axis."""
        shape = known(dy.shape)
        before, long, after = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
        size = long // factor
        weights = [w for row in zip(*interpolation(size, factor, self.corners), strict=True) for w in row]
        matrix = constant(dy.graph, weights, dy.dtype, (size, long))
        if after == 1:
            found = ops.gemm(ops.reshape(dy, (before, long), batch=False), matrix, trans_b=True)
        else:
            found = ops.matmul(matrix, ops.reshape(dy, (before, long, after), batch=False))
        return ops.reshape(found, (*shape[:axis], size, *shape[axis + 1 :]), batch=False)


class DepthToSpace(Op):
    """[N, C*b*b, H, W] -> [N, C, b*H, b*W]: y[c, b*h + i, b*w + j] = x[(c*b + i)*b + j, h, w]. ONNX DepthToSpace."""

    __slots__ = ("blocksize",)

    def __init__(self, blocksize: int) -> None:
        self.blocksize = blocksize

    def infer(self, x: Shape) -> Shape:
        n, channels, *sizes = x
        assert len(sizes) == 2, x
        assert isinstance(channels, int), x
        assert channels % self.blocksize**2 == 0, f"{x} in blocks of {self.blocksize}"
        return n, channels // self.blocksize**2, *(size * self.blocksize for size in sizes)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis, up=self.blocksize) if axis > 1 else UNKNOWN_REACH if axis else Reach(0)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("DepthToSpace", {"blocksize": self.blocksize, "mode": "CRD"})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        n, channels, height, width = known(y.shape)
        b = self.blocksize
        blocks = ops.reshape(dy, (n, channels, height // b, b, width // b, b), batch=False)
        return (ops.reshape(ops.transpose(blocks, (0, 1, 3, 5, 2, 4)), xs[0].shape, batch=False),)


def interpolation(size: int, factor: int, corners: bool) -> list[list[float]]:
    """Return the matrix [factor*size, size] of linear interpolation along an axis, constant beyond the outermost
    elements."""
    rows = []
    for place in range(size * factor):
        at = place * (size - 1) / max(1, size * factor - 1) if corners else (place + 0.5) / factor - 0.5
        at = min(max(at, 0.0), size - 1.0)
        low = min(int(at), max(0, size - 2))
        row = [0.0] * size
        row[low] = 1 - (at - low)
        if at > low:
            row[low + 1] = at - low
        rows.append(row)
    return rows


def resize(x: Value, factors: Sequence[int], *, linear: bool = False, corners: bool = False) -> Value:
    """Resize by a factor per spatial axis; `corners` is ignored where elements are repeated."""
    assert linear or not corners
    return apply(Resize(tuple(factors), linear, corners), x)


def depth_to_space(x: Value, blocksize: int) -> Value:
    """Rearrange channels into space in the order of PyTorch's PixelShuffle."""
    return apply(DepthToSpace(blocksize), x)
