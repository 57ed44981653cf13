"""`shards S`: the same bits however many processes compute a step, and the numbers of a step that is not divided."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from netdsl.app.frontend import load_recipe
from netdsl.base.user_error import UserError
from netdsl.diagnostics.report import Report
from netdsl.train.from_python import given
from netdsl.train.open_data import open_data
from netdsl.train.progress import RecordedProgress
from netdsl.train.ranks import ALONE, RanksDiffer
from netdsl.train.runner import Choices
from netdsl.train.start import start
from tests.support.shared_training import assert_same, trained_on
from tests.support.thread_ranks import on_ranks

if TYPE_CHECKING:
    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.loop import Trainer
    from netdsl.train.ranks import Ranks

CONV = "input x 1x8x8; conv 3x3 6 pad 1; relu; maxpool 2x2; dense 5"
BN = "input x 1x8x8; conv 3x3 6 pad 1 bias off; bn; relu; maxpool 2x2; dense 5"
DROPOUT = "input x 1x8x8; conv 3x3 6; relu; dropout 0.3; conv 3x3 4; dropout 0.2 spatial on; noise normal 0.1; dense 5"
SGD = "optimizer sgd lr 0.05 momentum 0.9 decay 5e-4"

RECIPES = {
    "conv": (CONV, SGD),
    "dropout": (DROPOUT, SGD),
    "clip": (CONV, f"{SGD} clip 0.5"),
    "adam": (CONV, "optimizer adam lr 0.01"),
    "bn": (BN, SGD),
    "still": (BN, "optimizer sgd lr 1e-30"),
    "average": (BN, f"{SGD}; average 0.9"),
    "augment": (CONV, f"{SGD}; augment {{ crop pad 1; flip }}"),
    "fgsm": (CONV, f"{SGD}; augment fgsm 0.1 high 1"),
    "class weights": (CONV, f"{SGD}; loss cross_entropy class_weights [1, 2, 0.5, 1, 3]; metric error; metric top 2"),
    "plateau": (CONV, f"{SGD}; schedule plateau patience 1; stop patience 2"),
    "accumulate": (DROPOUT, f"{SGD}; accumulate 3"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((75, 1, 8, 8), np.float32), y=rng.integers(0, 5, 75))
    return tmp_path


def trainer(folder: Path, recipe: str, lines: str, ranks: Ranks = ALONE, backend: str = "plain") -> Trainer:
    net, more = RECIPES[recipe]
    loss = "" if "loss " in more else "loss cross_entropy; "
    end = "" if "epochs" in lines or "steps" in lines else "epochs 3; "
    text = f'net a {{ {net} }}\ntrain a {{ data npz "d.npz"; validate 0.2; {loss}{end}{more}; {lines} }}\n'
    file = folder / f"{ranks.rank}.net"
    file.write_text(text)
    report = Report()
    found = load_recipe(str(file), report)
    assert found is not None, report.errors
    data, validation = open_data(found)
    progress = RecordedProgress()
    return start(found, data, validation, Choices(backend, 1), progress=progress, ranks=ranks)


def trained(folder: Path, recipe: str, lines: str, size: int = 1, backend: str = "plain") -> tuple[Any, Any]:
    return trained_on(size, lambda ranks: trainer(folder, recipe, lines, ranks, backend))


@pytest.mark.parametrize(
    ("recipe", "shards", "sizes"),
    [
        *((recipe, 4, (2,)) for recipe in RECIPES),
        *(("conv", *each) for each in ((2, (2,)), (4, (4,)), (6, (3,)))),
        *(
            pytest.param(recipe, *each, marks=pytest.mark.slow)
            for recipe in RECIPES
            if recipe != "conv"
            for each in ((2, (2,)), (4, (4,)), (6, (3,)))
        ),
    ],
)
def test_the_number_of_processes_changes_no_bit(folder: Path, recipe: str, shards: int, sizes: tuple[int, ...]) -> None:
    """60 training examples in batches of 14, which neither 4 nor 6 divides, and 15 validated in batches of 14."""
    lines = f"batch 14; shards {shards}"
    expected, figures = trained(folder, recipe, lines)
    for size in sizes:
        found, history = trained(folder, recipe, lines, size)
        assert_same(found, expected)
        assert history == figures


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize("recipe", [name for name, (net, _) in RECIPES.items() if "bn" not in net])
def test_shards_compute_what_the_whole_batch_does(folder: Path, recipe: str, backend: str) -> None:
    expected, figures = trained(folder, recipe, "batch 12", backend=backend)
    found, history = trained(folder, recipe, "batch 12; shards 4", backend=backend)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    assert [row.keys() for row in history] == [row.keys() for row in figures]
    assert history[0] == pytest.approx(figures[0], rel=1e-4)


def test_statistics_are_those_of_shards(folder: Path) -> None:
    """Running statistics are the mean of those of shards with 5 and 6 rows, by rows, which NumPy computes here."""
    made = trainer(folder, "still", "batch 11; shards 2; epochs 1")
    weight = made.weights()["conv1.weight"]
    data = next(iter(made.dataset.batches(11, seed=0, epoch=0)))["x"]
    made.steps = 1
    made.run()
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded[:, 0], (3, 3), axis=(1, 2))
    y = np.einsum("nhwij,cij->nchw", windows, weight[:, 0], dtype="f8")
    means = [part.mean((0, 2, 3)) for part in (y[:5], y[5:])]
    variances = [part.var((0, 2, 3), ddof=1) for part in (y[:5], y[5:])]
    found = made.weights()
    np.testing.assert_allclose(found["bn1.running_mean"], 0.1 * np.average(means, 0, [5, 6]), rtol=1e-5)
    np.testing.assert_allclose(found["bn1.running_var"], 0.9 + 0.1 * np.average(variances, 0, [5, 6]), rtol=1e-5)


@pytest.mark.parametrize(
    ("lines", "size", "said"),
    [
        ("batch 12; shards 6", 2, "2 processes cannot hold 6 shards"),
        ("batch 12; shards 4", 3, "3 processes cannot hold 4 shards"),
        ("batch 12; shards 2", 4, "4 processes cannot hold 2 shards"),
        ("batch 12; shards 1", 2, "2 processes cannot hold 1 shard:"),
        ("batch 12; shards 13", 1, "a step of 12 examples cannot be divided into 13 shards"),
        ("batch 3", 4, "a step of 3 examples cannot be divided into 4 shards"),
    ],
)
def test_shards_that_do_not_fit(folder: Path, lines: str, size: int, said: str) -> None:
    with pytest.raises(UserError) as caught:
        trained(folder, "conv", lines, size)
    assert caught.value.code == "E0889"
    assert said in caught.value.message


def test_weights_that_drift_apart_end_the_training(folder: Path) -> None:
    def run(ranks: Ranks) -> None:
        made = trainer(folder, "conv", "batch 12", ranks)
        if ranks.rank:
            made.live_weights()["conv1.weight"][0] += 1e-7
        made.run()

    with pytest.raises(RanksDiffer, match=r"rank 1 .* differs from rank 0 .* in the weights after step 5: "):
        on_ranks(2, run)


@pytest.mark.parametrize("shortened", [False, True])
def test_a_source_for_each_rank(folder: Path, shortened: bool) -> None:
    """It yields the rows of a rank, and restarts after the same batch on all ranks."""
    x, y = np.load(folder / "d.npz").values()

    def run(ranks: Ranks) -> dict[str, Any]:
        def source(_: int, rank: int, size: int) -> Any:
            for begin in range(0, 72 - 12 * (shortened and rank == 1), 12):
                rows = slice(begin + 12 * rank // size, begin + 12 * (rank + 1) // size)
                yield x[rows], y[rows]

        made = trainer(folder, "conv", "batch 12; shards 4; steps 9", ranks)
        data = given(source, made.recipe, training=True, part=(ranks.rank, ranks.size))
        made = start(made.recipe, data, None, Choices("plain", 1), ranks=ranks)
        made.run()
        return made.runner.state()

    expected = run(ALONE)
    if shortened:
        with pytest.raises(RanksDiffer, match=r"in the restarts of the data: \[5\] instead of \[6\]"):
            on_ranks(2, run)
        return
    for size in (2, 4):
        for state in on_ranks(size, run):
            assert_same(state, expected)


class Kept:
    """Keeps a checkpoint whenever one can be written."""

    newest = None

    def __init__(self) -> None:
        self.checkpoints: dict[int, Checkpoint] = {}

    def is_due(self, _: Trainer) -> bool:
        return True

    def save(self, checkpoint: Checkpoint, *, now: bool) -> None:
        self.checkpoints[checkpoint.position.step] = checkpoint

    def log_steps(self, *_: object) -> None: ...

    log_epoch = save_best = log_steps


@pytest.mark.parametrize("size", [2, 4])
def test_a_checkpoint_within_an_epoch_has_the_figures_of_all_ranks(folder: Path, size: int) -> None:
    """In 2 epochs of 5 steps. From the third, other numbers of processes resume."""

    def run(ranks: Ranks, checkpoint: Checkpoint | None = None) -> tuple[dict[int, Checkpoint], Any]:
        made = trainer(folder, "bn", "batch 12; shards 4; metric accuracy; metric top 2; epochs 2", ranks)
        kept = Kept()
        if ranks.leads:
            made.checkpoint_writer = kept  # type: ignore[assignment]
        if checkpoint is not None:
            made.restore(deepcopy(checkpoint))
        made.run()
        return kept.checkpoints, made.progress.history

    expected, history = run(ALONE)
    found = on_ranks(size, run)[0][0]
    assert sorted(found) == sorted(expected) == [*range(1, 11)]
    for step, checkpoint in found.items():
        assert checkpoint.about == expected[step].about
        assert_same(dict(checkpoint.state), dict(expected[step].state))
    assert len(found[3].about["measures"]) == 4
    for resumed in (run(ALONE, found[3]), *on_ranks(size, lambda ranks: run(ranks, found[3]))):
        assert resumed[1] == history
