"""`netdsl train`: train a net as its `train` block specifies, into a folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.app.frontend import load_training
from netdsl.base.terminal import plural
from netdsl.cli.messages import TERMINAL, note, show, shows_bars, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from netdsl.app.train import Run
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.folder import RunFolder
    from netdsl.train.loop import Trainer


WIDTH = 79
"""Maximum width of the lines about the training at its start."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0; 1 for errors in the net, its training or the data, or if the loss becomes NaN or
    infinite; 130, 143 or 129 if SIGINT, SIGTERM or SIGHUP ended it, after a checkpoint. Raises UserError."""
    report = Report()
    recipe, module = load_training(options.file, report, settings=_settings(options), root=options.root)
    show(report, options, None if recipe is None else recipe.net)
    if recipe is None or report.errors:
        return 1
    from netdsl.app.train import open_run

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
        trainer = _start(recipe, module, run, options)
        return _complete(trainer, run.folder, options)


def _wants_json(options: argparse.Namespace) -> bool:
    return bool(options.json or options.log_format == "json")


def _settings(options: argparse.Namespace) -> list[str]:
    """Return the options that `--set` could express."""
    given = {"epochs": options.epochs, "steps": options.steps}
    return [*options.set, *(f"train.{key}={value}" for key, value in given.items() if value is not None)]


def _start(recipe: Recipe, module: Module, run: Run, options: argparse.Namespace) -> Trainer:
    """Return the trainer of a run, at its beginning or its last checkpoint, and print how it differs from the request
    or from the run so far."""
    from netdsl.app.given_weights import check_together, given_weights
    from netdsl.app.progress import JsonLines, TrainingProgress, print_event
    from netdsl.app.train import overview, overview_lines
    from netdsl.train.open_data import open_data
    from netdsl.train.start import start

    dataset, validation = open_data(recipe)
    source = weight_source(options)
    check_together(source)
    weights = None
    if run.checkpoint is None:  # which holds all weights
        weights = given_weights(recipe.net, source, recipe.seed, TERMINAL, training=True)
    progress = JsonLines() if _wants_json(options) else TrainingProgress(visible=shows_bars())
    trainer = start(recipe, dataset, validation, run.choices, weights=weights, progress=progress)
    _print(overview_lines(trainer, WIDTH))
    _print([*dataset.notes, *(validation.notes if validation is not None else ())])
    more = {"file": options.file, "set": options.set, "weights": options.weights}
    if weights is not None and weights.initial:
        more["initial"] = [name for name in recipe.net.parameters if name in weights.initial]
    run.attach(trainer, module, more, seconds=options.checkpoint)
    _print(run.notes)
    if run.checkpoint is not None:
        done, steps = run.checkpoint.position.step, trainer.steps
        where = "already at" if done >= steps or trainer.stops_early else "resuming after"
        _print([f"{run.folder.path}: {where} step {done:,} of {steps:,}"])
    if options.tensorboard:
        from netdsl.train.log import TensorBoardLog

        assert trainer.checkpoint_writer is not None
        trainer.checkpoint_writer.tensorboard = TensorBoardLog(run.folder.file("tensorboard"), trainer.position.step)
    if _wants_json(options):
        print_event("start", folder=run.folder.path, **overview(trainer))
    return trainer


def _print(notes: Iterable[str]) -> None:
    for text in dict.fromkeys(notes):
        note(text)


def _complete(trainer: Trainer, folder: RunFolder, options: argparse.Namespace) -> int:
    from netdsl.app.progress import print_event
    from netdsl.app.train import complete, early_stop, outcome

    with _signals(trainer) as received:
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
    note(f"{folder.path}: {plural(at, 'step')}; wrote last.safetensors and .onnx, best.safetensors and .onnx{best}")
    return 0


@contextmanager
def _signals(trainer: Trainer) -> Iterator[list[int]]:
    """Make a termination signal stop the training after the current step, and a second one immediately. Yield the
    list of the signals received."""
    import signal
    import threading

    received: list[int] = []

    def stop(number: int, _: object) -> None:
        if trainer.stopped:
            raise SystemExit(128 + number)
        received.append(number)
        trainer.stopped = True

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):  # a signal that nohup ignores stays ignored
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
