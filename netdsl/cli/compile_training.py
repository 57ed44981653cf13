"""`netdsl compile --training`: write a training step as an ONNX file that other programs train with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_recipe
from netdsl.app.messages import TERMINAL, note, show
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
    from netdsl.app.compile import Destination, save_step
    from netdsl.app.given_weights import given_weights
    from netdsl.cli.compile import chosen_options, sizes

    target = options.output if options.output is not None else f"{recipe.net.name}.step.onnx"
    weights = given_weights(recipe.net, options, recipe.seed, training=True)
    to = Destination(target, options.external_data, options.force, (options.file, options.weights))
    saved = save_step(recipe, to, chosen_options(options, weights), TERMINAL)
    opset = saved.emitted.model.opset_import[0].version
    note(f"{sizes(target, saved, options)}, a step of {recipe.batch:,} examples, {saved.nodes:,} nodes, opset {opset}")
    origin = f"drawn from seed {recipe.seed}" if weights is None else f"from {options.weights}"
    note(f"initial weights {origin}")
    return 0


def _own(options: argparse.Namespace) -> list[str]:
    """Return the settings for options that `--set` can express."""
    given = {"batch": options.batch, "seed": options.seed}
    return [f"train.{key}={value}" for key, value in given.items() if value is not None]
