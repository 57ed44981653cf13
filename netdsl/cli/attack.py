"""`netdsl attack`: an adversarial example of an image, or the accuracy on attacked data."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.app.attack import LOSS, SCORES, STEPS, STRIDE, Classifier, NotAttackable, fgsm, pgd
from netdsl.app.frontend import data_of, load_net
from netdsl.app.labels import known_names
from netdsl.backend.emit import PICTURE
from netdsl.base.terminal import escape
from netdsl.cli.compile import OptionsClash
from netdsl.cli.messages import TERMINAL, note, show, weight_source
from netdsl.data.images import Picture
from netdsl.data.spec import DataSpec, Target
from netdsl.diagnostics.report import Report
from netdsl.ir.graph import TARGET

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from netdsl.app.attack import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas

    Write = Callable[[Canvas], None] | None

EPSILON = 0.007
"""Default epsilon for an image: that of the paper's panda."""
EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Default epsilons over a data set."""
ATTACK_BATCH = 100
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
            _over_data(net, classifier, data, options, write)
        else:
            _one(net, classifier, options, write)
    return 0


def _check_together(options: argparse.Namespace) -> None:
    if (options.image is None) == (options.data is None):
        raise OptionsClash("an attack needs either an IMAGE or --data")
    if options.data is None and options.label is None:
        raise OptionsClash("--label is required", "pass the true class of the image, such as --label 7")
    if options.data is not None and options.label is not None:
        raise OptionsClash("--label needs an IMAGE: the examples of --data have labels")
    if options.data is None and len(options.epsilon or ()) > 1:
        raise OptionsClash("several epsilons need --data")
    for name in ("examples", "batch"):
        if options.data is None and getattr(options, name) is not None:
            raise OptionsClash(f"--{name} needs --data")
    if options.method == "fgsm":
        for name in ("steps", "alpha"):
            if getattr(options, name) is not None:
                raise OptionsClash(f"--{name} needs --method pgd: fgsm takes one step of size epsilon")


def _picture_file(net: Net, options: argparse.Namespace) -> AbstractContextManager[Write]:
    if options.output is None:
        return nullcontext()
    from netdsl.app.output import replace_picture, sources

    reads = (options.file, options.image, options.weights, options.labels, *sources(net))
    return replace_picture(options.output, force=options.force, reads=reads)


def _classifier(net: Net, options: argparse.Namespace) -> Classifier:
    from netdsl.app.given_weights import given_weights

    weights = given_weights(net, weight_source(options), options.seed or 0, TERMINAL)
    if weights is None and net.parameters:
        note(f"{net.name}: using random weights (seed {options.seed or 0}); pass --weights FILE to load trained ones")
    low, high = options.range
    batch = 1 if options.data is None else options.batch or ATTACK_BATCH
    return Classifier(
        net, weights=weights, seed=options.seed or 0, batch=batch, low=low, high=high, threads=options.threads
    )


def _adversarial(classifier: Classifier, x: Array, labels: Array, epsilon: float, options: argparse.Namespace) -> Array:
    """Attack images with the selected method."""
    if options.method == "fgsm":
        return fgsm(classifier, x, labels, epsilon)
    steps = options.steps or STEPS
    return pgd(classifier, x, labels, epsilon, steps=steps, alpha=options.alpha, seed=options.seed or 0)


class _Prediction:
    """The most likely classes of an image with their confidences, and the loss."""

    __slots__ = ("loss", "names", "top")

    def __init__(self, classifier: Classifier, x: Array, label: int, names: list[str] | None) -> None:
        (probabilities,) = classifier.probabilities(x)
        best = np.argsort(-probabilities, kind="stable")[:MAX_CLASSES_SHOWN].tolist()
        self.top: list[tuple[int, float]] = [(at, float(probabilities[at])) for at in best]
        self.loss = float(classifier.look(x, np.array([label]))[LOSS][0])
        self.names = names

    @property
    def best(self) -> int:
        return self.top[0][0]

    def plain(self) -> dict[str, object]:
        top: list[dict[str, object]] = [
            {"class": at, **({"label": self.names[at]} if self.names else {}), "confidence": confidence}
            for at, confidence in self.top
        ]
        return {**top[0], "loss": self.loss, "top": top}

    def texts(self, separator: str = ": ") -> list[str]:
        return [f"{_named(at, self.names)}{separator}{100 * part:.2f} %" for at, part in self.top]


def _one(net: Net, classifier: Classifier, options: argparse.Namespace, write: Write) -> None:
    """Print what an attack changes in an image and in its prediction, and draw it."""
    names = _class_names(classifier, options)
    label = _label(options.label, names, classifier)
    (epsilon,) = options.epsilon or (EPSILON,)
    x = _read(net, classifier, options.image)
    low, high = classifier.low, classifier.high
    if x.min() < low or x.max() > high:
        raise OptionsClash(
            f"the values of {options.image} are {x.min():g} to {x.max():g}, but --range is {low:g} to {high:g}",
            "for image files, use --range 0,255",
        )
    changed = _adversarial(classifier, x, np.array([label]), epsilon, options)
    before, after = (_Prediction(classifier, each, label, names) for each in (x, changed))
    moved = np.abs(changed - x) / (high - low)
    largest, mean = float(moved.max()), float(moved.mean())
    if options.json:
        record = {
            "image": options.image,
            "label": label,
            **_how(options, epsilon),
            "before": before.plain(),
            "after": after.plain(),
            "change": {"largest": largest, "mean": mean},
            "fooled": before.best == label != after.best,
        }
        print(json.dumps(record, ensure_ascii=False))
    else:
        unit = f" ({epsilon * (high - low):g} of {high - low:g})" if (low, high) != (0, 1) else ""
        steps = f", {_steps(options)} steps of {_alpha(options, epsilon):g}" if options.method == "pgd" else ""
        print(f"{escape(options.image)}, {_named(label, names)}: {options.method}, epsilon {epsilon:g}{unit}{steps}")
        for title, each in (("image", before), ("adversarial", after)):
            print(f"  {title:<12} {'  '.join(each.texts())}  loss {each.loss:.4g}")
        print(f"  {'change':<12} {largest:.4g} at most, {mean:.4g} on average")
    if before.best != label:
        note(f"{net.name} already misclassifies {options.image} as {_named(before.best, names)}")
    if write is not None:
        title = f"{net.name}: {options.method}, epsilon {epsilon:g}, label {_named(label, names)}"
        write(_figure(net, classifier, title, (x[0], changed[0]), (before, after), epsilon))


def _how(options: argparse.Namespace, epsilon: float | None) -> dict[str, object]:
    """Return the method and its arguments as JSON data."""
    found: dict[str, object] = {"method": options.method, "range": [*options.range]}
    if epsilon is not None:
        found["epsilon"] = epsilon
    if options.method == "pgd":
        alpha = options.alpha if epsilon is None else _alpha(options, epsilon)
        found.update(steps=_steps(options), **({} if alpha is None else {"alpha": alpha}), seed=options.seed or 0)
    return found


def _steps(options: argparse.Namespace) -> int:
    return options.steps or STEPS


def _alpha(options: argparse.Namespace, epsilon: float) -> float:
    return STRIDE * epsilon / _steps(options) if options.alpha is None else options.alpha


def _class_names(classifier: Classifier, options: argparse.Namespace) -> list[str] | None:
    """Return the class names of `--labels`, or else of the weights."""
    if options.labels is None:
        return list(classifier.names.classes.get(classifier.output, ())) or None
    from netdsl.app.labels import check_labels, read_labels

    names = read_labels(options.labels)
    check_labels(names, options.labels, {"classes": (classifier.classes,)})
    return names


def _label(text: str, names: list[str] | None, classifier: Classifier) -> int:
    """Return a class by its number or name. Raises NotAttackable."""
    if names and text in names:
        return names.index(text)
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    if 0 <= number < classifier.classes:
        return number
    from netdsl.base.suggest import suggest

    close = [f"did you mean `{word}`?" for word in suggest(text, names or [])[:1]]
    raise NotAttackable(
        f"{classifier.name} has {classifier.classes:,} classes, 0 to {classifier.classes - 1}, but --label is {text}",
        *close,
    )


def _read(net: Net, classifier: Classifier, path: str) -> Array:
    """Return the single example of a file, [1, *shape]. Raises UserError."""
    from netdsl.data.errors import BadData
    from netdsl.data.reader import open_input

    reader = open_input(path, classifier.shape, "f32", name=classifier.input, picture=_picture(net))
    if len(reader) > 1:
        raise BadData(f"{path} has {len(reader):,} examples, but an attack takes one", "use --data for a data set")
    return next(reader.batches(1))


def _picture(net: Net) -> Picture:
    """Return how images become the input of a net."""
    layer = net.inputs[0].layer
    given: dict[str, Any] = {key: getattr(layer, key, default) for key, default in PICTURE.items()}
    return Picture(**given)


def _named(at: int, names: list[str] | None) -> str:
    return escape(names[at]) if names else str(at)


def _figure(
    net: Net,
    classifier: Classifier,
    title: str,
    images: tuple[Array, Array],
    predictions: tuple[_Prediction, _Prediction],
    epsilon: float,
) -> Canvas:
    """Return the picture. Raises NotAttackable if the input is not an image."""
    from netdsl.report.adversarial import Panel, as_pixels, draw_adversarial

    if len(classifier.shape) != 3 or classifier.shape[0] not in (1, 3):
        raise NotAttackable(
            f"the input of {net.name} cannot be drawn: it is not an image of one or three channels",
            "leave out -o",
        )
    order = getattr(net.inputs[0].layer, "order", "rgb")
    radius = classifier.unit(epsilon) or 1.0
    x, changed = images
    before, after = (as_pixels(each, classifier.low, classifier.high, order) for each in images)
    words = [each.texts(", ")[0] for each in predictions]
    return draw_adversarial(
        title,
        Panel(before, words[0], "image"),
        Panel(as_pixels(changed - x, -radius, radius, order), f"{epsilon:g} × this", "change, amplified"),
        Panel(after, words[1], "adversarial"),
    )


def _over_data(
    net: Net,
    classifier: Classifier,
    kind: DataKind,
    options: argparse.Namespace,
    write: Write,
) -> None:
    """Print a line or an object per epsilon, and draw the curve."""
    labels = _class_names(classifier, options)
    dataset = _open_data(net, classifier, kind, known_names(labels, classifier.names, {classifier.output: None}))
    count = min(len(dataset), options.examples or len(dataset))
    epsilons = options.epsilon or EPSILONS
    rows = []
    with TERMINAL.progress("examples", count * len(epsilons)) as show_progress:
        for at, epsilon in enumerate(epsilons):
            rows.append(_row(classifier, _batches(dataset, classifier, count), epsilon, options))
            show_progress((at + 1) * count)
    if options.json:
        record = {"data": options.data, "examples": count, **_how(options, None), "rows": rows}
        print(json.dumps(record, ensure_ascii=False))
    else:
        print("\n".join(_table(rows, count, options)))
    if write is not None:
        from netdsl.report.curves import draw_curves

        points = [(row["epsilon"], 100 * row["accuracy"]) for row in rows]
        write(draw_curves(f"{net.name} under {options.method}", {"accuracy, %": {options.method: points}}, "epsilon"))


def _open_data(net: Net, classifier: Classifier, kind: DataKind, names: Names) -> Dataset:
    """Return the examples with their classes, which are matched by `names`. Raises UserError where they do not fit the
    net."""
    target = Target(TARGET, "class", classes=classifier.classes)
    inputs = {classifier.input: (classifier.shape, "f32")}
    pictures = {classifier.input: _picture(net)}
    return kind.open(DataSpec(inputs, {TARGET: target}, pictures=pictures, names=names.of({classifier.output: TARGET})))


def _batches(dataset: Dataset, classifier: Classifier, count: int) -> Iterator[tuple[Array, Array]]:
    """Yield the first examples with their classes, in order."""
    for batch in dataset.batches(classifier.batch, seed=0, epoch=0, shuffle=False, drop_last=False):
        if count <= 0:
            return
        yield batch[classifier.input][:count], batch[TARGET][:count]
        count -= classifier.batch


def _row(
    classifier: Classifier, batches: Iterator[tuple[Array, Array]], epsilon: float, options: argparse.Namespace
) -> dict[str, float]:
    """Return the accuracy when every image is attacked."""
    right, loss, count = 0, 0.0, 0
    for x, labels in batches:
        changed = _adversarial(classifier, x, labels, epsilon, options) if epsilon else x
        found = classifier.look(changed, labels)
        right += int((classifier.named(found[SCORES]) == labels).sum())
        loss += float(found[LOSS].sum(dtype=np.float64))
        count += len(x)
    return {"epsilon": epsilon, "accuracy": right / count, "errors": count - right, "loss": loss / count}


def _table(rows: list[dict[str, float]], count: int, options: argparse.Namespace) -> Iterator[str]:
    yield f"{escape(options.data)}, {count:,} examples: {options.method}"
    yield f"{'epsilon':>9}  {'accuracy':>9}  {'errors':>9}  {'loss':>9}"
    for row in rows:
        accuracy = f"{100 * row['accuracy']:.2f} %"
        yield f"{row['epsilon']:>9g}  {accuracy:>9}  {row['errors']:>9,}  {row['loss']:>9.4g}"
