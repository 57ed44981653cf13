"""Attack a net from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from netdsl.api.errors import NetError, PythonReporter
from netdsl.api.options import (
    LARGEST,
    MATCHING,
    SEEDS,
    between,
    expect_keywords,
    labels_of,
    one_of,
    path,
    shown,
    source_of_weights,
)
from netdsl.api.results import Attacked, Result, canvas_picture
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from typing import Literal

    from netdsl.api.options import WeightOptions
    from netdsl.app.attack import Classifier
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net

    class AttackOptions(WeightOptions, total=False):
        """The keyword arguments of `Net.attack`."""

        method: Literal["fgsm", "pgd"]
        epsilon: float | Sequence[float]
        steps: int
        alpha: float
        range: tuple[float, float]
        labels: str | os.PathLike[str] | Sequence[str]
        examples: int
        batch: int
        seed: int
        threads: int


OPTIONS = MATCHING | {"method", "epsilon", "steps", "alpha", "range", "labels", "examples", "batch", "seed", "threads"}
"""The keys of `AttackOptions`."""


def attack(net: Net, trained: Names, image: object, label: object, data: object, options: AttackOptions) -> Result:
    """Attack an image or a data set like `Net.attack`; `trained` are the names of the data that the net was trained on.
    Raises UserError."""
    from netdsl.app.attack import STEPS
    from netdsl.app.attacked import EPSILON, EPSILONS, Attack, attack_data, attack_image, class_names
    from netdsl.app.evaluate import kind_of

    expect_keywords(options, OPTIONS)
    if (image is None) == (data is None) or (image is None) != (label is None):
        raise WrongArgumentValue("an attack needs either an image and its label, or data")
    given: dict[str, Any] = {**options}
    method = given.get("method", "fgsm")
    one_of("method", method, ("fgsm", "pgd"))
    if method == "fgsm" and (unused := given.keys() & {"steps", "alpha"}):
        raise WrongArgumentValue(f"{min(unused)} needs method='pgd': fgsm takes one step of size epsilon")
    if data is None and (unused := given.keys() & {"examples", "batch"}):
        raise WrongArgumentValue(f"{min(unused)} needs data")
    alpha = _fraction("alpha", given["alpha"]) if "alpha" in given else None
    steps, seed = _count("steps", given) or STEPS, between("seed", given.get("seed", 0), 0, SEEDS)
    how = Attack(method, steps, alpha, seed)
    epsilons = _epsilons(given.get("epsilon", EPSILON if data is None else EPSILONS))
    classifier = _classifier(net, given, seed, 1 if data is None else _count("batch", given))
    classifier.names = classifier.names or trained
    names = class_names(classifier, labels_of(given.get("labels")))
    reporter = PythonReporter()
    if data is not None:
        report = Report()
        kind = kind_of(data, report)
        if kind is None:
            raise NetError(report)
        name, examples = data if isinstance(data, str) else "arrays", _count("examples", given)
        rows = attack_data(net, classifier, kind, name, names, how, reporter, epsilons=epsilons, examples=examples)
        return Result(rows.data(), rows.text(), lambda: canvas_picture(f"an attack on {net.name}", rows.picture()))
    if len(epsilons) > 1:
        raise WrongArgumentValue("several epsilons need data")
    source = path("image", image) if isinstance(image, str | os.PathLike) else image
    if isinstance(label, bool) or not (isinstance(label, str) or hasattr(label, "__index__")):
        raise WrongArgumentType(f"label is the number or the name of a class, not {shown(label)}")
    text = label if isinstance(label, str) else str(int(cast("int", label)))
    found = attack_image(net, classifier, source, text, names, how, epsilons[0])
    return Attacked(found, lambda: canvas_picture(f"an attack on {net.name}", found.picture()))


def _classifier(net: Net, given: dict[str, Any], seed: int, batch: int | None) -> Classifier:
    from netdsl.app.attack import Classifier
    from netdsl.app.attacked import ATTACK_BATCH
    from netdsl.app.given_weights import given_weights, note_random

    source = source_of_weights(**{key: value for key, value in given.items() if key in MATCHING})
    weights = given_weights(net, source, seed, PythonReporter())
    if weights is None and net.parameters:
        note_random(net, seed, PythonReporter())
    low, high = _range(given.get("range", (0, 255)))
    return Classifier(
        net,
        weights=weights,
        seed=seed,
        batch=batch or ATTACK_BATCH,
        low=low,
        high=high,
        threads=_count("threads", given),
    )


def _count(name: str, given: dict[str, Any]) -> int | None:
    return between(name, given[name], 1, LARGEST) if given.get(name) is not None else None


def _fraction(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, Real):
        raise WrongArgumentType(f"{name} must be a number from 0 to 1, not {shown(given)}")
    if not 0 <= float(given) <= 1:
        raise WrongArgumentValue(f"{name} must be a number from 0 to 1, not {shown(given)}")
    return float(given)


def _epsilons(given: object) -> list[float]:
    many = isinstance(given, Sequence) and not isinstance(given, str)
    found = [_fraction("epsilon", each) for each in (cast("Sequence[object]", given) if many else [given])]
    if not found:
        raise WrongArgumentValue("epsilon is an empty list")
    return found


def _range(given: object) -> tuple[float, float]:
    wrong = "range must be a pair of numbers, black and white, such as (0, 255)"
    if not isinstance(given, Sequence) or len(given) != 2 or not all(isinstance(each, Real) for each in given):
        raise WrongArgumentType(wrong)
    low, high = map(float, given)
    if not low < high < float("inf"):
        raise WrongArgumentValue(wrong)
    return low, high
