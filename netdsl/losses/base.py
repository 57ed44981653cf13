"""Base class of losses, which declare their arguments, their kind of target and their computation in ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.declare.arguments import Real
from netdsl.declare.declared import Declared, Misfit, keyword, registrar
from netdsl.diagnostics.loss_problems import LossMisfit

if TYPE_CHECKING:
    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Value

LOSSES: dict[str, type[Loss]] = {}
"""Losses by name."""

loss = registrar(LOSSES)


LOWEST = -3.4e38
"""Close to the lowest float32, and thus below all outputs."""


class Target:
    """The target of an output; `shape` excludes the batch.

    - `class`: a class index from 0 to `classes` - 1, as i64; one per position of the output.
    - `sign`: -1 or 1 as f32, one per position of the output.
    - `value`: numbers in the output's shape, as f32.
    """

    __slots__ = ("classes", "kind", "shape")

    def __init__(self, kind: str, shape: Shape, classes: Dim | None = None) -> None:
        self.kind = kind
        self.shape = shape
        self.classes = classes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<target {self.kind} {self.shape}{f' of {self.classes}' if self.classes else ''}>"

    @property
    def _key(self) -> tuple[object, ...]:
        return self.kind, self.shape, self.classes

    @property
    def dtype(self) -> str:
        return "i64" if self.kind == "class" else "f32"


class Loss(Declared):
    """A loss with its arguments. Immutable.

    A subclass's docstring has the formula, shapes, source and an example. Y is the batch of outputs [N, K, *S], with K
    classes and the positions S, which may be empty; the loss is the mean over the batch and the positions.
    """

    kind: ClassVar[str] = ""
    weight: float = keyword(Real(0), 1.0, doc="factor of this loss in a sum of losses")

    def target(self, output: Shape) -> Target:
        """Return the target of an output of this shape (without the batch). Raises Misfit."""
        raise NotImplementedError

    def body(self, y: Value, target: Value) -> Value:
        """Return the scalar loss of a batch: y [N, *output], target [N, *target]. All sizes are numbers."""
        raise NotImplementedError


def misfit(wanted: str) -> Misfit:
    """Return the error for an output that does not fit a loss; `wanted` describes the accepted shape in words."""
    return Misfit(LossMisfit, wanted=wanted)


def classes(output: Shape) -> Target:
    """Return a class target for an output [K, *S]. Raises Misfit."""
    if not output or output[0] == 1:
        raise misfit("a number for each of two classes or more along the first axis")
    return Target("class", output[1:], output[0])


def signs(output: Shape) -> Target:
    """Return a sign target for an output [1, *S]. Raises Misfit."""
    if not output or output[0] != 1:
        raise misfit("one number along the first axis, whose sign is the class")
    return Target("sign", output[1:])


def signs_or_classes(output: Shape) -> Target:
    """Return a sign target for an output [1, *S], or a class target for an output [K, *S]."""
    return signs(output) if output and output[0] == 1 else classes(output)


def margin(y: Value, target: Value) -> Value:
    """Return t y, [N, 1, *S], which is positive where the sign is correct."""
    return ops.mul(y, ops.reshape(target, y.shape[1:]))


def onehot(y: Value, target: Value) -> Value:
    """Return the one-hot mask, bool [N, K, *S], of target [N, *S] for y [N, K, *S]."""
    size = y.shape[1]
    assert isinstance(size, int), y.shape
    numbers = ops.constant(y.graph, tuple(range(size)), "i64", (1, size, *(1 for _ in y.shape[2:])))
    return ops.equal(ops.reshape(target, (1, *y.shape[2:])), numbers)


def runner_up(y: Value, here: Value) -> Value:
    """Return the largest output among the wrong classes at each position, [N, 1, *S]; `here` is the one-hot mask."""
    return ops.reduce_max(ops.where(here, ops.constant(y.graph, LOWEST, y.dtype), y), (1,))


def total(x: Value) -> Value:
    """Return the sum of all elements, a scalar."""
    return ops.reduce_sum(x, range(len(x.shape)), keepdims=False)


def mean(x: Value) -> Value:
    """Return the mean of all elements, a scalar."""
    return ops.reduce_mean(x, range(len(x.shape)), keepdims=False)


def places(y: Value) -> int:
    """Return the number of positions in all examples of y [N, K, *S]: N |S|."""
    return elements((y.shape[0], *y.shape[2:]))


__all__ = [
    "LOSSES",
    "Loss",
    "Target",
    "classes",
    "loss",
    "margin",
    "mean",
    "onehot",
    "places",
    "runner_up",
    "signs",
    "total",
]
