"""Problems of merges and skips: values that do not meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, text
from netdsl.diagnostics.origins import Origin, origins
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem
from netdsl.diagnostics.shape_problems import ShapeProblem
from netdsl.diagnostics.solve import differing, meet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Frame, Span
    from netdsl.ir.net import Node

MOST = 4
"""Maximum number of shapes or steps shown."""


def labels_of(found: Iterable[Origin]) -> Iterable[Label]:
    """What each origin does, at its place, once."""
    said: dict[object, Label] = {}
    for each in found:
        said.setdefault(each.span.key, Label(each.span, str(each)))
    return said.values()


class MergeProblem(ShapeProblem):
    """Values that do not meet; of many with one shape the first is shown."""

    def labels(self) -> Iterable[Label]:
        for node in self._distinct():
            if node.span.key != self.span.key:
                yield Label(node.span, f"this is {text(node.shape)}")
        yield from labels_of(self._origins())

    def notes(self) -> Iterable[str]:
        yield from elsewhere(self._origins(), self.frame)

    def repairs(self) -> Iterable[Help]:
        wanted = self._distinct()[0].shape
        for node in self._distinct()[1:]:
            yield from meet(node, self._wanted(wanted, node.shape))
            yield from meet(self._distinct()[0], self._wanted(node.shape, wanted))

    def _wanted(self, shape: Shape, own: Shape) -> Shape:
        """The shape that an operand must have to meet one of a shape."""
        return shape

    def _distinct(self) -> list[Node]:
        """The operands, of many with one shape the first, a few at most."""
        return list({node.shape: node for node in reversed(self.inputs)}.values())[::-1][:MOST]

    def _origins(self) -> list[Origin]:
        nodes = self._distinct()
        axes = sorted(
            {axis for node in nodes[1:] for axis in differing(node.shape, self._wanted(nodes[0].shape, node.shape))}
        )
        return [each for node in nodes if len(node.shape) == len(nodes[0].shape) for each in origins(node, axes)]

    @property
    def shapes(self) -> str:
        """The shapes that differ, a few at most."""
        shapes = list(dict.fromkeys(text(node.shape) for node in self.inputs))
        if len(shapes) > MOST:
            return f"{', '.join(shapes[:MOST])} and {len(shapes) - MOST} more"
        return f"{', '.join(shapes[:-1])} and {shapes[-1]}"


@problem("E0301", "the operands do not meet")
class MergeMismatch(MergeProblem):
    """`add`, `sub`, `max` and `min` take values of one shape, and never broadcast; in `mul` and `div` the axes of
    size 1 of one operand spread over the other's.

    ```net fail
    net bad { input x 64x56x56; add { conv 3x3 64 } { conv 3x3 128 } }
    ```

    ```net mended
    net good { input x 64x56x56; add { conv 3x3 64 } { conv 3x3 64 } }
    ```
    """

    def message(self) -> str:
        return f"`{self.layer}` cannot take {self.shapes} together"

    def label(self) -> str:
        if self.layer in ("mul", "div"):
            return "sizes must be equal, or 1"
        return "all shapes must be equal"

    def helps(self) -> Iterable[Help]:
        if self.layer not in ("mul", "div") and _spread(self.inputs):
            yield Help("only `mul` and `div` spread axes of size 1")


@problem("E0302", "the parts of a concat do not meet")
class ConcatMismatch(MergeProblem):
    """A `concat` joins values along one axis, the channels unless it says otherwise; all other sizes must be equal.

    ```net fail
    net bad { input x 64x56x56; concat { } { maxpool 2x2 } }
    ```

    ```net mended
    net good { input x 64x56x56; concat { conv 1x1 stride 2 } { maxpool 2x2 } }
    ```
    """

    axis: int

    def _wanted(self, shape: Shape, own: Shape) -> Shape:
        axis = self.axis % len(own)
        return (*shape[:axis], own[axis], *shape[axis + 1 :]) if len(shape) == len(own) else shape

    def message(self) -> str:
        return f"`concat` along axis {self.axis} cannot join {self.shapes}"

    def label(self) -> str:
        return f"all sizes but those of axis {self.axis} must be equal"


@problem("E0310", "the branches of this skip do not meet")
class SkipMismatch(Problem):
    """A `skip` adds its body's result to its input, so both need one shape.

    ```net fail
    net bad { input x 64x56x56; skip { conv 3x3 128 stride 2 } }
    ```

    ```net mended
    net good {
      input x 64x56x56
      skip { conv 3x3 128 stride 2 } project { conv 1x1 128 stride 2 }
    }
    ```
    """

    body: Node
    identity: Node
    entry: Node
    """The value that the skip begins with."""
    projected: bool
    end: Span

    def label(self) -> str:
        what = "projection is" if self.projected else "input is"
        return f"the {what} {text(self.identity.shape)}, and cannot be added to the body's {text(self.body.shape)}"

    def labels(self) -> Iterable[Label]:
        if len(self.body.shape) != len(self.identity.shape):
            yield Label(self.identity.span, f"this is {text(self.identity.shape)}")
            yield Label(self.body.span, f"the body ends in {text(self.body.shape)}")
        yield from labels_of(self._origins())

    def notes(self) -> Iterable[str]:
        yield from elsewhere(self._origins(), self.frame)

    def repairs(self) -> Iterable[Help]:
        if not self.projected:
            stride = _stride(self.identity.shape, self.body.shape)
            if stride:
                call = f"conv {'x'.join('1' * (len(self.body.shape) - 1))} {self.body.shape[0]}"
                call += "" if stride == 1 else f" stride {stride}"
                yield Help("project the identity to the same shape", Edit(self.end, f" project {{ {call} }}"))
        yield from meet(self.body, self.identity.shape, self.entry)
        if self.projected:
            yield from meet(self.identity, self.body.shape, self.entry)

    def _origins(self) -> list[Origin]:
        axes = differing(self.body.shape, self.identity.shape)
        return [*origins(self.body, axes), *origins(self.identity, axes)]


def elsewhere(found: Iterable[Origin], frame: Frame | None) -> Iterable[str]:
    """How the elaborator came to the origins that lie in other calls or rounds than the problem."""
    from netdsl.diagnostics.render import frames

    around = set()
    while frame is not None:
        around.add(id(frame))
        frame = frame.parent
    for each in found:
        if each.node.frame is not None and id(each.node.frame) not in around:
            yield f"`{each.span.text}`, {each.span}, is {frames(each.node.frame)[0]}"


def _spread(nodes: tuple[Node, ...]) -> bool:
    """Whether the shapes would meet if axes of size 1 could spread."""
    if len({len(node.shape) for node in nodes}) > 1:
        return False
    return all(len({size for size in sizes if size != 1}) <= 1 for sizes in zip(*[n.shape for n in nodes], strict=True))


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

    ```net mended
    net good { input x 784; add for i in range(2) { dense 10 } }
    ```
    """

    what: str

    def message(self) -> str:
        return f"this `{self.what}` has nothing to merge"

    def label(self) -> str:
        return "its `for` has no rounds"
