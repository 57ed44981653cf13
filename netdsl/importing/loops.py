"""Unify statements that differ in numbers alone as the body of a `for`, in which these follow from the iteration."""

from __future__ import annotations

import re
from itertools import count, pairwise
from typing import TYPE_CHECKING

from netdsl.importing.blocks import LABELS, SIZES, Slot, multiple, slots, walk
from netdsl.importing.notation import written
from netdsl.importing.statements import Expression, Statement
from netdsl.layers.bounds import SliceLayer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

VARIABLES = "ijklmn"
"""Names of numbers of iterations, from the outermost of nested loops on or from the innermost."""

MAX_LISTS = 3
"""Maximum number of lists of values that a loop reads."""

LEAST_PERIOD = 3
"""Minimum length of a series that a loop repeats."""


class Apart(Exception):
    """Statements that are no iterations of one loop."""


def loop(bodies: Sequence[Sequence[Statement]], avoid: Collection[str], lists: bool) -> Statement | None:
    """Return a loop whose iterations are these bodies, if there is one. With `lists`, it may read values of arguments
    from lists; names to `avoid` are those of other things."""
    found = []
    for start in _starts(bodies):
        made = _Loop(bodies, avoid, lists, start)
        try:
            body = made.body(bodies, True)
        except Apart:
            return None
        found.append(Statement(made.head, operands=[body], wide=bodies[0][0].wide))
    return min(found, key=lambda each: (len(re.findall(r"[-+*/]", each.text)), len(each.text)))


class _Loop:
    """A loop, with the lists of values that it reads by the names of its variables."""

    def __init__(self, bodies: Sequence[Sequence[Statement]], avoid: Collection[str], lists: bool, start: int) -> None:
        self.times = len(bodies)
        self.avoid = {*avoid, *(name for each in walk(bodies[0]) for name in _variables(each.head))}
        self.variable = next(name for name in (*VARIABLES, "iteration") if name not in self.avoid)
        self.start = start
        self.lists: dict[str, Sequence[object]] | None = {} if lists else None
        self.numbered = False

    @property
    def head(self) -> str:
        """The statement before the braces."""
        first, end = self.start, self.start + self.times
        if not self.lists:
            return f"for {self.variable} in range({f'{first}, ' if first else ''}{end})"
        names, columns = [*self.lists], [*self.lists.values()]
        if self.numbered and len(names) == 1 and not first:
            return f"for {self.variable}, {names[0]} in enumerate({written(columns[0])})"
        if self.numbered:
            names, columns = [self.variable, *names], [range(first, end), *columns]
        if len(names) == 1:
            return f"for {names[0]} in {written(tuple(columns[0]))}"
        rows = (f"[{', '.join(written(value).strip('()') for value in row)}]" for row in zip(*columns, strict=True))
        return f"for {', '.join(names)} in [{', '.join(rows)}]"

    def body(self, bodies: Sequence[Sequence[Statement]], open_scope: bool) -> list[Statement]:
        """Return one body for all iterations. In an open scope, labels must differ. Raises Apart."""
        if len({*map(len, bodies)}) > 1:
            raise Apart
        return [self.statement(members, open_scope) for members in zip(*bodies, strict=True)]

    def statement(self, members: Sequence[Statement], open_scope: bool) -> Statement:
        first = members[0]
        if any(frame(each) != frame(first) for each in members) or first.head.startswith(("input ", "output ")):
            raise Apart
        named = bool(first.label) and not first.number
        label = self.word([each.label for each in members]) if named else first.label
        if named and open_scope and label == first.label:
            raise Apart
        inner = open_scope and not named
        operands = tuple(
            self.operand([each.operands[at] for each in members], inner) for at in range(len(first.operands))
        )
        project = None if first.project is None else self.body([each.project or [] for each in members], False)
        plain = first.head.startswith(("repeat ", "for "))
        heads = [each.head for each in members]
        new = first.changed(
            label=label, head=self.code(heads) if plain else self.word(heads), operands=operands, project=project
        )
        return self.arguments(new, members)

    def operand(self, members: Sequence[object], open_scope: bool) -> object:
        if all(isinstance(each, Statement) for each in members):
            return self.statement(members, open_scope)  # type: ignore[arg-type]
        if all(isinstance(each, str) for each in members):
            return self.word(members)  # type: ignore[arg-type]
        if any(isinstance(each, (str, Statement)) for each in members):
            raise Apart
        return self.body(members, open_scope)  # type: ignore[arg-type]

    def arguments(self, new: Statement, members: Sequence[Statement]) -> Statement:
        """Return a call with the arguments of all iterations."""
        values, given = dict(new.values), dict(new.given)
        references = {
            name
            for name, argument in (new.layer.arguments.items() if new.layer is not None else ())
            if isinstance(argument.kind, LABELS)
        }
        for name in values:
            texts = [each.values[name] for each in members]
            values[name] = self.word(texts) if name in references else self.code(texts)
        names = list(new.given) if new.block is not None else []
        for at, column in enumerate(zip(*map(slots, members), strict=True)):
            if new.block is None and column[0].name in values:
                continue
            if column[0].name == "stop" and isinstance(new.layer, SliceLayer) and new.layer.axis == 0:
                column = tuple(each._replace(value=each.wide) if each.value is None else each for each in column)
            if (text := self.argument(column)) is not None:
                if new.block is None:
                    values[column[0].name] = text
                else:
                    given[names[at]] = Expression(text)
        return new.changed(values=values, given=given)

    def argument(self, column: Sequence[Slot]) -> str | None:
        """Return the text of an argument, None if it is the same in all iterations."""
        values = [each.value for each in column]
        if all(_same(value, values[0]) for value in values):
            return None
        if isinstance(column[0].kind, LABELS):
            return self.word([str(value) for value in values])
        if all(isinstance(value, Expression) for value in values):
            return self.code(values)  # type: ignore[arg-type]
        if all(isinstance(value, tuple) for value in values):
            if len({len(value) for value in values}) > 1:  # type: ignore[arg-type]
                raise Apart
            return f"[{', '.join(self.number(each, column[0]) for each in zip(*values, strict=True))}]"
        wide = [each.wide for each in column]
        if not closed(values, self.variable, self.start) and (
            text := multiple("channels", values, wide, column[0].name)
        ):
            return text
        return self.number(values, column[0])

    def word(self, texts: Sequence[str]) -> str:
        """Return labels or paths that differ in numbers as one that interpolates. Raises Apart."""
        return self.joined(texts, r"(\d+)", True)

    def code(self, texts: Sequence[str]) -> str:
        """Return expressions that differ in integers as one. Raises Apart."""
        return self.joined(texts, r"(?<![\w.])(\d+)(?![\w.])", False)

    def joined(self, texts: Sequence[str], number: str, interpolates: bool) -> str:
        if len({*texts}) == 1:
            return texts[0]
        parts = [re.split(number, text) for text in texts]
        if len({*map(len, parts)}) > 1 or any(part[::2] != parts[0][::2] for part in parts):
            raise Apart
        found = ""
        for at, column in enumerate(zip(*parts, strict=True)):
            if len({*column}) == 1:
                found += column[0]
                continue
            if any(text != str(int(text)) for text in column):
                raise Apart
            numbers = [int(text) for text in column]
            if interpolates and len({b - a for a, b in pairwise(numbers)}) > 1:
                raise Apart  # a label that counts in another way would be a riddle
            text = self.number(numbers, None)
            inside = found.count("{") > found.count("}")
            if interpolates and not inside:
                found += f"{{{text}}}"
            else:
                found += (
                    text
                    if text.isidentifier() or not (found[-1:] + parts[0][at + 1][:1]).strip("(), []")
                    else f"({text})"
                )
        return found

    def number(self, column: Sequence[object], slot: Slot | None) -> str:
        """Return numbers in terms of the iteration, or of a list. Raises Apart."""
        if all(_same(value, column[0]) for value in column):
            return written(column[0])
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in column):
            raise Apart
        if text := closed(column, self.variable, self.start):
            self.numbered = True
            return text
        if self.lists is None or slot is None:
            raise Apart
        for name, other in self.lists.items():
            if text := multiple(name, column, other, slot.name):
                return text
        if len(self.lists) == MAX_LISTS:
            raise Apart
        stem = SIZES.get(slot.name, slot.name)
        taken = self.avoid | {*self.lists}
        name = next(n for n in (f"{stem}{at if at > 1 else ''}" for at in count(1)) if n not in taken)
        self.lists[name] = column
        return name


def closed(column: Sequence[object], variable: str, start: int) -> str:
    """Return numbers as an expression of the number of the iteration, which counts from `start`, or nothing."""
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) for value in column):
        return ""
    numbers = [int(value) for value in column]  # type: ignore[call-overload]
    if text := _series(numbers, variable, start):
        return text
    for period in range(LEAST_PERIOD, len(numbers) // 2 + 1):
        if all(value == numbers[at % period] for at, value in enumerate(numbers)):
            number = variable if not start else f"({variable}-{start})"
            return _series(numbers[:period], f"({number}%{period})", 0)
    return ""


def _series(numbers: Sequence[int], variable: str, start: int) -> str:
    """Return an arithmetic or geometric series as an expression, or nothing."""
    step = numbers[1] - numbers[0]
    first = numbers[0] - step * start
    if step and all(value == first + step * (start + at) for at, value in enumerate(numbers)):
        if step == -1:
            return f"{first}-{variable}"
        term = variable if step == 1 else f"{step}*{variable}"
        if step < 0:
            return f"{first}-{-step}*{variable}"
        if term.startswith("("):
            term = term[1:-1]
        return f"{term}{first:+d}" if first else term
    if len(numbers) < 3 or min(numbers) < 1:
        return ""
    low, high = sorted(numbers[:2])
    if high % low or high == low:
        return ""
    ratio, power = high // low, variable if not start else f"({variable}-{start})"
    if numbers[0] == low and all(value == low * ratio**at for at, value in enumerate(numbers)):
        whole = low % ratio**start == 0
        factor, power = (low // ratio**start, variable) if whole else (low, power)
        return f"{factor}*{ratio}**{power}" if factor > 1 else f"{ratio}**{power}"
    if numbers[0] == high and all(value * ratio**at == high for at, value in enumerate(numbers)):
        return f"{high * ratio**start}//{ratio}**{variable}"
    return ""


def _starts(bodies: Sequence[Sequence[Statement]]) -> Sequence[int]:
    """Return the numbers that a loop can count from: that of the first label that counts, or 0 and 1."""
    for first, second in zip(walk(bodies[0]), walk(bodies[1]), strict=False):
        pairs = zip(*(re.findall(r"\d+", each.label) for each in (first, second)), strict=False)
        for a, b in pairs:
            if not first.number and int(b) == int(a) + 1:
                return [int(a)]
    return 0, 1


def _variables(head: str) -> list[str]:
    """Return the variables of a loop."""
    match = re.match(r"for ([\w, ]+) in |repeat .* as (\w+)", head)
    return re.findall(r"\w+", match[1] or match[2]) if match else []


def _same(a: object, b: object) -> bool:
    return a == b and type(a) is type(b)


def frame(statement: Statement) -> tuple[object, ...]:
    """Return what is equal in statements that a loop can unify, without what is in their braces."""
    return (
        re.sub(r"\d+", "#", "" if statement.number else statement.label),
        statement.number,
        re.sub(r"\d+", "#", statement.head),
        statement.block,
        None if statement.layer is None else statement.layer.kind,
        tuple(statement.values),
        len(statement.operands),
        statement.project is None,
    )
