"""Problems of merges and skips: values that do not meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem
from netdsl.diagnostics.shape_problems import ShapeProblem
from netdsl.ir.shape import Shape, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import Node
    from netdsl.text import Span


@problem("E0301", "the operands do not meet")
class MergeMismatch(ShapeProblem):
    """`add`, `sub`, `max` and `min` take values of one shape, and never broadcast; in `mul` and `div` the axes of
    size 1 of one operand spread over the other's.

    ```net fail
    net bad { input x 64x56x56; add { conv 3x3 64 } { conv 3x3 128 } }
    ```
    """

    def message(self) -> str:
        shapes = [text(node.shape) for node in self.inputs]
        return f"`{self.layer}` cannot take {', '.join(shapes[:-1])} and {shapes[-1]} together"


@problem("E0302", "the parts of a concat do not meet")
class ConcatMismatch(ShapeProblem):
    """A `concat` joins values along one axis, the channels unless it says otherwise; all other sizes must be equal.

    ```net fail
    net bad { input x 64x56x56; concat { } { maxpool 2x2 } }
    ```
    """

    axis: int

    def message(self) -> str:
        shapes = [text(node.shape) for node in self.inputs]
        return f"along axis {self.axis} only sizes may differ, but these are {', '.join(shapes[:-1])} and {shapes[-1]}"


@problem("E0310", "the branches of this skip do not meet")
class SkipMismatch(Problem):
    """A `skip` adds its body's result to its input, so both need one shape.

    ```net fail
    net bad { input x 64x56x56; skip { conv 3x3 128 stride 2 } }
    ```
    """

    body: Node
    identity: Node
    projected: bool
    end: Span

    def label(self) -> str:
        what = "projection is" if self.projected else "input is"
        return f"the {what} {text(self.identity.shape)}, and cannot be added to the body's {text(self.body.shape)}"

    def labels(self) -> Iterable[Label]:
        if self.body.span.key != self.span.key:
            yield Label(self.body.span, f"the body ends in {text(self.body.shape)}")
        yield Label(self.identity.span, f"this is {text(self.identity.shape)}")

    def helps(self) -> Iterable[Help]:
        if self.projected:
            return
        stride = _stride(self.identity.shape, self.body.shape)
        if stride:
            call = f"conv {'x'.join('1' * (len(self.body.shape) - 1))} {self.body.shape[0]}"
            call += "" if stride == 1 else f" stride {stride}"
            yield Help("project the identity to the same shape", Edit(self.end, f" project {{ {call} }}"))


def _stride(before: Shape, after: Shape) -> int | None:
    """The stride of a 1x1 convolution that brings every spatial size of `before` to that of `after`."""
    pairs = list(zip(before[1:], after[1:], strict=False))
    if not pairs or len(before) != len(after) or len(before) > 4:
        return None
    if all(b == a for b, a in pairs):
        return 1
    fits = [s for s in range(2, 33) if all(isinstance(b, int) and (b - 1) // s + 1 == a for b, a in pairs)]
    return fits[0] if fits else None


@problem("E0315", "a merge without operands")
class NoOperands(Problem):
    """A merge needs at least one operand, and a `for` as an operand at least one round.

    ```net fail
    net bad { input x 784; add for i in range(0) { dense 10 } }
    ```
    """

    what: str

    def message(self) -> str:
        return f"this `{self.what}` has nothing to merge"
