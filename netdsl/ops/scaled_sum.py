"""Addition of a multiple: onnxruntime's FusedConv, in the domain com.microsoft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.op import OnnxNode, Op
from netdsl.ops.base import apply

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


class ScaledSum(Op):
    """y = a x + z for vectors [1, 1, n] and a number [1, 1, 1], in f32.

    It is a convolution over n positions, whose addend onnxruntime overwrites: one pass over memory. The result of a Mul
    takes another one. Sources: onnxruntime, ContribOperators.md, FusedConv; conv.cc, for the buffer of the result.
    """

    __slots__ = ()

    def infer(self, x: Shape, a: Shape, z: Shape) -> Shape:
        assert x == z, f"a multiple of {x} is added to {z}"
        assert (*x[:2], len(x)) == (1, 1, 3), x
        assert a == (1, 1, 1), a
        return x

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("FusedConv", {"kernel_shape": (1,)}, domain="com.microsoft", order=(0, 1, None, 2))


def scaled_sum(x: Value, a: Value, z: Value) -> Value:
    return apply(ScaledSum(), x, a, z)
