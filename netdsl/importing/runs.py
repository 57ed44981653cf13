"""Find what is repeated in the statements of several nets that are merged: rows of equal form, one after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.importing.blocks import body_of, is_group, label_arguments, walk
from netdsl.importing.repeats import MAX_PERIOD
from netdsl.importing.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    Flags = tuple[bool, ...]

NUMBERED = re.compile(r"(.*[^\d#])(0|[1-9]\d*)", re.ASCII)
"""Labels that end in a number."""


class One:
    """A statement among those that are aligned."""

    __slots__ = ("key", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.key = key_of(statement)

    @property
    def begins(self) -> bool:
        return self.statement.begins

    def statements(self) -> list[Statement]:
        return [self.statement]


class Run:
    """Rows of statements that are equal but for numbers, one after the other, or none. `counts` says which of the
    labels in a row count the rows, None if there are too few to know."""

    __slots__ = ("begins", "counts", "key", "rows")

    def __init__(self, rows: list[list[Token]], counts: Flags | None, like: Run | None = None) -> None:
        self.rows = rows
        self.counts = counts
        self.begins: bool = rows[0][0].begins if like is None else like.begins
        self.key: tuple[object, ...] = ("run", *(token.key for token in rows[0])) if like is None else like.key

    def statements(self) -> list[Statement]:
        return [each for row in self.rows for each in flattened(row)]


Token = One | Run


def flattened(tokens: Sequence[Token]) -> list[Statement]:
    return [each for token in tokens for each in token.statements()]


def key_of(statement: Statement) -> object:
    """Return what is equal in statements that differ by numbers, also in those of how often something is repeated."""
    numbered = NUMBERED.fullmatch(statement.label)
    label = "" if statement.number else f"{numbered[1]}#" if numbered else statement.label
    labels = tuple((statement.values if statement.layer is not None else label_arguments(statement)).items())
    operands = tuple(
        o if isinstance(o, str) else _squashed([o] if isinstance(o, Statement) else o) for o in statement.operands
    )
    project = None if statement.project is None else _squashed(statement.project)
    name = statement.head if statement.block is None else statement.block.name
    return label, statement.number, name, labels, operands, project


def _squashed(body: Sequence[Statement]) -> tuple[object, ...]:
    """Return the keys of statements, without those that repeat what is before them."""
    keys = [key_of(each) for each in body]
    count = -1
    while count != len(keys):
        count = len(keys)
        for period in range(1, MAX_PERIOD + 1):
            at = period
            while at < len(keys):
                if keys[at - period : at] == keys[at : at + period]:
                    del keys[at : at + period]
                else:
                    at += 1
    return tuple(keys)


def depth(key: object) -> int:
    """Return how many runs are one within the other in the key of one."""
    return 1 + max(map(depth, key[1:])) if isinstance(key, tuple) and key[:1] == ("run",) else 0


def _labels(tokens: Sequence[Token]) -> list[str]:
    return [each.label for each in walk(flattened(tokens)) if each.label and not each.number]


def _count(a: Sequence[Token], b: Sequence[Token]) -> Flags | None:
    """Return which of the labels of a row count the rows, if another one of equal form can be the next row."""
    if [each.key for each in a] != [each.key for each in b]:
        return None
    found = []
    labels = _labels(a), _labels(b)
    if len(labels[0]) != len(labels[1]):
        return None
    for mine, other in zip(*labels, strict=True):
        first, second = NUMBERED.fullmatch(mine), NUMBERED.fullmatch(other)
        counts = bool(first and second and first[1] == second[1] and int(first[2]) + 1 == int(second[2]))
        if mine != other and not counts:
            return None
        found.append(counts)
    return tuple(found)


def repeated(tokens: Sequence[Token], period: int) -> Iterator[object]:
    """Yield the keys of statements that are repeated."""
    for at in range(len(tokens) - 2 * period + 1):
        row, following = tokens[at : at + period], tokens[at + period : at + 2 * period]
        if (row[0].begins or not at) and _count(row, following) is not None:
            yield tuple(each.key for each in row)


def with_runs(tokens: Sequence[Token], period: int, patterns: Collection[object]) -> list[Token]:
    """Return statements with those of some keys in runs."""
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        row = tokens[at : at + period]
        if tuple(each.key for each in row) not in patterns:
            found.append(tokens[at])
            at += 1
            continue
        rows, counts = [[*row]], None
        at += period
        while (more := _count(rows[-1], following := tokens[at : at + period])) is not None and counts in (None, more):
            counts = more
            rows.append([*following])
            at += period
        found.append(Run(rows, counts))
    return found


def with_gaps(lists: Sequence[Sequence[Token]]) -> list[list[Token]] | None:
    """Return statements of which some nets have none, in runs; None if there are others."""
    longest = max(lists, key=len)
    found: list[list[Token]] = [[] for _ in lists]
    places = [0] * len(lists)
    for at, token in enumerate(longest):
        has = [place < len(each) and each[place].key == token.key for each, place in zip(lists, places, strict=True)]
        if not all(has) and not (at and _keeps_shape(token)):
            return None
        for n, own in enumerate(lists):
            mine = own[places[n]] if has[n] else None
            run = mine if mine is None or isinstance(mine, Run) or all(has) else Run([[mine]], None)
            if run is None:
                run = Run([], None, token if isinstance(token, Run) else Run([[token]], None))
            found[n].append(run)
            places[n] += has[n]
    return found if places == [*map(len, lists)] else None


def _keeps_shape(token: Token) -> bool:
    """Return whether statements are a residual block, of which there can be any number."""
    if isinstance(token, Run):
        token = token.rows[0][0]
    if isinstance(token, Run):
        return False
    each = token.statement
    body = each.block.body if each.block is not None else body_of(each) if is_group(each) else [each]
    return body[:1] != [] and body[0].head == "skip" and body[0].project is None
