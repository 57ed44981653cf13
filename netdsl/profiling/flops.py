"""Count the floating-point operations of kernels: two for each multiplication and addition of a product."""

from __future__ import annotations

import re
from math import isqrt, prod
from typing import TYPE_CHECKING

from netdsl.profiling.attribution import operator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.profiling.attribution import Owned
    from netdsl.profiling.model_nodes import Weight
    from netdsl.profiling.session_profile import Kernel, Shape

PRODUCTS = frozenset(
    [
        *("Conv", "ConvInteger", "ConvTranspose", "DynamicQuantizeMatMul", "Gemm", "MatMul", "MatMulInteger"),
        "MatMulIntegerToFloat",
    ]
)
"""Operators that convolve or multiply matrices."""

UNKNOWN = frozenset(
    [
        *("Attention", "DecoderMaskedMultiHeadAttention", "GroupQueryAttention", "MultiHeadAttention", "QAttention"),
        *("DeformConv", "DFT", "DynamicQuantizeLSTM", "Einsum", "MatMulBnb4", "MatMulNBits", "MoE", "QMoE", "STFT"),
    ]
)
"""Operators with products that are not counted here."""

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
CHANNELS_LAST = re.compile(r"Nhwc|QLinear")
"""Operators whose results may have their channels last."""

TABLE_READERS = frozenset({"Gather", "GatherND", "GatherElements"})
"""Operators that read only a part of their weights."""


def flops(kernel: Kernel, owned: Owned, weights: Mapping[str, Weight]) -> float | None:
    """Return the floating-point operations of a kernel in one run, or None if they are unknown.

    Shapes of weights are those of the original model, since kernels pad them, and store some in a form of their own.
    """
    op = operator(kernel.op)
    if kernel.inner:
        parts = [flops(each, type(owned)(), {}) for each in kernel.inner]
        known = [each for each in parts if each is not None]
        return sum(known) if len(known) == len(parts) else None
    if op == "Attention" and owned.main is not None and owned.main.op == op:
        return _attention(kernel)
    if op in UNKNOWN:
        return None
    if op in RECURRENT:
        # The operator itself reads biases and states after its matrices, and layers may reorder gates before it.
        read = (x for node in owned.nodes for x in (node.inputs[:3] if node.op == op else node.inputs))
        names = {x for x in read if x in weights}
        matrices = [weights[name].shape for name in names if len(weights[name].shape) > 1]
        return 2.0 * prod(kernel.inputs[0][:2]) * sum(map(prod, matrices)) if matrices else None
    if op not in PRODUCTS:
        return None if _multiplies(owned, weights) else 0.0
    macs = _product(op, kernel, _weight(owned, weights))
    return None if macs is None else 2.0 * macs


def _multiplies(owned: Owned, weights: Mapping[str, Weight]) -> bool:
    """Return whether a kernel computes a product of the model in an operator of another name, unless all that the
    product reads is constant."""
    constant = {*weights}
    for node in owned.nodes:
        if constant.issuperset(node.inputs):
            constant.update(node.outputs)
        elif operator(node.op) in PRODUCTS | UNKNOWN | RECURRENT:
            return True
    return False


def _weight(owned: Owned, weights: Mapping[str, Weight]) -> Shape | None:
    """Return the shape of the second input of what a kernel computes, if it is a weight, which can be in int8."""
    names = owned.main.inputs[1:2] if owned.main is not None else ()
    integers = {x: node.inputs[0] for node in owned.nodes if node.op == "DequantizeLinear" for x in node.outputs}
    found = (weights.get(integers.get(name, name)) for name in names)
    return next((weight.shape for weight in found if weight is not None), None)


def _product(op: str, kernel: Kernel, weight: Shape | None) -> float | None:
    """Return the multiply-accumulates of a convolution or a product of matrices."""
    if not kernel.outputs or not kernel.inputs:
        return None
    read, made = kernel.inputs[0], kernel.outputs[0]
    other = weight or (kernel.inputs[1] if len(kernel.inputs) > 1 else None)
    if op.startswith("Conv"):
        if other is None or len(other) < 3:
            return None
        if CHANNELS_LAST.match(kernel.op):
            return float(prod(made) // max(1, other[0]) * prod(other)) if op == "Conv" else None
        places = read if op == "ConvTranspose" else made
        return float(prod(places[:1]) * prod(places[2:]) * prod(other))
    if other is not None and len(other) > 1 and len(read) > 1 and len(made) > 1:
        # Of two matrices M x K and K x N, transposed or not, K is what their sizes have more than the result's.
        shared = isqrt(prod(read[-2:]) * prod(other[-2:]) // max(1, prod(made[-2:])))
        return float(prod(made) * shared)
    return float(prod(made) * read[-1]) if read else None


def _attention(kernel: Kernel) -> float | None:
    """Return those of scores and of their products with values: each query with each key."""
    if len(kernel.inputs) < 3 or not kernel.outputs:
        return None
    queries, keys, made = kernel.inputs[0], kernel.inputs[1], kernel.outputs[0]
    return 2.0 * keys[-2] * (prod(queries) + prod(made))


def moved(kernel: Kernel, owned: Owned, weights: Mapping[str, Weight]) -> int:
    """Return the bytes of the inputs, weights and outputs of a kernel."""
    if operator(kernel.op) in TABLE_READERS:
        return 2 * kernel.written
    names = dict.fromkeys(x for node in owned.nodes for x in node.inputs if x in weights)
    return kernel.read + kernel.written + sum(weights[name].size for name in names)
