"""What a file's weights may be, where their names are not the network's: the nearest ones, and a rename that does."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING

from netdsl.diagnostics.suggest import suggest
from netdsl.diagnostics.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from netdsl.ir.net import Net

    Shape = tuple[int, ...]

MOST_HEADS = 3
"""Maximum number of layers that are suggested to stay initial."""

MOST_TRIES = 8
"""Maximum number of nets that are elaborated for a suggestion."""

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


def head_help(net: Net, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> Iterator[str]:
    """Yield ways out where a part of the weights fits, `wanted` being the network's and `found` the file's: a parameter
    that gives the network the file's shapes, a head that may stay initial, and --partial."""
    wrong = [name for name, shape in wanted.items() if found.get(name) != shape]
    if 2 * len(wrong) > len(wanted):
        return
    for name, value in _candidates(net, wanted, found, wrong):
        other = net.variant(name, value) if net.variant is not None else None
        if other is not None and {key: p.shape for key, p in other.parameters.items() if key in wanted} == found:
            yield f"--set {name}={value} makes the shapes of {escape(net.name)} agree with the file"
            break
    labels = [*dict.fromkeys(name.rpartition(".")[0] for name in wrong)]
    if found.keys() - wanted.keys():
        if all(name not in found for name in wrong):
            some = f"{len(wanted) - len(wrong)} of {len(wanted)}"
            yield f"--partial takes the {some} weights that fit; in Python, partial=True"
    elif 0 < len(labels) <= MOST_HEADS and all(labels):
        it = "it" if len(labels) == 1 else "them"
        yield (
            f"--except {' '.join(labels)} leaves {it} initial and takes the rest, as transfer learning does; "
            f"in Python, exclude={labels}"
        )


def _candidates(
    net: Net, wanted: Mapping[str, Shape], found: Mapping[str, Shape], wrong: list[str]
) -> list[tuple[str, int]]:
    """Return values of the network's whole-numbered parameters that may explain other sizes, the likeliest first."""
    sizes = {
        pair
        for name in wrong
        if name in found and len(wanted[name]) == len(found[name])
        for pair in zip(wanted[name], found[name], strict=True)
        if pair[0] != pair[1]
    }
    settings = {name: int(text) for name, text in net.settings.items() if str(text).isdecimal()}  # type: ignore[call-overload]
    equal = [(name, is_now) for name, value in settings.items() for before, is_now in sorted(sizes) if before == value]
    moved = [(name, value + is_now - before) for name, value in settings.items() for before, is_now in sorted(sizes)]
    return [pair for pair in dict.fromkeys([*equal, *moved]) if pair[1] > 0][:MOST_TRIES]


def _shape(net: Net, name: str) -> Shape | None:
    return net.parameters[name].shape if name in net.parameters else None


def _prefixes(keys: Collection[str]) -> Iterator[str]:
    """What all names begin with, in whole words, the longest first."""
    low, high = min(keys).split("."), max(keys).split(".")  # all others lie between these
    words = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low[:-1], high[:-1], strict=False))]
    while words:
        yield ".".join(words) + "."
        words.pop()
