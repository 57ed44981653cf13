"""Turn a recipe into a trainer that is ready to run, new or resumed."""

from __future__ import annotations

import platform
from contextlib import closing, suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from netdsl.backend.compile import net_names
from netdsl.backend.emit import emit
from netdsl.backend.heap import returned_blocks
from netdsl.base.shape import elements, format_shape
from netdsl.base.terminal import plural
from netdsl.base.user_error import UserError
from netdsl.base.version import VERSION
from netdsl.data.column import ArrayColumn
from netdsl.data.dataset import Dataset
from netdsl.data.labels import listed
from netdsl.data.picture import declared_picture
from netdsl.elaborate.pixels import LARGE_PIXEL, badly_scaled
from netdsl.elaborate.recipe import target_name
from netdsl.ir.graph import BYTES
from netdsl.ir.names import BadNames
from netdsl.lower import live
from netdsl.passes.stages import is_staged
from netdsl.train.alignment import alignment_notes, measured
from netdsl.train.class_weights import with_class_weights
from netdsl.train.evaluate import Evaluator
from netdsl.train.folder import ABOUT, ANOTHER_RUN, OtherRun
from netdsl.train.loop import Trainer
from netdsl.train.precision import check_precision
from netdsl.train.prepare import prepare
from netdsl.train.progress import Progress
from netdsl.train.ranks import ALONE
from netdsl.train.runner import finish_step, initial_state, lower, to_run
from netdsl.train.shards import DividedRunner, Division, check_division, only_update, without_update
from netdsl.train.staged import StagedRunner
from netdsl.train.step import portable, share_name, training_step
from netdsl.train.step_backend import stored_name
from netdsl.train.vocabulary import check_vocabularies
from netdsl.weights.check import checked_weights
from netdsl.weights.draw import drawn_arrays
from netdsl.weights.match import match_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net, Node, Parameter
    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.folder import RunFolder
    from netdsl.train.ranks import Ranks
    from netdsl.train.runner import Choices, Runner
    from netdsl.weights.file import WeightFile


class LoneValue(UserError, code="E0861", title="batch normalization of a single training value"):
    """Batch normalization of a single value per channel: the mean is the value itself and the variance is 0, so every
    output is the bias, and the unbiased variance would divide by 0.

    ```sh
    netdsl train net.net --set train.batch=16
    ```
    """


def check_batch(recipe: Recipe) -> None:
    """Raise LoneValue if the batch is too small for a layer."""
    division = Division(recipe)
    least = min(division.joint_sizes if recipe.sync_bn else division.sizes)
    for node in recipe.net.nodes if least == 1 else ():
        if node.layer.kind == "bn" and elements(node.shape[1:]) == 1 and not _is_frozen(node, recipe):
            shape = format_shape(node.shape)
            raise LoneValue(
                f"{node.span}: `{node.name}` normalizes {shape}, a single value per channel in a batch of 1",
                "train with a larger batch, or `freeze` the layer to use its running statistics",
                *([] if recipe.sync_bn or division.shards == 1 else ["`bn sync on` normalizes all shards together"]),
            )


def _is_frozen(node: Node, recipe: Recipe) -> bool:
    names = {parameter.name for parameter in node.parameters.values()}
    return bool(getattr(node.parameters, "frozen", False)) or names <= recipe.freeze


EXAMPLES_SCANNED = 100
"""Number of examples whose range is compared with what the net expects."""

ENDS = ("epochs", "steps", "stop", "keep")
"""Lines of a recipe that may change when a run resumes."""


def start(
    recipe: Recipe,
    dataset: Examples,
    validation: Examples | None,
    choices: Choices,
    *,
    weights: WeightFile | None = None,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> Trainer:
    """Return a trainer at its beginning, with weights from a file or drawn from the recipe's seed. A recipe without
    `shards` gets those of the run so far, or one for each process.

    Raises UserError if the batch is too small, the shards or the weights do not fit, the data do not determine class
    weights, an embedding lacks vectors, or the provider is not available.
    """
    recipe.batch = dataset.batch(recipe.batch)
    kept = choices.shards is not None
    recipe.shards = choices.shards = recipe.shards or choices.shards or ranks.size
    check_precision(recipe, choices)
    check_division(recipe, dataset, ranks, kept=kept)
    check_batch(recipe)
    recipe.losses = tuple(with_class_weights(line, recipe, dataset) for line in recipe.losses)
    recipe.losses = tuple(measured(line, recipe, dataset) for line in recipe.losses)
    for part in filter(None, (dataset, validation)):
        check_vocabularies(recipe, part)
        part.notes += alignment_notes(recipe, part)
    first = initial_weights(recipe.net, recipe.seed, weights)
    progress = progress or Progress()
    with closing(progress):
        if recipe.accumulate > 1 or recipe.shards > 1:
            runner: Runner = prepare_divided(recipe, first, choices, progress.measuring, ranks)
        else:
            graph = training_step(recipe.net, recipe)
            runner = prepare(graph, initial_state(graph, first), choices, progress.measuring)
    evaluation = None if validation is None else (Evaluator(recipe, **choices.how()), validation)
    trainer = Trainer(recipe, dataset, runner, validation=evaluation, progress=progress, ranks=ranks)
    trainer.choices = choices
    dataset.notes += _renumbered(recipe.net, weights, trainer.names)
    dataset.notes += _scale_notes(recipe.net, dataset)
    dataset.notes += _warmup_notes(trainer)
    return trainer


def prepare_divided(
    recipe: Recipe,
    weights: dict[str, Array],
    choices: Choices,
    shown: Callable[[int, int], None] | None = None,
    ranks: Ranks = ALONE,
) -> DividedRunner:
    """Return a runner of a divided step with these initial weights, as `prepare`. Rank 0 chooses how to compute it."""
    division = Division(recipe, ranks)
    graphs = {rows: training_step(recipe.net, recipe, rows) for rows in division.sizes}
    graph = graphs[division.sizes[0]]
    if ranks.leads:
        lower(graph, choices, shown)
    choices.lowered = ranks.broadcast(choices.lowered)
    lowered = {rows: lower(each, choices) for rows, each in graphs.items()}
    whole = lowered[division.sizes[0]]
    assert all(each.layouts == whole.layouts for each in lowered.values())
    finished = finish_step(only_update(whole.graph), choices, None)
    runner = StagedRunner if is_staged(whole.graph) else DividedRunner
    return runner(
        graph,
        to_run(finished.graph),
        initial_state(graph, weights),
        adding={rows: without_update(each.graph) for rows, each in lowered.items()},
        finished=finished,
        layouts=whole.layouts,
        division=division,
        losses={
            share_name(line.output): (line.loss, target_name(recipe.net, line.output))
            for line in recipe.losses
            if line.loss.has_shares
        },
        ranks=ranks,
        **choices.how(),
    )


def _warmup_notes(trainer: Trainer) -> Iterator[str]:
    """Yield a note if the warm-up has no end, which `check` does not know before the number of steps per epoch."""
    recipe, schedule = trainer.recipe, trainer.recipe.schedule
    name, length = "warmup_steps", float(schedule.warmup_steps or 0)
    if recipe.steps is not None:
        name, length = "warmup", schedule.warmup * trainer.per_epoch if schedule.warmup < recipe.steps else 0.0
    if length >= trainer.steps:
        span = schedule.spans.get(name, schedule.spans.get("", recipe.span))
        yield (
            f"{span}: the warm-up takes {length:,.10g} steps, but training ends after {trainer.steps:,}, "
            f"{trainer.per_epoch:,} per epoch: the learning rate does not reach {recipe.optimizer.lr:g}"
        )


def _scale_notes(net: Net, dataset: Examples) -> Iterator[str]:
    """Yield a note if the net does not expect values of this size in arrays, judged by the first examples."""
    if not isinstance(dataset, Dataset):
        return
    for name, column in dataset.inputs.items():
        if isinstance(column, ArrayColumn) and name not in dataset.pictures:  # check knows the range of image files
            values = column.take(np.arange(min(len(column), EXAMPLES_SCANNED)))
            low, high = float(values.min()), float(values.max())
            node, (least, most) = badly_scaled(net, low, high) or (None, (0.0, 0.0))
            is_large = max(-least, most) > LARGE_PIXEL
            if node is None or (is_large and len(column.shape) != 3):  # columns of a table may be large, and ids are
                continue
            yield f"{column.path} has values from {low:.4g} to {high:.4g}, " + (
                f"which `{node.name}` reads unscaled; divide them, or scale them in the net: `scale 1/255`"
                if is_large
                else f"which the net scales down: `{node.name}` reads {least:.4g} to {most:.4g}; pass unscaled values, "
                "or remove the scaling from the net"
            )


def _renumbered(net: Net, weights: WeightFile | None, names: Names) -> list[str]:
    """Return a note for each list of names that is different in the weights' file."""
    with suppress(BadNames):  # of a head that was left out
        then = net_names(net, weights)
        parts = (("classes", then.classes, names.classes), ("columns", then.columns, names.columns))
        return [
            f"`{key}` of {weights.path if weights else ''} has the {what} {listed(part[key])}, and the "
            f"data have {listed(now[key])}: weights are matched by position"
            for what, part, now in parts
            for key in part
            if now.get(key, part[key]) != part[key]
        ]
    return []


def initial_weights(net: Net, seed: int, file: WeightFile | None, training: Collection[str] = ()) -> dict[str, Array]:
    """Return all weights and running statistics of a net. A file can omit those of training heads that are not in
    `training`."""
    found: dict[str, Array] = {}
    if file is not None:
        file = match_weights(net, file)
        needed = {p.name: p.shape for node in live(net, training) for p in node.parameters.values()}
        heads = net.parameters.keys() - needed.keys() - file.initial
        known = {name: net.parameters[name].shape for name in heads if name in file.entries}
        matched = checked_weights({**needed, **known}, file, optional=heads, net=net)
        found = {name: matched[name] for name in matched}
    return found | drawn_weights([p for p in net.parameters.values() if p.name not in found], seed)


def drawn_weights(parameters: Collection[Parameter], seed: int) -> dict[str, Array]:
    """Return the initial values of weights by name, which take no more memory than themselves."""
    with returned_blocks(sum(BYTES["f32"] * elements(p.shape) for p in parameters)):
        return drawn_arrays(parameters, seed)


def run_description(recipe: Recipe, graph: Graph, choices: Choices, more: Mapping[str, object]) -> dict[str, object]:
    """Return the description of a run in `run.json`."""
    import onnx
    import onnxruntime

    return {
        "net": recipe.net.name,
        "recipe": recipe.text,
        "seed": recipe.seed,
        "batch": recipe.batch,
        **more,
        PREPROCESSING: preprocessing(recipe.net),
        "step": fingerprint(graph),
        "lowering": stored_name(choices.step_backend),
        "threads": choices.threads,
        "provider": choices.provider,
        **({"emulated": True} if choices.emulated else {}),
        "versions": {
            "netdsl": VERSION,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


PREPROCESSING = "preprocessing"


def preprocessing(net: Net) -> dict[str, str]:
    """Return how the inputs of a net preprocess images, which is not part of the graph."""
    return {node.name: text for node in net.inputs if (text := str(declared_picture(node)))}


def fingerprint(graph: Graph) -> str:
    """Return a digest of the computation of a step, independent of the formatting of its source."""
    model = emit(portable(graph)).model
    del model.metadata_props[:]
    model.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
    return sha256(model.SerializeToString(deterministic=True)).hexdigest()


def check_same(folder: RunFolder, recipe: Recipe, graph: Graph) -> None:
    """Raise OtherRun if a folder's run has another net or recipe; only the lines in ENDS may differ, and `shards` may
    be written or not."""
    known = folder.about() or {}
    name = folder.file(ABOUT)
    then, now = (_lines(text) for text in (known.get("recipe", ""), recipe.text))
    changed = [line for line in then if line not in now] + [line for line in now if line not in then]
    if changed:
        raise OtherRun(f"the recipe differs from the one in {name}: `{changed[0]}`", ANOTHER_RUN)
    shards = known.get("shards", 1)
    if shards != recipe.shards:
        raise OtherRun(f"a step has {plural(shards, 'shard')} according to {name}, not {recipe.shards:,}", ANOTHER_RUN)
    images = preprocessing(recipe.net)
    if known.get(PREPROCESSING, images) != images:
        raise OtherRun(f"the inputs of the net preprocess images otherwise than in {name}", ANOTHER_RUN)
    if known.get("step") != fingerprint(graph):
        raise OtherRun(f"the net or the computation of a step has changed since {name} was written", ANOTHER_RUN)


def _lines(recipe: str) -> list[str]:
    lines = [line.strip() for line in recipe.splitlines()]
    return [line for line in lines if line.partition(" ")[0] not in (*ENDS, "shards")]


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Restore a trainer from a checkpoint. Raises OtherRun if it does not fit."""
    state = {name: array.shape for name, array in trainer.runner.live().items()}
    if state != {name: array.shape for name, array in checkpoint.state.items()}:
        raise OtherRun("the weights of the checkpoint are not those of the net")
    then, now = checkpoint.about["examples"], len(trainer.dataset)
    if then != now:
        raise OtherRun(f"the run was started with {then:,} examples, but there are {now:,} now")
    trainer.restore(checkpoint)
