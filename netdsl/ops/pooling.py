"""Pooling over windows and over whole maps.

Padding is explicit. The caller passes what ceil mode adds at the end as `extra`,
max(0, (out - 1)*stride + kernel - size - pads), because onnxruntime and ONNX's checker disagree about `ceil_mode`.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import UNKNOWN_REACH, Reach, window
from netdsl.ops.base import apply, constant, known
from netdsl.ops.convolution import Conv, windows
from netdsl.ops.indexing import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["average_pool", "global_average_pool", "global_max_pool", "max_pool", "max_unpool"]


class Pool(Op):
    """[N, C, *S] -> [N, C, *P]; `pads` are all befores, then all afters, each smaller than the kernel."""

    __slots__ = ("kernel_shape", "pads", "strides")

    def __init__(self, kernel_shape: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]) -> None:
        assert all(p < k for p, k in zip(pads, kernel_shape * 2, strict=True)), f"pads {pads}, kernel {kernel_shape}"
        self.kernel_shape = kernel_shape
        self.strides = strides
        self.pads = pads

    def infer(self, x: Shape) -> Shape:
        rank = len(self.kernel_shape)
        assert len(x) == rank + 2, f"{x} pooled over {rank} axes"
        pads = map(sum, zip(self.pads[:rank], self.pads[rank:], strict=True))
        return x[:2] + tuple(map(windows, x[2:], self.kernel_shape, self.strides, pads))

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis < 2:
            return Reach(axis)
        return window(axis, self.kernel_shape[axis - 2], self.strides[axis - 2], self.pads[axis - 2])


class MaxPool(Pool):
    """The maximum of each window, ignoring padding. ONNX MaxPool."""

    __slots__ = ()

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """The first maximum in row-major order receives the gradient, as in PyTorch."""
        return (ops.max_pool_dx(dy, xs[0], y, self),)


class MaxPoolIndices(Pool):
    """The maximum of each window, and its index in the flat input, batch included, as i64. ONNX MaxPool."""

    __slots__ = ()

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return (self.infer(*xs),) * 2

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs[0], "i64"

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("MaxPool", self.attributes)

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        """The indices have no gradient, and only they are used."""
        assert dys[0] is None, "max_pool computes the maxima"
        return (None,)


class MaxUnpool(Op):
    """Elements of x at the flat indices of a result of this shape, which is 0 elsewhere. ONNX MaxUnpool.

    The inputs are x, the indices of MaxPoolIndices, all different, and the whole shape of the result, unless the
    windows cover it exactly.
    """

    __slots__ = ("kernel_shape", "pads", "shape", "strides")

    def __init__(self, pool: Pool, shape: Shape) -> None:
        self.kernel_shape = pool.kernel_shape
        self.pads = pool.pads
        self.strides = pool.strides
        self.shape = shape

    def infer(self, x: Shape, indices: Shape, shape: Shape | None = None) -> Shape:
        assert x == indices, f"{x} placed at {indices}"
        assert shape in (None, (len(self.shape),)), f"{self.shape} is not of {shape} sizes"
        return self.shape

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if at or axis < 2:
            return UNKNOWN_REACH if at else Reach(axis)
        stride, pad, kernel = self.strides[axis - 2], self.pads[axis - 2], self.kernel_shape[axis - 2]
        return Reach(axis, first=pad - max(0, kernel - stride), last=pad, up=stride)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        attributes = {"kernel_shape": self.kernel_shape, "pads": self._fewer_pads(xs[0].shape), "strides": self.strides}
        return OnnxNode("MaxUnpool", attributes)

    def _fewer_pads(self, x: Shape) -> tuple[int, ...]:
        """Return pads that leave an element of each axis, without which onnxruntime rejects even a given shape."""
        pads, rank = list(self.pads), len(self.strides)
        for axis, (count, stride, kernel) in enumerate(zip(x[2:], self.strides, self.kernel_shape, strict=True)):
            if isinstance(count, int):
                most = (count - 1) * stride + kernel - 1 - pads[axis]
                pads[rank + axis] = min(pads[rank + axis], most)
        return tuple(pads)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        flat = ops.reshape(dy, (prod(known(dy.shape)),), batch=False)
        return ops.gather(flat, xs[1], 0), *(None for _ in xs[1:])


class AveragePool(Pool):
    """The mean of each window, including padding if it counts. ONNX AveragePool."""

    __slots__ = ("count_include_pad",)

    def __init__(
        self, kernel_shape: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], count_include_pad: bool
    ) -> None:
        super().__init__(kernel_shape, strides, pads)
        self.count_include_pad = count_include_pad

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("AveragePool", self.attributes | {"count_include_pad": int(self.count_include_pad)})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Each element of a window receives dy divided by the number of elements."""
        shape = known(xs[0].shape)
        if not self.count_include_pad and any(self.pads):
            shares = constant(dy.graph, self._shares(shape[2:]), dy.dtype, (1, 1, *known(y.shape)[2:]))
            dy = ops.mul(dy, shares, prod(self.kernel_shape))
        ones = (1,) * len(self.strides)
        if self.strides == ones:
            pads = [k - 1 - p for k, p in zip(self.kernel_shape * 2, self.pads, strict=True)]
            return (apply(AveragePool(self.kernel_shape, ones, tuple(pads), True), dy),)
        dy = ops.mul(dy, 1 / prod(self.kernel_shape))
        if self.strides == self.kernel_shape and not any(self.pads):
            dx = ops.resize(dy, self.kernel_shape)
            rest = [size - read for size, read in zip(shape[2:], known(dx.shape)[2:], strict=True)]
            return (ops.padded(dx, (*(0 for _ in rest), *rest)),)
        maps = ops.reshape(dy, (shape[0] * shape[1], 1, *known(y.shape)[2:]), batch=False)
        kernel = constant(dy.graph, 1, dy.dtype, (1, 1, *self.kernel_shape))
        dx = ops.conv_dx(maps, kernel, Conv(self.strides, self.pads, ones, 1), shape[2:])
        return (ops.reshape(dx, shape, batch=False),)

    def _shares(self, sizes: tuple[int, ...]) -> list[float]:
        """Return the reciprocal of the number of elements of each window, in row-major order."""
        found, rank = [1.0], len(sizes)
        for axis, size in enumerate(sizes):
            kernel, stride, before = self.kernel_shape[axis], self.strides[axis], self.pads[axis]
            last = size + self.pads[rank + axis] - kernel
            begins = range(-before, last + 1, stride)
            counts = [min(begin + kernel, size) - max(begin, 0) for begin in begins]
            found = [share / many for share in found for many in counts]
        return found


class GlobalPool(Op):
    """[N, C, *S] -> [N, C, *1]."""

    def infer(self, x: Shape) -> Shape:
        return x[:2] + (1,) * (len(x) - 2)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis) if axis < 2 else None


class GlobalAveragePool(GlobalPool):
    """The mean of each map. ONNX GlobalAveragePool."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        shape = known(xs[0].shape)
        return (ops.expand(ops.mul(dy, 1 / prod(shape[2:])), shape),)


class GlobalMaxPool(GlobalPool):
    """The maximum of each map. ONNX GlobalMaxPool."""

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """The first maximum receives the gradient, as in PyTorch's adaptive pool."""
        (x,) = xs
        n, channels, *spatial = known(x.shape)
        maps = ops.reshape(x, (n, channels, prod(spatial)), batch=False)
        updates = ops.reshape(dy, (n, channels, 1), batch=False)
        dx = ops.scatter_add(ops.zeros(x.graph, maps.shape, x.dtype), ops.arg_max(maps, 2, True), updates, 2)
        return (ops.reshape(dx, x.shape, batch=False),)


def _joined(pads: Sequence[int] | None, extra: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Return the pads with `extra` added to the afters."""
    pads = pads or (0, 0) * rank
    extra = extra or (0,) * rank
    return *pads[:rank], *(p + e for p, e in zip(pads[rank:], extra, strict=True))


def max_pool(
    x: Value,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None = None,
    *,
    extra: Sequence[int] | None = None,
) -> Value:
    """Pool; `extra` are the afters that ceil mode adds, one per axis."""
    return apply(MaxPool(tuple(kernel), tuple(strides), _joined(pads, extra, len(kernel))), x)


def max_unpool(
    x: Value,
    pooled: Value,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None = None,
    *,
    extra: Sequence[int] | None = None,
) -> Value:
    """Put the elements of x where a max pool of `pooled`, whose windows do not overlap, has its maxima."""
    pool = MaxPoolIndices(tuple(kernel), tuple(strides), _joined(pads, extra, len(kernel)))
    indices = pooled.graph.apply(pool, pooled)[1]
    shape = pooled.shape
    covered = (many * size for many, size in zip(x.shape[2:], pool.kernel_shape, strict=True))
    if pool.strides == pool.kernel_shape and not any(pool.pads) and tuple(covered) == shape[2:]:
        return apply(MaxUnpool(pool, shape), x, indices)
    return apply(MaxUnpool(pool, shape), x, indices, ops.shape_of(pooled, 0, len(shape)))


def average_pool(
    x: Value,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None = None,
    *,
    count_include_pad: bool = False,
    extra: Sequence[int] | None = None,
) -> Value:
    """Pool as PyTorch does: `pads` count if `count_include_pad` is set, `extra` never counts."""
    if count_include_pad and pads and any(pads) and extra and any(extra):
        x, pads, count_include_pad = pad(x, pads), None, False
    count_include_pad = count_include_pad and bool(pads) and not (extra and any(extra))
    return apply(AveragePool(tuple(kernel), tuple(strides), _joined(pads, extra, len(kernel)), count_include_pad), x)


def global_average_pool(x: Value) -> Value:
    return apply(GlobalAveragePool(), x)


def global_max_pool(x: Value) -> Value:
    return apply(GlobalMaxPool(), x)
