"""Problems of a training with its net: losses and metrics that do not fit the outputs, nets that are not trained so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, text
from netdsl.diagnostics.name_problems import Unknown
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span
    from netdsl.ir.net import Node


@problem("E0220", "unknown output")
class UnknownOutput(Unknown):
    """A `loss` or a `metric` of one output among several begins with its name.

    ```net fail
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss a cross_entropy; loss c cross_entropy }
    ```

    ```net mended
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss a cross_entropy; loss b cross_entropy }
    ```
    """

    net: str
    lossless: bool = False
    """Whether there is such an output, but for inference none with a loss, which a metric needs."""

    def message(self) -> str:
        if self.lossless:
            return f"the output `{self.name}` has no loss, or exists in training only"
        return f"the net `{self.net}` has no output `{self.name}`"

    def label(self) -> str:
        return "there is no target to hold it against" if self.lossless else super().label()

    def notes(self) -> Iterable[str]:
        yield f"{'there are' if len(self.candidates) > 1 else 'there is'} {', '.join(self.candidates)}"


@problem("E0221", "a training head without a loss")
class HeadWithoutLoss(Problem):
    """A `training` output exists for its part in the loss, and how much it counts must be said; 0 leaves it out.

    ```net fail
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 10 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 10 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; loss aux cross_entropy weight 0.3 }
    ```
    """

    output: str
    declared: Span
    loss: str

    @property
    def _line(self) -> str:
        return f"loss {self.output} {self.loss} weight 0.3"

    def message(self) -> str:
        return f"the training output `{self.output}` has no loss"

    def label(self) -> str:
        return "this line is of another output"

    def labels(self) -> Iterable[Label]:
        yield Label(self.declared, "this output has none")

    def helps(self) -> Iterable[Help]:
        end = Edit(_behind(self.span), f"; {self._line}")
        yield Help(f"add `{self._line}`, with the weight that it has in the paper", end)


def _behind(span: Span) -> Span:
    """The empty place behind a span."""
    return type(span)(span.source, span.end, span.end)


@problem("E0222", "which output?")
class WhichOutput(Problem):
    """Of a net with several outputs a `loss` or a `metric` says which one it is of.

    ```net fail
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss cross_entropy }
    ```

    ```net mended
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss a cross_entropy; loss b cross_entropy }
    ```
    """

    key: str
    names: tuple[str, ...]

    def message(self) -> str:
        return f"the net has {len(self.names)} outputs, and this `{self.key}` names none"

    def label(self) -> str:
        return f"of {' or '.join(self.names)}?"

    def helps(self) -> Iterable[Help]:
        yield Help(f"write `{self.key} {self.names[0]} {self.span.text}`")


@problem("E0225", "losses that share a target and want different ones")
class TargetsDiffer(Problem):
    """A training head is held against the target of the net's only output, so both must want the same: classes, and
    as many of them, or signs, or numbers of one shape.

    ```net fail
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 5 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; loss aux cross_entropy weight 0.3 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 10 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; loss aux cross_entropy weight 0.3 }
    ```
    """

    output: str
    here: str
    there: str
    earlier: Span

    def message(self) -> str:
        return f"the head `{self.output}` wants {self.here}, and the output whose target it shares {self.there}"

    def label(self) -> str:
        return f"this wants {self.here}"

    def labels(self) -> Iterable[Label]:
        yield Label(self.earlier, f"this wants {self.there}")


class OutputMisfit(Problem):
    """What does not fit an output, and why: `wanted` ends the sentence "… takes …"."""

    name: str
    output: str
    node: Node
    wanted: str

    @property
    def _shape(self) -> Shape:
        return self.node.shape

    def message(self) -> str:
        return f"`{self.name}` does not fit the output `{self.output}` of {text(self._shape)}"

    def label(self) -> str:
        return f"it takes {self.wanted}"

    def labels(self) -> Iterable[Label]:
        yield Label(self.node.span, f"this is {text(self._shape)}")


@problem("E0339", "a loss that does not fit the output's shape")
class LossMisfit(OutputMisfit):
    """A loss of classes needs a number for each class, one of two classes, `logistic` and the like, a single number,
    and all sizes must be known.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss logistic }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy }
    ```
    """

    def helps(self) -> Iterable[Help]:
        single = self._shape[:1] == (1,)
        if self.name in ("logistic", "exponential") and not single:
            yield Help("of several classes `cross_entropy` is the like", Edit(self.span, "cross_entropy"))
        elif self.name == "cross_entropy" and single:
            yield Help("of two classes and one number `logistic` is the like", Edit(self.span, "logistic"))


@problem("E0340", "a metric that does not fit the loss")
class MetricMisfit(OutputMisfit):
    """A metric of classes, such as `accuracy`, needs a loss whose target is a class or a sign; one of numbers, such as
    `mae`, one whose target are numbers.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; metric mae }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; metric accuracy }
    ```
    """

    target: str

    def message(self) -> str:
        return f"`{self.name}` does not fit the loss of the output `{self.output}`, whose target is {self.target}"


@problem("E0341", "a net with sizes known only at run time is trained")
class UnknownSizes(Problem):
    """The graph of a training step is made for one size of each input, so a net that is trained has no `?` among them.

    ```net fail
    net n { input x 3x?x?; scale 1/255; conv 3x3 8; global_avgpool; dense 10 }
    train n { data folder "pictures"; loss cross_entropy }
    ```

    ```net mended
    net n { input x 3x32x32; scale 1/255; conv 3x3 8; global_avgpool; dense 10 }
    train n { data folder "pictures"; loss cross_entropy }
    ```
    """

    net: str
    node: Node

    def message(self) -> str:
        return f"`{self.net}` has an input of {text(self.node.shape)}, and is trained at one size"

    def label(self) -> str:
        return "this needs sizes that are numbers"

    def labels(self) -> Iterable[Label]:
        yield Label(self.node.span, f"this is {text(self.node.shape)}")


@problem("E0343", "a learning rate beyond float32")
class RateTooLarge(Problem):
    """A schedule multiplies the learning rate; every rate must stay below 3.402823e+38, the largest number of float32.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; schedule step at [1, 2] factor 1e30 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; schedule step at [1, 2] factor 0.1 }
    ```
    """

    lr: float
    rate: float

    def message(self) -> str:
        return f"from a rate of {self.lr:g}, the schedule reaches {self.rate:g}, which float32 cannot hold"

    def label(self) -> str:
        return "the rates of this schedule overflow"

    def helps(self) -> Iterable[Help]:
        yield Help("choose a smaller factor, or fewer epochs at which it applies")


@problem("E0342", "batch normalisation of a single value")
class BatchOfOne(Problem):
    """In training `bn` takes its mean and variance over the batch and the places. Over a batch of one, on one place,
    nothing but zeros comes out.

    ```net fail
    net n { input x 784; scale 1/255; dense 100 bias off; bn; relu; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 1 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 100 bias off; bn; relu; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 2 }
    ```
    """

    node: Node

    def message(self) -> str:
        return f"`bn` normalises each of {text(self.node.shape)} over a batch of one"

    def label(self) -> str:
        return "this leaves no variance"

    def labels(self) -> Iterable[Label]:
        yield Label(self.node.span, "over this batch")

    def helps(self) -> Iterable[Help]:
        yield Help("take a larger batch, or `layernorm`")


@problem("E0346", "an augmentation that does not fit the net's input")
class AugmentMisfit(Problem):
    """Augmentations make pictures of the input's shape, [channels, height, width]. A vector is not a picture, a crop
    of another size leaves examples that the net does not take, and padding of the picture's own size or more leaves
    crops without a pixel of the picture. `fgsm` needs an input of real numbers that the loss depends on.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; augment rotate 10 }
    ```

    ```net mended
    net n { input x 1x28x28; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; augment rotate 10 }
    ```
    """

    name: str
    what: str
    node: Node
    advice: tuple[str, ...] = ()

    def message(self) -> str:
        return self.what

    def label(self) -> str:
        return f"`{self.name}` does not fit the input `{self.node.name}`"

    def labels(self) -> Iterable[Label]:
        yield Label(self.node.span, f"this is {text(self.node.shape)}")

    def helps(self) -> Iterable[Help]:
        yield from map(Help, self.advice)


@problem("E0347", "a name that a training step uses itself")
class ReservedName(Problem):
    """The graph of a training step has inputs `target` and `rate`, a result `loss` and a counter `step`. An input or
    output of the net cannot have one of these names.

    ```net fail
    net n { input rate 5; dense 3 }
    train n { data npz "x.npz"; loss cross_entropy }
    ```

    ```net mended
    net n { input speed 5; dense 3 }
    train n { data npz "x.npz"; loss cross_entropy }
    ```
    """

    name: str
    what: str
    declared: Span

    def message(self) -> str:
        return f"the {self.what} `{self.name}` has the name of a part of the training step"

    def label(self) -> str:
        return "this net cannot be trained"

    def labels(self) -> Iterable[Label]:
        yield Label(self.declared, f"the {self.what} `{self.name}`")

    def helps(self) -> Iterable[Help]:
        yield Help(f"rename the {self.what}")


@problem("E0348", "data that cannot fit the net")
class DataMisfit(Problem):
    """Some kinds of data have examples of a known shape: `xor` two numbers, `connectedness` pictures of one channel,
    `folder` pictures of one or three. `mnist`, `folder` and generated data have one label for each example. Whether
    files exist, and what they hold, is checked when the training starts.

    ```net fail
    net n { input x 784; dense 2 }
    train n { data xor; loss cross_entropy }
    ```

    ```net mended
    net n { input x 2; dense 2 }
    train n { data xor; loss cross_entropy }
    ```
    """

    name: str
    what: str
    net: str

    def message(self) -> str:
        return f"the data `{self.name}` cannot fit the net `{self.net}`: it {self.what}"


@problem("E0349", "a part of the data without an example")
class EmptyPart(Problem):
    """`validate 0.1` sets a tenth of the examples apart. Of generated data the number of examples is known, and both
    parts need at least one.

    ```net fail
    net n { input x 2; dense 2 }
    train n { data xor; validate 0.1; loss cross_entropy }
    ```

    ```net mended
    net n { input x 2; dense 2 }
    train n { data xor; validate 0.25; loss cross_entropy }
    ```
    """

    part: float
    count: int
    total: int

    def message(self) -> str:
        return f"`validate {self.part:g}` sets {self.count:,} of {self.total:,} examples apart"

    def label(self) -> str:
        return f"this leaves no example for {'training' if self.count else 'validation'}"
