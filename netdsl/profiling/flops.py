"""Count the floating-point operations of kernels: two for each multiplication and addition of a product."""

from __future__ import annotations

from math import isqrt, prod
from typing import TYPE_CHECKING

from netdsl.profiling.attribution import operator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.profiling.attribution import Owned
    from netdsl.profiling.model_nodes import Weight
    from netdsl.profiling.session_profile import Kernel, Shape

UNKNOWN = frozenset(
    [
        *("Attention", "GroupQueryAttention", "MultiHeadAttention", "QAttention"),
        *("DeformConv", "DFT", "Einsum", "MatMulNBits", "STFT"),
    ]
)
"""Operators with products that are not counted here."""

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
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
    macs = _product(op, kernel, next((weights[x].shape for x in _own(owned) if x in weights), None))
    return None if macs is None else 2.0 * macs


def _own(owned: Owned) -> tuple[str, ...]:
    return owned.main.inputs[1:2] if owned.main is not None else ()


def _product(op: str, kernel: Kernel, weight: Shape | None) -> float | None:
    """Return the multiply-accumulates of a convolution or a product of matrices; 0 for any other operator."""
    if op not in ("Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "DynamicQuantizeMatMul"):
        return 0.0
    if not kernel.outputs or not kernel.inputs:
        return None
    read, made = kernel.inputs[0], kernel.outputs[0]
    other = weight or (kernel.inputs[1] if len(kernel.inputs) > 1 else None)
    if op.startswith("Conv"):
        places = read if op == "ConvTranspose" else made
        return None if other is None or len(other) < 3 else prod(places[:1]) * prod(places[2:]) * prod(other)
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
