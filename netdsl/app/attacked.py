"""Attack an image, or all images of a data set, and report the effect on the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.attack import LOSS, SCORES, STEPS, STRIDE, Classifier, NotAttackable, fgsm, pgd
from netdsl.app.labels import check_labels, known_names, read_labels
from netdsl.base.record import Record
from netdsl.base.terminal import escape
from netdsl.base.user_error import OptionsClash
from netdsl.data.picture import declared_picture
from netdsl.data.spec import DataSpec, Target
from netdsl.ir.graph import TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.app.attack import Array
    from netdsl.app.reporter import Reporter
    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas

EPSILON = 0.007
"""Default epsilon for an image: that of the paper's panda."""
EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Default epsilons over a data set."""
ATTACK_BATCH = 100
MAX_CLASSES_SHOWN = 3
"""Maximum number of classes named."""


class Attack(NamedTuple):
    """How images are changed: the method, `fgsm` or `pgd`, the number of steps of PGD and their size, and the seed of
    its start."""

    method: str = "fgsm"
    steps: int = STEPS
    alpha: float | None = None
    seed: int = 0

    def stride(self, epsilon: float) -> float:
        """Return the size of a step of PGD."""
        return STRIDE * epsilon / self.steps if self.alpha is None else self.alpha

    def change(self, classifier: Classifier, x: Array, labels: Array, epsilon: float) -> Array:
        """Return the attacked images."""
        if self.method == "fgsm":
            return fgsm(classifier, x, labels, epsilon)
        return pgd(classifier, x, labels, epsilon, steps=self.steps, alpha=self.alpha, seed=self.seed)

    def data(self, classifier: Classifier, epsilon: float | None) -> dict[str, object]:
        """Return the method and its arguments as JSON data."""
        found: dict[str, object] = {"method": self.method, "range": [classifier.low, classifier.high]}
        if epsilon is not None:
            found["epsilon"] = epsilon
        if self.method == "pgd":
            alpha = self.alpha if epsilon is None else self.stride(epsilon)
            found.update(steps=self.steps, **({} if alpha is None else {"alpha": alpha}), seed=self.seed)
        return found


class Prediction:
    """The most likely classes of an image with their confidences, and the loss."""

    __slots__ = ("loss", "names", "top")

    def __init__(self, classifier: Classifier, x: Array, label: int, names: Sequence[str]) -> None:
        (probabilities,) = classifier.probabilities(x)
        best = np.argsort(-probabilities, kind="stable")[:MAX_CLASSES_SHOWN].tolist()
        self.top: list[tuple[int, float]] = [(at, float(probabilities[at])) for at in best]
        self.loss = float(classifier.look(x, np.array([label]))[LOSS][0])
        self.names = names

    @property
    def best(self) -> int:
        return self.top[0][0]

    @property
    def name(self) -> str:
        """The name or number of the most likely class."""
        return _named(self.best, self.names)

    def data(self) -> dict[str, object]:
        top: list[dict[str, object]] = [
            {"class": at, **({"label": self.names[at]} if self.names else {}), "confidence": confidence}
            for at, confidence in self.top
        ]
        return {**top[0], "loss": self.loss, "top": top}

    def texts(self, separator: str = ": ") -> list[str]:
        return [f"{_named(at, self.names)}{separator}{100 * part:.2f} %" for at, part in self.top]


class AttackedImage(Record):
    """An image and its adversarial example, [*shape], with the predictions of both."""

    classifier: Classifier
    attack: Attack
    epsilon: float
    name: str
    label: int
    names: Sequence[str]
    order: str
    image: Array
    adversarial: Array
    before: Prediction
    after: Prediction

    @property
    def fooled(self) -> bool:
        return self.before.best == self.label != self.after.best

    @property
    def _change(self) -> tuple[float, float]:
        """The largest and the mean change of a pixel, as fractions of the range."""
        moved = np.abs(self.adversarial - self.image) / self.classifier.unit(1)
        return float(moved.max()), float(moved.mean())

    def data(self) -> dict[str, object]:
        """Return the data that `attack --json` prints."""
        largest, mean = self._change
        return {
            "image": self.name,
            "label": self.label,
            **self.attack.data(self.classifier, self.epsilon),
            "before": self.before.data(),
            "after": self.after.data(),
            "change": {"largest": largest, "mean": mean},
            "fooled": self.fooled,
        }

    def text(self) -> str:
        attack, epsilon, width = self.attack, self.epsilon, self.classifier.unit(1)
        unit = f" ({epsilon * width:g} of {width:g})" if (self.classifier.low, width) != (0, 1) else ""
        steps = f", {attack.steps} steps of {attack.stride(epsilon):g}" if attack.method == "pgd" else ""
        label = _named(self.label, self.names)
        lines = [f"{escape(self.name)}, {label}: {attack.method}, epsilon {epsilon:g}{unit}{steps}"]
        for title, each in (("image", self.before), ("adversarial", self.after)):
            lines.append(f"  {title:<12} {'  '.join(each.texts())}  loss {each.loss:.4g}")
        largest, mean = self._change
        return "\n".join([*lines, f"  {'change':<12} {largest:.4g} at most, {mean:.4g} on average"])

    def picture(self) -> Canvas:
        """Return the picture. Raises NotAttackable if the input is not an image."""
        from netdsl.report.adversarial import Panel, as_pixels, draw_adversarial

        classifier, epsilon = self.classifier, self.epsilon
        if len(classifier.shape) != 3 or classifier.shape[0] not in (1, 3):
            raise NotAttackable(
                f"the input of {classifier.name} cannot be drawn: it is not an image of one or three channels",
                "leave out -o",
            )
        radius = classifier.unit(epsilon) or 1.0
        images = (self.image, self.adversarial)
        before, after = (as_pixels(each, classifier.low, classifier.high, self.order) for each in images)
        words = [each.texts(", ")[0] for each in (self.before, self.after)]
        label = _named(self.label, self.names)
        return draw_adversarial(
            f"{classifier.name}: {self.attack.method}, epsilon {epsilon:g}, label {label}",
            Panel(before, words[0], "image"),
            Panel(
                as_pixels(self.adversarial - self.image, -radius, radius, self.order),
                f"{epsilon:g} × this",
                "change, amplified",
            ),
            Panel(after, words[1], "adversarial"),
        )


class AttackedData(Record):
    """The accuracy on `count` examples when every image is attacked: a row for each epsilon."""

    classifier: Classifier
    attack: Attack
    name: str
    count: int
    rows: list[dict[str, float]]

    def data(self) -> dict[str, object]:
        """Return the data that `attack --json` prints."""
        how = self.attack.data(self.classifier, None)
        return {"data": self.name, "examples": self.count, **how, "rows": self.rows}

    def text(self) -> str:
        lines = [f"{escape(self.name)}, {self.count:,} examples: {self.attack.method}"]
        lines.append(f"{'epsilon':>9}  {'accuracy':>9}  {'errors':>9}  {'loss':>9}")
        for row in self.rows:
            accuracy = f"{100 * row['accuracy']:.2f} %"
            lines.append(f"{row['epsilon']:>9g}  {accuracy:>9}  {row['errors']:>9,}  {row['loss']:>9.4g}")
        return "\n".join(lines)

    def picture(self) -> Canvas:
        from netdsl.report.curves import draw_curves

        points = [(row["epsilon"], 100 * row["accuracy"]) for row in self.rows]
        title = f"{self.classifier.name} under {self.attack.method}"
        return draw_curves(title, {"accuracy, %": {self.attack.method: points}}, "epsilon")


def _named(at: int, names: Sequence[str]) -> str:
    return escape(names[at]) if names else str(at)


def class_names(classifier: Classifier, labels: str | list[str] | None) -> list[str]:
    """Return the class names, in a file of labels or not, or else of the weights; none if they have none. Raises
    UserError."""
    if labels is None:
        return list(classifier.names.classes.get(classifier.output, ()))
    names = read_labels(labels) if isinstance(labels, str) else labels
    check_labels(names, labels if isinstance(labels, str) else "`labels`", {"classes": classifier.classes})
    return names


def attack_image(
    net: Net,
    classifier: Classifier,
    given: object,
    label: str,
    names: Sequence[str],
    attack: Attack,
    epsilon: float = EPSILON,
) -> AttackedImage:
    """Attack an example, an array or the only one of a file, whose true class is given by its number or name. Raises
    UserError."""
    path = given if isinstance(given, str) else "the image"
    at = _label(label, names, classifier)
    x = _read(net, classifier, given) if isinstance(given, str) else _array(classifier, given)
    low, high = classifier.low, classifier.high
    if x.min() < low or x.max() > high:
        raise OptionsClash(
            f"the values of {path} are {x.min():g} to {x.max():g}, but --range is {low:g} to {high:g}",
            "for image files, use --range 0,255",
        )
    changed = attack.change(classifier, x, np.array([at]), epsilon)
    before, after = (Prediction(classifier, each, at, names) for each in (x, changed))
    return AttackedImage(
        classifier=classifier,
        attack=attack,
        epsilon=epsilon,
        name=path,
        label=at,
        names=names,
        order=getattr(net.inputs[0].layer, "order", "rgb"),
        image=x[0],
        adversarial=changed[0],
        before=before,
        after=after,
    )


def _label(text: str, names: Sequence[str], classifier: Classifier) -> int:
    """Return a class by its number or name. Raises NotAttackable."""
    if text in names:
        return names.index(text)
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    if 0 <= number < classifier.classes:
        return number
    from netdsl.base.suggest import suggest

    close = [f"did you mean `{word}`?" for word in suggest(text, names)[:1]]
    raise NotAttackable(
        f"{classifier.name} has {classifier.classes:,} classes, 0 to {classifier.classes - 1}, but --label is {text}",
        *close,
    )


def _read(net: Net, classifier: Classifier, path: str) -> Array:
    """Return the single example of a file, [1, *shape]. Raises UserError."""
    from netdsl.data.errors import BadData
    from netdsl.data.reader import open_input

    picture = declared_picture(net.inputs[0])
    reader = open_input(path, classifier.shape, "f32", name=classifier.input, picture=picture.in_pixels())
    classifier.picture = picture if reader.picture is not None else None
    if len(reader) > 1:
        raise BadData(f"{path} has {len(reader):,} examples, but an attack takes one", "use --data for a data set")
    return next(reader.batches(1))


def _array(classifier: Classifier, given: object) -> Array:
    """Return a single example, [1, *shape], of an array with or without that axis. Raises WrongFeed or WrongType."""
    from netdsl.backend.session import WrongFeed
    from netdsl.base.shape import format_shape
    from netdsl.data.column import ArrayReader, as_array

    array = as_array(given, classifier.input)
    if array.shape not in (classifier.shape, (1, *classifier.shape)):
        raise WrongFeed(
            f"an attack takes an image {format_shape(classifier.shape)}, but got {format_shape(array.shape)}",
            "for several images, pass data=(x, y)",
        )
    return ArrayReader(classifier.input, array.reshape(1, *classifier.shape), "f32").whole


def attack_data(
    net: Net,
    classifier: Classifier,
    kind: DataKind,
    name: str,
    labels: Sequence[str],
    attack: Attack,
    reporter: Reporter,
    *,
    epsilons: Sequence[float] = EPSILONS,
    examples: int | None = None,
) -> AttackedData:
    """Attack the first `examples` of a data set, with each epsilon. Its classes are matched by the names of the
    classifier, or the `labels`. Raises UserError where the data do not fit the net."""
    known = known_names([*labels], classifier.names, {classifier.output: None}).of({classifier.output: TARGET})
    target = Target(TARGET, "class", classes=classifier.classes)
    inputs = {classifier.input: (classifier.shape, "f32")}
    picture = declared_picture(net.inputs[0])
    spec = DataSpec(inputs, {TARGET: target}, pictures={classifier.input: picture.in_pixels()}, names=known)
    dataset = kind.open(spec)
    classifier.picture = picture if classifier.input in dataset.pictures else None
    count = min(len(dataset), examples or len(dataset))
    rows = []
    with reporter.progress("examples", count * len(epsilons)) as show:
        for at, epsilon in enumerate(epsilons):
            rows.append(_row(classifier, _batches(dataset, classifier, count), epsilon, attack))
            show((at + 1) * count)
    return AttackedData(classifier=classifier, attack=attack, name=name, count=count, rows=rows)


def _batches(dataset: Dataset, classifier: Classifier, count: int) -> Iterator[tuple[Array, Array]]:
    """Yield the first examples with their classes, in order."""
    for batch in dataset.batches(classifier.batch, seed=0, epoch=0, shuffle=False, drop_last=False):
        if count <= 0:
            return
        yield batch[classifier.input][:count], batch[TARGET][:count]
        count -= classifier.batch


def _row(
    classifier: Classifier, batches: Iterator[tuple[Array, Array]], epsilon: float, attack: Attack
) -> dict[str, float]:
    """Return the accuracy when every image is attacked."""
    right, loss, count = 0, 0.0, 0
    for x, labels in batches:
        changed = attack.change(classifier, x, labels, epsilon) if epsilon else x
        found = classifier.look(changed, labels)
        right += int((classifier.named(found[SCORES]) == labels).sum())
        loss += float(found[LOSS].sum(dtype=np.float64))
        count += len(x)
    return {"epsilon": epsilon, "accuracy": right / count, "errors": count - right, "loss": loss / count}
