"""Convolution with an addend and an activation: onnxruntime's FusedConv, in the domain com.microsoft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.op import OnnxNode
from netdsl.ops.nchwc import BlockedConv

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


class FusedConv(BlockedConv):
    """What BlockedConv computes, of plain maps. Source: onnxruntime, ContribOperators.md, FusedConv."""

    __slots__ = ()

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        node = super().onnx(opset, *xs)
        return OnnxNode("FusedConv", node.attributes, domain="com.microsoft", order=node.order)
