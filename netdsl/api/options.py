"""Validate compile options of the Python API."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from operator import index
from typing import TYPE_CHECKING, cast

from netdsl.app.given_weights import WeightSource, matched_weights
from netdsl.base.terminal import escape

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
MATCHING = frozenset({"weights", "rename", "match", "exclude", "partial", "allow_nonfinite"})
"""The keys of `WeightOptions`."""

MATCHINGS = ("name", "order")
PRECISIONS = ("f32", "f16")


def compile_options(net: Net, names: Names, options: ModelOptions) -> CompileOptions:
    """Convert keyword arguments to compiler options. Raises TypeError, ValueError or UserError."""
    from netdsl.backend.compile import CompileOptions
    from netdsl.backend.emit import OPSETS

    expect_keywords(options, MATCHING.union(CompileOptions._fields) - {"names"})
    matching = cast("WeightOptions", {key: value for key, value in options.items() if key in MATCHING})
    graph = cast("GraphOptions", {key: value for key, value in options.items() if key not in MATCHING})
    file = fitted(net, **matching, seed=graph.get("seed", 0), stacklevel=4)
    chosen = CompileOptions(weights=file, names=names, **graph)
    for name, precision in (("dtype", chosen.dtype), ("io", chosen.io)):
        if precision not in PRECISIONS:
            raise ValueError(f"{name} is 'f32' or 'f16', not {precision!r}")
    if chosen.metadata is not None and not _is_texts(chosen.metadata):
        raise TypeError(f"metadata is a mapping from keys to texts, not {chosen.metadata!r}")
    if chosen.io == "f16" != chosen.dtype:
        raise ValueError("io='f16' goes with dtype='f16'")
    return chosen._replace(
        seed=between("seed", chosen.seed, 0, SEEDS),
        batch=None if chosen.batch is None else between("batch", chosen.batch, 1, LARGEST),
        opset=between("opset", chosen.opset, OPSETS[0], OPSETS[-1]),
    )


def expect_keywords(options: Mapping[str, object], known: frozenset[str]) -> None:
    """Raise TypeError for an unknown keyword argument."""
    for name in options:
        if name not in known:
            raise TypeError(f"unexpected keyword argument {name!r}")


def fitted(
    net: Net,
    *,
    weights: Weights | None = None,
    rename: Mapping[str, str] | None = None,
    match: Matching = "name",
    exclude: Iterable[str] = (),
    partial: bool = False,
    allow_nonfinite: bool = False,
    seed: int | None = None,
    training: bool = False,
    stacklevel: int = 3,
) -> WeightFile | None:
    """Open weights, and match them to the net. Raises TypeError or ValueError, and UserError if they do not match.

    With a `seed`, warns about weights that keep their initial values, drawn from it.
    """
    if match not in MATCHINGS:
        raise ValueError(f"match is 'name' or 'order', not {match!r}")
    rename = {} if rename is None else rename
    if not _is_texts(rename):
        raise TypeError(f"rename is a mapping from patterns to texts, not {rename!r}")
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise TypeError(f"exclude is a collection of labels, not {exclude!r}")
    labels = tuple(exclude)
    if not all(isinstance(label, str) for label in labels):
        raise TypeError(f"exclude is a collection of labels, not {labels!r}")
    if partial and match == "order":
        raise ValueError("partial=True cannot be combined with match='order'")
    chosen = rename or match == "order" or labels or partial or allow_nonfinite
    if weights is None and chosen:
        raise TypeError("rename, match, exclude, partial and allow_nonfinite go with weights")
    if weights is None:
        return None
    from netdsl.weights.rename import Rule

    source = WeightSource(
        weights if isinstance(weights, Mapping) else os.fsdecode(weights),
        [Rule(pattern, to, f"rename {pattern!r}: {to!r}") for pattern, to in rename.items()],
        match,
        labels,
        partial,
        allow_nonfinite,
    )
    found = matched_weights(net, source)
    if found is not None and found.initial and seed is not None:
        import warnings

        from netdsl.weights.match import initial_report

        warnings.warn(
            "\n".join(map(escape, initial_report(net, found, seed, training=training))),
            UserWarning,
            stacklevel=stacklevel,
        )
    return found


def _is_texts(given: object) -> bool:
    """Return whether an argument is a mapping from strings to strings."""
    return isinstance(given, Mapping) and all(isinstance(text, str) for pair in given.items() for text in pair)


def between(name: str, number: int, low: int, high: int) -> int:
    """Return `number` if it is an integer from `low` to `high`. Raises TypeError or ValueError."""
    wrong = f"{name} must be an integer from {low} to {high}, not {number!r}"
    try:
        whole = index(number)
    except TypeError:
        raise TypeError(wrong) from None
    if not low <= whole <= high:
        raise ValueError(wrong)
    return whole
