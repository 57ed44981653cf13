"""Warnings about nets: valid, but probably not intended."""

from __future__ import annotations

from math import e
from typing import TYPE_CHECKING

from netdsl.base.shape import Dim, Shape, format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import CallArgument, Node

AXES = {1: ("element",), 2: ("row", "column"), 3: ("plane", "row", "column")}


@problem("W0301", "a window that never reads the last pixels")
class UnreadPixels(Problem):
    """Windows start at one side, one stride apart. If the sizes are not divisible, the last pixels on the other side
    are in no window. This is a warning if the windows otherwise leave no gaps, since then the loss is probably not
    intended. Unread padding does not count.

    ```net warn
    net odd { input x 3x112x112; maxpool 3x3 stride 2; global_avgpool; dense 10 }
    ```

    ```net fixed
    net even { input x 3x112x112; maxpool 3x3 stride 2 pad 1; global_avgpool; dense 10 }
    ```
    """

    node: Node
    windows: Shape
    stride: Shape
    after: Shape
    over: tuple[int, ...]

    related = "_input", "this is {_input.shape}"

    @property
    def _input(self) -> Node:
        return self.node.inputs[0]

    def message(self) -> str:
        names = AXES[len(self.over)]
        lost = [
            f"{n if n > 1 else ''} {name}{'s' * (n > 1)}".strip() for n, name in zip(self.over, names, strict=True) if n
        ]
        return f"this `{self.node.layer.kind}` never reads the last {' and '.join(lost)} of its input"

    def label(self) -> str:
        step = format_shape(self.stride) if len(set(self.stride)) > 1 else self.stride[0]
        return f"with stride {step} and this padding, windows of {format_shape(self.windows)} do not reach the end"

    def notes(self) -> Iterable[str]:
        smaller, larger = [], []
        before = self._input.shape[1:]
        for size, over, step, after in zip(before, self.over, self.stride, self.after, strict=True):
            smaller.append(size - over)
            larger.append(size + (step - over - after if over else 0))
        small, large = format_shape(smaller), format_shape(larger)
        yield f"sizes that fit: {small} or {large} instead of {format_shape(before)}"

    def suggestions(self) -> Iterable[Suggestion]:
        if "ceil" in self.node.layer.arguments:
            yield Suggestion("`ceil on` adds a last window that extends beyond the input")
        else:
            yield Suggestion("`pad same_upper` adds the padding for a last window, like TensorFlow")


@problem("W0302", "a bias before `bn`")
class VainBias(Problem):
    """`bn` subtracts the mean of each channel, including any bias that the layer before it has added. The bias is a
    weight that learns nothing, and weight files for the same net may not contain it.

    ```net warn
    net odd { input x 3x32x32; conv 3x3 16; bn; relu; dense 10 }
    ```

    ```net fixed
    net even { input x 3x32x32; conv 3x3 16 bias off; bn; relu; dense 10 }
    ```
    """

    node: Node
    norm: Span

    headline = "the bias of this `{node.layer.kind}` has no effect: the following `bn` subtracts it"
    caption = "this adds a bias to each of {node.shape[0]} channels"
    related = "norm", "this subtracts the mean"

    def suggestions(self) -> Iterable[Suggestion]:
        given = next((bound.value_span for bound in self.node.arguments if bound.name == "bias"), None)
        if given is not None and given.text == "on":
            yield Suggestion("turn the bias off", Edit(given, "off"))
        if given is None:
            end = max([self.span.end, *(bound.value_span.end for bound in self.node.arguments)])
            yield Suggestion("turn the bias off", Edit(Span(self.span.source, end, end), " bias off"))


@problem("W0303", "dropout right before `bn`")
class DropoutBeforeNorm(Problem):
    """Dropout increases the variance in training, and `bn` records it in its running statistics. At inference there is
    no dropout, so the statistics do not match the values. Source: Li et al. (2019), "Understanding the Disharmony
    between Dropout and Batch Normalization by Variance Shift".

    ```net warn
    net odd { input x 784; dense 100 bias off; dropout 0.5; bn; relu; dense 10 }
    ```

    ```net fixed
    net even { input x 784; dense 100 bias off; bn; relu; dropout 0.5; dense 10 }
    ```
    """

    norm: Span

    headline = "the running statistics of a `bn` right after `dropout` are wrong at inference"
    caption = "this increases the variance, in training only"
    related = "norm", "this records the variance"
    hint = "move the dropout after the normalization and the activation"


@problem("W0305", "an input with channels last")
class ChannelsLast(Problem):
    """The shape of an input begins with the channels, as in ONNX and PyTorch. TensorFlow and image files have them
    last. A window on `224x224x3` sees 224 channels of 224x3 pixels.

    ```net warn
    net odd { input image 224x224x3; conv 3x3 8; relu; dense 10 }
    ```

    ```net fixed
    net even { input image 3x224x224; conv 3x3 8; relu; dense 10 }
    ```
    """

    shape: Shape
    reader: Span
    help: Suggestion

    headline = "{shape} means {shape[0]} channels of {_sizes}"
    caption = "channels come first"
    related = "reader", "this window moves over {_sizes}"

    @property
    def _sizes(self) -> Shape:
        return self.shape[1:]

    def suggestions(self) -> Iterable[Suggestion]:
        yield self.help


@problem("W0304", "a softmax before a cross-entropy loss")
class SoftmaxTwice(Problem):
    """`cross_entropy` and `ctc` take logits and apply a log-softmax. (PyTorch's `ctc_loss` does not.) After another
    `softmax` the gradients are small and training is slow; a `log_softmax` before it is redundant.

    ```net warn
    net odd { input x 784; scale 1/255; dense 10; softmax }
    train odd { data mnist "mnist"; loss cross_entropy }
    ```

    ```net fixed
    net even { input x 784; scale 1/255; dense 10 }
    train even { data mnist "mnist"; loss cross_entropy }
    ```
    """

    net: str
    softmax: Node

    headline = "`{net}` ends with `{softmax.layer.kind}`, but this loss applies its own"
    caption = "this takes logits and applies a softmax"
    hint = "remove the `{softmax.layer.kind}`: the largest logit is still the most probable class"

    def labels(self) -> Iterable[Label]:
        kind = "log-" if self.softmax.layer.kind == "log_softmax" else ""
        yield Label(self.softmax.span, f"these are already {kind}probabilities")


@problem("W0306", "unscaled pixels")
class UnscaledPixels(Problem):
    """The pixels of images (`mnist`, `cifar10`, `folder`, …) are bytes from 0 to 255, but initial weights are scaled
    for inputs around 1. Values a hundred times larger cause gradients a hundred times larger: training diverges, or it
    stalls with dead ReLUs. Scale or normalize the pixels first: by a layer of the net, or by `mean` and `std` of
    its input.

    ```net warn
    net odd { input image 1x28x28; dense 100; relu; dense 10 }
    train odd { data mnist "mnist"; loss cross_entropy }
    ```

    ```net fixed
    net even { input image 1x28x28; scale 1/255; dense 100; relu; dense 10 }
    train even { data mnist "mnist"; loss cross_entropy }
    ```
    """

    data: str
    entry: Node
    reader: Node
    peak: float
    edit: Edit | None

    headline = "`{reader.name}` reads unscaled pixels, with values up to {peak:.4g}"
    caption = "the pixels are bytes, from 0 to 255"
    related = "reader", "this layer reads values up to {peak:.4g}"

    def suggestions(self) -> Iterable[Suggestion]:
        what = f"scale the pixels after the input `{self.entry.name}`: `scale 1/255`"
        yield Suggestion(what, *([self.edit] if self.edit else []))


@problem("W0307", "a training run that learns nothing")
class NothingTrained(Problem):
    """Training changes the weights that the gradient of the loss reaches. There are none if all weights are frozen, if
    the loss has weight 0, or if all of them are followed by `sign` or `step`, whose derivative is 0.

    ```net warn
    net odd { input x 2; freeze { dense 2 } }
    train odd { data xor; loss cross_entropy }
    ```

    ```net fixed
    net even { input x 2; freeze { dense 2 }; dense 2 }
    train even { data xor; loss cross_entropy }
    ```
    """

    net: str
    why: str

    headline = "`{net}` learns nothing: {why}"


@problem("W0308", "a schedule that extends beyond the end of training")
class BeyondTheEnd(Problem):
    """A warm-up over all epochs or more never reaches the learning rate, and a decay after the last epoch never
    happens. `plateau` and `stop` wait for `patience` epochs without improvement, and the first epoch is always an
    improvement.

    ```net warn
    net odd { input x 2; dense 2 }
    train odd { data xor; loss cross_entropy; schedule step at [30, 60]; epochs 50 }
    ```

    ```net fixed
    net even { input x 2; dense 2 }
    train even { data xor; loss cross_entropy; schedule step at [30, 60]; epochs 90 }
    ```
    """

    what: str
    end: int
    unit: str
    given: Span | None

    caption = "this is never reached"
    related = "given", "training ends here"

    def message(self) -> str:
        return f"{self.what}, but training ends after {self.end:,} {self.unit[: None if self.end > 1 else -1]}"

    def notes(self) -> Iterable[str]:
        if not self.given:
            yield f"without `epochs` or `steps`, training has {self.end} epochs"
        elif self.unit == "steps":
            yield "an epoch has at least one step"


@problem("W0309", "an activation before a loss on logits")
class SigmoidBefore(Problem):
    """`logistic`, `exponential`, `hinge` and `perceptron` take a score whose sign is the class, and `logistic` applies
    a sigmoid, like PyTorch's `binary_cross_entropy_with_logits`. The output of `sigmoid` or `relu` is never negative,
    so one of the two classes can never be predicted. `cross_entropy` takes logits of any size: with values between 0
    and 1, all classes are almost equally probable.

    ```net warn
    net odd { input x 2; dense 1; sigmoid }
    train odd { data xor; loss logistic }
    ```

    ```net fixed
    net even { input x 2; dense 1 }
    train even { data xor; loss logistic }
    ```
    """

    loss: str
    node: Node
    classes: Dim | None = None

    caption = "`{loss}` takes scores without an activation"
    hint = "remove the `{node.layer.kind}`"

    def message(self) -> str:
        if isinstance(self.classes, int):
            most = e / (e + self.classes - 1)
            return f"after this `{self.node.layer.kind}`, no class can have a probability above {most:.2g}"
        return f"after this `{self.node.layer.kind}`, one of the two classes can never be predicted"

    def labels(self) -> Iterable[Label]:
        yield Label(self.node.span, "these are between 0 and 1" if self.classes else "these are never negative")


@problem("W0320", "an initializer of a weight that is switched off")
class VainInit(Problem):
    """`bias_init` draws the bias, and `init` of a normalization its scale. With `bias off` or `affine off` there is no
    such weight, and one of the two arguments is not meant.

    ```net warn
    net odd { input x 8x20x20; conv 3x3 16 bias off; bn affine off init zeros }
    ```

    ```net fixed
    net even { input x 8x20x20; conv 3x3 16 bias off; bn init zeros }
    ```
    """

    init: CallArgument
    switch: str
    off: CallArgument | None
    """The switch in the call, if it is there."""

    headline = "`{init.name}` has no effect with `{switch} off`"
    caption = "there is no weight to initialize"

    def labels(self) -> Iterable[Label]:
        if self.off:
            yield Label(self.off.span.to(self.off.value_span), "switched off here")

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.solve import remove

        yield Suggestion(f"remove `{self.init.name}`", remove(self.init))
        if self.off:
            yield Suggestion(f"remove `{self.switch} off`", remove(self.off))


@problem("W0325", "`dense` on a sequence")
class DenseOnSequence(Problem):
    """`dense` flattens its input, so after an `embedding`, a `linear`, a normalization over the channels or a recurrent
    layer, it has a weight for each channel of each position. Usually the same map of the channels is meant at each
    position: `linear`. Write `flatten` before `dense` if all positions are meant, as in Bengio et al. (2003).

    ```net warn
    net odd { input words 20 dtype i64; embedding 1000 32; dense 10 }
    ```

    ```net fixed
    net even { input words 20 dtype i64; embedding 1000 32; linear 10 }
    ```
    """

    node: Node
    maker: Node

    headline = "this `dense` flattens a sequence: all {_input[1]} positions of {_input[0]} channels at once"
    caption = "its weight is {_weight}"
    related = "maker", "this has {_input[0]} channels at each position"

    @property
    def _input(self) -> Shape:
        return self.node.inputs[0].shape

    @property
    def _weight(self) -> Shape:
        return self.node.parameters["weight"].shape

    def suggestions(self) -> Iterable[Suggestion]:
        for text, instead in (
            ("map the channels of each position with `linear`", "linear"),
            ("if all positions are meant, say so with `flatten`", "flatten; dense"),
        ):
            yield Suggestion(text, *([Edit(self.span, instead)] if self.span.text == "dense" else []))
        if "last" in self.maker.layer.arguments:
            from netdsl.diagnostics.solve import keyword

            text = f"if only the last position is meant, `{self.maker.layer.kind} … last on` returns it"
            yield Suggestion(text, keyword(self.maker.span, self.maker.arguments, "last", "on"))


@problem("W0310", "early stopping without validation data")
class UnvalidatedStop(Problem):
    """Early stopping ends a training when the net no longer improves on data that it has not seen. Without `validate`,
    the loss on the training data decides, which can improve for as long as the net overfits.

    ```net warn
    net odd { input x 2; dense 2 }
    train odd { data xor; loss cross_entropy; epochs 100; stop patience 5 }
    ```

    ```net fixed
    net even { input x 2; dense 2 }
    train even { data xor; validate xor; loss cross_entropy; epochs 100; stop patience 5 }
    ```
    """

    figure: str

    headline = "early stopping watches {figure} on the training data, because there are no validation data"
    caption = "no `validate` line"
    hint = "hold out a part of the data, such as with `validate 0.1`"


@problem("W0311", "validation on the training data")
class SeenValidation(Problem):
    """Metrics on the training data do not show how well a net generalizes: overfitting improves them, and the epoch
    with the best ones is not the best. Validation data must be other examples.

    ```net warn
    net odd { input x 784; scale 1/255; dense 10 }
    train odd { data mnist "mnist"; validate mnist "mnist"; loss cross_entropy }
    ```

    ```net fixed
    net even { input x 784; scale 1/255; dense 10 }
    train even { data mnist "mnist"; validate mnist "mnist" split test; loss cross_entropy }
    ```
    """

    earlier: Span
    edit: Edit | None

    headline = "the validation data are the training data"
    caption = "the same examples"
    related = "earlier", "as for training"
    hint = "name other data, or hold out a part of the training data with `validate 0.1`"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.edit:
            yield Suggestion("read the test data", self.edit)
        else:
            yield Suggestion(self.hint)


@problem("W0312", "validation text that overlaps with the training text")
class PartlySeenValidation(Problem):
    """Metrics on symbols that the net was trained on do not show how well it predicts others. `part` divides a text
    into one part for training and another for validation.

    ```net warn
    net odd { input text 8 dtype i64; embedding 256 4; conv 1 256 }
    train odd {
      data text "a.txt" length 8 part [0, 0.9]
      validate text "a.txt" length 8 part [0.8, 1]
      loss cross_entropy
    }
    ```

    ```net fixed
    net even { input text 8 dtype i64; embedding 256 4; conv 1 256 }
    train even {
      data text "a.txt" length 8 part [0, 0.9]
      validate text "a.txt" length 8 part [0.9, 1]
      loss cross_entropy
    }
    ```
    """

    earlier: Span
    part: tuple[float, float]
    seen: tuple[float, float]

    headline = "the validation text overlaps with the training text"
    caption = "from {part[0]:g} to {part[1]:g} of the file"
    related = "earlier", "from {seen[0]:g} to {seen[1]:g} of the same file"
    hint = "give both a `part`, such as `part [0, 0.9]` and `part [0.9, 1]`"
