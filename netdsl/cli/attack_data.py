"""`netdsl attack --data`: how many of a data set a net still names rightly, for each epsilon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.attack import LOSS, SCORES, Classifier
from netdsl.cli.attack import EPSILONS, adversarial, class_names, how
from netdsl.cli.labels import known_names
from netdsl.cli.progress import Progress
from netdsl.data.images import Picture
from netdsl.data.wanted import Target, Wanted
from netdsl.diagnostics.terminal import escape
from netdsl.emit import PICTURE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from netdsl.attack import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas

LABEL = "target"


def over_data(
    net: Net,
    classifier: Classifier,
    kind: DataKind,
    options: argparse.Namespace,
    write: Callable[[Canvas], None] | None,
) -> None:
    """Print a line for each epsilon, or an object, and draw the curve."""
    labels = class_names(classifier, options)
    dataset = open_data(net, classifier, kind, known_names(labels, classifier.names, {classifier.output: None}))
    count = min(len(dataset), options.examples or len(dataset))
    epsilons = options.epsilon or EPSILONS
    rows = []
    with Progress("examples", count * len(epsilons)) as progress:
        for at, epsilon in enumerate(epsilons):
            rows.append(_row(classifier, _batches(dataset, classifier, count), epsilon, options))
            progress.show((at + 1) * count)
    if options.json:
        record = {"data": options.data, "examples": count, **how(options, None), "rows": rows}
        print(json.dumps(record, ensure_ascii=False))
    else:
        print("\n".join(_table(rows, count, options)))
    if write is not None:
        from netdsl.train.curves import chart

        points = [(row["epsilon"], 100 * row["accuracy"]) for row in rows]
        write(chart(f"{net.name} under {options.method}", {"accuracy, %": {options.method: points}}, "epsilon"))


def open_data(net: Net, classifier: Classifier, kind: DataKind, names: Names) -> Dataset:
    """Return the examples with their classes, which are matched by `names`. Raises UserError where they do not fit the
    net."""
    layer = net.inputs[0].layer
    said: dict[str, Any] = {key: getattr(layer, key, default) for key, default in PICTURE.items()}
    target = Target(LABEL, "class", classes=classifier.classes)
    inputs = {classifier.input: (classifier.shape, "f32")}
    pictures = {classifier.input: Picture(**said)}
    return kind.open(Wanted(inputs, {LABEL: target}, pictures=pictures, names=names.of({classifier.output: LABEL})))


def _batches(dataset: Dataset, classifier: Classifier, count: int) -> Iterator[tuple[Array, Array]]:
    """The first examples with their classes, in order."""
    for batch in dataset.batches(classifier.batch, seed=0, epoch=0, shuffle=False, drop_last=False):
        if count <= 0:
            return
        yield batch[classifier.input][:count], batch[LABEL][:count]
        count -= classifier.batch


def _row(
    classifier: Classifier, batches: Iterator[tuple[Array, Array]], epsilon: float, options: argparse.Namespace
) -> dict[str, Any]:
    """What is left of the accuracy when every picture is attacked."""
    right, loss, count = 0, 0.0, 0
    for x, labels in batches:
        changed = adversarial(classifier, x, labels, epsilon, options) if epsilon else x
        found = classifier.look(changed, labels)
        right += int((classifier.named(found[SCORES]) == labels).sum())
        loss += float(found[LOSS].sum(dtype=np.float64))
        count += len(x)
    return {"epsilon": epsilon, "accuracy": right / count, "errors": count - right, "loss": loss / count}


def _table(rows: list[dict[str, Any]], count: int, options: argparse.Namespace) -> Iterator[str]:
    yield f"{escape(options.data)}, {count:,} examples: {options.method}"
    yield f"{'epsilon':>9}  {'accuracy':>9}  {'errors':>9}  {'loss':>9}"
    for row in rows:
        accuracy = f"{100 * row['accuracy']:.2f} %"
        yield f"{row['epsilon']:>9g}  {accuracy:>9}  {row['errors']:>9,}  {row['loss']:>9.4g}"
