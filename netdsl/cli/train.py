"""`netdsl train`: train a net as its `train` block specifies, into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_training
from netdsl.base.terminal import plural
from netdsl.cli.messages import TERMINAL, note, show, shows_bars, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.train.folder import RunFolder
    from netdsl.train.loop import Trainer


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0; 1 for errors in the net, its training or the data, or if the loss becomes NaN or
    infinite; 130, 143 or 129 if SIGINT, SIGTERM or SIGHUP ended it, after a checkpoint. Raises UserError."""
    report = Report()
    recipe, module = load_training(options.file, report, settings=_settings(options), root=options.root)
    show(report, options, None if recipe is None else recipe.net)
    if recipe is None or report.errors:
        return 1
    from netdsl.app.progress import JsonLines, TrainingProgress, print_event
    from netdsl.app.train import begin, log_for_tensorboard, open_run, overview

    with open_run(
        recipe,
        options.out,
        validated=recipe.validate is not None,
        resume=options.resume,
        force=options.force,
        step_backend=options.step_backend,
        threads=options.threads,
        provider=options.provider,
        allow_fallback=options.allow_fallback,
    ) as run:
        source = weight_source(options)
        progress = JsonLines() if _wants_json(options) else TrainingProgress(visible=shows_bars())
        more = {"file": options.file, "set": options.set, "weights": options.weights}
        trainer = begin(run, recipe, module, source, progress, TERMINAL, more, seconds=options.checkpoint)
        if options.tensorboard:
            log_for_tensorboard(run, trainer)
        if _wants_json(options):
            print_event("start", folder=run.folder.path, **overview(trainer))
        return _complete(trainer, run.folder, options)


def _wants_json(options: argparse.Namespace) -> bool:
    return bool(options.json or options.log_format == "json")


def _settings(options: argparse.Namespace) -> list[str]:
    """Return the options that `--set` could express."""
    given = {"epochs": options.epochs, "steps": options.steps}
    return [*options.set, *(f"train.{key}={value}" for key, value in given.items() if value is not None)]


def _complete(trainer: Trainer, folder: RunFolder, options: argparse.Namespace) -> int:
    from netdsl.app.progress import print_event
    from netdsl.app.train import complete, early_stop, outcome, stopped_by_signals

    with stopped_by_signals(trainer) as received:
        done = complete(trainer)
    at, steps = trainer.position.step, trainer.steps
    if _wants_json(options):
        print_event("end", **outcome(trainer), folder=folder.path)
    if not done:
        note(f"stopped after step {at:,} of {steps:,}, with a checkpoint; --resume continues")
        return 128 + received[0]
    if trainer.stops_early:
        note(early_stop(trainer))
    best = f" ({trainer.best_point})" if trainer.best is not None else ""
    files = ["last", "average", "best"] if trainer.recipe.average else ["last", "best"]
    written = ", ".join(f"{file}.safetensors and .onnx" for file in files)
    note(f"{folder.path}: {plural(at, 'step')}; wrote {written}{best}")
    return 0
