"""Build the graph of a training step from a net and a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.backend.compile import OPSET
from netdsl.base import limits
from netdsl.elaborate.recipe import target_name
from netdsl.ir.graph import FORWARD, LOSS, RATE, STEP, UPDATE, Line, Origin
from netdsl.lower import lower_training
from netdsl.passes.broadcast import broadcast_numbers
from netdsl.passes.gradient import gradients
from netdsl.passes.mixed import mixed
from netdsl.passes.pixel_products import pixel_products
from netdsl.passes.pool_first import pool_first
from netdsl.passes.rewrite import expand_macros, prune
from netdsl.passes.sink_transposes import sink_transposes
from netdsl.train.adversarial_loss import adversarial_loss
from netdsl.train.loss_scale import LossScale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.elaborate.recipe import LossLine, Recipe
    from netdsl.ir.graph import Graph, Scalar, Value
    from netdsl.ir.net import Net
    from netdsl.losses import Loss


GRADIENT = "netdsl/gradient/"
"""Prefix of the states that sum the gradient of a weight over the parts of a step."""


def share_name(output: str) -> str:
    """Return the input that is a part's share in the loss of an output over a whole step."""
    return f"netdsl/share/{output}"


AVERAGE = ".average"
"""Suffix of the states that are moving averages of weights and running statistics."""


@limits.kept()
def training_step(net: Net, recipe: Recipe, rows: int | None = None) -> Graph:
    """Return one training step as a graph: forward pass, loss, backward pass and update.

    Its inputs are a batch of the net's inputs, the targets of each loss (`target`, or `target.OUTPUT` if a net has
    several inference outputs) and the learning `rate`; its outputs are the scalar `loss`, the inference outputs, and
    the state for the next step. Macros are not expanded yet.

    With `rows`, it is the last part of a step that is computed in parts, one of this size: it adds its gradients to
    the sums of the earlier ones and updates the weights. The loss is the part's share of that of the step.

    With a `dtype` of half precision, the products of the layers and of their gradients are computed in it.
    """
    graph, loss = forward(net, recipe, rows)
    rate = graph.input(RATE, ())
    own = Origin(None, UPDATE, line_of(recipe, "optimizer"))
    _own(graph, own)
    scale = LossScale(graph) if recipe.dtype == "f16" else None
    with graph.owned(own):
        count = ops.add(ops.cast(graph.state[STEP].before, "f32"), 1.0)
        if scale is not None:
            count, loss = ops.sub(count, scale.skipped), scale.scaled(loss)
    weights = [p for p in graph.parameters.values() if p.declaration.trainable and p.name not in recipe.freeze]
    found = gradients(loss, weights)
    pairs: list[tuple[Value, Value]] = [(w, g) for w, g in zip(weights, found, strict=True) if g is not None]
    if rows is not None:
        pairs = [(w, summed(w, g)) for w, g in pairs]
    owners = {p.name: node for node in reversed(net.nodes) for p in node.parameters.values()}
    with graph.owned(own):
        if scale is not None:
            pairs = scale.unscaled(pairs)
        clipped = recipe.optimizer.clipped([g for _, g in pairs])
    for (w, _), g in zip(pairs, clipped, strict=True):
        update = UpdateState(w, rate, count, w.name not in recipe.undecayed)
        with graph.owned(own):
            recipe.optimizer.shared(update)
        with graph.owned(own._replace(node=owners[w.name])):
            graph.update(w, recipe.optimizer.update(w, g, update))
            update.finish()
    if recipe.average:
        with graph.owned(Origin(None, UPDATE, line_of(recipe, "average"))):
            update_averages(graph, recipe.average, count)
    if scale is not None:
        with graph.owned(own):
            scale.finish([state for name, state in graph.state.items() if _is_updated(name, graph)])
    graph = prune(graph)
    return broadcast_numbers(graph if recipe.dtype == "f32" else mixed(graph, recipe.dtype))


def _is_updated(name: str, graph: Graph) -> bool:
    """Return whether a state is part of an update: a weight, a state of the optimizer, or an average."""
    buffer = name in graph.parameters and graph.parameters[name].declaration.buffer
    return name != STEP and not buffer and not name.startswith(GRADIENT)


def line_of(recipe: Recipe, key: str) -> Line:
    """Return a line of the `train` block; one that is not written is at the beginning of the block."""
    return Line(key, recipe.spans.get(key, recipe.span))


def _own(graph: Graph, origin: Origin) -> None:
    """Give all operations without an origin this one."""
    for operation in graph.operations:
        operation.origin = operation.origin or origin


def update_averages(graph: Graph, decay: float, count: Value) -> None:
    """Add the moving averages a <- d a + (1 - d) w of all weights and running statistics w that a step changes, with
    d = min(decay, (1 + t) / (10 + t)) in step t, counted from 1. They begin as the initial weights."""
    change = ops.maximum(ops.div(9.0, ops.add(count, 10.0)), 1 - decay)
    for name in [name for name in graph.state if name in graph.parameters]:
        after = graph.state[name].after
        before = graph.state_input(name + AVERAGE, after.shape, after.dtype)
        graph.update(before, ops.add(before, ops.mul(ops.sub(after, before), change)))


def summed(w: Value, g: Value) -> Value:
    """Return the sum of a gradient and those of earlier parts, kept for the next one."""
    before = w.graph.state_input(GRADIENT + w.name, w.shape, w.dtype)
    with w.graph.owned(g.origin):
        after = ops.add(before, g)
    w.graph.update(before, after, 0.0)
    return after


def forward(net: Net, recipe: Recipe, rows: int | None = None, *, reorder: bool = True) -> tuple[Graph, Value]:
    """Return the graph from the inputs to the loss, and the loss; its outputs are the inference outputs of the net. It
    is for a whole step, or for a part of `rows` examples. Without `reorder`, layers keep the order of the source."""
    batch = recipe.batch if rows is None else rows
    whole = None if rows is None else recipe.step_batch
    sync = recipe.shards if recipe.sync_bn and rows is not None and recipe.shards > 1 else 0
    lowered = lower_training(net, batch=batch, seed=recipe.seed, frozen=recipe.freeze, step_batch=whole, sync_bn=sync)
    graph = pixel_products(pool_first(lowered)) if reorder else lowered
    part = None if rows is None else rows / recipe.step_batch
    loss = total_loss(graph, net, recipe.losses, part)
    with graph.owned(Origin(None, FORWARD, line_of(recipe, "augment"))):
        loss = adversarial_loss(graph, loss, recipe.augment)
    for output in net.outputs.values():
        if output.training:
            del graph.outputs[output.name]
    with graph.owned(Origin(None, FORWARD, line_of(recipe, "loss"))):
        graph.output(LOSS, ops.identity(loss) if loss in graph.outputs.values() else loss)
    return graph, graph.outputs[LOSS]


def total_loss(graph: Graph, net: Net, lines: Sequence[LossLine], part: float | None = None) -> Value:
    """Return the weighted sum of the losses of a graph's outputs, adding the targets as inputs. For a part of a step,
    this fraction of its examples, it is the part's share, which is another input if it depends on the targets."""
    terms = []
    for line in lines:
        with graph.owned(Origin(None, FORWARD, Line("loss", line.span))):
            value, weight = loss_value(graph, net, line), line.weight
            if part is not None and line.loss.has_shares:
                value = ops.mul(value, graph.input(share_name(line.output), ()))
            elif part is not None:
                weight *= part
            terms.append(ops.mul(value, weight) if weight != 1 else value)
    with graph.owned(Origin(None, FORWARD, Line("loss", lines[0].span))):
        return ops.add(*terms) if len(terms) > 1 else terms[0]


def loss_value(graph: Graph, net: Net, line: LossLine) -> Value:
    """Return the loss of an output, without its weight, adding as inputs the target, and inputs of the net that only
    the loss reads."""
    y = graph.outputs[line.output]
    if not line.loss.reads_target:
        return line.loss.body(y)  # type: ignore[call-arg]
    names = {getattr(line.loss, key) for key in line.loss.values}
    for node in net.inputs:
        if node.name in names and node.name not in graph.inputs:
            graph.input(node.name, (y.shape[0], *node.shape), node.dtype)
    return line.loss.body(y, _target(graph, target_name(net, line.output), y, line.loss))


def _target(graph: Graph, name: str, y: Value, loss: Loss) -> Value:
    if name not in graph.inputs:
        target = loss.target(y.shape[1:])
        graph.input(name, (y.shape[0], *target.shape), target.dtype)
    return graph.inputs[name]


class UpdateState:
    """The update of one weight, for its optimizer: the learning rate, the step number starting at 1, and persistent
    slots."""

    __slots__ = ("_after", "_slots", "_weight", "decays", "rate", "step")

    def __init__(self, weight: Value, rate: Value, step: Value, decays: bool) -> None:
        self.rate = rate
        self.step = step
        self.decays = decays
        self._weight = weight
        self._slots: dict[str, tuple[Value, Scalar]] = {}
        self._after: dict[str, Value] = {}

    def slot(self, name: str, initial: float = 0.0) -> Value:
        """Return a state of the weight's shape, kept from the previous step."""
        if name not in self._slots:
            weight = self._weight
            value = weight.graph.state_input(f"{weight.name}.{name}", weight.shape, weight.dtype)
            self._slots[name] = value, initial
        return self._slots[name][0]

    def set_state(self, name: str, value: Value) -> None:
        self._after[name] = value

    def finish(self) -> None:
        for name, (before, initial) in self._slots.items():
            before.graph.update(before, self._after[name], initial)


@limits.kept()
def portable(graph: Graph) -> Graph:
    """Return a step with few transpositions, and no macros but those that ONNX has at the default opset."""
    return prune(sink_transposes(expand_macros(graph, OPSET)))
