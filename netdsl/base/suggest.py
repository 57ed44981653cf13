"""`did you mean`: the names nearest to a misspelt one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 64
"""Longer words are not typed by hand, and comparing them would take long."""

MOST = 1_000
"""So many candidates are compared; innermost names come first."""


SLIP_LETTERS = 4
"""Minimum length of a word that can only be a slip: shorter ones are often words of their own, `tan`, `sqr`, `ln`."""


def suggest(word: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates that somebody who wrote `word` may have meant, the best first; none if all are far.

    Near is at most one slip in three letters, whatever the case; else one is the beginning of the other. Of two equally
    near ones a letter too many or too few is likelier than a wrong one, and one that was left out the likeliest.
    """
    if len(word) > LONGEST:
        return []
    typed = word.casefold()
    near = list(dict.fromkeys(candidates))[:MOST]
    found = {name: rank for name in near if name != word and (rank := _rank(typed, name.casefold()))}
    best = min(found.values(), default=(0, 0))
    close = [name for name, (kind, slips) in found.items() if kind == best[0] and slips <= best[1] + 1]
    return sorted(close, key=lambda name: (found[name], not _within(typed, name.casefold()), -len(name), name))[:limit]


def is_slip(typed: str, name: str) -> bool:
    """Return whether `typed` is `name` with one letter too many, missing, wrong or swapped, in a part of four letters.

    Digits, underscores and capitals are written on purpose: `conv1`, `branch_a` and `SAME` may mean something else.
    """
    parts = [re.findall("[A-Za-z]+|[^A-Za-z]", word) for word in (typed, name)]
    pairs = [(a, b) for a, b in zip(*parts, strict=False) if a != b]
    if len(parts[0]) != len(parts[1]) or len(pairs) != 1 or typed.casefold() == name.casefold():
        return False
    ((a, b),) = pairs
    return a.isalpha() and b.isalpha() and max(len(a), len(b)) >= SLIP_LETTERS and _slips(a, b) == 1


def _within(a: str, b: str) -> bool:
    """Whether one of two words is the other without some of its letters."""
    short, long = (a, b) if len(a) < len(b) else (b, a)
    rest = iter(long)
    return all(letter in rest for letter in short)


def _rank(typed: str, name: str) -> tuple[int, int] | None:
    """Lower is nearer: (0, slips) for a typo, (1, letters that differ) for a prefix, nothing for a stranger."""
    if len(name) > LONGEST:
        return None
    allowed = max(len(typed), len(name)) // 3
    if abs(len(typed) - len(name)) <= allowed and (slips := _slips(typed, name)) <= allowed:
        return 0, slips
    if (len(typed) >= 2 and name.startswith(typed)) or (len(name) >= 4 and typed.startswith(name)):
        return 1, abs(len(typed) - len(name))
    return None


def _slips(a: str, b: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.

    Source: the optimal string alignment distance, after Damerau (1964).
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above = row
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]
