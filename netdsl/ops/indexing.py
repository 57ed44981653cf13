"""Concatenation, splitting, slicing, padding and gathering."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Undecidable
from netdsl.ir.graph import Constant, Tensor, Value
from netdsl.ir.op import OnnxNode, Op
from netdsl.ir.reach import UNKNOWN_REACH, Reach
from netdsl.ops.base import apply, constant, ints, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim, Shape

__all__ = ["batch_gather", "batch_scatter_add", "concat", "consecutive", "gather", "pad", "padded", "slice", "split"]


class Concat(Op):
    """Concatenate values along an axis. ONNX Concat."""

    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def infer(self, *xs: Shape) -> Shape:
        axis = self.axis % len(xs[0])
        before, after = xs[0][:axis], xs[0][axis + 1 :]
        assert all(x[:axis] == before and x[axis + 1 :] == after for x in xs), f"{xs} joined along {axis}"
        total: Dim = 0
        for x in xs:
            total = total + x[axis]
        return (*before, total, *after)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis != self.axis % len(y):
            return Reach(axis)
        before = [x[axis] for x in xs[:at]]
        return Reach(axis, first=-sum(size for size in before if isinstance(size, int)))

    def dtype(self, *xs: str) -> str:
        assert len(set(xs)) == 1, xs
        return xs[0]

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        parts, begin = [], 0
        for x in xs:
            end = begin + known(x.shape)[self.axis]
            parts.append(slice(dy, (self.axis % len(x.shape),), (begin,), (end,)))
            begin = end
        return tuple(parts)


class Split(Op):
    """Cut an axis into parts of these sizes. ONNX Split."""

    __slots__ = ("axis", "sizes")

    def __init__(self, sizes: tuple[int, ...], axis: int) -> None:
        self.sizes = sizes
        self.axis = axis

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        (x,), size = xs, sum(self.sizes)
        assert x[self.axis] == size, f"{x} cut into {self.sizes} along {self.axis}"
        return tuple((*x[: self.axis], part, *x[self.axis + 1 :]) for part in self.sizes)

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return xs * len(self.sizes)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return UNKNOWN_REACH if axis == self.axis else Reach(axis)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        return OnnxNode("Split", {"axis": self.axis}, extra={"split": ints(*self.sizes)})

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        """Parts that were not used have a gradient of 0."""
        parts = [ops.zeros(y.graph, y.shape, y.dtype) if dy is None else dy for dy, y in zip(dys, ys, strict=True)]
        return (concat(parts, self.axis),)


class Gathering(Op):
    """y[…, i, …] = x[…, indices[i], …] along an axis."""

    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def infer(self, x: Shape, indices: Shape) -> Shape:
        axis = self.axis % len(x)
        return x[:axis] + indices + x[axis + 1 :]

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        x, indices = xs
        gathered = self.axis % len(x)
        if at:
            return Reach(gathered + axis)
        return UNKNOWN_REACH if axis == gathered else Reach(axis if axis < gathered else axis + len(indices) - 1)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        # The axis is negative: OpenVINO fuses a permutation of axis 1 into the next convolution's weights, inverted.
        rank = len(xs[0].shape)
        return OnnxNode("Gather", {"axis": self.axis % rank - rank})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        x, indices = xs
        axis = self.axis % len(x.shape)
        places = indices.tensor.data if isinstance(indices, Constant) else ()
        if len(indices.shape) == 1 and sorted(places) == list(range(known(x.shape)[axis])):
            return gather(dy, [places.index(i) for i in range(len(places))], axis), None
        shape = known(x.shape)
        rows = (*shape[:axis], prod(known(indices.shape)), *shape[axis + 1 :])
        column = ops.reshape(ops.cast(indices, "i64"), (rows[axis], *(1 for _ in rows[axis + 1 :])), batch=False)
        updates = ops.reshape(dy, rows, batch=False)
        return ops.scatter_add(ops.zeros(x.graph, shape, x.dtype), ops.expand(column, rows), updates, axis), None


class Gather(Gathering):
    """Gather at any indices. ONNX Gather."""

    __slots__ = ()


class Consecutive(Gathering):
    """Gather the elements from `start` on, which counts from the end if negative. ONNX Gather."""

    __slots__ = ("start",)

    def __init__(self, axis: int, start: int) -> None:
        super().__init__(axis)
        self.start = start

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if at or axis != self.axis:
            return super().reach(at, axis, y, *xs)
        size = xs[0][axis]
        return Reach(axis, first=len(range(size)[: self.start]) if isinstance(size, int) else max(self.start, 0))


class GatherND(Op):
    """y[n, i, …] = x[n, indices[n, i], …] for each example n: x [N, A, *R], indices [N, *I, 1] -> [N, *I, *R].

    ONNX GatherND, with the batch as its only batch axis.
    """

    __slots__ = ("batch_dims",)

    def __init__(self) -> None:
        self.batch_dims = 1

    def infer(self, x: Shape, indices: Shape) -> Shape:
        assert indices[-1] == 1, f"{x} gathered at {indices}"
        assert x[0] == indices[0], f"{x} gathered at {indices}"
        return *indices[:-1], *x[2:]

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if at:
            return Reach(axis) if axis < len(xs[1]) - 1 else None
        return UNKNOWN_REACH if axis == 1 else Reach(axis + len(xs[1]) - 3 if axis else 0)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        return batch_scatter_add(ops.zeros(dy.graph, xs[0].shape, dy.dtype), xs[1], dy), None


def batch_scatter_add(x: Value, indices: Value, updates: Value) -> Value:
    """Add updates [N, *I, *R] to x [N, A, *R] at the indices [N, *I, 1], the adjoint of `batch_gather`."""
    n, _, *rest = known(x.shape)
    rows = (n, prod(known(indices.shape)[1:]))
    column = ops.reshape(indices, (*rows, *(1 for _ in rest)), batch=False)
    updates = ops.reshape(updates, (*rows, *rest), batch=False)
    return ops.scatter_add(x, ops.expand(column, (*rows, *rest)), updates, 1)


class Slice(Op):
    """Slice from `starts` to `stops`, exclusive, along `axes`; None is the end, negatives count from it. ONNX Slice."""

    __slots__ = ("axes", "starts", "steps", "stops")

    def __init__(
        self, axes: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int | None, ...], steps: tuple[int, ...]
    ) -> None:
        assert all(step > 0 for step in steps), steps
        self.axes = axes
        self.starts = starts
        self.stops = stops
        self.steps = steps

    def infer(self, x: Shape) -> Shape:
        sizes = list(x)
        for axis, start, stop, step in zip(self.axes, self.starts, self.stops, self.steps, strict=True):
            sizes[axis] = (_span(sizes[axis], start, stop) + step - 1) // step
        return tuple(sizes)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis not in self.axes:
            return Reach(axis)
        cut, size = self.axes.index(axis), xs[0][axis]
        start = self.starts[cut]
        first = len(range(size)[:start]) if isinstance(size, int) else max(start, 0)
        return Reach(axis, stride=self.steps[cut], first=first)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        stops = (2**63 - 1 if stop is None else stop for stop in self.stops)
        extra = {"starts": self.starts, "ends": stops, "axes": self.axes, "steps": self.steps}
        return OnnxNode("Slice", extra={name: ints(*values) for name, values in extra.items()})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        """Positions that were not read have a gradient of 0."""
        shape = known(xs[0].shape)
        before, after = [0] * len(shape), [0] * len(shape)
        for axis, start, step in zip(self.axes, self.starts, self.steps, strict=True):
            before[axis] = len(range(shape[axis])[:start])
            dy = ops.spaced(dy, axis, step)
            after[axis] = shape[axis] - before[axis] - known(dy.shape)[axis]
        return (padded(dy, (*before, *after)),)


def _span(size: Dim, start: int, stop: int | None) -> Dim:
    """Return the number of positions from start to stop. Raises Undecidable if it depends on a dynamic size."""
    if isinstance(size, int):
        return len(range(size)[start:stop])
    if start >= 0 and (stop is None or stop < 0):
        return size + ((stop or 0) - start)
    if start < 0 and (stop is None or 0 > stop > start):
        return (stop or 0) - start
    raise Undecidable


class Pad(Op):
    """Pad the last axes: all befores, then all afters, none negative. ONNX Pad.

    `mode` is `constant`, or `reflect`, `edge` or `wrap` as in NumPy; these read no element twice for one axis. ONNX has
    `wrap` from opset 19; onnxruntime runs it at 17 and 18 too.
    """

    __slots__ = ("mode", "pads", "value")

    def __init__(self, pads: tuple[int, ...], value: float, mode: str) -> None:
        assert min(pads) >= 0, pads
        self.mode = mode
        self.pads = pads
        self.value = value

    def infer(self, x: Shape) -> Shape:
        rank = len(self.pads) // 2
        sizes = map(sum, zip(self.pads[:rank], self.pads[rank:], strict=True))
        return x[: len(x) - rank] + tuple(size + more for size, more in zip(x[len(x) - rank :], sizes, strict=True))

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        padded = axis - (len(y) - len(self.pads) // 2)
        return Reach(axis, first=-self.pads[padded]) if padded >= 0 else Reach(axis)

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        rank = len(self.pads) // 2
        none = (0,) * (len(xs[0].shape) - rank)
        pads = ints(*none, *self.pads[:rank], *none, *self.pads[rank:])
        if self.mode != "constant":
            return OnnxNode("Pad", {"mode": self.mode}, extra={"pads": pads})
        return OnnxNode("Pad", extra={"pads": pads, "value": Tensor(xs[0].dtype, (), (self.value,))})

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        if self.mode == "constant":
            return (padded(dy, [-p for p in self.pads]),)
        rank = len(self.pads) // 2
        for axis, (before, after) in enumerate(zip(self.pads[:rank], self.pads[rank:], strict=True)):
            dy = self._folded(dy, len(dy.shape) - rank + axis, before, after)
        return (dy,)

    def _folded(self, dy: Value, axis: int, before: int, after: int) -> Value:
        """Add the gradients of the borders of an axis to those of the elements that they repeat."""
        size = known(dy.shape)[axis] - before - after
        begins = {"reflect": (1, size - 1 - after), "edge": (0, size - 1), "wrap": (size - before, 0)}[self.mode]
        parts = [slice(dy, (axis,), (before,), (before + size,))]
        for at, count, begin in ((0, before, begins[0]), (before + size, after, begins[1])):
            if count:
                part = slice(dy, (axis,), (at,), (at + count,))
                if self.mode == "reflect":
                    part = gather(part, range(count)[::-1], axis)
                elif self.mode == "edge":
                    part = ops.reduce_sum(part, (axis,))
                none = (0,) * (len(dy.shape) - axis - 1)
                parts.append(padded(part, (begin, *none, size - begin - known(part.shape)[axis], *none)))
        return ops.add(*parts)


def concat(xs: Sequence[Value], axis: int = 1) -> Value:
    return apply(Concat(axis), *xs) if len(xs) > 1 else xs[0]


def split(x: Value, sizes: Sequence[int], axis: int = 1) -> tuple[Value, ...]:
    """Cut an axis into parts of these sizes."""
    return x.graph.apply(Split(tuple(sizes), axis), x) if len(sizes) > 1 else (x,)


def gather(x: Value, indices: Value | Sequence[int], axis: int) -> Value:
    """Gather along an axis; `indices` are integers of any shape, or a sequence of numbers."""
    if not isinstance(indices, Value):
        indices = constant(x.graph, indices, "i64")
    return apply(Gather(axis), x, indices)


def consecutive(x: Value, axis: int, start: int, size: int) -> Value:
    """Return this many elements of an axis from `start` on, which counts from the end if negative.

    Unlike a slice, it fails at run time where the axis has fewer.
    """
    places = ops.counter(x.graph, size)
    return apply(Consecutive(axis, start), x, ops.add(places, start) if start else places)


def batch_gather(x: Value, indices: Value) -> Value:
    """Gather along axis 1 of x [N, A, *R] for each example: indices [N, *I] -> [N, *I, *R]."""
    return apply(GatherND(), x, ops.reshape(indices, (*indices.shape[1:], 1)))


def slice(
    x: Value,
    axes: Sequence[int],
    starts: Sequence[int],
    stops: Sequence[int | None],
    steps: Sequence[int] | None = None,
) -> Value:
    return apply(Slice(tuple(axes), tuple(starts), tuple(stops), tuple(steps or (1,) * len(axes))), x)


def pad(x: Value, pads: Sequence[int], value: float = 0.0, mode: str = "constant") -> Value:
    """Pad the last len(pads)/2 axes: all befores, then all afters; `mode` is NumPy's."""
    return apply(Pad(tuple(pads), value, mode), x)


def padded(x: Value, pads: Sequence[int]) -> Value:
    """Pad with zeros like `pad`; negative pads crop."""
    rank = len(pads) // 2
    first = len(x.shape) - rank
    cut = [(i, max(0, -pads[i]), max(0, -pads[rank + i])) for i in range(rank) if min(pads[i], pads[rank + i]) < 0]
    if cut:
        x = slice(x, [first + i for i, _, _ in cut], [b for _, b, _ in cut], [-a if a else None for _, _, a in cut])
    return pad(x, [max(0, p) for p in pads]) if max(pads) > 0 else x
