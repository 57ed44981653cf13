"""Problems of attention: heads, lengths and masks that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Suggestion, problem
from netdsl.diagnostics.shape_problems import ShapeProblem
from netdsl.diagnostics.solve import meet, remove

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0362", "channels that are not those of queries, keys and values")
class JointChannels(ShapeProblem):
    """Without operands, the channels of `attention` are queries, keys and values of `heads` heads, one after another,
    so that their number is a multiple of three times the heads. With `kv`, keys and values have fewer heads.

    ```net fail
    net bad { input x 768x20; attention 12 }
    ```

    ```net fixed
    net good { input x 768x20; linear 3*channels; attention 12 }
    ```
    """

    heads: int
    kv: int
    parts: int

    def message(self) -> str:
        x = self.inputs[0].shape
        if len(x) < 2:
            return f"`attention` runs along the last axis, but {format_shape(x)} has only channels"
        heads = f"{self.heads} + 2 x {self.kv} heads of equal size"
        return f"`attention {self.heads}` of {x[0]} channels: {heads} need a multiple of {self.parts}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        node, head = self.inputs[0], self.head
        channels = node.shape[0]
        if not isinstance(channels, int) or len(node.shape) < 2:
            return
        if head is not None and channels % self.heads == 0:
            units = f"linear {channels + 2 * self.kv * (channels // self.heads)}; "
            yield Suggestion(
                "project to queries, keys and values first", Edit(Span(head.source, head.start, head.start), units)
            )
        for count in (-(-channels // self.parts), channels // self.parts):
            yield from meet(node, (count * self.parts, *node.shape[1:]))


@problem("E0363", "heads that do not fit the channels")
class HeadsMisfit(ShapeProblem):
    """The queries of `attention` have `heads` heads of equal size. The heads of the keys have the same size, and their
    number divides that of the queries: each is shared by as many. The values have as many heads as the keys.

    ```net fail
    net bad { input x 64x20; attention 8 { } { linear 12 } { linear 64 } }
    ```

    ```net fixed
    net good { input x 64x20; attention 8 { } { linear 16 } { linear 64 } }
    ```
    """

    what: str

    headline = "{what}"


@problem("E0364", "queries, keys and values of different lengths")
class OperandLengths(ShapeProblem):
    """Keys and values of `attention` are pairs, and have the same length. The axes between the channels and the last
    axis, if any, are the same for queries, keys and values.

    ```net fail
    net bad { input x 64x20; attention 8 { } { } { conv 3 stride 2 } }
    ```

    ```net fixed
    net good { input x 64x20; attention 8 { } { } { conv 3 } }
    ```
    """

    def message(self) -> str:
        q, k, v = (node.shape for node in self.inputs[:3])
        if min(map(len, (q, k, v))) < 2:
            return "`attention` runs along the last axis, but an operand has only channels"
        if q[1:-1] == k[1:-1] == v[1:-1]:
            return f"keys are {k[-1]} long, but values {v[-1]}"
        return f"the axes between the channels and the last differ: {', '.join(map(format_shape, (q, k, v)))}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        _, keys, values = self.inputs[:3]
        if len(keys.shape) == len(values.shape):
            yield from meet(values, (values.shape[0], *keys.shape[1:]))
            yield from meet(keys, (keys.shape[0], *values.shape[1:]))


@problem("E0365", "a mask or bias of another shape than the scores")
class WrongMask(ShapeProblem):
    """`mask` has a number for each key, `segments` for each position, and `bias` for each head, query and key. If there
    are axes between the channels and the last axis, they may have these axes too.

    ```net fail
    net bad { input seen 30 dtype i64; input x 192x20; attention 8 mask seen }
    ```

    ```net fixed
    net good { input seen 20 dtype i64; input x 192x20; attention 8 mask seen }
    ```
    """

    name: str
    given: Shape
    wanted: tuple[Shape, ...]

    def message(self) -> str:
        wanted = " or ".join(map(format_shape, self.wanted))
        return f"`{self.name}` is {format_shape(self.given)}, but `{self.layer}` takes {wanted} here"


@problem("E0366", "an argument that requires queries and keys of one length")
class UnequalLengths(ShapeProblem):
    """`causal` and `segments` compare the positions of queries and keys, which then belong to one sequence. For queries
    and keys of different lengths it would be a guess whether the first or the last positions correspond.

    ```net fail
    net bad { input x 64x20; attention 8 causal on { } { conv 3 pad 0 } { conv 3 pad 0 } }
    ```

    ```net fixed
    net good { input x 64x20; attention 8 { } { conv 3 pad 0 } { conv 3 pad 0 } }
    ```
    """

    what: str
    queries: Dim
    keys: Dim

    headline = "`{what}` of {queries} queries and {keys} keys, which are not of one sequence"

    def suggestions(self) -> Iterable[Suggestion]:
        given = next((argument for argument in self.arguments if argument.name == self.what), None)
        if given is not None:
            yield Suggestion(f"leave `{self.what}` out", remove(given))


@problem("E0368", "a part of a head that has no pairs of channels")
class OddRotation(ShapeProblem):
    """`rope` rotates pairs of channels: the part of each head that it rotates has an even number of channels.

    ```net fail
    net bad { input x 64x20; rope 8 part 0.4 }
    ```

    ```net fixed
    net good { input x 64x20; rope 8 part 0.5 }
    ```
    """

    size: int
    part: float

    headline = "`rope` cannot rotate {part:g} of heads of {size} channels: pairs need an even number"


@problem("E0369", "a wrong number of frequencies")
class FrequencyCount(ShapeProblem):
    """A list as `base` of `rope` has a frequency for each pair of channels that is rotated.

    ```net fail
    net bad { input x 64x20; rope 8 base [1, 0.1] }
    ```

    ```net fixed
    net good { input x 64x20; rope 8 base [1, 0.1, 0.01, 0.001] }
    ```
    """

    given: int
    wanted: int

    headline = "`base` has {given} frequencies, but `rope` rotates {wanted} pairs of channels"


@problem("E0370", "more positions than rows of a table")
class FewerRows(ShapeProblem):
    """An `embedding` of `positions` is a table with a row for each position, and one of `relative_positions` has a row
    for each distance. Numbers behind the last row would be an error at run time.

    ```net fail
    net bad { input x 64x512; add { } { positions; embedding 256 64 } }
    ```

    ```net fixed
    net good { input x 64x512; add { } { positions; embedding 512 64 } }
    ```
    """

    rows: int
    wanted: int
    what: str

    headline = "the table has {rows} rows, but there are {wanted} {what}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.span.text.isdecimal():
            yield Suggestion(f"use {self.wanted} rows", Edit(self.span, str(self.wanted)))
