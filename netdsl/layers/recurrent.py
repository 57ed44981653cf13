"""Recurrent layers, and their states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl import ops
from netdsl.declare.arguments import Choice, Flag, Initializer, Integer, Operand, Real
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.ir.init import Init
from netdsl.layers.base import Layer, Weight, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value
    from netdsl.ir.net import Node
    from netdsl.layers.base import Training, Weights


STACKED = 1_000
"""Maximum number of layers of a call, each of which has its own weights."""


class RecurrentLayer(Layer):
    """Base class of recurrent layers: a stack of `layers`, each of one direction or two."""

    stateful = True
    gates: ClassVar[int]
    states: ClassVar[int] = 1
    """Number of values of the hidden size that a step passes on: h and, for an LSTM, c."""

    hidden: int = positional(Integer(), doc="size of the state, for each direction")
    layers: int = keyword(Integer(maximum=STACKED), 1, doc="number of layers, each on the outputs of the one before")
    bidirectional: bool = keyword(Flag(), False, doc="also run from the last place to the first")
    bias: bool = keyword(Flag(), True, doc="add learned biases")
    dropout: float = keyword(Real(0, below=1), 0.0, doc="probability of dropping an output between two layers")
    initial: str | None = keyword(Operand(), None, doc="label of the initial state; zeros by default")
    lengths: str | None = keyword(Operand("i64"), None, doc="label of the number of places of each example")
    last: bool = keyword(Flag(), False, doc="return only h of the last layer after the last place")
    init: Init | None = keyword(Initializer(), None, doc="initializer of the weights")
    bias_init: Init | None = keyword(Initializer(), None, doc="initializer of the biases")

    @property
    def cell(self) -> str:
        return self.kind

    @property
    def directions(self) -> tuple[str, ...]:
        """The suffixes of the weights of each direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def width(self) -> int:
        return self.hidden * len(self.directions)

    @property
    def state_size(self) -> int:
        return self.states * self.layers * self.width

    def shape(self, x: Shape, *, initial: Shape | None = None, lengths: Shape | None = None) -> Shape:
        if len(x) != 2:
            raise Misfit(problems.NotASequence)
        if initial is not None and initial != (self.state_size,):
            raise Misfit(problems.StateMismatch, at="initial", call=self._call, size=self.state_size)
        if lengths is not None and lengths != (1,):
            raise Misfit(problems.LengthsMismatch, at="lengths", given=lengths)
        return (self.width,) if self.last else (self.width, x[1])

    @property
    def _call(self) -> str:
        """The arguments that determine the state, as in a call."""
        stack = f" layers {self.layers}" if self.layers > 1 else ""
        return f"{self.kind} {self.hidden}{stack}{' bidirectional on' if self.bidirectional else ''}"

    def weights(self, x: Shape) -> Iterator[Weight]:
        bound = self.hidden**-0.5
        init, bias_init = (each or Init("uniform", -bound, bound) for each in (self.init, self.bias_init))
        rows = self.gates * self.hidden
        for at in range(self.layers):
            for suffix in self.directions:
                end = f"l{at}{suffix}"
                yield Weight(f"weight_ih_{end}", (rows, self.width if at else x[0]), init)  # type: ignore[arg-type]
                yield Weight(f"weight_hh_{end}", (rows, self.hidden), init)
                if self.bias:
                    yield Weight(f"bias_ih_{end}", (rows,), bias_init)
                    yield Weight(f"bias_hh_{end}", (rows,), bias_init)

    def body(  # type: ignore[override]
        self, x: Value, w: Weights, *, initial: Value | None = None, lengths: Value | None = None
    ) -> tuple[Value, Callable[[], Value]]:
        return self._run(ops.recurrent, x, w, initial, lengths)

    def train(  # type: ignore[override]
        self, x: Value, w: Weights, training: Training, *, initial: Value | None = None, lengths: Value | None = None
    ) -> tuple[Value, Callable[[], Value]]:
        return self._run(ops.recurrent_training, x, w, initial, lengths, training)

    def _run(
        self,
        compute: Callable[..., tuple[Value, tuple[Value, ...]]],
        x: Value,
        w: Weights,
        initial: Value | None,
        lengths: Value | None,
        training: Training | None = None,
    ) -> tuple[Value, Callable[[], Value]]:
        """Return the result, and the state when it is needed."""
        x, *given = ops.spread(x, *filter(None, (initial, lengths)))
        y = ops.transpose(x, (2, 0, 1))
        before = ops.split(given.pop(0), (self.width,) * (self.layers * self.states)) if initial else ()
        ends = ops.reshape(given[0], ()) if lengths else None
        after: list[tuple[Value, ...]] = []
        for at in range(self.layers):
            if at and self.dropout and training:
                y = ops.dropout(y, self.dropout, training.key + at, training.step, rows=training.rows, axis=1)
            names = ("weight_ih", "weight_hh", *("bias_ih", "bias_hh")[: 2 * self.bias])
            directions = [tuple(getattr(w, f"{name}_l{at}{end}") for name in names) for end in self.directions]
            y, states = compute(self.cell, y, directions, ends, before[at :: self.layers])
            after.append(states)
        result = after[-1][0] if self.last else ops.transpose(y, (1, 2, 0))
        return result, lambda: ops.concat([states[i] for i in range(self.states) for states in after])


@layer("rnn")
class RnnLayer(RecurrentLayer):
    """Elman network: h = tanh(W x + b + R h' + c), where h' is h at the place before.

    Shapes: [C, L] -> [hidden, L], or [2 hidden, L] with `bidirectional on`, forward first; with `last on`, [hidden] or
    [2 hidden]. Weights of layer 0: weight_ih_l0 [hidden, C], weight_hh_l0 [hidden, hidden], bias_ih_l0 and bias_hh_l0
    [hidden]; then `_reverse`, and `_l1` on [hidden] or [2 hidden] channels.
    Conventions: PyTorch's RNN, with its names and its initial weights, uniform(±1/√hidden). With `lengths`, the output
    behind the end of a sequence is 0, and the state stays; the backward direction begins at the end. `initial` takes
    the state of another layer, or a value of the same size: h layer by layer, forward, then backward.
    Source: Elman (1990); Schuster & Paliwal (1997) for two directions; Le, Jaitly & Hinton (2015) for `relu`.

    ```net
    input x 8x20
    rnn 32
    ```
    """

    gates = 1
    act: str = keyword(Choice("tanh", "relu"), "tanh", doc="activation")

    @property
    def cell(self) -> str:
        return "rnn_relu" if self.act == "relu" else "rnn"


@layer("gru")
class GruLayer(RecurrentLayer):
    """Gated recurrent unit: h = (1 - z) n + z h', with gates r and z, and n = tanh(Wₙ x + bₙ + r (Rₙ h' + cₙ)).

    r and z are σ(W x + b + R h' + c), each with its own rows of the weights, and h' is h at the place before.
    Shapes: [C, L] -> [hidden, L], or [2 hidden, L] with `bidirectional on`, forward first; with `last on`, [hidden] or
    [2 hidden]. Weights of layer 0, with rows for r, z and n: weight_ih_l0 [3 hidden, C], weight_hh_l0
    [3 hidden, hidden], bias_ih_l0 and bias_hh_l0 [3 hidden]; then `_reverse`, and `_l1` on [hidden] or [2 hidden]
    channels.
    Conventions: PyTorch's GRU, with its names and its initial weights, uniform(±1/√hidden). r applies to the product,
    as in cuDNN and in Keras with `reset_after`; in the first paper, to h'. With `lengths`, the output behind the end of
    a sequence is 0, and the state stays; the backward direction begins at the end. `initial` takes the state of another
    layer, or a value of the same size: h layer by layer, forward, then backward.
    Source: Cho et al. (2014); Schuster & Paliwal (1997) for two directions.

    ```net
    input n 1 dtype i64
    input x 8x20
    gru 32 lengths n last on
    ```
    """

    gates = 3


@layer("lstm")
class LstmLayer(RecurrentLayer):
    """Long short-term memory: h = o tanh c and c = f c' + i g, with gates i, f and o, and g = tanh(W x + b + R h' + d).

    i, f and o are σ(W x + b + R h' + d), each with its own rows of the weights; h' and c' are h and c at the place
    before.
    Shapes: [C, L] -> [hidden, L], or [2 hidden, L] with `bidirectional on`, forward first; with `last on`, [hidden] or
    [2 hidden]. Weights of layer 0, with rows for i, f, g and o: weight_ih_l0 [4 hidden, C], weight_hh_l0
    [4 hidden, hidden], bias_ih_l0 and bias_hh_l0 [4 hidden]; then `_reverse`, and `_l1` on [hidden] or [2 hidden]
    channels.
    Conventions: PyTorch's LSTM, with its names and its initial weights, uniform(±1/√hidden). With `lengths`, the output
    behind the end of a sequence is 0, and the state stays; the backward direction begins at the end. `initial` takes
    the state of another layer, or a value of the same size: h layer by layer, forward, then backward; then c likewise.
    Source: Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for f; Schuster & Paliwal (1997) for two
    directions; Zaremba, Sutskever & Vinyals (2014) for `dropout`.

    ```net
    input x 8x20
    lstm 32 layers 2 bidirectional on
    ```
    """

    gates = 4
    states = 2


@layer("state")
class StateLayer(Layer):
    """The state of a recurrent layer after the last place: h of each layer and direction; for an `lstm`, then each c.

    Shapes: of a recurrent layer with its input [C, L] -> [layers directions hidden], twice as long for an `lstm`. The
    forward direction precedes the backward one, whose last place is the first.
    Conventions: PyTorch's h_n and c_n, one after the other. `initial` of a layer of the same size takes it: an encoder
    passes its state to a decoder. A model that reads a stream in parts has an input for `initial`, and returns the
    state with `output h { state r }`.
    Source: Sutskever, Vinyals & Le (2014) for sequence to sequence.

    ```net
    input x 8x20
    memory: gru 32
    state memory
    ```
    """

    operands = (1,)
    operand_usage = "LABEL"
    of: RecurrentLayer | None = None
    """The recurrent layer."""

    def seeing(self, inputs: Sequence[Node]) -> StateLayer:
        recurrent = inputs[0].layer
        if not isinstance(recurrent, RecurrentLayer):
            raise Misfit(problems.NoState)
        found = StateLayer()
        found.of = recurrent
        return found

    def shape(self, x: Shape) -> Shape:
        assert self.of is not None
        return (self.of.state_size,)
