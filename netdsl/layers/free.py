"""Learned values and constants, which depend on no input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, elements
from netdsl.declare.arguments import Choice, Elements, Initializer, KnownDims
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.ir.init import Init
from netdsl.layers.base import Layer, Weight, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Weights


@layer("param")
class ParamLayer(Layer):
    """Learned value: y = weight, the same for each example; the current value is not used.

    Shapes: -> [sizes]; its weight [sizes] has the name of the label alone: `cls_token`.
    Conventions: PyTorch's nn.Parameter, without the axis of the batch. A weight file may have other axes of 1:
    [1, 1, 768] fits `param [768, 1]`. It is initialized from `trunc_normal(0.02)`.
    Source: Dosovitskiy et al. (2021), eq. 1: the class token and the positions; Touvron et al. (2021), eq. 10: the
    scale of a residual branch.

    ```net
    input x 768x196
    concat axis 1 { cls_token: param [768, 1] } { }
    mul { } { gamma: param [768, 1] init constant(1e-6) }
    relu
    ```
    """

    flow = False
    sizes: tuple[int, ...] = positional(KnownDims(), doc="shape")
    init: Init = keyword(Initializer(), Init("trunc_normal", 0.02), doc="initializer")

    def shape(self) -> Shape:
        return self.sizes

    def element_type(self) -> str:
        return "f32"

    def weights(self) -> Iterator[Weight]:
        yield Weight("weight", self.sizes, self.init, unnamed=True)

    def body(self, w: Weights) -> Value:
        return ops.reshape(w.weight, (1, *self.sizes), batch=False)


@layer("values")
class ValuesLayer(Layer):
    """Constant: y = numbers, in row-major order, the same for each example; the current value is not used.

    Shapes: -> [sizes], by default one axis.
    Conventions: numbers are f32, or with `dtype i64` whole numbers, as an input's.

    ```net
    input x 9
    add { } { values [1, 0, 0, 0, 1, 0, 0, 0, 1] }
    reshape 3x3
    matmul { } { values [0, 1, 0, 1, 0, 0, 0, 0, 1] 3x3 }
    relu
    ```
    """

    flow = False
    numbers: tuple[float, ...] = positional(Elements(), doc="elements")
    sizes: tuple[int, ...] | None = positional(KnownDims(), None, doc="shape; by default the number of elements")
    dtype: str = keyword(Choice("f32", "i64"), "f32", doc="type of the elements")

    def shape(self) -> Shape:
        sizes = self.sizes or (len(self.numbers),)
        if elements(sizes) != len(self.numbers):
            raise Misfit(problems.ValueCount, at="sizes", count=len(self.numbers), sizes=sizes)
        return sizes

    def element_type(self) -> str:
        wrong = [number for number in self.numbers if not (number.is_integer() and abs(number) < 2**53)]
        if self.dtype == "i64" and wrong:
            raise Misfit(problems.NotWhole, at="numbers", number=wrong[0])
        return self.dtype

    def body(self, w: Weights) -> Value:
        numbers = self.numbers if self.dtype == "f32" else tuple(map(int, self.numbers))
        return ops.constant(w.graph, numbers, self.dtype, (1, *(self.sizes or (len(numbers),))))
