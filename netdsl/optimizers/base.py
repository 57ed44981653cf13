"""Base class of optimizers, which declare their arguments and the update of a weight in ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from netdsl import ops
from netdsl.declare.arguments import Real
from netdsl.declare.declared import Declared, keyword, registrar
from netdsl.optimizers.clip import clip_norm, clip_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value

OPTIMIZERS: dict[str, type[Optimizer]] = {}
"""Optimizers by name."""

optimizer = registrar(OPTIMIZERS)


class Update(Protocol):
    """The update of one weight in one step."""

    @property
    def rate(self) -> Value:
        """The scheduled learning rate of this step, an f32 scalar."""

    @property
    def step(self) -> Value:
        """The number of this step, counted from 1, an f32 scalar."""

    @property
    def decays(self) -> bool:
        """Whether weight decay applies to this weight."""

    def slot(self, name: str, initial: float = 0.0) -> Value:
        """Return the state with this name, of the weight's shape; it equals `initial` before the first step."""

    def set_state(self, name: str, value: Value) -> None:
        """Set the value of a slot after the step."""


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
        """Return the weight after the step."""
        raise NotImplementedError

    def scalars(self, t: Update) -> tuple[Value, ...]:
        """Return scalars that depend only on the learning rate and the step, and are shared by all weights."""
        return ()

    def shared(self, t: Update) -> tuple[Value, ...]:
        """Return the scalars, computed once per graph."""
        known: tuple[Value, tuple[Value, ...]] | None = self.__dict__.get("_known")
        if known is None or known[0] is not t.rate:
            known = (t.rate, self.scalars(t))
            self.__dict__["_known"] = known
        return known[1]

    def clipped(self, gradients: Sequence[Value]) -> list[Value]:
        """Return the gradients of all weights, clipped by `clip_value` and then by `clip`."""
        found = list(gradients)
        if self.clip_value is not None:
            found = clip_values(found, self.clip_value)
        return clip_norm(found, self.clip) if self.clip is not None else found

    def decayed(self, w: Value, g: Value, t: Update) -> Value:
        """Return g + decay w, the gradient of the loss plus decay/2 |w|^2."""
        return ops.add(g, ops.mul(w, self.decay)) if self.decay and t.decays else g


__all__ = ["OPTIMIZERS", "Optimizer", "Update", "keyword", "optimizer"]
