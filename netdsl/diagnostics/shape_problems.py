"""Problems of shapes: layers that do not fit their inputs, expectations that do not hold, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, format_shape
from netdsl.diagnostics.edits import before
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span
    from netdsl.ir.net import CallArgument, Node


class ShapeProblem(Problem):
    """A layer that does not fit its inputs, which are shown with their shapes."""

    layer: str
    inputs: tuple[Node, ...]
    head: Span | None = None
    """The layer's name in the call, and the call's arguments, for edits."""
    arguments: tuple[CallArgument, ...] = ()

    def keyword(self, name: str, value: str) -> Edit:
        """Return the edit that sets a keyword of the call."""
        from netdsl.diagnostics.solve import keyword

        assert self.head is not None
        return keyword(self.head, self.arguments, name, value)

    def labels(self) -> Iterable[Label]:
        seen = {self.span.key}
        for node in self.inputs:
            if node.span.key not in seen:
                seen.add(node.span.key)
                yield Label(node.span, f"this is {format_shape(node.shape)}")


@problem("E0307", "a shape expectation that does not hold")
class ExpectShape(Problem):
    """`expect` asserts the shape of the current value.

    ```net fail
    net bad { input x 3x224x224; conv 7x7 64 stride 2; expect 64x111x111 }
    ```

    ```net fixed
    net good { input x 3x224x224; conv 7x7 64 stride 2; expect 64x112x112 }
    ```
    """

    expected: Shape
    node: Node

    headline = "expected {expected}, found {node.shape}"
    caption = "expected here"

    def labels(self) -> Iterable[Label]:
        from netdsl.diagnostics.origins import origins
        from netdsl.diagnostics.solve import differing

        actual = self.node.shape
        if len(self.expected) != len(actual):
            yield Label(self.node.span, f"this has shape {format_shape(actual)}")
        for each in origins(self.node, differing(actual, self.expected)):
            yield Label(each.span, str(each))

    def candidate_fixes(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.solve import meet

        yield Suggestion("expect the actual shape", Edit(self.span, format_shape(self.node.shape)))
        yield from meet(self.node, self.expected)


@problem("E0308", "a count expectation that does not hold")
class ExpectCount(Problem):
    """`expect params` and `expect macs` assert the count up to here: of the net, or in a block, of the call.

    ```net fail
    net bad { input x 784; dense 10; expect params 7840 }
    ```

    ```net fixed
    net good { input x 784; dense 10; expect params 7850 }
    ```
    """

    what: str
    expected: int
    actual: int

    headline = "expected {expected:,} {what}, found {actual:,} up to here"

    def label(self) -> str:
        return f"{abs(self.actual - self.expected):,} too {'few' if self.actual > self.expected else 'many'}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        yield Suggestion("expect the actual count", Edit(self.span, str(self.actual)))


@problem("E0309", "an axis or channel that does not exist")
class OutsideShape(ShapeProblem):
    """Axes and channels count from 0, and negative ones from the end. The batch is not an axis.

    ```net fail
    net bad { input x 3x8x8; select [0, 3] }
    ```

    ```net fixed
    net good { input x 3x8x8; select [0, 2] }
    ```
    """

    what: str
    index: int
    count: int

    def message(self) -> str:
        plural = self.what if self.count == 1 else "axes" if self.what == "axis" else f"{self.what}s"
        return f"there is no {self.what} {self.index}: the input has {self.count} {plural}, counted from 0"


@problem("E0311", "a size that is known only at run time")
class NeedsNumber(ShapeProblem):
    """The shapes of weights must be known at compile time.

    ```net fail
    net bad { input x 3x?x?; dense 10 }
    ```

    ```net fixed
    net good { input x 3x?x?; global_avgpool; dense 10 }
    ```
    """

    def message(self) -> str:
        shape = self.inputs[0].shape
        sizes = [f"`{size}`" for size in shape if not isinstance(size, int)]
        only = "a size" if len(sizes) == 1 else "sizes"
        are = "is" if len(sizes) == 1 else "are"
        named = " and ".join(sizes)
        known = f"of its input {format_shape(shape)} that {are} known only at run time"
        return f"`{self.layer}` depends on {only} {known}: {named}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.layer in ("dense", "flatten") and not self.verified_fixes:
            yield Suggestion("reduce the unknown axes to size 1 first, for example with `global_avgpool`")

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is not None and self.layer in ("dense", "flatten"):
            yield Suggestion("pool over the unknown axes first", before(self.head, "global_avgpool; "))
            if self.head.text == "dense" and len(self.inputs[0].shape) == 2:
                yield Suggestion("map the channels of each position", Edit(self.head, "linear"))


def _bytes(count: int) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"]
    thousands = min((len(str(count)) - 1) // 3, len(units) - 1)
    return f"{count / 1000**thousands:,.3g} {units[thousands]}"


@problem("E0314", "a limit exceeded")
class TooLarge(Problem):
    """Nets have limits on layers, weights, loop rounds and work, far above any real network.

    ```net fail
    net bad { input x 1000000; dense 2000000000 }
    ```

    ```net fixed
    net good { input x 1000000; dense 20 }
    ```
    """

    what: str
    count: int
    limit: int
    weight: str = ""
    elements: int = 0

    caption = "this exceeds the limit"

    def message(self) -> str:
        needs = f"`{self.weight}` needs {_bytes(4 * self.elements)}: " if self.weight else ""
        return f"{needs}{self.count:,} {self.what} exceed the limit of {self.limit:,}"
