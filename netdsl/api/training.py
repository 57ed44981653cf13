"""Training from Python."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netdsl.api.errors import NetError
from netdsl.api.net import Net
from netdsl.api.options import LARGEST, MATCHING, between, expect_keywords, fitted, path
from netdsl.app.frontend import load_training
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue, escape
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Unpack

    from numpy.typing import NDArray

    from netdsl.api.options import WeightOptions
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.loop import Trainer
    from netdsl.train.runner import Choices
    from netdsl.weights.file import WeightFile


class Trained:
    """The result of a training: the `net`, its `weights` at the end and the `best` ones, by name, and the `history`, a
    row of figures for each epoch, as in `metrics.csv`. `net.class_names` are the names that the data have for classes,
    which models made of the net carry."""

    __slots__ = ("best", "history", "net", "weights")

    def __init__(
        self,
        net: Net,
        weights: Mapping[str, NDArray[Any]],
        best: Mapping[str, NDArray[Any]],
        history: list[dict[str, float]],
    ) -> None:
        self.net = net
        self.weights = weights
        self.best = best
        self.history = history

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        return f"<trained {self.net.name}: {', '.join(f'{key} {value:.4g}' for key, value in last.items())}>"


def fit(
    file: str | os.PathLike[str],
    /,
    *,
    data: object = None,
    validate: object = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    threads: int | None = None,
    provider: str = "cpu",
    step_backend: Literal["auto", "plain", "nchwc"] | None = None,
    lowering: Literal["auto", "std", "blk"] | None = None,
    settings: Mapping[str, object] | None = None,
    root: str | os.PathLike[str] | None = None,
    epoch: Callable[[dict[str, float]], object] | None = None,
    **matching: Unpack[WeightOptions],
) -> Trained:
    """Train a net according to the `train` block of its file; `FILE:NET` selects one of several.

    `data` replaces the data of the block: a pair (x, y) of arrays; an iterable of such pairs, one per batch and of any
    size, restarted each epoch; or a function from the epoch to such an iterable. With several inputs or targets, x and
    y are dicts of arrays. `validate` replaces the validation data likewise. With `out` the run is written to a folder,
    as by `netdsl train`, and can `resume`. `settings` change lines of the block and parameters of the net:
    `{"train.lr": 0.01, "depth": 50}`. With `root`, files that the net uses and its data must be in that folder.
    `weights`, with `rename`, `match`, `exclude`, `partial` and `allow_nonfinite` as in `Net.to_onnx`, are the initial
    ones; only `partial` warns which stay random. `epoch` is called with the figures of each epoch. The last bits depend
    on `threads` and on the `step_backend`: `plain`, or `nchwc`, onnxruntime's blocked layout; `auto` selects the faster
    one. `lowering` (`std`, `blk`) is its former name.

    Raises NetError for errors in the net or its block, UserError for unsuitable data and a loss that is not finite.
    """
    expect_keywords(matching, MATCHING)
    if resume and force:
        raise WrongArgumentValue("resume continues a run, and force starts it again: choose one of them")
    report = Report()
    folder = root if root is None else path("root", root)
    recipe, module = load_training(path("file", file), report, settings=_texts(settings or {}), root=folder)
    if recipe is None:
        raise NetError(report)
    begin = fitted(recipe.net, **matching, seed=recipe.seed if matching.get("partial") else None, training=True)
    threads = None if threads is None else between("threads", threads, 1, LARGEST)
    how: dict[str, Any] = {"threads": threads, "provider": provider, "step_backend": _backend(step_backend, lowering)}
    if out is not None:
        from netdsl.app.train import complete, open_run

        validated = validate is not None or recipe.validate is not None
        with open_run(recipe, path("out", out), validated=validated, resume=resume, force=force, **how) as run:
            trainer = _trainer(recipe, data, validate, begin, run.choices, epoch)
            run.attach(trainer, module, {"file": recipe.name})
            for text in run.notes:
                warnings.warn(escape(text), RuntimeWarning, stacklevel=2)
            complete(trainer)
            assert trainer.checkpoint_writer is not None
            return _trained(trainer, trainer.checkpoint_writer.read_best())
    from netdsl.train.run import choose_step_backend

    trainer = _trainer(recipe, data, validate, begin, choose_step_backend(None, **how)[0], epoch)
    trainer.run()
    return _trained(trainer, trainer.best_weights)


def _backend(name: str | None, former: str | None) -> str | None:
    """Return the step backend, from its argument or the former one. Raises WrongArgumentValue."""
    from netdsl.train.step_backend import STEP_BACKENDS, STORED

    if name is not None and former is not None:
        raise WrongArgumentValue("lowering is the former name of step_backend: pass one of them")
    chosen = former if name is None else name
    if chosen is not None and chosen not in (*STEP_BACKENDS, *STORED.values()):
        raise WrongArgumentValue(f"step_backend is one of {', '.join(STEP_BACKENDS)}, not {chosen!r}")
    return chosen


def _texts(settings: Mapping[str, object]) -> list[str]:
    if not isinstance(settings, Mapping):
        raise WrongArgumentType(
            f"settings is a mapping from names to values, not an object of type {type(settings).__name__}"
        )
    words = {True: "on", False: "off"}
    return [f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in settings.items()]


def _trainer(
    recipe: Recipe,
    data: object,
    validate: object,
    weights: WeightFile | None,
    choices: Choices,
    epoch: Callable[[dict[str, float]], object] | None,
) -> Trainer:
    from netdsl.train.from_python import given
    from netdsl.train.open_data import names_of, open_data, open_validation, split_validation
    from netdsl.train.progress import RecordedProgress
    from netdsl.train.start import start

    training: Examples
    validation: Examples | None = None
    if data is None:
        training, validation = open_data(recipe)
    else:
        training = given(data, recipe, training=True)
        if validate is None and isinstance(recipe.validate, float):
            whole = given(data, recipe, training=False)
            training, validation = split_validation(training, whole, recipe)
        elif validate is None and not isinstance(recipe.validate, float | None):
            validation = open_validation(recipe.validate, recipe, names_of(training, recipe))
    if validate is not None:
        validation = given(validate, recipe, training=False)
    return start(recipe, training, validation, choices, weights=weights, progress=RecordedProgress(epoch))


def _trained(trainer: Trainer, best: Mapping[str, NDArray[Any]] | None) -> Trained:
    last = trainer.weights()
    return Trained(Net(trainer.recipe.net, trainer.names), last, best or last, trainer.progress.history)
