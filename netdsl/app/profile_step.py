"""Profile a training step: the time of its forward pass, backward pass and update by lines of the source."""

from __future__ import annotations

from functools import partial
from math import isfinite
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.frontend import Origin, load_lines, load_net, load_recipe
from netdsl.app.output import signals_clean_up
from netdsl.app.profile import layer_place
from netdsl.app.reporter import SILENT
from netdsl.base.size import Size
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.problem import Misfit
from netdsl.elaborate.recipe import LossLine, Recipe
from netdsl.elaborate.train_block import NoTraining
from netdsl.ir.graph import LOSS, STEP_NAMES
from netdsl.losses import LOSSES
from netdsl.optimizers import OPTIMIZERS
from netdsl.profiling.profile import Cost, Place, Profile
from netdsl.schedules import SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.app.given_weights import WeightSource
    from netdsl.app.reporter import Reporter
    from netdsl.backend.external_data import Writable
    from netdsl.base.text import Source
    from netdsl.diagnostics.report import Report
    from netdsl.ir.graph import Graph, Line, Operation
    from netdsl.ir.graph import Origin as Owner
    from netdsl.ir.net import Net, Output
    from netdsl.profiling.session_profile import Kernel
    from netdsl.train.runner import Runner

DEFAULT_BATCH = 8
"""Number of examples in a step of a net without a `train` block."""

LAYOUT = frozenset({"ReorderInput", "ReorderOutput", "Transpose"})
"""Operators that only change the order of a value's elements."""

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators whose results share the memory of their inputs."""


class NoStep(UserError, code="E0924", title="a net whose training step is unknown", exit_code=USAGE_IS_WRONG):
    """`profile --training` computes the step of the net's `train` block. A net without one is trained by SGD with
    momentum, with the loss `cross_entropy` for scores of classes and `mse` for others. That requires inputs of fixed
    sizes, outputs of real numbers, and weights that are trained.

    ```sh
    netdsl profile net.net --training --set train.batch=16
    ```
    """


class NotFinite(UserError, code="E0925", title="a step that does not end"):
    """The loss of a step is not finite, for random inputs or with the given weights. onnxruntime then stops before the
    update, so that nothing can be measured.

    ```sh
    netdsl profile net.net --training --weights net.safetensors
    ```
    """


class StepOptions(NamedTuple):
    """How to run a step: the step backend, the number of threads, and a file for onnxruntime's own profile."""

    step_backend: str = "auto"
    threads: int | None = None
    session_profile: Writable | None = None


DEFAULTS = StepOptions()


def load_step(
    file: str | Source,
    report: Report,
    *,
    settings: Sequence[str] = (),
    batch: int | None = None,
    root: str | None = None,
) -> Recipe | None:
    """Return how a net is trained: by its `train` block or, if it has none, by `default_recipe`. Returns None if there
    are errors, which are reported. Raises UserError."""
    own = [*settings, *([] if batch is None else [f"train.batch={batch}"])]
    try:
        return load_recipe(file, report, settings=own, root=root)
    except NoTraining:
        if any(each.startswith("train.") for each in settings):
            raise
        net = load_net(file, report, settings=settings, root=root)
        return None if net is None else default_recipe(net, batch or DEFAULT_BATCH)


def step_of(net: Net, origin: Origin, report: Report, batch: int | None = None) -> Recipe | None:
    """Return how a net of a program is trained, like `load_step`."""
    try:
        return load_lines(origin, [] if batch is None else [("batch", f"{batch}")], {}, report)[0]
    except NoTraining:
        return default_recipe(net, batch or DEFAULT_BATCH)


def default_recipe(net: Net, batch: int = DEFAULT_BATCH) -> Recipe:
    """Return a recipe for a net without a `train` block, whose data is a placeholder. Raises NoStep."""
    outputs = [*net.inference_outputs.values()]
    named = (*net.outputs, *(node.name for node in net.inputs))
    unknown = [node.name for node in net.inputs if any(isinstance(size, Size) for size in node.shape)]
    what = ""
    if reserved := [name for name in named if name in STEP_NAMES]:
        what = f"the name `{reserved[0]}` is reserved for the step"
    elif unknown:
        what = f"the input `{unknown[0]}` has sizes that are known only at run time"
    elif integers := [output.name for output in outputs if output.node.dtype != "f32"]:
        what = f"the output `{integers[0]}` has integers, which have no gradient"
    recipe = None if what else _default(net, outputs, batch)
    if recipe is not None and not recipe.trains():
        what = "it has no weights that a loss depends on"
    if recipe is None or what:
        advice = f"add `train {net.name} {{ data …; loss … }}` with the loss of each output"
        raise NoStep(f"`{net.name}` has no `train` block, and {what}", advice)
    return recipe


def _default(net: Net, outputs: Sequence[Output], batch: int) -> Recipe:
    from netdsl.data.kinds import KINDS

    return Recipe(
        net=net,
        span=outputs[0].span,
        name=net.name,
        data=KINDS["xor"](),
        losses=tuple(_loss(output) for output in outputs),
        metrics=(),
        optimizer=OPTIMIZERS["sgd"](momentum=0.9),
        schedule=SCHEDULES["constant"](),
        batch=batch,
    )


def _loss(output: Output) -> LossLine:
    loss = LOSSES["cross_entropy"]()
    try:
        loss.target(output.node.shape)
    except Misfit:
        loss = LOSSES["mse"]()
    return LossLine(output=output.name, loss=loss, span=output.span)


def profile_step(
    recipe: Recipe, source: WeightSource, options: StepOptions = DEFAULTS, reporter: Reporter = SILENT
) -> Profile:
    """Profile the training step of one batch of random numbers. Raises UserError."""
    from netdsl.profiling.measure import PERCENT, measure
    from netdsl.profiling.peaks import Machine, beside_peaks
    from netdsl.train.random_batch import random_batch, without_data
    from netdsl.train.runner import default_threads
    from netdsl.train.step import training_step

    recipe.losses = tuple(without_data(line, recipe) for line in recipe.losses)
    graph = training_step(recipe.net, recipe)
    feeds = random_batch(recipe, graph)
    with signals_clean_up(), TemporaryDirectory(prefix="netdsl-") as folder:
        runner, operations, backend = _prepared(recipe, graph, source, options, folder, reporter)
        with reporter.progress("profiling", 2 * PERCENT) as show:
            run = partial(runner.step, feeds)
            kinds = [type(operation.op).__name__ for operation in operations.values()]
            measured, peaks, warnings = beside_peaks(
                Machine(options.threads), lambda: measure(run, runner.session, kinds, show)
            )
        if not isfinite(runner.result(LOSS)):
            raise NotFinite(f"the loss of a step of `{recipe.net.name}` on random numbers is {runner.result(LOSS)}")
    if options.session_profile is not None:
        options.session_profile.write(measured.raw)
    kernels = measured.profile.kernels
    inside = sum(kernel.seconds for kernel in kernels)
    return Profile(
        name=recipe.net.name,
        batch=recipe.batch,
        threads=options.threads or default_threads(),
        provider="cpu",
        runs=len(measured.profile.runs),
        seconds=measured.median,
        between=min(measured.profile.between, max(0.0, measured.median - inside)),
        costs=step_costs(kernels, operations, written=bool(recipe.text)),
        sources=_sources(recipe),
        peaks=peaks,
        memory=measured.profile.peak,
        unit="step",
        notes=_notes(recipe, backend),
        warnings=[*measured.warnings, *warnings],
    )


def _prepared(
    recipe: Recipe, graph: Graph, source: WeightSource, options: StepOptions, folder: str, reporter: Reporter
) -> tuple[Runner, dict[str, Operation], str]:
    """Return a runner that writes a profile to a folder, the operations of its session by the names of their nodes, and
    the step backend."""
    from netdsl.app.given_weights import given_weights
    from netdsl.backend.emit import emit
    from netdsl.passes.rewrite import expand_macros
    from netdsl.train.precision import NoHalf, session_opset
    from netdsl.train.runner import Choices, Runner, finish_step, initial_state, lower
    from netdsl.train.start import initial_weights

    weights = given_weights(recipe.net, source, recipe.seed, reporter, training=True)
    if recipe.dtype != "f32":
        raise NoHalf(f"the CPU does not compute in {recipe.dtype}", "profile the step in f32: `--set train.dtype=f32`")
    choices = Choices(options.step_backend, options.threads)
    lowered = lower(graph, choices)
    finished = finish_step(lowered.graph, choices)
    model = emit(finished.graph, opset=session_opset(finished.graph)).model
    operations = expand_macros(finished.graph, model.opset_import[0].version).operations
    state = initial_state(graph, initial_weights(recipe.net, recipe.seed, weights))
    runner = Runner(
        graph,
        model.SerializeToString(),
        state,
        finished=finished,
        layouts=lowered.layouts,
        profile=folder,
        **choices.how(),
    )
    by_name = {node.name: operation for node, operation in zip(model.graph.node, operations, strict=True)}
    return runner, by_name, choices.step_backend


def _sources(recipe: Recipe) -> dict[str, Source]:
    """Return the texts of the layers, and that of the `train` block if it is written."""
    net = recipe.net
    texts = [net.source, *(node.span.source for node in net.nodes), *([recipe.span.source] if recipe.text else [])]
    return {text.name: text for text in texts}


def _notes(recipe: Recipe, backend: str) -> list[str]:
    """Return how the step was made."""
    notes = [f"a training step on random numbers, step backend {backend}"]
    if not recipe.text:
        losses = ", ".join(dict.fromkeys(line.loss.kind for line in recipe.losses))
        notes.append(f"no `train` block: loss {losses}, optimizer sgd momentum 0.9, batch {recipe.batch}")
    if recipe.accumulate > 1 or recipe.shards > 1:
        notes.append("without `accumulate` and `shards`: one batch and its update")
    return notes


def step_costs(kernels: Sequence[Kernel], operations: Mapping[str, Operation], *, written: bool) -> list[Cost]:
    """Return the costs of kernels, which have the names of their operations' nodes. If the `train` block is not
    `written`, its lines have no place."""
    from netdsl.profiling.attribution import Owned
    from netdsl.profiling.flops import flops

    found = []
    for kernel in kernels:
        operation = operations.get(kernel.name)
        origin = operation.origin if operation else None
        found.append(
            Cost(
                place=origin and origin_place(origin, written=written),
                name=kernel.name,
                op=kernel.op,
                seconds=kernel.seconds,
                flops=flops(kernel, Owned(), {}),
                moved=0 if kernel.op in VIEWS else kernel.read + kernel.written,
                layout=kernel.op in LAYOUT,
                phase=origin.phase if origin else "",
            )
        )
    return found


def origin_place(origin: Owner, *, written: bool) -> Place | None:
    """Return the place of a layer or else of a line of the `train` block. The update of a weight is at its layer."""
    if origin.node:
        return layer_place(origin.node)
    return _line_place(origin.line, written=written) if origin.line else None


def _line_place(line: Line, *, written: bool) -> Place:
    if not written:
        return Place(line.name, line.name)
    number, column = line.span.source.position(line.span.start)
    return Place(line.name, line.name, line.span.source.name, number, column, f"train {line.name}")
