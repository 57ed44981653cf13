"""Products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.formula import count
from netdsl.ops.base import Form, Op, apply
from netdsl.ops.reach import Reach

if TYPE_CHECKING:
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Shape


class Gemm(Op):
    """y = x w + b, or x w^T + b with `trans_b`: [N, in] -> [N, out]. ONNX Gemm."""

    __slots__ = ("trans_b",)

    def __init__(self, trans_b: bool) -> None:
        self.trans_b = trans_b

    def infer(self, x: Shape, w: Shape, b: Shape = ()) -> Shape:
        features, units = w[::-1] if self.trans_b else w
        assert x[1:] == (features,), f"{x} times {w}"
        assert b in ((), (units,)), f"{units} units, a bias {b}"
        return x[0], units

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return count(xs[1])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None if axis else Reach(0)

    def onnx(self, opset: int, *xs: Value) -> Form:
        return Form("Gemm", {"transB": 1} if self.trans_b else {})


def gemm(x: Value, w: Value, bias: Value | None = None, *, trans_b: bool = False) -> Value:
    return apply(Gemm(trans_b), x, w, *(() if bias is None else (bias,)))
