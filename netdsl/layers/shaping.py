"""Layers that move values and compute nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.diagnostics.shape_problems import NeedsNumber, OutsideShape
from netdsl.ir.shape import product
from netdsl.layers.arguments import Integer, Sequence
from netdsl.layers.base import Layer, Misfit, Shape, layer, positional
from netdsl.limits import SIZE

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.lower import Weights


@layer("flatten")
class Flatten(Layer):
    """All values in one row, channels first.

    Shapes: [C, *S] -> [C * product of S].

    ```net
    input image 3x32x32
    flatten
    ```
    """

    moves = True

    def shape(self, *xs: Shape) -> Shape:
        return (product(xs[0]),)

    def body(self, x: Value, w: Weights) -> Value:
        return ops.flatten(x)


@layer("select")
class Select(Layer):
    """Some of the channels, in the order given.

    Shapes: [C, *S] -> [len(channels), *S]. Channels count from 0, negative ones from the end.
    Source: LeCun et al. (1998), table I, connects C3 so.

    ```net
    input maps 6x14x14
    select [0, 1, 2]
    ```
    """

    moves = True
    channels: tuple[int, ...] = positional(Sequence(Integer(-SIZE)), doc="which channels")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        if not isinstance(x[0], int):
            raise Misfit(NeedsNumber)
        for channel in self.channels:
            if not -x[0] <= channel < x[0]:
                raise Misfit(OutsideShape, at="channels", what="channel", index=channel, count=x[0])
        return (len(self.channels), *x[1:])

    def body(self, x: Value, w: Weights) -> Value:
        channels = x.shape[1]
        assert isinstance(channels, int)
        return ops.gather(x, [channel % channels for channel in self.channels], axis=1)


@layer("identity")
class Identity(Layer):
    """The input as it is.

    Shapes: [*] -> [*].

    ```net
    input x 784
    identity
    ```
    """

    moves = True

    def body(self, x: Value, w: Weights) -> Value:
        return x
