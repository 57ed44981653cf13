"""Rotary position embedding."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.op import Macro, SameShape
from netdsl.ir.reach import Reach
from netdsl.ops.base import apply, known

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

__all__ = ["rotate"]


class Rotation(Macro):
    """Cosine and sine of the angles x * frequency, of positions x [*] as i64 -> twice [*, 1, frequencies].

    They are computed in f32 in a graph of half precision, too, which cannot tell distant positions apart.
    """

    __slots__ = ("frequencies",)

    def __init__(self, frequencies: tuple[float, ...]) -> None:
        self.frequencies = frequencies

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        return ((*xs[0], 1, len(self.frequencies)),) * 2

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return "f32", "f32"

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        return Reach(axis)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        (x,) = xs
        place = ops.reshape(ops.cast(x, "f32"), (*x.shape, 1, 1), batch=False)
        angle = ops.mul(place, ops.constant(x.graph, self.frequencies))
        return ops.cos(angle), ops.sin(angle)

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        return (None,)


class Rotary(Macro):
    """Rotate pairs of channels of x [N, *S, L, heads*d] by angles whose cosines and sines are [N, *S, L, 1, pairs],
    with axes of 1 broadcast.

    The pairs are neighbors if `interleaved`, else channels of the two halves of the first 2*pairs channels of each
    head. From opset 23 on, it becomes ONNX's operator; axes S are part of its batch if their sizes and L are known.
    Source: Su et al. (2021), eq. 34.
    """

    __slots__ = ("heads", "interleaved")

    def __init__(self, heads: int, interleaved: bool) -> None:
        self.heads = heads
        self.interleaved = interleaved

    def infer(self, x: Shape, *angles: Shape) -> Shape:
        assert all(n in (1, m) for each in angles for n, m in zip(each[:-2], x[:-1], strict=True)), f"{x}, {angles}"
        return x

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        if axis >= len(y) - 1:
            return None
        return Reach(axis, stride=0 if xs[at][axis] == 1 != y[axis] else 1)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        x, cos, sin = xs
        count, size = known(cos.shape[-1:])[0], known(x.shape[-1:])[0] // self.heads
        split = ops.reshape(x, (*x.shape[:-1], self.heads, size), batch=False)
        axis = len(split.shape) - 1
        turned, *rest = ops.split(split, (2 * count, size - 2 * count), axis) if 2 * count < size else (split,)
        if self.interleaved:
            pairs = ops.reshape(turned, (*turned.shape[:-1], count, 2), batch=False)
            halves = ops.split(pairs, (1, 1), axis + 1)
            a, b = (ops.reshape(half, half.shape[:-1], batch=False) for half in halves)
        else:
            a, b = ops.split(turned, (count, count), axis)
        if not self.interleaved and not rest:
            table = ops.concat([ops.neg(sin), sin], len(sin.shape) - 1)
            cosines = ops.concat([cos, cos], len(cos.shape) - 1)
            y = ops.add(ops.mul(turned, cosines), ops.mul(ops.concat([b, a], axis), table))
            return (ops.reshape(y, x.shape, batch=False),)
        parts = [ops.sub(ops.mul(a, cos), ops.mul(b, sin)), ops.add(ops.mul(b, cos), ops.mul(a, sin))]
        if self.interleaved:
            parts = [ops.reshape(part, (*part.shape, 1), batch=False) for part in parts]
            parts = [ops.reshape(ops.concat(parts, axis + 1), turned.shape, batch=False)]
        y = ops.concat([*parts, *rest], axis) if len(parts) + len(rest) > 1 else parts[0]
        return (ops.reshape(y, x.shape, batch=False),)

    def expand_at(self, opset: int, *xs: Value) -> tuple[Value, ...]:
        x, cos, sin = xs
        n, *between, length, channels = x.shape
        shared, own = all(size == 1 for size in cos.shape[:-3]), cos.shape[:-3] == x.shape[:-2]
        foldable = not between or all(isinstance(size, int) for size in (*between, length))
        if opset < 23 or not (shared or own) or not foldable:
            return self.expand(*xs)
        rows = n * prod(known(tuple(between)))
        flat = ops.reshape(x, (rows, length, channels), batch=False) if between else x
        (count,) = known(cos.shape[-1:])
        shape = (length, count) if shared else (rows, length, count)
        inputs = [flat, *(ops.reshape(each, shape, batch=False) for each in (cos, sin))]
        if shared:
            place = ops.reshape(ops.places(flat, 1), (1, length), batch=False)
            inputs.append(ops.spread(place, flat)[0])
        y = apply(RotaryEmbedding(self.heads, self.interleaved, count), *inputs)
        return (ops.reshape(y, x.shape, batch=False) if between else y,)

    def vjp(self, dy: Value, y: Value, *xs: Value) -> tuple[Value | None, ...]:
        _, cos, sin = xs
        return apply(self, dy, cos, ops.neg(sin)), None, None


class RotaryEmbedding(SameShape):
    """Rotation of x [N, L, heads*d] by cosines and sines [N, L, pairs], or [L, pairs] at the positions [N, L] that
    follow. ONNX RotaryEmbedding, from opset 23."""

    __slots__ = ("interleaved", "num_heads", "rotary_embedding_dim")

    def __init__(self, heads: int, interleaved: bool, pairs: int) -> None:
        self.num_heads = heads
        self.interleaved = int(interleaved)
        self.rotary_embedding_dim = 2 * pairs


def rotate(x: Value, place: Value, heads: int, frequencies: tuple[float, ...], *, interleaved: bool = False) -> Value:
    """Rotate pairs of channels of [N, *S, L, heads*d] by angles that grow with the position `place` [N, *S, L], in
    which axes of 1 are broadcast."""
    x = ops.spread(x, place)[0] if place.shape[0] != 1 else x
    return apply(Rotary(heads, interleaved), x, *x.graph.apply(Rotation(frequencies), place))
