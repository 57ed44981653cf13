"""Schedules against PyTorch's and against closed forms."""

from __future__ import annotations

import json
from math import cos, pi

import pytest

from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.diagnostics.problem import Misfit
from netdsl.schedules import SCHEDULES
from tests.support.recipe_tools import NET, recipe_of, recipe_with

LR = 0.5


def schedule_of(text):
    return recipe_with(f"optimizer sgd lr {LR}; schedule {text}").schedule


def rates(text, places, epochs):
    found = schedule_of(text)
    return [found.rate(LR, place, epochs, 1) for place in places]


# By torch.optim.lr_scheduler of PyTorch 2.13, the rate of each epoch: MultiStepLR, CosineAnnealingLR, LinearLR and
# CosineAnnealingLR in SequentialLR; OneCycleLR with 10001 steps at some of them.
PYTORCH = [
    ("constant", range(3), 3, [0.5, 0.5, 0.5]),
    ("step at [3, 5] factor 0.1", range(8), 8, [0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005, 0.005]),
    (
        "cosine to 0.05",
        range(9),
        8,
        [0.5, 0.48287289, 0.43409903, 0.36110377, 0.275, 0.18889623, 0.11590097, 0.067127105, 0.05],
    ),
    (
        "cosine warmup 2",
        range(9),
        8,
        [0.005, 0.2525, 0.5, 0.46650635, 0.375, 0.25, 0.125, 0.033493649, 0.0],
    ),
    (
        "one_cycle",
        (0, 1500, 3000, 5000, 8000, 10000),
        10000,
        [0.02, 0.26008799, 0.49999999, 0.40582897, 0.094111631, 2e-06],
    ),
]


@pytest.mark.parametrize(("text", "places", "epochs", "expected"), PYTORCH, ids=[row[0] for row in PYTORCH])
def test_rates_are_pytorchs(text, places, epochs, expected):
    assert rates(text, places, epochs) == pytest.approx(expected, rel=5e-4, abs=1e-8)


# By get_linear_schedule_with_warmup and get_inverse_sqrt_schedule of transformers 5 with PyTorch 2.13, in steps.
TRANSFORMERS = [
    (
        "linear warmup_steps 4 warmup_from 0",
        (0, 1, 3, 4, 5, 10, 11, 12),
        12,
        [0.0, 0.125, 0.375, 0.5, 0.4375, 0.125, 0.0625, 0.0],
    ),
    (
        "inverse_sqrt warmup_steps 4 warmup_from 0",
        (0, 1, 3, 4, 5, 16, 40),
        50,
        [0.0, 0.125, 0.375, 0.5, 0.4472136, 0.25, 0.15811388],
    ),
]


@pytest.mark.parametrize(("text", "places", "steps", "expected"), TRANSFORMERS, ids=[row[0] for row in TRANSFORMERS])
@pytest.mark.parametrize("per_epoch", [1, 3, 100])
def test_rates_of_steps_are_those_of_transformers(text, places, steps, expected, per_epoch):
    """However many steps an epoch has."""
    schedule = schedule_of(text)
    assert [schedule.rate(LR, place, steps, per_epoch) for place in places] == pytest.approx(expected)


@pytest.mark.parametrize("text", ["constant", "step at 6", "cosine to 0.1", "linear to 0.1", "inverse_sqrt", "plateau"])
def test_a_warm_up_in_steps_is_one_in_epochs(text):
    epochs, steps = schedule_of(f"{text} warmup 2.5"), schedule_of(f"{text} warmup_steps 10")
    found, expected = ([each.rate(LR, step, 32, 4) for step in range(32)] for each in (steps, epochs))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("constant warmup 1 warmup_steps 5", "5"),
        ("one_cycle warmup_steps 5", "5"),
        ("inverse_sqrt", "inverse_sqrt"),
        ("inverse_sqrt warmup 0 warmup_steps 0", "inverse_sqrt"),
    ],
)
def test_a_warm_up_is_given_once_and_where_it_is_needed(text, at):
    _, problems = recipe_of(f"{NET}train n {{ data xor; loss cross_entropy; schedule {text} }}")
    assert [(problem.code, problem.span.text) for problem in problems] == [("E0425", at)]


CLOSED = [
    ("linear to 0.1", (0, 2, 3, 5), 4, [LR, 0.3, 0.2, 0.1]),
    ("linear warmup 2", (2, 3, 4), 4, [LR, LR / 2, 0]),
    ("inverse_sqrt warmup 2", (2, 8, 32), 9, [LR, LR / 2, LR / 4]),
    ("step at 2.5", (2.49, 2.5, 2.51), 4, [LR, LR / 10, LR / 10]),
    ("step at [1, 1] factor 2", (0.5, 1), 4, [LR, 4 * LR]),
    ("cosine", (0.25,), 4, [LR * (1 + cos(pi / 16)) / 2]),
    ("cosine", (5,), 4, [0]),
    ("constant warmup 4 warmup_from 0", (0, 1, 3, 4, 5), 9, [0, LR / 4, 3 * LR / 4, LR, LR]),
    ("constant warmup 2 warmup_from 0.5", (0, 1, 2), 9, [LR / 2, 3 * LR / 4, LR]),
    ("cosine warmup 5", (0, 2, 4.5), 3, [0.01 * LR, LR * (0.01 + 0.99 * 0.4), LR * (0.01 + 0.99 * 0.9)]),
    ("cosine warmup 3", (3,), 3, [0]),
    ("one_cycle rise 0.5 div 10 final_div 2", (0, 1, 2, 3, 4), 4, [LR / 10, LR * 0.55, LR, LR * 0.525, LR / 20]),
]


@pytest.mark.parametrize(("text", "places", "epochs", "expected"), CLOSED, ids=[row[0] for row in CLOSED])
def test_rates_in_between(text, places, epochs, expected):
    assert rates(text, places, epochs) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["constant", "step at 6", "cosine", "linear", "inverse_sqrt", "plateau"])
def test_the_rate_is_continuous_where_the_warm_up_ends(text):
    assert rates(f"{text} warmup 2", (2 - 1e-9, 2), 8) == pytest.approx([LR, LR])


def test_the_rise_of_one_cycle_is_its_warm_up():
    """After a separate warm-up to lr, the rate would jump to lr/div."""
    schedule = SCHEDULES["one_cycle"](warmup=2.0, rise=0.25)
    with pytest.raises(Misfit) as caught:
        schedule.validate()
    assert (caught.value.problem, caught.value.at) == (Contradiction, "warmup")
    assert rates("one_cycle warmup 0 rise 0.25", (0, 1, 2), 8) == pytest.approx([LR / 25, LR * 13 / 25, LR])


# By ReduceLROnPlateau of PyTorch 2.13, the rate of each epoch and the metric after it.
PLATEAUS = [
    (
        "plateau factor 0.1 patience 2 to 0.001",
        "lower",
        [1.0, 0.9, 0.9, 0.89995, 0.91, 0.8, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7],
        [0.5] * 5 + [0.05] * 4 + [0.005] * 3 + [0.001] * 5,
    ),
    (
        "plateau factor 0.5 patience 0",
        "higher",
        [0.5, 0.6, 0.6, 0.60003, 0.7, 0.65, 0.71],
        [0.5, 0.5, 0.5, 0.25, 0.125, 0.125, 0.0625],
    ),
]


@pytest.mark.parametrize(("text", "better", "values", "expected"), PLATEAUS, ids=["lower", "higher"])
@pytest.mark.parametrize("resumed", [False, True])
def test_plateaus_are_pytorchs(text, better, values, expected, resumed):
    schedule = schedule_of(text)
    found = []
    for epoch, value in enumerate(values):
        found.append(schedule.rate(LR, epoch, len(values), 1))
        schedule.observe(value, better)
        if resumed:
            state = json.loads(json.dumps(schedule.state()))
            schedule = schedule_of(text)
            schedule.restore(state)
    assert found == pytest.approx(expected)


def test_a_plateau_of_negative_values_gets_better_downwards():
    """The threshold is relative to the size of the best value, not to its sign."""
    schedule = schedule_of("plateau patience 0")
    for value in (-1.0, -2.0, -3.0):
        schedule.observe(value, "lower")
    assert schedule.rate(LR, 3, 9, 1) == LR
    schedule.observe(-3.0, "lower")
    assert schedule.rate(LR, 4, 9, 1) == pytest.approx(LR / 10)


@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize("threshold", [0, 0.25])
def test_what_improves_by_the_threshold_alone_is_no_improvement(better, threshold):
    """As PyTorch's `is_better`, which compares strictly; numbers that are exact."""
    sign = 1 if better == "higher" else -1
    schedule = schedule_of(f"plateau factor 0.5 patience 0 threshold {threshold}")
    for epoch, value in enumerate((4.0, 4 + sign * 4 * threshold, 4 + sign * 4 * threshold)):
        schedule.observe(value, better)
        assert schedule.rate(LR, epoch + 1, 9, 1) == LR / 2**epoch
    schedule.observe(4 + sign * (4 * threshold + 0.125), better)
    assert schedule.rate(LR, 4, 9, 1) == LR / 4


def test_only_a_plateau_watches():
    watching = {name for name, cls in SCHEDULES.items() if cls.watches}
    assert watching == {"plateau"}
    assert schedule_of("cosine").state() == {}
