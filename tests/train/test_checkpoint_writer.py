"""What is written beside the training: in its order, and with its errors told."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import numpy_helper

import netdsl
from netdsl.app.frontend import load_net
from netdsl.base.files import CannotWrite
from netdsl.diagnostics.report import Report
from netdsl.train import checkpoint_writer
from netdsl.train import folder as folders
from netdsl.train import runner as runners
from netdsl.train.checkpoint import Checkpoint, checkpoints, read_checkpoint
from netdsl.train.checkpoint_writer import write_model
from netdsl.train.folder import Writer
from netdsl.train.log import MetricLog
from netdsl.train.nonfinite import Diverged
from tests.support.cli_tools import weighed

PROGRAM = """
net small { input x 4; dense 8; dense 3 }
train small { data npz "data.npz"; loss cross_entropy; optimizer sgd lr 0.1; batch 5; epochs 20; keep 100 }
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that makes a checkpoint whenever the one before is written."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((40, 4)), y=rng.integers(0, 3, 40))
    (tmp_path / "small.net").write_text(PROGRAM)
    monkeypatch.setattr(checkpoint_writer, "EPOCH_SECONDS", 0)
    monkeypatch.setattr(checkpoint_writer, "SHARE", 0)
    return tmp_path / "small.net"


def test_one_after_the_other_and_errors_to_who_asks_next() -> None:
    done: list[int] = []
    may = threading.Event()
    writer = Writer()
    assert not writer.is_busy()

    def first() -> None:
        may.wait()
        done.append(1)

    writer.begin(first)
    assert writer.is_busy()
    assert done == []
    may.set()
    writer.begin(lambda: done.append(2))
    writer.wait()
    assert done == [1, 2]

    def fails() -> None:
        raise CannotWrite("the disk is full")

    for ask in (writer.wait, lambda: writer.begin(first), writer.is_busy):
        writer.begin(fails)
        writer.end()
        with pytest.raises(CannotWrite, match="full"):
            ask()
        assert not writer.is_busy()


@pytest.mark.parametrize("large", [2**40, 1])
def test_a_checkpoint_is_of_the_moment_when_it_was_asked_for(
    program: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """The training goes on while each is written, but for a large state; what is in it fits together all the same."""
    monkeypatch.setattr(runners, "LARGE_STATE", large)
    slowly, write = threading.Event(), Checkpoint.write

    def slow(self: Checkpoint, path: str) -> None:
        slowly.wait(0.01)
        write(self, path)

    monkeypatch.setattr(Checkpoint, "write", slow)
    monkeypatch.setattr(checkpoint_writer, "SECONDS", 0)
    netdsl.fit(program, out=program.parent / "run", step_backend="plain", threads=1)
    found = [read_checkpoint(path) for path in checkpoints(str(program.parent / "run" / "checkpoints"))]
    assert len(found) > 1
    for each in found:
        at = each.position
        assert at.step == 8 * at.epoch + at.batch
        assert each.state["step"] == at.step
        assert each.about["epoch_loss"][1] == at.batch
        assert [measures["accuracy"]["count"] for measures in each.about["measures"]] == [5 * at.batch] * bool(at.batch)


@pytest.mark.parametrize("step_backend", ["plain", "nchwc"])
def test_large_states_are_written_as_small_ones_are(
    program: Path, monkeypatch: pytest.MonkeyPatch, step_backend: Literal["plain", "nchwc"]
) -> None:
    def trained(name: str, epochs: int) -> netdsl.Trained:
        settings = {"train.epochs": epochs}
        run = program.parent / name
        return netdsl.fit(
            program, out=run, resume=run.exists(), settings=settings, step_backend=step_backend, threads=1
        )

    small = trained("small", 20)
    monkeypatch.setattr(runners, "LARGE_STATE", 1)
    trained("large", 10)
    large = trained("large", 20)
    for key in small.best:
        np.testing.assert_array_equal(large.best[key], small.best[key])
        np.testing.assert_array_equal(large.weights[key], small.weights[key])
    for name in ("best.safetensors", "last.safetensors", "metrics.csv", "best.onnx"):
        assert (program.parent / "large" / name).read_bytes() == (program.parent / "small" / name).read_bytes()
    last = {
        run: read_checkpoint(str(program.parent / run / "checkpoints/0020.safetensors")) for run in ("small", "large")
    }
    for key, array in last["small"].state.items():
        np.testing.assert_array_equal(last["large"].state[key], array)


def test_large_weights_that_blow_up_do_not_replace_the_best(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the only step is the best so far, and what the step made of the weights is infinite."""
    monkeypatch.setattr(runners, "LARGE_STATE", 1)
    settings = {"train.optimizer": "sgd decay 100", "train.lr": 3e38, "train.batch": 40, "train.epochs": 1}
    with pytest.raises(Diverged, match="no longer finite after step 1"):
        netdsl.fit(program, out=program.parent / "run", settings=settings, threads=1, step_backend="plain")
    assert not (program.parent / "run/best.safetensors").exists()


LARGE = """
import sys
from netdsl.cli import main
from netdsl.train import runner
if sys.argv[1] == "small":
    runner.LARGE_STATE = 2**40
assert main(["train", "large.net", "--out", sys.argv[1], "--threads", "1"]) == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what a process took at most")
def test_large_states_are_not_copied(tmp_path: Path) -> None:
    """Weights of 67 MB and their momentum."""
    np.savez(tmp_path / "data.npz", x=np.ones((4, 4096), "f4"), y=np.zeros(4, "i8"))
    (tmp_path / "large.net").write_text(
        "net large { input x 4096; dense 4096 init zeros bias off; dense 3 }\n"
        'train large { data npz "data.npz"; loss cross_entropy; optimizer sgd lr 0.1 momentum 0.9; batch 4; epochs 1 }'
    )
    peaks = {which: weighed(LARGE, which, cwd=tmp_path)[1] for which in ("small", "large")}
    assert peaks["large"] < peaks["small"] - 100e6


@pytest.mark.parametrize("which", ["best.safetensors", "checkpoint"])
def test_a_full_disk_ends_the_run(program: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    def full(*_: Any) -> None:
        raise CannotWrite("cannot write: no space left on device")

    if which == "checkpoint":
        monkeypatch.setattr(Checkpoint, "write", full)
    else:
        monkeypatch.setattr(checkpoint_writer, "write_weights", full)
    with pytest.raises(CannotWrite, match="no space"):
        netdsl.fit(program, out=program.parent / "run", step_backend="plain", threads=1)
    assert not [thread for thread in threading.enumerate() if thread.name == "netdsl writer"]
    found = checkpoints(str(program.parent / "run" / "checkpoints"))
    assert all(read_checkpoint(path).about["best"] is None for path in found)


def test_rows_that_wait_are_written_together_and_at_the_end(tmp_path: Path) -> None:
    log = MetricLog(str(tmp_path), "steps", ("step", "loss"), patience=1e9)
    log.begin()
    for step in range(3):
        log.add({"step": step, "loss": 0.5})
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n"
    assert log.sizes()["steps.csv"] == os.path.getsize(tmp_path / "steps.csv")
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n0,0.5\n1,0.5\n2,0.5\n"
    log.add({"step": 3, "loss": 0.5})
    log.close()
    assert (tmp_path / "steps.csv").read_text().endswith("\n3,0.5\n")


def test_a_run_that_diverges_leaves_its_last_rows(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "ROW_PATIENCE", 1e9)
    with pytest.raises(Diverged):
        netdsl.fit(program, out=program.parent / "run", settings={"train.lr": 1e30})
    assert (program.parent / "run" / "steps.csv").read_text().startswith("step,loss,rate\n1,")


@pytest.mark.parametrize("most", [10, 2**30])
def test_a_model_of_a_run_has_its_weights_within_or_beside_it(
    program: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    net = load_net(str(program), Report())
    assert net is not None
    rng = np.random.default_rng(3)
    weights = {key: rng.standard_normal(p.shape).astype("f4") for key, p in net.parameters.items()}
    monkeypatch.setattr("netdsl.train.checkpoint_writer.ONE_FILE", most)
    path = program.parent / "m.onnx"
    safetensors.numpy.save_file(weights, program.parent / "w.safetensors")
    write_model(str(path), net, str(program.parent / "w.safetensors"))
    assert (len(list(program.parent.glob("m.onnx*"))) == 2) == (most == 10)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert all(np.array_equal(found[key], array) for key, array in weights.items())
