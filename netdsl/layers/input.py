"""Inputs of the graph."""

from __future__ import annotations

from netdsl.ir.shape import Dim
from netdsl.layers.arguments import DTYPES, Choice, Dims, Integer
from netdsl.layers.base import Layer, Shape, keyword, layer, positional


@layer("input")
class Input(Layer):
    """A value that the model is given. The batch, `N`, stands in front of its sizes and is not written.

    Shapes: -> [sizes]. `f16` and `u8` are cast to `f32` first; `i64` stays, for `embedding`.
    `resize`, `crop`, `filter` and `order` say how a picture becomes this input: the shorter side is resized, then the
    centre is cropped. They are advice for tools, kept in the model's metadata. Pixels arrive as 0..255.

    ```net
    input image 3x224x224
    relu
    ```
    """

    sizes: tuple[Dim, ...] = positional(Dims(), doc="the shape, without the batch")
    dtype: str = keyword(Choice(*DTYPES), "f32", doc="the type of its elements; pixels as `u8` are cast first")
    resize: int | None = keyword(Integer(), None, doc="size of a picture's shorter side")
    crop: int | None = keyword(Integer(), None, doc="size of the square cut from a picture's centre")
    filter: str = keyword(
        Choice("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
        "bilinear",
        doc="how pictures are resized",
    )
    order: str = keyword(Choice("rgb", "bgr"), "rgb", doc="the order of a picture's channels")

    def shape(self, *xs: Shape) -> Shape:
        return self.sizes

    def element_type(self, *xs: str) -> str:
        return "i64" if self.dtype == "i64" else "f32"
