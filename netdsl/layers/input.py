"""Model inputs."""

from __future__ import annotations

from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.declare.arguments import INPUT_DTYPES, Choice, Dims, Integer
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics.layer_problems import PictureMisfit
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer


@layer("input")
class InputLayer(Layer):
    """Model input. The batch axis, `N`, comes first and is not written.

    Shapes: -> [sizes]. `f16` and `u8` are cast to `f32` first; `i64` is kept, for `embedding`.
    `resize`, `crop`, `filter` and `order` describe how to preprocess an image: its shorter side is resized, then the
    center is cropped. They are hints for tools, stored in the model's metadata. Pixel values are 0 to 255.

    ```net
    input image 3x224x224
    relu
    ```
    """

    sizes: tuple[Dim, ...] = positional(Dims(), doc="shape, without the batch")
    dtype: str = keyword(Choice(*INPUT_DTYPES), "f32", doc="element type; `f16` and `u8` are cast to `f32`")
    resize: int | None = keyword(Integer(), None, doc="size of an image's shorter side after resizing")
    crop: int | None = keyword(Integer(), None, doc="size of the square center crop of an image")
    filter: str = keyword(
        Choice("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
        "bilinear",
        doc="interpolation for resizing images",
    )
    order: str = keyword(Choice("rgb", "bgr"), "rgb", doc="order of an image's color channels")

    def shape(self, *xs: Shape) -> Shape:
        crop, resize = self.crop, self.resize
        framed = "crop" if crop is not None else "resize"
        if (crop is not None or resize is not None) and len(self.sizes) != 3:
            shape = format_shape(self.sizes)
            what = f"`{framed}` requires an image, [channels, height, width], but this input is {shape}"
            raise Misfit(PictureMisfit, at=framed, what=what)
        if crop is not None and resize is not None and crop > resize:
            what = f"a {crop}x{crop} crop does not fit into an image whose shorter side is {resize}"
            raise Misfit(PictureMisfit, at="crop", what=what)
        if crop is not None and any(isinstance(size, int) and size != crop for size in self.sizes[1:]):
            what = f"`crop {crop}` produces {crop}x{crop} images, but the input is {format_shape(self.sizes[1:])}"
            raise Misfit(PictureMisfit, at="crop", what=what)
        return self.sizes

    def element_type(self, *xs: str) -> str:
        return "i64" if self.dtype == "i64" else "f32"
