"""Problems of merges and skips: values whose shapes do not match."""

from __future__ import annotations

import re
from itertools import permutations, product
from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.edits import after
from netdsl.diagnostics.origins import Origin, origins
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem
from netdsl.diagnostics.shape_problems import ShapeProblem
from netdsl.diagnostics.solve import differing, meet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netdsl.base.text import Frame
    from netdsl.ir.net import Node

MAX_SHAPES_SHOWN = 4
"""Maximum number of different shapes shown."""


def labels_of(found: Iterable[Origin]) -> Iterable[Label]:
    """Return a label for each origin, one per location."""
    said: dict[object, Label] = {}
    for each in found:
        said.setdefault(each.span.key, Label(each.span, str(each)))
    return said.values()


class MergeProblem(ShapeProblem):
    """Operands with different shapes; the first operand of each shape is shown."""

    def labels(self) -> Iterable[Label]:
        for node in self._distinct():
            if node.span.key != self.span.key:
                yield Label(node.span, f"this is {format_shape(node.shape)}")
        yield from labels_of(self._origins())

    def notes(self) -> Iterable[str]:
        yield from elsewhere(self._origins(), self.frame)

    def candidate_fixes(self) -> Iterable[Suggestion]:
        wanted = self._distinct()[0].shape
        for node in self._distinct()[1:]:
            yield from meet(node, self._wanted(wanted, node.shape))
            yield from meet(self._distinct()[0], self._wanted(node.shape, wanted))

    def _wanted(self, shape: Shape, own: Shape) -> Shape:
        """Return the shape that an operand needs to match an operand of another shape."""
        return shape

    def _distinct(self) -> list[Node]:
        """Return the first operand of each shape, a few at most."""
        return list({node.shape: node for node in reversed(self.inputs)}.values())[::-1][:MAX_SHAPES_SHOWN]

    def _origins(self) -> list[Origin]:
        nodes = self._distinct()
        axes = sorted(
            {axis for node in nodes[1:] for axis in differing(node.shape, self._wanted(nodes[0].shape, node.shape))}
        )
        return [each for node in nodes if len(node.shape) == len(nodes[0].shape) for each in origins(node, axes)]

    @property
    def shapes(self) -> str:
        """The different shapes, a few at most."""
        shapes = list(dict.fromkeys(format_shape(node.shape) for node in self.inputs))
        if len(shapes) > MAX_SHAPES_SHOWN:
            return f"{', '.join(shapes[:MAX_SHAPES_SHOWN])} and {len(shapes) - MAX_SHAPES_SHOWN} more"
        return f"{', '.join(shapes[:-1])} and {shapes[-1]}"


@problem("E0301", "operands of different shapes")
class MergeMismatch(MergeProblem):
    """`add`, `sub`, `max` and `min` need operands of equal shape. `mul` and `div` repeat axes of size 1, and so do the
    others with `spread on`, as in `add spread on { } { global_avgpool }`. The number of axes must be equal.

    ```net fail
    net bad { input x 64x56x56; add { conv 3x3 64 } { conv 3x3 128 } }
    ```

    ```net fixed
    net good { input x 64x56x56; add { conv 3x3 64 } { conv 3x3 64 } }
    ```
    """

    headline = "`{layer}` cannot combine {shapes}"

    def label(self) -> str:
        spreads = self.layer in ("mul", "div") or re.match(r"\s+spread\s+on\b", self._following)
        return "sizes must be equal, or 1" if spreads else "all shapes must be equal"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.layer not in ("mul", "div") and _broadcast(self.inputs):
            written = self.span.text == self.layer and not re.match(r"\s+spread\b", self._following)
            edits = (after(self.span, " spread on"),) if written else ()
            yield Suggestion("to repeat axes of size 1, write `spread on`", *edits)

    @property
    def _following(self) -> str:
        return self.span.source.text[self.span.end : self.span.end + 100]


@problem("E0248", "`spread` where axes always spread")
class NeedlessSpread(Problem):
    """`mul` and `div` always repeat axes of size 1.

    ```net fail
    net bad { input x 8x4x4; mul spread on { } { global_avgpool } }
    ```

    ```net fixed
    net good { input x 8x4x4; mul { } { global_avgpool } }
    ```
    """

    layer: str
    operand: Span

    headline = "`{layer}` has no `spread`: it always repeats axes of size 1"

    def suggestions(self) -> Iterable[Suggestion]:
        source = self.span.source
        start = source.text.rindex(self.layer, 0, self.span.start) + len(self.layer)
        yield Suggestion("leave it out", Edit(Span(source, start, self.operand.start), " "))


@problem("E0302", "operands of `concat` that do not match")
class ConcatMismatch(MergeProblem):
    """`concat` joins values along one axis, the channels by default. All other sizes must be equal.

    ```net fail
    net bad { input x 64x56x56; concat { } { maxpool 2x2 } }
    ```

    ```net fixed
    net good { input x 64x56x56; concat { conv 1x1 stride 2 } { maxpool 2x2 } }
    ```
    """

    axis: int

    headline = "`concat` along axis {axis} cannot join {shapes}"
    caption = "all sizes except axis {axis} must be equal"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        shapes = {node.shape for node in self.inputs}
        ranks = {len(shape) for shape in shapes}
        axes = [axis for axis in range(min(ranks)) if len({_without(shape, axis) for shape in shapes}) == 1]
        if len(ranks) == 1 and axes:
            yield from (Suggestion(f"join along axis {axis}", self.keyword("axis", str(axis))) for axis in axes)
            yield from super().candidate_fixes()
        else:
            yield from list(self._other_parameter()) or super().candidate_fixes()

    def _other_parameter(self) -> Iterator[Suggestion]:
        """Yield a `param` with its sizes in our order, joined along the axis that it lacks, as the token of a class."""
        for node, other in permutations(self._distinct(), 2):
            for axis, literal in product(range(len(other.shape)), _sizes_of(node)):
                shape = (*other.shape[:axis], 1, *other.shape[axis + 1 :])
                if shape != node.shape and _without_ones(shape) == _without_ones(node.shape):
                    edits = Edit(literal, format_shape(shape)), self.keyword("axis", str(axis))
                    yield Suggestion(f"channels come first: `{format_shape(shape)}` along axis {axis}", *edits)

    def _wanted(self, shape: Shape, own: Shape) -> Shape:
        axis = self.axis % len(own)
        return (*shape[:axis], own[axis], *shape[axis + 1 :]) if len(shape) == len(own) else shape


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _sizes_of(node: Node) -> list[Span]:
    """Return the location of the sizes that a value without inputs is given, unless it is an input."""
    made = not node.inputs and node.layer.kind != "input"
    return [argument.value_span for argument in node.arguments if made and argument.name == "sizes"]


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


@problem("E0310", "branches of a skip with different shapes")
class SkipMismatch(Problem):
    """A `skip` adds the result of its body to its input, so both need the same shape. `project` converts the input.

    ```net fail
    net bad { input x 64x56x56; skip { conv 3x3 128 stride 2 } }
    ```

    ```net fixed
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

    headline = "the branches of this skip have different shapes"

    def label(self) -> str:
        what = "projection" if self.projected else "input"
        return self.fill(f"the {what} is {{identity.shape}}, but the body is {{body.shape}}")

    def labels(self) -> Iterable[Label]:
        if len(self.body.shape) != len(self.identity.shape):
            yield Label(self.identity.span, f"this is {format_shape(self.identity.shape)}")
            yield Label(self.body.span, f"the body ends with {format_shape(self.body.shape)}")
        yield from labels_of(self._origins())

    def notes(self) -> Iterable[str]:
        yield from elsewhere(self._origins(), self.frame)

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if not self.projected:
            stride = _stride(self.identity.shape, self.body.shape)
            if stride:
                call = f"conv {'x'.join('1' * (len(self.body.shape) - 1))} {self.body.shape[0]}"
                call += "" if stride == 1 else f" stride {stride}"
                yield Suggestion("project the input to the shape of the body", Edit(self.end, f" project {{ {call} }}"))
        yield from meet(self.body, self.identity.shape, self.entry)
        if self.projected:
            yield from meet(self.identity, self.body.shape, self.entry)

    def _origins(self) -> list[Origin]:
        axes = differing(self.body.shape, self.identity.shape)
        return [*origins(self.body, axes), *origins(self.identity, axes)]


def elsewhere(found: Iterable[Origin], frame: Frame | None) -> Iterable[str]:
    """Yield how the elaborator reached the origins that are in other calls or rounds than the problem."""
    from netdsl.diagnostics.render import frames

    around = set()
    while frame is not None:
        around.add(id(frame))
        frame = frame.parent
    for each in found:
        if each.node.frame is not None and id(each.node.frame) not in around:
            yield f"`{each.span.text}` at {each.span} is {frames(each.node.frame)[0]}"


def _broadcast(nodes: tuple[Node, ...]) -> bool:
    """Return whether the shapes would match if axes of size 1 were broadcast."""
    if len({len(node.shape) for node in nodes}) > 1:
        return False
    return all(len({size for size in sizes if size != 1}) <= 1 for sizes in zip(*[n.shape for n in nodes], strict=True))


def _stride(before: Shape, after: Shape) -> int | None:
    """Return the stride of a 1x1 convolution that maps the spatial sizes of `before` to those of `after`, if any."""
    pairs = list(zip(before[1:], after[1:], strict=False))
    if not pairs or len(before) != len(after) or len(before) > 4:
        return None
    if all(b == a for b, a in pairs):
        return 1
    fits = [s for s in range(2, 33) if all(isinstance(b, int) and (b - 1) // s + 1 == a for b, a in pairs)]
    return fits[0] if fits else None


@problem("E0315", "a merge without operands")
class NoOperands(Problem):
    """A merge needs at least one operand, and a `for` as an operand needs at least one round.

    ```net fail
    net bad { input x 784; add for i in range(0) { dense 10 } }
    ```

    ```net fixed
    net good { input x 784; add for i in range(2) { dense 10 } }
    ```
    """

    what: str

    headline = "this `{what}` has nothing to merge"
    caption = "its `for` has no rounds"
