"""Evaluate a net by the losses and metrics of its training, or a compiled model by its classes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.frontend import data_of, load_classifier, load_lines, load_recipe
from netdsl.app.given_weights import WeightSource, discard_bias_warnings, given_weights, note_random
from netdsl.app.labels import check_labels, known_names, read_labels, shown_names
from netdsl.base.files import MissingFile
from netdsl.base.user_error import USAGE_IS_WRONG, UserError, WrongArgumentType, escape
from netdsl.data.given import Pair
from netdsl.elaborate.train_block import NoTraining, classifier
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.app.frontend import Origin
    from netdsl.app.reporter import Reporter
    from netdsl.app.sequences import SequenceReading
    from netdsl.backend.session import Session
    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas
    from netdsl.report.class_figures import ClassFigures

BATCH = 100
DATA_SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".gz")
"""Ends of a path that is no line of a `train` block."""


class NothingToJudge(UserError, code="E0645", title="nothing to evaluate", exit_code=USAGE_IS_WRONG):
    """`netdsl eval` needs data, from `--data` or from the line `validate` of the `train` block, and a loss that can be
    computed at inference: one of an output that is not `training`, or `mean`.

    ```sh
    netdsl eval net.net --data 'mnist "datasets/mnist" split test' --weights runs/net/best.safetensors
    ```
    """


class EvalOptions(NamedTuple):
    """How a net is evaluated: its data (default: those of `validate`), its weights, which a compiled model ignores, a
    file of class names, and where it runs."""

    data: str | None = None
    weights: WeightSource = WeightSource()
    labels: str | list[str] | None = None
    batch: int | None = None
    threads: int | None = None
    provider: str = "cpu"
    allow_fallback: bool = False


class EvalResult:
    """Figures by name, and by output confusion matrices and the names of classes."""

    __slots__ = ("classes", "confusions", "examples", "figures", "name", "on")

    def __init__(self, name: str, data: str, dataset: Dataset, classes: Mapping[str, Sequence[str]]) -> None:
        self.name = name
        self.on = data
        self.examples = len(dataset)
        self.classes = classes
        self.figures: dict[str, float] = {}
        self.confusions: dict[str, Array] = {}

    def data(self) -> dict[str, object]:
        """Return the data that `eval --json` prints."""
        from netdsl.report.class_figures import confusions

        record: dict[str, object] = {"net": self.name, "data": self.on, "examples": self.examples, **self.figures}
        if self.confusions:
            names = {name: list(self.classes.get(name, ())) for name in self.confusions}
            record["classes"] = names if len(names) > 1 else next(iter(names.values()))
            record["confusion"] = {name: counts.tolist() for name, counts in self.confusions.items()}
            record["per_class"] = {
                name: [_class_record(each, labelled=bool(self.classes.get(name))) for each in self.class_figures(name)]
                for name in self.confusions
            }
            record["confused"] = {
                name: [each._asdict() for each in confusions(counts)] for name, counts in self.confusions.items()
            }
        return record

    def class_figures(self, output: str) -> list[ClassFigures]:
        """Return precision, recall and support of each class of an output that has a confusion matrix."""
        from netdsl.report.class_figures import class_figures

        counts = self.confusions[output]
        return class_figures(counts, self._names(output, len(counts)))

    def text(self) -> str:
        from netdsl.report.class_figures import class_lines, confusion_pairs, confusions
        from netdsl.report.confusion import confusion_lines

        width = max(map(len, self.figures))
        lines = [f"{escape(self.name)} on {escape(self.on)}, {self.examples:,} examples"]
        lines += [f"{name:<{width}}  {value:.6g}" for name, value in self.figures.items()]
        for name, counts in self.confusions.items():
            lines += ["", *([f"output {escape(name)}"] if len(self.confusions) > 1 else [])]
            names = self._names(name, len(counts))
            lines += class_lines(self.class_figures(name))
            for part in (confusion_lines(counts, names), confusion_pairs(confusions(counts), names)):
                lines += ["", *shown] if (shown := list(part)) else []
        return "\n".join(lines)

    def picture(self) -> Canvas:
        """Draw the confusion matrix of the first output that has one."""
        from netdsl.report.confusion import draw_confusion

        output, counts = next(iter(self.confusions.items()))
        names = [escape(name) for name in self._names(output, len(counts))]
        return draw_confusion(escape(f"{self.name} on {self.on}"), counts, names)

    def _names(self, output: str, count: int) -> Sequence[str]:
        classes = self.classes.get(output, ())
        return classes if len(classes) == count else [str(number) for number in range(count)]


def _class_record(figures: ClassFigures, *, labelled: bool) -> dict[str, object]:
    """Return the figures of a class as JSON data, with its label if the classes have names."""
    label = {"label": figures.name} if labelled else {}
    known = {"precision": figures.precision, "recall": figures.recall, "support": figures.support}
    return {"class": figures.number, **label, **known}


def of_net(
    file: str,
    options: EvalOptions,
    report: Report,
    reporter: Reporter,
    *,
    settings: Sequence[str] = (),
    root: str | None = None,
) -> EvalResult | None:
    """Evaluate the net that FILE means; None if there are errors. Raises UserError."""
    given = None
    if options.data is not None:
        given = _data(options.data, report)
        if given is None:
            return None
    recipe = _recipe(file, report, settings, root, classify=given is not None)
    return None if recipe is None else _of_recipe(recipe, given, options, report, reporter)


def of_loaded(
    net: Net,
    origin: Origin,
    names: Names,
    options: EvalOptions,
    report: Report,
    reporter: Reporter,
    *,
    given: object = None,
) -> EvalResult | None:
    """Evaluate a net of a program like `of_net`. `given` are its data, a string or a pair of arrays, and `names` those
    of the data that it was trained on."""
    kind = kind_of(given, report)
    if report.errors:
        return None
    try:
        recipe = load_lines(origin, [], {}, report)[0]
    except NoTraining:
        if kind is None:
            raise NothingToJudge(f"{net.name} has no `train` block that names data", "pass data=(x, y)") from None
        recipe = classifier(net)
    return None if recipe is None else _of_recipe(recipe, kind, options, report, reporter, names)


def kind_of(data: object, report: Report) -> DataKind | None:
    """Return the data that a program passes. Raises UserError for anything but a string or a pair of arrays."""
    if data is None or isinstance(data, str):
        return None if data is None else _data(data, report)
    if not isinstance(data, tuple) or len(data) != 2:
        raise WrongArgumentType("data is a pair (x, y) of arrays, a path, or a line of a `train` block")
    return Pair(*data)


def _of_recipe(
    recipe: Recipe,
    given: DataKind | None,
    options: EvalOptions,
    report: Report,
    reporter: Reporter,
    trained: Names | None = None,
) -> EvalResult:
    import onnxruntime

    from netdsl.app.feeds import report_preprocessing
    from netdsl.backend.compile import net_names
    from netdsl.train.alignment import alignment_notes
    from netdsl.train.evaluate import Evaluator
    from netdsl.train.open_data import names_of
    from netdsl.train.start import initial_weights
    from netdsl.train.vocabulary import check_vocabularies

    if not recipe.evaluated:
        raise NothingToJudge(
            f"all losses of `{recipe.name}` are of training outputs, which do not exist at inference",
            "add a line `loss` for another output",
        )
    file = given_weights(recipe.net, options.weights, recipe.seed, reporter)
    if file is not None:
        discard_bias_warnings(report, recipe.net, options.weights, file)
    shapes = {key: output.node.shape for key, output in recipe.net.inference_outputs.items()}
    sizes = {key: shape[0] if shape else 1 for key, shape in shapes.items()}
    counts = {key: max(2, size) if isinstance(size, int) else None for key, size in sizes.items()}
    labels = _labels(options, counts)
    names = net_names(recipe.net, file) or trained or _training_names(recipe, reporter)
    dataset, name = _opened(recipe, given, options, known_names(labels, names, counts))
    for picture in dataset.pictures.values():
        report_preprocessing(recipe.net.name, picture, reporter)
    check_vocabularies(recipe, dataset)
    dataset.notes += alignment_notes(recipe, dataset)
    for text in dataset.notes:
        reporter.note(text)
    found = EvalResult(recipe.net.name, name, dataset, shown_names(labels, names or names_of(dataset, recipe), counts))
    _weigh_classes(recipe, reporter)
    outputs = _with_confusion(recipe)
    if file is None and recipe.net.parameters:
        note_random(recipe.net, recipe.seed, reporter)
    evaluated = [line.output for line in recipe.evaluated]
    arrays = initial_weights(recipe.net, recipe.seed, file, evaluated)
    values = {key: onnxruntime.OrtValue.ortvalue_from_numpy(array) for key, array in arrays.items()}
    evaluator = Evaluator(
        recipe, threads=options.threads, provider=options.provider, allow_fallback=options.allow_fallback
    )
    with reporter.progress("examples", len(dataset)) as show:
        results = evaluator.run(values, dataset, options.batch or recipe.batch, show)
    for key, value in results.items():
        if hasattr(value, "shape") and value.shape:
            found.confusions[outputs[key]] = value
        elif value is not None:
            found.figures[key] = value
    return found


def _weigh_classes(recipe: Recipe, reporter: Reporter) -> None:
    """Set class weights that depend on the training data; without these data, there are none."""
    from netdsl.train.class_weights import is_balanced, with_class_weights, without_class_weights
    from netdsl.train.open_data import open_data

    if not any(map(is_balanced, recipe.losses)):
        return
    try:
        training = open_data(recipe)[0]
        recipe.losses = tuple(with_class_weights(line, recipe, training) for line in recipe.losses)
        for text in training.notes:
            reporter.note(text)
    except UserError as error:
        reporter.note(f"the loss has no class weights, which depend on the training data: {error.message}")
        recipe.losses = tuple(map(without_class_weights, recipe.losses))


def _data(text: str, report: Report) -> DataKind | None:
    """Return the data that `--data` names: a line of a `train` block, or a path that is recognized."""
    return data_of(recognized(text), report)


def recognized(text: str) -> str:
    """Return the data line for a path, if it is recognized; a folder of MNIST or CIFAR-10 is its test split."""
    if not os.path.exists(text):
        if text.lower().endswith(DATA_SUFFIXES) and not {*" \"'"} & {*text}:
            raise MissingFile(f"there is no file {text}")
        return text
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if os.path.isdir(text):
        names = os.listdir(text)
        if any(name.startswith("t10k-images") for name in names):
            return f"mnist {quoted} split test"
        cifar10 = {"test_batch", "test_batch.bin"} & {*names}
        return f"cifar10 {quoted} split test" if cifar10 else f"folder {quoted}"
    return f"npz {quoted}" if text.lower().endswith(".npz") else text


def _recipe(file: str, report: Report, settings: Sequence[str], root: str | None, *, classify: bool) -> Recipe | None:
    """Return the training of the file; to `classify` without one, the net is a classifier with cross-entropy."""
    try:
        return load_recipe(file, report, settings=settings, root=root)
    except NoTraining:
        if not classify:
            raise
    return load_classifier(file, report, settings=settings, root=root)


def _training_names(recipe: Recipe, reporter: Reporter) -> Names:
    """Return the names of the recipe's training data, for weights without names."""
    from netdsl.train.open_data import training_names

    try:
        return training_names(recipe)
    except UserError as error:
        reporter.note(f"neither the weights nor the training data name classes and columns: {error.message}")
        return Names()


def _opened(recipe: Recipe, given: DataKind | None, options: EvalOptions, names: Names) -> tuple[Dataset, str]:
    """Return the examples, and what to call them."""
    from netdsl.train.open_data import open_argument, open_data, open_validation

    if given is not None:
        return open_argument(given, recipe, names), options.data or ""
    if recipe.validate is None:
        raise NothingToJudge(
            f"the training of `{recipe.name}` has no line `validate`",
            """name data: --data 'mnist "datasets/mnist" split test'""",
        )
    if names and not isinstance(recipe.validate, float):
        dataset: Dataset | None = open_validation(recipe.validate, recipe, names)
    else:
        dataset = open_data(recipe, names or None)[1]
    assert dataset is not None
    part = isinstance(recipe.validate, float)
    return dataset, f"{recipe.validate:g} of the data" if part else f"its {recipe.validate.kind} data"  # type: ignore[union-attr]


def _with_confusion(recipe: Recipe) -> dict[str, str]:
    """Add a confusion matrix for each output of classes; return the outputs by the name of their matrix."""
    from netdsl.elaborate.recipe import MetricLine
    from netdsl.metrics import METRICS
    from netdsl.train.evaluate import Measures

    confusion = METRICS["confusion"]
    named = {line.output for line in recipe.metrics if line.metric.kind == confusion.kind}
    for line in filter(lambda each: each.loss.reads_target, recipe.losses):
        output = recipe.net.outputs[line.output]
        classes = not output.training and line.loss.target(output.node.shape).kind in confusion.targets
        if classes and line.output not in named:
            recipe.metrics = (*recipe.metrics, MetricLine(output=line.output, metric=confusion(), span=line.span))
    return {name: line.output for name, line in Measures(recipe).lines.items()}


def _labels(options: EvalOptions, counts: Mapping[str, int | None]) -> list[str] | None:
    """Return the names of `--labels`, as many as an output has classes. Raises BadLabels."""
    if options.labels is None:
        return None
    labels = read_labels(options.labels) if isinstance(options.labels, str) else options.labels
    check_labels(
        labels,
        options.labels if isinstance(options.labels, str) else "`labels`",
        counts,
    )
    return labels


def of_model(
    file: str, options: EvalOptions, report: Report, reporter: Reporter, *, given: object = None
) -> EvalResult | None:
    """Evaluate a compiled model: a classifier with one input and one output with a number per class, or one whose only
    output was trained with `ctc`. Raises UserError."""
    from netdsl.app.sequences import sequence_readings
    from netdsl.backend.session import Session, WrongFeed
    from netdsl.losses import LOSSES

    if options.data is None:
        raise NothingToJudge("a compiled model names no data", """--data 'mnist "datasets/mnist" split test'""")
    kind = kind_of(options.data if given is None else given, report)
    if kind is None:
        return None
    session = Session(file, provider=options.provider, threads=options.threads, allow_fallback=options.allow_fallback)
    shapes = [tensor.shape for tensor in session.outputs.values()]
    readings = sequence_readings(session)
    is_classifier = len(session.inputs) == len(shapes) == 1 and len(shapes[0]) == 2 and (shapes[0][1] or 1) >= 2
    is_reader = len(readings) == len(shapes) == 1 and shapes[0][1] is not None
    if not is_classifier and not is_reader:
        raise WrongFeed(
            f"{file} is not a classifier: `eval` needs a model with one input and one output [N, classes]",
            "to evaluate another kind of net, pass its .net file, which needs a `train` block",
        )
    taught = session.names.losses.get(next(iter(session.outputs)))
    if is_classifier and taught is not None and taught.name in LOSSES:
        loss = LOSSES[taught.name]()
        if not loss.reads_target or loss.target((shapes[0][1] or 2,)).kind == "value":
            raise WrongFeed(
                f"{file} is not a classifier: it was trained with the loss `{loss.kind}`",
                "pass its .net file, whose `train` block says how it is evaluated",
            )
    return _evaluated(session, kind, options, reporter, readings)


def _evaluated(
    session: Session,
    kind: DataKind,
    options: EvalOptions,
    reporter: Reporter,
    readings: Mapping[str, SequenceReading],
) -> EvalResult:
    """Evaluate the only output of a model, read as classes or as sequences."""
    from netdsl.app.feeds import picture_of, report_preprocessing
    from netdsl.app.predict import Batch
    from netdsl.app.sequences import without_padding
    from netdsl.data.spec import DataSpec, Target
    from netdsl.ir.graph import TARGET
    from netdsl.metrics import METRICS

    ((output, scores),) = session.outputs.items()
    counts, reading, names = {output: scores.shape[1]}, readings.get(output), session.names
    labels = _labels(options, counts)
    known = known_names(labels, names, counts).of({output: TARGET})
    pictures = {name: picture_of(session, name) for name in session.inputs}
    inputs = {name: (tensor.shape[1:], tensor.dtype) for name, tensor in session.inputs.items()}
    if reading is None:
        target = Target(TARGET, "class", classes=scores.shape[1])
        metrics = [METRICS["accuracy"](), METRICS["confusion"]()]
    else:
        target = Target(TARGET, "sequence", classes=scores.shape[1], blank=reading.blank)
        metrics = [METRICS["edit"](blank=reading.blank)]
        inputs |= {} if reading.lengths in {None, *inputs} else {reading.lengths: ((1,), "int64")}
    dataset = kind.open(DataSpec(inputs, {TARGET: target}, pictures=pictures, names=known))
    for picture in dataset.pictures.values():
        report_preprocessing(session.name, picture, reporter)
    for text in dataset.notes:
        reporter.note(text)
    found = EvalResult(session.name, options.data or "", dataset, shown_names(labels, names, counts))
    fixed = next((tensor.shape[0] for tensor in session.inputs.values() if tensor.shape), None)
    batch = fixed or options.batch or BATCH
    done = 0
    with reporter.progress("examples", len(dataset)) as show:
        for feeds in dataset.batches(batch, seed=0, epoch=0, shuffle=False, drop_last=fixed is not None):
            outputs = session.run({name: feeds[name] for name in session.inputs})
            count = len(outputs[output])
            examples = Batch([f"example {at}" for at in range(done, done + count)], feeds, outputs)
            y = without_padding(examples, readings)[output]
            for metric in metrics:
                metric.update(y, feeds[TARGET])
            done += count
            show(done)
    found.examples = done
    for metric in metrics:
        if metric.better:
            found.figures[metric.name] = metric.value()
        else:
            found.confusions[output] = metric.value()
    return found
