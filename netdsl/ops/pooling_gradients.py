"""The gradient of max pooling, as a macro until a backend decides how to compute it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Macro
from netdsl.ops.activations import heaviside
from netdsl.ops.base import apply, known
from netdsl.ops.pooling import MaxPool

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["max_pool_dx"]

BELOW_ALL = -3e38
"""Value of padding: below any float32 in use."""


class MaxPoolDx(Macro):
    """dx: the first maximum of each window receives its dy. dy [N, C, *P], x [N, C, *S], y -> [N, C, *S].

    It expands to pools along one axis at a time, whose gradients take a few passes of ordinary arithmetic. Scattering
    by the indices of the maxima takes two to four times as long in onnxruntime.
    """

    __slots__ = ("kernel_shape", "pads", "strides")

    def __init__(self, pool: MaxPool) -> None:
        self.kernel_shape = pool.kernel_shape
        self.pads = pool.pads
        self.strides = pool.strides

    def infer(self, dy: Shape, x: Shape, y: Shape) -> Shape:
        assert dy == y == MaxPool(self.kernel_shape, self.strides, self.pads).infer(x), f"{dy} from {x}"
        return x

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        """Expand from the last axis to the first, so that the first maximum in row-major order gets the gradient."""
        dy, x, y = xs
        axes = [axis for axis, each in enumerate(zip(self.kernel_shape, self.strides, strict=True)) if each != (1, 1)]
        steps = [_Along(x, y, axis, self) for axis in axes[-1:]]
        for axis in reversed(axes[:-1]):
            steps.append(_Along(steps[-1].pooled(), y, axis, self))
        for along in reversed(steps):
            dy, y = along.back(dy, y), along.x
        return (dy,)


class _Along:
    """A pool along one axis: `rows` is x as [R, L, inner], padded so that no window exceeds it."""

    def __init__(self, x: Value, y: Value, axis: int, pool: MaxPoolDx) -> None:
        self.x = x
        self.axis = axis + 2
        self.many = known(y.shape)[self.axis]
        self.kernel, self.stride, self.pad = pool.kernel_shape[axis], pool.strides[axis], pool.pads[axis]
        shape = known(x.shape)
        self.size = shape[self.axis]
        more = max(0, (self.many - 1) * self.stride + self.kernel - self.pad - self.size)
        rows = ops.reshape(x, (prod(shape[: self.axis]), self.size, prod(shape[self.axis + 1 :])), batch=False)
        self.rows = ops.pad(rows, (self.pad, 0, more, 0), BELOW_ALL) if self.pad or more else rows

    def pooled(self) -> Value:
        """Return the maximum of each window."""
        shape = known(self.x.shape)
        rows, long, inner = known(self.rows.shape)
        if inner == 1:
            y = ops.max_pool(ops.reshape(self.rows, (1, rows, long), batch=False), (self.kernel,), (self.stride,))
        else:
            image = ops.reshape(self.rows, (1, rows, long, inner), batch=False)
            y = ops.max_pool(image, (self.kernel, 1), (self.stride, 1))
        return ops.reshape(y, (*shape[: self.axis], self.many, *shape[self.axis + 1 :]), batch=False)

    def back(self, dy: Value, y: Value) -> Value:
        """Assign the remaining gradient to each position of a window that holds the maximum."""
        rows, long, inner = known(self.rows.shape)
        y, rest = (ops.reshape(each, (rows, self.many, inner), batch=False) for each in (y, dy))
        parts = []
        for place in range(self.kernel - 1):
            end = place + (self.many - 1) * self.stride + 1
            seen = ops.slice(self.rows, (1,), (place,), (end,), (self.stride,))
            left = ops.mul(rest, heaviside(ops.sub(y, seen)))
            parts.append(ops.sub(rest, left))
            rest = left
        dx = _interleaved([*parts, rest], self.stride, -(-long // self.stride))
        if dx.shape[1] != self.size:
            dx = ops.slice(dx, (1,), (self.pad,), (self.pad + self.size,))
        return ops.reshape(dx, self.x.shape, batch=False)


def _interleaved(parts: list[Value], stride: int, count: int) -> Value:
    """Return the sum of the parts, with part i at i, i + stride, …: [R, P, inner] -> [R, stride*count, inner]."""
    rows, many, inner = known(parts[0].shape)
    phases: list[list[Value]] = [[] for _ in range(stride)]
    for place, part in enumerate(parts):
        later, phase = divmod(place, stride)
        phases[phase].append(ops.padded(part, (later, 0, count - many - later, 0)))
    none = ops.zeros(parts[0].graph, (rows, count, inner), parts[0].dtype)
    totals = [ops.reshape(ops.add(*(found or [none])), (rows, count, 1, inner), batch=False) for found in phases]
    return ops.reshape(ops.concat(totals, 2), (rows, count * stride, inner), batch=False)


def max_pool_dx(dy: Value, x: Value, y: Value, pool: MaxPool) -> Value:
    return apply(MaxPoolDx(pool), dy, x, y)
