"""Recipe: how a net is trained, as checked plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.record import Record
from netdsl.declare.declared import NO_SPANS
from netdsl.ir.graph import TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.text import Span
    from netdsl.data.augment import Augmentation
    from netdsl.data.kinds import DataKind
    from netdsl.ir.net import Net, Node
    from netdsl.losses import Loss, Target
    from netdsl.metrics import Metric
    from netdsl.optimizers import Optimizer
    from netdsl.schedules import EarlyStopping, Schedule


def target_name(net: Net, output: str) -> str:
    """Return the input that an output is compared with; training heads share that of the only inference output."""
    return TARGET if len(net.inference_outputs) == 1 else f"{TARGET}.{output}"


class LossLine(Record):
    """A loss and the output that it applies to."""

    output: str
    loss: Loss
    span: Span

    @property
    def weight(self) -> float:
        """The factor of the loss in the sum of all losses."""
        return self.loss.weight


class MetricLine(Record):
    """A metric and the output that it applies to."""

    output: str
    metric: Metric
    span: Span


class Recipe(Record):
    """How a net is trained: the settings of its `train` block, with all defaults and `--set`s applied."""

    net: Net
    span: Span
    name: str
    data: DataKind
    """Source of the examples; paths are relative to the folder of the file that `span` is in."""
    losses: tuple[LossLine, ...]
    metrics: tuple[MetricLine, ...]
    optimizer: Optimizer
    schedule: Schedule
    stop: EarlyStopping | None = None
    """When to stop before the end."""
    validate: DataKind | float | None = None
    """Validation data: another source, or the fraction of `data` to hold out."""
    stratified: bool = False
    """Whether the held-out fraction has the same share of each class."""
    augment: tuple[Augmentation, ...] = ()
    batch: int = 32
    accumulate: int = 1
    """Number of batches per step."""
    shards: int = 0
    """Number of parts of a step that are added in a binary tree; 0 for one in each process."""
    sync_bn: bool = False
    """Whether batch normalization has the statistics of all shards."""
    epochs: int | None = 10
    """Length of the training in epochs; None if it is given in steps."""
    steps: int | None = None
    seed: int = 0
    keep: int = 1
    """Number of recent checkpoints to keep, besides the best one."""
    average: float = 0.0
    """Decay of the moving average of the weights; 0 for none."""
    dtype: str = "f32"
    """Type in which the products of the layers and of their gradients are computed."""
    undecayed: frozenset[str] = frozenset()
    """Names of the parameters without weight decay."""
    freeze: frozenset[str] = frozenset()
    """Names of the parameters and running statistics that do not change."""
    spans: Mapping[str, Span] = NO_SPANS
    """Locations of the lines that were given, by key."""
    text: str = ""
    """An equivalent `train` block in which every default and every computed value is written out."""
    root: str | None = None
    """Folder that data files may not leave; None for no restriction."""

    @property
    def step_batch(self) -> int:
        """The number of examples per step."""
        return self.batch * self.accumulate

    @property
    def targets(self) -> dict[str, Target]:
        """The targets of all losses that read one, by the names of their inputs."""
        return {
            target_name(self.net, line.output): line.loss.target(self.net.outputs[line.output].node.shape)
            for line in self.losses
            if line.loss.reads_target
        }

    @property
    def untargeted(self) -> frozenset[str]:
        """The names that targets of losses without one would have."""
        return frozenset(f"{TARGET}.{line.output}" for line in self.losses if not line.loss.reads_target)

    @property
    def evaluated(self) -> tuple[LossLine, ...]:
        """The losses in the validation loss: those of inference outputs, and of training outputs without a target."""
        kept = self.net.inference_outputs
        return tuple(line for line in self.losses if line.output in kept or not line.loss.reads_target)

    @property
    def classes(self) -> tuple[str, ...]:
        """The targets that are one class or sign per example."""
        kinds = "class", "sign"
        return tuple(name for name, target in self.targets.items() if target.kind in kinds and not target.shape)

    @property
    def watched(self) -> MetricLine | None:
        """The metric that selects the best epoch, and that `plateau` monitors: the first that is a single number."""
        return next((line for line in self.metrics if line.metric.better), None)

    def reached(self) -> set[Node]:
        """Return the layers and inputs that the gradient of the loss reaches."""
        todo = [self.net.outputs[line.output].node for line in self.losses if line.weight]
        found: set[Node] = set()
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += node.inputs if node.layer.differentiable else ()
        return found

    def trains(self) -> bool:
        """Return whether a step changes any weight."""
        parameters = (p for node in self.reached() if node.layer.differentiable for p in node.parameters.values())
        return any(p.trainable and p.name not in self.freeze for p in parameters)

    def __repr__(self) -> str:
        return f"<recipe of {self.name}>"
