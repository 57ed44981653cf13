"""`netdsl train`: train a net as its `train` block specifies, into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_training
from netdsl.app.reporter import Reporter
from netdsl.base.terminal import plural
from netdsl.cli.messages import TERMINAL, note, show, shows_bars, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse

    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.folder import RunFolder
    from netdsl.train.loop import Trainer
    from netdsl.train.progress import Progress
    from netdsl.train.ranks import Ranks


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0; 1 for errors in the net, its training or the data, or if the loss becomes NaN or
    infinite; 130, 143 or 129 if SIGINT, SIGTERM or SIGHUP ended it, after a checkpoint. Raises UserError."""
    from netdsl.train.launcher import world

    ranks = world(options.distributed)
    if ranks.size == 1:
        if options.distributed == "mpi":
            note("one process, because no launcher such as mpirun has started more")
        return _train(options, ranks)
    from netdsl.cli.together import together

    return together(ranks, options.format, lambda: _train(options, ranks))


def _train(options: argparse.Namespace, ranks: Ranks) -> int:
    loaded = _load(options, ranks)
    if loaded is None:
        return 1
    from netdsl.app.progress import print_event
    from netdsl.app.train import begin, log_for_tensorboard, open_run, overview

    recipe, module = loaded
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
        emulate=options.emulate,
        ranks=ranks,
    ) as run:
        source, reporter = weight_source(options), TERMINAL if ranks.leads else Reporter()
        more = {"file": options.file, "set": options.set, "weights": options.weights}
        progress = _progress(options, ranks)
        trainer = begin(run, recipe, module, source, progress, reporter, more, seconds=options.checkpoint, ranks=ranks)
        if options.tensorboard and ranks.leads:
            log_for_tensorboard(run, trainer)
        if _wants_json(options) and ranks.leads:
            print_event("start", folder=run.folder.path, **overview(trainer))
        return _complete(trainer, run.folder, options)


def _load(options: argparse.Namespace, ranks: Ranks) -> tuple[Recipe, Module] | None:
    """Return the recipe of FILE and its module, or None if it has errors, which are printed."""
    if ranks.size > 1 and options.file.partition(":")[0] == "-":
        from netdsl.cli.together import share_stdin

        share_stdin(ranks)
    report = Report()
    recipe, module = load_training(options.file, report, settings=_settings(options), root=options.root)
    if ranks.leads:
        show(report, options, None if recipe is None else recipe.net)
    if ranks.size > 1:
        from netdsl.train.run import check_same_program

        check_same_program(recipe, module, ranks)
    failed = any(ranks.exchange(bool(report.errors)))  # of rank 0 alone, which has shown them, with --strict
    return None if recipe is None or failed else (recipe, module)


def _progress(options: argparse.Namespace, ranks: Ranks) -> Progress:
    from netdsl.app.progress import JsonLines, TrainingProgress
    from netdsl.train.progress import RecordedProgress

    if not ranks.leads:
        return RecordedProgress()
    return JsonLines() if _wants_json(options) else TrainingProgress(visible=shows_bars())


def _wants_json(options: argparse.Namespace) -> bool:
    return bool(options.json or options.log_format == "json")


def _settings(options: argparse.Namespace) -> list[str]:
    """Return the options that `--set` could express."""
    given = {"epochs": options.epochs, "steps": options.steps, "dtype": options.dtype}
    return [*options.set, *(f"train.{key}={value}" for key, value in given.items() if value is not None)]


def _complete(trainer: Trainer, folder: RunFolder, options: argparse.Namespace) -> int:
    from netdsl.app.progress import print_event
    from netdsl.app.train import complete, early_stop, outcome, stopped_by_signals

    with stopped_by_signals(trainer) as received:
        done = complete(trainer)
    at, steps = trainer.position.step, trainer.steps
    if _wants_json(options) and trainer.ranks.leads:
        print_event("end", **outcome(trainer), folder=folder.path)
    if not done:
        note(f"stopped after step {at:,} of {steps:,}, with a checkpoint; --resume continues")
        numbers = [each for rank in trainer.ranks.exchange(received) for each in rank]  # of some ranks or all
        return 128 + numbers[0]
    if trainer.stops_early:
        note(early_stop(trainer))
    best = f" ({trainer.best_point})" if trainer.best is not None else ""
    files = ["last", "average", "best"] if trainer.recipe.average else ["last", "best"]
    written = ", ".join(f"{file}.safetensors and .onnx" for file in files)
    note(f"{folder.path}: {plural(at, 'step')}; wrote {written}{best}")
    return 0
