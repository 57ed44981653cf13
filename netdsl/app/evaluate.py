"""Evaluate a net by the losses and metrics of its training, or a compiled model by its classes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.eval_result import EvalResult
from netdsl.app.frontend import data_of, load_classifier, load_lines, load_recipe
from netdsl.app.given_weights import WeightSource, discard_bias_warnings, given_weights, note_random
from netdsl.app.labels import check_labels, known_names, read_labels, shown_names
from netdsl.base.files import MissingFile
from netdsl.base.user_error import USAGE_IS_WRONG, UserError, WrongArgumentType
from netdsl.data.errors import WrongShape
from netdsl.data.given import Pair
from netdsl.diagnostics.problem import Misfit
from netdsl.elaborate.train_block import NotAClassifier, NoTraining, classifier
from netdsl.ir.names import Names
from netdsl.losses import LOSSES
from netdsl.losses.sequence import Ctc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.app.frontend import Origin
    from netdsl.app.reporter import Reporter
    from netdsl.app.sequences import SequenceReading
    from netdsl.backend.session import Session
    from netdsl.base.shape import Shape
    from netdsl.data.dataset import Dataset
    from netdsl.data.kinds import DataKind
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.names import OutputLoss
    from netdsl.ir.net import Net

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
    try:
        recipe = load_recipe(file, report, settings=settings, root=root)
    except NoTraining:
        if given is None:
            raise
        recipe = load_classifier(file, report, settings=settings, root=root)
        return None if recipe is None else _of_classifier(recipe, given, options, report, reporter)
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
        return _of_classifier(classifier(net), kind, options, report, reporter, names)
    return None if recipe is None else _of_recipe(recipe, kind, options, report, reporter, names)


def kind_of(data: object, report: Report) -> DataKind | None:
    """Return the data that a program passes. Raises UserError for anything but a string or a pair of arrays."""
    if data is None or isinstance(data, str):
        return None if data is None else _data(data, report)
    if not isinstance(data, tuple) or len(data) != 2:
        raise WrongArgumentType("data is a pair (x, y) of arrays, a path, or a line of a `train` block")
    return Pair(*data)


def _of_classifier(
    recipe: Recipe,
    given: DataKind,
    options: EvalOptions,
    report: Report,
    reporter: Reporter,
    trained: Names | None = None,
) -> EvalResult:
    """Evaluate a net without a `train` block. Raises NotAClassifier."""
    try:
        return _of_recipe(recipe, given, options, report, reporter, trained, is_assumed=True)
    except WrongShape as error:
        name = recipe.net.name
        assumed = f"without a `train` block, `{name}` is evaluated as a classifier"
        error.helps += (f"{assumed}; for another loss, add `train {name} {{ data …; loss … }}`",)
        raise


def _check_taught(net: Net, names: Names) -> None:
    """Raise NotAClassifier if the only output of a net was trained to be something else than scores of classes."""
    for output, taught in names.losses.items():
        if not _scores_classes(taught, net.outputs[output].node.shape):
            raise NotAClassifier(
                f"without a `train` block, `{net.name}` is evaluated as a classifier, but it was trained with the loss "
                f"`{taught.name}`",
                f"add `train {net.name} {{ data …; {taught.line} }}`",
            )


def _scores_classes(taught: OutputLoss, shape: Shape) -> bool:
    """Return whether the output [*shape] of a model can be scores of classes, by the loss that it was trained with."""
    if taught.name not in LOSSES:
        return True
    loss = LOSSES[taught.name]()
    try:
        return loss.reads_target and loss.target(shape).kind in ("class", "sign")
    except Misfit:
        return False


def _of_recipe(
    recipe: Recipe,
    given: DataKind | None,
    options: EvalOptions,
    report: Report,
    reporter: Reporter,
    trained: Names | None = None,
    *,
    is_assumed: bool = False,
) -> EvalResult:
    """Evaluate a net by its recipe, which is assumed if the net has no `train` block."""
    import onnxruntime

    from netdsl.backend.compile import net_names
    from netdsl.train.evaluate import Evaluator
    from netdsl.train.open_data import names_of
    from netdsl.train.start import initial_weights

    if not recipe.evaluated:
        raise NothingToJudge(
            f"all losses of `{recipe.name}` are of training outputs, which do not exist at inference",
            "add a line `loss` for another output",
        )
    file = given_weights(recipe.net, options.weights, recipe.seed, reporter)
    if file is not None:
        discard_bias_warnings(report, recipe.net, options.weights, file)
    counts = _class_counts(recipe.net)
    blanks = {line.output: line.loss.blank for line in recipe.losses if isinstance(line.loss, Ctc)}
    labels = _labels(options, counts, blanks)
    known = net_names(recipe.net, file).or_else(trained or Names())
    if is_assumed:
        _check_taught(recipe.net, known)
    names = known or _training_names(recipe, reporter)
    dataset, name = _opened(recipe, given, options, known_names(labels, names, counts, blanks))
    _check_data(recipe, dataset, reporter)
    names = names or names_of(dataset, recipe)
    found = EvalResult(recipe.net.name, name, dataset, shown_names(labels, names, counts, blanks))
    weigh_classes(recipe, reporter)
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


def _check_data(recipe: Recipe, dataset: Dataset, reporter: Reporter) -> None:
    """Report how the examples are read, and which of them the net cannot learn. Raises UserError."""
    from netdsl.app.feeds import report_preprocessing
    from netdsl.train.alignment import alignment_notes
    from netdsl.train.vocabulary import check_vocabularies

    for picture in dataset.pictures.values():
        report_preprocessing(recipe.net.name, picture, reporter)
    check_vocabularies(recipe, dataset)
    dataset.notes += alignment_notes(recipe, dataset)
    for text in dataset.notes:
        reporter.note(text)


def _class_counts(net: Net) -> dict[str, int | None]:
    """Return the number of classes of each output: two if it is the sign of a score, and None if it is not known."""
    shapes = {key: output.node.shape for key, output in net.inference_outputs.items()}
    sizes = {key: shape[0] if shape else 1 for key, shape in shapes.items()}
    return {key: max(2, size) if isinstance(size, int) else None for key, size in sizes.items()}


def weigh_classes(recipe: Recipe, reporter: Reporter) -> None:
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


def _labels(options: EvalOptions, counts: Mapping[str, int | None], blanks: Mapping[str, int]) -> list[str] | None:
    """Return the names of `--labels`, as many as an output has classes, or symbols without its blank. Raises
    BadLabels."""
    if options.labels is None:
        return None
    labels = read_labels(options.labels) if isinstance(options.labels, str) else options.labels
    check_labels(
        labels,
        options.labels if isinstance(options.labels, str) else "`labels`",
        counts,
        blanks,
    )
    return labels


def of_model(
    file: str, options: EvalOptions, report: Report, reporter: Reporter, *, given: object = None
) -> EvalResult | None:
    """Evaluate a compiled model: a classifier with one input and one output with a number per class, or one whose only
    output was trained with `ctc`. Raises UserError."""
    from netdsl.app.sequences import sequence_readings
    from netdsl.backend.session import Session, WrongFeed

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
    if is_classifier and taught is not None and not _scores_classes(taught, (shapes[0][1] or 2,)):
        raise WrongFeed(
            f"{file} is not a classifier: it was trained with the loss `{taught.name}`",
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
    blanks = {name: each.blank for name, each in readings.items()}
    labels = _labels(options, counts, blanks)
    known = known_names(labels, names, counts, blanks).of({output: TARGET})
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
    found = EvalResult(session.name, options.data or "", dataset, shown_names(labels, names, counts, blanks))
    fixed = next((tensor.shape[0] for tensor in session.inputs.values() if tensor.shape), None)
    batch = fixed or options.batch or BATCH
    done = 0
    with reporter.progress("examples", len(dataset)) as show:
        for feeds in dataset.batches(batch, seed=0, epoch=0, shuffle=False, drop_last=fixed is not None):
            outputs = session.run({name: feeds[name] for name in session.inputs}, done)
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
