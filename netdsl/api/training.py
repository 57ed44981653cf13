"""Training from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from time import sleep
from traceback import print_exc
from typing import TYPE_CHECKING, Any

from netdsl.api.errors import NetError, NetWarning, PythonReporter, in_python, warn
from netdsl.api.net import Net
from netdsl.api.options import (
    LARGEST,
    MATCHING,
    between,
    expect_keywords,
    fitted,
    flag,
    one_of,
    path,
    shown,
    source_of_weights,
    text,
)
from netdsl.api.results import History
from netdsl.app.frontend import Origin
from netdsl.app.reporter import Reporter
from netdsl.base.user_error import UserError, WrongArgumentType, WrongArgumentValue, escape
from netdsl.diagnostics.formats import short
from netdsl.diagnostics.report import Report
from netdsl.train.launcher import ranks_of
from netdsl.train.ranks import PATIENCE, RankFailed, RankRaised

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Literal, Unpack

    from mpi4py.MPI import Intracomm
    from numpy.typing import NDArray

    from netdsl.api.options import WeightOptions
    from netdsl.api.results import Picture
    from netdsl.app.fit import FitSettings, Fitted
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.recipe import Recipe
    from netdsl.train.ranks import Ranks

    class RunOptions(WeightOptions, total=False):
        """How a training runs, and from which weights."""

        resume: bool
        force: bool
        threads: int | None
        provider: str
        allow_fallback: bool
        emulate: bool
        step_backend: Literal["auto", "plain", "nchwc"] | None
        lowering: Literal["auto", "std", "blk"] | None
        comm: Intracomm | None
        epoch: Callable[[dict[str, float]], object] | None

    Words = str | Sequence[str]

    class FitOptions(RunOptions, total=False):
        """The keyword arguments of `Net.fit`: also the lines of a `train` block, and the arguments of optimizers."""

        loss: Words | Mapping[str, str]
        metric: Words | Mapping[str, str]
        optimizer: str
        schedule: str
        stop: str
        average: float
        dtype: Literal["f32", "f16", "bf16"]
        batch: int
        accumulate: int
        shards: int
        bn: str
        epochs: int
        steps: int
        seed: int
        keep: int
        augment: Words
        freeze: Words
        lr: float
        decay: float
        momentum: float
        nesterov: bool
        beta1: float
        beta2: float
        alpha: float
        eps: float
        clip: float
        clip_value: float


RUN_OPTIONS = frozenset(
    {
        *MATCHING,
        "resume",
        "force",
        "threads",
        "provider",
        "allow_fallback",
        "emulate",
        "step_backend",
        "lowering",
        "epoch",
        "comm",
    }
)
"""The keys of `RunOptions`."""


class Trained:
    """The result of a training: the `net`, its `weights` at the end and the `best` ones, by name, and the `history`, a
    table with a row of figures for each epoch, as in `metrics.csv`. `average` are the averages of the weights at the
    end, or these themselves without a line `average`; with it, the `best` ones are averages too. `net.class_names` are
    the names that the data have for classes, which models made of the net carry."""

    __slots__ = ("average", "best", "history", "net", "weights")

    def __init__(
        self,
        net: Net,
        weights: Mapping[str, NDArray[Any]],
        best: Mapping[str, NDArray[Any]],
        history: list[dict[str, float]],
        average: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.net = net
        self.weights = weights
        self.best = best
        self.average = weights if average is None else average
        self.history = History(history)

    def plot(self) -> Picture:
        """Draw the loss and the metrics of each epoch."""
        return self.history.plot()

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        return f"<trained {self.net.name}: {', '.join(f'{key} {value:.4g}' for key, value in last.items())}>"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import bundle, folded

        table = self.history._repr_mimebundle_().get("text/html", "")
        return bundle(repr(self), self.plot().svg + folded(repr(self)[1:-1], table), include, exclude)


def fit(
    file: str | os.PathLike[str],
    /,
    *,
    data: object = None,
    validate: object = None,
    out: str | os.PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
    root: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Unpack[RunOptions],
) -> Trained:
    """Train a net according to the `train` block of its file; `FILE:NET` selects one of several.

    `data` replaces the data of the block: a pair (x, y) of arrays or frames; an iterable of such pairs, one per batch
    and of any size, restarted each epoch; a function from the epoch to such an iterable; or a string, a path or a line
    as in a `train` block. With several inputs or targets, x and y are dicts of arrays. `validate` replaces the
    validation data likewise. With `out` the run is written to a folder, as by `netdsl train`, and can `resume`.
    `settings` change lines of the block and parameters of the net: `{"train.lr": 0.01, "depth": 50}`. With `root`,
    files that the net uses and its data must be in that folder. `weights`, with `rename`, `transpose`,
    `drop`, `match`, `exclude`, `partial` and `allow_nonfinite` as in `Net.to_onnx`, are the initial ones; only
    `partial` warns which stay random.
    `epoch` is called with the figures of each epoch; with `progress` they are printed, and a terminal or a notebook
    shows a bar. The last bits depend on `threads` and on the `step_backend`: `plain`, or `nchwc`, onnxruntime's blocked
    layout; `auto` selects the faster one. `lowering` (`std`, `blk`) is its former name. `emulate` rounds as the block's
    `dtype` of half precision does, but computes in f32, on providers that lack the type.
    With `comm`, a communicator of mpi4py such as `MPI.COMM_WORLD`, all its processes train the net together: each calls
    this with the same arguments and data, and gets the same result. Rank 0 alone writes to `out`, warns and prints. An
    error is raised by all of them, but ends all processes if it occurs in one of them during the training itself.

    Raises NetError for errors in the net or its block, UserError for unsuitable data and a loss that is not finite.
    """
    from netdsl.app.fit import source_of
    from netdsl.app.frontend import load_training

    with _joined(options.get("comm")) as ranks:
        expect_keywords(options, RUN_OPTIONS)
        report, folder, texts = Report(), None if root is None else path("root", root), _texts(settings or {})
        with in_python():
            recipe, module = load_training(path("file", file), report, settings=texts, root=folder)
            given = [source_of(each, report) for each in (data, validate)]
        origin = Origin(path("file", file), module.file.source, texts)
        return _fit(recipe, module, report, origin, given, out, progress, options, ranks)


def fit_net(
    net: Net,
    x: object,
    y: object,
    data: object,
    validate: object,
    out: str | os.PathLike[str] | None,
    progress: bool,
    options: FitOptions,
) -> Trained:
    """Train a net like `Net.fit`."""
    from netdsl.app.fit import kinds_of, lines_of, source_of
    from netdsl.app.frontend import load_lines
    from netdsl.elaborate.overrides import TRAINING_KEYS

    with _joined(options.get("comm")) as ranks:
        expect_keywords(options, RUN_OPTIONS | TRAINING_KEYS | {"data", "validate", "out", "progress"})
        if (x is None and y is not None) or (x is not None and data is not None):
            raise WrongArgumentValue("fit takes x and y, or data")
        run: dict[str, Any] = {key: value for key, value in options.items() if key in RUN_OPTIONS}
        lines = {key: value for key, value in options.items() if key not in RUN_OPTIONS}
        if isinstance(validate, float | int) or (isinstance(validate, str) and validate[:1] in {*"0123456789."}):
            lines["validate"], validate = validate, None
        report = Report()
        with in_python():
            given = [source_of(data if x is None else (x, y), report), source_of(validate, report)]
            if report.errors:
                raise NetError(report)
            kinds = kinds_of(data=given[0], validate=given[1])
            recipe, module = load_lines(net._origin, lines_of(lines), kinds, report)
        return _fit(recipe, module, report, net._origin, given, out, progress, run, ranks)


@contextmanager
def _joined(comm: object) -> Iterator[Ranks]:
    """Yield the ranks of a communicator, which leave the block together. An error of one ends it on all: each raises
    its own, or that of the first. An exception within a step, for which other ranks may wait, ends all processes."""
    ranks = ranks_of(comm)
    try:
        yield ranks
        ranks.exchange(None)
    except RankFailed as failed:
        with in_python():
            raise failed.error from None
    except BaseException as error:
        if ranks.size == 1:
            raise
        if ranks.in_lockstep:
            try:
                if not ranks.leads:
                    sleep(PATIENCE)
                print(f"{ranks.name}:", file=sys.stderr)
                print_exc()
            finally:
                ranks.abort(1)
        with suppress(RankFailed):
            ranks.fail(error if isinstance(error, UserError) else RankRaised(f"{type(error).__name__}: {error}"))
        raise
    finally:
        ranks.close()


def _fit(
    recipe: Recipe | None,
    module: Module,
    report: Report,
    origin: Origin,
    given: list[object],
    out: str | os.PathLike[str] | None,
    progress: bool,
    options: Mapping[str, Any],
    ranks: Ranks,
) -> Trained:
    from netdsl.app import fit as app
    from netdsl.app.progress import TrainingProgress
    from netdsl.train.progress import RecordedProgress

    if recipe is None or report.errors:
        raise NetError(report)
    if ranks.size > 1:
        from netdsl.train.run import check_same_program

        check_same_program(recipe, module, ranks)
    for problem in report if ranks.leads else ():
        warn(short(problem), NetWarning)
    data, validate = given
    flag("progress", progress)
    epoch = options.get("epoch")
    if epoch is not None and not callable(epoch):
        raise WrongArgumentType(f"epoch is a function, not {shown(epoch)}")
    drawn = TrainingProgress(epoch) if progress and ranks.leads else RecordedProgress(epoch)
    reporter = PythonReporter() if ranks.leads else Reporter()
    matching = {key: value for key, value in options.items() if key in MATCHING}
    chosen = _settings(options, None if out is None else path("out", out))._replace(ranks=ranks)
    with in_python():
        source = source_of_weights(**matching)
        weights = fitted(recipe.net, source, seed=recipe.seed if source.partial else None, training=True)
        found = app.fit(recipe, module, data, validate, weights, chosen, reporter, drawn)
    for note in found.notes if ranks.leads else ():
        warn(escape(note), RuntimeWarning)
    return _trained(found, origin)


def _settings(options: Mapping[str, Any], out: str | None) -> FitSettings:
    """Return the settings of a run, checked. Raises UserError."""
    from netdsl.app.fit import FitSettings

    for name in ("resume", "force", "allow_fallback", "emulate"):
        flag(name, options.get(name, False))
    if options.get("resume") and options.get("force"):
        raise WrongArgumentValue("resume continues a run, and force starts it again: choose one of them")
    threads = options.get("threads")
    return FitSettings(
        out,
        options.get("resume", False),
        options.get("force", False),
        None if threads is None else between("threads", threads, 1, LARGEST),
        text("provider", options.get("provider", "cpu")),
        options.get("allow_fallback", False),
        _backend(options.get("step_backend"), options.get("lowering")),
        options.get("emulate", False),
    )


def _backend(name: str | None, former: str | None) -> str | None:
    """Return the step backend, from its argument or the former one. Raises WrongArgumentValue."""
    from netdsl.train.step_backend import STEP_BACKENDS, STORED

    if name is not None and former is not None:
        raise WrongArgumentValue("lowering is the former name of step_backend: pass one of them")
    chosen = former if name is None else name
    if chosen is not None and chosen not in STORED.values():
        one_of("step_backend", chosen, STEP_BACKENDS)
    return chosen


def _texts(settings: Mapping[str, object]) -> list[str]:
    if not isinstance(settings, Mapping):
        raise WrongArgumentType(f"settings is a mapping from names to values, not {shown(settings)}")
    words = {True: "on", False: "off"}
    return [f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in settings.items()]


def _trained(found: Fitted, origin: Origin) -> Trained:
    trainer = found.trainer
    net = Net(trainer.recipe.net, origin, trainer.names)
    weights, average = trainer.weights(), trainer.averages() if trainer.recipe.average else None
    return Trained(net, weights, found.best, trainer.progress.history, average)
