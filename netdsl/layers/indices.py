"""Layers whose results are indices, or that select by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Integer
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import axis_of

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("argmax")
class ArgMaxLayer(Layer):
    """Index of the maximum along an axis, which is removed.

    Shapes: [*, A, *] -> [*, *] of integers (i64). Axes count from 0 (the channels), excluding the batch; negative axes
    count from the end.
    Conventions: the first of equal maxima counts, as in NumPy and PyTorch. No gradient flows through it.

    ```net
    input scores 21x64x64
    argmax
    ```
    """

    differentiable = False
    axis: int = positional(Integer(-SIZE), 0, doc="axis of the maximum")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        axis = axis_of(self.axis, x)
        return (*x[:axis], *x[axis + 1 :])

    def element_type(self, *xs: str) -> str:
        super().element_type(*xs)
        return "i64"

    def body(self, x: Value, w: Weights) -> Value:
        return ops.arg_max(x, axis_of(self.axis, x.shape[1:]) + 1)


class TopKLayer(Layer):
    """Base class of selections of the largest elements."""

    k: int = positional(Integer(), doc="number of elements")
    axis: int = positional(Integer(-SIZE), 0, doc="axis to select from")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        axis = axis_of(self.axis, x)
        size = x[axis]
        if isinstance(size, int) and size < self.k:
            raise Misfit(problems.TooFew, at="k", k=self.k, axis=axis, size=size)
        return (*x[:axis], self.k, *x[axis + 1 :])


@layer("top_k")
class TopKValuesLayer(TopKLayer):
    """The k largest elements along an axis, in descending order.

    Shapes: [*, A, *] -> [*, k, *]. Axes count from 0 (the channels), excluding the batch; negative axes count from the
    end.
    Conventions: as in PyTorch and ONNX; `top_k_indices` has their indices. Of equal elements, the one of lower index
    comes first.
    Source: Kalchbrenner, Grefenstette & Blunsom (2014), section 3.3, for pooling in networks.

    ```net
    input x 64x30
    top_k 4 (-1)
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.top_k(x, self.k, axis_of(self.axis, x.shape[1:]) + 1)[0]


@layer("top_k_indices")
class TopKIndicesLayer(TopKLayer):
    """Indices of the k largest elements along an axis, in descending order of the elements.

    Shapes: [*, A, *] -> [*, k, *] of integers (i64). Axes count as in `top_k`. No gradient flows through it.

    ```net
    input scores 1000
    top_k_indices 5
    ```
    """

    differentiable = False

    def element_type(self, *xs: str) -> str:
        super().element_type(*xs)
        return "i64"

    def body(self, x: Value, w: Weights) -> Value:
        return ops.top_k(x, self.k, axis_of(self.axis, x.shape[1:]) + 1)[1]


@layer("gather")
class GatherLayer(Layer):
    """Elements of an axis at the indices that another value holds, separately for each example.

    Shapes: [*, A, *] and indices [*I] of integers (i64) -> [*, *I, *]: the axis is replaced by those of the indices.
    Axes count from 0 (the channels), excluding the batch; negative axes and indices count from the end.
    Conventions: for each example, as NumPy's take; with one index per element of a sequence, its vectors in another
    order. An index outside the axis is an error of the runtime. `select` takes indices that are known beforehand, and
    `embedding` rows of a weight.

    ```net
    input scores 30
    best: top_k_indices 4
    input boxes 4x30
    gather axis 1 best
    ```
    """

    operands = (1,)
    operand_usage = "LABEL"
    operand_names = ("", "indices")
    flow_first = True
    axis: int = keyword(Integer(-SIZE), 0, doc="axis to gather from")

    def shape(self, x: Shape, indices: Shape) -> Shape:
        axis = axis_of(self.axis, x)
        return (*x[:axis], *indices, *x[axis + 1 :])

    def element_type(self, x: str, indices: str) -> str:
        if indices != "i64":
            raise Misfit(problems.WrongType, keyword="indices", wanted="i64")
        return x

    def body(self, x: Value, indices: Value, w: Weights) -> Value:
        axis, rank = axis_of(self.axis, x.shape[1:]) + 1, len(x.shape)
        many = len(indices.shape) - 1
        if indices.shape[0] == 1 and ops.can_reshape(indices.shape, indices.shape[1:]):
            return ops.gather(x, ops.reshape(indices, indices.shape[1:], batch=False), axis)
        x, indices = ops.spread(x, indices)
        x = ops.transpose(x, (0, axis, *(i for i in range(1, rank) if i != axis))) if axis > 1 else x
        y = ops.batch_gather(x, indices)
        front = range(1 + many, many + axis)
        order = (0, *front, *range(1, 1 + many), *range(many + axis, rank + many - 1))
        return ops.transpose(y, order) if axis > 1 else y
