"""Attention, rotary embeddings, and products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.declare.arguments import Flag, Frequencies, Integer, Operand, Real
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.dense import channels_first, channels_last
from netdsl.layers.window import channel_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Training, Weights


@layer("attention")
class AttentionLayer(Layer):
    """Scaled dot-product attention: y_h[:, i] = Σⱼ p_h[i, j] v_g[:, j], where p_h[i, :] is the softmax over j of
    scale q_h[:, i] · k_g[:, j] + bias_h[i, j], and g = h // (heads / kv).

    Shapes: [(heads + 2 kv) d, *S, L] -> [heads d, *S, L], where the channels are those of queries, keys and values in
    this order; or queries [heads d, *S, I], keys [kv d, *S, J] and values [kv e, *S, J] -> [heads e, *S, I]. It runs
    along the last axis, separately at each position of the axes between. There are no weights: see `linear`.
    Conventions: PyTorch's scaled_dot_product_attention and nn.MultiheadAttention, with the channels first. `mask` has
    1 for keys that are seen and 0 for those that are not, [*S, J] or [J], as in Hugging Face's attention_mask. With
    `segments`, [*S, L] or [L], each position sees only positions of its own number. `bias` is [heads, I, J] or
    [heads, *S, I, J]; one of -∞ that is computed for each example hides a key, too. The result of a query that sees no
    key is 0. `dropout` zeroes probabilities in training.
    Source: Vaswani et al. (2017), section 3.2; Ainslie et al. (2023) for fewer keys and values than queries.

    ```net
    input x 64x20
    linear 3*64
    attention 8 causal on
    ```
    """

    operands = (0, 3)
    operand_usage = "[QUERIES KEYS VALUES]"
    operand_names = ("queries", "keys", "values")
    heads: int = positional(Integer(), doc="number of heads")
    causal: bool = keyword(Flag(), False, doc="position i sees positions 0 to i")
    mask: str | None = keyword(Operand("i64"), None, doc="keys that are seen: 1, or 0 for hidden keys")
    segments: str | None = keyword(Operand("i64"), None, doc="numbers of the segments that see only themselves")
    bias: str | None = keyword(Operand(), None, doc="numbers that are added to the scores")
    kv: int | None = keyword(Integer(), None, doc="heads of keys and values; by default as many, or as sizes imply")
    scale: float | None = keyword(Real(), None, doc="factor of the scores, by default 1/√d")
    dropout: float = keyword(Real(0, below=1), 0.0, doc="probability of zeroing a probability in training")

    def shape(
        self, *qkv: Shape, mask: Shape | None = None, segments: Shape | None = None, bias: Shape | None = None
    ) -> Shape:
        _, _, e = self.sizes(*qkv)
        q, k = qkv[0], qkv[-1]
        between, here, there = q[1:-1], q[-1], k[-1]
        if here != there and (self.causal or segments is not None):
            what = "causal" if self.causal else "segments"
            raise Misfit(problems.UnequalLengths, at=what, what=what, queries=here, keys=there)
        allowed = {
            "mask": (mask, [(*between, there), (there,)]),
            "segments": (segments, [(*between, here), (here,)]),
            "bias": (bias, [(self.heads, here, there), (self.heads, *between, here, there)]),
        }
        for name, (given, shapes) in allowed.items():
            if given is not None and given not in shapes:
                raise Misfit(problems.WrongMask, at=name, name=name, given=given, wanted=tuple(dict.fromkeys(shapes)))
        return (self.heads * e, *q[1:])

    def sizes(self, *qkv: Shape) -> tuple[int, int, int]:
        """Return the number of heads of keys, and the sizes of a head of keys and of values. Raises Misfit."""
        if len(qkv) == 1:
            (x,) = qkv
            kv = self.kv or self.heads
            parts = self.heads + 2 * kv
            if self.heads % kv:
                raise Misfit(problems.HeadsMisfit, at="kv", what=f"{self.heads} heads cannot share {kv}")
            if len(x) < 2 or channel_count(x) % parts:
                raise Misfit(problems.JointChannels, at="heads", heads=self.heads, kv=kv, parts=parts)
            return kv, channel_count(x) // parts, channel_count(x) // parts
        q, k, v = qkv
        queries, keys, values = map(channel_count, qkv)
        if min(map(len, qkv)) < 2 or q[1:-1] != k[1:-1] or k[1:] != v[1:]:
            raise Misfit(problems.OperandLengths)
        d = queries // self.heads
        if queries % self.heads:
            raise Misfit(
                problems.HeadsMisfit, at="heads", what=f"{queries} channels of the queries are not {self.heads} heads"
            )
        if keys % d:
            raise Misfit(
                problems.HeadsMisfit, what=f"heads of the queries have {d} channels, of which {keys} are no multiple"
            )
        kv = keys // d
        if self.kv not in (None, kv):
            raise Misfit(problems.HeadsMisfit, at="kv", what=f"the keys have {kv} heads of {d} channels, not {self.kv}")
        if self.heads % kv:
            raise Misfit(problems.HeadsMisfit, at="heads", what=f"{self.heads} heads cannot share {kv}")
        if values % kv:
            raise Misfit(
                problems.HeadsMisfit, what=f"{values} channels of the values are not {kv} heads, as the keys have"
            )
        return kv, d, values // kv

    def body(self, *xs: Value, **values: Value) -> Value:
        q, k, v, kv, scale = self._parts(xs[:-1], values)
        return channels_first(ops.attention(q, k, v, self.heads, kv, scale, **self._options(q, values)))

    def train(self, *xs: Any, **values: Value) -> Value:
        training: Training = xs[-1]
        q, k, v, kv, scale = self._parts(xs[:-2], values)

        def drop(p: Value) -> Value:
            return ops.dropout(p, self.dropout, training.key, training.step, rows=training.rows)

        y = ops.attention(q, k, v, self.heads, kv, scale, drop=drop, **self._options(q, values))
        return channels_first(y)

    def _options(self, q: Value, values: Mapping[str, Value]) -> dict[str, Any]:
        """Return what modifies the scores, as arguments of `attention`."""
        mask, bias = self._mask(q, values), self._bias(q, values.get("bias"))
        hides = "mask" in values or (bias is not None and _differs_by_example(bias))  # a learned bias hides no key
        return {"causal": self.causal, "mask": mask, "hides": hides, "bias": bias}

    def _parts(self, qkv: Sequence[Value], values: Mapping[str, Value]) -> tuple[Value, Value, Value, int, float]:
        """Return queries, keys and values with their channels last, the number of heads of keys, and the scale."""
        kv, d, e = self.sizes(*(x.shape[1:] for x in qkv))
        scale = d**-0.5 if self.scale is None else self.scale
        spread = ops.spread(*qkv, *(x for x in values.values() if x.shape[0] != 1))
        last = [channels_last(x) for x in spread[: len(qkv)]]
        q, k, v = (
            last if len(last) == 3 else ops.split(last[0], (self.heads * d, kv * d, kv * e), len(last[0].shape) - 1)
        )
        return q, k, v, kv, scale

    def _mask(self, q: Value, values: Mapping[str, Value]) -> Value | None:
        """Return the keys that are seen, a bool that broadcasts to [N, *S, 1, I, J]."""
        found = None
        rank = len(q.shape)
        if "mask" in values:
            mask = values["mask"]
            seen = ops.logical_not(ops.equal(mask, 0))
            ones = (1,) * (rank - 1 - len(mask.shape))
            found = ops.reshape(seen, (*ones, *mask.shape[1:-1], 1, 1, mask.shape[-1]))
        if "segments" in values:
            x = values["segments"]
            leading = (*(1,) * (rank - 1 - len(x.shape)), *x.shape[1:-1], 1)
            same = ops.equal(ops.reshape(x, (*leading, x.shape[-1], 1)), ops.reshape(x, (*leading, 1, x.shape[-1])))
            found = same if found is None else ops.logical_and(found, same)
        return found

    def _bias(self, q: Value, bias: Value | None) -> Value | None:
        """Return the bias, which broadcasts to [N, *S, heads, I, J]."""
        if bias is None:
            return None
        between = len(q.shape) - 3
        if len(bias.shape) == 4:
            return ops.split_axis(bias, 1, (*(1,) * between, self.heads)) if between else bias
        axes = range(len(bias.shape))
        return ops.transpose(bias, (0, *axes[2:-2], 1, *axes[-2:]))


@layer("matmul")
class MatmulLayer(Layer):
    """Product of matrices: y[…, i, j] = Σₖ a[…, i, k] b[…, k, j].

    Shapes: [*S, I, K], [*S, K, J] -> [*S, I, J], of the same rank; axes of size 1 in S are broadcast.
    Conventions: PyTorch's torch.matmul. With one operand, the current value is the first factor. A factor is transposed
    by `permute` in its branch.

    ```net
    input x 8x24
    matmul { permute [1, 0] } { relu }
    ```
    """

    operands = (1, 2)
    operand_usage = "[OPERAND] OPERAND"
    operand_names = ("a", "b")
    flow_first = True

    def shape(self, a: Shape, b: Shape) -> Shape:
        fits = len(a) == len(b) > 1 and a[-1] == b[-2]
        if not fits or any(n not in (m, 1) and m != 1 for n, m in zip(a[:-2], b[:-2], strict=True)):
            raise Misfit(problems.MatmulMismatch)
        leading: list[Dim] = [m if n == 1 else n for n, m in zip(a[:-2], b[:-2], strict=True)]
        return (*leading, a[-2], b[-1])

    def body(self, a: Value, b: Value, w: Weights) -> Value:
        return ops.matmul(a, b)


@layer("rope")
class RopeLayer(Layer):
    """Rotary position embedding: the channels a, b of a pair become a cos θ - b sin θ and b cos θ + a sin θ, where
    θ = p / base^(2i/r) for pair i at position p, and r = part d channels of each head are rotated.

    Shapes: [heads d, *S, L] -> [heads d, *S, L], along the last axis.
    Conventions: by default pairs are channels i and i + r/2, as in Llama and Hugging Face's weights; with
    `interleaved on` they are channels 2i and 2i + 1, as in the paper and GPT-J. `at` has other positions than 0, 1, …,
    [L] or [*S, L]. A list as `base` has the r/2 frequencies θ/p themselves, as for longer contexts.
    Source: Su et al. (2021), eq. 15 and 34.

    ```net
    input x 64x20
    attention 8 causal on { linear 64; rope 8 } { linear 64; rope 8 } { linear 64 }
    rope 8 base 500000
    ```
    """

    heads: int = positional(Integer(), doc="number of heads")
    base: float | tuple[float, ...] = keyword(Frequencies(), 10000.0, doc="base of the angles, or their frequencies")
    part: float = keyword(Real(above=0, maximum=1), 1.0, doc="part of each head that is rotated")
    interleaved: bool = keyword(Flag(), False, doc="rotate neighboring channels")
    at: str | None = keyword(Operand("i64"), None, doc="positions")

    def shape(self, x: Shape, *, at: Shape | None = None) -> Shape:
        self.rotated(x)
        wanted = tuple(dict.fromkeys([x[-1:], x[1:]]))
        if at is not None and at not in wanted:
            raise Misfit(problems.WrongMask, at="at", name="at", given=at, wanted=wanted)
        return x

    def rotated(self, x: Shape) -> int:
        """Return the number of channels of each head that are rotated. Raises Misfit."""
        channels = channel_count(x)
        if len(x) < 2:
            what = f"`rope` rotates by the position along the last axis, but {format_shape(x)} has only channels"
            raise Misfit(problems.HeadsMisfit, what=what)
        if channels % self.heads:
            what = f"`rope` rotates {self.heads} heads along the last axis, and cannot split {format_shape(x)}"
            raise Misfit(problems.HeadsMisfit, at="heads", what=what)
        size = channels // self.heads
        turned = round(size * self.part)
        if turned % 2 or not turned or abs(turned - size * self.part) > 1e-6:
            raise Misfit(problems.OddRotation, at="part", size=size, part=self.part)
        if isinstance(self.base, tuple) and len(self.base) != turned // 2:
            raise Misfit(problems.FrequencyCount, at="base", given=len(self.base), wanted=turned // 2)
        return turned

    def frequencies(self, x: Shape) -> tuple[float, ...]:
        """Return the angle of each pair of channels at position 1."""
        if isinstance(self.base, tuple):
            return self.base
        turned = self.rotated(x)
        return tuple(self.base ** (-2 * i / turned) for i in range(turned // 2))

    def body(self, x: Value, w: Weights, *, at: Value | None = None) -> Value:
        last = channels_last(x)
        rank = len(last.shape)
        if at is None:
            place = ops.reshape(ops.places(last, rank - 2), (*(1,) * (rank - 2), x.shape[-1]), batch=False)
        else:
            place = ops.reshape(at, (*(1,) * (rank - 1 - len(at.shape)), *at.shape[1:]))
        frequencies = self.frequencies(x.shape[1:])
        return channels_first(ops.rotate(last, place, self.heads, frequencies, interleaved=self.interleaved))


def _differs_by_example(x: Value) -> bool:
    """Return whether a value depends on an input, which its shape does not tell in a batch of one."""
    inputs, waiting = {*x.graph.inputs.values()}, [x]
    seen = set(waiting)
    while waiting and inputs.isdisjoint(seen):
        producer = waiting.pop().producer
        new = {*producer.inputs} - seen if producer else set()
        waiting.extend(new)
        seen |= new
    return not inputs.isdisjoint(seen)
