"""`netdsl compile --training`: write a training step as an ONNX file that other programs train with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_recipe
from netdsl.app.messages import note, show
from netdsl.base.terminal import escape
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net, its training or the weights, without output. Raises
    UserError."""
    report = Report()
    settings = [*options.set, *_own(options)]
    recipe = load_recipe(options.file, report, settings=settings, root=options.root)
    show(report, options, None if recipe is None else recipe.net)
    if recipe is None or report.errors:
        return 1
    from netdsl.app.given_weights import given_weights
    from netdsl.app.output import replace_model, sources
    from netdsl.app.progress import Counted, Progress
    from netdsl.backend.external_data import DataFile
    from netdsl.backend.serialize import write, write_apart
    from netdsl.cli.compile import metadata_of, sizes
    from netdsl.train.export import size, step_model, step_values

    target = options.output if options.output is not None else f"{recipe.net.name}.step.onnx"
    emitted = step_model(recipe, opset=options.opset, metadata=metadata_of(options.metadata))
    weights = given_weights(recipe.net, options, recipe.seed, training=True)
    reads = (options.file, *sources(recipe.net), recipe.span.source.name, options.weights)
    whole = size(emitted)
    outputs = replace_model(target, whole, apart=options.external_data, force=options.force, reads=reads)
    with outputs as (file, data), Progress("bytes", whole) as progress:
        model = Counted(file, progress)
        values = step_values(emitted, recipe, weights)
        beside = None if data is None else Counted(data.file, progress)
        if data is None or beside is None:
            write(emitted, values, model)  # type: ignore[arg-type]
        else:
            write_apart(emitted, values, model, DataFile(beside, data.name))  # type: ignore[arg-type]
    nodes, opset = len(emitted.model.graph.node), emitted.model.opset_import[0].version
    note(
        f"{sizes(target, model, beside, options)}, a step of {recipe.batch:,} examples, {nodes:,} nodes, opset {opset}"
    )
    whence = f"drawn from seed {recipe.seed}" if weights is None else f"from {escape(options.weights)}"
    note(f"training begins with weights {whence}")
    return 0


def _own(options: argparse.Namespace) -> list[str]:
    """Return the settings for options that `--set` can express."""
    given = {"batch": options.batch, "seed": options.seed}
    return [f"train.{key}={value}" for key, value in given.items() if value is not None]
