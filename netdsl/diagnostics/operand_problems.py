"""Problems of the values that stand behind a call, or that its keywords take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.shape import elements, format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.edits import before, gap_before, replace
from netdsl.diagnostics.merge_problems import MergeProblem, labels_of
from netdsl.diagnostics.origins import origins
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem
from netdsl.diagnostics.shape_problems import ShapeProblem
from netdsl.diagnostics.solve import meet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.shape import Shape
    from netdsl.ir.net import Node


@problem("E0260", "operands behind a call that takes none")
class TakesNoOperands(Problem):
    """A branch `{ … }` or a `for` on the line of a call is an operand of it. Merges take operands, and so do layers of
    several values, such as `matmul`; other layers, and blocks, apply to the current value.

    ```net fail
    net bad { input x 784; dense 10 { relu } }
    ```

    ```net fixed
    net good { input x 784; dense 10; relu }
    ```
    """

    callee: str

    headline = "`{callee}` takes no operands"
    caption = "this is an operand"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.span.text.startswith("for"):
            yield Suggestion("end the statement before `for`", Edit(gap_before(self.span), "; "))
            return
        text = self.span.text
        inside = "" if "\n" in text else text[1:-1].strip()
        edits = (Edit(gap_before(self.span).to(self.span), f"; {inside}"),) if inside else ()
        yield Suggestion("end the statement before `{`", *edits)
        yield Suggestion("label the group, `name: { … }`, to keep it together")


@problem("E0442", "a branch instead of a label")
class BranchForLabel(Problem):
    """A keyword that takes a value, such as `mask` of `attention` or `initial` of `lstm`, takes the label of an earlier
    one. A branch behind the keyword would read like one of the operands, which begin there: label it first.

    ```net fail
    net bad { input x 48x20; attention 2 bias { dense 800; reshape 2x20x20 } }
    ```

    ```net fixed
    net good { input x 48x20; b: { dense 800; reshape 2x20x20 }; from x; attention 2 bias b }
    ```
    """

    callee: str
    name: str
    head: Span
    """The callee's name in the call."""
    names: tuple[str, ...]
    """The labels that are in use."""
    layer: bool
    """Whether it is the label of a layer, whose weight is shared, rather than of a value."""
    meant: tuple[Span, ...]
    """The layers whose name is all that is in the branch."""

    headline = "`{name}` of `{callee}` takes a label, not a branch"

    def label(self) -> str:
        return "write the label of a layer" if self.layer else "label this in a statement of its own"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.span.text.startswith("for"):
            return
        if self.layer:
            yield self._shared()
            return
        value, flow = (_free(name, self.names) for name in (self.name, "x"))
        label = _label_before(self.head)
        start = label.start() if label else self.head.start
        yield Suggestion(
            "label the branch first",
            Edit(Span(self.span.source, start, start), f"{flow}: identity; {value}: {self.span.text}; from {flow}; "),
            Edit(self.span, value),
        )

    def _shared(self) -> Suggestion:
        """Suggest the label of the layer that is named in the branch, by its label or its kind."""
        inside = self.span.text[1:-1].strip()
        if inside in self.names:
            return replace(self.span, inside)
        if len(self.meant) != 1:
            return Suggestion(f"label the layer whose weight is shared, `name: …`, and write `{self.name} name`")
        label = _label_before(self.meant[0])
        name = label[1] if label else _free("shared", self.names)
        named = () if label else (before(self.meant[0], f"{name}: "),)
        return Suggestion("write the label of the layer", *named, Edit(self.span, name))


def _label_before(head: Span) -> re.Match[str] | None:
    """Return the label of the call that begins here."""
    return re.search(r"([^\s;{}]+):[ \t]*\Z", head.source.text[: head.start])


def _free(name: str, names: tuple[str, ...]) -> str:
    """Return a name that is not among `names`."""
    return next(each for each in (name, *(f"{name}{i}" for i in range(1, len(names) + 2))) if each not in names)


@problem("E0261", "a wrong number of operands")
class OperandCount(Problem):
    """Each layer takes certain numbers of operands, which its page documents. A `for` counts once for each round.

    ```net fail
    net bad { input x 4x8; matmul { relu } { relu } { permute [1, 0] } }
    ```

    ```net fixed
    net good { input x 4x8; matmul { relu } { permute [1, 0] } }
    ```
    """

    callee: str
    counts: tuple[int, ...]
    given: int
    usage: str

    def message(self) -> str:
        counts = ["no" if count == 0 else str(count) for count in self.counts]
        plural = "s" * (self.counts[-1] != 1)
        takes = f"`{self.callee}` takes {' or '.join(counts)} operand{plural}"
        return f"{takes}, but {self.given or 'none'} {'is' if self.given < 2 else 'are'} given"

    def notes(self) -> Iterable[str]:
        yield f"operands: {self.usage}"


@problem("E0262", "an argument behind an operand")
class ArgumentAfterOperand(Problem):
    """The operands of a call stand behind all of its arguments.

    ```net fail
    net bad { input x 4x8; y: conv 3; attention 1 x y y scale 1 }
    ```

    ```net fixed
    net good { input x 4x8; y: conv 3; attention 1 scale 1 x y y }
    ```
    """

    callee: str
    operand: Span
    rest: Span
    """The arguments, to the end of the call."""

    headline = "the argument `{span.text}` of `{callee}` stands behind an operand"
    caption = "operands come last"
    related = "operand", "the operands begin here"

    def suggestions(self) -> Iterable[Suggestion]:
        operands = Span(self.span.source, self.operand.start, gap_before(self.rest).start)
        yield Suggestion(
            "write the operands last",
            Edit(Span(self.span.source, operands.start, self.rest.end), f"{self.rest.text} {operands.text}"),
        )


@problem("E0360", "matrices that cannot be multiplied")
class MatmulMismatch(MergeProblem):
    """`matmul` multiplies the matrices in the last two axes: the columns of the first are as many as the rows of the
    second. Leading axes are equal, or 1.

    ```net fail
    net bad { input x 24x10; matmul { relu } { tanh } }
    ```

    ```net fixed
    net good { input x 24x10; matmul { relu } { tanh; permute [1, 0] } }
    ```
    """

    def message(self) -> str:
        a, b = (node.shape for node in self.inputs)
        both = f"{format_shape(a)} times {format_shape(b)}"
        if len(a) < 2 or len(a) != len(b):
            return f"{both}: `matmul` needs two values of the same number of axes, at least 2"
        if a[-1] != b[-2]:
            return f"{both}: {a[-1]} and {b[-2]} do not meet"
        return f"{both}: the leading axes differ"

    def label(self) -> str:
        return "leading axes must be equal, or 1" if "lead" in self.message() else ""

    def candidate_fixes(self) -> Iterable[Suggestion]:
        for which, node in zip(("second", "first"), self.inputs[::-1], strict=True):
            rank = len(node.shape)
            order = [*range(rank - 2), rank - 1, rank - 2]
            ends = [argument.value_span.end for argument in node.arguments]
            end = Span(node.span.source, max(ends, default=node.span.end), max(ends, default=node.span.end))
            if rank > 1:
                yield Suggestion(f"transpose the {which}", Edit(end, f"; permute {order}"))

    def _distinct(self) -> list[Node]:
        return list(self.inputs)

    def _wanted(self, shape: Shape, own: Shape) -> Shape:
        """Return the shape that the second operand needs: the rows are the columns of the first."""
        return (*own[:-2], shape[-1], own[-1]) if len(shape) == len(own) > 1 else own


@problem("E0361", "numbers that do not fill a shape")
class ValueCount(Problem):
    """`values` takes as many numbers as its shape has elements, row by row.

    ```net fail
    net bad { input x 4; matmul { reshape 2x2 } { values [1, 0, 1] 2x2 } }
    ```

    ```net fixed
    net good { input x 4; matmul { reshape 2x2 } { values [1, 0, 0, 1] 2x2 } }
    ```
    """

    layer: str
    inputs: tuple[Node, ...]
    count: int
    sizes: tuple[int, ...]

    headline = "`values` has {count} numbers, but {sizes} takes {_wanted}"

    @property
    def _wanted(self) -> int:
        return elements(self.sizes)


@problem("E0440", "a fraction among integers")
class NotWhole(Problem):
    """The numbers of `values` with `dtype i64` are integers, of less than 2^53 so that they are exact.

    ```net fail
    net bad { input x 8x2; add { } { values [0, 0.5] dtype i64; embedding 4 8 } }
    ```

    ```net fixed
    net good { input x 8x2; add { } { values [0, 1] dtype i64; embedding 4 8 } }
    ```
    """

    layer: str
    inputs: tuple[Node, ...]
    number: float

    headline = "`dtype i64` takes integers of less than 2^53, not {number:g}"


@problem("E0441", "a label of no weight to share")
class NoWeightToShare(Problem):
    """`tied` takes the label of an earlier layer with a weight: an `embedding`, a `linear` or a `dense`. The label of a
    group or block does not say which of its weights is meant: write the path of the layer.

    ```net fail
    net bad { input w 20 dtype i64; e: embedding 100 8; t: tanh; linear 100 tied t }
    ```

    ```net fixed
    net good { input w 20 dtype i64; e: embedding 100 8; tanh; linear 100 tied e }
    ```
    """

    name: str
    labelled: Span
    named: bool
    held: tuple[str, ...]
    """The names of the layer's weights."""

    related = "labelled", "labeled here"

    def message(self) -> str:
        if self.named and self.held:
            others = ", ".join(f"`{name}`" for name in self.held[:4]) + ", …" * (len(self.held) > 4)
            return f"`{self.name}` has no `weight` that can be shared, but {others}"
        return f"`{self.name}` is {'a layer without a weight' if self.named else 'no single layer'}"

    def label(self) -> str:
        return "`tied` shares the matrix of one layer" if self.held else "this has no weight of its own"


@problem("E0367", "a tied weight of another shape")
class TiedShape(ShapeProblem):
    """A `linear` or `dense` of U units and C channels has a weight [U, C], and an `embedding V D` one of [V, D]: a
    `linear V` after D channels can be tied to it.

    ```net fail
    net bad { input w 20 dtype i64; e: embedding 100 8; linear 16; linear 100 tied e }
    ```

    ```net fixed
    net good { input w 20 dtype i64; e: embedding 100 8; linear 8; linear 100 tied e }
    ```
    """

    owner: Node
    shape: tuple[int, ...]
    wanted: tuple[int, ...]

    headline = "the weight of `{owner.name}` is {shape}, but `{layer}` takes {wanted} here"

    def labels(self) -> Iterable[Label]:
        yield Label(self.owner.span, f"its weight is {format_shape(self.shape)}")
        units = next((each for each in self.arguments if each.name == "units"), None)
        if units is not None and self.shape[:1] != self.wanted[:1]:
            yield Label(units.value_span, f"{self.wanted[0]} units need as many rows")
        if self.shape[1:] != self.wanted[1:]:
            (node,) = self.inputs
            yield from labels_of(origins(node, [0] if self.layer == "linear" else range(len(node.shape))))

    def candidate_fixes(self) -> Iterable[Suggestion]:
        node = self.inputs[0]
        if len(self.shape) != 2:
            return
        units = next((each for each in self.arguments if each.name == "units"), None)
        if units is not None and self.shape[0] != self.wanted[0]:
            yield Suggestion(f"use {self.shape[0]} units", Edit(units.value_span, str(self.shape[0])))
        yield from meet(node, (self.shape[-1], *node.shape[1:]))
