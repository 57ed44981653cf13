"""Write the numbers in which several nets differ: each as the parameter, or as an entry of a table that it selects."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from netdsl.importing.notation import WIDTH, written

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    Column = tuple[object, ...]
    """A value for each net."""
    Key = tuple[object, ...]

COUNT, LABEL, WIDE, SIZE, CLASSES = "repeats", "label", "width", "size", "classes"
"""What a number is: how often something is repeated, the end of a label, a number of channels, the size of an input,
the number of channels of the result."""

SINGLE = {COUNT: "times"}
"""Names of single numbers, if they differ from what they are."""

PARAMETERS = {COUNT: "depth", WIDE: "width", SIZE: "size", CLASSES: "classes"}
"""Names of the parameter, if all numbers that differ are of one kind."""

USUAL = "variant"
"""Its name otherwise."""


class Tables:
    """The numbers in which nets differ, by what they are. They are collected first: texts have no names before `decide`
    chose them.

    `counts` are how often something is repeated, in the order of the text, each with whether the one before it counts
    too: so a stage has one number, even if its first block is another one. `labels` end in a number that differs; each
    has the number of counts before it. `parameter` is the name of the parameter, whose `values` select a net, and
    `lines` define the tables.
    """

    def __init__(self, values: Column, avoid: Collection[str]) -> None:
        self.values = values
        self.avoid = {*avoid}
        self.parameter = USUAL
        self.lines: list[str] = []
        self.texts: dict[Key, str] = {}
        self.decided = False
        self.restart()

    def restart(self) -> None:
        """Prepare for the numbers of the whole text, from its beginning."""
        self.at = 0
        if not self.decided:
            self.columns: dict[tuple[str, Column], None] = {}
            self.counts: list[Column] = []
            self.totals: list[bool] = []
            self.labels: list[tuple[Column, int]] = []

    def text(self, role: str, column: Column) -> str:
        """Return the text of a number."""
        self.columns[role, column] = None
        return self.texts.get((role, column), "_")

    def count(self, counts: Column, total: bool) -> str:
        """Return the text of how often something is repeated; `total` if the one before it counts too."""
        if not self.decided:
            self.counts.append(counts)
            self.totals.append(total)
        self.at += 1
        at = self.at - 1
        return self.texts.get((COUNT, at), "_") + ("-1" if self.totals[at] else "")

    def label(self, numbers: Column) -> str:
        """Return the text of the number of a label."""
        if not self.decided:
            self.labels.append((numbers, self.at))
        return self.texts.get((LABEL, numbers, self.at), "_")

    def decide(self, classes: Column = ()) -> None:
        """Choose the names. `classes` are the sizes of the nets' results."""
        roles: dict[str, dict[Key, Column]] = {}
        widths = [column for role, column in self.columns if role == WIDE]
        last = widths[-1] if widths and widths[-1] == classes else None
        for role, column in self.columns:
            roles.setdefault(CLASSES if (role, column) == (WIDE, last) else role, {})[role, column] = column
        for numbers, at in self.labels:
            if at and not self.totals[at - 1] and numbers == _more(self.counts[at - 1], 1):
                self.totals[at - 1] = True
        counts: dict[Key, Column] = {(COUNT, at): _more(each, self.totals[at]) for at, each in enumerate(self.counts)}
        same: dict[Key, tuple[Key, int]] = {}
        for numbers, at in self.labels:
            shown = counts.get((COUNT, at - 1), ())
            more = next((more for more in (0, -1, 1) if numbers == _more(shown, more)), None)
            if more is None:
                counts[LABEL, numbers, at] = numbers
            else:
                same[LABEL, numbers, at] = (COUNT, at - 1), more
        if counts:
            roles[COUNT] = counts
        numbers_only = all(isinstance(value, (int, float)) for value in self.values)
        direct = {key for keys in roles.values() for key, column in keys.items() if column == self.values}
        if not direct.issuperset(counts):  # equal by chance
            direct.difference_update(counts)
        sizes = [role for role in PARAMETERS if role in roles]
        rows = any(isinstance(number, tuple) for _, column in self.columns for number in column)
        counted = numbers_only and COUNT in roles and min(self.values) > 1  # type: ignore[type-var, operator]
        if numbers_only and not rows and len(sizes) == 1 and (direct or counted):
            self.parameter = PARAMETERS[sizes[0]]
        self.avoid.add(self.parameter)
        self.texts.update(dict.fromkeys(direct, self.parameter))
        for key, column in roles.get(WIDE, {}).items():
            if direct and (times := _factor(column, self.values)):
                self.texts[key] = self.parameter if times == 1 else f"{times}*{self.parameter}"
        for role, keys in roles.items():
            self._name(role, {key: column for key, column in keys.items() if key not in self.texts})
        self.texts.update(
            (key, f"{self.texts[other]}{more:+d}" if more else self.texts[other]) for key, (other, more) in same.items()
        )
        self.decided = True

    def _name(self, role: str, keys: Mapping[Key, Column]) -> None:
        """Choose the texts of the numbers of a kind."""
        columns = [*keys.values()]
        wide = role == WIDE and all(isinstance(number, int) for column in columns for number in column)
        base = min(columns, default=(), key=lambda column: column[0]) if wide else ()  # type: ignore[arg-type, return-value]
        times = [_factor(column, base) for column in columns] if base else [None]
        if len(keys) == 1:
            self.texts.update(dict.fromkeys(keys, self._table(SINGLE.get(role, role), columns[0])))
        elif keys and all(times):
            name = self._table(role, base)
            self.texts.update((key, name if k == 1 else f"{k}*{name}") for key, k in zip(keys, times, strict=True))
        elif keys:
            name = self._table(role if role.endswith("s") else f"{role}s", tuple(zip(*columns, strict=True)))
            self.texts.update((key, f"{name}[{at}]") for at, key in enumerate(keys))

    def _table(self, stem: str, column: Column) -> str:
        """Define a table, and return its name."""
        name = next(each for each in (stem, *(f"{stem}_{at}" for at in range(2, 100))) if each not in self.avoid)
        self.avoid.add(name)
        arms = [f"{written(key)} => {entry(value)}" for key, value in zip(self.values, column, strict=True)]
        whole = f"  let {name} = match {self.parameter} {{ {'; '.join(arms)} }}"
        if len(whole) <= WIDTH:
            self.lines.append(whole)
            return name
        self.lines.append(f"  let {name} = match {self.parameter} {{")
        for arm in arms:
            indent = " " * (arm.index("=> ") + 8)
            self.lines += wrap(arm, WIDTH, initial_indent="    ", subsequent_indent=indent, break_on_hyphens=False)
        self.lines.append("  }")
        return name

    @property
    def differ(self) -> bool:
        """Whether the nets differ."""
        return bool(self.columns or self.counts or self.labels)

    def declared(self) -> str:
        """Return the parameter as the net declares it; nothing if the nets do not differ."""
        if not self.differ:
            return ""
        return f"({self.parameter} in {entry(self.values)} = {written(self.values[0])})"

    def alias(self, name: str, net: str, at: int) -> str:
        """Return the definition of an alias."""
        given = f"{self.parameter} = {written(self.values[at])}" if self.differ else ""
        return f"net {name} = {net}({given})"


def entry(value: object) -> str:
    """Return a value as an entry of a table, in which every number counts: lists are not written as products."""
    return f"[{', '.join(map(entry, value))}]" if isinstance(value, tuple) else written(value)


def _factor(column: Sequence[object], base: Sequence[object]) -> int | None:
    """Return what a column is a multiple of, None if it is none."""
    if not all(type(a) is type(b) is int and b for a, b in zip(column, base, strict=True)):
        return None
    first, unit = column[0], base[0]
    assert isinstance(first, int)
    assert isinstance(unit, int)
    k = first // unit
    return k if all(a == k * b for a, b in zip(column, base, strict=True)) else None  # type: ignore[operator]


def _more(column: Column, more: int) -> Column:
    """Return numbers that are larger by a constant."""
    return tuple(n + more for n in column if isinstance(n, int))
