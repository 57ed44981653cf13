"""Arithmetic on unsigned integers, used by random numbers. It has no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.op import OnnxNode
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import Operand, apply, as_values

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


class BitwiseXor(Elementwise):
    """y = a XOR b, bitwise; from opset 18. ONNX BitwiseXor."""

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        assert opset >= 18, f"opset {opset} has no BitwiseXor"
        return OnnxNode("BitwiseXor")


class ShiftRight(Elementwise):
    """y = a // 2^b. ONNX BitShift to the right."""

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("BitShift", {"direction": "RIGHT"})


def bit_xor(a: Operand, b: Operand) -> Value:
    return apply(BitwiseXor(), *as_values(a, b))


def shift_right(a: Operand, b: Operand) -> Value:
    return apply(ShiftRight(), *as_values(a, b))
