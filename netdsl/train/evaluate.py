"""Evaluation: loss and metrics of a net in inference mode over a data set."""

from __future__ import annotations

from itertools import count, zip_longest
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.backend.emit import emit
from netdsl.backend.session import Session, failed
from netdsl.data.dataset import Dataset
from netdsl.elaborate.recipe import target_name
from netdsl.ir.graph import LOSS
from netdsl.losses.sequence import Ctc
from netdsl.lower import lower
from netdsl.metrics import ended, without_ignored
from netdsl.passes.rewrite import expand_macros, prune
from netdsl.train.alignment import is_sequence, refuse_unaligned, with_longest
from netdsl.train.ranks import ALONE
from netdsl.train.step import loss_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from onnxruntime import InferenceSession, OrtValue

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import LossLine, MetricLine, Recipe
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net
    from netdsl.metrics import Metric
    from netdsl.train.ranks import Ranks
    from netdsl.train.runner import SessionArguments

    State = dict[str, dict[str, Any]]
    Losses = dict[str, tuple[float, float]]

SMALL_BATCH = 2**14
"""Maximum number of elements of a batch of outputs that counts as small."""


class Measures:
    """The metrics of a recipe by their names in logs: `accuracy`, or `OUTPUT.accuracy` for several outputs."""

    __slots__ = ("_blanks", "_block", "_ignored", "_lengths", "_targets", "_waiting", "by_name", "lines")

    def __init__(self, recipe: Recipe, *, numbers: bool = False, block: int = 1) -> None:
        """Initialize. With `numbers`, keep only metrics that are single numbers. Counting metrics process up to `block`
        small batches per call, because NumPy's overhead per call would dominate otherwise."""
        outputs = recipe.net.inference_outputs
        self.lines: dict[str, MetricLine] = {}
        for line in recipe.metrics:
            if line.output in outputs and (line.metric.better or not numbers):
                name = line.metric.name if len(outputs) == 1 else f"{line.output}.{line.metric.name}"
                self.lines.setdefault(name, line)
        self.by_name: dict[str, Metric] = {
            name: type(line.metric)(**{key: getattr(line.metric, key) for key in line.metric.arguments})
            for name, line in self.lines.items()
        }
        self._targets = {name: target_name(recipe.net, line.output) for name, line in self.lines.items()}
        targets = recipe.targets
        self._ignored = {name: targets[target].ignore for name, target in self._targets.items()}
        lengths = {line.output: line.loss.lengths for line in recipe.losses if isinstance(line.loss, Ctc)}
        self._lengths = {name: lengths.get(line.output) for name, line in self.lines.items()}
        self._blanks = {name: targets[target].blank for name, target in self._targets.items()}
        self._block = block
        self._waiting: dict[str, list[tuple[Array, Array]]] = {name: [] for name in self.lines}

    def reset(self) -> None:
        self._flush()
        for metric in self.by_name.values():
            metric.reset()

    def update(self, outputs: Callable[[str], Array], feeds: Mapping[str, Array]) -> None:
        """Add a batch. Its arrays must not change afterwards; `outputs` returns an output of the net by name."""
        for name, metric in self.by_name.items():
            output, target = outputs(self.lines[name].output), feeds[self._targets[name]]
            output, target = without_ignored(output, target, self._ignored[name])
            lengths, blank = self._lengths[name], self._blanks[name]
            if lengths is not None and blank is not None:
                output = ended(output, feeds[lengths], blank)
            if self._block == 1 or not metric.counts or output.size > SMALL_BATCH:
                metric.update(output, target)
                continue
            waiting = self._waiting[name]
            waiting.append((output, target))
            if len(waiting) == self._block:
                self._flush()

    def _flush(self) -> None:
        """Update the metrics with the pending batches."""
        for name, waiting in self._waiting.items():
            if waiting:
                outputs, targets = zip(*waiting, strict=True)
                self.by_name[name].update(np.concatenate(outputs), np.concatenate(targets))
                waiting.clear()

    def values(self) -> dict[str, Any]:
        self._flush()
        return {name: metric.value() for name, metric in self.by_name.items()}

    def state(self) -> State:
        """Return the accumulated state as JSON data."""
        self._flush()
        return {name: metric.state() for name, metric in self.by_name.items()}

    def take_rounded(self) -> State:
        """Return and reset the states of the metrics whose sums are rounded, which depend on the order of the terms."""
        rounded = {name: metric for name, metric in self.by_name.items() if not metric.counts}
        state = {name: metric.state() for name, metric in rounded.items()}
        for metric in rounded.values():
            metric.reset()
        return state

    def merge(self, state: State) -> None:
        """Add the state of other measures of the same recipe, or that of some of its metrics."""
        for name, values in state.items():
            self.by_name[name].merge(values)

    def restore(self, state: State) -> None:
        for name, metric in self.by_name.items():
            metric.restore(state[name])


def merged_values(recipe: Recipe, states: Iterable[State]) -> dict[str, float]:
    """Return the metrics that are single numbers over the states of several measures, added in their order.

    With a state for each shard of a training, in the order of the shards, the bits do not depend on which process has
    which shards.
    """
    merged = Measures(recipe, numbers=True)
    for state in states:
        merged.merge(state)
    return merged.values()


class Sums:
    """The sums over evaluated batches that determine the loss and the metrics."""

    __slots__ = ("_lines", "_losses", "_measures", "_recipe")

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._lines = evaluated_losses(recipe)
        self._losses: Losses = dict.fromkeys(self._lines, (0.0, 0.0))
        self._measures = Measures(recipe)

    def update(self, outputs: Mapping[str, Array], feeds: Mapping[str, Array]) -> None:
        """Add a batch; `outputs` has its losses too."""
        self._measures.update(outputs.__getitem__, feeds)
        for name, line in self._lines.items():
            if line.loss.reads_target:
                share = line.loss.share(feeds[target_name(self._recipe.net, line.output)])
            else:
                share = len(next(iter(feeds.values())))
            self._add({name: (float(outputs[name]) * share, share)})

    def state(self) -> tuple[Losses, State]:
        return self._losses, self._measures.state()

    def take_rounded(self) -> tuple[Losses, State]:
        """Return and reset the part of the state that depends on the order of the batches."""
        losses, self._losses = self._losses, dict.fromkeys(self._losses, (0.0, 0.0))
        return losses, self._measures.take_rounded()

    def merge(self, losses: Losses, state: State) -> None:
        """Add the state of other sums, or a part of it."""
        self._add(losses)
        self._measures.merge(state)

    def _add(self, losses: Losses) -> None:
        for name, (total, share) in losses.items():
            before, shares = self._losses[name]
            self._losses[name] = before + total, shares + share

    def values(self) -> dict[str, Any]:
        """Return the loss and each metric by name."""
        sums = ((line.weight, *self._losses[name]) for name, line in self._lines.items())
        return {LOSS: sum(weight * total / (share or nan) for weight, total, share in sums), **self._measures.values()}


class Evaluator:
    """The inference graph of a net with its losses, whose weights are inputs, for evaluation during training.

    There is one session per batch size, since the last batch can be smaller than the others, and per size of targets
    that the data determine.
    """

    __slots__ = ("_how", "_recipe", "_sessions")

    def __init__(
        self, recipe: Recipe, *, threads: int | None = None, provider: str = "cpu", allow_fallback: bool = False
    ) -> None:
        self._recipe = recipe
        self._how: SessionArguments = {"threads": threads, "provider": provider, "allow_fallback": allow_fallback}
        self._sessions: dict[tuple[tuple[int, ...], ...], tuple[InferenceSession, list[str]]] = {}

    def run(
        self,
        weights: Mapping[str, OrtValue],
        dataset: Examples,
        batch: int,
        shown: Callable[[int], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> dict[str, Any]:
        """Return the loss and each metric by name, with the same bits for any number of ranks.

        Rank r of n evaluates the batches r, r + n, …; their sums are added in the order of the batches. `shown` is
        called with the number of examples processed so far, as if all ranks were equally fast.
        """
        recipe, sums, whole = self._recipe, Sums(self._recipe), Sums(self._recipe)
        parts = []
        first, every = ranks.rank, ranks.size
        batches = dataset.batches(batch, seed=0, epoch=0, first=first, every=every, shuffle=False, drop_last=False)
        for number, feeds in zip(count(first, every), batches):
            if not isinstance(dataset, Dataset):
                refuse_unaligned(recipe, feeds, f"the batch after {number * batch:,} examples")
            sums.update(self._outputs(weights, feeds), feeds)
            if ranks.size > 1:
                parts.append(sums.take_rounded())
            if shown is not None:
                shown(min((number + ranks.size) * batch, len(dataset)))
        for turn in zip_longest(*ranks.exchange([*parts, sums.state()])):
            for part in filter(None, turn):
                whole.merge(*part)
        return whole.values()

    def _outputs(self, weights: Mapping[str, OrtValue], feeds: Mapping[str, Array]) -> dict[str, Array]:
        shapes = {name: feeds[name].shape for name in self._recipe.targets}
        batch = len(next(iter(feeds.values())))
        key = (batch,), *shapes.values()
        if key not in self._sessions:
            self._sessions[key] = _session(evaluation_graph(self._recipe, batch, shapes), self._how)
        session, parameters = self._sessions[key]
        binding = session.io_binding()
        for name in parameters:
            binding.bind_ortvalue_input(name, weights[name])
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        names = [output.name for output in session.get_outputs()]
        for name in names:
            binding.bind_output(name)
        try:
            session.run_with_iobinding(binding)
        except Exception as error:
            raise failed(self._recipe.net.name, error) from None
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))


def evaluated_losses(recipe: Recipe) -> dict[str, LossLine]:
    """Return the losses that count in evaluation by their names in its graph."""
    return {f"{LOSS}.{line.output}": line for line in recipe.evaluated}


def evaluation_graph(recipe: Recipe, batch: int, targets: Mapping[str, tuple[int, ...]]) -> Graph:
    """Return the inference graph with the losses of its outputs for a batch and targets of fixed shapes."""
    net: Net = recipe.net
    lines = evaluated_losses(recipe)
    graph = lower(net, batch=batch, training=[line.output for line in lines.values()])
    outputs = dict(graph.outputs)
    for name, line in lines.items():
        if is_sequence(line):
            line = with_longest(line, targets[target_name(net, line.output)][1])
        graph.output(name, loss_value(graph, net, line))
        assert graph.outputs[name] not in outputs.values()
    for output in net.outputs.values():
        if output.training:
            graph.outputs.pop(output.name, None)
    return prune(expand_macros(graph))


def _session(graph: Graph, how: SessionArguments) -> tuple[InferenceSession, list[str]]:
    model = emit(graph).skeleton.SerializeToString()
    return Session(model, name=graph.name, **how).native, list(graph.parameters)
