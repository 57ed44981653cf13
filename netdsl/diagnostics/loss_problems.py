"""Problems of training a net: losses, metrics, data and augmentations that do not fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.diagnostics.edits import after
from netdsl.diagnostics.name_problems import UnknownOfFew
from netdsl.diagnostics.problem import Edit, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.shape import Shape
    from netdsl.base.text import Span
    from netdsl.ir.net import Node


@problem("E0220", "unknown output")
class UnknownOutput(UnknownOfFew):
    """If a net has several outputs, a `loss` or a `metric` begins with the name of one.

    ```net fail
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss a cross_entropy; loss c cross_entropy }
    ```

    ```net fixed
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss a cross_entropy; loss b cross_entropy }
    ```
    """

    net: str
    lossless: bool = False
    """Whether the output exists, but without a loss at inference, which a metric needs."""

    def message(self) -> str:
        if self.lossless:
            return f"the output `{self.name}` has no loss, or exists only in training"
        return f"the net `{self.net}` has no output `{self.name}`"

    def label(self) -> str:
        return "there is no target to compare it with" if self.lossless else super().label()


@problem("E0221", "a training head without a loss")
class HeadWithoutLoss(Problem):
    """A `training` output exists only to contribute to the loss, so its loss and weight are required. Weight 0 excludes
    it.

    ```net fail
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 10 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 10 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; loss aux cross_entropy weight 0.3 }
    ```
    """

    output: str
    declared: Span
    loss: str

    headline = "the training output `{output}` has no loss"
    caption = "this line is for another output"
    related = "declared", "this output has no loss"

    def suggestions(self) -> Iterable[Suggestion]:
        line = f"loss {self.output} {self.loss} weight 0.3"
        yield Suggestion(f"add `{line}`, with the weight from the paper", after(self.span, f"; {line}"))


@problem("E0222", "several outputs to choose from")
class WhichOutput(Problem):
    """If a net has several outputs, a `loss` or a `metric` must name one.

    ```net fail
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss cross_entropy }
    ```

    ```net fixed
    net n { input x 784; output a { dense 10 }; output b { dense 2 } }
    train n { data npz "x.npz"; loss a cross_entropy; loss b cross_entropy }
    ```
    """

    key: str
    names: tuple[str, ...]

    hint = "write `{key} {names[0]} {span.text}`"

    def message(self) -> str:
        return f"this `{self.key}` does not name one of the {len(self.names)} outputs"

    def label(self) -> str:
        return f"for {' or '.join(self.names)}?"


@problem("E0225", "losses with different kinds of targets that share one")
class TargetsDiffer(Problem):
    """A training head is compared with the target of the net's only output, so both losses need the same kind of
    target: equally many classes, signs, or numbers of the same shape.

    ```net fail
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 5 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; loss aux cross_entropy weight 0.3 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 50; output aux training { dense 10 }; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; loss aux cross_entropy weight 0.3 }
    ```
    """

    output: str
    here: str
    there: str
    earlier: Span

    headline = "the head `{output}` needs {here} as its target, but shares the target of an output that needs {there}"
    caption = "this needs {here}"
    related = "earlier", "this needs {there}"


class OutputMisfit(Problem):
    """A loss or metric that does not fit an output. `wanted` completes the sentence "it takes …"."""

    name: str
    output: str
    node: Node
    wanted: str

    headline = "`{name}` does not fit the output `{output}` of shape {node.shape}"
    caption = "it takes {wanted}"
    related = "node", "this is {node.shape}"


@problem("E0339", "a loss that does not fit the output")
class LossMisfit(OutputMisfit):
    """A loss for classes needs one value per class. A loss for two classes, such as `logistic`, needs a single value.
    All sizes must be known.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss logistic }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy }
    ```
    """

    def suggestions(self) -> Iterable[Suggestion]:
        single = self.node.shape[:1] == (1,)
        if self.name in ("logistic", "exponential") and not single:
            yield Suggestion("for several classes, use `cross_entropy`", Edit(self.span, "cross_entropy"))
        elif self.name == "cross_entropy" and single:
            yield Suggestion("for two classes with a single output value, use `logistic`", Edit(self.span, "logistic"))


@problem("E0355", "a loss of integers")
class LossOfIntegers(Problem):
    """A loss is computed from floating-point numbers. Integers, such as the indices of `argmax`, have no
    gradient: train on the scores, and give the indices as another output.

    ```net fail
    net n { input x 784; scale 1/255; dense 10; argmax }
    train n { data mnist "mnist"; loss cross_entropy }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10; output scores; output digit { argmax } }
    train n { data mnist "mnist"; loss scores cross_entropy }
    ```
    """

    output: str
    node: Node

    headline = "the output `{output}` is integers, which have no gradient"
    related = "node", "`i64` from here"
    hint = "give the floating-point values before this as an `output`, and name it in `loss`"


@problem("E0340", "a metric that does not fit the loss")
class MetricMisfit(OutputMisfit):
    """A metric for classes, such as `accuracy`, needs a loss whose target is a class or a sign. A metric for numbers,
    such as `mae`, needs a loss whose target is numbers.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; metric mae }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; metric accuracy }
    ```
    """

    target: str

    headline = "`{name}` does not fit the loss of the output `{output}`, whose target is {target}"


@problem("E0371", "a metric without a target")
class MetricWithoutTarget(Problem):
    """A metric compares an output with a target. An output whose loss is `mean` is a loss itself and has no target. Its
    figure is the loss.

    ```net fail
    net n { input x 784; scale 1/255; dense 9; output penalty { abs }; output digit { dense 10 } }
    train n { data mnist "mnist"; loss digit cross_entropy; loss penalty mean; metric penalty mae }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 9; output penalty { abs }; output digit { dense 10 } }
    train n { data mnist "mnist"; loss digit cross_entropy; loss penalty mean; metric digit accuracy }
    ```
    """

    name: str
    output: str
    """The output whose loss is `mean`, or empty if no output at inference has a target."""
    loss: Span

    caption = "there is no target to compare with"
    related = "loss", "this loss has no target"
    hint = "remove this line, or name an output that has a target"

    def message(self) -> str:
        whose = f"the loss of `{self.output}` has none" if self.output else "no output at inference has one"
        return f"`{self.name}` compares an output with a target, but {whose}"


@problem("E0341", "training with sizes that are known only at run time")
class UnknownSizes(Problem):
    """The graph of a training step is compiled for one size of each input, so a net to be trained cannot have `?` in
    its inputs.

    ```net fail
    net n { input x 3x?x?; scale 1/255; conv 3x3 8; global_avgpool; dense 10 }
    train n { data folder "pictures"; loss cross_entropy }
    ```

    ```net fixed
    net n { input x 3x32x32; scale 1/255; conv 3x3 8; global_avgpool; dense 10 }
    train n { data folder "pictures"; loss cross_entropy }
    ```
    """

    net: str
    node: Node
    data: str
    sizes: Shape | None
    """The shape of the input with the sizes of examples of the data, if these are known."""

    headline = "`{net}` has an input of {node.shape}, but training needs a fixed size"
    caption = "this needs known sizes"
    related = "node", "this is {node.shape}"

    def suggestions(self) -> Iterable[Suggestion]:
        given = [argument.value_span for argument in self.node.arguments if argument.name == "sizes"]
        if self.sizes is None or not given:
            yield Suggestion(f"in the input `{self.node.name}`, write the size of the examples in place of `?`")
        else:
            size = format_shape(self.sizes).strip("[]")
            what = f"write the size of the examples of `{self.data}`, `{size}`"
            yield Suggestion(what, Edit(given[0], size))


@problem("E0343", "a learning rate that overflows")
class RateTooLarge(Problem):
    """A schedule multiplies the learning rate. Every rate must be less than 3.402823e+38, the maximum of float32.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; schedule step at [1, 2] factor 1e30 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; schedule step at [1, 2] factor 0.1 }
    ```
    """

    lr: float
    rate: float

    headline = "from a learning rate of {lr:g}, the schedule reaches {rate:g}, which overflows float32"
    caption = "this schedule overflows"
    hint = "choose a smaller factor, or fewer epochs to apply it at"


@problem("E0342", "batch normalization of a single value")
class BatchOfOne(Problem):
    """In training, `bn` computes the mean and variance of each channel over the batch and all positions. With a batch
    of one and one position, its output is always zero.

    ```net fail
    net n { input x 784; scale 1/255; dense 100 bias off; bn; relu; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 1 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 100 bias off; bn; relu; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 2 }
    ```
    """

    node: Node

    headline = "`bn` normalizes each of {node.shape} values over a batch of one"
    caption = "a batch of one has no variance"
    related = "node", "normalized over the batch here"
    hint = "use a larger batch, or `layernorm`"


@problem("E0346", "an augmentation that does not fit the input")
class AugmentMisfit(Problem):
    """Augmentations produce images of the input's shape, [channels, height, width]. They do not apply to vectors, a
    crop must have the input's size, and padding must be smaller than the image, so that no crop consists of padding
    alone. `fgsm` needs an input of real numbers that the loss depends on.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; augment rotate 10 }
    ```

    ```net fixed
    net n { input x 1x28x28; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; augment rotate 10 }
    ```
    """

    name: str
    what: str
    node: Node
    advice: tuple[str, ...] = ()

    headline = "{what}"
    caption = "`{name}` does not fit the input `{node.name}`"
    related = "node", "this is {node.shape}"

    def suggestions(self) -> Iterable[Suggestion]:
        yield from map(Suggestion, self.advice)


@problem("E0347", "a name reserved for the training step")
class ReservedName(Problem):
    """The graph of a training step has inputs `target`, `rate` and `row`, an output `loss` and a counter `step`. The
    inputs and outputs of the net, and its `param`s, cannot have these names.

    ```net fail
    net n { input rate 5; dense 3 }
    train n { data npz "x.npz"; loss cross_entropy }
    ```

    ```net fixed
    net n { input speed 5; dense 3 }
    train n { data npz "x.npz"; loss cross_entropy }
    ```
    """

    name: str
    what: str
    declared: Span

    headline = "the {what} `{name}` has a name that is reserved for the training step"
    caption = "this net cannot be trained"
    related = "declared", "the {what} `{name}`"
    hint = "rename the {what}"


@problem("E0348", "data that cannot fit the net")
class DataMisfit(Problem):
    """Some kinds of data have examples of a known shape: `xor` has two numbers, `connectedness` and `shapes` have
    images with one channel, `folder` has images with one or three. `mnist`, `folder` and generated data have one label
    per example. Whether files exist, and what they contain, is checked when training starts.

    ```net fail
    net n { input x 784; dense 2 }
    train n { data xor; loss cross_entropy }
    ```

    ```net fixed
    net n { input x 2; dense 2 }
    train n { data xor; loss cross_entropy }
    ```
    """

    name: str
    what: str
    net: str

    headline = "the data `{name}` cannot fit the net `{net}`: it {what}"


@problem("E0349", "an empty training or validation set")
class EmptyPart(Problem):
    """`validate 0.1` holds out a tenth of the examples. Training and validation need at least one example each. This is
    checked for generated data, whose number of examples is known.

    ```net fail
    net n { input x 2; dense 2 }
    train n { data xor; validate 0.1; loss cross_entropy }
    ```

    ```net fixed
    net n { input x 2; dense 2 }
    train n { data xor; validate 0.25; loss cross_entropy }
    ```
    """

    part: float
    count: int
    total: int

    headline = "`validate {part:g}` holds out {count:,} of {total:,} examples"

    def label(self) -> str:
        return f"this leaves no example for {'training' if self.count else 'validation'}"
