"""Ranks: each item below everything it reads, and in each rank an order with few crossing edges.

Source: Sugiyama, Tagawa, Toda (1981), "Methods for visual understanding of hierarchical system structures".
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

from netdsl.report.drawing.items import Box, Dummy, Port, Stack

if TYPE_CHECKING:
    from netdsl.ir.net import Node
    from netdsl.report.drawing.items import Content, Item

SWEEPS = 6
MAX_ITEMS_ORDERED = 3_000
"""Maximum size of a rank that is reordered."""
DETOURS = ("add", "sub", "mul", "div", "max", "min")
"""Merges whose shorter branches are drawn at the side."""


class Link:
    """An edge between adjacent ranks: a part of the way of `value` to `lower` or further down."""

    __slots__ = ("lower", "upper", "value")

    def __init__(self, upper: Item, lower: Item, value: Node) -> None:
        self.upper = upper
        self.lower = lower
        self.value = value

    @property
    def start(self) -> float:
        return self.upper.exit(self.value)

    @property
    def end(self) -> float:
        return self.lower.entry(self.value)


class Ranked:
    """The items of a content by rank, including dummies, with the links above and below each."""

    __slots__ = ("above", "below", "links", "ranks")

    def __init__(self, content: Content) -> None:
        self.links: list[Link] = []
        self.above: dict[Item, list[Link]] = {}
        self.below: dict[Item, list[Link]] = {}
        makers = {value: item for item in content.items for value in item.outputs}
        _rank(content, makers)
        count = 1 + max(item.rank for item in content.items)
        self.ranks: list[list[Item]] = [[] for _ in range(count)]
        for item in content.items:
            self.above[item], self.below[item] = [], []
        _mark(content, makers)
        dummies = self._link(content, makers)
        self._order(content.items + dummies)
        self._untangle()

    def _link(self, content: Content, makers: dict[Node, Item]) -> list[Item]:
        users: dict[Node, list[Item]] = {}
        for item in content.items:
            for value in item.inputs:
                users.setdefault(value, []).append(item)
        made: list[Item] = []
        for value, readers in users.items():
            at = makers[value]
            aside = at.side or len(readers) > 1
            last = max(item.rank for item in readers)
            for rank in range(makers[value].rank + 1, last + 1):
                for item in readers:
                    if item.rank == rank:
                        self._add(Link(at, item, value))
                if rank < last:
                    dummy = Dummy(value, rank)
                    dummy.side = aside
                    self.above[dummy], self.below[dummy] = [], []
                    made.append(dummy)
                    self._add(Link(at, dummy, value))
                    at = dummy
        return made

    def _add(self, link: Link) -> None:
        self.links.append(link)
        self.below[link.upper].append(link)
        self.above[link.lower].append(link)

    def _order(self, items: list[Item]) -> None:
        """Order branches as they are written, with detours to their right."""
        source = {item: at for at, item in enumerate(items)}
        for links in self.below.values():
            links.sort(key=lambda link: (link.lower.dashed, isinstance(link.lower, Dummy), source[link.lower]))
        seen: set[Item] = set()
        for item in items:
            todo = [] if self.above[item] else [item]
            while todo:
                item = todo.pop()
                if item not in seen:
                    seen.add(item)
                    self.ranks[item.rank].append(item)
                    todo += [link.lower for link in reversed(self.below[item])]

    def _untangle(self) -> None:
        if all(len(rank) < 3 for rank in self.ranks) or sum(map(len, self.ranks)) > MAX_ITEMS_ORDERED:
            return
        best, fewest = [list(rank) for rank in self.ranks], self._crossings()
        for sweep in range(SWEEPS):
            if not fewest:
                break
            down = sweep % 2 == 0
            for rank in self.ranks if down else reversed(self.ranks):
                self._sort(rank, self.above if down else self.below)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(rank) for rank in self.ranks], crossings
        self.ranks = best

    def _sort(self, rank: list[Item], links: dict[Item, list[Link]]) -> None:
        """Sort by the mean position of the neighbors in the previous rank."""
        places: dict[Item, float] = {}
        other = {end for item in rank for link in links[item] for end in (link.upper, link.lower)} - {*rank}
        order = {item: at for each in {end.rank for end in other} for at, item in enumerate(self.ranks[each])}
        for at, item in enumerate(rank):
            near = [order[link.lower if link.upper is item else link.upper] for link in links[item]]
            places[item] = sum(near) / len(near) if near else at
        rank.sort(key=places.__getitem__)

    def _crossings(self) -> int:
        places = {item: at for rank in self.ranks for at, item in enumerate(rank)}
        found = 0
        for rank in self.ranks:
            ends: list[int] = []
            for item in rank:
                lower = sorted(places[link.lower] for link in self.below[item])
                found += sum(len(ends) - bisect_right(ends, end) for end in lower)
                for end in lower:
                    insort(ends, end)
        return found


def _rank(content: Content, makers: dict[Node, Item]) -> None:
    """Assign ranks as high as possible, except for the net's inputs, which are as low as possible; all exits of a box
    are in the last rank."""
    for item in content.items:
        item.rank = max((makers[value].rank + 1 for value in item.inputs), default=0)
    last = max((item.rank for item in content.exits.values()), default=0)
    for port in content.exits.values():
        port.rank = last
    first: dict[Item, int] = {}
    for item in content.items:
        for value in item.inputs:
            maker = makers[value]
            first[maker] = min(first.get(maker, item.rank), item.rank)
    for item, rank in first.items():
        if not item.inputs and not isinstance(item, Port):
            item.rank = rank - 1


def _mark(content: Content, makers: dict[Node, Item]) -> None:
    """Distinguish detours from the main line: branches of a sum that are shorter than its longest, and training
    heads."""
    below: dict[Item, list[Item]] = {item: [] for item in content.items}
    for item in content.items:
        for value in item.inputs:
            below[makers[value]].append(item)
    beside = not all(item.dashed or isinstance(item, Port) for item in content.items)
    for item in content.items:
        item.side = item.dashed and beside
    for item in content.items:
        if not (isinstance(item, Stack) and item.plates[0].kind in DETOURS and len(item.inputs) > 1):
            continue
        ends = [makers[value] for value in item.inputs]
        longest = max(end.rank for end in ends)
        for end in ends:
            if end.rank < longest:
                _aside(end, below, makers)


def _aside(end: Item, below: dict[Item, list[Item]], makers: dict[Node, Item]) -> None:
    """Mark a branch, from its end to the fork."""
    while len(below[end]) == 1 and isinstance(end, (Stack, Box)):
        end.side = True
        if len(end.inputs) != 1:
            return
        end = makers[end.inputs[0]]
