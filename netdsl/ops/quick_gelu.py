"""The sigmoid linear unit in one pass over memory: onnxruntime's QuickGelu, in the domain com.microsoft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.op import OnnxNode, Pointwise
from netdsl.ops.base import apply

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


class QuickGelu(Pointwise):
    """y = x / (1 + e^-x), in f32. Source: onnxruntime, ContribOperators.md, QuickGelu."""

    __slots__ = ()

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("QuickGelu", {"alpha": 1.0}, domain="com.microsoft")


def quick_gelu(x: Value) -> Value:
    return apply(QuickGelu(), x)
