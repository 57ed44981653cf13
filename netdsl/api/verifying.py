"""Verify a net or a model from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from netdsl.api.errors import NetError, PythonReporter, in_python
from netdsl.api.loading import load
from netdsl.api.net import Net
from netdsl.api.options import LARGEST, MATCHING, SEEDS, between, expect_keywords, path, shown, source_of_weights
from netdsl.api.results import Result
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import ArrayLike

    from netdsl.api.options import WeightOptions
    from netdsl.app.verify.checks import Examples

    class VerifyArguments(WeightOptions, total=False):
        """The keyword arguments of `verify`."""

        against: Iterable[str]
        only: Iterable[str]
        skip: Iterable[str]
        opsets: Iterable[int]
        data: str | os.PathLike[str] | Sequence[str] | Mapping[str, ArrayLike]
        tolerance: float
        gradient_tolerance: float
        f16_tolerance: float
        int8_tolerance: float
        disagreement: float
        samples: int
        batch: int
        seed: int
        time_limit: float
        memory_limit: float


BOUNDS = ("tolerance", "gradient_tolerance", "f16_tolerance", "int8_tolerance", "disagreement")
LIMITS = ("time_limit", "memory_limit")


def verify(net: Net | str | os.PathLike[str], /, **options: Unpack[VerifyArguments]) -> Result:
    """Check that a net, a file or a compiled model (`.onnx`) is sound, like `netdsl verify`.

    Other runtimes compute the same outputs, gradients are those of differences in double precision, half precision and
    int8 are close, and an import gives the same net: `result["verdict"]` is "ok", "failed" or "skipped", and
    `result["checks"]` has the figure and the bound of each. `only` and `skip` are names of checks, `against` of
    runtimes, and `data` the paths of examples or arrays by the names of inputs. The other arguments are the options of
    the command; `weights` and how they are matched are those of `Net.to_onnx`. Raises NetError for errors in the net,
    and UserError for wrong arguments, weights that do not fit, and a runtime in `against` that is not installed.
    """
    from netdsl.app.verify.subject import VerifyOptions

    given: dict[str, Any] = {**options}
    known = frozenset(VerifyOptions._fields) | {"data"} | MATCHING
    expect_keywords(given, known)
    matching = cast("WeightOptions", {key: value for key, value in given.items() if key in MATCHING})
    chosen = _options({key: value for key, value in given.items() if key not in MATCHING and key != "data"})
    reporter, data = PythonReporter(), _data(given.get("data"))
    with in_python():
        if not isinstance(net, Net) and path("net", net).lower().endswith(".onnx"):
            return _of_model(path("net", net), chosen, data, matching, reporter)
        return _of_net(net if isinstance(net, Net) else load(path("net", net)), chosen, data, matching, reporter)


def _of_model(
    file: str, chosen: Any, data: Examples, matching: Mapping[str, object], reporter: PythonReporter
) -> Result:
    from netdsl.app.verify.checks import verify as verified
    from netdsl.app.verify.from_file import model_subject

    if matching:
        raise WrongArgumentValue(f"{file} is a compiled model, which has its weights")
    found = verified(file, file, chosen, reporter, data=data, **model_subject(file))
    return Result(found.data(), found.text())


def _of_net(net: Net, chosen: Any, data: Examples, matching: WeightOptions, reporter: PythonReporter) -> Result:
    from netdsl.app.given_weights import given_weights, note_random
    from netdsl.app.verify.checks import verify as verified
    from netdsl.app.verify.from_file import net_subject

    report = Report()
    subject = net_subject(net._net, net._origin, report)
    if report.errors:
        raise NetError(report)
    weights = given_weights(net._net, source_of_weights(**matching), chosen.seed, reporter)
    if weights is None and net._net.parameters:
        note_random(net._net, chosen.seed, reporter)
    name = weights.path if weights is not None else None
    found = verified(
        net.name,
        net._origin.source.name,
        chosen,
        reporter,
        weights_file=name,
        data=data,
        names=net._names,
        weights=weights,
        **subject,
    )
    return Result(found.data(), found.text())


def _options(given: dict[str, Any]) -> Any:
    """Return the options of a verification. Raises UserError."""
    from netdsl.app.verify.checks import CHECKS
    from netdsl.app.verify.subject import VerifyOptions
    from netdsl.app.verify.tools import AGAINST
    from netdsl.backend.emit import OPSETS

    for name, known in (("only", CHECKS), ("skip", CHECKS), ("against", AGAINST)):
        if given.get(name) is not None:
            given[name] = _words(name, given[name], tuple(known))
    if "opsets" in given:
        given["opsets"] = [between("opsets", each, OPSETS[0], OPSETS[-1]) for each in given["opsets"]]
        if not given["opsets"]:
            raise WrongArgumentValue("opsets is empty")
    for name in (*BOUNDS, *LIMITS):
        if name in given:
            given[name] = _number(name, given[name], above=name in LIMITS)
    for name, low, high in (("samples", 1, LARGEST), ("batch", 1, LARGEST), ("seed", 0, SEEDS)):
        if name in given:
            given[name] = between(name, given[name], low, high)
    return VerifyOptions(**given)


def _words(name: str, given: object, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return a collection of names. Raises UserError."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise WrongArgumentType(f"{name} is a collection of strings, not {shown(given)}")
    words = tuple(given)
    for word in words:
        if word not in known:
            raise WrongArgumentValue(f"{name} has {shown(word)}: there are {', '.join(known)}")
    return words


def _number(name: str, given: object, *, above: bool) -> float:
    if isinstance(given, bool) or not isinstance(given, Real):
        raise WrongArgumentType(f"{name} is a number, not {shown(given)}")
    number = float(given)
    if not (number > 0 if above else number >= 0):
        raise WrongArgumentValue(f"{name} is {'above' if above else 'at least'} 0, not {shown(given)}")
    return number


def _data(given: object) -> Examples:
    """Return paths, or arrays by name. Raises WrongArgumentType."""
    if given is None:
        return ()
    if isinstance(given, str | os.PathLike):
        return [path("data", given)]
    from netdsl.data.column import as_array

    if isinstance(given, Mapping):
        return {name: as_array(array, name) for name, array in given.items()}
    if isinstance(given, Sequence):
        return [path("data", each) for each in given]
    raise WrongArgumentType(f"data are paths, or arrays by the names of inputs, not {shown(given)}")
