"""Fully connected layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, Undecidable, elements
from netdsl.declare.arguments import Flag, Initialiser, Integer
from netdsl.declare.declared import Misfit, keyword, positional
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.ir.init import Init, zeros
from netdsl.layers.base import Layer, Weight, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("dense")
class Dense(Layer):
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
    init: Init = keyword(Initialiser(), Init("he_normal"), doc="initializer of the weight")
    bias_init: Init = keyword(Initialiser(), zeros, doc="initializer of the bias")

    def shape(self, *xs: Shape) -> Shape:
        try:
            elements(xs[0])
        except Undecidable:
            raise Misfit(NeedsNumber) from None
        return (self.units,)

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield Weight("weight", (self.units, elements(x)), self.init)
        if self.bias:
            yield Weight("bias", (self.units,), self.bias_init)

    def body(self, x: Value, w: Weights) -> Value:
        flat = x if len(x.shape) == 2 else ops.flatten(x)
        return ops.gemm(flat, w.weight, w.get("bias"), trans_b=True)
