"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.formula import element_count
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import Reach, aligned_reach
from netdsl.ops.arithmetic import broadcast, sum_to
from netdsl.ops.base import apply

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value

__all__ = ["gemm", "matmul"]


class Gemm(Op):
    """y = x w + b: [N, in] [in, out] -> [N, out]; x is transposed with `trans_a`, w with `trans_b`. ONNX Gemm.

    b is [out], or of the result's shape.
    """

    __slots__ = ("trans_a", "trans_b")

    def __init__(self, trans_b: bool, trans_a: bool = False) -> None:
        self.trans_a = trans_a
        self.trans_b = trans_b

    def infer(self, x: Shape, w: Shape, b: Shape = ()) -> Shape:
        n, here = x[::-1] if self.trans_a else x
        there, units = w[::-1] if self.trans_b else w
        assert here == there, f"{x} times {w}"
        assert b in ((), (units,), (n, units)), f"{units} units, a bias {b}"
        return n, units

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(xs[1])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return None if axis else Reach(0)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Gemm", {f"trans{x}": 1 for x, on in (("A", self.trans_a), ("B", self.trans_b)) if on})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, w, *bias = xs
        if self.trans_a:
            dx = gemm(w, dy, trans_a=self.trans_b, trans_b=True)
        else:
            dx = gemm(dy, w, trans_b=not self.trans_b)
        if self.trans_b:
            dw = gemm(dy, x, trans_a=True, trans_b=self.trans_a)
        else:
            dw = gemm(x, dy, trans_a=not self.trans_a)
        return dx, dw, *(sum_to(dy, b.shape) for b in bias)


class MatMul(Op):
    """y = a b for each pair of matrices in the last two axes; leading axes broadcast. ONNX MatMul."""

    def infer(self, a: Shape, b: Shape) -> Shape:
        assert len(a) > 1 < len(b), f"{a} times {b}"
        assert a[-1] == b[-2], f"{a} times {b}"
        return *broadcast(a[:-2], b[:-2]), a[-2], b[-1]

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(y[1:]) * element_count(xs[0][-1:])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        summed = (-1, -2)[at]
        return None if axis - len(xs[at]) == summed else aligned_reach(axis, xs[at], y)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """da = dy b^T, and db = a^T dy, or (dy^T a)^T if a is large, as the probabilities of attention are."""
        a, b = xs
        if elements(a.shape) > elements(dy.shape) + elements(b.shape):
            db = _transposed(matmul(_transposed(dy), a))
        else:
            db = matmul(_transposed(a), dy)
        return sum_to(matmul(dy, _transposed(b)), a.shape), sum_to(db, b.shape)


def _transposed(x: Value) -> Value:
    """Transpose the matrices in the last two axes."""
    rank = len(x.shape)
    return ops.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def gemm(x: Value, w: Value, bias: Value | None = None, *, trans_a: bool = False, trans_b: bool = False) -> Value:
    return apply(Gemm(trans_b, trans_a), x, w, *(() if bias is None else (bias,)))


def matmul(a: Value, b: Value) -> Value:
    return apply(MatMul(), a, b)
