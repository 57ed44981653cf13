"""Attention."""

from __future__ import annotations

from math import inf, prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ir.formula import element_count
from netdsl.ir.op import Macro, OnnxNode, Op
from netdsl.ir.reach import Reach
from netdsl.ops.base import apply, known

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value

__all__ = ["attention", "places"]

LOWEST = {"f16": -65504.0, "f32": -3.4028234663852886e38, "f64": -3.4028234663852886e38}
"""The score of a key that is not seen. It is finite: softmax of a row of infinities would be NaN."""


class Attending(Op):
    """Base class of attention: of q [N, *S, I, heads*d], k [N, *S, J, kv*d] and v [N, *S, J, kv*e]."""

    __slots__ = ("causal", "heads", "kv", "scale")

    def __init__(self, heads: int, kv: int, scale: float, causal: bool) -> None:
        self.heads = heads
        self.kv = kv
        self.scale = scale
        self.causal = causal

    def infer(self, *xs: Shape) -> Shape:
        q, k, v = xs[:3]
        assert q[:-2] == k[:-2] == v[:-2], f"{q}, {k}, {v}"
        assert k[-2] == v[-2], f"{k}, {v}"
        return *q[:-1], v[-1] // self.kv * self.heads


class AttentionOperator(Attending):
    """Attention without S, with a mask or bias that broadcasts to [N, heads, I, J]. ONNX Attention, from opset 23."""

    __slots__ = ()

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        numbers = {"q_num_heads": self.heads, "kv_num_heads": self.kv, "is_causal": int(self.causal)}
        return OnnxNode("Attention", {**numbers, "scale": self.scale})


class Attention(Macro, Attending):
    """y[…, i, h] = sum_j softmax_j(scale q[…, i, h] . k[…, j, g] + bias[…, h, i, j]) v[…, j, g], g = h // (heads/kv).

    q [N, *S, I, heads*d], k [N, *S, J, kv*d], v [N, *S, J, kv*e], and if `masked` the keys that are seen, a bool that
    broadcasts to [N, *S, 1, I, J], and if `biased` a bias that broadcasts to [N, *S, heads, I, J] -> [N, *S, I,
    heads*e]. A query that sees no key, which happens only with `hides`, has a result of 0. From opset 23 on, without
    `hides` and with a positive scale, it becomes ONNX's operator; axes S of known sizes are part of its batch.
    Source: Vaswani et al. (2017), eq. 1; Ainslie et al. (2023) for kv < heads.
    """

    __slots__ = ("biased", "hides", "masked")

    def __init__(
        self, heads: int, kv: int, scale: float, *, causal: bool, masked: bool, hides: bool, biased: bool
    ) -> None:
        super().__init__(heads, kv, scale, causal)
        self.hides = hides
        self.masked = masked
        self.biased = biased

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return (element_count(xs[0][1:]) + element_count(y[1:])) * element_count(xs[1][-2:-1])

    def scratch(self, y: Shape, *xs: Shape) -> Count:
        return element_count((self.heads, *y[1:-1], *xs[1][-2:-1]))

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        """Return the reach for the scores [N, *S, heads, I, J] of a mask and a bias, too, aligned at their ends."""
        if at < 3:
            return None if axis == len(y) - 1 or (at and axis == len(y) - 2) else Reach(axis)
        size, back = xs[at][axis], len(xs[at]) - axis
        if back in (1, 3):
            return None
        to = len(y) - (2 if back == 2 else back - 1)
        return Reach(to, stride=0 if size == 1 != y[to] else 1)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        return (self.composed(*xs),)

    def expand_at(self, opset: int, *xs: Value) -> tuple[Value, ...]:
        q, k, v, *rest = xs
        between, sizes = q.shape[1:-2], (*q.shape[1:-1], k.shape[-2])
        # onnxruntime 1.27 returns the mean of the values for a query that sees no key, onnxruntime 1.32 returns 0.
        # The operator multiplies queries and keys by the root of the scale.
        native = opset >= 23 and not self.hides and self.scale > 0
        if not native or (between and not all(isinstance(size, int) for size in sizes)):
            return self.expand(*xs)
        scores = rest[0] if rest else None
        if self.masked and self.biased:
            scores = ops.where(rest[0], rest[1], -inf)
        op = AttentionOperator(self.heads, self.kv, self.scale, self.causal)
        if not between:
            return (apply(op, q, k, v, *filter(None, [scores])),)
        inputs = [ops.reshape(x, (x.shape[0] * prod(known(between)), *x.shape[-2:]), batch=False) for x in (q, k, v)]
        if scores is not None:
            inputs.append(_folded(scores, q, known(between)))
        return (ops.reshape(apply(op, *inputs), self.infer(q.shape, k.shape, v.shape), batch=False),)

    def composed(self, *xs: Value, drop: Callable[[Value], Value] | None = None) -> Value:
        """Return the result in simpler ops. `drop` is applied to the probabilities."""
        q, k, v, *rest = xs
        mask, bias = rest[0] if self.masked else None, rest[-1] if self.biased else None
        heads, kv = self.heads, self.kv
        rank, grouped = len(q.shape), heads != kv
        scores = ops.matmul(
            ops.mul(_heads(q, (kv, heads // kv) if grouped else (heads,)), self.scale),
            _heads(k, (kv, 1) if grouped else (kv,), transposed=True),
        )
        if bias is not None:
            scores = ops.add(scores, _grouped(bias, kv) if grouped else bias)
        seen = _grouped(mask, 1) if mask is not None and grouped else mask
        lowest = LOWEST[scores.dtype]
        if self.causal:
            place = places(q, rank - 2)
            past = ops.greater_or_equal(ops.reshape(place, (q.shape[-2], 1), batch=False), place)
            if seen is None and not self.hides:
                # Each query sees a key, so that a sum hides the others: its gradient is that of the scores.
                scores = ops.add(scores, ops.where(past, ops.constant(q.graph, 0, scores.dtype), lowest))
            else:
                seen = past if seen is None else ops.logical_and(seen, past)
        if seen is not None:
            scores = ops.where(seen, scores, lowest)
        if self.hides and bias is not None:  # which may hide keys, too, as one of -infinity does
            scores = ops.maximum(scores, lowest)
            seen = ops.greater(scores, lowest)
        p = ops.softmax(scores, -1)
        if self.hides and seen is not None:
            p = ops.mul(p, ops.cast(seen, p.dtype))
        if drop is not None:
            p = drop(p)
        y = ops.matmul(p, _heads(v, (kv, 1) if grouped else (kv,)))
        between = range(1, rank - 2)
        groups = range(rank - 2, len(y.shape) - 2)
        last = len(y.shape) - 1
        y = ops.transpose(y, (0, *between, last - 1, *groups, last))
        return ops.reshape(y, (*q.shape[:-1], heads * y.shape[-1]), batch=False)


def _folded(scores: Value, q: Value, between: tuple[int, ...]) -> Value:
    """Return a mask or bias that broadcasts to [N, *S, heads, I, J], with S as a part of the batch."""
    leading, ends = scores.shape[: len(between) + 1], scores.shape[len(between) + 1 :]
    if all(size == 1 for size in leading):
        return ops.reshape(scores, (1, *ends), batch=False)
    if leading[1:] != between:
        ones = ops.constant(q.graph, (1,) * prod(between), "i64", (*between, 1, 1, 1))
        same = ops.equal(ones, 1)
        scores = ops.logical_and(scores, same) if scores.dtype == "bool" else ops.where(same, scores, 0)
    scores, _ = ops.spread(scores, q)
    return ops.reshape(scores, (scores.shape[0] * prod(between), *ends), batch=False)


def attention(
    q: Value,
    k: Value,
    v: Value,
    heads: int,
    kv: int,
    scale: float,
    *,
    causal: bool = False,
    mask: Value | None = None,
    hides: bool = False,
    bias: Value | None = None,
    drop: Callable[[Value], Value] | None = None,
) -> Value:
    """Return attention; with `drop`, which is applied to the probabilities, in simpler ops, which have gradients."""
    given = {"causal": causal, "masked": mask is not None, "hides": hides, "biased": bias is not None}
    op = Attention(heads, kv, scale, **given)
    xs = (q, k, v, *(x for x in (mask, bias) if x is not None))
    return apply(op, *xs) if drop is None else op.composed(*xs, drop=drop)


def _heads(x: Value, groups: tuple[int, ...], *, transposed: bool = False) -> Value:
    """Return [N, *S, L, C] as [N, *S, *groups, L, C/heads], with the last two axes exchanged if `transposed`."""
    count = groups[0] * groups[-1] if len(groups) > 1 else groups[0]
    x = ops.reshape(x, (*x.shape[:-1], *groups, x.shape[-1] // count), batch=False)
    place, last = len(x.shape) - len(groups) - 2, len(x.shape) - 1
    ends = (last, place) if transposed else (place, last)
    return ops.transpose(x, (*range(place), *range(place + 1, last), *ends))


def _grouped(x: Value, kv: int) -> Value:
    """Return [N, *S, heads, I, J] as [N, *S, kv, heads/kv, I, J]."""
    axis = len(x.shape) - 3
    return ops.split_axis(x, axis, (kv, x.shape[axis] // kv))


def places(x: Value, axis: int) -> Value:
    """Return 0, 1, … for the positions on an axis, as i64."""
    size: Dim = x.shape[axis]
    if isinstance(size, int):
        return ops.counter(x.graph, size)
    return ops.count_to(ops.shape_of(x, axis, axis + 1), size)
