"""Fully connected layers, linear maps of channels and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, elements
from netdsl.declare.arguments import Flag, Initializer, Integer, LayerLabel
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.ir.init import Init, zeros
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.positions import NumberingLayer
from netdsl.layers.window import channel_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.ir.graph import Value
    from netdsl.ir.net import Node
    from netdsl.layers.base import Training, Weights


@layer("dense")
class DenseLayer(Layer):
    """Fully connected layer: y = W x + b.

    Shapes: [*] -> [units]; weight [units, features], bias [units]. The input is flattened, channels first.
    Source: Rosenblatt (1958); Rumelhart, Hinton & Williams (1986), eq. 1; init He et al. (2015).

    ```net
    input x 784
    dense 10
    ```
    """

    units: int = positional(Integer(), doc="size of the output")
    bias: bool = keyword(Flag(), True, doc="add a learned bias")
    init: Init = keyword(Initializer(), Init("he_normal"), doc="initializer of the weight")
    bias_init: Init = keyword(Initializer(), zeros, doc="initializer of the bias")
    tied: str | None = keyword(LayerLabel(), None, doc="layer whose weight it uses")

    def shape(self, *xs: Shape) -> Shape:
        elements(xs[0])
        return (self.units,)

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield Weight("weight", (self.units, elements(x)), self.init, shared=self.tied is not None)
        if self.bias:
            yield Weight("bias", (self.units,), self.bias_init)

    def body(self, x: Value, w: Weights) -> Value:
        return ops.gemm(ops.flatten(x), w.weight, w.get("bias"), trans_b=True)


@layer("linear")
class LinearLayer(Layer):
    """Affine map of the channels at each position: y[:, p] = W x[:, p] + b.

    Shapes: [C, *S] -> [units, *S]; weight [units, C], bias [units].
    Conventions: PyTorch's `Linear` and Keras' `Dense`, which map the last axis of channels-last data. `dense` flattens
    its input, and is the same for a flat one; `conv 1` is the same map on one spatial axis with a weight [units, C, 1].
    Source: Vaswani et al. (2017), section 3.3: the layers of a Transformer, with the same weights at each position;
    init He et al. (2015).

    ```net
    input x 64x20
    linear 128
    ```
    """

    units: int = positional(Integer(), doc="number of output channels")
    bias: bool = keyword(Flag(), True, doc="add a learned bias")
    init: Init = keyword(Initializer(), Init("he_normal"), doc="initializer of the weight")
    bias_init: Init = keyword(Initializer(), zeros, doc="initializer of the bias")
    tied: str | None = keyword(LayerLabel(), None, doc="layer whose weight it uses")

    def shape(self, *xs: Shape) -> Shape:
        channel_count(xs[0])
        return (self.units, *xs[0][1:])

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield Weight("weight", (self.units, channel_count(x)), self.init, shared=self.tied is not None)
        if self.bias:
            yield Weight("bias", (self.units,), self.bias_init)

    def body(self, x: Value, w: Weights) -> Value:
        if len(x.shape) == 2:
            return ops.gemm(x, w.weight, w.get("bias"), trans_b=True)
        # `row_products` makes it a product of all rows, unless two sizes are known only at run time.
        y = ops.matmul(channels_last(x), ops.transpose(w.weight, (1, 0)))
        bias = w.get("bias")
        return channels_first(y if bias is None else ops.add(y, bias))

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        """Return one product of all positions, whose weight gradient is one product, too."""
        if len(x.shape) == 2:
            return self.body(x, w)
        last = channels_last(x)
        rows = ops.reshape(last, (elements(last.shape[:-1]), *last.shape[-1:]), batch=False)
        y = ops.gemm(rows, w.weight, w.get("bias"), trans_b=True)
        return channels_first(ops.reshape(y, (*last.shape[:-1], self.units), batch=False))


def channels_last(x: Value) -> Value:
    """Return [N, C, *S] as [N, *S, C]."""
    return ops.transpose(x, (0, *range(2, len(x.shape)), 1))


def channels_first(x: Value) -> Value:
    """Return [N, *S, C] as [N, C, *S]."""
    rank = len(x.shape)
    return ops.transpose(x, (0, rank - 1, *range(1, rank - 1)))


@layer("embedding")
class EmbeddingLayer(Layer):
    """Embedding: a learned vector for each word of a vocabulary, y[:, l] = weight[x[l], :].

    Shapes: [L], integers from 0 to vocabulary - 1 -> [size, L]; weight [vocabulary, size].
    Conventions: the vector is the channel axis and comes first, ready for `conv 3 64`; PyTorch and Keras put it last,
    [L, size]. The weight is initialized from `normal(1)`, as in PyTorch. An index outside the vocabulary is an error
    before training, and at run time. In an exported model, negative ones count from the end, as ONNX defines.
    Source: Bengio et al. (2003), section 2.

    ```net
    input words 20 dtype i64
    embedding 1000 32
    ```
    """

    vocabulary: int = positional(Integer(), doc="number of words")
    size: int = positional(Integer(), doc="length of each vector")
    init: Init = keyword(Initializer(), Init("normal", 1.0), doc="initializer of the weight")

    def element_type(self, *xs: str) -> str:
        if xs[0] != "i64":
            raise Misfit(problems.WrongType, wanted="i64")
        return "f32"

    def accepts(self, inputs: Sequence[Node]) -> None:
        (x,) = inputs
        if not isinstance(x.layer, NumberingLayer):
            return
        count = x.layer.count(x.shape[-1])
        if isinstance(count, int) and count > self.vocabulary:
            raise Misfit(problems.FewerRows, at="vocabulary", rows=self.vocabulary, wanted=count, what=x.layer.what)

    def shape(self, *xs: Shape) -> Shape:
        return (self.size, *xs[0])

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield Weight("weight", (self.vocabulary, self.size), self.init)

    def body(self, x: Value, w: Weights) -> Value:
        rank = len(x.shape)
        return ops.transpose(ops.gather(w.weight, x, axis=0), (0, rank, *range(1, rank)))
