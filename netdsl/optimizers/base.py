"""What an optimizer is: a class that declares its arguments, and how a weight changes, in ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from netdsl import ops
from netdsl.layers.arguments import Real
from netdsl.layers.base import keyword
from netdsl.layers.declared import Declared, registrar
from netdsl.optimizers.clip import clip_norm, clip_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value

OPTIMIZERS: dict[str, type[Optimizer]] = {}
"""The optimizers by their names in the language."""

optimizer = registrar(OPTIMIZERS)


class Update(Protocol):
    """The change of one weight in one step, as an optimizer sees it."""

    @property
    def rate(self) -> Value:
        """The learning rate of this step, scheduled: an f32 scalar."""

    @property
    def step(self) -> Value:
        """The number of this step, from 1: an f32 scalar."""

    @property
    def decays(self) -> bool:
        """Whether weight decay is for this weight."""

    def slot(self, name: str, initial: float = 0.0) -> Value:
        """What the optimizer remembers of the weight under a name, of its shape; `initial` before the first step."""

    def keep(self, name: str, value: Value) -> None:
        """Say what a slot is after the step."""


class Optimizer(Declared):
    """An optimizer with its arguments. Immutable, except for the cached scalars shared by all weights of a graph.

    A subclass's docstring has the formula, source and an example: w is a weight, g its gradient, r the scheduled
    learning rate, t the number of the step, counted from 1.
    """

    kind: ClassVar[str] = ""
    lr: float
    decay: float = keyword(Real(0), 0.0, doc="weight decay")
    clip: float | None = keyword(Real(above=0), None, doc="maximum norm of all gradients together")
    clip_value: float | None = keyword(Real(above=0), None, doc="maximum absolute value of a gradient element")

    def update(self, w: Value, g: Value, t: Update) -> Value:
        """The weight after the step."""
        raise NotImplementedError

    def scalars(self, t: Update) -> tuple[Value, ...]:
        """What follows from the rate and the step alone, and is the same for all weights of a step."""
        return ()

    def shared(self, t: Update) -> tuple[Value, ...]:
        """The scalars, computed once a graph."""
        known: tuple[Value, tuple[Value, ...]] | None = self.__dict__.get("_known")
        if known is None or known[0] is not t.rate:
            known = (t.rate, self.scalars(t))
            self.__dict__["_known"] = known
        return known[1]

    def clipped(self, gradients: Sequence[Value]) -> list[Value]:
        """The gradients of all weights, as `clip_value` and then `clip` want them."""
        found = list(gradients)
        if self.clip_value is not None:
            found = clip_values(found, self.clip_value)
        return clip_norm(found, self.clip) if self.clip is not None else found

    def decayed(self, w: Value, g: Value, t: Update) -> Value:
        """g + decay w: the gradient of the loss with decay/2 |w|^2 added."""
        return ops.add(g, ops.mul(w, self.decay)) if self.decay and t.decays else g


__all__ = ["OPTIMIZERS", "Optimizer", "Update", "keyword", "optimizer"]
