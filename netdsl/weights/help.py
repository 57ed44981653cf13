"""What a file's weights may be, where their names are not the network's: the nearest ones, and a rename that does."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING

from netdsl.diagnostics.suggest import suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Shape = tuple[int, ...]

BY_ORDER = "the shapes are the network's in the same order: --match order pairs them by it, and prints the pairs"


def alike(key: str, lost: Mapping[str, Shape], spare: Mapping[str, Shape]) -> str | None:
    """The unexpected weight that a missing one may be: the only one of its shape, where that is not told anyway."""
    same = [other for other, shape in spare.items() if shape == lost[key]]
    if len(same) != 1 or suggest(same[0], lost, 1):
        return None
    twins = [other for other, shape in lost.items() if shape == lost[key]]
    return same[0] if len(twins) == 1 else None


def renaming_help(lost: Mapping[str, Shape], spare: Mapping[str, Shape]) -> Iterator[str]:
    """How the rest of a file's weights would become the network's."""
    if not lost or not spare:
        return
    for prefix in _prefixes(spare):
        if {key.removeprefix(prefix) for key in spare} == lost.keys():
            yield f"--rename '^{re.escape(prefix)}' '' takes away the prefix that all of them have"
            return
    for prefix in _prefixes(lost):
        if {prefix + key for key in spare} == lost.keys():
            yield f"--rename '^' '{prefix}' gives all of them the prefix that is missing"
            return
    if list(lost.values()) == list(spare.values()):
        yield BY_ORDER


def _prefixes(keys: Collection[str]) -> Iterator[str]:
    """What all names begin with, in whole words, the longest first."""
    low, high = min(keys).split("."), max(keys).split(".")  # all others lie between these
    words = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low[:-1], high[:-1], strict=False))]
    while words:
        yield ".".join(words) + "."
        words.pop()
