"""Spatial axes made longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import Tensor
from netdsl.ops.base import Form, Op, apply
from netdsl.ops.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class Resize(Op):
    """[N, C, *S] -> [N, C, *(factor*S)]: each element repeated, or interpolated between its neighbours. ONNX Resize.

    Interpolation takes elements for cells whose middles meet; with `corners` for points of which the outermost meet.
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
        if self.corners:  # not the very neighbours, which depend on the size, but as many
            return Reach(axis, last=factor, up=factor)
        return Reach(axis, stride=2, first=1 - factor, last=factor, up=2 * factor)

    def onnx(self, opset: int, *xs: Value) -> Form:
        where = "align_corners" if self.corners else "half_pixel" if self.linear else "asymmetric"
        attributes = {
            "mode": "linear" if self.linear else "nearest",
            "coordinate_transformation_mode": where,
            "nearest_mode": "floor",
        }
        scales = Tensor("f32", (len(self.factors) + 2,), (1.0, 1.0, *map(float, self.factors)))
        return Form("Resize", attributes, extra={"roi": None, "scales": scales})


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
        return Reach(axis, up=self.blocksize) if axis > 1 else None if axis else Reach(0)

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("DepthToSpace", {"blocksize": self.blocksize, "mode": "CRD"})


def resize(x: Value, factors: Sequence[int], *, linear: bool = False, corners: bool = False) -> Value:
    """A factor for each spatial axis; where elements are repeated, `corners` has no meaning."""
    assert linear or not corners
    return apply(Resize(tuple(factors), linear, corners), x)


def depth_to_space(x: Value, blocksize: int) -> Value:
    """As PyTorch's PixelShuffle orders the channels."""
    return apply(DepthToSpace(blocksize), x)
