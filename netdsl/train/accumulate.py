"""Accumulate gradients: a step over several batches, with one update."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from netdsl.backend.emit import emit
from netdsl.backend.session import Session
from netdsl.base.user_error import UserError
from netdsl.elaborate.recipe import target_name
from netdsl.ir.graph import LOSS, STEP
from netdsl.passes.rewrite import prune
from netdsl.train.runner import Runner
from netdsl.train.step import GRADIENT, share_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.losses import Loss
    from netdsl.passes.blocked import Layout
    from netdsl.passes.finish import Finished
    from netdsl.train.runner import SessionArguments

    Feeds = Mapping[str, Array]


class TooFewToAccumulate(UserError, code="E0885", title="fewer examples than an update takes"):
    """With `accumulate N`, an update takes N batches, and an epoch has as many updates as it has full sets of them.

    ```sh
    netdsl train net.net --set train.accumulate=2
    ```
    """


def check_count(recipe: Recipe, dataset: Examples) -> None:
    """Raise TooFewToAccumulate if the examples do not suffice for an update."""
    if recipe.accumulate > 1 and not dataset.steps(recipe.step_batch):
        raise TooFewToAccumulate(
            f"`accumulate {recipe.accumulate}` takes {recipe.accumulate} batches of {recipe.batch:,} for each update, "
            f"{recipe.step_batch:,} examples, but there are {len(dataset):,}",
            "lower `accumulate` or `batch`",
        )


class Accumulation:
    """The batches of a step: how many, of how many examples, and which share of the loss each has.

    `shares` has the loss and the target of each input that is such a share.
    """

    __slots__ = ("batch", "count", "shares")

    def __init__(self, recipe: Recipe) -> None:
        self.batch = recipe.batch
        self.count = recipe.accumulate
        self.shares: dict[str, tuple[Loss, str]] = {
            share_name(line.output): (line.loss, target_name(recipe.net, line.output))
            for line in recipe.losses
            if line.loss.has_shares
        }

    def parts(self, feeds: Feeds) -> list[dict[str, Array]]:
        """Return the feeds of each batch, from those of all examples of a step; scalars are those of the step."""
        cuts = [slice(at, at + self.batch) for at in range(0, self.batch * self.count, self.batch)]
        parts = [{name: array[cut] if array.ndim else array for name, array in feeds.items()} for cut in cuts]
        for name, (loss, target) in self.shares.items():
            shares = [loss.share(part[target]) for part in parts]
            for part, share in zip(parts, shares, strict=True):
                part[name] = np.array(share / (sum(shares) or 1.0), np.float32)
        return parts


def without_update(graph: Graph) -> Graph:
    """Return a lowered step that adds its gradients to the sums of earlier batches, but changes no weight."""
    found = prune(graph)
    buffers = {name for name, p in graph.parameters.items() if p.declaration.buffer}
    kept = {name for name in graph.state if name.startswith(GRADIENT) or name == STEP or name in buffers}
    found.state = {name: state for name, state in found.state.items() if name in kept}
    return prune(found)


class AccumulatingRunner(Runner):
    """Runs steps of several batches: all but the last only add their gradients, and the last updates the weights.

    Between steps, the sums of the gradients are 0. They are no part of the state of a training, so checkpoints do not
    have them.
    """

    __slots__ = ("_add", "_adding", "_adding_bindings", "_failed", "_how", "_results")

    def __init__(
        self,
        graph: Graph,
        model: bytes,
        state: dict[str, Array],
        *,
        accumulation: Accumulation,
        adding: Finished,
        finished: Finished,
        layouts: Mapping[str, Layout],
        **how: Unpack[SessionArguments],
    ) -> None:
        """Initialize. `adding` is the finished form of the step without an update; the rest is as in `Runner`."""
        self._adding = adding
        super().__init__(graph, model, state, finished=finished, layouts=layouts, **how)
        self._add = Session(emit(adding.graph).model.SerializeToString(), name=graph.name, in_order=True, **how).native
        self._adding_bindings = [self._bound(self._add, adding, *sets) for sets in (self._sets, self._sets[::-1])]
        self._how = accumulation
        self._results: dict[str, Array] = {}
        self._failed: tuple[Feeds, int] | None = None

    def step(self, feeds: Feeds) -> None:
        """Run one step; `feeds` has the examples of all its batches. After a batch whose loss is not finite, the others
        do not run. Raises RunFailed."""
        results: dict[str, list[Array]] = {name: [] for name in self._outputs}
        for number, part in enumerate(self._how.parts(feeds)):
            if number + 1 < self._how.count:
                self._accumulate(part)
            else:
                super().step(part)
            for name, array in self._outputs.items():
                results[name].append(array.copy())
            if not isfinite(self._outputs[LOSS]):
                self._failed = part, number * self._how.batch
                break
        self._results = {name: np.concatenate(found) for name, found in results.items() if name != LOSS}
        self._results[LOSS] = np.array(sum(map(float, results[LOSS])), np.float32)
        for name, array in self._sets[self._turn].items():
            if name.startswith(GRADIENT):
                array.fill(0)

    def _accumulate(self, feeds: Feeds) -> None:
        """Add the gradients of a batch, and update the running statistics."""
        self._stopped = not self._run(self._add, self._adding_bindings[self._turn], feeds)
        if not isfinite(self._outputs[LOSS]):
            self._stopped = True
            return
        before, after = self._sets[self._turn], self._sets[self._turn ^ 1]
        for name in self._adding.graph.state:
            if before[name] is not after[name]:
                before[name][...] = after[name]

    def result(self, name: str) -> Array:
        return self._results[name].copy()

    def batch_of(self, feeds: Feeds) -> tuple[Feeds, int]:
        return self._failed or (feeds, 0)

    def _once(self) -> set[str]:
        return super()._once() - ({*self._adding.graph.state} - self._adding.overwritten)
