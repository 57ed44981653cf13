"""Problems of single layers: arguments that each would do, but not together, or not on this input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.limits import SIZE
from netdsl.base.shape import Dim, Shape, text
from netdsl.diagnostics.problem import Help, Problem, problem
from netdsl.diagnostics.shape_problems import ShapeProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import Node


@problem("E0330", "channels that do not split evenly")
class Indivisible(ShapeProblem):
    """`groupnorm` and `channel_shuffle` split the channels into equal groups; `pixel_shuffle R` makes R to the number
    of spatial axes of them into one.

    ```net fail
    net bad { input x 64x8x8; groupnorm 5 }
    ```

    ```net mended
    net good { input x 64x8x8; groupnorm 4 }
    ```
    """

    parts: int
    channels: int

    def message(self) -> str:
        return f"`{self.layer}` splits the channels into {self.parts}, which does not divide {self.channels}"

    def helps(self) -> Iterable[Help]:
        fits = [n for n in range(self.parts - 1, 1, -1) if self.channels % n == 0] if self.parts < 10_000 else []
        if fits and self.layer != "pixel_shuffle":
            yield Help(f"{fits[0]} would do")


@problem("E0331", "nothing is left")
class NothingLeft(ShapeProblem):
    """What `crop` takes off an axis, and the padding that `deconv` takes off its result, must leave something.

    ```net fail
    net bad { input x 3x8x8; crop [4, 0, 4, 0] }
    ```

    ```net mended
    net good { input x 3x8x8; crop [2, 0, 2, 0] }
    ```
    """

    axis: int
    size: Dim
    taken: int

    def message(self) -> str:
        return f"`{self.layer}` takes {self.taken} off axis {self.axis}, which has {self.size}, and nothing is left"


@problem("E0332", "a slice beyond its axis")
class BadSlice(ShapeProblem):
    """`slice` takes what lies from `start` to before `stop`, which must exist. Places count from 0, negative ones from
    the end.

    ```net fail
    net bad { input x 64x8x8; slice 0 32 96 }
    ```

    ```net mended
    net good { input x 64x8x8; slice 0 32 64 }
    ```
    """

    axis: int
    start: int
    stop: int | None
    size: Dim

    def message(self) -> str:
        end = "the end" if self.stop is None else self.stop
        return f"there is nothing to take from {self.start} to {end}: axis {self.axis} has {self.size}"


@problem("E0333", "a reshape that gains or loses elements")
class ReshapeMismatch(ShapeProblem):
    """`reshape` orders the same elements under other sizes, so the products of the sizes must agree. One size may be
    `?`: it is what the others leave.

    ```net fail
    net bad { input x 64x8x8; reshape 64x65 }
    ```

    ```net mended
    net good { input x 64x8x8; reshape 64x64 }
    ```
    """

    wanted: Shape
    before: Dim
    after: Dim

    def message(self) -> str:
        here, there = text(self.inputs[0].shape), text(self.wanted)
        unknown = sum(str(size) == "?" for size in self.wanted)
        if unknown > 1:
            return f"one size of a `reshape` can be `?`, and {there} has {unknown}"
        if (
            isinstance(self.before, int)
            and isinstance(self.after, int)
            and all(isinstance(s, int) for s in self.wanted)
        ):
            return f"{here} has {self.before:,} elements, and {there} {self.after:,}"
        return f"{here} and {there} do not hold equally many elements"

    def helps(self) -> Iterable[Help]:
        known = [size for size in self.wanted if isinstance(size, int)]
        if len(known) == len(self.wanted) > 1:
            yield Help(f"write `[{', '.join(map(str, known[:-1]))}, ?]` for the last size to be worked out")


@problem("E0334", "an order that is not one of the axes")
class NotAnOrder(ShapeProblem):
    """`permute` names each axis once, in the new order. Axes count without the batch: 0 is the channels.

    ```net fail
    net bad { input x 3x8x8; permute [1, 1, 0] }
    ```

    ```net mended
    net good { input x 3x8x8; permute [1, 2, 0] }
    ```
    """

    order: tuple[int, ...]

    def message(self) -> str:
        shape = self.inputs[0].shape
        axes = ", ".join(map(str, range(len(shape))))
        return f"[{', '.join(map(str, self.order))}] is no order of the axes {axes} of {text(shape)}"


@problem("E0335", "whole numbers where others are wanted")
class WrongType(Problem):
    """Layers compute with floats. An input of dtype `i64` holds whole numbers, such as words; `embedding` makes vectors
    of them, and alone takes them. Layers that only move values, such as `slice`, take both.

    ```net fail
    net bad { input words 20 dtype i64; dense 10 }
    ```

    ```net mended
    net good { input words 20 dtype i64; embedding 5000 16; dense 10 }
    ```
    """

    layer: str
    inputs: tuple[Node, ...]
    wanted: str

    def message(self) -> str:
        kinds = ["floats", "whole numbers (`i64`)"]
        wanted, held = kinds if self.wanted == "f32" else kinds[::-1]
        return f"`{self.layer}` takes {wanted}, and these are {held}"

    def helps(self) -> Iterable[Help]:
        if self.wanted == "f32":
            yield Help("make vectors of them with `embedding VOCABULARY D` first")
        else:
            yield Help("give the input `dtype i64`")


@problem("E0336", "limits in the wrong order")
class WrongOrder(ShapeProblem):
    """`clip` wants the lower limit first.

    ```net fail
    net bad { input x 784; clip 6 0 }
    ```

    ```net mended
    net good { input x 784; clip 0 6 }
    ```
    """

    low: float
    high: float

    def message(self) -> str:
        return f"the lower limit {self.low:g} is above the upper one {self.high:g}"


@problem("E0337", "an output padding that does not fit")
class BadOutputPad(ShapeProblem):
    """`output_pad` chooses among the sizes that one stride could have come from, so it is smaller than the stride, or
    than the dilation where that is larger. With `pad same` it follows from the sizes, and is not given.

    ```net fail
    net bad { input x 64x8x8; deconv 4x4 32 stride 2 pad 1 output_pad 2 }
    ```

    ```net mended
    net good { input x 64x8x8; deconv 4x4 32 stride 2 pad 1 output_pad 1 }
    ```
    """

    given: int
    limit: int | None

    def message(self) -> str:
        if self.limit is None:
            return "`output_pad` cannot be given here: the size follows from `pad`"
        return f"`output_pad` {self.given} must be smaller than {self.limit}, the larger of stride and dilation"

    def helps(self) -> Iterable[Help]:
        if self.limit is None:
            yield Help("leave it out, or give the padding as numbers")


@problem("E0338", "a size beyond all bounds")
class TooLong(ShapeProblem):
    """An axis has at most 2,147,483,647 places; no network comes near.

    ```net fail
    net bad { input x 1x8; upsample 1000000; upsample 1000000 }
    ```

    ```net mended
    net good { input x 1x8; upsample 2; upsample 2 }
    ```
    """

    size: int

    def message(self) -> str:
        return f"`{self.layer}` makes an axis of {self.size:,}, more than the limit of {SIZE:,}"


@problem("E0426", "a picture that cannot become the input")
class PictureMisfit(ShapeProblem):
    """`resize` and `crop` say how a picture becomes an input [channels, height, width]: the shorter side is resized,
    then a square is cut from the centre. The square must not be larger than the shorter side, and must have the
    input's height and width.

    ```net fail
    net bad { input image 3x224x224 resize 200 crop 224; conv 3x3 8 }
    ```

    ```net mended
    net good { input image 3x224x224 resize 256 crop 224; conv 3x3 8 }
    ```
    """

    what: str

    def message(self) -> str:
        return self.what
