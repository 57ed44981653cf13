"""Steps that are computed in parts: shards of the rows, over several processes, and batches one after the other."""

from __future__ import annotations

from itertools import pairwise, zip_longest
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from netdsl.backend.session import Session
from netdsl.base.terminal import plural
from netdsl.base.user_error import UserError
from netdsl.ir.graph import LOSS, RATE, ROW
from netdsl.passes.finish import finish
from netdsl.passes.mixed import half_type
from netdsl.passes.rewrite import Copy, prune
from netdsl.train.folder import ANOTHER_RUN
from netdsl.train.precision import PRODUCT_NODES
from netdsl.train.ranks import ALONE
from netdsl.train.runner import Bound, Runner, aligned_views, to_run, zeros
from netdsl.train.step import GRADIENT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Unpack

    from onnxruntime import InferenceSession

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.losses import Loss
    from netdsl.passes.blocked import Layout
    from netdsl.passes.finish import Finished
    from netdsl.train.ranks import Ranks
    from netdsl.train.runner import SessionArguments

    Arrays = dict[str, Array]
    Feeds = Mapping[str, Array]


class TooFewToAccumulate(UserError, code="E0885", title="fewer examples than an update takes"):
    """With `accumulate N`, an update takes N batches, and an epoch has as many updates as it has full sets of them.

    ```sh
    netdsl train net.net --set train.accumulate=2
    ```
    """


class ShardsMisfit(UserError, code="E0889", title="shards that do not fit"):
    """`shards S` divides the examples of a step into S parts of at least one example, whose gradients are added in a
    binary tree. Over n processes, each computes S/n of them. So that the sum has the same bits for every n, S/n must be
    a power of two; a single process takes any S.

    ```sh
    mpirun -n 4 netdsl train net.net --set train.shards=8
    ```
    """


def check_division(recipe: Recipe, dataset: Examples, ranks: Ranks, *, kept: bool = False) -> None:
    """Raise TooFewToAccumulate if the examples do not suffice for an update, and ShardsMisfit if the shards do not fit
    the examples of a step or the processes. A run that resumes has `kept` its number of shards."""
    rows, shards, size = recipe.step_batch, recipe.shards, ranks.size
    if recipe.accumulate > 1 and not dataset.steps(rows):
        raise TooFewToAccumulate(
            f"`accumulate {recipe.accumulate}` takes {recipe.accumulate} batches of {recipe.batch:,} for each update, "
            f"{rows:,} examples, but there are {len(dataset):,}",
            "lower `accumulate` or `batch`",
        )
    if shards > rows:
        raise ShardsMisfit(
            f"a step of {rows:,} examples cannot be divided into {shards:,} shards",
            f"lower `shards`, or raise `batch` to at least {shards:,}",
        )
    each, rest = divmod(shards, size)
    if size > 1 and (rest or each & (each - 1)):
        fitting = _fitting(shards, size)
        start = f"start {fitting:,} process{'es' * (fitting > 1)}"
        raise ShardsMisfit(
            f"{size:,} processes cannot hold {plural(shards, 'shard')}: the shards per process must be a power of 2",
            *([start, ANOTHER_RUN] if kept else [f"{start}, or write `shards {size:,}`, or a power of 2 times that"]),
        )


def _fitting(shards: int, size: int) -> int:
    """Return the largest fitting number of processes below a given one."""
    each = [2**k for k in range(shards.bit_length()) if shards % 2**k == 0]
    return max((shards // k for k in each if shards // k < size), default=1)


class Division:
    """How the rows of a step are divided: into shards, of which each rank holds as many consecutive ones, and each
    shard into parts of at most a batch, which are computed one after the other. All are as equal as possible."""

    __slots__ = ("batch", "own", "rows", "shards")

    def __init__(self, recipe: Recipe, ranks: Ranks = ALONE) -> None:
        self.rows = recipe.step_batch
        self.batch = recipe.batch
        self.shards = recipe.shards or 1
        each = self.shards // ranks.size
        self.own = range(each * ranks.rank, each * (ranks.rank + 1))
        """The shards of this rank."""

    def shard(self, number: int) -> tuple[int, int]:
        """Return the first row of a shard, and that after the last."""
        return self.rows * number // self.shards, self.rows * (number + 1) // self.shards

    def parts(self, number: int) -> list[tuple[int, int]]:
        """Return the rows of the parts of a shard in the same form."""
        begin, end = self.shard(number)
        count = -(-(end - begin) // self.batch)
        cuts = [begin + (end - begin) * i // count for i in range(count + 1)]
        return list(pairwise(cuts))

    def weight(self, number: int) -> Array:
        """Return the fraction of the step that a shard is."""
        begin, end = self.shard(number)
        return np.array((end - begin) / self.rows, np.float32)

    @property
    def own_rows(self) -> tuple[int, int]:
        """The rows of this rank."""
        return self.shard(self.own[0])[0], self.shard(self.own[-1])[1]

    @property
    def table(self) -> list[list[int]]:
        """The sizes of the parts of each shard."""
        return [[end - begin for begin, end in self.parts(number)] for number in range(self.shards)]

    @property
    def sizes(self) -> list[int]:
        """The sizes of all parts, largest first."""
        return sorted({size for each in self.table for size in each}, reverse=True)

    @property
    def joint_sizes(self) -> list[int]:
        """The sizes of the parts of all shards with the same number together."""
        return [sum(each) for each in zip_longest(*self.table, fillvalue=0)]


def without_update(graph: Graph) -> Graph:
    """Return a lowered step that adds its gradients to the sums of earlier parts and follows running statistics, but
    changes no weight."""
    sums, statistics = summed_names(graph)
    return _cut(graph, {*sums, *statistics}, ())


def only_update(graph: Graph) -> Graph:
    """Return the end of a lowered step: the update of the weights, from the sums of their gradients."""
    done = {name for names in summed_names(graph) for name in names}
    found = _cut(graph, graph.state.keys() - done, done)
    found.outputs = {}
    return _cut(found, found.state, ())


def summed_names(graph: Graph) -> tuple[list[str], list[str]]:
    """Return the names of the sums of gradients, and of the running statistics that a step changes."""
    buffers = [name for name, p in graph.parameters.items() if p.declaration.buffer and name in graph.state]
    return [name for name in graph.state if name.startswith(GRADIENT)], buffers


def _cut(graph: Graph, kept: Collection[str], done: Collection[str]) -> Graph:
    """Return what the outputs and the states `kept` need of a graph; other states are inputs. Those that are `done`
    have the values already that they have after the step."""
    copy = Copy(graph)
    after = {graph.state[name].after: graph.state[name].before for name in done}
    for operation in graph.operations:
        copy.keep(operation)
        copy.values.update((y, copy.value(after[y])) for y in operation.outputs if y in after)
    cut = copy.finish()
    read = {name: state.before for name, state in cut.state.items() if name not in kept}
    cut.inputs.update((name, x) for name, x in read.items() if name not in cut.parameters)
    cut.state = {name: state for name, state in cut.state.items() if name in kept}
    cut = prune(cut)
    used = {*cut.outputs.values(), *(x for operation in cut.operations for x in operation.inputs)}
    cut.inputs = {name: x for name, x in cut.inputs.items() if x in used}
    return cut


class DividedRunner(Runner):
    """Runs steps in parts. Each part adds its gradients to the sums of its shard, the shards are added in a binary
    tree, within this process and then over all, and one update follows.

    The sums and the running statistics are views of one flat buffer, the message to the other ranks, at whose end are
    the loss and the `signals`. Running statistics follow the parts of a shard one after the other; those of a step are
    the mean over its shards, weighted by their rows. Between steps, the sums have no meaning, and are no part of the
    state of a training.
    """

    in_turns = True
    __slots__ = (
        "_division",
        "_failed",
        "_flat",
        "_levels",
        "_loss",
        "_losses",
        "_parts",
        "_ranks",
        "_results",
        "_statistics",
    )

    def __init__(
        self,
        graph: Graph,
        model: bytes,
        state: Arrays,
        *,
        adding: Mapping[int, Graph],
        finished: Finished,
        layouts: Mapping[str, Layout],
        division: Division,
        losses: Mapping[str, tuple[Loss, str]],
        ranks: Ranks,
        **how: Unpack[SessionArguments],
    ) -> None:
        """Initialize. `adding` has the lowered step without an update for each size of a part, `finished` and `model`
        are the update alone; `losses` are those whose shares depend on their targets, with the target, by the input
        that is a part's share. The rest is as in `Runner`."""
        self._division = division
        self._losses = losses
        self._ranks = ranks
        self._failed: tuple[Feeds, int] | None = None
        self._results: Arrays = {}
        self._levels: list[Array] = []
        super().__init__(graph, model, state, finished=finished, layouts=layouts, **how)
        self._prepare(adding, how)

    def _prepare(self, adding: Mapping[int, Graph], how: SessionArguments) -> None:
        """Load the step without an update for each size of a part."""
        self._parts = {}
        for rows, each in adding.items():
            finished = finish(each, LOSS, join=False)
            outputs = {name: zeros(y) for name, y in finished.graph.outputs.items()}
            self._parts[rows] = Part(load(finished, how), finished, self._sets, outputs)

    def step(self, feeds: Feeds) -> None:
        """Run one step; `feeds` has the rows of this rank. After a part whose loss is not finite, the others do not
        run, and no rank updates its weights. Raises RunFailed."""
        signals, self._failed, self._stopped = self.signals.copy(), None, False
        statistics = {name: view.copy() for name, view in self._statistics.items()}
        found: dict[str, list[Array]] = {name: [] for name in self._outputs if name != LOSS}
        with np.errstate(over="ignore", invalid="ignore"):  # of gradients whose loss scale is too large
            self._add(self._divided(feeds), statistics, found)
            self.signals[...] = signals
            self._ranks.sum(self._flat)
        self._outputs[LOSS][...] = self._loss[0]
        self._results = {name: np.concatenate(each) for name, each in found.items() if each}
        if isfinite(self._loss[0]):
            super().step(feeds)
        else:
            self._stopped = True
            for name, view in self._statistics.items():
                view[...] = statistics[name]

    def _divided(self, feeds: Feeds) -> list[list[Feeds]]:
        """Return the inputs of each part of each shard of this rank."""
        division = self._division
        first, shares = division.own_rows[0], iter(self._shares(feeds))

        def part(begin: int, end: int) -> Feeds:
            rows = slice(begin - first, end - first)
            given = {name: array[rows] if array.ndim else array for name, array in feeds.items()}
            return given | {**next(shares), ROW: np.array(begin, np.uint32)}

        return [[part(*rows) for rows in division.parts(shard)] for shard in division.own]

    def _add(self, parts: list[list[Feeds]], statistics: Arrays, found: dict[str, list[Array]]) -> None:
        """Compute the sum of the shards of this rank, and append the outputs of their parts to `found`. `statistics`
        are those before the step."""
        for number, shard in enumerate(self._division.own):
            self._flat.fill(0)
            for name, view in self._statistics.items():
                view[...] = statistics[name]
            self._shard(shard, parts[number], found)
            if self._failed is not None:
                break
            self._carry(number)

    def _shard(self, shard: int, parts: list[Feeds], found: dict[str, list[Array]]) -> None:
        """Compute the sums, the running statistics and the loss of a shard."""
        division, loss = self._division, 0.0
        for (begin, end), given in zip(division.parts(shard), parts, strict=True):
            outputs = self._parts[end - begin].run(given, self._turn, self._sets[0])
            loss += float(outputs[LOSS])
            for name, each in found.items():
                each.append(outputs[name].copy())
            if not isfinite(loss):
                self._failed = given, begin
                break
        self._loss[0] = loss
        if division.shards > 1:
            for view in self._statistics.values():
                view *= division.weight(shard)

    def _carry(self, number: int) -> None:
        """Add to the sums of a shard those of the earlier ones with which it completes a subtree, or, after the last
        shard, the whole tree of this rank. Otherwise keep them: partial sums are counted up like binary digits."""
        is_last, level = number + 1 == len(self._division.own), 0
        while number >> level and (is_last or number >> level & 1):
            if number >> level & 1:
                self._flat += self._levels[level]
            level += 1
        if not is_last:
            while len(self._levels) <= level:
                self._levels.append(np.empty_like(self._flat))
            self._levels[level][...] = self._flat

    def _shares(self, feeds: Feeds) -> list[dict[str, Array]]:
        """Return the inputs of each part of this rank that have its shares of the losses."""
        first = self._division.own_rows[0]
        parts = [part for shard in self._division.own for part in self._division.parts(shard)]
        own = [
            {
                name: loss.share(feeds[target][begin - first : end - first])
                for name, (loss, target) in self._losses.items()
            }
            for begin, end in parts
        ]
        every = [part for rank in self._ranks.exchange(own) for part in rank] if self._losses else []
        totals = {name: sum(part[name] for part in every) or 1.0 for name in self._losses}
        return [{name: np.array(share / totals[name], np.float32) for name, share in part.items()} for part in own]

    def result(self, name: str) -> Array:
        return super().result(name) if name == LOSS else self._results[name].copy()

    def batch_of(self, feeds: Feeds) -> tuple[Feeds, int] | None:
        return None if self._failed is None else ({**self._failed[0], RATE: feeds[RATE]}, self._failed[1])

    def _encoded(self, name: str, array: Array) -> Array:
        """Return the array itself if it is copied only once it has a place."""
        return array if name.startswith(GRADIENT) and name not in self._layouts else super()._encoded(name, array)

    def _once(self, finished: Finished) -> set[str]:
        return super()._once(finished).union(*summed_names(self.graph))

    def _placed(self, state: Arrays) -> Arrays:
        sums, statistics = summed_names(self.graph)
        shapes = {name: state[name].shape for name in (*sums, *statistics)}
        self._flat, views = aligned_views(shapes, 1 + len(self.signals))
        for name, view in views.items():
            view[...] = state[name]
        self._statistics = {name: views[name] for name in statistics}
        self._loss, self.signals = np.split(self._flat[-1 - len(self.signals) :], [1])
        return state | views


def load(finished: Finished, how: SessionArguments) -> InferenceSession:
    """Return onnxruntime's session of a finished graph."""
    graph = finished.graph
    never_left = PRODUCT_NODES if half_type(graph) else ()
    session = Session(to_run(graph), name=graph.name, in_order=True, in_turns=True, never_left=never_left, **how)
    return session.native


class Part:
    """A session that computes parts of one size, or a stage of them, bound to either set of states."""

    __slots__ = ("_bound", "_made", "outputs")

    def __init__(
        self, native: InferenceSession, finished: Finished, sets: tuple[Arrays, Arrays], outputs: Arrays
    ) -> None:
        self.outputs = outputs
        self._made = {name: np.empty_like(sets[0][name]) for name in {*finished.graph.state} - finished.overwritten}
        self._bound = [Bound(native, finished, each, {**each, **self._made}, outputs) for each in sets]

    def run(self, feeds: Feeds, turn: int, sums: Arrays) -> Arrays:
        """Add the gradients of a part to `sums`, and return its outputs. Raises RunFailed."""
        self._bound[turn].run(feeds)
        for name, made in self._made.items():
            sums[name][...] = made
        return self.outputs
