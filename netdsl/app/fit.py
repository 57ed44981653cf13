"""Train a net from a program: with its `train` block, with keyword arguments in place of its lines, or with both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.evaluate import recognized
from netdsl.app.frontend import data_of
from netdsl.app.train import complete, open_run
from netdsl.base.user_error import WrongArgumentType
from netdsl.data.given import FromPython, Pair
from netdsl.data.kinds import DataKind
from netdsl.train.from_python import given
from netdsl.train.open_data import names_of, open_data, open_validation, split_validation
from netdsl.train.ranks import ALONE
from netdsl.train.run import check_same_start, choose_step_backend
from netdsl.train.start import start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.app.reporter import Reporter
    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.loop import Trainer
    from netdsl.train.progress import Progress
    from netdsl.train.ranks import Ranks
    from netdsl.train.runner import Choices
    from netdsl.weights.file import WeightFile

REPEATED = ("loss", "metric")
"""Lines that a `train` block can have for each output."""


class FitSettings(NamedTuple):
    """Where a training runs, and the folder that it is written to, if any."""

    out: str | None = None
    resume: bool = False
    force: bool = False
    threads: int | None = None
    provider: str = "cpu"
    allow_fallback: bool = False
    step_backend: str | None = None
    emulate: bool = False
    ranks: Ranks = ALONE


class Fitted(NamedTuple):
    """A finished training: its trainer, the best weights, and notes about the run."""

    trainer: Trainer
    best: Mapping[str, Array]
    notes: list[str]


def lines_of(keywords: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the lines of a `train` block, each a key and its value, for keyword arguments.

    A string is the value as in the language; a list has several, and a mapping those of outputs. Arguments of the
    optimizer follow it. None means no line. Raises WrongArgumentType.
    """
    first = sorted(keywords, key=lambda key: key != "optimizer")
    return [(key, value) for key in first if keywords[key] is not None for value in _values(key, keywords[key])]


def _values(key: str, value: object) -> Iterator[str]:
    if key in REPEATED and isinstance(value, Mapping):
        for output, each in value.items():
            yield f"{output} {_word(key, each)}"
    elif key in REPEATED and isinstance(value, list | tuple):
        for each in value:
            yield _word(key, each)
    elif key == "augment" and isinstance(value, list | tuple):
        yield f"{{ {'; '.join(_word(key, each) for each in value)} }}"
    elif isinstance(value, list | tuple):
        yield " ".join(_word(key, each) for each in value)
    else:
        yield _word(key, value)


def _word(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) or hasattr(value, "__index__"):
        number = repr(float(value) if isinstance(value, float) else int(value))
        return f"({number})" if number.startswith("-") else number
    kind = f"the empty string {value!r}" if isinstance(value, str) else f"an object of type {type(value).__name__}"
    raise WrongArgumentType(
        f"{key} takes a number, a bool, a str as in a `train` block, or a list of these, not {kind}"
    )


def source_of(data: object, report: Report) -> object:
    """Return the data that a program passes: a kind of data for a string, which is a path or a line of a `train` block,
    and for a pair of arrays; anything else as it is. None if there are errors."""
    if isinstance(data, str | os.PathLike):
        kind = data_of(recognized(os.fsdecode(data)), report)
        return None if kind is None else kind.within(os.getcwd())
    return Pair(*data) if isinstance(data, tuple) and len(data) == 2 else data


def kinds_of(**data: object) -> dict[str, DataKind]:
    """Return the kinds of data by their keys in a `train` block, with a placeholder for iterables."""
    return {key: each if isinstance(each, DataKind) else FromPython() for key, each in data.items() if each is not None}


def examples(recipe: Recipe, data: object, validate: object, ranks: Ranks) -> tuple[Examples, Examples | None]:
    """Return the examples for training and validation, where `data` and `validate` replace those of the recipe."""
    if isinstance(data, DataKind):
        recipe.data = data
    if isinstance(validate, DataKind):
        recipe.validate = validate
    held_out = recipe.validate
    is_stream = validate is not None and not isinstance(validate, DataKind)
    if is_stream:
        recipe.validate = None
    training: Examples
    validation: Examples | None
    if data is None or isinstance(data, DataKind):
        training, validation = open_data(recipe)
    else:
        training, validation = given(data, recipe, training=True, part=(ranks.rank, ranks.size)), None
        if isinstance(recipe.validate, float):
            training, validation = split_validation(training, training, recipe)
        elif recipe.validate is not None:
            validation = open_validation(recipe.validate, recipe, names_of(training, recipe))
    if is_stream:
        recipe.validate, validation = held_out, given(validate, recipe, training=False)
    return training, validation


def fit(
    recipe: Recipe,
    module: Module,
    data: object,
    validate: object,
    weights: WeightFile | None,
    settings: FitSettings,
    reporter: Reporter,
    progress: Progress,
) -> Fitted:
    """Train a net to the end, and report what is odd about the data. Raises UserError."""

    def trainer(choices: Choices) -> Trainer:
        training, validation = examples(recipe, data, validate, settings.ranks)
        made = start(recipe, training, validation, choices, weights=weights, progress=progress, ranks=settings.ranks)
        check_same_start(made)
        for text in dict.fromkeys([*training.notes, *(validation.notes if validation is not None else ())]):
            reporter.note(text)
        return made

    how = settings._asdict()
    out, resume, force = (how.pop(name) for name in ("out", "resume", "force"))
    with closing(progress):
        if out is None:
            made = trainer(choose_step_backend({}, **how)[0])
            with made.ranks.lockstep():
                made.run()
            return Fitted(made, _shared(made.best_weights or made.averages(), made.ranks), [])
        validated = validate is not None or recipe.validate is not None
        with open_run(recipe, out, validated=validated, resume=resume, force=force, **how) as run:
            made = trainer(run.choices)
            run.attach(made, module, {"file": recipe.name})
            complete(made)
            best = made.averages() if made.checkpoint_writer is None else made.checkpoint_writer.read_best()
            return Fitted(made, _shared(best, made.ranks), run.notes)


def _shared(weights: Mapping[str, Array], ranks: Ranks) -> Mapping[str, Array]:
    """Return weights with the values of those of rank 0, on all ranks once it has them."""
    ranks.exchange(None)
    for name in sorted(weights):
        ranks.fill(weights[name])
    return weights
