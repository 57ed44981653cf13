"""What a loss is: a class that declares its arguments, which target it holds an output against, and its body in ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl import ops
from netdsl.diagnostics.loss_problems import LossMisfit
from netdsl.ir.shape import elements
from netdsl.layers.arguments import Real
from netdsl.layers.base import Misfit, keyword
from netdsl.layers.declared import Declared, registrar

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.ir.shape import Dim, Shape

LOSSES: dict[str, type[Loss]] = {}
"""The losses by their names in the language."""

loss = registrar(LOSSES)


LOWEST = -3.4e38
"""Nearly the lowest number of f32: below all outputs."""


class Target:
    """What an output is held against; `shape` is without the batch.

    - `class`: the number of a class, from 0 to `classes` - 1, as i64; one for each place of the output.
    - `sign`: -1 or 1 as f32, one for each place of the output.
    - `value`: numbers of the output's shape, as f32.
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
        """What an output of this shape (without the batch) is held against. Raises Misfit."""
        raise NotImplementedError

    def body(self, y: Value, target: Value) -> Value:
        """The scalar loss of a batch: y [N, *output], target [N, *target]. All sizes are numbers."""
        raise NotImplementedError


def misfit(wanted: str) -> Misfit:
    """What is raised for an output that a loss does not fit; `wanted` is the shape in words that it takes."""
    return Misfit(LossMisfit, wanted=wanted)


def classes(output: Shape) -> Target:
    """A class for each place of an output [K, *S]. Raises Misfit."""
    if not output or output[0] == 1:
        raise misfit("a number for each of two classes or more along the first axis")
    return Target("class", output[1:], output[0])


def signs(output: Shape) -> Target:
    """A sign for each place of an output [1, *S]. Raises Misfit."""
    if not output or output[0] != 1:
        raise misfit("one number along the first axis, whose sign is the class")
    return Target("sign", output[1:])


def signs_or_classes(output: Shape) -> Target:
    """A sign for each place of an output [1, *S], or a class for each of one [K, *S]."""
    return signs(output) if output and output[0] == 1 else classes(output)


def margin(y: Value, target: Value) -> Value:
    """t y, [N, 1, *S]: positive where the sign is right."""
    return ops.mul(y, ops.reshape(target, y.shape[1:]))


def onehot(y: Value, target: Value) -> Value:
    """Whether a number of y [N, K, *S] is that of its place's class, target [N, *S]: bool [N, K, *S]."""
    size = y.shape[1]
    assert isinstance(size, int), y.shape
    numbers = ops.constant(y.graph, tuple(range(size)), "i64", (1, size, *(1 for _ in y.shape[2:])))
    return ops.equal(ops.reshape(target, (1, *y.shape[2:])), numbers)


def runner_up(y: Value, here: Value) -> Value:
    """The largest number of each place among the wrong classes, [N, 1, *S]; `here` is `onehot`."""
    return ops.reduce_max(ops.where(here, ops.constant(y.graph, LOWEST, y.dtype), y), (1,))


def total(x: Value) -> Value:
    """The sum of all elements, a scalar."""
    return ops.reduce_sum(x, range(len(x.shape)), keepdims=False)


def mean(x: Value) -> Value:
    """The mean of all elements, a scalar."""
    return ops.reduce_mean(x, range(len(x.shape)), keepdims=False)


def places(y: Value) -> int:
    """How many examples and places y [N, K, *S] has: N |S|."""
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
