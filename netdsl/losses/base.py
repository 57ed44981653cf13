"""The base class of losses, their targets, and the table of losses by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from netdsl import ops
from netdsl.declare.arguments import Real
from netdsl.declare.declared import Declared, keyword, registrar
from netdsl.diagnostics.loss_problems import LossMisfit
from netdsl.diagnostics.problem import Misfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Value

LOSSES: dict[str, type[Loss]] = {}
"""Losses by name."""

loss = registrar(LOSSES)


class Target(NamedTuple):
    """The target of an output; `shape` excludes the batch.

    - `class`: a class index from 0 to `classes` - 1, as i64; one per position of the output. Positions of the class
      `ignore`, which can be any integer, do not count.
    - `sign`: -1 or 1 as f32, one per position of the output.
    - `value`: numbers in the output's shape, as f32.
    - `sequence`: symbols from 0 to `classes` - 1, except `blank`, as i64, padded with -1 at the end; `shape` is the
      length of the longest, or empty if the data determine it.
    """

    kind: str
    shape: Shape
    classes: Dim | None = None
    ignore: int | None = None
    blank: int | None = None

    @property
    def dtype(self) -> str:
        return "i64" if self.kind in ("class", "sequence") else "f32"


class Loss(Declared):
    """A loss with its arguments. Immutable.

    A subclass's docstring has the formula, shapes, source and an example. Y is the batch of outputs [N, K, *S], with K
    classes and the positions S, which may be empty; the loss is the mean over the batch and the positions.
    """

    kind: ClassVar[str] = ""
    probability: ClassVar[str] = ""
    """Function that turns an output into the probabilities of its classes: `softmax`, `sigmoid` (of the second of two
    classes), or empty if the loss does not model probabilities."""
    reads_target: ClassVar[bool] = True
    """Whether the data have a target for the output; otherwise `target` does not apply, and `body` takes none."""
    weight: float = keyword(Real(0), 1.0, doc="factor of this loss in a sum of losses")

    def target(self, output: Shape) -> Target:
        """Return the target of an output of this shape (without the batch). Raises Misfit."""
        raise NotImplementedError

    def body(self, y: Value, target: Value) -> Value:
        """Return the scalar loss of a batch: y [N, *output], target [N, *target]. All sizes are numbers."""
        raise NotImplementedError

    @property
    def has_shares(self) -> bool:
        """Whether `share` depends on more than the number of examples."""
        return False

    def share(self, target: NDArray[Any]) -> float:
        """Return the weight of a batch in the mean over several batches."""
        return len(target)


def misfit(wanted: str) -> Misfit:
    """Return the error for an output that does not fit a loss; `wanted` describes the accepted shape in words."""
    return Misfit(LossMisfit, wanted=wanted)


def total(x: Value) -> Value:
    """Return the sum of all elements, a scalar."""
    return ops.reduce_sum(x, range(len(x.shape)), keepdims=False)


def mean(x: Value) -> Value:
    """Return the mean of all elements, a scalar."""
    return ops.reduce_mean(x, range(len(x.shape)), keepdims=False)
