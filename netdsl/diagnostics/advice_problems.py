"""Warnings about nets: what is right by the language, and yet hardly what was meant."""

from __future__ import annotations

from math import e
from typing import TYPE_CHECKING

from netdsl.base.shape import Dim, Shape, text
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span
    from netdsl.ir.net import Node

AXES = {1: ("element",), 2: ("row", "column"), 3: ("plane", "row", "column")}


@problem("W0301", "a window that never reads the last pixels")
class UnreadPixels(Problem):
    """Windows begin at one side, a stride apart, and what is left at the other side is read by none of them where the
    sizes do not come out even. That is a warning if the windows lie so close that they read all the rest, since then
    the loss is hardly meant. Padding does not count: it may be left unread.

    ```net warn
    net odd { input x 3x112x112; maxpool 3x3 stride 2; global_avgpool; dense 10 }
    ```

    ```net mended
    net even { input x 3x112x112; maxpool 3x3 stride 2 pad 1; global_avgpool; dense 10 }
    ```
    """

    node: Node
    windows: Shape
    stride: Shape
    after: Shape
    over: tuple[int, ...]

    @property
    def _before(self) -> Shape:
        return self.node.inputs[0].shape[1:]

    def message(self) -> str:
        names = AXES[len(self.over)]
        lost = [
            f"{n if n > 1 else ''} {name}{'s' * (n > 1)}".strip() for n, name in zip(self.over, names, strict=True) if n
        ]
        return f"this `{self.node.layer.kind}` never reads the last {' and '.join(lost)} of its input"

    def label(self) -> str:
        step = text(self.stride) if len(set(self.stride)) > 1 else self.stride[0]
        return f"with stride {step} and this padding, windows of {text(self.windows)} do not come out even"

    def labels(self) -> Iterable[Label]:
        before = self.node.inputs[0]
        yield Label(before.span, f"this is {text(before.shape)}")

    def notes(self) -> Iterable[str]:
        smaller, larger = [], []
        for size, over, step, after in zip(self._before, self.over, self.stride, self.after, strict=True):
            smaller.append(size - over)
            larger.append(size + (step - over - after if over else 0))
        yield f"sizes that fit: {text(tuple(smaller))} or {text(tuple(larger))} in place of {text(self._before)}"

    def helps(self) -> Iterable[Help]:
        if "ceil" in self.node.layer.arguments:
            yield Help("`ceil on` keeps a last window that reaches beyond the input")
        else:
            yield Help("`pad same_upper` pads what the last window needs, as TensorFlow does")


@problem("W0302", "a bias before `bn`")
class VainBias(Problem):
    """`bn` subtracts each channel's mean, and with it whatever the layer before has added to the channel. The bias is
    a weight that learns nothing, and that a file of weights for the same net may lack.

    ```net warn
    net odd { input x 3x32x32; conv 3x3 16; bn; relu; dense 10 }
    ```

    ```net mended
    net even { input x 3x32x32; conv 3x3 16 bias off; bn; relu; dense 10 }
    ```
    """

    node: Node
    norm: Span

    def message(self) -> str:
        return f"this `{self.node.layer.kind}`'s bias has no effect: the following `bn` subtracts it"

    def label(self) -> str:
        return f"this adds a bias to each of {self.node.shape[0]} channels"

    def labels(self) -> Iterable[Label]:
        yield Label(self.norm, "and this subtracts the mean")

    def helps(self) -> Iterable[Help]:
        from netdsl.base.text import Span

        given = next((bound.value_span for bound in self.node.arguments if bound.name == "bias"), None)
        if given is not None and given.text == "on":
            yield Help("leave the bias off", Edit(given, "off"))
        if given is None:
            end = max([self.span.end, *(bound.value_span.end for bound in self.node.arguments)])
            yield Help("leave the bias off", Edit(Span(self.span.source, end, end), " bias off"))


@problem("W0303", "dropout right before `bn`")
class DropoutBeforeNorm(Problem):
    """At training time dropout makes the variance larger, and `bn` keeps statistics of that; at inference there is no
    dropout, and the statistics are those of other values. Source: Li et al. (2019), "Understanding the Disharmony
    between Dropout and Batch Normalization by Variance Shift".

    ```net warn
    net odd { input x 784; dense 100 bias off; dropout 0.5; bn; relu; dense 10 }
    ```

    ```net mended
    net even { input x 784; dense 100 bias off; bn; relu; dropout 0.5; dense 10 }
    ```
    """

    norm: Span

    def message(self) -> str:
        return "the statistics of a `bn` right behind `dropout` do not hold at inference"

    def label(self) -> str:
        return "this changes the variance at training time alone"

    def labels(self) -> Iterable[Label]:
        yield Label(self.norm, "and this keeps it as a statistic")

    def helps(self) -> Iterable[Help]:
        yield Help("put the dropout behind the normalisation and the activation")


@problem("W0305", "an input whose channels come last")
class ChannelsLast(Problem):
    """The sizes of an input begin with the channels, as in ONNX and PyTorch; TensorFlow and pictures in files have them
    last. A window on `224x224x3` sees 224 channels of 224x3 pixels.

    ```net warn
    net odd { input image 224x224x3; conv 3x3 8; relu; dense 10 }
    ```

    ```net mended
    net even { input image 3x224x224; conv 3x3 8; relu; dense 10 }
    ```
    """

    shape: Shape
    reader: Span
    help: Help

    def message(self) -> str:
        return f"{text(self.shape)} is {self.shape[0]} channels of {text(self.shape[1:])}"

    def label(self) -> str:
        return "channels come first"

    def labels(self) -> Iterable[Label]:
        yield Label(self.reader, f"this window moves over {text(self.shape[1:])}")

    def helps(self) -> Iterable[Help]:
        yield self.help


@problem("W0304", "a softmax before a cross-entropy")
class SoftmaxTwice(Problem):
    """`cross_entropy` takes scores, and begins with a log-softmax of its own, as PyTorch's does. Behind a `softmax` the
    gradients are small and training is slow; behind a `log_softmax` it is done twice for nothing.

    ```net warn
    net odd { input x 784; scale 1/255; dense 10; softmax }
    train odd { data mnist "mnist"; loss cross_entropy }
    ```

    ```net mended
    net even { input x 784; scale 1/255; dense 10 }
    train even { data mnist "mnist"; loss cross_entropy }
    ```
    """

    net: str
    softmax: Node

    def message(self) -> str:
        return f"`{self.net}` ends in `{self.softmax.layer.kind}`, and this loss begins with another"

    def label(self) -> str:
        return "this takes scores, and makes probabilities of them"

    def labels(self) -> Iterable[Label]:
        kind = "log-" if self.softmax.layer.kind == "log_softmax" else ""
        yield Label(self.softmax.span, f"these are {kind}probabilities already")

    def helps(self) -> Iterable[Help]:
        yield Help(f"leave the `{self.softmax.layer.kind}` out: the largest score is the most probable class")


@problem("W0306", "pixels that are not scaled")
class UnscaledPixels(Problem):
    """Pictures of `mnist`, `folder` and `idx` are bytes, from 0 to 255. Initial weights are drawn for inputs around 1.
    Values a hundred times as large give gradients a hundred times as large: training diverges, or ReLUs die and it
    stalls. Scale or normalise the pixels first, in the net or with `augment { normalize … }`.

    ```net warn
    net odd { input image 1x28x28; dense 100; relu; dense 10 }
    train odd { data mnist "mnist"; loss cross_entropy }
    ```

    ```net mended
    net even { input image 1x28x28; scale 1/255; dense 100; relu; dense 10 }
    train even { data mnist "mnist"; loss cross_entropy }
    ```
    """

    data: str
    entry: Node
    reader: Node
    peak: float
    edit: Edit | None

    def message(self) -> str:
        return f"`{self.reader.name}` reads pixels that are not scaled, with values up to {self.peak:.4g}"

    def label(self) -> str:
        return "the pixels are bytes, from 0 to 255"

    def labels(self) -> Iterable[Label]:
        yield Label(self.reader.span, f"this layer reads values up to {self.peak:.4g}")

    def helps(self) -> Iterable[Help]:
        what = f"scale the pixels behind the input `{self.entry.name}`: `scale 1/255`"
        yield Help(what, *([self.edit] if self.edit else []))


@problem("W0307", "a training that learns nothing")
class NothingTrained(Problem):
    """A step changes the weights that the gradient of the loss reaches. There is none if all weights are frozen, if the
    loss has weight 0, or if `sign` or `step`, whose derivative is 0, follows all of them.

    ```net warn
    net odd { input x 2; freeze { dense 2 } }
    train odd { data xor; loss cross_entropy }
    ```

    ```net mended
    net even { input x 2; freeze { dense 2 }; dense 2 }
    train even { data xor; loss cross_entropy }
    ```
    """

    net: str
    why: str

    def message(self) -> str:
        return f"`{self.net}` learns nothing: {self.why}"


@problem("W0308", "a schedule that reaches beyond the training")
class BeyondTheEnd(Problem):
    """A warm-up that takes all epochs or more never reaches the learning rate, and a rate that falls after the last
    epoch never falls. `plateau` waits for `patience` epochs without improvement, and the first epoch always improves.

    ```net warn
    net odd { input x 2; dense 2 }
    train odd { data xor; loss cross_entropy; schedule step at [30, 60]; epochs 50 }
    ```

    ```net mended
    net even { input x 2; dense 2 }
    train even { data xor; loss cross_entropy; schedule step at [30, 60]; epochs 90 }
    ```
    """

    what: str
    end: int
    unit: str
    given: Span | None

    def message(self) -> str:
        return f"{self.what}, and the training ends after {self.end:,} {self.unit[: None if self.end > 1 else -1]}"

    def label(self) -> str:
        return "this is never reached"

    def labels(self) -> Iterable[Label]:
        if self.given:
            yield Label(self.given, "the training ends here")

    def notes(self) -> Iterable[str]:
        if not self.given:
            yield f"without a line `epochs` or `steps`, a training has {self.end} epochs"
        elif self.unit == "steps":
            yield "an epoch has at least one step"


@problem("W0309", "a sigmoid before a loss of scores")
class SigmoidBefore(Problem):
    """`logistic`, `exponential`, `hinge` and `perceptron` take a score whose sign is the class, and `logistic` begins
    with a sigmoid of its own, as PyTorch's `binary_cross_entropy_with_logits` does. The output of a `sigmoid`, `relu`
    or the like is never negative: one of the two classes can never be predicted. `cross_entropy` takes scores of any
    size; scores between 0 and 1 leave all classes nearly equally probable.

    ```net warn
    net odd { input x 2; dense 1; sigmoid }
    train odd { data xor; loss logistic }
    ```

    ```net mended
    net even { input x 2; dense 1 }
    train even { data xor; loss logistic }
    ```
    """

    loss: str
    node: Node
    classes: Dim | None = None

    def message(self) -> str:
        if isinstance(self.classes, int):
            most = e / (e + self.classes - 1)
            return f"behind this `{self.node.layer.kind}` no class can get a probability above {most:.2g}"
        return f"behind this `{self.node.layer.kind}` one of the two classes can never be predicted"

    def label(self) -> str:
        return f"`{self.loss}` takes scores before any activation"

    def labels(self) -> Iterable[Label]:
        yield Label(self.node.span, "these lie between 0 and 1" if self.classes else "these are never negative")

    def helps(self) -> Iterable[Help]:
        yield Help(f"leave out the `{self.node.layer.kind}`")
