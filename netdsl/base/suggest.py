"""Spelling suggestions: the names closest to a misspelled one."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # `netdsl docs` starts without typing
if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 64
"""Maximum length of a word that is compared; longer ones are not typed by hand and would take long."""

MOST = 1_000
"""Maximum number of candidates that are compared; innermost names come first."""


SLIP_LETTERS = 4
"""Minimum length of a word that can only be a slip: shorter ones are often words of their own, `tan`, `sqr`, `ln`."""


def suggest(word: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the candidates that `word` may stand for, best first; none if all are too different.

    A candidate matches with at most one edit per three letters, ignoring case, or if one word is the beginning of the
    other. Among equally close ones, an extra or missing letter is likelier than a wrong one, and a missing letter the
    likeliest.
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
    """Return whether one word is the other with some letters removed."""
    short, long = (a, b) if len(a) < len(b) else (b, a)
    rest = iter(long)
    return all(letter in rest for letter in short)


def _rank(typed: str, name: str) -> tuple[int, int] | None:
    """Return the rank of a candidate, lower is closer: (0, edits) for a typo, (1, length difference) for a prefix; None
    if unrelated."""
    if len(name) > LONGEST:
        return None
    allowed = max(len(typed), len(name)) // 3
    if abs(len(typed) - len(name)) <= allowed and (slips := _slips(typed, name)) <= allowed:
        return 0, slips
    if (len(typed) >= 2 and name.startswith(typed)) or (len(name) >= 4 and typed.startswith(name)):
        return 1, abs(len(typed) - len(name))
    return None


def _slips(a: str, b: str) -> int:
    """Return the number of insertions, deletions, substitutions and transpositions of neighbors between two words.

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
