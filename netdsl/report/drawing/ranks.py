"""Ranks: each item below everything it reads, and in each rank an order with few crossing edges.

Source: Sugiyama, Tagawa, Toda (1981), "Methods for visual understanding of hierarchical system structures".
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

from netdsl.report.drawing.items import Box, Dummy, Gate, Port, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    def minor(self) -> bool:
        """Whether it leads to a keyword, such as the mask of an attention."""
        return self.value in self.lower.keywords

    @property
    def start(self) -> float:
        return self.upper.exit(self.value)

    @property
    def end(self) -> float:
        return self.lower.entry(self.value)

    @property
    def leave(self) -> float:
        """Where it starts, as a share of the width of the upper item: from -1/2 to 1/2."""
        return self.start / self.upper.width

    @property
    def entry(self) -> float:
        return self.end / self.lower.width


class Ranked:
    """The items of a content by rank, including dummies, with the links above and below each."""

    __slots__ = ("above", "below", "links", "ranks")

    def __init__(self, content: Content) -> None:
        self.links: list[Link] = []
        self.above: dict[Item, list[Link]] = {}
        self.below: dict[Item, list[Link]] = {}
        makers = {value: item for item in content.items for value in item.outputs}
        late = _rank(content, makers)
        count = 1 + max(item.rank for item in content.items)
        self.ranks: list[list[Item]] = [[] for _ in range(count)]
        for item in content.items:
            self.above[item], self.below[item] = [], []
        _mark(content, makers, late)
        dummies = self._link(content, makers)
        self._order(content.items + dummies)
        self._untangle()
        for rank in self.ranks:
            rank.sort(key=_bank)
        self._arrange()

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

    def _arrange(self) -> None:
        """Put the slots of each layer in the order of the edges that lead to them."""
        for rank, above in zip(self.ranks[1:], self.ranks, strict=False):
            places = {item: at for at, item in enumerate(above)}
            for item in rank:
                order = sorted(self.above[item], key=lambda link: places[link.upper])
                if isinstance(item, Stack) and item.roles:
                    item.arrange([link.value for link in order])
                elif isinstance(item, Box) and not item.content:
                    aside = {link.value for link in order if link.upper.side or link.minor}
                    item.arrange([link.value for link in order], aside)

    def _sort(self, rank: list[Item], links: dict[Item, list[Link]]) -> None:
        """Sort by the mean position of the neighbors in the previous rank."""
        places: dict[Item, float] = {}
        other = {end for item in rank for link in links[item] for end in (link.upper, link.lower)} - {*rank}
        order = {item: at for each in {end.rank for end in other} for at, item in enumerate(self.ranks[each])}
        for at, item in enumerate(rank):
            near = [
                order[link.lower] + link.entry if link.upper is item else order[link.upper] + link.leave
                for link in links[item]
            ]
            places[item] = sum(near) / len(near) if near else at
        rank.sort(key=places.__getitem__)

    def _crossings(self) -> int:
        places = {item: at for rank in self.ranks for at, item in enumerate(rank)}
        found = 0
        for rank in self.ranks:
            ends: list[float] = []
            links = (link for item in rank for link in self.below[item])
            for _, end in sorted((places[x.upper] + x.leave, places[x.lower] + x.entry) for x in links):
                found += len(ends) - bisect_right(ends, end)
                insort(ends, end)
        return found


def _bank(item: Item) -> int:
    return (-1 if item.enters else 1) if isinstance(item, Gate) else 0


def _rank(content: Content, makers: dict[Node, Item]) -> set[Item]:
    """Assign ranks as high as possible, except for what only depends on constants or other inputs of the net, and for
    operands from elsewhere, which are as low as possible; all exits of a box are in the last rank. Return the items of
    operands from elsewhere."""
    for item in content.items:
        item.rank = max((makers[value].rank + 1 for value in item.inputs), default=0)
    last = max((item.rank for item in content.exits.values()), default=0)
    for port in content.exits.values():
        port.rank = last
    users = _users(content, makers)
    late = {item for chain in _from_elsewhere(content, makers, users) for item in chain}
    for item in reversed(content.items):
        slack = min((user.rank for user in users[item] if not isinstance(user, Gate)), default=0) - item.rank - 1
        if slack > 0 and not isinstance(item, Port):
            for each in (item,) if item in late else _origin(item, makers, users):
                each.rank += slack
                each.low = True
    for item in content.items:
        if isinstance(item, Gate) and not item.enters:
            item.rank = makers[item.value].rank + 1
    return late


def _users(content: Content, makers: dict[Node, Item]) -> dict[Item, list[Item]]:
    users: dict[Item, list[Item]] = {item: [] for item in content.items}
    for item in content.items:
        for value in item.inputs:
            users[makers[value]].append(item)
    return users


def _origin(item: Item, makers: dict[Node, Item], users: dict[Item, list[Item]]) -> set[Item]:
    """Return an item and all that it depends on, if nothing else does and no value comes from outside of the box."""
    found: set[Item] = set()
    todo = [item]
    waiting: dict[Item, int] = {}
    while todo:
        at = todo.pop()
        found.add(at)
        if isinstance(at, Port):
            return set()
        for value in at.inputs:
            maker = makers[value]
            left = waiting[maker] = waiting.get(maker, len(users[maker])) - 1
            if not left:
                todo.append(maker)
    return found if not any(waiting.values()) else set()


def _from_elsewhere(content: Content, makers: dict[Node, Item], users: dict[Item, list[Item]]) -> Iterator[list[Item]]:
    """Yield the branches of operands with roles that fork above the branch of another operand, as keys and values of a
    memory; from their ends to their forks."""
    for item in content.items:
        if isinstance(item, Stack) and len(item.roles) > 1:
            branches = [[*_branch(makers[value], makers, users)] for value in item.inputs]
            forks = zip(item.inputs, (fork.rank for *_, fork in branches), strict=True)
            lowest = max(rank for value, rank in forks if value not in item.keywords)
            yield from (branch for *branch, fork in branches if fork.rank < lowest)


def _branch(end: Item, makers: dict[Node, Item], users: dict[Item, list[Item]]) -> Iterator[Item]:
    """Yield the items of a branch upwards, and the fork or the item with several inputs where it begins."""
    yield end
    while len(users[end]) == 1 and isinstance(end, (Stack, Box)) and len(end.inputs) == 1:
        end = makers[end.inputs[0]]
        yield end


def _mark(content: Content, makers: dict[Node, Item], late: set[Item]) -> None:
    """Distinguish detours from the main line: branches of a sum that are shorter than its longest, operands from
    elsewhere, what depends on no input, and training heads."""
    below = _users(content, makers)
    beside = not all(item.dashed or isinstance(item, Port) for item in content.items)
    for item in content.items:
        item.side = (item.dashed and beside) or item.low or item in late
    for item in _constants(content, makers):
        item.side = True
    for item in content.items:
        if isinstance(item, Port) and below[item]:
            item.side = all(_is_minor(item.value, user, makers) for user in below[item])
    for item in content.items:
        if not (isinstance(item, Stack) and item.plates[0].kind in DETOURS and len(item.inputs) > 1):
            continue
        ends = [makers[value] for value in item.inputs]
        longest = max(end.rank for end in ends)
        for end in ends:
            if end.rank < longest:
                _aside(end, below, makers)


def _is_minor(value: Node, user: Item, makers: dict[Node, Item]) -> bool:
    """Return whether a value that enters the box is a detour for a reader, which has an operand of the main line."""
    others = [makers[x] for x in user.inputs if x is not value]
    return user.side or value in user.keywords or any(other.rank > 0 and not other.side for other in others)


def _constants(content: Content, makers: dict[Node, Item]) -> set[Item]:
    """Return the items that depend on no input, if others do."""
    found: set[Item] = set()
    for item in content.items:
        if item.constant or (item.inputs and all(makers[value] in found for value in item.inputs)):
            found.add(item)
    return found if len(found) < len(content.items) else set()


def _aside(end: Item, below: dict[Item, list[Item]], makers: dict[Node, Item]) -> None:
    """Mark a branch, from its end to the fork."""
    while len(below[end]) == 1 and isinstance(end, (Stack, Box, Port)):
        end.side = True
        if len(end.inputs) != 1:
            return
        end = makers[end.inputs[0]]
