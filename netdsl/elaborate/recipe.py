"""Recipe: how a net is trained, as checked plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.ir.graph import TARGET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.text import Span
    from netdsl.data.augment import Augmentation
    from netdsl.data.kinds import DataKind
    from netdsl.ir.graph import Value
    from netdsl.ir.net import Net, Node
    from netdsl.losses.base import Loss, Target
    from netdsl.metrics.base import Metric
    from netdsl.optimizers.base import Optimizer
    from netdsl.schedules.base import Schedule


def target_name(net: Net, output: str) -> str:
    """The input that an output is compared with; training heads share that of the only output for inference."""
    lasting = [each.name for each in net.outputs.values() if not each.training]
    return TARGET if len(lasting) == 1 else f"{TARGET}.{output}"


class LossLine:
    """A loss and the output that it applies to."""

    __slots__ = ("loss", "output", "span")

    def __init__(self, output: str, loss: Loss, span: Span) -> None:
        self.output = output
        self.loss = loss
        self.span = span

    @property
    def weight(self) -> float:
        """The factor of the loss in the sum of all losses."""
        return self.loss.weight


class MetricLine:
    """A metric and the output that it applies to."""

    __slots__ = ("metric", "output", "span")

    def __init__(self, output: str, metric: Metric, span: Span) -> None:
        self.output = output
        self.metric = metric
        self.span = span


class Recipe:
    """How a net is trained.

    - `data` is where examples come from; paths in it are relative to the folder of the file that `span` is in.
    - `validate` is other data, or the part of `data`, between 0 and 1, that is set apart, or None.
    - `epochs` may be None where `steps` is given, and the other way round; one of them is.
    - `exceptions` are the names of parameters that take no weight decay, `freeze` of those that do not change, running
      statistics included.
    - `keep` is how many of the latest checkpoints are kept, beside the best one.
    - `spans` are the places of the lines by their keys, as far as they were given.
    - `root` is the folder that data in files may not leave, None for no such folder.
    - `text` is a `train` block of the same meaning, all defaults and `--set`s written out and all values computed.
    """

    __slots__ = (
        "augment",
        "batch",
        "data",
        "epochs",
        "exceptions",
        "freeze",
        "keep",
        "losses",
        "metrics",
        "name",
        "net",
        "optimizer",
        "root",
        "schedule",
        "seed",
        "span",
        "spans",
        "steps",
        "text",
        "validate",
    )

    def __init__(
        self,
        net: Net,
        span: Span,
        *,
        name: str,
        data: DataKind,
        losses: tuple[LossLine, ...],
        optimizer: Optimizer,
        schedule: Schedule,
        metrics: tuple[MetricLine, ...],
        validate: DataKind | float | None = None,
        augment: tuple[Augmentation, ...] = (),
        batch: int = 32,
        epochs: int | None = 10,
        steps: int | None = None,
        seed: int = 0,
        keep: int = 1,
        exceptions: frozenset[str] = frozenset(),
        freeze: frozenset[str] = frozenset(),
        spans: dict[str, Span] | None = None,
        text: str = "",
    ) -> None:
        self.net = net
        self.span = span
        self.name = name
        self.data = data
        self.losses = losses
        self.optimizer = optimizer
        self.schedule = schedule
        self.metrics = metrics
        self.validate = validate
        self.augment = augment
        self.batch = batch
        self.epochs = epochs
        self.steps = steps
        self.seed = seed
        self.keep = keep
        self.exceptions = exceptions
        self.freeze = freeze
        self.spans = spans or {}
        self.root: str | None = None
        self.text = text

    def decays(self, parameter: str) -> bool:
        """Return whether weight decay applies to a parameter."""
        return parameter not in self.exceptions

    def clip(self, gradients: Sequence[Value]) -> list[Value]:
        """Return the gradients of all weights, clipped according to the optimizer."""
        return self.optimizer.clipped(gradients)

    @property
    def targets(self) -> dict[str, Target]:
        """The targets of all losses, by the names of the inputs that they become."""
        lines = {target_name(self.net, line.output): line for line in self.losses}
        return {name: line.loss.target(self.net.outputs[line.output].node.shape) for name, line in lines.items()}

    def reached(self) -> set[Node]:
        """The layers and inputs that the gradient of the loss reaches."""
        todo = [self.net.outputs[line.output].node for line in self.losses if line.weight]
        found: set[Node] = set()
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += node.inputs if node.layer.differentiable else ()
        return found

    def trains(self) -> bool:
        """Whether a step changes any weight."""
        parameters = (p for node in self.reached() if node.layer.differentiable for p in node.parameters.values())
        return any(p.trainable and p.name not in self.freeze for p in parameters)

    @property
    def watched(self) -> MetricLine | None:
        """The metric that selects the best epoch, and that `plateau` monitors: the first that is a single number."""
        return next((line for line in self.metrics if line.metric.better), None)

    def __repr__(self) -> str:
        return f"<recipe of {self.name}>"
