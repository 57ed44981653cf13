"""Train a net in a folder: start or resume a run, and complete it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Unpack

from netdsl.app.given_weights import check_together, given_weights
from netdsl.base.shape import elements
from netdsl.base.terminal import plural
from netdsl.train.checkpoint import shared_checkpoint
from netdsl.train.folder import TENSORBOARD, RunFolder, claim_folder, missing_folders, numbered_folders
from netdsl.train.open_data import open_data
from netdsl.train.ranks import ALONE
from netdsl.train.run import attach, check_same_start, choose_step_backend, folder_of
from netdsl.train.start import start

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.app.given_weights import WeightSource
    from netdsl.app.reporter import Reporter
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.loop import Trainer
    from netdsl.train.progress import Progress
    from netdsl.train.ranks import Ranks
    from netdsl.train.run import StepOptions
    from netdsl.train.runner import Choices

RUNS = "runs"
"""Folder of the runs, which are in `NET`, `NET-2`, …"""

WIDTH = 79
"""Maximum width of the lines about a training at its start."""


class Run:
    """A training run in a folder.

    `checkpoint` is the one to resume from, None for a new run, and `choices` is how a step is computed. `notes` explain
    the choice of the folder, and what differs from the run so far and can change the last bits.
    """

    __slots__ = ("_resumes", "_trainer", "checkpoint", "choices", "folder", "notes")

    def __init__(self, folder: RunFolder, resumes: bool, checkpoint: Checkpoint | None, choices: Choices) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.choices = choices
        self.notes: list[str] = []
        self._resumes = resumes
        self._trainer: Trainer | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a step of the training is complete."""
        return self._trainer is not None and self._trainer.position.step > 0

    def attach(
        self, trainer: Trainer, module: Module, more: Mapping[str, object], *, seconds: float | None = None
    ) -> None:
        """Let a trainer write to the folder, with checkpoints at the given interval in seconds.

        `more` are further entries of `run.json`. Raises UserError if the run was started with another net, recipe or
        data.
        """
        self._trainer = trainer
        self.notes += attach(
            trainer,
            self.folder,
            module,
            self.choices,
            resume=self._resumes,
            checkpoint=self.checkpoint,
            more=more,
            seconds=seconds,
        )


@contextmanager
def open_run(
    recipe: Recipe,
    path: str | None,
    *,
    validated: bool,
    resume: bool,
    force: bool,
    ranks: Ranks = ALONE,
    **how: Unpack[StepOptions],
) -> Iterator[Run]:
    """Open and lock the folder of a new or resumed run, which rank 0 does for all.

    Without a path, see `_default_folder`. What a run has written is removed if it fails before its first step is
    complete. Raises UserError if the folder contains something else.
    """
    if not ranks.leads:
        found: tuple[str, bool] = ranks.broadcast(None)
        yield _run(folder_of(recipe, found[0], validated), found[1], None, ranks, how)
        return
    made: list[str] = []
    notes: list[str] = []
    if path is None:
        path, made, notes = _default_folder(os.path.join(RUNS, recipe.name), resume=resume, force=force)
    else:
        made = missing_folders(path)
    folder = folder_of(recipe, path, validated)
    resumes = folder.is_resumed(resume=resume, force=force)
    with folder.locked():
        before = os.listdir(path)
        run = None
        try:
            checkpoint = folder.latest() if resumes else None
            ranks.broadcast((path, resumes))
            run = _run(folder, resumes, checkpoint, ranks, how)
            run.notes = notes + run.notes
            yield run
        except BaseException:
            if run is None or not run.has_begun:
                folder.remove_start(before, made)
            raise


def _run(folder: RunFolder, resumes: bool, checkpoint: Checkpoint | None, ranks: Ranks, how: StepOptions) -> Run:
    """Return a run at the checkpoint of rank 0, or at its beginning."""
    checkpoint = shared_checkpoint(checkpoint, ranks)
    begun = ranks.broadcast(folder.about() if resumes and ranks.leads else None)
    before = (checkpoint.about if checkpoint is not None else begun) or {}
    choices, changes = choose_step_backend(before, **how, ranks=ranks)
    run = Run(folder, resumes, checkpoint, choices)
    run.notes += changes
    return run


def _default_folder(base: str, *, resume: bool, force: bool) -> tuple[str, list[str], list[str]]:
    """Return the folder of a run without `--out`, the folders made for it, and notes about it.

    A new run makes the next of `runs/NET`, `runs/NET-2`, …; the last run is resumed; and `force` overwrites `runs/NET`.
    """
    found = numbered_folders(base)
    runs = [path for path in found if RunFolder(path, ()).about() is not None]
    if force:
        return base, missing_folders(base), []
    if resume and runs:
        return runs[-1], [], []
    path, made = claim_folder(base)
    return path, made, [f"{path}: a new run, because {found[-1]} exists"] if found else []


def begin(
    run: Run,
    recipe: Recipe,
    module: Module,
    source: WeightSource,
    progress: Progress,
    reporter: Reporter,
    more: Mapping[str, object],
    *,
    seconds: float | None = None,
    ranks: Ranks = ALONE,
) -> Trainer:
    """Return the trainer of a run, at its beginning or its last checkpoint.

    Reports what the training consists of, and how it differs from the request or from the run so far. `more` are
    further entries of `run.json`, and `seconds` is the interval between checkpoints. Raises UserError.
    """
    dataset, validation = open_data(recipe)
    check_together(source)
    weights = None
    if run.checkpoint is None:  # which holds all weights
        weights = given_weights(recipe.net, source, recipe.seed, reporter, training=True)
    trainer = start(recipe, dataset, validation, run.choices, weights=weights, progress=progress, ranks=ranks)
    check_same_start(trainer)
    notes = [*overview_lines(trainer, WIDTH), *dataset.notes, *(validation.notes if validation is not None else ())]
    for text in dict.fromkeys(notes):
        reporter.note(text)
    if weights is not None and weights.initial:
        more = {**more, "initial": [name for name in recipe.net.parameters if name in weights.initial]}
    run.attach(trainer, module, more, seconds=seconds)
    for text in dict.fromkeys(run.notes):
        reporter.note(text)
    if run.checkpoint is not None:
        done, steps = run.checkpoint.position.step, trainer.steps
        where = "already at" if done >= steps or trainer.stops_early else "resuming after"
        reporter.note(f"{run.folder.path}: {where} step {done:,} of {steps:,}")
    return trainer


def log_for_tensorboard(run: Run, trainer: Trainer) -> None:
    """Write event files for TensorBoard too. Raises MissingPackage."""
    from netdsl.train.log import TensorBoardLog

    assert trainer.checkpoint_writer is not None
    trainer.checkpoint_writer.tensorboard = TensorBoardLog(run.folder.file(TENSORBOARD), trainer.position.step)


@contextmanager
def stopped_by_signals(trainer: Trainer) -> Iterator[list[int]]:
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


def complete(trainer: Trainer) -> bool:
    """Train until the end or a stop, and write a checkpoint and the results. Return whether the end was reached."""
    with trainer.ranks.lockstep():
        done = trainer.run()
    trainer.save_checkpoint()
    if trainer.checkpoint_writer is not None:
        trainer.checkpoint_writer.finish(trainer)
    trainer.ranks.exchange(None)  # which the others wait for
    return done


def early_stop(trainer: Trainer) -> str:
    """Return why a training has stopped before its end."""
    stop, figure = trainer.recipe.stop, trainer.figure[0].replace("_", " ", 1)
    assert stop is not None
    by = f" by {stop.min_delta:g}" if stop.min_delta else ""
    epochs = f"{stop.patience:,} epochs" if stop.patience > 1 else "an epoch"
    best = f"; best {trainer.best_point}" if trainer.best is not None else ""
    return (
        f"stopped early after {trainer.point(trainer.position.step)}: {figure} has not improved{by} in {epochs}{best}"
    )


def overview(trainer: Trainer) -> dict[str, object]:
    """Return what a training consists of, as JSON data."""
    recipe, choices = trainer.recipe, trainer.choices
    assert choices is not None
    weights = [each for each in recipe.net.parameters.values() if not each.buffer]
    kinds = [target for target in recipe.targets.values() if target.kind in ("class", "sign")]
    held_out = isinstance(recipe.validate, float)
    line = recipe.spans["validate"].text if recipe.validate is not None and not held_out else ""
    return {
        "net": recipe.name,
        "parameters": sum(elements(each.shape) for each in weights),
        "trained": sum(elements(each.shape) for each in weights if each.trainable and each.name not in recipe.freeze),
        "examples": len(trainer.dataset),
        "classes": (kinds[0].classes or 2) if len(kinds) == 1 else None,
        "validation": None if trainer.validation is None else len(trainer.validation[1]),
        "validation_data": " ".join(line.split()).removeprefix("validate ") or ("held out" if held_out else None),
        "batch": recipe.batch,
        "accumulate": recipe.accumulate,
        "shards": recipe.shards,
        "steps_per_epoch": trainer.per_epoch,
        "epochs": recipe.epochs,
        "steps": trainer.steps,
        "provider": choices.provider,
        "ranks": trainer.ranks.size,
        "threads": choices.threads,
        "step_backend": choices.step_backend,
    }


def overview_lines(trainer: Trainer, width: int) -> list[str]:
    """Return what a training consists of, in lines that break between its parts, or within a part that is too long."""
    from textwrap import wrap

    found: dict[str, Any] = overview(trainer)
    trained = f", {found['trained']:,} of them trained" if found["trained"] < found["parameters"] else ""
    classes = f" in {found['classes']:,} classes" if found["classes"] else ""
    validation = ""
    if found["validation"] is not None:
        held_out = found["validation_data"] == "held out"
        source = "" if held_out else f" ({found['validation_data']})"
        validation = f", {found['validation']:,} {'held out ' * held_out}for validation{source}"
    length = plural(found["epochs"], "epoch") if found["epochs"] is not None else plural(found["steps"], "step")
    accumulated = f" x {found['accumulate']:,}" if found["accumulate"] > 1 else ""
    accumulated += f" in {found['shards']:,} shards" if found["shards"] > 1 else ""
    ranks = f"{found['ranks']:,} ranks x " if found["ranks"] > 1 else ""
    parts = [
        f"{found['net']}: {plural(found['parameters'], 'parameter')}{trained}",
        f"{plural(found['examples'], 'example')}{classes}{validation}",
        f"batch {found['batch']:,}{accumulated}, {plural(found['steps_per_epoch'], 'step')} per epoch, {length}",
        f"{found['provider']}, {ranks}{plural(found['threads'], 'thread')}",
    ]
    solid = (part.replace(" ", NO_BREAK) if len(part) < width - 3 else part for part in parts)
    lines = wrap("; ".join(solid), width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


NO_BREAK = "\N{NO-BREAK SPACE}"


def outcome(trainer: Trainer) -> dict[str, object]:
    """Return how a training has ended, as JSON data."""
    at = trainer.position.step
    return {
        "reason": "complete" if at >= trainer.steps else "stopped early" if trainer.stops_early else "interrupted",
        "step": at,
        "epoch": at / trainer.per_epoch,
        "figure": trainer.figure[0],
        "best": trainer.best,
        "best_epoch": trainer.best_epoch if trainer.best is not None else None,
    }
