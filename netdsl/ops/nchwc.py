"""Ops of onnxruntime's own channel-blocked layout: the domain com.microsoft.nchwc.

A blocked map is declared [N, C, H, W], C a multiple of the block B, and stored as [N, C/B, H, W, B]. Kernels are
declared [O, C/group, *K] and stored as [O/B, C/B, *K, B of C, B of O]; kernels over fewer than B plain channels, and
those of depthwise convolutions, as [O/B, C/group, *K, B]. onnxruntime does not document these ops, so
`netdsl.train.step_backend` tests at run time whether they work.
Source: onnxruntime, core/graph/contrib_ops/nchwc_schema_defs.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import OnnxNode, Op
from netdsl.ops.base import apply
from netdsl.ops.convolution import Conv
from netdsl.ops.pooling import AveragePool, Pool

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

DOMAIN = "com.microsoft.nchwc"


class ReorderInput(Op):
    """Plain to blocked: [N, C, H, W], C a multiple of 4 -> [N, C rounded up to the block, H, W], with zeros after C."""

    __slots__ = ("block",)

    def __init__(self, block: int) -> None:
        self.block = block

    def infer(self, x: Shape) -> Shape:
        n, channels, *spatial = x
        assert isinstance(channels, int), x
        assert channels % 4 == 0, x
        return n, -(-channels // self.block) * self.block, *spatial

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("ReorderInput", domain=DOMAIN)


class ReorderOutput(Op):
    """Blocked to plain: [N, C, H, W] -> [N, channels, H, W], with the first channels."""

    __slots__ = ("channels",)

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def infer(self, x: Shape) -> Shape:
        return x[0], self.channels, *x[2:]

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("ReorderOutput", {"channels": self.channels}, domain=DOMAIN)


class BlockedConv(Conv):
    """Conv of a blocked map, or of a plain one with fewer channels than a block; the result is blocked.

    x [N, C, H, W], w [O, C/group, *K] -> [N, O, *P]; then, where the op has them, b [O] and an addend of the result's
    shape. An `activation` comes last, with `parameters` if it has any.
    """

    __slots__ = ("activation", "addend", "bias", "parameters")

    def __init__(
        self,
        strides: tuple[int, ...],
        pads: tuple[int, ...],
        dilations: tuple[int, ...],
        group: int,
        bias: bool = False,
        addend: bool = False,
        activation: str | None = None,
        parameters: tuple[float, ...] = (),
    ) -> None:
        super().__init__(strides, pads, dilations, group)
        self.bias = bias
        self.addend = addend
        self.activation = activation
        self.parameters = parameters

    def infer(self, x: Shape, w: Shape, *more: Shape) -> Shape:
        y = super().infer(x, w, more[0] if self.bias else ())
        assert len(more) == self.bias + self.addend, more
        assert not self.addend or more[-1] == y, f"{more[-1]} added to {y}"
        return y

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        attributes: dict[str, object] = {
            "strides": self.strides,
            "pads": self.pads,
            "dilations": self.dilations,
            "group": self.group,
            "kernel_shape": xs[1].shape[2:],
        }
        if self.activation:
            attributes["activation"] = self.activation
        if self.parameters:
            attributes["activation_params"] = self.parameters
        order = (0, 1, None, 2) if self.addend and not self.bias else None
        return OnnxNode("Conv", attributes, domain=DOMAIN, order=order)


class BlockedMaxPool(Pool):
    """MaxPool on a blocked map."""

    __slots__ = ()

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("MaxPool", self.attributes, domain=DOMAIN)


class BlockedAveragePool(AveragePool):
    """AveragePool on a blocked map."""

    __slots__ = ()

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("AveragePool", super().onnx(opset, *xs).attributes, domain=DOMAIN)


def reorder_input(x: Value, block: int) -> Value:
    return apply(ReorderInput(block), x)


def reorder_output(x: Value, channels: int) -> Value:
    return apply(ReorderOutput(channels), x)


def blocked_conv(
    x: Value,
    w: Value,
    bias: Value | None = None,
    addend: Value | None = None,
    *,
    strides: tuple[int, ...] = (1, 1),
    pads: tuple[int, ...] = (0, 0, 0, 0),
    dilations: tuple[int, ...] = (1, 1),
    group: int = 1,
) -> Value:
    op = BlockedConv(strides, pads, dilations, group, bias is not None, addend is not None)
    return apply(op, x, w, *(each for each in (bias, addend) if each is not None))


def blocked_affine(x: Value, scale: Value, bias: Value | None = None, addend: Value | None = None) -> Value:
    """Return scale*x + bias + addend for a blocked map [N, C, H, W] and vectors [C]."""
    channels = scale.shape[0]
    assert isinstance(channels, int), scale
    kernel = ops.reshape(scale, (channels, 1, 1, 1), batch=False)
    return blocked_conv(x, kernel, bias, addend, group=channels)
