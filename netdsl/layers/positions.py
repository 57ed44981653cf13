"""Numbers and distances of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl import ops
from netdsl.declare.arguments import Integer
from netdsl.declare.declared import positional
from netdsl.layers.base import Layer, layer

if TYPE_CHECKING:
    from netdsl.base.shape import Dim, Shape
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


class NumberingLayer(Layer):
    """Base class of numbers of positions, which depend only on the size of the last axis."""

    differentiable = False
    what: ClassVar[str] = "positions"

    def element_type(self, x: str) -> str:
        return "i64"

    def count(self, length: Dim) -> Dim:
        """Return the least number that is greater than all of its numbers."""
        raise NotImplementedError


@layer("positions")
class PositionsLayer(NumberingLayer):
    """Numbers of the positions on the last axis: y[i] = i.

    Shapes: [*, L] -> [L], integers, the same for each example; the elements of the input are not used.
    Conventions: learned positions are an `embedding` of these, as in GPT and BERT: its weight is [positions, size].
    Source: Gehring et al. (2017), section 3.1.

    ```net
    input tokens 20 dtype i64
    add { embedding 1000 64 } { positions; wpe: embedding 512 64 }
    positions
    ```
    """

    def shape(self, x: Shape) -> Shape:
        return x[-1:]

    def count(self, length: Dim) -> Dim:
        return length

    def body(self, x: Value, w: Weights) -> Value:
        return ops.reshape(ops.places(x, len(x.shape) - 1), (1, x.shape[-1]), batch=False)


@layer("relative_positions")
class RelativePositionsLayer(NumberingLayer):
    """Distances between the positions on the last axis, from -limit to limit, counted from 0:
    y[i, j] = max(-limit, min(j - i, limit)) + limit.

    Shapes: [*, L] -> [L, L], integers from 0 to 2 limit, the same for each example; the elements of the input are not
    used.
    Conventions: with an `embedding` of 2 limit + 1 rows, they are a learned bias of attention, [heads, L, L]. Buckets
    of distances, as in T5, are `values` that a `gather` selects by them.
    Source: Shaw, Uszkoreit & Vaswani (2018), section 3.2.

    ```net
    input x 192x20
    bias: { relative_positions 16; embedding 33 8 }
    from x
    attention 8 bias bias
    relu
    ```
    """

    what = "distances"
    limit: int = positional(Integer(), doc="the largest distance; larger ones count as it")

    def shape(self, x: Shape) -> Shape:
        return (x[-1], x[-1])

    def count(self, length: Dim) -> Dim:
        far = self.limit if not isinstance(length, int) else min(self.limit, length - 1)
        return self.limit + far + 1

    def body(self, x: Value, w: Weights) -> Value:
        length = x.shape[-1]
        place = ops.places(x, len(x.shape) - 1)
        keys, queries = (ops.reshape(place, shape, batch=False) for shape in ((1, 1, length), (1, length, 1)))
        distance = ops.sub(keys, queries)
        return ops.add(ops.maximum(ops.minimum(distance, self.limit), -self.limit), self.limit)
