"""Embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Initialiser, Integer
from netdsl.declare.declared import Misfit, keyword, positional
from netdsl.diagnostics.layer_problems import WrongType
from netdsl.ir.init import Init
from netdsl.layers.base import Layer, Weight, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("embedding")
class Embedding(Layer):
    """Embedding: a learned vector for each word of a vocabulary, y[:, l] = weight[x[l], :].

    Shapes: [L], integers from 0 to vocabulary - 1 -> [size, L]; weight [vocabulary, size].
    Conventions: the vector is the channel axis and comes first, ready for `conv 3 64`; PyTorch and Keras put it last,
    [L, size]. The weight is initialized from `normal(1)`, as in PyTorch. An index outside the vocabulary is an error
    at run time.
    Source: Bengio et al. (2003), section 2.

    ```net
    input words 20 dtype i64
    embedding 1000 32
    ```
    """

    vocabulary: int = positional(Integer(), doc="number of words")
    size: int = positional(Integer(), doc="length of each vector")
    init: Init = keyword(Initialiser(), Init("normal", 1.0), doc="initializer of the weight")

    def element_type(self, *xs: str) -> str:
        if xs[0] != "i64":
            raise Misfit(WrongType, wanted="i64")
        return "f32"

    def shape(self, *xs: Shape) -> Shape:
        return (self.size, *xs[0])

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield Weight("weight", (self.vocabulary, self.size), self.init)

    def body(self, x: Value, w: Weights) -> Value:
        rank = len(x.shape)
        return ops.transpose(ops.gather(w.weight, x, axis=0), (0, rank, *range(1, rank)))
