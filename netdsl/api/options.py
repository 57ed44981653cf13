"""Validate compile options of the Python API."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, cast

from netdsl.api.errors import warn
from netdsl.app.given_weights import WeightSource, matched_weights
from netdsl.base.suggest import suggest
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue, escape
from netdsl.diagnostics.foreign import training_line

if TYPE_CHECKING:
    from typing import Literal, TypedDict

    from numpy.typing import ArrayLike

    from netdsl.backend.compile import CompileOptions
    from netdsl.ir.names import Names
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile

    Weights = str | os.PathLike[str] | Mapping[str, ArrayLike]
    Matching = Literal["name", "order"]
    Precision = Literal["f32", "f16"]

    class WeightOptions(TypedDict, total=False):
        """The weights to load, and how to match them to the net."""

        weights: Weights | None
        rename: Mapping[str, str] | None
        transpose: Iterable[str]
        drop: Iterable[str]
        match: Matching
        exclude: Iterable[str]
        partial: bool
        allow_nonfinite: bool

    class GraphOptions(TypedDict, total=False):
        """How to compile the net: fields of `CompileOptions`."""

        seed: int
        batch: int | None
        opset: int
        dtype: Precision
        io: Precision
        metadata: Mapping[str, str] | None
        functions: bool

    class ModelOptions(WeightOptions, GraphOptions):
        """The keyword arguments of all methods that compile a net; documented in `Net.to_onnx`."""


LARGEST = 2**31 - 1
SEEDS = 2**63 - 1
MATCHING = frozenset({"weights", "rename", "transpose", "drop", "match", "exclude", "partial", "allow_nonfinite"})
"""The keys of `WeightOptions`."""

MATCHINGS = ("name", "order")
PRECISIONS = ("f32", "f16")
MAX_SHOWN = 40
"""Maximum length of a string that is quoted in a message."""


def compile_options(net: Net, names: Names, options: ModelOptions) -> CompileOptions:
    """Convert keyword arguments to compiler options. Raises UserError."""
    from netdsl.backend.compile import CompileOptions
    from netdsl.backend.emit import OPSETS

    expect_keywords(options, MATCHING.union(CompileOptions._fields) - {"names"})
    matching = cast("WeightOptions", {key: value for key, value in options.items() if key in MATCHING})
    graph = cast("GraphOptions", {key: value for key, value in options.items() if key not in MATCHING})
    file = fitted(net, source_of_weights(**matching), seed=graph.get("seed", 0))
    chosen = CompileOptions(weights=file, names=names, **graph)
    for name, precision in (("dtype", chosen.dtype), ("io", chosen.io)):
        one_of(name, precision, PRECISIONS)
    if chosen.metadata is not None and not _is_texts(chosen.metadata):
        raise WrongArgumentType(f"metadata is a mapping from keys to texts, not {shown(chosen.metadata)}")
    if chosen.io == "f16" != chosen.dtype:
        raise WrongArgumentValue("io='f16' goes with dtype='f16'")
    flag("functions", chosen.functions)
    return chosen._replace(
        seed=between("seed", chosen.seed, 0, SEEDS),
        batch=None if chosen.batch is None else between("batch", chosen.batch, 1, LARGEST),
        opset=between("opset", chosen.opset, OPSETS[0], OPSETS[-1]),
    )


def expect_keywords(options: Mapping[str, object], known: frozenset[str]) -> None:
    """Raise WrongArgumentType for an unknown keyword argument."""
    for name in options:
        if name not in known:
            close = [f"did you mean {word!r}?" for word in suggest(name, sorted(known))[:1]]
            key, _, value = training_line(name).partition(" ")
            if key in known and not close:
                close = [f"write {key}={value if value[0].isdecimal() else json.dumps(value)}"]
            raise WrongArgumentType(f"unexpected keyword argument {name!r}", *close)


def source_of_weights(
    *,
    weights: Weights | None = None,
    rename: Mapping[str, str] | None = None,
    transpose: Iterable[str] = (),
    drop: Iterable[str] = (),
    match: Matching = "name",
    exclude: Iterable[str] = (),
    partial: bool = False,
    allow_nonfinite: bool = False,
    **unknown: object,
) -> WeightSource:
    """Convert keyword arguments to the source of a net's weights. Raises UserError."""
    expect_keywords(unknown, MATCHING)
    one_of("match", match, MATCHINGS)
    flag("partial", partial)
    flag("allow_nonfinite", allow_nonfinite)
    rename = {} if rename is None else rename
    if not _is_texts(rename):
        raise WrongArgumentType(f"rename is a mapping from patterns to texts, not {shown(rename)}")
    labels = _collection("exclude", "labels", exclude)
    dropped, transposed = _collection("drop", "patterns", drop), _collection("transpose", "patterns", transpose)
    if partial and match == "order":
        raise WrongArgumentValue("partial=True cannot be combined with match='order'")
    chosen = rename or transposed or dropped or match == "order" or labels or partial or allow_nonfinite
    if weights is None and chosen:
        raise WrongArgumentType("rename, transpose, drop, match, exclude, partial and allow_nonfinite go with weights")
    if weights is None:
        return WeightSource()
    from netdsl.weights.rename import Rule

    return WeightSource(
        weights if isinstance(weights, Mapping) else path("weights", weights),
        [
            *(Rule(pattern, "nothing", f"drop {pattern!r}") for pattern in dropped),
            *(Rule(pattern, "$0 transposed", f"transpose {pattern!r}") for pattern in transposed),
            *(Rule(pattern, to, f"rename {pattern!r}: {to!r}") for pattern, to in rename.items()),
        ],
        match,
        labels,
        partial,
        allow_nonfinite,
    )


def fitted(net: Net, source: WeightSource, *, seed: int | None = None, training: bool = False) -> WeightFile | None:
    """Open weights, and match them to the net. With a `seed`, warns about weights that keep their initial values, drawn
    from it. Raises UserError if they do not match."""
    found = matched_weights(net, source)
    if found is not None and found.initial and seed is not None:
        from netdsl.weights.match import initial_report

        warn("\n".join(map(escape, initial_report(net, found, seed, training=training))))
    return found


def _collection(name: str, what: str, given: object) -> tuple[str, ...]:
    """Return the argument `given` if it is a collection of strings. Raises WrongArgumentType."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise WrongArgumentType(f"{name} is a collection of {what}, not {shown(given)}")
    texts = tuple(given)
    if not all(isinstance(text, str) for text in texts):
        raise WrongArgumentType(f"{name} is a collection of {what}, not {shown(texts)}")
    return texts


def _is_texts(given: object) -> bool:
    """Return whether an argument is a mapping from strings to strings."""
    return isinstance(given, Mapping) and all(isinstance(text, str) for pair in given.items() for text in pair)


def between(name: str, number: int, low: int, high: int) -> int:
    """Return `number` if it is an integer from `low` to `high`. Raises UserError."""
    wrong = f"{name} must be an integer from {low} to {high}, not {shown(number)}"
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise WrongArgumentType(wrong)
    whole = index(number)
    if not low <= whole <= high:
        raise WrongArgumentValue(wrong)
    return whole


def path(name: str, given: object) -> str:
    """Return the argument `given` if it is a path. Raises WrongArgumentType."""
    if not isinstance(given, str | bytes | os.PathLike):
        raise WrongArgumentType(f"{name} must be a path, not {shown(given)}")
    return os.fsdecode(given)


def output(given: object, force: object) -> str:
    """Return the path of a file to write, which is never standard output. Raises WrongArgumentType."""
    flag("force", force)
    target = path("path", given)
    return os.path.join(".", target) if target == "-" else target


def text(name: str, given: object) -> str:
    """Return the argument `given` if it is a string. Raises WrongArgumentType."""
    if not isinstance(given, str):
        raise WrongArgumentType(f"{name} must be a str, not {shown(given)}")
    return given


def flag(name: str, given: object) -> None:
    """Raise WrongArgumentType if the argument `given` is not a bool."""
    if given is not True and given is not False:
        raise WrongArgumentType(f"{name} must be True or False, not {shown(given)}")


def one_of(name: str, given: object, known: Sequence[str]) -> None:
    """Raise WrongArgumentValue if the argument `given` is not one of the words in `known`."""
    if given not in known:
        words = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
        raise WrongArgumentValue(f"{name} is {words}, not {shown(given)}")


def shown(given: object) -> str:
    """Describe an argument: a number or a short string by its value, anything else by its type."""
    if given is None or isinstance(given, bool | int | float) or (isinstance(given, str) and len(given) < MAX_SHOWN):
        return repr(given)
    return f"an object of type {type(given).__name__}"


def labels_of(given: object, name: str = "labels") -> str | list[str] | None:
    """Return the names of classes, or the path of a file of them. Raises WrongArgumentType."""
    if given is None or isinstance(given, str | os.PathLike):
        return None if given is None else path(name, given)
    if isinstance(given, list | tuple) and all(isinstance(label, str) for label in given):
        return [*given]
    raise WrongArgumentType(f"{name} is a file, or a list of strings, not {shown(given)}")
