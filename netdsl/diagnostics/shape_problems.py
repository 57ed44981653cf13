"""Problems of shapes: values that do not meet, layers that do not fit, expectations that do not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, text
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span
    from netdsl.ir.net import Argument, Node


class ShapeProblem(Problem):
    """A layer that does not fit its inputs, which are shown with the places that made them."""

    layer: str
    inputs: tuple[Node, ...]
    head: Span | None = None
    """The layer's name in the call, and the call's arguments, for edits."""
    arguments: tuple[Argument, ...] = ()

    def keyword(self, name: str, value: str) -> Edit:
        """The edit that gives a keyword of the call a value."""
        from netdsl.diagnostics.solve import keyword

        assert self.head is not None
        return keyword(self.head, self.arguments, name, value)

    def labels(self) -> Iterable[Label]:
        seen = {self.span.key}
        for node in self.inputs:
            if node.span.key not in seen:
                seen.add(node.span.key)
                yield Label(node.span, f"this is {text(node.shape)}")


@problem("E0307", "an expectation that does not hold")
class ExpectShape(Problem):
    """`expect` is a comment that is checked: the value here must have this shape.

    ```net fail
    net bad { input x 3x224x224; conv 7x7 64 stride 2; expect 64x111x111 }
    ```

    ```net mended
    net good { input x 3x224x224; conv 7x7 64 stride 2; expect 64x112x112 }
    ```
    """

    expected: Shape
    node: Node

    @property
    def actual(self) -> Shape:
        return self.node.shape

    def message(self) -> str:
        return f"expected {text(self.expected)}, but the value is {text(self.actual)}"

    def label(self) -> str:
        return "this does not hold"

    def labels(self) -> Iterable[Label]:
        from netdsl.diagnostics.origins import origins
        from netdsl.diagnostics.solve import differing

        if len(self.expected) != len(self.actual):
            yield Label(self.node.span, f"this makes {text(self.actual)}")
        for each in origins(self.node, differing(self.actual, self.expected)):
            yield Label(each.span, str(each))

    def repairs(self) -> Iterable[Help]:
        from netdsl.diagnostics.solve import meet

        yield Help("expect what the value is", Edit(self.span, text(self.actual)))
        yield from meet(self.node, self.expected)


@problem("E0308", "a count that does not hold")
class ExpectCount(Problem):
    """`expect params` and `expect macs` count the net, or in a block the call, up to here.

    ```net fail
    net bad { input x 784; dense 10; expect params 7840 }
    ```

    ```net mended
    net good { input x 784; dense 10; expect params 7850 }
    ```
    """

    what: str
    expected: int
    actual: int

    def message(self) -> str:
        return f"expected {self.expected:,} {self.what}, but up to here there are {self.actual:,}"

    def label(self) -> str:
        return f"{abs(self.actual - self.expected):,} too {'few' if self.actual > self.expected else 'many'}"

    def repairs(self) -> Iterable[Help]:
        yield Help("expect what there are", Edit(self.span, str(self.actual)))


@problem("E0309", "an axis or channel that does not exist")
class OutsideShape(ShapeProblem):
    """Axes and channels are counted from 0, axes without the batch; negative ones count from the end.

    ```net fail
    net bad { input x 3x8x8; select [0, 3] }
    ```

    ```net mended
    net good { input x 3x8x8; select [0, 2] }
    ```
    """

    what: str
    index: int
    count: int

    def message(self) -> str:
        plural = "axes" if self.what == "axis" else f"{self.what}s"
        return f"there is no {self.what} {self.index}: the input has {self.count} {plural}, counted from 0"


@problem("E0311", "a size that is known only at run time")
class NeedsNumber(ShapeProblem):
    """A weight's shape must be known when the net is compiled.

    ```net fail
    net bad { input x 3x?x?; dense 10 }
    ```

    ```net mended
    net good { input x 3x?x?; global_avgpool; dense 10 }
    ```
    """

    def message(self) -> str:
        shape = self.inputs[0].shape
        unknown = " and ".join(f"`{size}`" for size in shape if not isinstance(size, int))
        return f"`{self.layer}` needs what is known only at run time: {unknown} of its input {text(shape)}"

    def helps(self) -> Iterable[Help]:
        if self.layer in ("dense", "flatten") and not self.mended:
            yield Help("bring the unknown axes to size 1 before, as `global_avgpool` does")

    def repairs(self) -> Iterable[Help]:
        if self.head is not None and self.layer in ("dense", "flatten"):
            start = type(self.head)(self.head.source, self.head.start, self.head.start)
            yield Help("pool the unknown axes away before", Edit(start, "global_avgpool; "))


def _bytes(count: int) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"]
    thousands = min((len(str(count)) - 1) // 3, len(units) - 1)
    return f"{count / 1000**thousands:,.3g} {units[thousands]}"


@problem("E0314", "too large")
class TooLarge(Problem):
    """A net stays within the budgets of layers, weights and loop rounds, which no real network comes near.

    ```net fail
    net bad { input x 1000000; dense 2000000000 }
    ```

    ```net mended
    net good { input x 1000000; dense 20 }
    ```
    """

    what: str
    count: int
    limit: int
    weight: str = ""
    elements: int = 0

    def message(self) -> str:
        if self.weight:
            needs = f"`{self.weight}` needs {_bytes(4 * self.elements)}"
            return f"{needs}: {self.count:,} {self.what} are more than the limit of {self.limit:,}"
        return f"{self.count:,} {self.what} are more than the limit of {self.limit:,}"

    def label(self) -> str:
        return "this goes beyond the limit"
