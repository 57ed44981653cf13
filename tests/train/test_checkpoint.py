"""A run that is killed at any moment and goes on ends bit-identical to one that was not: weights, logs and all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from netdsl.train.checkpoint import BadCheckpoint, Checkpoint, Position, checkpoints, prune_checkpoints, read_checkpoint
from netdsl.train.folder import RunFolder
from netdsl.train.log import MetricLog, read_columns, read_rows
from netdsl.train.run import choose_step_backend
from tests.support.cli_tools import environment

NET = """
net small {
  input image 1x8x8
  conv 3x3 4 pad 1 bias off; bn; relu
  maxpool 2x2
  dropout 0.3
  dense 10
}
train small {
  data npz "digits.npz"
  validate 0.2
  augment { crop pad 1; flip }
  loss cross_entropy
  optimizer sgd lr 0.05 momentum 0.9 decay 1e-4
  schedule plateau patience 0 factor 0.5
  batch 8; epochs 6; seed 3; keep 2
}
"""
SAME = ("metrics.csv", "metrics.jsonl", "steps.csv", "best.safetensors", "last.safetensors", "best.onnx", "last.onnx")


def prepared(folder: Path) -> Path:
    """A folder with the program and its data."""
    rng = np.random.default_rng(0)
    np.savez(
        folder / "digits.npz",
        image=rng.integers(0, 255, (200, 1, 8, 8)).astype(np.float32) / 255,
        target=rng.integers(0, 10, 200),
    )
    (folder / "small.net").write_text(NET)
    return folder


def begun(folder: Path, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A `netdsl train` that runs, started by the program `before`, and computes alike each time."""
    options = ["--step-backend", "plain", "--threads", "1", *arguments]
    command = [sys.executable, "-m", "netdsl", "train", "small.net", *options]
    return subprocess.Popen(
        [*before, *command], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def train(folder: Path, *arguments: str) -> int:
    """Return the exit code of `netdsl train`."""
    process = begun(folder, "--checkpoint", "0", *arguments)
    _, err = process.communicate()
    assert b"Traceback" not in err, err.decode()
    return process.returncode


def killed(folder: Path, *arguments: str, epochs: int, seconds: float) -> bool:
    """Kill `netdsl train` some seconds after an epoch, 0 for its start. Return whether it had not ended before."""
    process = begun(folder, "--checkpoint", "0", "--json", *arguments)
    assert process.stdout is not None
    for _ in range(epochs + (epochs > 0)):  # the start, and the epochs
        process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    _, err = process.communicate()
    assert b"Traceback" not in err, err.decode()
    assert process.returncode in (0, -signal.SIGKILL), err.decode()
    return process.returncode != 0


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME}


def last_checkpoint(folder: Path) -> Checkpoint:
    return read_checkpoint(checkpoints(str(folder / "checkpoints"))[-1])


def assert_same(one: Path, other: Path) -> None:
    assert contents(one) == contents(other)
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert {k: v.tobytes() for k, v in a.state.items()} == {k: v.tobytes() for k, v in b.state.items()}
    a.about["logs"].pop("speed.csv"), b.about["logs"].pop("speed.csv")
    assert a.about == b.about


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path: Path, seed: int) -> None:
    folder = prepared(tmp_path)
    assert train(folder, "--epochs", "60", "--out", "whole") == 0
    cut = ("--epochs", "60", "--out", "cut", "--resume")
    draws = random.Random(seed)
    kills = 0
    for _ in range(6):
        epochs = draws.choice((0, draws.randint(1, 30)))
        kills += killed(folder, *cut, epochs=epochs, seconds=draws.uniform(0, 0.02 if epochs else 0.5))
    assert kills > 1
    assert train(folder, *cut) == 0
    assert_same(folder / "whole", folder / "cut")


def test_a_run_is_killed_in_its_middle(tmp_path: Path) -> None:
    """As soon as a checkpoint within an epoch is there."""
    folder = prepared(tmp_path)
    assert train(folder, "--out", "whole") == 0
    process = begun(folder, "--checkpoint", "0", "--out", "cut")
    while not checkpoints(str(folder / "cut" / "checkpoints")):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()
    with (folder / "cut" / "metrics.csv").open("a") as log:
        log.write("9,99,0.1")  # a torn line, as a system that is switched off may leave one
    assert train(folder, "--out", "cut", "--resume") == 0
    assert_same(folder / "whole", folder / "cut")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_makes_a_checkpoint(tmp_path: Path, how: int) -> None:
    folder = prepared(tmp_path)
    process = begun(folder, "--epochs", "100000", "--out", "cut", "--json")
    assert process.stdout is not None
    process.stdout.readline(), process.stdout.readline()  # the start, and an epoch
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == 128 + how, err.decode()
    assert b"--resume continues" in err
    step = last_checkpoint(folder / "cut").position.step
    assert step > 0
    assert (folder / "cut" / "last.onnx").exists()
    last = read_rows(str(folder / "cut" / "metrics.jsonl"))[-1]
    assert last["step"] <= step


def test_a_run_under_nohup_survives_the_end_of_its_terminal(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    process = begun(
        folder, "--epochs", "100000", "--out", "cut", "--json", before=["sh", "-c", "trap '' HUP; exec \"$@\"", "-"]
    )
    assert process.stdout is not None
    process.stdout.readline(), process.stdout.readline()  # the start, and an epoch
    process.send_signal(signal.SIGHUP)
    for _ in range(3):
        assert process.stdout.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err.decode()


def test_a_checkpoint_is_read_by_the_stock_reader(tmp_path: Path) -> None:
    state = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7, np.uint32)}
    path = tmp_path / Position(3, 20, 70).file
    assert path.name == "0003-000020.safetensors"
    Checkpoint(state, Position(3, 20, 70), {"best": 0.1, "schedule": {}}).write(str(path))
    with safe_open(path, "np") as file:
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            name: array.tolist() for name, array in state.items()
        }
    again = read_checkpoint(str(path))
    assert (again.position.epoch, again.position.batch, again.position.step) == (3, 20, 70)
    assert again.about == {"best": 0.1, "schedule": {}}
    assert again.state["step"].shape == ()
    assert again.state["step"].dtype == np.uint32


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "0001.safetensors"
    Checkpoint({"w": np.zeros(3, np.float32)}, Position(1), {}).write(str(path))
    whole = path.read_bytes()
    for text in (whole[:-1], whole[:5], b"", whole.replace(b"netdsl.run", b"netdsl.ran")):
        path.write_bytes(text)
        with pytest.raises(BadCheckpoint):
            read_checkpoint(str(path))


def test_the_oldest_checkpoints_go(tmp_path: Path) -> None:
    for position in (Position(10), Position(2, 5), Position(2), Position(2, 40), Position(9, 1)):
        (tmp_path / position.file).write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    found = [os.path.basename(path) for path in checkpoints(str(tmp_path))]
    assert found == [
        "0002.safetensors",
        "0002-000005.safetensors",
        "0002-000040.safetensors",
        "0009-000001.safetensors",
        "0010.safetensors",
    ]
    for keep in (9, 6, 5):
        prune_checkpoints(str(tmp_path), keep)
        assert len(checkpoints(str(tmp_path))) == 5
    prune_checkpoints(str(tmp_path), 2)
    assert sorted(os.listdir(tmp_path)) == ["0009-000001.safetensors", "0010.safetensors", "notes.txt"]


@pytest.mark.parametrize("keep", [0, 1, 2, 5])
def test_saving_keeps_as_many_as_it_is_to_and_one_at_least(tmp_path: Path, keep: int) -> None:
    folder = RunFolder(str(tmp_path / "run"), ["loss"])
    folder.begin({}, {}, 0)
    saved = []
    for epoch in range(1, 5):
        position = Position(epoch, 7 * (epoch % 2), 10 * epoch)
        folder.save(Checkpoint({"w": np.full(3, epoch, "f4")}, position, {"best": None}), keep)
        saved.append(position.file)
        found = [os.path.basename(path) for path in checkpoints(folder.file("checkpoints"))]
        assert found == saved[-max(keep, 1) :]


def test_a_log_is_cut_back_to_where_it_was(tmp_path: Path) -> None:
    log = MetricLog(str(tmp_path), "metrics", ("step", "loss"))
    log.begin()
    log.add({"step": 1, "loss": 0.5})
    sizes = log.sizes()
    log.add({"step": 2, "loss": float("nan")})
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n1,0.5\n2,\n"
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2},
    ]
    assert read_columns(str(tmp_path / "metrics.csv"), ("step", "loss")) == [(1.0, 0.5)]
    log.close()
    log.cut(sizes)
    assert log.sizes() == sizes
    (tmp_path / "metrics.csv").write_text("")
    with pytest.raises(BadCheckpoint, match="0 bytes"):
        log.cut(sizes)


def test_rows_are_written_whole_in_as_many_pieces_as_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is nearly full a part is written, and no error tells of it."""
    log = MetricLog(str(tmp_path), "metrics", ("step", "loss"), objects=False)
    log.begin()
    whole = os.write
    monkeypatch.setattr(os, "write", lambda file, data: whole(file, data[:3]))
    log.add({"step": 100, "loss": 0.125})
    log.close()
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n100,0.125\n"


def test_a_damaged_checkpoint_does_not_outlive_those_that_come(tmp_path: Path) -> None:
    """With `keep 1` it would be the one that is kept."""
    folder = RunFolder(str(tmp_path), [])
    folder.begin({}, {}, 0)
    for epoch in (1, 2, 3):
        folder.save(Checkpoint({"w": np.zeros(3, np.float32)}, Position(epoch), {"logs": folder.lengths()}), 3)
    for path in checkpoints(folder.file("checkpoints"))[1:]:
        Path(path).write_bytes(b"")
    found = folder.latest()
    assert found is not None
    folder.cut(found)
    assert os.listdir(folder.file("checkpoints")) == [Position(1).file]


@pytest.mark.skipif(sys.platform == "win32", reason="no folder can be locked")
def test_what_a_kill_left_behind_goes(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for place in (tmp_path, tmp_path / "checkpoints"):
        for name in (".netdsl-0123456789abcdef.tmp", ".netdsl-mine.tmp"):
            (place / name).write_bytes(b"")
    with RunFolder(str(tmp_path), []).locked():
        left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tmp"))
    assert left == [".netdsl-mine.tmp", "checkpoints/.netdsl-mine.tmp"]


def test_a_run_goes_on_as_it_was_computed() -> None:
    lowered = {"lowering": "blk", "recipes": {"a": 1}}
    about = {"lowering": "blk", "threads": 3, "provider": "cpu", "lowered": lowered, "shards": 2}
    for step_backend in (None, "auto", "nchwc", "blk"):
        choices, notes = choose_step_backend(about, step_backend=step_backend, threads=None, provider="cpu")
        assert choices.kept() == about
        assert not notes
    choices, notes = choose_step_backend(about, step_backend="plain", threads=1, provider="cpu")
    assert (choices.step_backend, choices.threads, choices.lowered) == ("plain", 1, None)
    assert notes == [
        "another step backend and threads than before: the last bits may differ from those of an uninterrupted run"
    ]
