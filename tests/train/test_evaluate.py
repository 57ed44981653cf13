"""Evaluation by several ranks: the loss and the metrics have the bits of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from netdsl.data.dataset import Dataset
from netdsl.data.given import Pair
from netdsl.data.iterable import Stream
from netdsl.losses import LOSSES, Loss
from netdsl.metrics import METRICS
from netdsl.train.alignment import NoAlignment
from netdsl.train.evaluate import Evaluator, Measures, merged_values
from netdsl.train.open_data import data_spec
from netdsl.train.ranks import ALONE, Ranks
from netdsl.train.start import initial_weights
from tests.support import recipe_tools
from tests.support.thread_ranks import on_ranks

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe

Generator = np.random.Generator
CLASSES = "metric accuracy; metric error; metric top 2; metric confusion"
NUMBERS = "metric mse; metric mae"
WORDS = "input x 4x6; conv 1 3"


def classes(rng: Generator, count: int) -> Array:
    return rng.integers(0, 3, count)


def signs(rng: Generator, count: int) -> Array:
    return rng.integers(0, 2, count) * 2 - 1


def numbers(rng: Generator, count: int) -> Array:
    """Of very different sizes, so that sums in other orders have other bits."""
    return rng.standard_normal((count, 3)) * 10.0 ** rng.integers(-4, 5, (count, 3))


def tags(rng: Generator, count: int) -> Array:
    """A class for each of 6 positions, most of them ignored, and all of them in the first batch."""
    found = np.where(rng.random((count, 6)) < 0.7, -100, rng.integers(0, 3, (count, 6)))
    found[:4] = -100
    return found


def symbols(rng: Generator, count: int) -> Array:
    return np.where(np.arange(3) < rng.integers(0, 4, (count, 1)), rng.integers(1, 3, (count, 3)), -1)


Targets = Callable[[Generator, int], "Array"]
CASES: dict[str, tuple[str, str, Targets | dict[str, Targets] | None]] = {
    "classes": ("input x 4x6; dense 3", f"loss cross_entropy smoothing 0.1; {CLASSES}", classes),
    "weighted": ("input x 4x6; dense 3", f"loss cross_entropy class_weights [0.1, 3, 0.7]; {CLASSES}", classes),
    "ignored": (WORDS, f"loss cross_entropy ignore (-100); {CLASSES}", tags),
    "both": (WORDS, f"loss cross_entropy ignore (-100) class_weights [0.1, 3, 0.7]; {CLASSES}", tags),
    "signs": ("input x 4x6; dense 1", "loss logistic; metric accuracy; metric error; metric confusion", signs),
    "numbers": ("input x 4x6; dense 3", f"loss smooth_l1 weight 0.3; {NUMBERS}", numbers),
    "symbols": (WORDS, "loss ctc; metric edit", symbols),
    "lengths": ("input n 1 dtype i64; input x 4x6; conv 1 3", "loss ctc lengths n; metric edit", symbols),
    "untargeted": ("input x 4x6; square; reduce sum 0", "loss mean", None),
    "several": (
        "input x 4x6; dense 3; output first; tanh; output third training { square }; dense 3; output second",
        "loss first cross_entropy class_weights [0.1, 3, 0.7]; loss second mse weight 0.3; loss third mean; "
        "metric first accuracy; metric first confusion; metric second mse; metric second mae",
        {"target.first": classes, "target.second": numbers},
    ),
}


@cache
def recipe_of(case: str) -> Recipe:
    net, lines, _ = CASES[case]
    found, _ = recipe_tools.recipe_of(f'net t {{ {net} }}\ntrain t {{ data npz "t.npz"; {lines} }}')
    assert found is not None
    return found


@cache
def evaluator_of(case: str) -> tuple[Evaluator, dict[str, onnxruntime.OrtValue]]:
    recipe = recipe_of(case)
    arrays = initial_weights(recipe.net, 0, None, [line.output for line in recipe.evaluated])
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    return Evaluator(recipe, threads=1), values


def arrays_of(case: str, count: int) -> tuple[dict[str, Array], Any]:
    rng = np.random.default_rng(count)
    xs = {"x": rng.standard_normal((count, 4, 6)), "n": rng.integers(0, 7, (count, 1))}
    _, _, targets = CASES[case]
    y = {name: make(rng, count) for name, make in targets.items()} if isinstance(targets, dict) else targets
    return {node.name: xs[node.name] for node in recipe_of(case).net.inputs}, y(rng, count) if callable(y) else y


def evaluated(case: str, data: Examples, size: int, shown: Callable[[int], None] | None = None) -> list[dict[str, Any]]:
    """The results on each rank, with a batch size of 4; those of `ALONE` for size 0."""
    evaluator, weights = evaluator_of(case)

    def run(ranks: Ranks) -> dict[str, Any]:
        return evaluator.run(weights, data, 4, shown if ranks.leads else None, ranks)

    return on_ranks(size, run) if size else [run(ALONE)]


def bits(results: dict[str, Any]) -> dict[str, bytes]:
    return {name: np.asarray(value).tobytes() for name, value in results.items()}


def test_the_cases_cover_all_metrics_and_the_losses_with_shares() -> None:
    metrics = {line.metric.kind for case in CASES for line in recipe_of(case).metrics}
    losses = {line.loss.kind for case in CASES for line in recipe_of(case).losses}
    assert metrics == {*METRICS}
    assert {name for name, loss in LOSSES.items() if loss.share is not Loss.share} <= losses


@pytest.mark.parametrize("count", [1, 8, 23, 49])
@pytest.mark.parametrize("case", CASES)
def test_ranks_together_find_the_figures_of_one(case: str, count: int) -> None:
    """Also with a smaller last batch, and with fewer batches than ranks."""
    data = Pair(*arrays_of(case, count)).open(data_spec(recipe_of(case)))
    (alone,) = evaluated(case, data, 0)
    for size in (1, 2, 3, 4):
        assert [bits(each) for each in evaluated(case, data, size)] == [bits(alone)] * size


@pytest.mark.parametrize("count", [3, 23])
def test_ranks_share_the_batches_of_a_stream(count: int) -> None:
    xs, y = arrays_of("numbers", count)
    stream = Stream(
        [(xs["x"][at : at + 3], y[at : at + 3]) for at in range(0, count, 3)], data_spec(recipe_of("numbers"))
    )
    (alone,) = evaluated("numbers", stream, 0)
    for size in (2, 4):
        assert [bits(each) for each in evaluated("numbers", stream, size)] == [bits(alone)] * size


@pytest.mark.parametrize("size", [0, 2, 3])
def test_the_place_of_a_bad_target_in_a_stream_is_that_in_all_batches(size: int) -> None:
    xs, y = arrays_of("symbols", 23)
    long = np.pad(y, ((0, 0), (0, 4)), constant_values=-1)
    long[13] = 1
    stream = Stream([(xs["x"], long)], data_spec(recipe_of("symbols")))
    with pytest.raises(NoAlignment, match="example 1 of the batch after 12 examples needs"):
        evaluated("symbols", stream, size)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_each_example_counts_once(size: int) -> None:
    data = Pair(*arrays_of("classes", 23)).open(data_spec(recipe_of("classes")))
    for found in evaluated("classes", data, size):
        assert found["confusion"].sum() == 23
        assert found["accuracy"] == found["confusion"].trace() / 23


@pytest.mark.parametrize(
    ("size", "expected"), [(0, [4, 8, 12, 16, 20, 23]), (2, [8, 16, 23]), (4, [16, 23]), (9, [23])]
)
def test_progress_counts_the_examples_of_all_ranks(size: int, expected: list[int]) -> None:
    data, shown = Pair(*arrays_of("classes", 23)).open(data_spec(recipe_of("classes"))), list[int]()
    evaluated("classes", data, size, shown.append)
    assert shown == expected


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_rank_prepares_its_own_batches_only(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    firsts: list[int] = []

    def finished(self: Dataset, raw: dict[str, Array], indices: Array, *rest: Any) -> dict[str, Array]:
        firsts.append(int(indices[0]))
        return original(self, raw, indices, *rest)

    original = Dataset._finished
    monkeypatch.setattr(Dataset, "_finished", finished)
    evaluated("classes", Pair(*arrays_of("classes", 23)).open(data_spec(recipe_of("classes"))), size)
    assert sorted(firsts) == [0, 4, 8, 12, 16, 20]


def shard_states(recipe: Recipe, shards: range) -> list[dict[str, dict[str, Any]]]:
    """The states of the measures of each of 4 shards after 9 steps, some of which are in a checkpoint in between."""
    rng = np.random.default_rng(5)
    measures = [Measures(recipe, numbers=True, block=4) for _ in shards]
    for step in range(9):
        outputs = rng.standard_normal((4, 3, 3)).astype("f4")
        batch = {"first": outputs, "second": numbers(rng, 12).reshape(4, 3, 3)}
        feeds = {"target.first": rng.integers(0, 3, (4, 3)), "target.second": numbers(rng, 12).reshape(4, 3, 3)}
        for place, shard in enumerate(shards):
            mine = {name: array[shard] for name, array in batch.items()}
            measures[place].update(mine.__getitem__, {name: array[shard] for name, array in feeds.items()})
        if step == 4:
            saved = json.loads(json.dumps([each.state() for each in measures]))
            measures = [Measures(recipe, numbers=True, block=4) for _ in shards]
            for each, state in zip(measures, saved, strict=True):
                each.restore(state)
    return [each.state() for each in measures]


def test_figures_of_shards_do_not_depend_on_the_ranks_that_have_them() -> None:
    recipe = recipe_of("several")
    alone = merged_values(recipe, shard_states(recipe, range(4)))
    assert [*alone] == ["first.accuracy", "second.mse", "second.mae"]

    def run(ranks: Ranks) -> dict[str, float]:
        each = 4 // ranks.size
        states = ranks.exchange(shard_states(recipe, range(ranks.rank * each, (ranks.rank + 1) * each)))
        return merged_values(recipe, [state for part in states for state in part])

    for size in (1, 2, 4):
        assert on_ranks(size, run) == [alone] * size
