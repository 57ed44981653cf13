"""Run the checks of a verification one after the other, each within its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any

from netdsl.app.output import signals_clean_up
from netdsl.app.predict import batch_size, check_lengths
from netdsl.app.reporter import SILENT
from netdsl.app.verify.child import Child, Exceeded, Failed
from netdsl.app.verify.gradient_check import gradients
from netdsl.app.verify.import_check import round_trip
from netdsl.app.verify.model_checks import batch, checker, opsets, optimizer, runtimes, shapes
from netdsl.app.verify.outcome import FAILED, SKIPPED, Inapplicable, Outcome, Skip, Verified
from netdsl.app.verify.precision_checks import f16, int8
from netdsl.app.verify.subject import EXAMPLES, Subject, VerifyOptions
from netdsl.app.verify.tools import PACKAGES, install, is_installed
from netdsl.base.user_error import OptionsClash, UserError
from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netdsl.app.reporter import Reporter
    from netdsl.app.verify.subject import Arrays
    from netdsl.base.dtypes import Array
    from netdsl.data.reader import Reader

    Examples = Sequence[str] | Mapping[str, Array]

CHECKS = {
    "checker": checker,
    "shapes": shapes,
    "opsets": opsets,
    "optimizer": optimizer,
    "batch": batch,
    "runtimes": runtimes,
    "gradients": gradients,
    "f16": f16,
    "int8": int8,
    "import": round_trip,
}
"""The checks by their names, in the order of the report."""

PACKAGES_SHOWN = ("netdsl", "onnx", "onnxruntime", "numpy", *PACKAGES)


def check_installed(options: VerifyOptions) -> None:
    """Raise MissingPackage or NoProvider for a tool that `--against` names and is not installed."""
    for tool in options.against or ():
        if is_installed(tool):
            continue
        if tool in PACKAGES:
            raise MissingPackage(f"{tool} is not installed", install(tool))
        from netdsl.backend.providers import choose

        choose(tool)


def verify(
    name: str,
    file: str,
    options: VerifyOptions,
    reporter: Reporter = SILENT,
    *,
    weights_file: str | None = None,
    data: Examples = (),
    **subject: Any,
) -> Verified:
    """Verify a net or a model, with the arguments of `Subject`, on random inputs and on examples: the arguments of a
    command line, or arrays by the names of inputs. Raises UserError for wrong usage."""
    check_installed(options)
    wanted = [check for check in CHECKS if (not options.only or check in options.only) and check not in options.skip]
    if not wanted:
        raise OptionsClash("`only` and `skip` leave no check to do")
    with _subject(name, options, subject) as opened:
        outcomes: list[Outcome] = []
        with reporter.progress("checks", len(wanted)) as show:
            _open(opened, data, reporter)
            for done, check in enumerate(wanted):
                show(done)
                outcomes += _outcomes(CHECKS[check](opened))
    return Verified(name=name, file=file, weights=weights_file, outcomes=outcomes, versions=versions())


@contextmanager
def _subject(name: str, options: VerifyOptions, arguments: dict[str, Any]) -> Iterator[Subject]:
    memory = int(options.memory_limit * 2**30)
    with (
        signals_clean_up(),
        TemporaryDirectory(prefix="netdsl-", ignore_cleanup_errors=True) as folder,
        Child(options.time_limit, memory) as child,
    ):
        yield Subject(name, child, folder, options, **arguments)


def _open(subject: Subject, data: Examples, reporter: Reporter) -> None:
    """Compute the outputs that all checks compare with; what prevents that is the outcome of some checks. Raises
    UserError for examples that do not fit."""
    what = "the model"
    try:
        subject.open()
        if len(data):  # read only now, since this loads the model without bounds
            what = "the model on the examples"
            subject.add(_examples(subject, data, reporter))
    except Failed as error:
        subject.problem = Failed(f"onnxruntime does not run {what}: {error}")
    except Exceeded as error:
        subject.problem = Skip(f"onnxruntime does not run {what}: {error}")
    except Skip as error:
        subject.problem = error


def _examples(subject: Subject, data: Examples, reporter: Reporter) -> Arrays:
    """Return the first examples, as many as the model's batch if that is fixed."""
    from netdsl.app.feeds import expand, open_feeds
    from netdsl.backend.session import Session
    from netdsl.data.column import ArrayReader

    session = Session(subject.model(), name=subject.name)
    readers: dict[str, Reader] = (
        {name: ArrayReader(name, array, session.inputs[name].dtype) for name, array in data.items()}
        if isinstance(data, Mapping)
        else open_feeds(expand([*data], reporter), session, reporter)
    )
    check_lengths(readers)
    count, _ = batch_size(session, readers, None)
    fixed = any(x.shape and x.shape[0] is not None for x in session.inputs.values())
    found = {name: next(reader.batches(count if fixed else EXAMPLES)) for name, reader in readers.items()}
    session.check(found)
    return found


def _outcomes(work: Iterator[tuple[str, str, Callable[[], Outcome]]]) -> Iterator[Outcome]:
    for check, subject, found in work:
        begin = monotonic()
        try:
            outcome = found()
        except (Skip, Exceeded) as error:
            applies = not isinstance(error, Inapplicable)
            outcome = Outcome(check, subject, SKIPPED, note=described(error), applies=applies)
        except (Failed, UserError) as error:
            outcome = Outcome(check, subject, FAILED, note=described(error))
        if outcome.verdict:
            yield outcome._replace(seconds=monotonic() - begin)


def described(error: Exception) -> str:
    """Return an exception of a check in one line."""
    return error.message.splitlines()[0] if isinstance(error, UserError) else str(error)


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    found = {}
    for name in PACKAGES_SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
