"""Problems of windows: kernels, paddings and groups that do not fit their input."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.diagnostics.problem import Edit, Suggestion, problem
from netdsl.diagnostics.shape_problems import ShapeProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_STAGES_SHOWN = 8
"""Maximum number of sizes shown on the way to one that is too small."""


@problem("E0303", "a window larger than its input")
class WindowTooLarge(ShapeProblem):
    """The window, with its dilation, must fit into the padded input at least once.

    ```net fail
    net bad { input x 3x5x5; conv 7x7 10 pad 0 }
    ```

    ```net fixed
    net good { input x 3x5x5; conv 5x5 10 pad 0 }
    ```
    """

    window: Shape
    padded: Shape

    headline = "the window {window} of `{layer}` is larger than its padded input {padded}"
    caption = "larger than {padded}"

    def notes(self) -> Iterable[str]:
        sizes = [self.inputs[0].shape[1:]]
        node = self.inputs[0]
        while node.inputs:
            node = node.inputs[0]
            if node.shape[1:] != sizes[-1]:
                sizes.append(node.shape[1:])
        if len(sizes) > 1:
            shown = [format_shape(size) for size in reversed(sizes[:MAX_STAGES_SHOWN]) if size]
            yield f"its input shrinks on the way: {'… → ' * (len(sizes) > MAX_STAGES_SHOWN)}{' → '.join(shown)}"

    def suggestions(self) -> Iterable[Suggestion]:
        if not self.verified_fixes:
            yield Suggestion("pad the input, use a smaller window, or remove an earlier stride")

    def candidate_fixes(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.solve import channels_first, kernels, larger_inputs

        if self.head is None:
            return
        if swapped := channels_first(self.inputs[0]):
            yield swapped
            return
        if self.layer.endswith("conv"):
            odd = all(isinstance(k, int) and k % 2 for k in self.window)
            yield Suggestion("pad the input", self.keyword("pad", "same" if odd else "same_upper"))
        yield from kernels(self.arguments, self.padded)
        yield from larger_inputs(self.inputs[0])


@problem("E0304", "groups that do not divide the channels")
class GroupsDoNotDivide(ShapeProblem):
    """A grouped convolution splits its input channels and its output channels into groups of equal size.

    ```net fail
    net bad { input x 64x56x56; conv 3x3 128 groups 3 }
    ```

    ```net fixed
    net good { input x 64x56x56; conv 3x3 128 groups 4 }
    ```
    """

    groups: int
    before: int
    after: int

    def message(self) -> str:
        odd = [f"{n} {what}" for n, what in ((self.before, "input"), (self.after, "output")) if n % self.groups]
        return f"{self.groups} groups do not divide {' and '.join(odd)} channels"

    def suggestions(self) -> Iterable[Suggestion]:
        common = gcd(self.before, self.after)
        fits = [n for n in range(2, min(common, 1024) + 1) if common % n == 0][-8:]
        if fits:
            yield Suggestion(f"possible numbers of groups: {', '.join(map(str, fits))}")

    def candidate_fixes(self) -> Iterable[Suggestion]:
        common = gcd(self.before, self.after)
        nearest = sorted((n for n in range(2, common + 1) if common % n == 0), key=lambda n: abs(n - self.groups))
        if self.head is not None and common < 2**16:
            yield from (Suggestion(f"use {n} groups", self.keyword("groups", str(n))) for n in nearest[:1])


@problem("E0305", "an input of the wrong rank")
class WrongRank(ShapeProblem):
    """A layer with a window needs channels and one to three spatial axes: `CxL`, `CxHxW` or `CxDxHxW`.

    ```net fail
    net bad { input x 784; conv 3x3 10 }
    ```

    ```net fixed
    net good { input x 1x28x28; conv 3x3 10 }
    ```
    """

    wanted: str

    headline = "`{layer}` needs {wanted}, but its input is {inputs[0].shape}"

    def label(self) -> str:
        axes = len(self.inputs[0].shape) - 1
        return f"its input has {axes or 'no'} spatial {'axis' if axes == 1 else 'axes'}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.inputs[0].layer.kind == "input":
            yield Suggestion("channels come first: an image is `1x28x28`, a sequence is `64x100`")


@problem("E0306", "padding as large as the window")
class PadTooLarge(ShapeProblem):
    """Padding must be smaller than a pooling window, since a window that covers only padding has nothing to pool.

    ```net fail
    net bad { input x 3x8x8; maxpool 2x2 pad 2 }
    ```

    ```net fixed
    net good { input x 3x8x8; maxpool 2x2 pad 1 }
    ```
    """

    pad: int
    window: int

    headline = "a padding of {pad} must be smaller than the window of {window}"

    def label(self) -> str:
        return f"at most {self.window - 1}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is not None:
            yield Suggestion("pad by half the window", self.keyword("pad", str((self.window - 1) // 2)))


@problem("E0350", "padding that repeats more elements than there are")
class BeyondMirror(ShapeProblem):
    """`reflect` repeats the elements next to the border without the border itself, so it pads with at most one element
    less than the axis has; `wrap` pads with at most as many. `edge` repeats only the border, and fits everywhere.

    ```net fail
    net bad { input x 3x2x2; pad 2 mode reflect }
    ```

    ```net fixed
    net good { input x 3x2x2; pad 2 mode edge }
    ```
    """

    mode: str
    pad: int
    axis: int
    size: int

    headline = "`{mode}` cannot pad axis {axis} of size {size} with {pad} elements"

    def label(self) -> str:
        return f"at most {self.size - (self.mode == 'reflect')}"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is not None:
            given = "pad_mode" if self.layer.endswith("conv") else "mode"
            yield Suggestion("repeat the border", self.keyword(given, "edge"))


@problem("E0356", "no size, or two")
class OneTarget(ShapeProblem):
    """`resize` takes sizes, or with `like` the label of a value that has them. `crop` takes what it removes from the
    sides, or the size that is left: `crop to 24x24` or `crop like LABEL`.

    ```net fail
    net bad { input x 64x8x8; resize mode bilinear }
    ```

    ```net fixed
    net good { input x 64x8x8; resize 16x16 mode bilinear }
    ```
    """

    argument: str
    both: bool

    def message(self) -> str:
        either = f"`{self.argument}`, or `like` and a label"
        return f"`{self.layer}` takes {either}, {'but not both' if self.both else 'and has none of them'}"


@problem("E0357", "a size taken from a value with other axes")
class OtherRank(ShapeProblem):
    """`like LABEL` takes the spatial sizes of a value, which has as many axes as the one that is resized or cropped.

    ```net fail
    net bad { input x 64x8x8; flat: flatten; from x; resize like flat }
    ```

    ```net fixed
    net good { input x 64x8x8; small: maxpool 2; from x; resize like small }
    ```
    """

    like: Shape

    headline = "`like` is {like}, which has other axes than the input {inputs[0].shape}"


@problem("E0358", "a crop outside its input")
class CropOutside(ShapeProblem):
    """`crop to SIZES` and `crop like LABEL` keep a part of each axis, which must lie within it: offset + size is at
    most the size of the input.

    ```net fail
    net bad { input x 64x8x8; crop to 9x9 }
    ```

    ```net fixed
    net good { input x 64x8x8; crop to 6x6 }
    ```
    """

    axis: int
    size: Dim
    wanted: Dim
    offset: int | None

    def message(self) -> str:
        behind = f" behind offset {self.offset}" if self.offset else ""
        return f"`{self.layer}` keeps {self.wanted} elements{behind} of axis {self.axis}, which has {self.size}"


@problem("E0427", "unpooling with overlapping windows")
class WindowsOverlap(ShapeProblem):
    """`unpool` puts each element where its window had the maximum. Overlapping windows can share it, and only one of
    their elements would be left, so the stride is at least the window.

    ```net fail
    net bad { input x 3x9x9; maxpool 3 stride 2; unpool 3 stride 2 x }
    ```

    ```net fixed
    net good { input x 3x9x9; maxpool 3; unpool 3 x }
    ```
    """

    stride: int
    window: int

    headline = "`{layer}` needs windows that do not overlap, but the stride {stride} is less than the window {window}"


@problem("E0428", "unpooling something else than a pool's result")
class NotPooled(ShapeProblem):
    """The operand of `unpool` is the value that the max pool reads. With the same arguments, its pool has the shape of
    what is unpooled.

    ```net fail
    net bad { input x 3x8x8; maxpool 2x2; conv 3x3 8; unpool 2x2 x }
    ```

    ```net fixed
    net good { input x 3x8x8; maxpool 2x2; conv 3x3 3; unpool 2x2 x }
    ```
    """

    wanted: Shape

    headline = "this max pool of {inputs[1].shape} has the shape {wanted}, but {inputs[0].shape} is unpooled"


@problem("E0312", "`pad same` with an even window")
class EvenSame(ShapeProblem):
    """`pad same` adds `dilation*(k-1)/2` on every side, as papers do, and this requires an odd kernel.

    ```net fail
    net bad { input x 3x8x8; conv 2x2 10 }
    ```

    ```net fixed
    net good { input x 3x8x8; conv 2x2 10 pad same_upper }
    ```
    """

    kernel: Shape

    headline = "`pad same` needs an odd kernel, but this is {kernel}"
    caption = "equal padding on both sides is not possible"
    hint = "write `pad same_upper`, which pads like TensorFlow, `pad valid`, or the padding of every side"

    @property
    def _in_order(self) -> tuple[Edit, ...]:
        """The edits that put the kernel before the channels; none if these are not two numbers in the wrong order."""
        given = {argument.name: argument.value_span for argument in self.arguments}
        kernel, channels = given.get("kernel"), given.get("channels")
        if not (kernel and channels and kernel.text.isdecimal() and channels.text.isdecimal()):
            return ()
        swapped = Edit(kernel, channels.text), Edit(channels, kernel.text)
        return swapped if int(kernel.text) > int(channels.text) else ()

    @property
    def _is_larger_than_input(self) -> bool:
        sizes = zip(self.kernel, self.inputs[0].shape[1:], strict=False)
        return any(isinstance(k, int) and isinstance(size, int) and k > size for k, size in sizes)

    def suggestions(self) -> Iterable[Suggestion]:
        if self._in_order:
            yield Suggestion("the kernel comes before the channels", *self._in_order)
        elif self._is_larger_than_input and self.layer == "conv":
            yield Suggestion(f"the kernel comes before the channels, as in `conv 3x3 {self.kernel[0]}`")
        else:
            yield from super().suggestions()

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self.head is not None and not self._in_order and not self._is_larger_than_input:
            yield Suggestion("pad like TensorFlow", self.keyword("pad", "same_upper"))


@problem("E0313", "a list of the wrong length")
class WrongLength(ShapeProblem):
    """A list has one entry per spatial axis. Explicit padding has two per axis: all begins, then all ends.

    ```net fail
    net bad { input x 3x8x8; conv 3x3x3 10 }
    ```

    ```net fixed
    net good { input x 3x8x8; conv 3x3 10 }
    ```
    """

    argument: str
    given: int
    wanted: int

    def message(self) -> str:
        entries = f"{self.given} entr{'y' if self.given == 1 else 'ies'}"
        needed = f"its input {format_shape(self.inputs[0].shape)} needs {self.wanted}"
        return f"`{self.argument}` of `{self.layer}` has {entries}, but {needed}"

    def label(self) -> str:
        if self.argument == "pad":
            return "one per side: all begins, then all ends"
        return "one per channel" if self.argument in ("mean", "std") else "one per spatial axis"

    def suggestions(self) -> Iterable[Suggestion]:
        shape = self.inputs[0].shape
        if self.argument == "kernel" and self.given == len(shape) and shape[0] not in (1, 3):
            yield Suggestion(f"shapes begin with the channels: with one channel this is 1x{format_shape(shape)}")
