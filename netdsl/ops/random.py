"""Random masks from a hash of a counter, identical on every machine, and the integer arithmetic that it needs."""

from __future__ import annotations

from math import isqrt, pi, prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl import ops
from netdsl.ir.graph import Tensor
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import UNKNOWN_REACH, Reach
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import Operand, apply, as_values, constant, known

if TYPE_CHECKING:
    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Graph, Value

__all__ = ["bit_xor", "count_to", "counter", "dropout", "noise", "shift_right"]


class BitwiseXor(Elementwise):
    """y = a XOR b on unsigned integers, bitwise; from opset 18. ONNX BitwiseXor."""

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


MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
"""Odd constants of a hash with small bias. Source: Wellons, "Prospecting for Hash Functions" (2018), lowbias32."""

GOLDEN_RATIO = 0x9E3779B9
"""2^32 divided by the golden ratio: successive multiples are far apart."""


class Range(Op):
    """0, delta, …, (count - 1) delta as i64, without inputs. ONNX Range."""

    __slots__ = ("count", "delta")

    def __init__(self, count: int, delta: int) -> None:
        self.count = count
        self.delta = delta

    def infer(self, *xs: Shape) -> Shape:
        return (self.count,)

    def dtype(self, *xs: str) -> str:
        return "i64"

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        numbers = {"start": 0, "limit": self.count * self.delta, "delta": self.delta}
        return OnnxNode("Range", extra={name: Tensor("i64", (), (number,)) for name, number in numbers.items()})


class CountTo(Op):
    """0, 1, …, count - 1, for a count known only at run time: the second of the scalars 0, count, 1. ONNX Range."""

    __slots__ = ("size",)

    def __init__(self, size: Dim) -> None:
        self.size = size

    def infer(self, *xs: Shape) -> Shape:
        return (self.size,)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Range")

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return UNKNOWN_REACH


def count_to(count: Value, size: Dim) -> Value:
    """Return 0, 1, …, count - 1 as i64, of this size, for an i64 of one element."""
    scalar = ops.reshape(count, (), batch=False)
    return apply(CountTo(size), constant(count.graph, 0, "i64"), scalar, constant(count.graph, 1, "i64"))


def counter(graph: Graph, count: int, delta: int = 1) -> Value:
    """Return 0, delta, …, (count - 1) delta as i64; unlike a constant, it takes only a few bytes in the model."""
    (result,) = graph.apply(Range(count, delta))
    return result


def mixed(x: Value, key: Value | None = None) -> Value:
    """Return a bijective hash of u32 whose upper half is well mixed; each `key` selects another. Requires opset
    18."""
    x = ops.mul(ops.bit_xor(x, ops.shift_right(x, 16)), MULTIPLIERS[0])
    if key is not None:
        x = ops.bit_xor(x, key)
    return ops.mul(ops.bit_xor(x, ops.shift_right(x, 15)), MULTIPLIERS[1])


def fully_mixed(x: Value) -> Value:
    """Return a hash of u32 with all bits well mixed."""
    x = mixed(x)
    return ops.bit_xor(x, ops.shift_right(x, 16))


class Rows(NamedTuple):
    """The rows of a step that a batch has: those from `first` on, a u32 scalar, of a step of `total`."""

    first: Value
    total: int


def dropout(
    x: Value, p: float, key: int, step: Value, kept_axes: int | None = None, rows: Rows | None = None, axis: int = 0
) -> Value:
    """Zero elements with probability p, and divide the others by 1 - p.

    The mask depends on `key`, which distinguishes layers, and on `step`, a u32 scalar. It has an entry for each
    element, or for each index of the first `kept_axes` axes: 2 for whole maps, 1 for whole examples. An element is kept
    if the hash of its index is at least p * 2^32. Index and step enter the hash at different points, so that the masks
    of two steps are not shifts of each other. With `rows`, which lie along `axis`, the index of an element is that in
    the whole step, so that the masks of its parts are those of the whole. Source: Srivastava et al. (2014); Tompson et
    al. (2015), section 3.2, for whole maps; Huang et al. (2016) for whole examples; Salmon et al. (2011) for counters.
    """
    assert 0 <= p < 1, p
    if p == 0:
        return x
    shape = known(x.shape)
    if kept_axes is not None:
        shape = (*shape[:kept_axes], *(1 for _ in shape[kept_axes:]))
    drawn = _drawn(shape, key, step, rows, axis)
    kept = ops.cast(ops.greater_or_equal(drawn, constant(x.graph, round(p * 2**32), "u32")), x.dtype)
    return ops.mul(x, ops.reshape(ops.mul(kept, 1 / (1 - p)), shape, batch=False))


def _drawn(shape: tuple[int, ...], key: int, step: Value, rows: Rows | None, axis: int = 0) -> Value:
    """Return random u32 numbers as a matrix, of which the upper half is well mixed, specific to the key and the step.

    The number of an element is hashed with that of the step, as a sum of those of its row and its column: no large
    value is the same in each step, which runtimes would compute when they load the model, and keep.
    """
    first = fully_mixed(ops.add(ops.mul(step, GOLDEN_RATIO), key * 0x85EBCA6B % 2**32))
    second = fully_mixed(ops.add(first, GOLDEN_RATIO))
    count = prod(shape)
    stride = columns = next(n for n in range(isqrt(count), 0, -1) if count % n == 0)
    if rows is not None:
        inner = prod(shape[axis + 1 :])
        first = ops.add(first, ops.mul(rows.first, inner % 2**32))
        if axis:  # rows of other parts lie between those of this one
            stride, columns = rows.total * inner, shape[axis] * inner
    numbers = ops.cast(counter(step.graph, count // columns, stride), "u32")
    begins = ops.reshape(ops.add(numbers, first), (count // columns, 1), batch=False)
    return mixed(ops.add(begins, ops.cast(counter(step.graph, columns), "u32")), second)


def noise(x: Value, normal: bool, key: int, step: Value, rows: Rows | None = None) -> Value:
    """Return noise of the shape of x: from a standard normal distribution, or uniform from -1 up to 1.

    The numbers depend on `key`, `step` and `rows`, as the masks of `dropout`. Normal ones are those of Box & Muller
    (1958): sqrt(-2 ln u) cos(2 pi v), at most 5.8 in magnitude.
    """
    shape = known(x.shape)
    u = _fractions(shape, key, step, rows)
    if normal:
        v = _fractions(shape, key ^ GOLDEN_RATIO, step, rows)
        u = ops.mul(ops.sqrt(ops.mul(ops.log(ops.add(u, 2**-25)), -2)), ops.cos(ops.mul(v, 2 * pi)))
    else:
        u = ops.sub(ops.mul(u, 2), 1)
    return ops.reshape(u, shape, batch=False)


def _fractions(shape: tuple[int, ...], key: int, step: Value, rows: Rows | None) -> Value:
    """Return random multiples of 2^-24 from 0 up to, but not including, 1."""
    drawn = _drawn(shape, key, step, rows)
    drawn = ops.bit_xor(drawn, ops.shift_right(drawn, 16))
    return ops.mul(ops.cast(ops.shift_right(drawn, 8), "f32"), 2**-24)
