"""Steps whose batch normalization has the statistics of all shards: the shards take turns, stage by stage."""

from __future__ import annotations

from math import isfinite, nan, prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.backend.emit import ELEMENT_TYPES
from netdsl.ir.graph import LOSS, OWN_SHARD, ROW, SHARD_ROWS
from netdsl.ops.base import known
from netdsl.passes.finish import finish
from netdsl.passes.stages import KEPT, SUMMED, stages
from netdsl.train.loss_scale import LOSS_SCALE
from netdsl.train.ranks import tree_sum
from netdsl.train.runner import aligned_views, zeros
from netdsl.train.shards import DividedRunner, Part, load, summed_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.ir.graph import Graph
    from netdsl.train.runner import SessionArguments

    Arrays = dict[str, Array]
    Feeds = Mapping[str, Array]
    Vectors = list[tuple[Array, Arrays]]

MAX_WASTE = 2
"""Maximum size of memory that is used again, as a multiple of that of the value."""


class StagedRunner(DividedRunner):
    """Runs divided steps in stages: a stage of a part for all shards of this rank, one after the other, then the sum of
    its vectors over all shards, which later stages read.

    The parts of all shards with the same number are computed together. A shard of this rank therefore has its own sums
    of gradients, running statistics and values between stages. A stage after which a sum is not finite is the last one,
    in all ranks, unless the gradients have a loss scale, which may be too large.
    """

    __slots__ = ("_shards",)

    def _prepare(self, adding: Mapping[int, Graph], how: SessionArguments) -> None:
        loaded = {rows: [Stage(each, how) for each in stages(graph)] for rows, graph in adding.items()}
        (shapes, *others) = ([stage.vectors for stage in each] for each in loaded.values())
        assert all(each == shapes for each in others), "parts of all sizes have the same sums"
        first = {name: self._sets[0][name] for each in summed_names(self.graph) for name in each}
        places = [(self._flat, first)]
        for _ in self._division.own[1:]:
            places.append(aligned_views({name: view.shape for name, view in first.items()}, 1 + len(self.signals)))
        totals = [aligned_views(each) for each in shapes]
        self._shards: list[Shard] = []
        for flat, sums in places:
            vectors = [aligned_views(each) for each in shapes] if self._shards else totals
            self._shards.append(Shard(flat, sums, self._sets, loaded, vectors, totals))

    def _add(self, parts: list[list[Feeds]], statistics: Arrays, found: dict[str, list[Array]]) -> None:
        division = self._division
        sizes, places = division.table, np.eye(division.shards, dtype=np.float32)
        for shard in self._shards:
            shard.reset(statistics)
        for at in range(len(division.joint_sizes)):
            rows = np.array([[each[at] if at < len(each) else 0] for each in sizes], np.float32)
            for number, shard, own in zip(division.own, self._shards, parts, strict=True):
                place = {OWN_SHARD: places[:, [number]], SHARD_ROWS: rows}
                shard.feeds = {**own[at], **place} if at < len(own) else None
            if not self._run():
                break
        for number, shard in zip(division.own, self._shards, strict=True):
            for name, results in found.items():
                results += [outputs[name] for outputs in shard.results]
            shard.flat[-1 - len(self.signals)] = shard.loss
            for name in statistics:
                shard.sums[name] *= division.weight(number)
        tree_sum([shard.flat for shard in self._shards])

    def _run(self) -> bool:
        """Compute the parts that the shards of this rank have been given, and return whether all stages were run."""
        *before, last = range(len(self._shards[0].vectors))
        for stage in before:
            for shard in self._shards:
                shard.run(stage, self._turn)
            self._find_failed(not np.isfinite(shard.vectors[stage][0]).all() for shard in self._shards)
            total = tree_sum([shard.vectors[stage][0] for shard in self._shards])
            self._ranks.sum(total)
            if LOSS_SCALE not in self.graph.state and not np.isfinite(total).all():
                self._shards[0].loss = nan
                return False
        for shard in self._shards:
            shard.run(last, self._turn)
            shard.end_part()
        self._find_failed(not isfinite(shard.loss) for shard in self._shards)
        return True

    def _find_failed(self, failed: Iterable[bool]) -> None:
        """Keep the part of the first shard that failed, to be computed alone."""
        for shard, each in zip(self._shards, failed, strict=True):
            if each and shard.feeds is not None and self._failed is None:
                own = {SHARD_ROWS: shard.feeds[SHARD_ROWS] * shard.feeds[OWN_SHARD]}
                self._failed = {**shard.feeds, **own}, int(shard.feeds[ROW])


class Stage:
    """A loaded stage of the parts of one size, and the shapes of its vectors that are summed over all shards."""

    __slots__ = ("finished", "native", "vectors")

    def __init__(self, graph: Graph, how: SessionArguments) -> None:
        self.finished = finish(graph, LOSS if LOSS in graph.outputs else None, join=False)
        self.native = load(self.finished, how)
        self.vectors = {name: known(y.shape) for name, y in graph.outputs.items() if name.startswith(SUMMED)}


class Shard:
    """A shard of this rank: its `flat` buffer with the `sums`, `vectors` to be summed after each stage and their
    `totals`, and the part that it computes, whose inputs are `feeds`; None for none.

    `results` are the outputs of the parts of a step, and `loss` the sum of their losses.
    """

    __slots__ = ("_outputs", "_stages", "feeds", "flat", "loss", "results", "sums", "vectors")

    def __init__(
        self,
        flat: Array,
        sums: Arrays,
        sets: tuple[Arrays, Arrays],
        loaded: Mapping[int, Sequence[Stage]],
        vectors: Vectors,
        totals: Vectors,
    ) -> None:
        self.flat = flat
        self.sums = sums
        self.vectors = vectors
        self.feeds: Feeds | None = None
        self.loss = 0.0
        self.results: list[Arrays] = []
        self._stages: dict[int, list[Part]] = {}
        self._outputs: dict[int, Arrays] = {}
        known_totals = {name: view for _, views in totals for name, view in views.items()}
        own = {name: view for _, views in vectors for name, view in views.items()}
        for rows, each in loaded.items():
            graphs = [stage.finished.graph for stage in each]
            kept = kept_arrays(graphs)
            ends = {name: y for graph in graphs for name, y in graph.outputs.items() if name not in {**kept, **own}}
            self._outputs[rows] = {name: zeros(y) for name, y in ends.items()}
            read = [{**half, **sums, **kept, **known_totals} for half in sets]
            written = {**kept, **own, **self._outputs[rows]}
            self._stages[rows] = [
                Part(
                    stage.native,
                    stage.finished,
                    (read[0], read[1]),
                    {name: written[name] for name in stage.finished.graph.outputs},
                )
                for stage in each
            ]

    def reset(self, statistics: Arrays) -> None:
        """Begin a step, with the running statistics before it."""
        self.flat.fill(0)
        self.loss = 0.0
        self.results = []
        for name, before in statistics.items():
            self.sums[name][...] = before

    def run(self, stage: int, turn: int) -> None:
        """Run a stage of the part; without one, the vectors are 0. Raises RunFailed."""
        if self.feeds is None:
            self.vectors[stage][0].fill(0)
        else:
            self._stages[self._rows][stage].run(self.feeds, turn, self.sums)

    def end_part(self) -> None:
        """Keep the results of the part."""
        if self.feeds is not None:
            outputs = self._outputs[self._rows]
            self.loss += float(outputs[LOSS])
            self.results.append({name: each.copy() for name, each in outputs.items() if name != LOSS})

    @property
    def _rows(self) -> int:
        assert self.feeds is not None
        return int(self.feeds[OWN_SHARD][:, 0] @ self.feeds[SHARD_ROWS][:, 0])


def kept_arrays(graphs: Sequence[Graph]) -> Arrays:
    """Return arrays for the values that stages keep for later ones. Values that are not kept at the same time share
    memory."""
    last = {name: number for number, graph in enumerate(graphs) for name in graph.inputs if name.startswith(KEPT)}
    blocks: dict[str, Array] = {}
    found: Arrays = {}
    free: list[Array] = []
    for number, graph in enumerate(graphs):
        for name, y in ((name, y) for name, y in graph.outputs.items() if name in last):
            dtype = np.dtype(ELEMENT_TYPES[y.dtype][1])
            size = prod(known(y.shape)) * dtype.itemsize
            fits = [at for at, block in enumerate(free) if size <= block.nbytes <= MAX_WASTE * size]
            best = min(fits, key=lambda at: free[at].nbytes, default=None)
            blocks[name] = aligned_views({"": (-(-size // 4),)})[0].view("u1") if best is None else free.pop(best)
            found[name] = blocks[name][:size].view(dtype).reshape(known(y.shape))
        free += [blocks[name] for name in graph.inputs if last.get(name) == number]
    return found
