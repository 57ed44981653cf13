"""`netdsl train`: train a net as its `train` block says, into a folder of its own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.app.frontend import load_training
from netdsl.app.messages import note, show
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.folder import RunFolder
    from netdsl.train.loop import Trainer

RUNS = "runs"


def command(options: argparse.Namespace) -> int:
    """Exit code 0; 1 where the net, its training or the data have errors, or the loss is no number any more; 130, 143
    or 129 where SIGINT, SIGTERM or SIGHUP ended it, after a checkpoint. Raises UserError."""
    report = Report()
    recipe, module = load_training(options.file, report, settings=_settings(options), root=options.root)
    show(report, options, None if recipe is None else recipe.net)
    if recipe is None or report.errors:
        return 1
    from netdsl.train.run import folder_of

    folder = folder_of(recipe, options.out or os.path.join(RUNS, recipe.name), recipe.validate is not None)
    goes_on = folder.judge(resume=options.resume, force=options.force)
    with folder.alone():
        return _train(recipe, module, folder, goes_on, options)


def _settings(options: argparse.Namespace) -> list[str]:
    """Return the options that `--set` could express."""
    given = {"epochs": options.epochs, "steps": options.steps}
    return [*options.set, *(f"train.{key}={value}" for key, value in given.items() if value is not None)]


def _train(recipe: Recipe, module: Module, folder: RunFolder, goes_on: bool, options: argparse.Namespace) -> int:
    from netdsl.app.given_weights import check_together, given_weights
    from netdsl.cli.train_progress import TerminalProgress
    from netdsl.train.open_data import open_data
    from netdsl.train.run import attach, chosen
    from netdsl.train.start import start

    checkpoint = folder.latest() if goes_on else None
    choices, differs = chosen(
        checkpoint,
        step_backend=options.step_backend,
        threads=options.threads,
        provider=options.provider,
        allow_fallback=options.allow_fallback,
    )
    for text in differs:
        note(text)
    dataset, validation = open_data(recipe)
    check_together(options)
    # A checkpoint holds all weights; the file is not read again.
    weights = None if checkpoint is not None else given_weights(recipe.net, options, recipe.seed, training=True)
    trainer = start(recipe, dataset, validation, choices, weights=weights, progress=TerminalProgress(options.json))
    for text in dict.fromkeys([*dataset.notes, *(validation.notes if validation is not None else ())]):
        note(text)
    more = {"file": options.file, "set": options.set, "weights": options.weights}
    if weights is not None and weights.initial:
        more["initial"] = [name for name in recipe.net.parameters if name in weights.initial]
    seconds = options.checkpoint
    notes = attach(trainer, folder, module, choices, goes_on=goes_on, checkpoint=checkpoint, more=more, seconds=seconds)
    for text in notes:
        note(text)
    if checkpoint is not None:
        done = checkpoint.position.step
        on = "goes on after" if done < trainer.steps else "is at its end, with"
        note(f"{folder.path}: {on} step {done:,} of {trainer.steps:,}")
    assert trainer.keeper is not None
    if options.tensorboard:
        from netdsl.train.tensorboard import FOLDER, Board

        trainer.keeper.board = Board(folder.file(FOLDER), trainer.position.step)
    return _run(trainer, folder)


def _run(trainer: Trainer, folder: RunFolder) -> int:
    assert trainer.keeper is not None
    with _signals(trainer) as received, trainer.progress:
        done = trainer.run()
        trainer.keep()
        trainer.keeper.finish(trainer)
    if not done:
        note(f"stopped after step {trainer.position.step:,} of {trainer.steps:,}, with a checkpoint: --resume goes on")
        return 128 + received[0]
    best = f", the best of epoch {trainer.best_epoch:,.6g}" if trainer.best is not None else ""
    note(
        f"{folder.path}: {trainer.position.step:,} steps; last.safetensors and .onnx{best}: best.safetensors and .onnx"
    )
    return 0


@contextmanager
def _signals(trainer: Trainer) -> Iterator[list[int]]:
    """Within, a signal to end stops a training after its step, and a second one at once. Yields the list of those
    received."""
    import signal
    import threading

    received: list[int] = []

    def stop(number: int, _: object) -> None:
        if trainer.stopped:
            raise SystemExit(128 + number)
        received.append(number)
        trainer.stopped = True

    asked = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        asked = []
    before = {number: signal.getsignal(number) for number in asked}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):  # nohup's wish to go on is respected
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
