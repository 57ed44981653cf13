"""Groups of layers, and the merging of equal ones, so that they are drawn once."""

from __future__ import annotations

import re
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from netdsl.report.figures import LayerFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from netdsl.base.text import Frame
    from netdsl.ir.net import Net, Node

    Part: TypeAlias = "LayerFigures | Group"

LOOSE = 3
"""Minimum number of rounds with different shapes or rates that are drawn as one."""
BESIDE = 6
"""Minimum number of branches that are drawn as one."""
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")


class Group:
    """The layers of a block call or of a round; without a `frame`, those of the net.

    `rounds` are this group and the equal ones that follow or stand beside it, so that one drawing stands for `times`.
    Their shapes and numbers may differ. `mates` are these and, in a group drawn for several, its equals in the others;
    `beside` says that the rounds are branches into one layer.
    """

    __slots__ = ("beside", "frame", "mates", "parts", "rounds", "rows")

    def __init__(self, frame: Frame | None) -> None:
        self.frame = frame
        self.parts: list[Part] = []
        self.rows: list[LayerFigures] = []
        self.rounds: list[Group] = [self]
        self.mates: list[Group] = [self]
        self.beside = False

    @property
    def times(self) -> int:
        return len(self.rounds)

    @property
    def last(self) -> Group:
        return self.rounds[-1]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Group:
        """Return a group of parts without a frame of its own."""
        made = cls(None)
        made.parts = [*parts]
        made.rows = [row for part in parts for row in (part.rows if isinstance(part, Group) else [part])]
        return made

    @property
    def scopes(self) -> list[str]:
        """The scopes that the names of all its layers share."""
        words = self.rows[0].node.name.split(".")[:-1]
        for row in self.rows:
            own = row.node.name.split(".")[:-1]
            words = [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, own, strict=False))]
        return words

    @property
    def nested(self) -> list[Group]:
        """The group and all groups in it."""
        found = [self]
        for group in found:
            found += [part for part in group.parts if isinstance(part, Group)]
        return found

    @property
    def all_rows(self) -> list[LayerFigures]:
        return [row for each in self.rounds for row in each.rows]


class Folder:
    """Merges consecutive equal groups that each read what the previous one made, or that are branches into one layer.
    `merged` are the results of all branches but the last of each."""

    def __init__(self, net: Net, rows: list[LayerFigures], mates: dict[LayerFigures, list[LayerFigures]]) -> None:
        self.mates = mates
        self.at = {row.node: at for at, row in enumerate(rows)}
        self.calls: dict[Group, list[object]] = {}
        self.merged: set[Node] = set()
        self.uses: dict[Node, list[Node | None]] = {row.node: [] for row in rows}
        for row in rows:
            for x in row.node.inputs:
                self.uses[x].append(row.node)
        for output in net.outputs.values():
            self.uses[output.node].append(None)

    def fold(self, root: Group) -> None:
        for group in reversed(root.nested):
            group.parts = _in_runs(self._paired(group.parts), self._follows, self._joined)
            group.parts = _in_runs(group.parts, self._is_beside, self._branches)

    def _paired(self, parts: list[Part]) -> list[Part]:
        """Return the parts, with consecutive pairs of two unlike groups merged, such as windows and shifted windows."""
        found: list[Part] = []
        at = 0
        while at < len(parts):
            pairs: list[Part] = []
            keys = first = self._keys(parts[at : at + 2])
            while len(keys) == 2 and keys == first and keys[0] != keys[1]:
                start = at + 2 * len(pairs)
                pairs.append(Group.of([part for part in parts[start : start + 2] if isinstance(part, Group)]))
                keys = self._keys(parts[start + 2 : start + 4])
            if len(pairs) > 1:
                found += _in_runs(pairs, self._follows, self._joined)
                at += 2 * len(pairs)
            else:
                found.append(parts[at])
                at += 1
        return found

    def _keys(self, parts: list[Part]) -> list[object]:
        return [(self._content(part), self._figures(part)) for part in parts if isinstance(part, Group)]

    def _joined(self, run: list[Group]) -> Iterator[Group]:
        """Merge rounds with the same calls and figures, and at least three consecutive ones that all differ."""
        parts = [[*same] for _, same in groupby(run, lambda group: (self._calls(group), self._figures(group)))]
        for alone, several in groupby(parts, lambda part: len(part) == 1):
            found = [*several]
            if alone:
                found = self._loosely([group for (group,) in found])
            yield from map(self._merged, found)

    def _loosely(self, alone: list[Group]) -> list[list[Group]]:
        """Split rounds that all differ: only in their shapes, or only in steadily rising or falling numbers."""
        parts = [[*same] for _, same in groupby(alone, self._calls)]
        if max(map(len, parts)) < LOOSE:
            parts = [[*same] for _, same in groupby(alone, self._figures)]
        merged = [len(part) >= LOOSE and all(map(steady, zip(*map(self._calls, part), strict=True))) for part in parts]
        return [
            each for part, one in zip(parts, merged, strict=True) for each in ([part] if one else [[x] for x in part])
        ]

    def _branches(self, run: list[Group]) -> list[Group]:
        if len(run) < BESIDE:
            return run
        self.merged.update(x for group in run[:-1] for x in self._results(group))
        run[0].beside = True
        return [self._merged(run)]

    def _merged(self, rounds: list[Group]) -> Group:
        first, *others = rounds
        first.rounds += others
        for row, *mates in zip(*(each.rows for each in first.rounds), strict=True):
            self.mates[row] += [mate for other in mates for mate in self.mates[other]]
        nested = [each.nested for each in first.rounds]
        if len({*map(len, nested)}) == 1:
            for group, *equals in zip(*nested, strict=True):
                group.mates += [mate for other in equals for mate in other.mates]
        return first

    @staticmethod
    def _calls(group: Group) -> list[str]:
        return [row.call for row in group.rows]

    @staticmethod
    def _figures(group: Group) -> list[object]:
        return [(row.node.shape, row.params, row.macs) for row in group.rows]

    def _is_beside(self, run: list[Group], part: Group) -> bool:
        """Return whether a group is a branch as those of the run are: of the same values, into the same merge."""
        before = run[-1]
        if before.times > 1 or part.times > 1 or self._content(before) != self._content(part):
            return False
        starts = [self.at[group.rows[0].node] for group in (before, part)]
        if self._outside(before, starts[0]) != self._outside(part, starts[1]):
            return False
        users = [[use for x in self._results(group) for use in self.uses[x]] for group in (before, part)]
        (user, *more), others = users[0] or [None], users[1]
        return user is not None and not more and others == [user] and user.layer.variadic

    def _results(self, group: Group) -> list[Node]:
        """Return the values of a group that others read."""
        own = {row.node for row in group.rows}
        return [x for x in own if any(use not in own for use in self.uses[x])]

    def _follows(self, run: list[Group], part: Group) -> bool:
        """Return whether a group does what the groups of the run do, with the output of the last of them."""
        before = run[-1]
        if self._content(before) != self._content(part):
            return False
        start, begin = self.at[before.rows[0].node], self.at[part.rows[0].node]
        size = len(part.rows)
        if begin != start + size or not self._handed_on(before, begin, begin + size):
            return False
        reads = self._outside(part, begin)
        if not any(start <= x < begin for x in reads):
            return False
        if len(run) == 1:  # the first one reads from elsewhere what the others read from those before them
            return len(set(reads)) == len(set(self._outside(before, start)))
        shifted = [x - size if x >= start else x for x in reads]
        return shifted == self._outside(before, start)

    def _handed_on(self, group: Group, begin: int, end: int) -> bool:
        """Return whether the output of a group is read only in it and in the next one, and there as one value."""
        inside = begin - len(group.rows)
        users = [(row.node, use) for row in group.rows for use in self.uses[row.node]]
        later = {node for node, use in users if use is None or self.at[use] >= begin}
        return len(later) == 1 and all(use is not None and inside <= self.at[use] < end for _, use in users)

    def _outside(self, group: Group, start: int) -> list[int]:
        return [self.at[x] for row in group.rows for x in row.node.inputs if self.at[x] < start]

    def _content(self, group: Group) -> list[object]:
        """Return what makes two groups equal: the same layers, except for their shapes, connected in the same way."""
        found = self.calls.get(group)
        if found is None:
            start = self.at[group.rows[0].node]
            name = group.frame.name if group.frame else ""
            found = self.calls[group] = [
                (
                    name,
                    NUMBER.sub("", row.call),
                    row.line,
                    bool(row.params),
                    [max(self.at[x] - start, -1) for x in row.node.inputs],
                )
                for row in group.rows
            ]
        return found


def _in_runs(
    parts: list[Part], goes_on: Callable[[list[Group], Group], bool], made: Callable[[list[Group]], Iterable[Group]]
) -> list[Part]:
    """Replace consecutive groups, each of which goes on after those before it."""
    found: list[Part] = []
    run: list[Group] = []
    for part in [*parts, None]:
        if run and isinstance(part, Group) and goes_on(run, part):
            run.append(part)
            continue
        found += made(run) if run else ()
        run = [part] if isinstance(part, Group) else []
        found += [part] if isinstance(part, LayerFigures) else []
    return found


def steady(texts: Sequence[str]) -> bool:
    """Return whether the numbers of texts that are otherwise equal only rise, or only fall."""
    numbers = [[float(found[0]) for found in NUMBER.finditer(text)] for text in texts]
    return all([*each] in (sorted(each), sorted(each, reverse=True)) for each in zip(*numbers, strict=True))


def ranged(texts: Sequence[str]) -> str:
    """Return texts that differ at most in their numbers as one, from the first number to the last if they rise or fall,
    or else from the least to the greatest: `drop_path 0…0.1`."""
    if len({*texts}) == 1 or len({NUMBER.sub("", text) for text in texts}) > 1:
        return texts[0]
    ends = zip(*([found[0] for found in NUMBER.finditer(text)] for text in texts), strict=True)
    words = [_ends(each) for each in ends]
    return NUMBER.sub(lambda _: words.pop(0), texts[0])


def _ends(numbers: Sequence[str]) -> str:
    first, last = numbers[0], numbers[-1]
    if not steady(numbers):
        first, last = min(numbers, key=float), max(numbers, key=float)
    return first if first == last else f"{first}…{last}"
