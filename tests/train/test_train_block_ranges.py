"""The ranges of numbers in `train` blocks, as their formulas have them: at each end, and right beyond it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from netdsl.data.augment import AUGMENTATIONS, Interval
from netdsl.data.kinds import KINDS
from netdsl.declare.arguments import Integer, Kind, Numbers, Real, ValueMisfit
from netdsl.layers import find_layer
from netdsl.losses import LOSSES
from netdsl.metrics import METRICS
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES

ROOMS: dict[str, dict[str, Any]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
    "metric": METRICS,
    "augment": AUGMENTATIONS,
    "data": KINDS,
    "layer": {"bn": find_layer("bn")},
}
OPTIMIZER = {"lr": "(0, inf)", "decay": "[0, inf)", "clip": "(0, inf)", "clip_value": "(0, inf)"}
SCHEDULE = {"warmup": "[0, inf)", "warmup_steps": "[0, inf)", "warmup_from": "[0, 1]"}
LOSS = {"weight": "[0, inf)"}
RANGES: dict[str, dict[str, str]] = {
    "optimizer sgd": {**OPTIMIZER, "momentum": "[0, 1)"},
    "optimizer adam": {**OPTIMIZER, "beta1": "[0, 1)", "beta2": "[0, 1)", "eps": "[0, inf)"},
    "optimizer adamw": {**OPTIMIZER, "beta1": "[0, 1)", "beta2": "[0, 1)", "eps": "[0, inf)"},
    "optimizer rmsprop": {**OPTIMIZER, "alpha": "[0, 1)", "eps": "[0, inf)", "momentum": "[0, 1)"},
    "schedule constant": SCHEDULE,
    "schedule step": {**SCHEDULE, "factor": "(0, inf)"},
    "schedule cosine": {**SCHEDULE, "to": "[0, inf)"},
    "schedule linear": {**SCHEDULE, "to": "[0, inf)"},
    "schedule inverse_sqrt": SCHEDULE,
    "schedule one_cycle": {**SCHEDULE, "rise": "(0, 1)", "div": "[1, inf)", "final_div": "[1, inf)"},
    "schedule plateau": {
        **SCHEDULE,
        "factor": "(0, 1)",
        "patience": "[0, inf)",
        "threshold": "[0, 1)",
        "to": "[0, inf)",
    },
    "loss logistic": LOSS,
    "loss exponential": LOSS,
    "loss cross_entropy": {**LOSS, "smoothing": "[0, 1)", "ignore": "(-inf, inf)"},
    "loss hinge": {**LOSS, "margin": "(0, inf)"},
    "loss perceptron": LOSS,
    "loss mse": LOSS,
    "loss l1": LOSS,
    "loss smooth_l1": {**LOSS, "beta": "(0, inf)"},
    "loss ctc": {**LOSS, "blank": "[0, inf)", "longest": "[1, inf)"},
    "loss mean": LOSS,
    "metric top": {"k": "[1, inf)"},
    "metric edit": {"blank": "[0, inf)"},
    "augment flip": {"p": "[0, 1]"},
    "augment rotate": {"degrees": "[0, 180]"},
    "augment erase": {"p": "[0, 1]", "area": "(0, 1]", "ratio": "(0, inf)", "value": "(-inf, inf)"},
    "augment fgsm": {"epsilon": "[0, 1]", "part": "[0, 1]", "low": "(-inf, inf)", "high": "(-inf, inf)"},
    "layer bn": {"momentum": "[0, 1]", "eps": "(0, inf)"},
    "data text": {"length": "[1, inf)"},
    "data xor": {"n": "[4, inf)", "noise": "[0, inf)", "seed": "[0, inf)"},
    "data clouds": {"n": "[3, inf)", "margin": "(0, inf)", "radius": "(0, inf)", "seed": "[0, inf)"},
    "data connectedness": {"n": "[2, inf)", "seed": "[0, inf)"},
    "data shapes": {"n": "[3, inf)", "noise": "[0, inf)", "seed": "[0, inf)"},
}
CASES = [(what, argument) for what, arguments in RANGES.items() for argument in arguments]
NEAR = 1e-6


def kind_of(what: str, argument: str) -> Kind:
    room, name = what.split()
    kind: Kind = ROOMS[room][name].arguments[argument].kind
    return kind


def is_taken(kind: Kind, value: float) -> bool:
    try:
        converted = kind.convert(value)
    except ValueMisfit:
        return False
    assert converted in (value, (value,), (value, value))
    return True


@pytest.mark.parametrize(("what", "argument"), CASES)
def test_a_range_ends_where_its_formula_ends(what: str, argument: str) -> None:
    kind, interval = kind_of(what, argument), RANGES[what][argument]
    low, high = map(float, interval[1:-1].split(", "))
    step = 1 if isinstance(kind, Integer) else NEAR
    number = int if isinstance(kind, Integer) else float
    if math.isfinite(low):
        assert is_taken(kind, number(low)) == (interval[0] == "[")
        assert is_taken(kind, number(low) + step)
        assert not is_taken(kind, number(low) - step)
    if math.isfinite(high):
        assert is_taken(kind, number(high)) == (interval[-1] == "]")
        assert is_taken(kind, number(high) - step)
        assert not is_taken(kind, number(high) + step)
    for far in (-1000, 1000):
        assert is_taken(kind, far) == (low < far < high)
    for none in (True, "1", math.nan, math.inf, -math.inf, None):
        assert not is_taken(kind, none)  # type: ignore[arg-type]


def test_no_number_is_left_out() -> None:
    declared = {
        (f"{room} {name}", argument)
        for room, classes in ROOMS.items()
        for name, cls in classes.items()
        for argument, each in cls.arguments.items()
        if isinstance(each.kind, Integer | Real | Interval | Numbers)
    }
    assert declared == set(CASES)
