"""Bind a training to its folder: start a new run, or resume from a checkpoint."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import onnxruntime

from netdsl.base.shape import elements
from netdsl.base.terminal import plural
from netdsl.base.version import VERSION
from netdsl.ir.graph import BYTES
from netdsl.ir.names import METADATA_PREFIX
from netdsl.train.checkpoint_writer import SECONDS, CheckpointWriter
from netdsl.train.evaluate import Measures
from netdsl.train.folder import ANOTHER_RUN, OtherRun, RunFolder
from netdsl.train.loss_scale import SCALE_COLUMNS
from netdsl.train.ranks import ALONE, check_agreement, cores_per_rank
from netdsl.train.runner import Choices
from netdsl.train.start import check_same, restore, run_description
from netdsl.train.step_backend import current_name
from netdsl.train.tune import processor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.checkpoint import Checkpoint
    from netdsl.train.loop import Trainer
    from netdsl.train.ranks import Ranks

STDIN = "stdin.net"
"""File name of a program read from standard input."""

OTHER_BITS = "the last bits may differ from those of an uninterrupted run"
"""Consequence of a difference from a checkpoint, for notes."""


def texts(module: Module) -> dict[str, str]:
    """Return the text of each file of a program by path, relative to a common folder from which `use` finds all of
    them. Shipped files are left out: `use` finds them as `zoo/…`."""
    found: dict[str, str] = {}
    waiting = [module]
    seen = {id(module)}
    while waiting:
        each = waiting.pop()
        found[each.file.source.name] = each.file.source.text
        for used, _ in each.uses:
            if used is not None and id(used) not in seen:
                seen.add(id(used))
                waiting.append(used)
    own = {_place(name): text for name, text in found.items() if not name.startswith("zoo/")}
    top = os.path.commonpath([os.path.dirname(path) for path in own]) if own else ""
    return {os.path.relpath(path, top): own[path] for path in sorted(own)}


def _place(name: str) -> str:
    return os.path.abspath(STDIN if name.startswith("<") else name)


def check_same_program(recipe: Recipe | None, module: Module, ranks: Ranks) -> None:
    """Raise RankFailed if the ranks have different files or versions."""
    import onnx

    versions = {f"the version of {each.__name__}": each.__version__ for each in (np, onnx, onnxruntime)}
    words = {"the recipe": recipe.text if recipe is not None else "", **texts(module)}
    check_agreement(ranks, {"the version of netdsl": VERSION, **versions, **_digests(words)})


def _digests(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for name, text in texts.items()}


def check_same_start(trainer: Trainer) -> None:
    """Raise RankFailed if the ranks have different data, weights or operators."""
    if trainer.ranks.size == 1:
        return
    weights = sha256()
    for name, array in trainer.live_weights().items():
        weights.update(name.encode())
        weights.update(np.ascontiguousarray(array).data)
    assert trainer.choices is not None
    values = {
        **environment(trainer)[DATA],
        "the number of steps": str(trainer.steps),
        "the initial weights": weights.hexdigest(),
        **_digests({"how a step is computed": json.dumps(trainer.choices.kept(), sort_keys=True)}),
    }
    check_agreement(trainer.ranks, values)


def folder_of(recipe: Recipe, path: str, validated: bool) -> RunFolder:
    """Return the folder of a recipe's run, with the columns of its metrics."""
    columns = ["loss", *Measures(recipe, numbers=True).by_name]
    scales = SCALE_COLUMNS if recipe.dtype == "f16" else {}
    return RunFolder(path, [*columns, *(f"validation_{name}" for name in columns if validated), *scales])


class StepOptions(TypedDict):
    """How a step is computed, as requested."""

    step_backend: str | None
    threads: int | None
    provider: str
    allow_fallback: NotRequired[bool]
    emulate: NotRequired[bool]


def choose_step_backend(
    before: Mapping[str, Any],
    *,
    step_backend: str | None,
    threads: int | None,
    provider: str,
    allow_fallback: bool = False,
    emulate: bool = False,
    ranks: Ranks = ALONE,
) -> tuple[Choices, list[str]]:
    """Return how to compute a step, and a note if this differs from the run `before`, described by its checkpoint or,
    until it has one, by `run.json`; empty for a new run. The step backend is the requested one; by default, and for
    `auto`, it is that of the run before, which reproduces the same bits."""
    earlier = current_name(before.get("lowering", "auto"))
    cores = cores_per_rank(ranks)
    backend = earlier if step_backend in (None, "auto") else current_name(step_backend)
    threads = threads or before.get("threads")
    then = {
        "step backend": earlier if before else backend,
        "threads": before.get("threads", threads),
        "provider": before.get("provider", provider),
        "emulation": before.get("emulated", False) if before else emulate,
    }
    now = {"step backend": backend, "threads": threads, "provider": provider, "emulation": emulate}
    changed = [key for key in now if now[key] != then[key]]
    notes = [f"another {' and '.join(changed)} than before: {OTHER_BITS}"] if changed else []
    if ranks.size > 1 and threads is not None and threads > cores:
        notes.append(
            f"{plural(threads, 'thread')} in each of {ranks.size} ranks, but only {plural(cores, 'core')} for each"
        )
    lowered = before.get("lowered") if backend == earlier else None
    shards = before.get("shards", 1) if before else None
    return Choices(backend, threads or cores, provider, allow_fallback, lowered, shards, emulate), notes


def attach(
    trainer: Trainer,
    folder: RunFolder,
    module: Module,
    choices: Choices,
    *,
    resume: bool,
    checkpoint: Checkpoint | None,
    more: Mapping[str, object],
    seconds: float | None = None,
) -> list[str]:
    """Start a run in a folder, or resume it from a checkpoint, with `seconds` as the minimum time between checkpoints.

    `more` are further entries of `run.json`. Return notes about differences from the checkpoint that can change the
    bits. Raises OtherRun, BadCheckpoint and CannotWrite. Only rank 0 uses the folder.
    """
    recipe, graph = trainer.recipe, trainer.runner.graph
    now = environment(trainer)
    notes: list[str] = []
    if not trainer.ranks.leads:
        if checkpoint is not None:
            restore(trainer, checkpoint)
        return notes
    if resume:
        check_same(folder, recipe, graph)
    if checkpoint is None:
        size = sum(BYTES[state.before.dtype] * elements(state.before.shape) for state in graph.state.values())
        more = {**more, "shards": recipe.shards, "ranks": trainer.ranks.size}
        folder.begin(run_description(recipe, graph, choices, more), texts(module), size)
    else:
        restore(trainer, checkpoint)
        check_data(checkpoint.about, now)
        notes = changes(checkpoint.about, now)
        folder.cut(checkpoint)
    kept = {**choices.kept(), **now}
    trainer.checkpoint_writer = CheckpointWriter(folder, recipe.keep, kept, SECONDS if seconds is None else seconds)
    losses = dict.fromkeys(line.loss.kind for line in recipe.losses)
    trainer.checkpoint_writer.title = f"{recipe.net.name}: {' + '.join(losses)}"
    trainer.checkpoint_writer.in_steps = recipe.steps is not None
    return notes


DATA, MADE_WITH = "data", "made_with"
VERSIONS = {"netdsl": "netdsl", "onnxruntime": "onnxruntime", "processor": "the processor"}


def environment(trainer: Trainer) -> dict[str, dict[str, str]]:
    """Return what the bits of a run depend on besides its net and recipe, as JSON data for a checkpoint: the values of
    the data, versions and the processor."""
    data = {f"the training's `{name}`": digest for name, digest in trainer.dataset.digests().items()}
    if trainer.validation is not None:
        found = trainer.validation[1].digests()
        data |= {f"the validation's `{name}`": digest for name, digest in found.items()}
    data |= {
        f"the training's `{key.removeprefix(METADATA_PREFIX)}`": text for key, text in trainer.names.metadata.items()
    }
    made_with = {"netdsl": VERSION, "onnxruntime": onnxruntime.__version__, "processor": processor()}
    return {DATA: data, MADE_WITH: made_with}


def check_data(then: Mapping[str, Any], now: Mapping[str, Mapping[str, str]]) -> None:
    """Raise OtherRun if the values of the data have changed. Data that are not in the checkpoint are ignored."""
    for name, digest in now[DATA].items():
        if then.get(DATA, {}).get(name, digest) != digest:
            raise OtherRun(
                f"the data have changed: {name} is not the same as when the checkpoint was written", ANOTHER_RUN
            )


def changes(then: Mapping[str, Any], now: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return notes about versions and processors that differ. The run resumes anyway, possibly with other bits."""
    before, after = then.get(MADE_WITH, {}), now[MADE_WITH]
    changed = [
        f"{VERSIONS[key]} was {before[key]} and is {after[key]}"
        for key in VERSIONS
        if before.get(key, after[key]) != after[key]
    ]
    return [f"{each}: {OTHER_BITS}" for each in changed]
