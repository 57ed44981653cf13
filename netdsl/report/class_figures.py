"""Precision and recall of each class, and the classes that are confused most often, from a confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.base.terminal import escape
from netdsl.report.table import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.report.confusion import Counts

MAX_CLASSES_SHOWN = 20
"""Maximum number of classes in the table as text: of more classes, those with the lowest recall."""

MAX_PAIRS_SHOWN = 10
"""Maximum number of confusions listed as text."""

UNDEFINED = "–"


class ClassFigures(NamedTuple):
    """The figures of a class. `support` is the number of its examples, or of its positions in maps; `precision` is None
    if the class was never predicted, and `recall` if it has no examples."""

    number: int
    name: str
    precision: float | None
    recall: float | None
    support: int


class Confusion(NamedTuple):
    """The number of examples, or positions, of the class `true` that were predicted as another one, both by number."""

    true: int
    predicted: int
    examples: int


def class_figures(counts: Counts, names: Sequence[str]) -> list[ClassFigures]:
    """Return the figures of all classes, in their order, of a matrix [K, K] with a row per true class."""
    totals = zip(names, counts.diagonal().tolist(), counts.sum(0).tolist(), counts.sum(1).tolist(), strict=True)
    return [
        ClassFigures(number, name, right / predicted if predicted else None, right / true if true else None, true)
        for number, (name, right, predicted, true) in enumerate(totals)
    ]


def confusions(counts: Counts) -> list[Confusion]:
    """Return all confusions that occur, the most frequent first, of equal ones by class number."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    rows, columns = np.unravel_index(order, wrong.shape)
    found = zip(rows.tolist(), columns.tolist(), wrong[rows, columns].tolist(), strict=True)
    return [Confusion(*each) for each in found]


def class_lines(figures: Sequence[ClassFigures]) -> Iterator[str]:
    """Format the figures as a table, in the order of the classes, or of many those with the lowest recall first."""
    shown = list(figures)
    if len(figures) > MAX_CLASSES_SHOWN:
        known = [each for each in figures if each.recall is not None]
        shown = sorted(known, key=lambda each: each.recall or 0)[:MAX_CLASSES_SHOWN]
        yield f"classes with the lowest recall, {len(shown)} of {len(figures):,}"
    rows = [(each.name, _percent(each.precision), _percent(each.recall), f"{each.support:,}") for each in shown]
    yield from aligned([("class", "precision", "recall", "support"), *rows], right=(1, 2, 3))
    if rest := len(figures) - len(shown):
        empty = sum(each.recall is None for each in figures)
        yield f"and {rest:,} others" + (f", {empty:,} of them without examples" if empty else "")


def _percent(fraction: float | None) -> str:
    return UNDEFINED if fraction is None else f"{100 * fraction:.1f} %"


def confusion_pairs(found: Sequence[Confusion], names: Sequence[str]) -> Iterator[str]:
    """Format the most frequent confusions; nothing if there are none."""
    if found:
        more = f", {MAX_PAIRS_SHOWN} of {len(found):,}" if len(found) > MAX_PAIRS_SHOWN else ""
        yield f"most frequent confusions{more}"
    for true, predicted, examples in found[:MAX_PAIRS_SHOWN]:
        yield f"{examples:>7,}  {escape(names[true])} predicted as {escape(names[predicted])}"
