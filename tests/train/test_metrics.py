"""Metrics of small batches, counted by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from netdsl.metrics import METRICS
from netdsl.train.evaluate import Measures
from tests.support.recipe_tools import recipe_with, right

SCORES = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 2.0], [5.0, 4.0, 3.0]], "f4")
CLASSES = np.array([0, 1, 1, 2])
SIGNED = np.array([[2.0], [-1.0], [0.0], [-3.0]], "f4")
SIGNS = np.array([1, 1, 1, -1], "f4")
MAPS = np.zeros((1, 2, 1, 3), "f4")
MAPS[0, 1] = [[1, -1, 1]]
PLACES = np.array([[[1, 1, 0]]])

CASES = [
    ("accuracy", {}, SCORES, CLASSES, 0.5),
    ("accuracy", {}, SIGNED, SIGNS, 0.5),
    ("accuracy", {}, SIGNED, SIGNS[:, None], 0.5),
    ("accuracy", {}, MAPS, PLACES, 1 / 3),
    ("error", {}, SCORES, CLASSES, 0.5),
    ("error", {}, MAPS, PLACES, 2 / 3),
    ("top", {"k": 1}, SCORES, CLASSES, 0.5),
    ("top", {"k": 2}, SCORES, CLASSES, 0.75),
    ("top", {"k": 3}, SCORES, CLASSES, 1.0),
    ("top", {"k": 9}, SCORES, CLASSES, 1.0),
    ("top", {"k": 1}, MAPS, PLACES, 1 / 3),
    ("top", {"k": 1}, np.zeros((2, 5)), np.array([0, 4]), 0.0),
    ("mse", {}, SIGNED, SIGNS, (1 + 4 + 1 + 4) / 4),
    ("mae", {}, SIGNED, SIGNS, (1 + 2 + 1 + 2) / 4),
]


@pytest.mark.parametrize(("name", "arguments", "outputs", "targets", "expected"), CASES)
def test_metrics(name, arguments, outputs, targets, expected):
    metric = METRICS[name](**arguments)
    assert math.isnan(metric.value())
    metric.update(outputs, targets)
    assert metric.value() == pytest.approx(expected)
    metric.update(outputs, targets)
    assert metric.value() == pytest.approx(expected)
    metric.reset()
    assert math.isnan(metric.value())


def test_batches_of_any_size_weigh_by_their_examples():
    metric = METRICS["accuracy"]()
    metric.update(SCORES[:3], CLASSES[:3])
    metric.update(SCORES[3:], CLASSES[3:])
    assert metric.value() == 0.5


def test_confusion():
    metric = METRICS["confusion"]()
    assert metric.value() is None
    metric.update(SCORES, CLASSES)
    assert metric.value().tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    metric.update(SCORES[:1], CLASSES[:1])
    assert metric.value()[0, 0] == 2
    metric.reset()
    metric.update(SIGNED, SIGNS)
    assert metric.value().tolist() == [[1, 0], [2, 1]]


@pytest.mark.parametrize("block", [1, 8])
def test_ignored_positions_do_not_count(block):
    lines = "metric accuracy; metric error; metric top 2; metric confusion"
    net = "net n { input x 2x4; conv 1 3 }\ntrain n { data xor; loss cross_entropy ignore (-1); "
    measures = Measures(right(f"{net}{lines} }}"), block=block)
    scores = np.array([[[3, 0, 0, 3], [2, 3, 0, 2], [1, 0, 3, 1]], [[0, 0, 3, 3], [0, 1, 2, 2], [3, 3, 1, 1]]], "f4")
    targets = np.array([[0, -1, 1, 1], [-1, -1, -1, 2]])
    for half in (slice(0, 1), slice(1, 2), slice(0, 0)):
        measures.update({"output": scores[half]}.__getitem__, {"target": targets[half]})
    found = measures.values()
    assert (found["accuracy"], found["error"], found["top2"]) == (1 / 4, 3 / 4, 2 / 4)
    assert found["confusion"].tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 0]]


def batch_of(metric, rng):
    """Outputs and targets of 5 examples that fit a metric; those of numbers have very different sizes."""
    outputs = rng.standard_normal((5, 4, 6)).astype("f4")
    if "value" in metric.targets:
        return outputs * 10.0 ** rng.integers(-4, 5, outputs.shape), rng.standard_normal(outputs.shape).astype("f4")
    return outputs, rng.integers(1, 4, (5, 6))


@pytest.mark.parametrize("name", METRICS)
def test_merging_a_state_is_updating(name):
    rng = np.random.default_rng(1)
    arguments = {"k": 2} if name == "top" else {}
    whole, merged = METRICS[name](**arguments), METRICS[name](**arguments)
    merged.merge(whole.state())
    for _ in range(20):
        batch, part = batch_of(whole, rng), METRICS[name](**arguments)
        whole.update(*batch)
        part.update(*batch)
        merged.merge(json.loads(json.dumps(part.state())))
        restored = METRICS[name](**arguments)
        restored.update(*batch)
        restored.restore(json.loads(json.dumps(whole.state())))
        for other in (merged, restored):
            np.testing.assert_array_equal(other.value(), whole.value(), strict=True)
            assert other.state() == whole.state()


def test_names_and_directions():
    assert {name: cls.better for name, cls in METRICS.items()} == {
        "accuracy": "higher",
        "error": "lower",
        "top": "higher",
        "confusion": "",
        "mse": "lower",
        "mae": "lower",
        "edit": "lower",
    }
    assert METRICS["top"](k=5).name == "top5"


def test_a_sum_of_many_terms_keeps_its_digits():
    metric = METRICS["mse"]()
    for _ in range(3):
        metric.update(np.full((100_000, 1), 0.1, "f4"), np.zeros((100_000, 1), "f4"))
    assert metric.value() == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-12)


@pytest.mark.parametrize("size", [4, 20_000])
def test_blocks_of_batches_make_no_difference(size):
    """Whatever the blocks are, and wherever a state is asked for; outputs of many numbers do not wait."""
    recipe = recipe_with("metric accuracy; metric top 2", f"net n {{ input x 2; dense {size} }}\n")
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 3, (3, size)).astype("f4"), rng.integers(0, size, 3)) for _ in range(11)]
    found = []
    for block in (1, 2, 4, 100):
        measures = Measures(recipe, numbers=True, block=block)
        states = []
        for number, (outputs, targets) in enumerate(batches):
            measures.update({"output": outputs}.__getitem__, {"target": targets})
            if number == 4:
                states.append(measures.state())
        states += [measures.state(), measures.values()]
        measures.reset()
        found.append([*states, measures.state()])
    assert all(each == found[0] for each in found)
    assert found[0][0]["accuracy"]["count"] == 15
