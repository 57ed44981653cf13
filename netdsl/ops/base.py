"""Application of operations to values."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from netdsl.ir.graph import Constant, Tensor, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Graph, Scalar
    from netdsl.ir.op import Op

__all__ = ["constant"]

Operand = Value | float | int
"""An operand of arithmetic: a number is a scalar constant of the other operand's type."""


def apply(op: Op, *inputs: Value) -> Value:
    """Apply an op and return its only result."""
    (result,) = inputs[0].graph.apply(op, *inputs)
    return result


def constant(
    graph: Graph, value: Scalar | Sequence[Scalar], dtype: str = "f32", shape: tuple[int, ...] | None = None
) -> Value:
    """Return a constant: a scalar, broadcast to `shape` if given, or elements in row-major order."""
    if isinstance(value, (int, float)):
        count = 1
        for size in shape or ():
            count *= size
        return Constant(graph, Tensor(dtype, shape or (), (value,) * count))
    return Constant(graph, Tensor(dtype, (len(value),) if shape is None else shape, tuple(value)))


def as_values(*operands: Operand) -> tuple[Value, ...]:
    """Return the operands as values, with numbers as constants of the type of the first value."""
    like = next(x for x in operands if isinstance(x, Value))
    return tuple(x if isinstance(x, Value) else constant(like.graph, x, like.dtype) for x in operands)


def known(shape: Shape) -> tuple[int, ...]:
    """Return a shape as ints; its sizes cannot be formulas."""
    assert all(isinstance(size, int) for size in shape), shape
    return cast("tuple[int, ...]", shape)


def ints(*values: int) -> Tensor:
    """Return a vector of int64, the form of shapes, axes and pads in ONNX."""
    return Tensor("i64", (len(values),), values)
