"""Merge the statements of several nets that differ by numbers alone into those of one net."""

from __future__ import annotations

import re
from itertools import groupby, islice
from typing import TYPE_CHECKING

from netdsl.declare.arguments import Dims, Padding, Sides, Sizes
from netdsl.importing.blocks import (
    LABELS,
    SIZES,
    body_of,
    label_arguments,
    projects,
    skeleton,
    slots,
    unified,
    walk,
)
from netdsl.importing.notation import written
from netdsl.importing.repeats import MAX_PERIOD
from netdsl.importing.runs import NUMBERED, One, Run, depth, flattened, repeated, with_gaps, with_runs
from netdsl.importing.statements import Expression, Statement, braces
from netdsl.importing.tables import SIZE, WIDE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from netdsl.importing.blocks import Slot
    from netdsl.importing.runs import Token
    from netdsl.importing.tables import Tables

    Segments = list[tuple[list[Statement], int]]

COUNTED = re.compile(r"(.*)#(\d+)", re.ASCII)
"""Labels while they are merged: `#` is before a number that counts the rows of a loop."""

ROLES = {**SIZES, "sizes": SIZE, "start": WIDE, "stop": WIDE}
"""What arguments are for, unless that is their name."""

MAX_VARIABLES = 4
"""Maximum number of variables of a `for` over rows of numbers."""


class Mismatch(Exception):
    """Nets that differ by more than numbers: where, after which statement, and what each of them has there. `blocks`
    are those that only some of them call, or call there."""

    def __init__(
        self,
        where: Sequence[str],
        there: Sequence[Statement | None],
        before: Sequence[Statement] = (),
        blocks: Collection[str] = (),
    ) -> None:
        self.where = ".".join(each for each in where if each not in ("", "_"))
        self.texts = ["" if each is None else _shown(each) for each in there]
        super().__init__(*self.texts)
        self.renamed = len({each.label for each in there if each is not None}) > 1
        self.before = _shown(before[0]) if before else ""
        self.blocks = blocks


def _shown(statement: Statement) -> str:
    """Return the text of a statement, without the braces around a merge that has no name."""
    return braces(body_of(statement))[2:-2] if statement.label == "_" and statement.lists() else statement.text


class Merger:
    """Merges statements of several nets; `tables` has the texts of the numbers in which they differ.

    `uneven` are the keys of runs of which the nets have different numbers of rows; others of these keys are loops over
    numbers in the tables too. `counts` are the rows of the last one, where it is, and what it is called.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.uneven: set[tuple[object, ...]] = set()
        self.path: list[str] = []
        self.within = 0
        self.counts: tuple[list[str], str, tuple[int, ...]] = [], "", ()

    def whole(self, bodies: Sequence[Sequence[Statement]]) -> list[Statement]:
        """Return the statements of several nets as one. Raises Mismatch."""
        known = -1
        while known != len(self.uneven):
            known = len(self.uneven)
            self.tables.restart()
            found = self.merged(bodies)
        return found

    def merged(self, bodies: Sequence[Sequence[Statement]], row: object = None) -> list[Statement]:
        """Return statements of several nets within the whole; those of a `row` are in the run with that key."""
        lists: list[list[Token]] = [[One(each) for each in body] for body in bodies]
        for key in sorted(self.uneven - {row}, key=depth):
            lists = [with_runs(each, len(key) - 1, [key[1:]]) for each in lists]
        return self._tokens(self._aligned(lists))

    def _tokens(self, lists: Sequence[Sequence[Token]]) -> list[Statement]:
        return [each for column in zip(*lists, strict=True) for each in self._token(column)]

    def _token(self, column: Sequence[Token]) -> list[Statement]:
        ones = [each.statement for each in column if isinstance(each, One)]
        if ones:
            return [self._statement(ones)]
        runs = [each for each in column if isinstance(each, Run)]
        if len({len(each.rows) for each in runs}) > 1:
            self.uneven.add(runs[0].key)
        if runs[0].key not in self.uneven:
            return [each for rows in zip(*(run.rows for run in runs), strict=True) for each in self._tokens(rows)]
        counts = next((each.counts for each in runs if each.counts is not None), ())
        nets = [[_marked(flattened(row), iter(counts), at) for at, row in enumerate(each.rows)] for each in runs]
        return self._run(nets, runs[0].key)

    # --- alignment ---

    def _aligned(self, lists: list[list[Token]]) -> list[list[Token]]:
        """Return statements of equal form, with what is repeated in runs where the nets need that."""
        given = lists
        while len({tuple(token.key for token in each) for each in lists}) > 1:
            for period in range(1, MAX_PERIOD + 1):
                if patterns := {found for each in lists for found in repeated(each, period)}:
                    lists = [with_runs(each, period, patterns) for each in lists]
                    break
            else:
                filled = with_gaps(lists)
                if filled is None:
                    return self._in_pairs(given, lists)
                lists = filled
        return lists

    def _in_pairs(self, given: list[list[Token]], lists: list[list[Token]]) -> list[list[Token]]:
        """Return the `given` statements, if only what is in their braces has another form. Raises Mismatch for the
        first difference in `lists`, which are these statements with what is repeated in runs."""
        whole = [flattened(each) for each in given]
        forms = [[_form(each) for each in body] for body in whole]
        if all(each == forms[0] for each in forms):
            return given
        at, shortest = 0, min(map(len, lists))
        while at < shortest and len({each[at].key for each in lists}) == 1:
            at += 1
        there = [each[at].statements()[0] if at < len(each) else None for each in lists]
        known = [each for each in there if each is not None]
        if len(known) == len(there) and len({*map(_form, known)}) == 1:
            self._statement(known)  # raises Mismatch for a difference within
        called = [{each.block.name for each in body if each.block is not None} for body in whole]
        blocks = {each.block.name for each in known if each.block is not None}
        blocks |= {name for own in called for name in own if any(name not in other for other in called)}
        raise Mismatch(self.path, there, lists[0][at - 1].statements()[-1:] if at else (), blocks)

    def _mismatch(self, statements: Sequence[Statement]) -> None:
        """Raise Mismatch for the same place in several nets."""
        raise Mismatch(self.path, statements)

    # --- statements ---

    def _statement(self, members: Sequence[Statement]) -> Statement:
        """Return statements of several nets as one."""
        first = members[0]
        if len({_form(each) for each in members}) > 1:
            self._mismatch(members)
        self.path.append(first.label)
        lists = [self.merged(parts) for parts in zip(*(each.lists() for each in members), strict=True)]
        texts = self._arguments(members)
        self.path.pop()
        label = first.label if first.number else self._label([each.label for each in members])
        new = first.mapped(iter(lists)).changed(label=label)
        if first.block is not None:
            return new.changed(given={**first.given, **texts})
        return new.changed(values={**first.values, **texts})

    def _label(self, labels: Sequence[str]) -> str:
        """Return the label of several nets; if it ends in different numbers, one of them is an expression."""
        stem = NUMBERED.fullmatch(labels[0])
        if stem is None:
            return labels[0]
        numbers = tuple(int(each[len(stem[1]) :]) for each in labels)
        where, name, counts = self.counts
        follows = name == stem[1] and where == self.path[: len(where)]
        if len({*labels}) == 1 and not (follows and numbers == tuple(count + 1 for count in counts)):
            return labels[0]
        return f"{stem[1]}{{{self.tables.label(numbers)}}}"

    def _arguments(self, members: Sequence[Statement]) -> dict[str, Expression]:
        """Return the arguments that differ as expressions."""
        block = members[0].block
        found = {}
        for at, column in enumerate(zip(*map(slots, members), strict=True)):
            name = column[0].name if block is None else block.parameters[at].name
            if not isinstance(column[0].kind, LABELS) and len({(type(each.value), each.value) for each in column}) > 1:
                found[name] = Expression(self._number(column, members))
        return found

    def _number(self, column: Sequence[Slot], members: Sequence[Statement]) -> str:
        """Return the text of an argument that differs."""
        slot, values = column[0], tuple(each.value for each in column)
        if not all(map(_is_number, values)):
            self._mismatch(members)
        role = _role(slot)
        if role == WIDE and not self.within and (part := _part([each.wide for each in column], values)):
            return part
        tuples = [each for each in values if isinstance(each, tuple)]
        by_axis = isinstance(slot.kind, (Sizes, Dims)) and not isinstance(slot.kind, (Padding, Sides))
        if len({*map(len, tuples)}) != 1 or len(tuples) < len(values) or not by_axis:
            return self.tables.text(role, values)
        axes = [*zip(*tuples, strict=True)]
        if isinstance(slot.kind, Sizes) and axes.count(axes[0]) == len(axes):
            return self.tables.text(role, axes[0])
        texts = [written(axis[0]) if len({*axis}) == 1 else self.tables.text(role, axis) for axis in axes]
        return f"[{', '.join(texts)}]"

    # --- runs of unequal length ---

    def _run(self, nets: Sequence[list[list[Statement]]], key: object) -> list[Statement]:
        """Return rows of statements, of which the nets have different numbers, as loops."""
        segments = [[(row[0], len(row)) for _, same in groupby(rows, braces) if (row := [*same])] for rows in nets]
        if len({len(each) for each in segments if each}) > 1:
            segments = [_filled(each, max(segments, key=len)) for each in segments]
        longest = max(segments, key=len)
        segments = [each or [(row, 0) for row, _ in longest] for each in segments]
        if min(map(len, segments)) < len(longest):
            return [self._rows(nets)]
        found: list[Statement] = []
        at: int | None = 0  # the number of the next row, if it is the same in all
        first: object = None  # the widths of a single row before, which is the first of a stage
        for column in zip(*segments, strict=True):
            counts = tuple(count for _, count in column)
            given = next(row for row, count in column if count)
            self.within += 1  # the first row may have other channels before it
            body = self.merged([row if count else given for row, count in column], key)
            self.within -= 1
            if at is None and any(COUNTED.fullmatch(each.label) for each in walk(body)):
                self._mismatch([body[0]] * len(nets))
            total = first is not None and first == _widths(given)
            if len({*counts}) == 1 and counts[0] < 2 and not total:
                found += [each for n in range(counts[0]) for each in _counted(body, (at or 0) + n)]
                first, at = _widths(given), None if at is None else at + counts[0]
                continue
            name = given[0].block.name if given[0].block is not None else given[0].label.split("#")[0]
            self.counts = [*self.path], name, counts
            found.append(_loop(self.tables.count(counts, total), body, at or 0))
            first, at = None, None
        return found

    def _rows(self, nets: Sequence[list[list[Statement]]]) -> Statement:
        """Return a loop over the numbers of rows that the nets have different ones of."""
        rows = [row for net in nets for row in net]
        if len({(skeleton(row), projects(row)) for row in rows}) > 1:
            self._mismatch([net[0][0] for net in nets if net])
        block, given = unified(rows, [{}] * len(rows))
        names = [each.name for each in block.parameters]
        numbers = [tuple(each[name] for name in names) for each in given]
        if len(names) > MAX_VARIABLES or not all(map(_is_number, numbers)):
            self._mismatch([net[0][0] for net in nets])
        if any(COUNTED.fullmatch(each.label) for each in walk(rows[0])):
            names = ["i", *names]
            numbers = [
                (at, *row) for at, row in zip((at for net in nets for at in range(len(net))), numbers, strict=True)
            ]
        values = iter(numbers if len(names) > 1 else [value for (value,) in numbers])
        self.tables.avoid.update(names)
        role = f"{names[0]}s" if len(names) == 1 else "stages"
        text = self.tables.text(role, tuple(tuple(islice(values, len(net))) for net in nets))
        inner = _counted(block.body, 0, loop=True)
        return Statement(f"for {', '.join(names)} in {text}", operands=[inner], wide=rows[0][0].wide)


def _form(statement: Statement) -> object:
    """Return what must be equal in statements without what is in their braces."""
    numbered = NUMBERED.fullmatch(statement.label)
    label = "" if statement.number else f"{numbered[1]}#" if numbered else statement.label
    labels = tuple((statement.values if statement.layer is not None else label_arguments(statement)).items())
    operands = tuple(o if isinstance(o, str) else None for o in statement.operands)
    name = statement.head if statement.block is None else statement.block.name
    return label, statement.number, name, labels, operands, statement.project is None


def _role(slot: Slot) -> str:
    return ROLES.get(slot.name, slot.name)


def _widths(row: Sequence[Statement]) -> list[object]:
    """Return the numbers of channels in a row, which are equal in the blocks of a stage."""
    return [slot.value for each in walk(row) for slot in slots(each) if _role(slot) == WIDE]


def _part(wide: Sequence[int], values: Sequence[object]) -> str:
    """Return numbers of channels as a part of those before them, or nothing."""
    first = values[0]
    k = wide[0] // first if isinstance(first, int) and first > 0 else 0
    parts = k > 1 and all(
        isinstance(each, int) and each * k == before for each, before in zip(values, wide, strict=True)
    )
    return f"channels//{k}" if parts else ""


def _is_number(value: object) -> bool:
    return all(map(_is_number, value)) if isinstance(value, tuple) else isinstance(value, (int, float))


def _filled(segments: Segments, longest: Segments) -> Segments:
    """Return segments with those of a longer list that are missing among them, none of each, if that is all that is
    missing, and each has one before it that counts too."""
    found: Segments = []
    rest = [*segments]
    for at, (row, _) in enumerate(longest):
        if rest and braces(rest[0][0]) == braces(row):
            found.append(rest.pop(0))
        elif at and longest[at - 1][1] == 1:
            found.append((row, 0))
    return segments if rest or len(found) < len(longest) else found


# --- labels that count ---


def _marked(body: Sequence[Statement], counts: Iterator[bool], at: int) -> list[Statement]:
    """Return a row with `#` in the labels that count, and the numbers that they have in the first row."""
    found = []
    for each in body:
        label = each.label
        if label and not each.number and next(counts, False):
            stem, number = NUMBERED.fullmatch(label).groups()  # type: ignore[union-attr]
            label = f"{stem}#{int(number) - at}"
        inner = [_marked(part, counts, at) for part in each.lists()]
        found.append(each.mapped(iter(inner)).changed(label=label))
    return found


def _counted(body: Sequence[Statement], at: int, loop: bool = False) -> list[Statement]:
    """Return a row with numbers in the labels that count, as the row of this number or, in a `loop`, from there on."""
    found = []
    for each in body:
        label = each.label
        if counted := COUNTED.fullmatch(label):
            number = int(counted[2]) + at
            label = counted[1] + (f"{number}" if not loop else f"{{i+{number}}}" if number else "{i}")
        found.append(each.mapped(iter([_counted(part, at, loop) for part in each.lists()])).changed(label=label))
    return found


def _loop(count: str, body: Sequence[Statement], at: int) -> Statement:
    """Return a loop over rows, of which the first has this number."""
    counted = any(COUNTED.fullmatch(each.label) for each in walk(body))
    head = f"for i in range({count})" if counted else f"repeat {count}"
    return Statement(head, operands=[_counted(body, at, loop=True)], wide=body[0].wide)
