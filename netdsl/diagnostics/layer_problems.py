"""Problems of single layers: arguments that do not fit each other or the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import SIZE
from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.edits import after
from netdsl.diagnostics.problem import Edit, Problem, Suggestion, problem
from netdsl.diagnostics.shape_problems import ShapeProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import Node


@problem("E0330", "channels that cannot be split evenly")
class Indivisible(ShapeProblem):
    """`groupnorm` and `channel_shuffle` split the channels into equal groups. `pixel_shuffle R` combines R x R channels
    into one if there are two spatial axes.

    ```net fail
    net bad { input x 64x8x8; groupnorm 5 }
    ```

    ```net fixed
    net good { input x 64x8x8; groupnorm 4 }
    ```
    """

    parts: int
    channels: int

    headline = "`{layer}` splits the channels into {parts}, which does not divide {channels}"

    def suggestions(self) -> Iterable[Suggestion]:
        fits = [n for n in range(self.parts - 1, 1, -1) if self.channels % n == 0] if self.parts < 10_000 else []
        if fits and self.layer != "pixel_shuffle":
            yield Suggestion(f"{fits[0]} divides the channels")


@problem("E0331", "an empty result")
class NothingLeft(ShapeProblem):
    """`crop`, and the padding of `deconv`, must not remove a whole axis.

    ```net fail
    net bad { input x 3x8x8; crop [4, 0, 4, 0] }
    ```

    ```net fixed
    net good { input x 3x8x8; crop [2, 0, 2, 0] }
    ```
    """

    axis: int
    size: Dim
    taken: int

    headline = "`{layer}` removes {taken} from axis {axis} of size {size}, and nothing is left"


@problem("E0332", "a slice outside its axis")
class BadSlice(ShapeProblem):
    """`slice` takes the elements from `start` up to, but not including, `stop`. They must exist. Indices count from 0,
    and negative ones from the end.

    ```net fail
    net bad { input x 64x8x8; slice 0 32 96 }
    ```

    ```net fixed
    net good { input x 64x8x8; slice 0 32 64 }
    ```
    """

    axis: int
    start: int
    stop: int | None
    size: Dim

    def message(self) -> str:
        end = "the end" if self.stop is None else self.stop
        return f"cannot slice from {self.start} to {end}: axis {self.axis} has size {self.size}"


@problem("E0333", "a reshape that changes the number of elements")
class ReshapeMismatch(ShapeProblem):
    """`reshape` keeps all elements, so the products of the sizes must be equal. One size can be `?`, and is computed
    from the others.

    ```net fail
    net bad { input x 64x8x8; reshape 64x65 }
    ```

    ```net fixed
    net good { input x 64x8x8; reshape 64x64 }
    ```
    """

    wanted: Shape
    before: Dim
    after: Dim

    def message(self) -> str:
        here, there = format_shape(self.inputs[0].shape), format_shape(self.wanted)
        unknown = sum(str(size) == "?" for size in self.wanted)
        if unknown > 1:
            return f"only one size of a `reshape` can be `?`, but {there} has {unknown}"
        if all(isinstance(size, int) for size in (self.before, self.after, *self.wanted)):
            return f"{here} has {self.before:,} elements, but {there} has {self.after:,}"
        return f"{here} and {there} have different numbers of elements"

    def suggestions(self) -> Iterable[Suggestion]:
        known = [size for size in self.wanted if isinstance(size, int)]
        if len(known) == len(self.wanted) > 1:
            yield Suggestion(f"write `[{', '.join(map(str, known[:-1]))}, ?]` to compute the last size")


@problem("E0334", "an order that is not a permutation of the axes")
class NotAnOrder(ShapeProblem):
    """`permute` lists each axis once, in the new order. Axis 0 is the channels; the batch is not an axis.

    ```net fail
    net bad { input x 3x8x8; permute [1, 1, 0] }
    ```

    ```net fixed
    net good { input x 3x8x8; permute [1, 2, 0] }
    ```
    """

    order: tuple[int, ...]

    def message(self) -> str:
        shape = self.inputs[0].shape
        axes = ", ".join(map(str, range(len(shape))))
        return f"[{', '.join(map(str, self.order))}] is not a permutation of the axes {axes} of {format_shape(shape)}"


@problem("E0335", "integers in place of floats, or floats in place of integers")
class WrongType(Problem):
    """Layers compute with floats. An input with `dtype i64` holds integers, such as word indices; only `embedding` and
    layers that move values without computing, such as `slice`, take these.

    ```net fail
    net bad { input words 20 dtype i64; dense 10 }
    ```

    ```net fixed
    net good { input words 20 dtype i64; embedding 5000 16; linear 10 }
    ```
    """

    layer: str
    inputs: tuple[Node, ...]
    wanted: str
    keyword: str = ""
    """The keyword whose value has the wrong type; empty for the input."""

    def message(self) -> str:
        kinds = ["floats", "integers (`i64`)"]
        wanted, held = kinds if self.wanted == "f32" else kinds[::-1]
        if self.keyword:
            return f"`{self.keyword}` of `{self.layer}` takes {wanted}, but its value has {held}"
        return f"`{self.layer}` takes {wanted}, but its input is {held}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.keyword == "mask":
            yield Suggestion("numbers to be added to the scores are a `bias`")
        if self.keyword:
            if self.wanted == "i64":
                yield Suggestion("integers come from an input with `dtype i64`")
        elif self.wanted == "f32":
            yield Suggestion("convert them to vectors with `embedding VOCABULARY D` first")
        else:
            yield Suggestion("add `dtype i64` to the input")


@problem("E0336", "limits in the wrong order")
class WrongOrder(ShapeProblem):
    """`clip` takes the lower limit first.

    ```net fail
    net bad { input x 784; clip 6 0 }
    ```

    ```net fixed
    net good { input x 784; clip 0 6 }
    ```
    """

    low: float
    high: float

    headline = "the lower limit {low:g} is greater than the upper limit {high:g}"


@problem("E0337", "an invalid output padding")
class BadOutputPad(ShapeProblem):
    """`output_pad` chooses among the input sizes that a strided convolution maps to the same output size, so it is
    smaller than the stride or the dilation. With `pad same`, the output size is known and `output_pad` is not allowed.

    ```net fail
    net bad { input x 64x8x8; deconv 4x4 32 stride 2 pad 1 output_pad 2 }
    ```

    ```net fixed
    net good { input x 64x8x8; deconv 4x4 32 stride 2 pad 1 output_pad 1 }
    ```
    """

    given: int
    limit: int | None

    def message(self) -> str:
        if self.limit is None:
            return "`output_pad` is not allowed here: `pad` determines the output size"
        return f"`output_pad` {self.given} must be less than {self.limit}, the maximum of stride and dilation"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.limit is None:
            yield Suggestion("remove it, or give the padding as numbers")


@problem("E0338", "a size that is too large")
class TooLong(ShapeProblem):
    """An axis has at most 2,147,483,647 elements, far more than in any network.

    ```net fail
    net bad { input x 1x8; upsample 1000000; upsample 1000000 }
    ```

    ```net fixed
    net good { input x 1x8; upsample 2; upsample 2 }
    ```
    """

    size: int

    def message(self) -> str:
        return f"`{self.layer}` creates an axis of size {self.size:,}, more than the limit of {SIZE:,}"


@problem("E0351", "a padding value that has no effect")
class ValueUnused(ShapeProblem):
    """`pad` takes its values from the input with `mode reflect`, `edge` and `wrap`. Only `mode constant`, the default,
    has a `value`.

    ```net fail
    net bad { input x 3x8x8; pad 1 mode edge value 2 }
    ```

    ```net fixed
    net good { input x 3x8x8; pad 1 value 2 }
    ```
    """

    mode: str
    value: float

    headline = "`value {value:g}` has no effect with `mode {mode}`"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is not None:
            yield Suggestion("pad with the constant", self.keyword("mode", "constant"))


@problem("E0352", "sampling positions that do not apply")
class BadSampling(ShapeProblem):
    """`align_corners` and `asymmetric` of `resize`, and `align` of `upsample`, choose the positions at which `bilinear`
    and `bicubic` interpolate: one of them, or none for the centers of the elements. The nearest neighbor has positions
    of its own.

    ```net fail
    net bad { input x 64x8x8; resize 33x33 align_corners on }
    ```

    ```net fixed
    net good { input x 64x8x8; resize 33x33 mode bilinear align_corners on }
    ```
    """

    argument: str
    mode: str

    def message(self) -> str:
        given = f"mode {self.mode}" if self.layer == "resize" else self.mode
        other = f"`{given}`" if self.mode else "`align_corners on`"
        return f"`{self.argument} on` does not apply with {other}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is None:
            return
        if self.mode and self.layer == "resize":
            yield Suggestion("interpolate", self.keyword("mode", "bilinear"))
        elif self.mode:
            factor, *rest = [each.value_span for each in self.arguments if each.name in ("factor", "how")]
            edit = Edit(rest[0], "bilinear") if rest else after(factor, " bilinear")
            yield Suggestion("interpolate", edit)
        yield Suggestion(f"turn `{self.argument}` off", self.keyword(self.argument, "off"))


@problem("E0353", "a size that cannot be split evenly")
class IndivisibleSize(ShapeProblem):
    """`pixel_unshuffle R` moves blocks of R positions per axis into the channels, so R divides every size.

    ```net fail
    net bad { input x 3x9x8; pixel_unshuffle 2 }
    ```

    ```net fixed
    net good { input x 3x10x8; pixel_unshuffle 2 }
    ```
    """

    axis: int
    size: int
    block: int

    headline = "`{layer}` splits axis {axis} into blocks of {block}, which does not divide {size}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.edits import before

        if self.head is not None and len(self.inputs[0].shape) == 3:
            rest = [-size % self.block if isinstance(size, int) else 0 for size in self.inputs[0].shape[1:]]
            yield Suggestion("pad with zeros to multiples", before(self.head, f"pad [0, 0, {rest[0]}, {rest[1]}]; "))


@problem("E0354", "more elements selected than there are")
class TooFew(ShapeProblem):
    """`top_k K` selects K elements along an axis, the channels by default, so the axis has at least K.

    ```net fail
    net bad { input x 3x30; top_k 4 }
    ```

    ```net fixed
    net good { input x 3x30; top_k 4 (-1) }
    ```
    """

    k: int
    axis: int
    size: int

    headline = "`{layer}` selects {k} elements along axis {axis}, which has only {size}"

    def label(self) -> str:
        return f"at most {self.size}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is not None and not any(argument.name == "axis" for argument in self.arguments):
            end = self.arguments[0].value_span.end
            yield Suggestion("select along the last axis", Edit(Span(self.head.source, end, end), " (-1)"))


@problem("E0359", "a grid that is not one of positions")
class BadGrid(ShapeProblem):
    """The grid of `grid_sample` has two channels, the positions along the width and the height, and two more axes,
    which are those of the result.

    ```net fail
    net bad { input x 3x8x8; grid_sample { conv 3x3 3 } }
    ```

    ```net fixed
    net good { input x 3x8x8; grid_sample { conv 3x3 2 } }
    ```
    """

    grid: Shape

    headline = "the grid of `{layer}` is {grid}, and not 2 channels on two axes"


@problem("E0372", "boxes that are not four coordinates each")
class BadBoxes(ShapeProblem):
    """The boxes of `roi_align` are [4, R]: the left, top, right and bottom of each of R boxes of an example. PyTorch's
    boxes are [R, 4]: `permute [1, 0]` converts them.

    ```net fail
    net bad { input boxes 10x4; input x 3x8x8; roi_align 7 boxes }
    ```

    ```net fixed
    net good { input boxes 4x10; input x 3x8x8; roi_align 7 boxes }
    ```
    """

    boxes: Shape

    headline = "the boxes of `{layer}` are {boxes}, and not the 4 coordinates of each"
    hint = "boxes are [4, R], left, top, right and bottom; `permute [1, 0]` converts PyTorch's [R, 4]"


@problem("E0426", "image preprocessing that does not fit the input")
class PictureMisfit(ShapeProblem):
    """`resize`, `letterbox` and `crop` define how an image becomes an input [channels, height, width]: it is resized,
    then its center is cropped. The crop must not be larger than the resized image, and the result must match the height
    and width of the input. `letterbox` requires a height and a width: `resize 416x416 letterbox 128`. `mean` and `std`
    need one number, or one per channel, and an input of floating-point numbers.

    ```net fail
    net bad { input image 3x224x224 resize 200 crop 224; conv 3x3 8 }
    ```

    ```net fixed
    net good { input image 3x224x224 resize 256 crop 224; conv 3x3 8 }
    ```
    """

    what: str

    headline = "{what}"


@problem("E0380", "an initializer for another kind of weight")
class InitMisfit(ShapeProblem):
    """`sinusoid` fills a table [positions, channels] with the sines and cosines of positions, and `bilinear` a kernel
    with the coefficients of linear interpolation, from each channel to itself: as many output channels as input
    channels, or as many groups.

    ```net fail
    net bad { input x 21x8x8; deconv 4x4 10 stride 2 init bilinear }
    ```

    ```net fixed
    net good { input x 21x8x8; deconv 4x4 21 stride 2 init bilinear }
    ```
    """

    init: str
    wanted: str
    weight: str
    sizes: Shape

    headline = "`{init}` fills {wanted}, but `{weight}` of this `{layer}` is {sizes}"
    hint = "use another initializer, such as `he_normal`"
