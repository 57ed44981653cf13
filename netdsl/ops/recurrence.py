"""Recurrent layers: ONNX's operators for inference, and scans with gradients for training.

Sequences are [L, N, C]. Weights are PyTorch's: one block of rows per gate, in the order i f g o for an LSTM, and r z n
for a GRU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl import ops
from netdsl.ir.formula import element_count
from netdsl.ir.op import Macro, OnnxNode, Op
from netdsl.ir.reach import Reach
from netdsl.ops.base import known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.formula import Count
    from netdsl.ir.graph import Value

__all__ = ["recurrent", "recurrent_training"]

Values = tuple["Value", ...]
Gradients = tuple["Value | None", ...]


class Cell:
    """A step of a recurrence, and its gradient.

    `gates` is the number of blocks of rows of the weights, `onnx_order` their order in ONNX, and `states` the number of
    values that a step passes on, the first of which is its result h.
    """

    onnx_type: ClassVar[str]
    gates: ClassVar[int]
    onnx_order: ClassVar[tuple[int, ...]]
    states: ClassVar[int] = 1
    saved: ClassVar[int] = 0
    """Number of values that a step saves for the gradient."""
    inner_bias: ClassVar[bool] = False
    """Whether the second bias is inside of a product, so that the two cannot be added beforehand."""

    def step(self, state: Values, px: Value, r: Value, b: Value | None) -> tuple[Values, Values]:
        """Return the next state and the saved values: `px` is W x + b of the input, [N, G H]."""
        raise NotImplementedError

    def slopes(self, y: Value, saved: Values) -> tuple[Values, Values]:
        """Return what `back` multiplies gradients by, from the results of all steps, [L, N, H] each: first derivatives
        of a state with respect to itself before the step, without the path through R, then all others."""
        raise NotImplementedError

    def back(self, dstate: Values, slopes: Values, r: Value, passed: Value | None) -> tuple[Values, Values]:
        """Return the gradient of the state before; and results, of which the first is the gradient of R h + b,
        [N, G H]. `r` is R^T, and `passed`, [N, 1], 1 for the examples whose state a step leaves as it is, else 0: their
        slopes of the first kind are 1, and the others 0."""
        raise NotImplementedError

    def input_gradient(self, results: Values, slopes: Values) -> Value:
        """Return the gradient of W x + b, [L, N, G H], from the results of `back` of all steps."""
        return results[0]


class Lstm(Cell):
    """i, f, o = sigmoid, g = tanh of W x + R h + b; c' = f c + i g; h' = o tanh c'.

    Source: Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for f.
    """

    onnx_type = "LSTM"
    gates = 4
    onnx_order = (0, 3, 1, 2)
    states = 2
    saved = 6

    def step(self, state: Values, px: Value, r: Value, b: Value | None) -> tuple[Values, Values]:
        h, c = state
        *gates, last = ops.split(ops.gemm(h, r, px, trans_b=True), [h.shape[1]] * 4)  # type: ignore[list-item]
        i, f, g, o = ops.sigmoid(gates[0]), ops.sigmoid(gates[1]), ops.tanh(gates[2]), ops.sigmoid(last)
        kept = ops.mul(f, c)
        c = ops.add(kept, ops.mul(i, g))
        bounded = ops.tanh(c)
        return (ops.mul(o, bounded), c), (i, f, g, o, bounded, kept)

    def slopes(self, y: Value, saved: Values) -> tuple[Values, Values]:
        i, f, g, o, bounded, kept = saved
        entered = ops.mul(i, g)
        return (f,), (
            ops.sub(o, ops.mul(y, bounded)),
            ops.sub(entered, ops.mul(entered, i)),
            ops.sub(kept, ops.mul(kept, f)),
            ops.sub(i, ops.mul(entered, g)),
            ops.sub(y, ops.mul(y, o)),
        )

    def back(self, dstate: Values, slopes: Values, r: Value, passed: Value | None) -> tuple[Values, Values]:
        (dh, dc), (f, to_c, *to_gates, to_o) = dstate, slopes
        dc = ops.add(dc, ops.mul(dh, to_c))
        dz = ops.concat([*(ops.mul(dc, each) for each in to_gates), ops.mul(dh, to_o)])
        return (ops.gemm(dz, r, passed and ops.mul(dh, passed), trans_b=True), ops.mul(dc, f)), (dz,)


class Gru(Cell):
    """r, z = sigmoid of W x + R h + b; n = tanh(W_n x + b_n + r (R_n h + c_n)); h' = n + z (h - n).

    Source: Cho et al. (2014), with the reset gate behind the product, as in cuDNN.
    """

    onnx_type = "GRU"
    gates = 3
    onnx_order = (1, 0, 2)
    saved = 5
    inner_bias = True

    def step(self, state: Values, px: Value, r: Value, b: Value | None) -> tuple[Values, Values]:
        (h,) = state
        (size,) = known(h.shape[1:])
        outer, outer_n = ops.split(px, (2 * size, size))
        inner, q = ops.split(ops.gemm(h, r, b, trans_b=True), (2 * size, size))
        reset, z = ops.split(ops.sigmoid(ops.add(outer, inner)), (size, size))
        n = ops.tanh(ops.add(outer_n, ops.mul(reset, q)))
        kept = ops.mul(z, ops.sub(h, n))
        return (ops.add(n, kept),), (reset, z, n, q, kept)

    def slopes(self, y: Value, saved: Values) -> tuple[Values, Values]:
        reset, z, n, q, kept = saved
        to_n = ops.mul(ops.sub(1, z), ops.sub(1, ops.mul(n, n)))
        to_q = ops.mul(to_n, reset)
        to_reset = ops.mul(ops.mul(to_q, q), ops.sub(1, reset))
        return (z,), (to_reset, ops.sub(kept, ops.mul(kept, z)), to_q, to_n)

    def back(self, dstate: Values, slopes: Values, r: Value, passed: Value | None) -> tuple[Values, Values]:
        (dh,), (z, *to_inner, _) = dstate, slopes
        inner = ops.concat([ops.mul(dh, each) for each in to_inner])
        return (ops.gemm(inner, r, ops.mul(dh, z), trans_b=True),), (inner, dh)

    def input_gradient(self, results: Values, slopes: Values) -> Value:
        inner, dh = results
        size = known(dh.shape)[2]
        return ops.concat([ops.split(inner, (2 * size, size), 2)[0], ops.mul(dh, slopes[-1])], 2)


class Rnn(Cell):
    """h' = tanh(W x + R h + b). Source: Elman (1990)."""

    onnx_type = "RNN"
    gates = 1
    onnx_order = (0,)

    def step(self, state: Values, px: Value, r: Value, b: Value | None) -> tuple[Values, Values]:
        return (self.function(ops.gemm(state[0], r, px, trans_b=True)),), ()

    def function(self, z: Value) -> Value:
        return ops.tanh(z)

    def slopes(self, y: Value, saved: Values) -> tuple[Values, Values]:
        return (), (ops.sub(1, ops.mul(y, y)),)

    def back(self, dstate: Values, slopes: Values, r: Value, passed: Value | None) -> tuple[Values, Values]:
        (dh,), (slope,) = dstate, slopes
        dz = ops.mul(dh, slope)
        return (ops.gemm(dz, r, passed and ops.mul(dh, passed), trans_b=True),), (dz,)


class ReluRnn(Rnn):
    """h' = max(0, W x + R h + b). Source: Le, Jaitly & Hinton (2015)."""

    def function(self, z: Value) -> Value:
        return ops.relu(z)

    def slopes(self, y: Value, saved: Values) -> tuple[Values, Values]:
        return (), (ops.cast(ops.greater(y, 0), y.dtype),)


CELLS: dict[str, Cell] = {"lstm": Lstm(), "gru": Gru(), "rnn": Rnn(), "rnn_relu": ReluRnn()}
"""Cells by name."""


class Recurrence(Op):
    """A recurrence of a cell: the inputs are x, W and R, then those that `bias`, `lengths` and `initial` announce."""

    __slots__ = ("bias", "cell", "initial", "lengths")

    def __init__(self, cell: str, bias: bool, lengths: bool, initial: bool) -> None:
        self.cell = cell
        self.bias = bias
        self.lengths = lengths
        self.initial = initial

    @property
    def rule(self) -> Cell:
        return CELLS[self.cell]

    def macs(self, y: Shape, *xs: Shape) -> Count:
        return element_count(xs[0][:1]) * (element_count(xs[1]) + element_count(xs[2]))


class Recurrent(Recurrence):
    """A recurrent layer of D directions, the second from the last place to the first. ONNX LSTM, GRU and RNN.

    x [L, N, C], W [D, G H, C] and R [D, G H, H] with the gates in the order of ONNX, biases [D, 2 G H], lengths [N] as
    i32, initial states [D, N, H] -> y [L, D, N, H] and the last states [D, N, H]. It has no gradient; `scans` computes
    the same with one.
    """

    __slots__ = ()

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        (length, batch, _), (directions, _, hidden) = xs[0], xs[2]
        return (length, directions, batch, hidden), *(((directions, batch, hidden),) * self.rule.states)

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return (xs[0],) * (1 + self.rule.states)

    def reach(self, at: int, axis: int, y: Shape, *xs: Shape) -> Reach | None:
        """Examples are separate; of one, the last place that is computed reads all others."""
        return Reach(len(y) - 2) if axis == (0 if len(xs[at]) == 1 else 1) else None

    def onnx(self, opset: int, *xs: Value) -> OnnxNode:
        directions, _, hidden = known(xs[2].shape)
        attributes: dict[str, object] = {"hidden_size": hidden}
        if directions == 2:
            attributes["direction"] = "bidirectional"
        if self.cell == "gru":
            attributes["linear_before_reset"] = 1
        if self.cell == "rnn_relu":
            attributes["activations"] = ("Relu",) * directions
        given = iter(range(3, len(xs)))
        order = [0, 1, 2, *(next(given) if each else None for each in (self.bias, self.lengths)), *given]
        return OnnxNode(self.rule.onnx_type, attributes, order=order)

    def scans(self, *xs: Value) -> tuple[Value, ...]:
        """Return the same results, by RecurrentTraining."""
        x, w, r, *rest = xs
        rule, count, hidden = self.rule, known(r.shape)[0], known(r.shape)[2]
        order = [rule.onnx_order.index(gate) for gate in range(rule.gates)]
        biases = ops.split(rest.pop(0), (rule.gates * hidden,) * 2) if self.bias else ()
        weights = [ops.split(each, (1,) * count, 0) for each in (w, r, *biases)]
        lengths = ops.cast(rest.pop(0), "i64") if self.lengths else None
        initial = [ops.split(each, (1,) * count, 0) for each in rest]
        results = []
        for at in range(count):
            own = (ops.reshape(each[at], each[at].shape[1:], batch=False) for each in weights)
            first = (ops.reshape(each[at], each[at].shape[1:], batch=False) for each in initial)
            op = RecurrentTraining(self.cell, self.bias, self.lengths, self.initial, reverse=at == 1)
            ends = () if lengths is None else (lengths,)
            results.append(x.graph.apply(op, x, *(_ordered(each, order) for each in own), *ends, *first))
        y = ops.concat([_with_axis(each[0], 1) for each in results], 1)
        states = range(1, 1 + rule.states)
        return y, *(ops.concat([_with_axis(each[at], 0) for each in results], 0) for at in states)


class RecurrentTraining(Recurrence, Macro):
    """A recurrent layer of one direction, with what its gradient needs.

    x [L, N, C], W [G H, C], R [G H, H], two biases [G H], lengths [N] as i64, initial states [N, H] -> y [L, N, H], the
    last states [N, H], then what each step saves, [L, N, H] each.

    A scan over the places, and, for the gradient, a scan in the opposite direction, so the size of the graph does not
    depend on L. All that does not depend on the state is computed over all places outside of the scans: the input's
    share of each step, the slopes of the gates, the gradients of the weights and that of x. Source: Werbos (1990),
    Backpropagation through time.
    """

    __slots__ = ("reverse",)

    def __init__(self, cell: str, bias: bool, lengths: bool, initial: bool, reverse: bool) -> None:
        super().__init__(cell, bias, lengths, initial)
        self.reverse = reverse

    def shapes(self, *xs: Shape) -> tuple[Shape, ...]:
        (length, batch, _), (_, hidden) = xs[0], xs[2]
        rule = self.rule
        state, whole = (batch, hidden), (length, batch, hidden)
        return whole, *((state,) * rule.states), *((whole,) * rule.saved)

    def dtypes(self, *xs: str) -> tuple[str, ...]:
        return (xs[0],) * (1 + self.rule.states + self.rule.saved)

    def expand(self, *xs: Value) -> tuple[Value, ...]:
        x, w, r, biases, lengths, state = self._inputs(xs)
        rule, (length, batch, _), hidden = self.rule, known(x.shape), known(r.shape)[1]
        outer, inner = (biases[0] if rule.inner_bias else ops.add(*biases), biases[1]) if biases else (None, None)
        px = ops.reshape(ops.gemm(_rows(x), w, outer, trans_b=True), (length, batch, rule.gates * hidden), batch=False)
        live = () if lengths is None else (_live(length, lengths),)
        whole = (r, inner) if rule.inner_bias and inner else (r,)

        def step(*values: Value) -> tuple[Sequence[Value], Sequence[Value]]:
            before, (px, *rest) = values[: rule.states], values[rule.states :]
            mask, (r, *b) = rest[: len(live)], rest[len(live) :]
            after, saved = rule.step(before, px, r, b[0] if b else None)
            y = after[0]
            if mask:
                y = ops.where(mask[0], y, 0)
                after = tuple(ops.where(mask[0], new, old) for new, old in zip(after, before, strict=True))
            return after, (y, *saved)

        results = ops.scan(step, state, (px, *live), whole, reverse=self.reverse)
        return results[rule.states], *results[: rule.states], *results[rule.states + 1 :]

    def vjps(
        self, dys: tuple[Value | None, ...], ys: tuple[Value, ...], xs: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        x, w, r, biases, lengths, state = self._inputs(xs)
        rule = self.rule
        assert all(each is None for each in dys[1 + rule.states :]), "what a step saves has no gradient"
        last = [
            ops.zeros(x.graph, each.shape, x.dtype) if given is None else given
            for each, given in zip(state, dys[1:], strict=False)
        ]
        dy: Values = () if dys[0] is None else (dys[0],)
        own, others = rule.slopes(ys[0], ys[1 + rule.states :])
        passed: Values = ()
        live = None if lengths is None else _live(known(x.shape)[0], lengths)
        if live is not None:
            own = tuple(ops.where(live, each, 1) for each in own)
            dy, others = (tuple(ops.where(live, each, 0) for each in group) for group in (dy, others))
            passed = (ops.cast(ops.logical_not(live), x.dtype),)
        slopes = (*own, *others)

        def back(*values: Value) -> tuple[Sequence[Value], Sequence[Value]]:
            (h, *states), rest = values[: rule.states], values[rule.states :]
            added, rest = rest[: len(dy)], rest[len(dy) :]
            dstate = (ops.add(h, *added), *states)
            return rule.back(dstate, rest[: len(slopes)], rest[-1], rest[len(slopes)] if passed else None)

        transposed = ops.transpose(r, (1, 0))  # onnxruntime multiplies few rows by a transposed matrix sooner
        found = ops.scan(back, last, (*dy, *slopes, *passed), (transposed,), reverse=not self.reverse)
        dstate, results = found[: rule.states], found[rule.states :]
        outer, inner = _rows(rule.input_gradient(results, slopes)), _rows(results[0])
        before = _rows(self._before(ys[0], state[0], live if self.initial else None))
        dx = ops.reshape(ops.gemm(outer, w), x.shape, batch=False)
        dw, dr = ops.gemm(outer, _rows(x), trans_a=True), ops.gemm(inner, before, trans_a=True)
        db = [ops.reduce_sum(each, (0,), keepdims=False) for each in (outer, inner)] if biases else []
        return dx, dw, dr, *db, *(() if lengths is None else (None,)), *(dstate if self.initial else ())

    def _before(self, y: Value, initial: Value, live: Value | None) -> Value:
        """Return h before each step, [L, N, H], of any value behind the end of a sequence.

        `live` is needed if y, which is 0 there, is not the initial state.
        """
        length = known(y.shape)[0]
        first = _with_axis(initial, 0)
        if length == 1:
            return first
        if not self.reverse:
            return ops.concat([first, ops.slice(y, (0,), (0,), (length - 1,))], 0)
        later = ops.slice(y, (0,), (1,), (length,))
        if live is not None:
            later = ops.where(ops.slice(live, (0,), (1,), (length,)), later, first)
        return ops.concat([later, first], 0)

    def _inputs(self, xs: tuple[Value, ...]) -> tuple[Value, Value, Value, Values, Value | None, Values]:
        """Return x, W, R, the biases, the lengths, and the initial state, which is zeros if it is not given."""
        (x, w, r), rest = xs[:3], xs[3:]
        biases, rest = (rest[:2], rest[2:]) if self.bias else ((), rest)
        lengths, rest = (rest[0], rest[1:]) if self.lengths else (None, rest)
        if not self.initial:
            rest = (ops.zeros(x.graph, (x.shape[1], r.shape[1]), x.dtype),) * self.rule.states
        return x, w, r, biases, lengths, rest


def _rows(x: Value) -> Value:
    """Return [L, N, C] as [L N, C]."""
    length, batch, size = known(x.shape)
    return ops.reshape(x, (length * batch, size), batch=False)


def _live(length: int, lengths: Value) -> Value:
    """Return whether a place is inside of its sequence, [L, N, 1]."""
    places = ops.reshape(ops.counter(lengths.graph, length), (length, 1, 1), batch=False)
    return ops.greater(ops.reshape(lengths, (1, *lengths.shape, 1), batch=False), places)


Direction = tuple["Value", ...]
"""The weights of a direction: W, R and, unless the layer has no bias, two biases."""


def recurrent(
    cell: str, x: Value, directions: Sequence[Direction], lengths: Value | None = None, initial: Values = ()
) -> tuple[Value, Values]:
    """Return y [L, N, D H] and the last states [N, D H], by the operators of ONNX.

    x is [L, N, C], lengths [N] as i64, and each state of `initial` [N, D H]. In a state, h or c of the first direction
    comes first. With lengths, y is 0 behind the end of a sequence, its states are those at its end, and the second
    direction begins there.
    """
    rule, count = CELLS[cell], len(directions)
    hidden = known(directions[0][1].shape)[1]
    weights = [[_ordered(each, rule.onnx_order) for each in direction] for direction in directions]
    inputs = [ops.concat([_with_axis(each[at], 0) for each in weights], 0) for at in (0, 1)]
    if len(weights[0]) > 2:
        inputs.append(ops.concat([_with_axis(ops.concat(each[2:], 0), 0) for each in weights], 0))
    if lengths is not None:
        inputs.append(ops.cast(lengths, "i32"))
    for state in initial:
        inputs.append(ops.transpose(ops.reshape(state, (count, hidden)), (1, 0, 2)))
    op = Recurrent(cell, len(weights[0]) > 2, lengths is not None, bool(initial))
    y, *states = x.graph.apply(op, x, *inputs)
    if count > 1:
        y, states = ops.transpose(y, (0, 2, 1, 3)), [ops.transpose(each, (1, 0, 2)) for each in states]
    y = ops.reshape(y, (*x.shape[:2], count * hidden), batch=False)
    last = [ops.reshape(each, (x.shape[1], count * hidden), batch=False) for each in states]
    if lengths is not None and initial:  # of an empty sequence, onnxruntime returns zeros
        some = ops.reshape(ops.greater(lengths, 0), (1,))
        last = [ops.where(some, new, old) for new, old in zip(last, initial, strict=True)]
    return y, tuple(last)


def _ordered(weight: Value, order: Sequence[int]) -> Value:
    """Return the blocks of rows of a weight in another order."""
    size = known(weight.shape)[0] // len(order)
    gates = ops.split(weight, (size,) * len(order), 0)
    return ops.concat([gates[at] for at in order], 0)


def _with_axis(x: Value, axis: int) -> Value:
    """Insert an axis of size 1."""
    return ops.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]), batch=False)


def recurrent_training(
    cell: str, x: Value, directions: Sequence[Direction], lengths: Value | None = None, initial: Values = ()
) -> tuple[Value, Values]:
    """Return the same as `recurrent`, by scans, which have gradients."""
    count, hidden = len(directions), known(directions[0][1].shape)[1]
    parts = [ops.split(state, (hidden,) * count) for state in initial]
    results = []
    for at, weights in enumerate(directions):
        op = RecurrentTraining(cell, len(weights) > 2, lengths is not None, bool(initial), reverse=at == 1)
        ends = () if lengths is None else (lengths,)
        results.append(x.graph.apply(op, x, *weights, *ends, *(part[at] for part in parts)))
    states = range(1, 1 + CELLS[cell].states)
    return ops.concat([y for y, *_ in results], 2), tuple(ops.concat([each[at] for each in results]) for at in states)
