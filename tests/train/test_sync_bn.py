"""`bn sync on`: the statistics of a batch that several shards have together, those of a step that is not divided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import netdsl
from netdsl.app.frontend import load_recipe
from netdsl.base.user_error import UserError
from netdsl.diagnostics.report import Report
from netdsl.ir.graph import LOSS
from netdsl.ops.base import known
from netdsl.ops.sync_batch_norm import ShardSum
from netdsl.passes.stages import KEPT, SUMMED, is_staged, stages
from netdsl.train.nonfinite import Diverged
from netdsl.train.open_data import open_data
from netdsl.train.progress import RecordedProgress
from netdsl.train.ranks import ALONE, RankFailed
from netdsl.train.runner import Choices
from netdsl.train.shards import without_update
from netdsl.train.staged import StagedRunner, kept_arrays
from netdsl.train.start import fingerprint, start
from netdsl.train.step import training_step
from netdsl.train.step_backend import lower_step
from tests.support.shared_training import assert_same, trained_on
from tests.support.thread_ranks import on_ranks

if TYPE_CHECKING:
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.train.loop import Trainer
    from netdsl.train.ranks import Ranks

SGD = "optimizer sgd lr 0.01 momentum 0.9 decay 5e-4"

RESIDUAL = """default conv bias off; conv 3x3 16 pad 1; bn; relu
  skip { conv 3x3 24 stride 2; bn; relu; conv 3x3 24; bn init zeros } project { conv 1x1 24 stride 2; bn }
  relu; dropout 0.2; global_avgpool; dense 5"""

NETS = {
    "maps": "conv 3x3 6 bias off; bn; relu; maxpool 2x2; conv 3x3 20 bias off; bn affine off; relu; dense 5",
    "residual": RESIDUAL,
    "vectors": "dense 20 bias off; bn; relu; dropout 0.3; dense 7 bias off; bn; tanh; dense 5",
    "sequences": "reshape 8x8; conv 3 12 bias off; bn; relu; freeze { conv 3 5; bn }; conv 3 9 bias off; bn; dense 5",
    "shared": "conv 3x3 4 bias off; both: { conv 3x3 4 bias off; bn; relu }; reuse both; dense 5",
    "parameter": "concat { } { param [3, 8, 8]; bn affine off }; conv 3x3 6 bias off; bn; relu; dense 5",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((60, 1, 8, 8), np.float32), y=rng.integers(0, 5, 60))
    return tmp_path


def recipe_of(folder: Path, net: str, lines: str, rank: int = 0) -> Recipe:
    end = "" if "epochs" in lines else "epochs 3; "
    optimizer = "" if "optimizer" in lines else f"{SGD}; "
    text = f"net a {{ input x 1x8x8\n  {NETS.get(net, net)}\n}}\n"
    file = folder / f"{rank}.net"
    file.write_text(f'{text}train a {{ data npz "d.npz"; loss cross_entropy; {optimizer}{end}{lines} }}\n')
    report = Report()
    found = load_recipe(str(file), report)
    assert found is not None, report.errors
    return found


def trainer(folder: Path, net: str, lines: str, ranks: Ranks = ALONE, backend: str = "plain") -> Trainer:
    found = recipe_of(folder, net, lines, ranks.rank)
    data, validation = open_data(found)
    return start(found, data, validation, Choices(backend, 1), progress=RecordedProgress(), ranks=ranks)


def trained(folder: Path, net: str, lines: str, size: int = 1, backend: str = "plain") -> tuple[Any, Any]:
    def made(ranks: Ranks) -> Trainer:
        found = trainer(folder, net, lines, ranks, backend)
        assert isinstance(found.runner, StagedRunner) == ("sync on" in lines and "shards" in lines)
        return found

    return trained_on(size, made)


BOTH = [*((net, "plain") for net in NETS), ("residual", "nchwc")]
"""Nets and step backends that are always tested; the other pairs are slow."""

PAIRS = [
    *BOTH,
    *(pytest.param(net, "nchwc", marks=pytest.mark.slow) for net in NETS if (net, "nchwc") not in BOTH),
]


@pytest.mark.parametrize(("net", "backend"), PAIRS)
def test_the_number_of_processes_changes_no_bit(folder: Path, net: str, backend: str) -> None:
    """4 does not divide 14, so that shards have 3 or 4 rows."""
    lines = "batch 14; shards 4; bn sync on; epochs 1"
    expected, figures = trained(folder, net, lines, backend=backend)
    for size in (2, 4):
        found, history = trained(folder, net, lines, size, backend)
        assert_same(found, expected)
        assert history == figures


@pytest.mark.parametrize("epochs", [8, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("net", "backend"), PAIRS)
def test_the_statistics_are_those_of_the_whole_batch(folder: Path, net: str, backend: str, epochs: int) -> None:
    """4 steps of 14 rows an epoch, in 4 shards and undivided."""
    lines = f"batch 14; epochs {epochs}"
    expected, figures = trained(folder, net, lines, backend=backend)
    found, history = trained(folder, net, f"{lines}; shards 4; bn sync on", backend=backend)
    for name in (name for name in expected if name.rpartition(".")[2] != "velocity"):
        bound = 1e-5 * np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=bound, err_msg=name)
    for one, other in zip(history, figures, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0, abs=1e-6)


def test_without_it_shards_are_normalized_by_themselves(folder: Path) -> None:
    _, figures = trained(folder, "maps", "batch 14")
    _, history = trained(folder, "maps", "batch 14; shards 4; bn sync off")
    assert abs(history[-1]["loss"] - figures[-1]["loss"]) > 1e-4


def normalized_loss(w: Any, scale: Any, offset: Any, x: Any, y: Any) -> tuple[float, Any, Any]:
    """Cross-entropy of the normalized products, their mean and variance, in double precision."""
    z = x @ w.T
    mean, var = z.mean(0), z.var(0)
    z = scale * (z - mean) / np.sqrt(var + 1e-5) + offset
    loss = np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]
    return float(loss.mean()), mean, var * len(y) / (len(y) - 1)


def test_gradients_and_statistics_in_double_precision(folder: Path) -> None:
    """A step of gradient descent at rate 1 against finite differences, and the running statistics, in NumPy. The means
    are large, and differ between shards."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((11, 64)) + 30 * rng.standard_normal(64) + np.arange(11)[:, None]
    np.savez(folder / "d.npz", x=np.float32(x).reshape(11, 1, 8, 8), y=rng.integers(0, 5, 11))
    lines = "batch 11; shards 4; bn sync on; epochs 1; optimizer sgd lr 1"
    made = trainer(folder, "dense 5 bias off; bn", lines)
    before = made.weights()
    w, scale, offset = (before[name].astype("f8") for name in ("dense1.weight", "bn1.weight", "bn1.bias"))
    feeds = next(iter(made.dataset.batches(11, seed=0, epoch=0)))
    given = np.float64(feeds["x"]).reshape(11, 64), feeds["target"]
    loss, mean, var = normalized_loss(w, scale, offset, *given)
    made.run()
    after = made.weights()
    assert made.last["loss"] == pytest.approx(loss, abs=1e-5)
    np.testing.assert_allclose(after["bn1.running_mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after["bn1.running_var"], 0.9 + 0.1 * var, rtol=1e-5)
    for name, array in (("dense1.weight", w), ("bn1.weight", scale), ("bn1.bias", offset)):
        expected = np.empty_like(array)
        for at in np.ndindex(array.shape):
            kept, losses = array[at], []
            for step in (1e-5, -1e-5):
                array[at] = kept + step
                losses.append(normalized_loss(w, scale, offset, *given)[0])
            array[at] = kept
            expected[at] = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(before[name] - after[name], expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("lines", ["batch 2; accumulate 5; shards 4", "batch 3; accumulate 4; shards 2"])
def test_parts_with_the_same_number_are_normalized_together(folder: Path, lines: str) -> None:
    """10 rows in 4 shards have 1, 2, 1 and 2 parts; any number of processes has the same bits."""
    expected, figures = trained(folder, "vectors", f"{lines}; bn sync on; augment fgsm 0.1 high 1")
    found, history = trained(folder, "vectors", f"{lines}; bn sync on; augment fgsm 0.1 high 1", 2)
    assert_same(found, expected)
    assert history == figures


def test_running_statistics_follow_the_parts(folder: Path) -> None:
    """6 rows in 2 shards of 2 parts: rows 0, 1, 3 and 4 are not the first part, but 0, 3 and then 1, 2, 4, 5."""
    lines = "batch 2; accumulate 3; shards 2; bn sync on; epochs 1; optimizer sgd lr 1e-30"
    made = trainer(folder, "dense 5 bias off; bn", lines)
    assert made.division.parts(1) == [(3, 4), (4, 6)]
    feeds = next(iter(made.dataset.batches(6, seed=0, epoch=0)))
    z = np.float64(feeds["x"]).reshape(6, 64) @ np.float64(made.weights()["dense1.weight"]).T
    mean, var = 0.0, 1.0
    for rows in ([0, 3], [1, 2, 4, 5]):
        mean, var = 0.9 * mean + 0.1 * z[rows].mean(0), 0.9 * var + 0.1 * z[rows].var(0, ddof=1)
    made.steps = 1
    made.run()
    np.testing.assert_allclose(made.weights()["bn1.running_mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(made.weights()["bn1.running_var"], var, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_the_origin_of_an_infinity_is_found_in_its_shard(folder: Path, size: int) -> None:
    """The sums over all shards are not finite in any of them."""
    x = np.load(folder / "d.npz")["x"]
    x[17] = 3e38
    np.savez(folder / "d.npz", x=x, y=np.zeros(60, int))
    messages = []

    def run(ranks: Ranks) -> None:
        made = trainer(folder, "maps", "batch 12; shards 4; bn sync on; validate 0.2; seed 3", ranks)
        with pytest.raises(RankFailed if size > 1 else Diverged) as caught:
            made.run()
        assert all(np.isfinite(array).all() for array in made.runner.state().values())
        error = caught.value.error if isinstance(caught.value, RankFailed) else caught.value
        assert isinstance(error, Diverged)
        messages.append(error.message)

    on_ranks(size, run) if size > 1 else run(ALONE)
    assert len(messages) == size
    for message in messages:
        assert "it first appears in `conv1`" in message
        assert ("(in rank" in message) == (size > 1)


def test_a_lone_value_counts_over_all_shards(folder: Path) -> None:
    lines = "batch 4; shards 4; epochs 1"
    with pytest.raises(UserError) as caught:
        trainer(folder, "vectors", lines)
    assert caught.value.code == "E0861"
    assert any("bn sync on" in text for text in caught.value.helps)
    made = trainer(folder, "vectors", f"{lines}; bn sync on")
    made.run()
    assert np.isfinite(made.last["loss"])
    with pytest.raises(UserError) as caught:
        trainer(folder, "vectors", "batch 1; bn sync on")
    assert caught.value.code == "E0861"


@pytest.mark.parametrize("lines", ["batch 12", "batch 12; accumulate 2"])
def test_without_shards_nothing_changes(folder: Path, lines: str) -> None:
    expected, figures = trained(folder, "maps", lines)
    found, history = trained(folder, "maps", f"{lines}; bn sync on")
    assert_same(found, expected)
    assert history == figures


def test_graphs_without_shared_statistics_are_the_same(folder: Path) -> None:
    """Those of undivided steps, to the byte, and no sums over shards in parts of divided ones."""
    for net in NETS:
        recipes = [recipe_of(folder, net, f"batch 8{line}") for line in ("", "; bn sync on", "; shards 2")]
        assert len({fingerprint(training_step(each.net, each)) for each in recipes}) == 1
        assert not is_staged(training_step(recipes[2].net, recipes[2], 4))


def test_the_line_is_set_from_anywhere(folder: Path) -> None:
    recipe = recipe_of(folder, "maps", "bn sync on")
    assert recipe.sync_bn
    assert "  bn sync on\n" in recipe.text
    plain = recipe_of(folder, "maps", "shards 2")
    assert not plain.sync_bn
    assert "  bn " not in plain.text
    file = str(folder / "0.net")
    for setting in ("train.bn=sync on", "train.bn.sync=on"):
        changed = load_recipe(file, Report(), settings=[setting])
        assert changed is not None
        assert changed.sync_bn
    net, data = netdsl.load(file), np.load(folder / "d.npz")
    how: dict[str, Any] = {"loss": "cross_entropy", "epochs": 1, "step_backend": "plain", "threads": 1}
    found = [net.fit(data["x"], data["y"], shards=2, **how, bn=f"sync {switch}").history for switch in ("on", "off")]
    assert found[0] != found[1]


def part_of(folder: Path, net: str, backend: str = "plain") -> Graph:
    recipe = recipe_of(folder, net, "batch 8; shards 2; bn sync on")
    return without_update(lower_step(training_step(recipe.net, recipe, 4), backend).graph)


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize(("net", "count"), [("maps", 5), ("residual", 7), ("vectors", 5)])
def test_there_are_as_few_stages_as_possible(folder: Path, net: str, count: int, backend: str) -> None:
    """Each `bn` in a row takes two sums, one in each direction; that of a projection shares those of another."""
    graph = part_of(folder, net, backend)
    found = stages(graph)
    assert len(found) == count
    computed = [operation for stage in found for operation in stage.operations]
    assert len(computed) == len([each for each in graph.operations if not isinstance(each.op, ShardSum)])
    assert sorted(name for stage in found for name in stage.state) == sorted(graph.state)
    made: set[str] = set(graph.inputs) | set(graph.parameters) | set(graph.state)
    for stage in found:
        assert stage.inputs.keys() <= made
        made |= stage.outputs.keys()
    assert made >= graph.outputs.keys()
    assert LOSS in made


def test_values_kept_at_the_same_time_share_no_memory(folder: Path) -> None:
    found = stages(part_of(folder, "repeat 5 { conv 3x3 16 bias off; bn; relu }; dense 5"))
    arrays = kept_arrays(found)
    first = {name: at for at, stage in enumerate(found) for name in stage.outputs}
    last = {name: at for at, stage in enumerate(found) for name in stage.inputs}
    for name, array in arrays.items():
        assert name.startswith(KEPT)
        assert array.shape == known(found[first[name]].outputs[name].shape)
        for other in arrays:
            if other != name and np.shares_memory(array, arrays[other]):
                assert last[name] < first[other] or last[other] < first[name]
    distinct = {array.__array_interface__["data"][0]: array.nbytes for array in arrays.values()}
    assert sum(distinct.values()) < sum(array.nbytes for array in arrays.values())
    assert any(name.startswith(SUMMED) for name in found[0].outputs)
