"""Early stopping: when it ends a training, and that a resumed run stops at the same epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import netdsl as api
from tests.support.cli_tools import Commands, netdsl
from tests.support.recipe_tools import recipe_of, recipe_with

__all__ = ["netdsl"]

STD = ("--step-backend", "plain", "--threads", "1")
STILL = """
net xor { input x 2; hidden: dense 4; tanh; dense 2 }
train xor { data xor; validate xor; loss cross_entropy; optimizer sgd lr 1e-30; batch 4; epochs 30; stop patience 3 }
"""
"""A training that improves nothing."""
NOISE = """
net noise { input x 3; dense 8; tanh; dense 2 }
train noise {
  data npz "noise.npz"; validate 0.5
  loss cross_entropy
  optimizer adam lr 0.05
  batch 8; epochs 60; stop patience 4 min_delta 0.01
}
"""
NAN = math.nan


def end(text: str, better: str, values: list[float]) -> int | None:
    """Return after how many epochs a training ends."""
    stop = recipe_with(f"validate xor; stop {text}").stop
    assert stop is not None
    return next((n for n in range(1, len(values) + 1) if stop.is_over(values[:n], better)), None)


@pytest.mark.parametrize(
    ("text", "better", "values", "expected"),
    [
        ("patience 2", "higher", [0.1, 0.2, 0.2, 0.2, 0.9], 4),
        ("patience 2", "lower", [3, 2, 2.5, 1, 1, 1], 6),
        ("patience 1", "lower", [3, 2, 1, 0], None),
        ("patience 2 min_delta 0.5", "lower", [3, 2.75, 2.4, 2.3, 2], 5),  # 2.4 is 0.6 below 3; 2.3 and 2 are not
        ("patience 2 min_delta 0.5", "higher", [1, 1.25, 1.5, 9], 3),  # 1.5 is exactly 0.5 more
        ("patience 2", "higher", [NAN, 0.5, NAN, NAN, 1], 4),
        ("patience 3", "lower", [-1, -2, -3, -2, -2, -3], 6),
    ],
)
def test_when_a_training_ends(text: str, better: str, values: list[float], expected: int | None) -> None:
    assert end(text, better, values) == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_training_ends_patience_epochs_after_its_best(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 9, 30).tolist()
    found = {better: end("patience 4", better, values) for better in ("higher", "lower")}
    for better, arg in (("higher", np.argmax), ("lower", np.argmin)):
        assert found[better] == next(n for n in range(1, 31) if n - 1 - arg(values[:n]) == 4)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("stop", "E04"),
        ("stop patience 0", "E0401"),
        ("stop patience 2 min_delta (-1)", "E0401"),
        ("stop after 5", "E0"),
        ("stop patience 2 { min_delta 1 }", "E0224"),
        ("stop patience 2; stop patience 3", "E0217"),
    ],
)
def test_wrong_lines(line: str, code: str) -> None:
    found, problems = recipe_of(
        f"net n {{ input x 2; dense 2 }}\ntrain n {{ data xor; validate xor; loss cross_entropy; {line} }}"
    )
    assert found is None
    assert [problem.code[: len(code)] for problem in problems] == [code]


def test_it_says_that_it_stops(netdsl: Commands) -> None:
    netdsl.write(xor=STILL)
    ran = netdsl("train", "xor.net", *STD)
    assert ran.code == 0, ran
    assert len(ran.out.splitlines()) == 4
    first, last = ran.err.splitlines()[-2:]
    assert first == "stopped early after epoch 4: validation accuracy has not improved in 3 epochs; best epoch 1"
    assert last.startswith("runs/xor: 4 steps; wrote last.safetensors")
    again = netdsl("train", "xor.net", *STD, "--resume")
    assert (again.code, again.out) == (0, "")
    assert "already at step 4 of 30" in again.err
    assert first in again.err
    more = netdsl("train", "xor.net", *STD, "--resume", "--set", "train.stop.patience=5", "--epochs", "9")
    assert "stopped early after epoch 6: validation accuracy has not improved in 5 epochs; best epoch 1" in more.err


def test_the_last_epoch_is_not_early(netdsl: Commands) -> None:
    netdsl.write(xor=STILL)
    ran = netdsl("train", "xor.net", *STD, "--epochs", "4")
    assert ran.code == 0
    assert "stopped early" not in ran.err
    assert "warning[W0308]: training would stop early after epoch 4 at the earliest" in ran.err


@pytest.mark.parametrize("steps", [7, 24])
def test_a_resumed_run_stops_at_the_same_epoch(netdsl: Commands, steps: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((64, 3)).astype(np.float32), rng.integers(0, 2, 64)
    np.savez(netdsl.folder / "noise.npz", x=x, target=y)
    netdsl.write(noise=NOISE)
    whole = netdsl("train", "noise.net", *STD, "--out", "whole")
    (said,) = [line for line in whole.err.splitlines() if line.startswith("stopped early")]
    assert "has not improved by 0.01 in 4 epochs" in said
    assert netdsl("train", "noise.net", *STD, "--out", "parts", "--steps", str(steps)).code == 0
    ran = netdsl("train", "noise.net", *STD, "--out", "parts", "--resume")
    assert said in ran.err
    for name in ("last.safetensors", "best.safetensors"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes(), name
    rows = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    trained = api.fit("noise.net", threads=1, step_backend="plain")
    assert trained.history == rows
