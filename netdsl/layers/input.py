"""Model inputs."""

from __future__ import annotations

from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.declare.arguments import INPUT_DTYPES, Choice, Dims, Integer, Numbers, Pair, Real, height_width
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer

PREPROCESSING = ("resize", "letterbox", "crop", "filter", "order", "mean", "std")
"""The arguments of `input` that define how an image becomes an input."""


@layer("input")
class InputLayer(Layer):
    """Model input. The batch axis, `N`, comes first and is not written.

    Shapes: -> [sizes]. `f16` and `u8` are cast to `f32` first; `i64` is kept, for `embedding`.
    The other arguments define how an image file becomes an input. They are not part of the graph, but of the model's
    metadata, which `netdsl run` and other commands follow. Steps, in this order: `resize 256` resizes the shorter side
    and keeps the aspect ratio; `resize 224x224` resizes to this height and width; `resize 416x416 letterbox 128` fits
    the image into this size, keeps the aspect ratio, and fills the rest with gray 128. `crop` crops the center. Then
    (x - mean) / std is applied to each channel, in the given `order`; pixels are 0 to 255 before. Filters are those of
    Pillow, which torchvision uses too; all but `nearest` are antialiased.

    ```net
    input image 3x224x224 resize 256 crop 224 mean [123.675, 116.28, 103.53] std [58.395, 57.12, 57.375]
    relu
    ```
    """

    sizes: tuple[Dim, ...] = positional(Dims(), doc="shape, without the batch")
    dtype: str = keyword(Choice(*INPUT_DTYPES), "f32", doc="element type; `f16` and `u8` are cast to `f32`")
    resize: int | tuple[int, int] | None = keyword(
        Pair(), None, doc="size of an image's shorter side after resizing, or its height and width, such as `224x224`"
    )
    letterbox: int | None = keyword(
        Integer(0, 255), None, doc="keep the aspect ratio in `resize HxW`, and fill the rest with this gray value"
    )
    crop: int | tuple[int, int] | None = keyword(
        Pair(), None, doc="size of the center crop of an image: that of a square, or height and width"
    )
    filter: str = keyword(
        Choice("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
        "bilinear",
        doc="interpolation for resizing images",
    )
    order: str = keyword(Choice("rgb", "bgr"), "rgb", doc="order of an image's color channels")
    mean: tuple[float, ...] | None = keyword(
        Numbers(Real()), None, doc="mean of each channel of an image, which is subtracted; by default, 0"
    )
    std: tuple[float, ...] | None = keyword(
        Numbers(Real(above=0)), None, doc="standard deviation of each channel, by which it is divided; by default, 1"
    )

    @property
    def preprocessing(self) -> dict[str, object]:
        """The arguments that define how an image becomes an input, as far as they differ from their defaults."""
        given = {name: getattr(self, name) for name in PREPROCESSING}
        return {name: value for name, value in given.items() if value != self.arguments[name].default}

    def shape(self, *xs: Shape) -> Shape:
        for name in PREPROCESSING:
            if what := self._misfit(name):
                raise Misfit(problems.PictureMisfit, at=name, what=what)
        return self.sizes

    def _misfit(self, name: str) -> str:
        """Return why an argument does not fit the input or the others; empty if it does."""
        value = getattr(self, name)
        if name not in self.preprocessing:
            return ""
        if len(self.sizes) != 3:
            shape = format_shape(self.sizes)
            return f"`{name}` requires an image, [channels, height, width], but this input is {shape}"
        if name in ("filter", "order"):
            return ""
        if name in ("mean", "std"):
            if self.dtype in ("u8", "i64"):
                return f"`{name}` produces fractions, but the input is {self.dtype}"
            if len(value) not in (1, self.sizes[0]):
                return f"`{name}` has {len(value)} numbers, but the input has {self.sizes[0]} channels"
            return ""
        if name == "letterbox":
            return "" if isinstance(self.resize, tuple) else "`letterbox` requires `resize HxW`, the size to fill"
        if name == "crop" and self.resize is not None:
            if isinstance(self.resize, int):
                fits, into = min(height_width(value)) <= self.resize, f"whose shorter side is {self.resize}"
            else:
                fits, into = all(map(int.__le__, height_width(value), self.resize)), f"of {format_shape(self.resize)}"
            if not fits:
                return f"a {format_shape(height_width(value))} crop does not fit into an image {into}"
        if name == "resize" and (isinstance(value, int) or self.crop is not None):
            return ""
        made = height_width(value)
        if all(
            size in (want, None) or not isinstance(size, int) for size, want in zip(self.sizes[1:], made, strict=True)
        ):
            return ""
        written = value if isinstance(value, int) else format_shape(value)
        return (
            f"`{name} {written}` produces {format_shape(made)} images, but the input is {format_shape(self.sizes[1:])}"
        )

    def element_type(self, *xs: str) -> str:
        return "i64" if self.dtype == "i64" else "f32"
