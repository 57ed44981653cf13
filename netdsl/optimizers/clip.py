"""Gradient clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value

NOTHING = 1e-6
"""Added to the norm, as in PyTorch, so that it divides."""


def clip_norm(gradients: Sequence[Value], norm: float) -> list[Value]:
    """All gradients times min(1, norm/(|g| + 1e-6)), |g| being the Euclidean norm of all of them as one vector.

    Conventions: as PyTorch's `clip_grad_norm_`. Source: Pascanu, Mikolov & Bengio (2013), algorithm 1.
    """
    if not gradients:
        return []
    squares = [ops.reduce_sum(ops.mul(g, g), range(len(g.shape)), keepdims=False) for g in gradients]
    length = ops.sqrt(ops.add(*squares) if len(squares) > 1 else squares[0])
    scale = ops.minimum(ops.div(norm, ops.add(length, NOTHING)), 1.0)
    return [ops.mul(g, scale) for g in gradients]


def clip_values(gradients: Sequence[Value], limit: float) -> list[Value]:
    """Each number of each gradient between -limit and limit, as PyTorch's `clip_grad_value_`."""
    return [ops.clip(g, -limit, limit) for g in gradients]
