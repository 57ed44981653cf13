"""Train a net in a folder: start or resume a run, and complete it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.train.run import attach, choose_step_backend, folder_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.folder import RunFolder
    from netdsl.train.loop import Trainer
    from netdsl.train.runner import Choices


class Run:
    """A training run in a folder.

    `checkpoint` is the one to resume from, None for a new run, and `choices` is how a step is computed. `notes` say
    what differs from the run so far and can change the last bits.
    """

    __slots__ = ("_resumes", "checkpoint", "choices", "folder", "notes")

    def __init__(self, folder: RunFolder, resumes: bool, checkpoint: Checkpoint | None, choices: Choices) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.choices = choices
        self.notes: list[str] = []
        self._resumes = resumes

    def attach(
        self, trainer: Trainer, module: Module, more: Mapping[str, object], *, seconds: float | None = None
    ) -> None:
        """Let a trainer write to the folder, with checkpoints at the given interval in seconds.

        `more` are further entries of `run.json`. Raises UserError if the run was started with another net, recipe or
        data.
        """
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
    path: str,
    *,
    validated: bool,
    resume: bool,
    force: bool,
    step_backend: str | None,
    threads: int | None,
    provider: str,
    allow_fallback: bool = False,
) -> Iterator[Run]:
    """Open and lock the folder of a new or resumed run. Raises UserError if it contains something else."""
    folder = folder_of(recipe, path, validated)
    resumes = folder.is_resumed(resume=resume, force=force)
    with folder.locked():
        checkpoint = folder.latest() if resumes else None
        choices, notes = choose_step_backend(
            checkpoint,
            step_backend=step_backend,
            threads=threads,
            provider=provider,
            allow_fallback=allow_fallback,
        )
        run = Run(folder, resumes, checkpoint, choices)
        run.notes += notes
        yield run


def complete(trainer: Trainer) -> bool:
    """Train until the end or a stop, and write a checkpoint and the results. Return whether the end was reached."""
    assert trainer.checkpoint_writer is not None
    done = trainer.run()
    trainer.save_checkpoint()
    trainer.checkpoint_writer.finish(trainer)
    return done


def early_stop(trainer: Trainer) -> str:
    """Return why a training has stopped before its end."""
    stop, figure = trainer.recipe.stop, trainer.figure[0].replace("_", " ", 1)
    assert stop is not None
    by = f" by {stop.min_delta:g}" if stop.min_delta else ""
    epochs = f"{stop.patience:,} epochs" if stop.patience > 1 else "an epoch"
    best = f"; best epoch {trainer.best_epoch:,g}" if trainer.best is not None else ""
    return f"stopped early after epoch {trainer.position.epoch:,}: {figure} has not improved{by} in {epochs}{best}"
