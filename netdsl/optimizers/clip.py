"""Gradient clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value

NOTHING = 1e-6
"""Added to the norm for numerical stability, as in PyTorch."""


def clip_norm(gradients: Sequence[Value], norm: float) -> list[Value]:
    """Return all gradients times min(1, norm/(|g| + 1e-6)), where |g| is their joint Euclidean norm.

    Conventions: as PyTorch's `clip_grad_norm_`. Source: Pascanu, Mikolov & Bengio (2013), algorithm 1.
    """
    if not gradients:
        return []
    squares = [ops.reduce_sum(ops.mul(g, g), range(len(g.shape)), keepdims=False) for g in gradients]
    length = ops.sqrt(ops.add(*squares) if len(squares) > 1 else squares[0])
    scale = ops.minimum(ops.div(norm, ops.add(length, NOTHING)), 1.0)
    return [ops.mul(g, scale) for g in gradients]


def clip_values(gradients: Sequence[Value], limit: float) -> list[Value]:
    """Return gradients with each element clamped to [-limit, limit], as PyTorch's `clip_grad_value_`."""
    return [ops.clip(g, -limit, limit) for g in gradients]
