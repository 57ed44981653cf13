"""Problems of windows: kernels, paddings and groups that do not fit their input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, text
from netdsl.diagnostics.problem import Help, problem
from netdsl.diagnostics.shape_problems import ShapeProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

STAGES = 8
"""Maximum number of sizes shown on the way to one that is too small."""


@problem("E0303", "a window larger than its input")
class WindowTooLarge(ShapeProblem):
    """The window, with its dilation, must fit into the input with its padding at least once.

    ```net fail
    net bad { input x 3x5x5; conv 7x7 10 pad 0 }
    ```

    ```net mended
    net good { input x 3x5x5; conv 5x5 10 pad 0 }
    ```
    """

    window: Shape
    padded: Shape

    def message(self) -> str:
        return (
            f"the window {text(self.window)} of this `{self.layer}` is larger than its padded input {text(self.padded)}"
        )

    def label(self) -> str:
        return f"larger than {text(self.padded)}"

    def notes(self) -> Iterable[str]:
        sizes = [self.inputs[0].shape[1:]]
        node = self.inputs[0]
        while node.inputs:
            node = node.inputs[0]
            if node.shape[1:] != sizes[-1]:
                sizes.append(node.shape[1:])
        if len(sizes) > 1:
            shown = [text(size) for size in reversed(sizes[:STAGES]) if size]
            yield f"its input has become smaller on the way: {'… → ' * (len(sizes) > STAGES)}{' → '.join(shown)}"

    def helps(self) -> Iterable[Help]:
        if not self.mended:
            yield Help("pad the input, take a smaller window, or leave out a stride before it")

    def repairs(self) -> Iterable[Help]:
        from netdsl.diagnostics.solve import channels_first, kernels, larger_inputs

        if self.head is None:
            return
        if swapped := channels_first(self.inputs[0]):
            yield swapped
            return
        if self.layer.endswith("conv"):
            odd = all(isinstance(k, int) and k % 2 for k in self.window)
            yield Help("pad the input", self.keyword("pad", "same" if odd else "same_upper"))
        yield from kernels(self.arguments, self.padded)
        yield from larger_inputs(self.inputs[0])


@problem("E0304", "groups that do not divide the channels")
class GroupsDoNotDivide(ShapeProblem):
    """A grouped convolution splits its input's and its output's channels into equal groups.

    ```net fail
    net bad { input x 64x56x56; conv 3x3 128 groups 3 }
    ```

    ```net mended
    net good { input x 64x56x56; conv 3x3 128 groups 4 }
    ```
    """

    groups: int
    before: int
    after: int

    def message(self) -> str:
        odd = [f"{n} {what}" for n, what in ((self.before, "input"), (self.after, "output")) if n % self.groups]
        return f"{self.groups} groups do not divide {' and '.join(odd)} channels"

    def helps(self) -> Iterable[Help]:
        from math import gcd

        common = gcd(self.before, self.after)
        fits = [n for n in range(2, min(common, 1024) + 1) if common % n == 0][-8:]
        if fits:
            yield Help(f"groups that fit: {', '.join(map(str, fits))}")

    def repairs(self) -> Iterable[Help]:
        from math import gcd

        common = gcd(self.before, self.after)
        nearest = sorted((n for n in range(2, common + 1) if common % n == 0), key=lambda n: abs(n - self.groups))
        if self.head is not None and common < 2**16:
            yield from (Help(f"make {n} groups", self.keyword("groups", str(n))) for n in nearest[:1])


@problem("E0305", "an input of the wrong rank")
class WrongRank(ShapeProblem):
    """A layer with a window needs channels and one to three spatial axes: `CxL`, `CxHxW` or `CxDxHxW`.

    ```net fail
    net bad { input x 784; conv 3x3 10 }
    ```

    ```net mended
    net good { input x 1x28x28; conv 3x3 10 }
    ```
    """

    wanted: str

    def message(self) -> str:
        return f"`{self.layer}` needs {self.wanted}, but its input is {text(self.inputs[0].shape)}"

    def label(self) -> str:
        axes = len(self.inputs[0].shape) - 1
        return f"its input has {axes or 'no'} spatial {'axis' if axes == 1 else 'axes'}"

    def helps(self) -> Iterable[Help]:
        if self.inputs[0].layer.kind == "input":
            yield Help("an image is written channels first, `1x28x28`, and a sequence `64x100`")


@problem("E0306", "padding as large as the window")
class PadTooLarge(ShapeProblem):
    """A pooling window that lies in the padding alone has nothing to pool, so the padding is smaller than the window.

    ```net fail
    net bad { input x 3x8x8; maxpool 2x2 pad 2 }
    ```

    ```net mended
    net good { input x 3x8x8; maxpool 2x2 pad 1 }
    ```
    """

    pad: int
    window: int

    def message(self) -> str:
        return f"a padding of {self.pad} must be smaller than the window of {self.window}"

    def label(self) -> str:
        return f"at most {self.window - 1}"

    def repairs(self) -> Iterable[Help]:
        if self.head is not None:
            half = (self.window - 1) // 2
            yield Help("pad by half the window", self.keyword("pad", str(half)))


@problem("E0312", "`pad same` of an even window")
class EvenSame(ShapeProblem):
    """`pad same` pads `dilation*(k-1)/2` on every side, as the papers do, and that needs an odd kernel.

    ```net fail
    net bad { input x 3x8x8; conv 2x2 10 }
    ```

    ```net mended
    net good { input x 3x8x8; conv 2x2 10 pad same_upper }
    ```
    """

    kernel: Shape

    def message(self) -> str:
        return f"`pad same` needs an odd kernel, and this one is {text(self.kernel)}"

    def label(self) -> str:
        return "no padding is the same on both sides"

    def helps(self) -> Iterable[Help]:
        yield Help("write `pad same_upper`, as TensorFlow pads, `pad valid`, or the padding of every side")

    def repairs(self) -> Iterable[Help]:
        if self.head is not None:
            yield Help("pad as TensorFlow does", self.keyword("pad", "same_upper"))


@problem("E0313", "a list of the wrong length")
class WrongLength(ShapeProblem):
    """A list has an entry for each spatial axis; explicit pads have two, all befores, then all afters.

    ```net fail
    net bad { input x 3x8x8; conv 3x3x3 10 }
    ```

    ```net mended
    net good { input x 3x8x8; conv 3x3 10 }
    ```
    """

    argument: str
    given: int
    wanted: int

    def message(self) -> str:
        return (
            f"`{self.argument}` of this `{self.layer}` has {self.given} "
            f"entr{'y' if self.given == 1 else 'ies'}, but its input {text(self.inputs[0].shape)} wants {self.wanted}"
        )

    def label(self) -> str:
        if self.argument == "pad":
            return "one for each side: all befores, then all afters"
        return "one for each channel" if self.argument in ("mean", "std") else "one for each spatial axis"

    def helps(self) -> Iterable[Help]:
        shape = self.inputs[0].shape
        if self.argument == "kernel" and self.given == len(shape) and shape[0] not in (1, 3):
            yield Help(f"a shape begins with the channels: with one channel this is 1x{text(shape)}")
