"""Reshaping, transposition and expansion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import elements, product
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import REGROUPED, UNKNOWN_REACH, Reach
from netdsl.ops.arithmetic import broadcast, sum_to
from netdsl.ops.base import apply, constant, ints, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Value

__all__ = ["can_reshape", "expand", "flatten", "reshape", "shape_of", "split_axis", "spread", "transpose"]


class Flatten(Op):
    """[N, *] -> [N, features]. ONNX Flatten."""

    __slots__ = ("axis",)

    def __init__(self) -> None:
        self.axis = 1

    def infer(self, x: Shape) -> Shape:
        return x[0], product(x[1:])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return REGROUPED

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (reshape(dy, xs[0].shape, batch=False),)


class Reshape(Op):
    """Change the shape, batch included; elements stay in row-major order. ONNX Reshape.

    Sizes known only at run time keep their positions, except for at most one.
    """

    __slots__ = ("shape",)

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def infer(self, x: Shape) -> Shape:
        if all(isinstance(size, int) for size in (*x, *self.shape)):
            assert elements(x) == elements(self.shape), f"{x} reshaped to {self.shape}"
        return self.shape

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return REGROUPED

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (reshape(dy, xs[0].shape, batch=False),)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        x = xs[0].shape
        kept = [
            size if isinstance(size, int) else 0 if x[i : i + 1] == (size,) else -1 for i, size in enumerate(self.shape)
        ]
        assert kept.count(-1) <= 1, f"{x} reshaped to {self.shape}"
        return OnnxNode("Reshape", extra={"shape": ints(*kept)})


class Transpose(Op):
    """Permute the axes. ONNX Transpose."""

    __slots__ = ("perm",)

    def __init__(self, perm: tuple[int, ...]) -> None:
        self.perm = perm

    def infer(self, x: Shape) -> Shape:
        assert sorted(self.perm) == list(range(len(x))), f"{x} in the order {self.perm}"
        return tuple(x[axis] for axis in self.perm)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(self.perm.index(axis))

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (transpose(dy, [self.perm.index(axis) for axis in range(len(self.perm))]),)


class Expand(Op):
    """Broadcast to a shape. ONNX Expand."""

    __slots__ = ("shape",)

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def infer(self, x: Shape) -> Shape:
        assert broadcast(x, self.shape) == self.shape, f"{x} broadcast to {self.shape}"
        return self.shape

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Expand", extra={"shape": ints(*known(self.shape))})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (sum_to(dy, xs[0].shape),)


class Spread(Op):
    """Repeat the only example of x for a batch size known at run time, given by `size`, [1]. ONNX Expand."""

    __slots__ = ("batch",)

    def __init__(self, batch: Dim) -> None:
        self.batch = batch

    def infer(self, x: Shape, size: Shape) -> Shape:
        assert x[0] == 1, f"{x} is not the same for each example"
        return (self.batch, *x[1:])

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return UNKNOWN_REACH if at else Reach(axis)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Expand")

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return sum_to(dy, xs[0].shape), None


class ShapeOf(Op):
    """The sizes of the axes from `start` to `end`, exclusive, as integers. ONNX Shape."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def infer(self, x: Shape) -> Shape:
        assert 0 <= self.start < self.end <= len(x), f"axes {self.start} to {self.end} of {x}"
        return (self.end - self.start,)

    def dtype(self, *xs: str) -> str:
        return "i64"

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return UNKNOWN_REACH

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Shape", self.attributes)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return (None,)


def shape_of(x: Value, start: int, end: int) -> Value:
    """Return the sizes of the axes from `start` to `end`, exclusive, as i64."""
    return apply(ShapeOf(start, end), x)


def flatten(x: Value) -> Value:
    """Flatten a value, or return it unchanged if it is flat."""
    return x if len(x.shape) == 2 else apply(Flatten(), x)


def can_reshape(x: Shape, y: Shape) -> bool:
    """Return whether ONNX can reshape so: at most one size known only at run time may change its position."""
    return sum(not isinstance(size, int) and x[i : i + 1] != (size,) for i, size in enumerate(y)) <= 1


def reshape(x: Value, sizes: Sequence[Dim], *, batch: bool = True) -> Value:
    """Reshape; `sizes` exclude the batch axis, which is kept, unless `batch` is off, as for a weight."""
    return apply(Reshape((x.shape[0], *sizes) if batch else tuple(sizes)), x)


def split_axis(x: Value, axis: int, sizes: Sequence[Dim]) -> Value:
    """Replace an axis by axes of these sizes, whose product is its size."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if can_reshape(x.shape, (*before, *sizes, *after)):
        return reshape(x, (*before, *sizes, *after), batch=False)
    # With the axis last, the others keep their positions.
    rank = len(x.shape)
    last = transpose(x, (*range(axis), *range(axis + 1, rank), axis))
    last = reshape(last, (*before, *after, *sizes), batch=False)
    return transpose(last, (*range(axis), *range(rank - 1, len(last.shape)), *range(axis, rank - 1)))


def transpose(x: Value, perm: Sequence[int]) -> Value:
    """Transpose; `perm` includes the batch axis: (0, 2, 3, 1) for NCHW to NHWC."""
    return apply(Transpose(tuple(perm)), x)


def spread(*xs: Value) -> list[Value]:
    """Return values with the largest batch of theirs: one with a batch of 1, the same for each example, is repeated."""
    like = next((x for x in xs if x.shape[0] != 1), xs[0])
    batch = like.shape[0]
    return [x if x.shape[0] == batch else _spread(x, like) for x in xs]


def _spread(x: Value, like: Value) -> Value:
    batch = like.shape[0]
    if all(isinstance(size, int) for size in (batch, *x.shape)):
        return expand(x, (batch, *x.shape[1:]))
    # A shape of ones behind the batch leaves all other sizes as they are.
    ones = constant(x.graph, (1,) * (len(x.shape) - 1), "i64")
    size = ops.concat([shape_of(like, 0, 1), ones], axis=0) if len(x.shape) > 1 else shape_of(like, 0, 1)
    return apply(Spread(like.shape[0]), x, size)


def expand(x: Value, shape: Shape) -> Value:
    """Broadcast to a shape, or return the value unchanged if it has it."""
    return x if x.shape == shape else apply(Expand(tuple(shape)), x)
