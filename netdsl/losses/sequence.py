"""Losses of outputs whose targets are sequences of symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.declare.arguments import Integer, Operand
from netdsl.declare.declared import keyword
from netdsl.diagnostics.problem import Misfit
from netdsl.diagnostics.sequence_problems import BlankOutside, LongestOutside
from netdsl.losses.base import Loss, Target, loss, mean, misfit

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


@loss("ctc")
class Ctc(Loss):
    """Connectionist temporal classification: mean over the batch of -log p(t) / max(U, 1).

    p(t) is the probability of all paths through the places that read the target t of U symbols: one symbol per place,
    by softmax(y), with repetitions merged and blanks then removed. A target without such a path counts 0, and has no
    gradient: if it has more symbols, with one more for each repetition of the symbol before, than the output has
    places. Before training, a note lists these targets. Targets may be empty.
    Shapes: output [K, T], one score (no softmax) per symbol and place; target [U], symbols from 0 to K - 1 except the
    blank, padded with -1 at the end. U is the second axis of the data's array, or `longest`. `lengths` is an input of
    shape [1] and type i64: the number of places of each example; those behind do not count.
    Conventions: as PyTorch's `ctc_loss` with `reduction='mean'` and `zero_infinity=True`, with `lengths` as
    `input_lengths`, and the target's lengths from its padding. PyTorch's output is log_softmax(y), as [T, N, K].
    Source: Graves et al. (2006).

    ```net
    net reader { input x 1x32x100; scale 1/255; conv 3x3 64; maxpool [32, 2]; reshape [64, 50]; linear 11 }
    train reader { data npz "words.npz"; loss ctc blank 10; metric edit }
    ```
    """

    blank: int = keyword(Integer(0), 0, doc="symbol that stands for none")
    lengths: str | None = keyword(Operand("i64"), None, doc="input that has the number of places of each example")
    longest: int | None = keyword(Integer(1), None, doc="size of the padded targets (default: that of the data)")

    def target(self, output: Shape) -> Target:
        if len(output) != 2 or output[0] == 1:
            raise misfit("two axes, [K, T]: a score for each of two symbols or more, at each of T places")
        symbols, places = output
        if isinstance(symbols, int) and self.blank >= symbols:
            raise Misfit(BlankOutside, at="blank", blank=self.blank, symbols=symbols)
        given = self.longest if "longest" in self.spans else None  # that of the data may be padding alone
        if given is not None and isinstance(places, int) and given > places:
            raise Misfit(LongestOutside, at="longest", longest=given, places=places)
        return Target("sequence", () if self.longest is None else (self.longest,), symbols, blank=self.blank)

    def body(self, y: Value, target: Value) -> Value:
        lengths = None if self.lengths is None else ops.reshape(y.graph.inputs[self.lengths], ())
        negative = ops.ctc(y, target, lengths, self.blank)
        symbols = ops.cast(ops.greater_or_equal(target, 0), y.dtype)
        return mean(ops.div(negative, ops.maximum(ops.reduce_sum(symbols, (1,), keepdims=False), 1.0)))
