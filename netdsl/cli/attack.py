"""`netdsl attack`: an adversarial example of an image, or the accuracy on attacked data."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.app.attack import LOSS, SCORES, Classifier
from netdsl.app.data_line import data_of
from netdsl.app.frontend import load_net
from netdsl.app.labels import known_names
from netdsl.app.messages import note, show
from netdsl.app.progress import Progress
from netdsl.backend.emit import PICTURE
from netdsl.base.terminal import escape
from netdsl.cli.compile import OptionsClash
from netdsl.data.images import Picture
from netdsl.data.spec import DataSpec, Target
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from netdsl.app.attack import Array, Classifier
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas

    Write = Callable[[Canvas], None] | None
    from collections.abc import Callable, Iterator

    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.ir.names import Names

EPSILON = 0.007
"""Default epsilon for an image: that of the paper's panda."""
EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Default epsilons over a data set."""
BATCH = 100
MAX_CLASSES_SHOWN = 3
"""Maximum number of classes named."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, whether the net is fooled or not, or 1 for errors in the net, its weights or the
    data. Raises UserError."""
    _check_together(options)
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    data = data_of(options.data, report) if options.data is not None else None
    show(report, options, net)
    if net is None or report.errors:
        return 1
    with _picture_file(net, options) as write:
        classifier = _classifier(net, options)
        if data is not None:
            over_data(net, classifier, data, options, write)
        else:
            _one(net, classifier, options, write)
    return 0


def _check_together(options: argparse.Namespace) -> None:
    if (options.image is None) == (options.data is None):
        raise OptionsClash("an attack needs an IMAGE, or --data and no image")
    if options.data is None and options.label is None:
        raise OptionsClash("--label is required", "give the image's true class, e.g. --label 7")
    if options.data is not None and options.label is not None:
        raise OptionsClash("--label goes with an IMAGE; data have labels of their own")
    if options.data is None and len(options.epsilon or ()) > 1:
        raise OptionsClash("several epsilons go with --data")
    for name in ("examples", "batch"):
        if options.data is None and getattr(options, name) is not None:
            raise OptionsClash(f"--{name} goes with --data")
    if options.method == "fgsm":
        for name in ("steps", "alpha"):
            if getattr(options, name) is not None:
                raise OptionsClash(f"--{name} goes with --method pgd: fgsm is one step of epsilon")


def _picture_file(net: Net, options: argparse.Namespace) -> AbstractContextManager[Write]:
    if options.output is None:
        return nullcontext()
    from netdsl.app.output import sources
    from netdsl.cli.pictures import picture_file

    reads = (options.file, options.image, options.weights, options.labels, *sources(net))
    return picture_file(options.output, force=options.force, reads=reads)


def _classifier(net: Net, options: argparse.Namespace) -> Classifier:
    from netdsl.app.attack import Classifier
    from netdsl.app.given_weights import given_weights

    weights = given_weights(net, options, options.seed or 0)
    if weights is None and net.parameters:
        note(f"{net.name}: random weights, drawn from seed {options.seed or 0}; --weights names a file")
    low, high = options.range
    batch = 1 if options.data is None else options.batch or BATCH
    return Classifier(
        net, weights=weights, seed=options.seed or 0, batch=batch, low=low, high=high, threads=options.threads
    )


def adversarial(classifier: Classifier, x: Array, labels: Array, epsilon: float, options: argparse.Namespace) -> Array:
    """Attack images with the selected method."""
    from netdsl.app.attack import STEPS, fgsm, pgd

    if options.method == "fgsm":
        return fgsm(classifier, x, labels, epsilon)
    steps = options.steps or STEPS
    return pgd(classifier, x, labels, epsilon, steps=steps, alpha=options.alpha, seed=options.seed or 0)


def _one(net: Net, classifier: Classifier, options: argparse.Namespace, write: Write) -> None:
    import numpy as np

    names = class_names(classifier, options)
    label = _label(options.label, names, classifier)
    (epsilon,) = options.epsilon or (EPSILON,)
    x = _read(net, classifier, options.image)
    if x.min() < classifier.low or x.max() > classifier.high:
        raise OptionsClash(
            f"{options.image} holds {x.min():g} to {x.max():g}, and --range is "
            f"{classifier.low:g} to {classifier.high:g}",
            "black and white of pictures from files are 0 and 255",
        )
    changed = adversarial(classifier, x, np.array([label]), epsilon, options)
    before, after = (_said(classifier, each, label, names) for each in (x, changed))
    moved = np.abs(changed - x) / (classifier.high - classifier.low)
    record = {
        "image": options.image,
        "label": label,
        **how(options, epsilon),
        "before": before,
        "after": after,
        "change": {"largest": float(moved.max()), "mean": float(moved.mean())},
        "fooled": before["class"] == label != after["class"],
    }
    if options.json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print("\n".join(_lines(record, names)))
    if before["class"] != label:
        note(f"{net.name} takes {options.image} for {_named(before['class'], names)} as it is")
    if write is not None:
        write(_figure(net, classifier, (x[0], changed[0]), record, names))


def how(options: argparse.Namespace, epsilon: float | None) -> dict[str, Any]:
    """Return the method and its arguments as JSON data."""
    from netdsl.app.attack import STEPS, STRIDE

    low, high = options.range
    found: dict[str, Any] = {"method": options.method, "range": [low, high]}
    if epsilon is not None:
        found["epsilon"] = epsilon
    if options.method == "pgd":
        steps, alpha = options.steps or STEPS, options.alpha
        if alpha is None and epsilon is not None:
            alpha = STRIDE * epsilon / steps
        found.update(steps=steps, **({} if alpha is None else {"alpha": alpha}), seed=options.seed or 0)
    return found


def class_names(classifier: Classifier, options: argparse.Namespace) -> list[str] | None:
    """Return the class names of `--labels`, or else of the weights."""
    if options.labels is None:
        return list(classifier.names.classes.get(classifier.output, ())) or None
    from netdsl.app.labels import check_labels, read_labels

    names = read_labels(options.labels)
    check_labels(names, options.labels, {"classes": (classifier.classes,)})
    return names


def _label(text: str, names: list[str] | None, classifier: Classifier) -> int:
    """Return a class by its number or name. Raises NotAttackable."""
    from netdsl.app.attack import NotAttackable

    if names and text in names:
        return names.index(text)
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    if 0 <= number < classifier.classes:
        return number
    from netdsl.base.suggest import suggest

    close = [f"did you mean `{word}`?" for word in suggest(text, names or [])[:1]]
    raise NotAttackable(
        f"{classifier.name} has {classifier.classes:,} classes, 0 to {classifier.classes - 1}, and --label is {text}",
        *close,
    )


def _read(net: Net, classifier: Classifier, path: str) -> Array:
    """Return the single example of a file, [1, *shape]. Raises UserError."""
    from netdsl.backend.emit import PICTURE
    from netdsl.data.errors import BadData
    from netdsl.data.images import Picture
    from netdsl.data.open import open_input

    layer = net.inputs[0].layer
    said: dict[str, Any] = {key: getattr(layer, key, default) for key, default in PICTURE.items()}
    reader = open_input(path, classifier.shape, "f32", name=classifier.input, picture=Picture(**said))
    if len(reader) > 1:
        raise BadData(f"{path} holds {len(reader):,} examples, and one is attacked", "--data takes many")
    return next(reader.batches(1))


def _said(classifier: Classifier, x: Array, label: int, names: list[str] | None) -> dict[str, Any]:
    """Return the prediction for an image."""
    import numpy as np

    from netdsl.app.attack import LOSS

    (probabilities,) = classifier.probabilities(x)
    best = np.argsort(-probabilities, kind="stable")[:MAX_CLASSES_SHOWN].tolist()
    loss = float(classifier.look(x, np.array([label]))[LOSS][0])
    top = [
        {"class": at, **({"label": names[at]} if names else {}), "confidence": float(probabilities[at])} for at in best
    ]
    return {**top[0], "loss": loss, "top": top}


def _named(at: int, names: list[str] | None) -> str:
    return escape(names[at]) if names else str(at)


def _lines(record: dict[str, Any], names: list[str] | None) -> list[str]:
    low, high = record["range"]
    unit = f" ({record['epsilon'] * (high - low):g} of {high - low:g})" if (low, high) != (0, 1) else ""
    steps = f", {record['steps']} steps of {record['alpha']:g}" if "steps" in record else ""
    lines = [
        f"{escape(record['image'])}, {_named(record['label'], names)}: {record['method']}, "
        f"epsilon {record['epsilon']:g}{unit}{steps}"
    ]
    for title, said in (("image", record["before"]), ("adversarial", record["after"])):
        top = "  ".join(f"{_named(each['class'], names)}: {_percent(each['confidence'])}" for each in said["top"])
        lines.append(f"  {title:<12} {top}  loss {said['loss']:.4g}")
    change = record["change"]
    lines.append(f"  {'change':<12} {change['largest']:.4g} at most, {change['mean']:.4g} on average")
    return lines


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _figure(
    net: Net, classifier: Classifier, pair: tuple[Array, Array], record: dict[str, Any], names: list[str] | None
) -> Canvas:
    """Return the picture. Raises NotAttackable if the input is not an image."""
    from netdsl.app.attack import NotAttackable
    from netdsl.report.adversarial import Panel, as_pixels, draw_adversarial

    if len(classifier.shape) != 3 or classifier.shape[0] not in (1, 3):
        raise NotAttackable(f"the input of {net.name} is no picture of one or three channels; leave -o out")
    order = getattr(net.inputs[0].layer, "order", "rgb")
    low, high = classifier.low, classifier.high
    x, changed = pair
    epsilon = record["epsilon"]
    radius = classifier.unit(epsilon) or 1.0
    x_pixels, new_pixels = (as_pixels(each, low, high, order) for each in pair)
    words = [
        f"{_named(each['class'], names)}, {_percent(each['confidence'])}"
        for each in (record["before"], record["after"])
    ]
    return draw_adversarial(
        f"{net.name}: {record['method']}, epsilon {epsilon:g}, label {_named(record['label'], names)}",
        Panel(x_pixels, words[0], "image"),
        Panel(as_pixels(changed - x, -radius, radius, order), f"{epsilon:g} × this", "change, amplified"),
        Panel(new_pixels, words[1], "adversarial"),
    )


LABEL = "target"


def over_data(
    net: Net,
    classifier: Classifier,
    kind: DataKind,
    options: argparse.Namespace,
    write: Callable[[Canvas], None] | None,
) -> None:
    """Print a line or an object per epsilon, and draw the curve."""
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
        from netdsl.report.curves import draw_curves

        points = [(row["epsilon"], 100 * row["accuracy"]) for row in rows]
        write(draw_curves(f"{net.name} under {options.method}", {"accuracy, %": {options.method: points}}, "epsilon"))


def open_data(net: Net, classifier: Classifier, kind: DataKind, names: Names) -> Dataset:
    """Return the examples with their classes, which are matched by `names`. Raises UserError where they do not fit the
    net."""
    layer = net.inputs[0].layer
    said: dict[str, Any] = {key: getattr(layer, key, default) for key, default in PICTURE.items()}
    target = Target(LABEL, "class", classes=classifier.classes)
    inputs = {classifier.input: (classifier.shape, "f32")}
    pictures = {classifier.input: Picture(**said)}
    return kind.open(DataSpec(inputs, {LABEL: target}, pictures=pictures, names=names.of({classifier.output: LABEL})))


def _batches(dataset: Dataset, classifier: Classifier, count: int) -> Iterator[tuple[Array, Array]]:
    """Yield the first examples with their classes, in order."""
    for batch in dataset.batches(classifier.batch, seed=0, epoch=0, shuffle=False, drop_last=False):
        if count <= 0:
            return
        yield batch[classifier.input][:count], batch[LABEL][:count]
        count -= classifier.batch


def _row(
    classifier: Classifier, batches: Iterator[tuple[Array, Array]], epsilon: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the accuracy when every image is attacked."""
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
