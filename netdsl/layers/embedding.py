"""Vectors for words."""

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
    """Embedding: a learned vector for each of a vocabulary's words, y[:, l] = weight[x[l], :].

    Shapes: [L] of whole numbers from 0 to vocabulary - 1 -> [size, L]; weight [vocabulary, size].
    Conventions: PyTorch and Keras put the vector last, L x size; here it is the channels, and so comes first, ready for
    `conv 3 64`. The weight is drawn from `normal(1)`, as PyTorch's is. A number beyond the vocabulary stops the run.
    Source: Bengio et al. (2003), section 2.

    ```net
    input words 20 dtype i64
    embedding 1000 32
    ```
    """

    vocabulary: int = positional(Integer(), doc="how many words there are")
    size: int = positional(Integer(), doc="length of a word's vector")
    init: Init = keyword(Initialiser(), Init("normal", 1.0), doc="what the weight is drawn from")

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
