"""The training loop: steps, measurements, logs and checkpoints."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from netdsl.data.dataset import Dataset
from netdsl.data.errors import BadStream
from netdsl.ir.graph import LOSS, RATE
from netdsl.train.alignment import refuse_unaligned
from netdsl.train.checkpoint import Checkpoint, Position
from netdsl.train.evaluate import Measures, merged_values
from netdsl.train.loss_scale import LOSS_SCALE, SCALE_COLUMNS, check_scale
from netdsl.train.nonfinite import Diverged, lower_rate, nonfinite_origin
from netdsl.train.open_data import names_of
from netdsl.train.prefetch import prefetched
from netdsl.train.progress import Progress
from netdsl.train.ranks import ALONE, check_agreement
from netdsl.train.runner import SAVE, STOP
from netdsl.train.shards import Division
from netdsl.train.step import AVERAGE

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from onnxruntime import OrtValue

    from netdsl.base.dtypes import Array
    from netdsl.data.augment import Augment
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.checkpoint_writer import CheckpointWriter
    from netdsl.train.evaluate import Evaluator
    from netdsl.train.ranks import Ranks
    from netdsl.train.runner import Choices, Runner


class RunningMean:
    """The mean of the values added since the last reset, in double precision."""

    __slots__ = ("count", "total")

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self.total = total
        self.count = count

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    def mean(self) -> float:
        return self.total / self.count

    def reset(self) -> None:
        self.total, self.count = 0.0, 0


METRIC_BLOCK = 32
"""Number of batches that metrics process at a time, if that does not change their result."""

MAX_STEP_ROWS = 250
"""Maximum number of rows of `steps.csv` per run."""


class Trainer:
    """A training that can stop after any step and resume as if it had not.

    `position` is its progress, `scores` the values of its `figure` after each complete epoch, `best` the best of them;
    setting `stopped` from outside ends it after the current step.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Examples,
        runner: Runner,
        *,
        validation: tuple[Evaluator, Examples] | None = None,
        checkpoint_writer: CheckpointWriter | None = None,
        progress: Progress | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.runner = runner
        self.validation = validation
        self.checkpoint_writer = checkpoint_writer
        self.progress = progress or Progress()
        self.ranks = ranks
        self.division = Division(recipe, ranks)
        self.per_epoch = dataset.steps(recipe.step_batch)
        self.steps = recipe.steps if recipe.steps is not None else (recipe.epochs or 0) * self.per_epoch
        self.every = max(1, ceil(self.steps / MAX_STEP_ROWS))
        self.scales = SCALE_COLUMNS if recipe.dtype == "f16" else {}
        self.names = names_of(dataset, recipe)
        self.position = Position()
        self.measures = [Measures(recipe, numbers=True, block=METRIC_BLOCK) for _ in self.division.own]
        self.epoch_loss, self.row_loss = RunningMean(), RunningMean()
        self.scores: list[float] = []
        self.best: float | None = None
        self.best_weights: Mapping[str, Array] | None = None
        """Those of the best epoch, on rank 0 and without a `checkpoint_writer`."""
        self.choices: Choices | None = None
        self.best_epoch = 0.0
        """Epochs, which may be fractional, completed at the best figure."""
        self.stopped = False
        self.last: dict[str, float] = {}

    @property
    def epochs(self) -> float:
        return self.steps / self.per_epoch

    def point(self, step: int) -> str:
        """Return a step in words: `epoch 3` if it ends one, unless the length of the training is given in steps."""
        if self.recipe.steps is None and step % self.per_epoch == 0:
            return f"epoch {step // self.per_epoch:,}"
        return f"step {step:,}"

    def run(self) -> bool:
        """Train to the end, or to an early stop; return False if `stopped` ended it earlier. Raises Diverged, and the
        errors of reading data."""
        self.progress.begin(self)
        with closing(self.progress), prefetched(self._batches()) as batches:
            for feeds in () if self.stops_early else batches:
                self._step(feeds)
                if self.position.batch == self.per_epoch or self.position.step == self.steps:
                    self._end_epoch()
                if self._saves:
                    self.save_checkpoint()
                if self._stops or self.stops_early:
                    break
        return self.position.step >= self.steps or self.stops_early

    @property
    def _stops(self) -> bool:
        """Whether training ends after this step because it was stopped, in any process."""
        return self.stopped if self.ranks.size == 1 else bool(self.runner.signals[STOP])

    @property
    def _saves(self) -> bool:
        """Whether to write a checkpoint after this step. Rank 0 decides by its clock; within an epoch, it does so
        before the step, whose message tells all processes, because a checkpoint then has figures of all of them."""
        if self.ranks.size > 1 and self.position.batch:
            return bool(self.runner.signals[SAVE])
        return self._is_due

    @property
    def _is_due(self) -> bool:
        return self.checkpoint_writer is not None and self.checkpoint_writer.is_due(self)

    def save_checkpoint(self) -> None:
        """Write a checkpoint: a large state immediately, otherwise a copy while training continues. All processes call
        this within an epoch. Raises Diverged if a weight is not finite."""
        measures = self._measures() if self.position.batch else []
        if self.checkpoint_writer is None:
            return
        now = self.runner.is_large
        state = self.runner.live() if now else self.runner.state()
        self._check(state)
        position = Position(self.position.epoch, self.position.batch, self.position.step)
        self.checkpoint_writer.save(Checkpoint(state, position, self.about(measures), self.names), now=now)

    def _measures(self) -> list[dict[str, Any]]:
        """Return the states of the metrics of all shards."""
        own = [each.state() for each in self.measures]
        return [state for rank in self.ranks.exchange(own) for state in rank]

    def about(self, measures: list[dict[str, Any]]) -> dict[str, object]:
        """Return everything in a checkpoint except the arrays, as JSON data. `measures` are the states of the metrics
        of all shards, empty between epochs."""
        return {
            "examples": len(self.dataset),
            "every": self.every,
            "schedule": self.recipe.schedule.state(),
            "epoch_loss": [self.epoch_loss.total, self.epoch_loss.count],
            "row_loss": [self.row_loss.total, self.row_loss.count],
            "measures": measures,
            "scores": [*self.scores],
            "best": self.best,
            "best_epoch": self.best_epoch,
            "last": self.last,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint of the same recipe and data."""
        about = checkpoint.about
        self.runner.restore(checkpoint.state)
        self.position = checkpoint.position
        self.every = about["every"]
        self.recipe.schedule.restore(about["schedule"])
        self.epoch_loss, self.row_loss = RunningMean(*about["epoch_loss"]), RunningMean(*about["row_loss"])
        for each, state in zip(self.measures, about["measures"][self.division.own.start :], strict=False):
            each.restore(state)
        self.scores = about.get("scores", [])
        self.best, self.best_epoch = about["best"], about["best_epoch"]
        self.last = about["last"]

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        return self._rate(self.position.step)

    def _rate(self, step: int) -> float:
        recipe = self.recipe
        return recipe.schedule.rate(recipe.optimizer.lr, step, self.steps, self.per_epoch)

    def _batches(self) -> Generator[dict[str, Array], None, None]:
        """Yield the remaining batches, epoch by epoch."""
        recipe, first, left = self.recipe, self.position.batch, self.steps - self.position.step
        for epoch in range(self.position.epoch, ceil(self.epochs)):
            number = first
            for feeds in self.dataset.batches(
                recipe.step_batch,
                seed=recipe.seed,
                epoch=epoch,
                first=first,
                augment=self.augment,
                rows=self.division.own_rows if self.ranks.size > 1 else None,
            ):
                if left <= 0:
                    return
                if number == self.per_epoch:
                    break
                left -= 1
                number += 1
                yield feeds
            if number < self.per_epoch and left > 0:
                raise BadStream(f"epoch {epoch} has {number:,} batches, but {self.per_epoch:,} were expected")
            first = 0

    @property
    def augment(self) -> Augment | None:
        from netdsl.data.augment import Augment

        return Augment(self.recipe.augment) if self.recipe.augment else None

    def _step(self, feeds: Mapping[str, Array]) -> None:
        rate = self.rate()
        given = {**feeds, RATE: np.array(rate, np.float32)}
        if not isinstance(self.dataset, Dataset):
            refuse_unaligned(self.recipe, feeds, f"step {self.position.step + 1:,}")
        self.runner.signals[...] = self.stopped, self.ranks.size > 1 and self._is_due
        self.runner.step(given)
        loss = float(self.runner.result(LOSS))
        if not isfinite(loss):
            self.ranks.fail(self._diverged(f"the loss is {loss:g}", given))
        if self.scales:
            check_scale(float(self.runner.live([LOSS_SCALE])[LOSS_SCALE]), self.position.step + 1)
        self.position.batch += 1
        self.position.step += 1
        self.epoch_loss.add(loss)
        self.row_loss.add(loss)
        self._measure(feeds)
        if self.checkpoint_writer is not None and self.position.step % self.every == 0:
            self.checkpoint_writer.log_steps({"step": self.position.step, "loss": self.row_loss.mean(), "rate": rate})
            self.row_loss.reset()
        self.progress.step(self, loss)

    def _measure(self, feeds: Mapping[str, Array]) -> None:
        """Add the examples of each shard of the last step to its metrics."""
        begin = self.division.own_rows[0]
        results = cache(self.runner.result)

        def add(measures: Measures, rows: slice) -> None:
            measures.update(lambda name: results(name)[rows], {name: array[rows] for name, array in feeds.items()})

        for shard, measures in zip(self.division.own, self.measures, strict=True):
            add(measures, slice(*(row - begin for row in self.division.shard(shard))))

    def own_figures(self) -> dict[str, float]:
        """Return the metrics of this process in the epoch so far."""
        return merged_values(self.recipe, [each.state() for each in self.measures])

    def _agreed(self) -> dict[str, str]:
        """Return what must be the same in all processes after a step."""
        step, digest = self.position.step, 0
        for array in self.live_weights().values():
            digest = crc32(array.tobytes(), digest)
        restarts = [number for number in self.dataset.restarts if number < step]
        return {f"the weights after step {step:,}": f"{digest:08x}", "the restarts of the data": str(restarts)}

    def _end_epoch(self) -> None:
        """Validate, log, and update the schedule and the best model."""
        at = self.position
        if self.ranks.size > 1:
            check_agreement(self.ranks, self._agreed())
        rate = self.rate_before()
        row = {"loss": self.epoch_loss.mean(), **merged_values(self.recipe, self._measures())}
        if self.validation is not None:
            evaluator, data = self.validation
            found = evaluator.run(
                self._evaluated(), data, self.recipe.batch, self.progress.validation(len(data)), self.ranks
            )
            row |= {f"validation_{name}": value for name, value in found.items() if np.ndim(value) == 0}
        scales = {column: float(self.runner.live([name])[name]) for column, name in self.scales.items()}
        self.last = {"epoch": at.step / self.per_epoch, "step": at.step, **row, "rate": rate, **scales}
        name, better = self.figure
        value = row[name]
        if at.batch == self.per_epoch:
            at.epoch, at.batch = at.epoch + 1, 0
            self.scores.append(value)
        if self.recipe.schedule.watches and isfinite(value):
            self.recipe.schedule.observe(value, better)
        if isfinite(value) and (self.best is None or (value > self.best if better == "higher" else value < self.best)):
            self.best, self.best_epoch = value, at.step / self.per_epoch
            if self.checkpoint_writer is not None:
                if self.runner.is_large:  # they overwrite the best weights on disk immediately
                    self._check(self.live_averages())
                self.checkpoint_writer.save_best(self)
            elif self.ranks.leads:
                self.best_weights = self.averages()
        if self.checkpoint_writer is not None:
            examples = self.epoch_loss.count * self.recipe.step_batch
            self.checkpoint_writer.log_epoch(self.last, self.progress.epoch_seconds(), examples)
        self.progress.epoch(self, self.last)
        self.epoch_loss.reset()
        for each in self.measures:
            each.reset()

    def rate_before(self) -> float:
        """Return the learning rate of the last step."""
        return self._rate(self.position.step - 1)

    @property
    def best_point(self) -> str:
        """The best epoch in words."""
        return self.point(round(self.best_epoch * self.per_epoch))

    @property
    def figure(self) -> tuple[str, str]:
        """The figure by which epochs are compared, and whether `higher` or `lower` is better: the first metric, on the
        validation set if there is one, otherwise the loss."""
        prefix = "validation_" if self.validation is not None else ""
        for name, line in self.measures[0].lines.items():
            if self.validation is not None or self.recipe.schedule.watches:
                return prefix + name, line.metric.better
        return prefix + LOSS, "lower"

    @property
    def stops_early(self) -> bool:
        """Whether the training ends here, after a complete epoch and before its last step, by its `stop` line."""
        stop, at = self.recipe.stop, self.position
        return stop is not None and not at.batch and at.step < self.steps and stop.is_over(self.scores, self.figure[1])

    def weights(self) -> dict[str, Array]:
        """Return the weights and running statistics of the net as copies."""
        return {name: np.array(array) for name, array in self.live_weights().items()}

    def live_weights(self) -> Mapping[str, Array]:
        """Return the weights and running statistics without copying; valid until the next step."""
        return self.runner.live(self.recipe.net.parameters)

    def averages(self) -> dict[str, Array]:
        """Return the averages of the weights and running statistics as copies; without `average`, these themselves."""
        return {name: np.array(array) for name, array in self.live_averages().items()}

    def live_averages(self) -> Mapping[str, Array]:
        """Return the averages without copying; valid until the next step."""
        names = self._average_names()
        live = self.runner.live(names.values())
        return {name: live[average] for name, average in names.items()}

    def _average_names(self) -> dict[str, str]:
        """Return the state that holds the average of each weight: its own if it has none."""
        states = self.runner.graph.state if self.recipe.average else {}
        return {name: name + AVERAGE if name + AVERAGE in states else name for name in self.recipe.net.parameters}

    def _evaluated(self) -> dict[str, OrtValue]:
        """Return the values of the weights to validate."""
        values = self.runner.values()
        return {name: values[average] for name, average in self._average_names().items()}

    def _diverged(self, what: str, feeds: Mapping[str, Array]) -> Diverged:
        at = self.position
        place = f"epoch {at.epoch + 1}, step {at.step + 1:,}"
        found = [each for each in self.ranks.exchange(self._origin(feeds)) if each is not None]
        where, *helps = found[0] if found else ("the sum over all processes is not finite",)
        return Diverged(f"{what} at {place}, with learning rate {float(feeds[RATE]):g}: {where}", *helps, *self._kept())

    def _origin(self, feeds: Mapping[str, Array]) -> tuple[str, ...] | None:
        """Return where the loss of the last step became non-finite, then possible fixes; None if in another process."""
        part = self.runner.batch_of(feeds)
        if part is None:
            return None
        batch, first = part

        def name(key: str, row: int) -> str:
            return self._example(key, first + row)

        where, *helps = nonfinite_origin(self.recipe, self.runner.before(), batch, None, name)
        return f"{where}{f' (in {self.ranks.name})' if self.ranks.size > 1 else ''}", *helps

    def _check(self, state: Mapping[str, Array]) -> None:
        """Raise Diverged if any state is non-finite."""
        for name, array in state.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise self._blown(name)

    def _blown(self, name: str) -> Diverged:
        """Return the error for a weight or optimizer state that the last update made non-finite."""
        at, rate = self.position, self.rate_before()
        nodes = [node for node in self.recipe.net.nodes for p in node.parameters.values() if name.startswith(p.name)]
        where = "".join(f" of `{node.name}`, {node.span}," for node in nodes[:1])
        what = f"`{name}`{where} is no longer finite after step {at.step:,}, of epoch {self.epochs_begun:,}"
        return Diverged(f"{what}, with learning rate {rate:g}", lower_rate(rate), *self._kept())

    @property
    def epochs_begun(self) -> int:
        return ceil(self.position.step / self.per_epoch)

    def _kept(self) -> tuple[str, ...]:
        newest = self.checkpoint_writer.newest if self.checkpoint_writer is not None else None
        return (f"the last checkpoint, {newest}, is finite",) if newest is not None else ()

    def _example(self, key: str, row: int) -> str:
        """Return the name of an example of this step."""
        recipe, at = self.recipe, self.position
        return self.dataset.name(key, at.batch * recipe.step_batch + row, seed=recipe.seed, epoch=at.epoch)
