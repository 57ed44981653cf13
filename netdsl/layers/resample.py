"""Resizing, pixel shuffle and channel shuffle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Choice, Flag, Integer, Operand, Pair, Real, Sizes, height_width
from netdsl.declare.declared import keyword, positional
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Misfit
from netdsl.layers.base import Layer, layer
from netdsl.layers.window import channel_count, each, spatial, split_channels, target_sizes

if TYPE_CHECKING:
    from netdsl.ir.graph import Value
    from netdsl.layers.base import Training, Weights


@layer("upsample")
class UpsampleLayer(Layer):
    """Upsampling by an integer factor: nearest neighbor or linear interpolation.

    Shapes: [C, *S] -> [C, *(factor S)] on one to three spatial axes; `bilinear` is linear on one
    axis and trilinear on three.
    Conventions: `bilinear` samples the input at (i + 1/2) / factor - 1/2, clamped to the outermost elements: PyTorch's
    align_corners=False, ONNX's half_pixel. `align on` samples at i (S - 1) / (factor S - 1), so that the corner
    elements coincide: PyTorch's align_corners=True.

    ```net
    input x 64x8x8
    upsample 2 bilinear
    ```
    """

    factor: int | tuple[int, ...] = positional(Sizes(), doc="upsampling factor")
    how: str = positional(Choice("nearest", "bilinear"), "nearest", doc="interpolation method")
    align: bool = keyword(Flag(), False, doc="align the corner elements, with `bilinear`")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        sizes = spatial(x)
        factors = each(self.factor, len(sizes), "factor")
        if self.align and self.how == "nearest":
            raise Misfit(problems.BadSampling, at="align", argument="align", mode="nearest")
        return (x[0], *(size * factor for size, factor in zip(sizes, factors, strict=True)))

    def body(self, x: Value, w: Weights) -> Value:
        factors = each(self.factor, len(x.shape) - 2, "factor")
        linear = self.how == "bilinear"
        return ops.resize(x, factors, linear=linear, corners=self.align)


@layer("resize")
class ResizeLayer(Layer):
    """Resizing to given sizes, or to those of another value: nearest neighbor, linear or cubic interpolation.

    Shapes: [C, *S] -> [C, *P] on one to three spatial axes, P being `sizes`, or the spatial sizes of `like`, which may
    be known only at run time; `bicubic` needs two axes. `bilinear` is linear on one axis and trilinear on three.
    Output i of an axis samples the input at x = (i + 1/2) S / P - 1/2; with `align_corners on`, at i (S - 1) / (P - 1);
    with `asymmetric on`, at i S / P. `bilinear` weighs the two neighbors of x, and `bicubic` four, by Keys' kernel with
    a = -0.75; beyond the border, its element continues. `nearest` takes element floor(i S / P), and `nearest_exact`
    element floor((i + 1/2) S / P).
    Conventions: those of PyTorch's interpolate without antialias, which ignores elements between the samples when it
    shrinks an image; `adaptive_avgpool` averages them. `nearest_exact` is Pillow's and TensorFlow 2's nearest neighbor;
    `asymmetric on` is TensorFlow 1's default. Indices of nearest neighbors are computed exactly, where PyTorch rounds
    to single precision, which differs for few sizes, such as 2 to 82.
    Source: Keys (1981); Long, Shelhamer & Darrell (2015) for networks.

    ```net
    input x 64x8x8
    resize 33x33 mode bilinear align_corners on
    ```
    """

    sizes: int | tuple[int, ...] | None = positional(Sizes(), None, doc="output size of each axis")
    like: str | None = keyword(Operand(), None, doc="label of a value whose spatial sizes are the output's")
    mode: str = keyword(
        Choice("nearest", "nearest_exact", "bilinear", "bicubic"), "nearest", doc="interpolation method"
    )
    align_corners: bool = keyword(Flag(), False, doc="align the corner elements, with `bilinear` and `bicubic`")
    asymmetric: bool = keyword(Flag(), False, doc="align the outer corner of the first element only")

    def shape(self, x: Shape, like: Shape | None = None) -> Shape:
        sizes = spatial(x)
        if self.mode == "bicubic" and len(sizes) != 2:
            raise Misfit(problems.WrongRank, at="mode", wanted="channels, height and width for `bicubic`")
        if self.align_corners and self.asymmetric:
            raise Misfit(problems.BadSampling, at="asymmetric", argument="asymmetric", mode="")
        for argument in ("align_corners", "asymmetric"):
            if getattr(self, argument) and self.mode.startswith("nearest"):
                raise Misfit(problems.BadSampling, at=argument, argument=argument, mode=self.mode)
        return (x[0], *target_sizes(x, "sizes", self.sizes, like))

    def body(self, x: Value, w: Weights, like: Value | None = None) -> Value:
        where = "align_corners" if self.align_corners else "asymmetric" if self.asymmetric else "half_pixel"
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(self.mode, self.mode)
        sizes = target_sizes(x.shape[1:], "sizes", self.sizes, like.shape[1:] if like else None)
        return ops.resize_to(x, sizes, mode=mode, where=where, like=like)


@layer("grid_sample")
class GridSampleLayer(Layer):
    """Bilinear samples at the positions of a grid, as in spatial transformers.

    Shapes: [C, H, W] and a grid [2, *P] -> [C, *P] on two axes P. The grid's first channel is the position along the
    width, the second along the height: from -1 at the outer corner of the first element to 1 at that of the last, or
    with `align_corners on` at their centers.
    Outside, values are 0, or with `padding border` those of the border.
    Conventions: PyTorch's grid_sample, whose grid has the two coordinates last: `permute [2, 0, 1]` it. The gradient
    flows to the input and to the grid.
    Source: Jaderberg et al. (2015), eq. 5.

    ```net
    input image 3x16x16
    grid_sample { conv 3x3 2; tanh }
    ```
    """

    operands = (1,)
    operand_usage = "GRID"
    operand_names = ("", "grid")
    flow_first = True
    padding: str = keyword(Choice("zeros", "border"), "zeros", doc="values outside the input")
    align_corners: bool = keyword(Flag(), False, doc="-1 and 1 are the centers of the corner elements")

    def shape(self, x: Shape, grid: Shape) -> Shape:
        if len(x) != 3:
            raise Misfit(problems.WrongRank, wanted="channels, height and width")
        if len(grid) != 3 or grid[0] != 2:
            raise Misfit(problems.BadGrid, grid=grid)
        return (x[0], *grid[1:])

    def body(self, x: Value, grid: Value, w: Weights) -> Value:
        x, grid = ops.spread(x, grid)
        return ops.grid_sample(x, ops.transpose(grid, (0, 2, 3, 1)), self.padding, self.align_corners)


@layer("roi_align")
class RoiAlignLayer(Layer):
    """Parts of a map in boxes, each resampled to the same size (RoIAlign).

    Shapes: [C, H, W] and R boxes [4, R] of each example -> [C, R, *size]. A box is left, top, right, bottom in the
    coordinates of the image, which `scale` converts to those of the map. It is divided into equal bins, and each bin is
    the mean of samples x samples bilinear samples at the centers of its equal parts. Coordinates up to 1 beyond the
    border read the border; those farther outside are 0.
    Conventions: element i of the map is at i + 1/2, as with PyTorch's roi_align(aligned=True) and ONNX's half_pixel.
    With `aligned off` it is at i, and boxes smaller than an element are enlarged to one, as in torchvision's
    detectors. PyTorch's boxes are [R, 4], and its result is [R, C, *size]: permute them. The number of samples is
    given, and does not adapt to the box. The gradient flows to the map and to the boxes.
    Source: He et al. (2017), section 3.

    ```net
    input boxes 4x100
    input image 3x224x224
    conv 16x16 64 stride 16 pad 0
    roi_align 7 scale 1/16 boxes
    permute [0, 2, 3, 1]; reshape [64*7*7, 100]; linear 256; relu
    ```
    """

    operands = (1,)
    operand_usage = "BOXES"
    operand_names = ("", "boxes")
    flow_first = True
    size: int | tuple[int, ...] = positional(Pair(), doc="height and width of each part")
    scale: float = keyword(Real(above=0), 1.0, doc="size of the map by that of the image")
    samples: int = keyword(Integer(1, 64), 2, doc="samples of a bin along each axis")
    aligned: bool = keyword(Flag(), True, doc="the elements are between the coordinates")

    def shape(self, x: Shape, boxes: Shape) -> Shape:
        if len(x) != 3:
            raise Misfit(problems.WrongRank, wanted="channels, height and width")
        if len(boxes) != 2 or boxes[0] != 4:
            raise Misfit(problems.BadBoxes, boxes=boxes)
        return (x[0], boxes[1], *height_width(self.size))

    def body(self, x: Value, boxes: Value, w: Weights) -> Value:
        return self._pooled(x, boxes, composed=False)

    def train(self, x: Value, boxes: Value, w: Weights, training: Training) -> Value:
        return self._pooled(x, boxes, composed=True)

    def _pooled(self, x: Value, boxes: Value, *, composed: bool) -> Value:
        x, boxes = ops.spread(x, boxes)
        bins = height_width(self.size)
        return ops.roi_align(x, boxes, bins, self.samples, self.scale, self.aligned, composed=composed)


@layer("pixel_shuffle")
class PixelShuffleLayer(Layer):
    """Channels rearranged into positions (sub-pixel convolution): y[c, r h + i, r w + j] = x[(c r + i) r + j, h, w].

    Shapes: [C r^d, *S] -> [C, *(r S)] on d = one to three spatial axes.
    Conventions: the channel order is PyTorch's (CRD in ONNX). `order dcr` is that of TensorFlow's depth_to_space:
    y[c, r h + i, r w + j] = x[(i r + j) C + c, h, w].
    Source: Shi et al. (2016), eq. 4.

    ```net
    input x 64x8x8
    pixel_shuffle 2
    ```
    """

    factor: int = positional(Integer(), doc="upsampling factor")
    order: str = keyword(Choice("crd", "dcr"), "crd", doc="order of the channels: PyTorch's or TensorFlow's")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        sizes = spatial(x)
        outputs = split_channels(x, self.factor ** len(sizes), "factor")
        return (outputs, *(size * self.factor for size in sizes))

    def body(self, x: Value, w: Weights) -> Value:
        rank = len(x.shape) - 2
        if self.order == "dcr":
            x = _regrouped(x, self.factor**rank)
        if rank == 2:
            return ops.depth_to_space(x, self.factor)
        for _ in range(rank):
            x = self._longer(x)
            if rank > 1:  # rotate the axes, so that each is the last once
                x = ops.transpose(x, (0, 1, rank + 1, *range(2, rank + 1)))
        return x

    def _longer(self, x: Value) -> Value:
        """Lengthen the last axis. Sizes that Reshape cannot infer must keep their positions."""
        outputs, sizes = split_channels(x.shape[1:], self.factor, "factor"), x.shape[2:]
        rank = len(sizes)
        x = ops.transpose(x, (0, *range(2, rank + 2), 1))
        x = ops.reshape(x, (*sizes, outputs, self.factor))
        x = ops.transpose(x, (0, rank + 1, *range(1, rank + 1), rank + 2))
        return ops.reshape(x, (outputs, *sizes[:-1], sizes[-1] * self.factor))


@layer("pixel_unshuffle")
class PixelUnshuffleLayer(Layer):
    """Positions rearranged into channels, as the inverse of `pixel_shuffle` does:
    y[(c r + i) r + j, h, w] = x[c, r h + i, r w + j].

    Shapes: [C, *S] -> [C r^d, *(S / r)] on d = one to three spatial axes, of sizes that r divides.
    Conventions: the channel order is PyTorch's. `order dcr` is that of space_to_depth in TensorFlow and ONNX:
    y[(i r + j) C + c, h, w] = x[c, r h + i, r w + j]. Darknet's [reorg] with stride 2 on CxHxW first reads the same
    numbers as another shape: `reshape [C/4, 2*H, 2*W]; pixel_unshuffle 2 order dcr; reshape [4*C, H/2, W/2]`.
    Source: Shi et al. (2016); Redmon & Farhadi (2017), passthrough layer.

    ```net
    input x 16x8x8
    pixel_unshuffle 2
    ```
    """

    factor: int = positional(Integer(), doc="downsampling factor")
    order: str = keyword(Choice("crd", "dcr"), "crd", doc="order of the channels: PyTorch's or TensorFlow's")

    def shape(self, *xs: Shape) -> Shape:
        (x,) = xs
        sizes = spatial(x)
        for axis, size in enumerate(sizes, 1):
            rest = size % self.factor
            if not isinstance(rest, int):
                raise Misfit(problems.NeedsNumber, at="factor")
            if rest:
                raise Misfit(problems.IndivisibleSize, at="factor", axis=axis, size=size, block=self.factor)
        return (channel_count(x) * self.factor ** len(sizes), *(size // self.factor for size in sizes))

    def body(self, x: Value, w: Weights) -> Value:
        rank = len(x.shape) - 2
        if rank == 2:
            x = ops.space_to_depth(x, self.factor)
        else:
            for axis in range(rank, 0, -1):  # next to the channels at the end, an axis is split by a Reshape alone
                order = (0, *(i for i in range(1, rank + 2) if i not in (1, axis + 1)), axis + 1, 1)
                back = (0, rank + 1, *(i + 1 for i in range(axis - 1)), rank, *(i for i in range(axis, rank)))
                x = ops.transpose(x, order)
                *kept, size, deep = x.shape[1:]
                x = ops.reshape(x, (*kept, size // self.factor, deep * self.factor))
                x = ops.transpose(x, back)
        return x if self.order == "dcr" else _regrouped(x, self.factor**rank)


def _regrouped(x: Value, groups: int) -> Value:
    """Exchange the two digits of the channel numbers: the first of each group, then the second of each, and so on."""
    channels = channel_count(x.shape[1:])
    each = channels // groups
    return ops.gather(x, [g * each + i for i in range(each) for g in range(groups)], axis=1)


@layer("channel_shuffle")
class ChannelShuffleLayer(Layer):
    """Channels interleaved across groups: the first channel of each group, then the second of each, and so on.

    Shapes: [C, *S] -> [C, *S].
    Source: Zhang et al. (2018), section 3.1.

    ```net
    input x 64x8x8
    channel_shuffle 4
    ```
    """

    groups: int = positional(Integer(), doc="number of groups that the channels are split into")

    def shape(self, *xs: Shape) -> Shape:
        split_channels(xs[0], self.groups, "groups")
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        return _regrouped(x, self.groups)
