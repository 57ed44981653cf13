"""Edges: down, across in the channel between two ranks, and down again; a value that passes by enters from the side."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import TYPE_CHECKING

from netdsl.report.drawing.items import Dummy, Port, Stack

if TYPE_CHECKING:
    from netdsl.report.drawing.items import Item
    from netdsl.report.drawing.ranks import Link, Ranked

    Point = tuple[float, float]

LEAST, LABELS, TRACK, ARROW = 20, 14, 7, 12
"""Heights of a channel, of its line of shapes, of the distance between parallel edges, and of arrowheads."""
EDGE = 8
"""Height of a rank of ports."""
BEND = 5
SNAP = 6
"""Minimum size of a bend."""
TINES = 10
"""Distance between the arrows of a value that is read twice, and between their fork and their ends."""


class Channel:
    """The space between two ranks, with the tracks of the edges that run across."""

    __slots__ = ("count", "height", "labels", "tracks", "y")

    def __init__(self, rank: list[Item], links: list[Link], aside: set[Link]) -> None:
        self.labels = LABELS if any(text for item in rank for text in item.outputs.values()) else 0
        self.tracks: dict[object, int] = {}
        self.y = 0.0
        self._lay(links, aside)
        bare = all(isinstance(item, Port) for item in rank) or all(isinstance(each.lower, Port) for each in links)
        least = EDGE if bare and not self.tracks else LEAST
        arrow = ARROW if any(not isinstance(each.lower, (Port, Dummy)) for each in links) else EDGE / 2
        self.height = max(least, self.labels + (BEND + TRACK * (self.count - 1) if self.tracks else 0) + arrow)

    def _lay(self, links: list[Link], aside: set[Link]) -> None:
        """Assign tracks: edges from one source, or into one item, share a track; edges that would overlap do not."""
        spans: dict[object, tuple[float, float]] = {}
        leave = Counter(link.upper for link in links)
        for link in links:
            start, end = ends(link)
            if abs(start - end) < 1 or (link in aside and isinstance(link.upper, Dummy)):
                continue
            key = self.key(link, leave[link.upper] > 1)
            low, high = spans.get(key, (start, start))
            spans[key] = (min(low, start, end), max(high, start, end))
        taken: list[list[tuple[float, float]]] = []
        for key, (low, high) in sorted(spans.items(), key=lambda each: (each[1][1] - each[1][0], each[1])):
            at = next(
                (at for at, track in enumerate(taken) if all(high < a - 4 or b + 4 < low for a, b in track)), None
            )
            if at is None:
                at = len(taken)
                taken.append([])
            taken[at].append((low, high))
            self.tracks[key] = at
        self.count = len(taken)

    @staticmethod
    def key(link: Link, forks: bool) -> object:
        return ("from", link.upper, link.value) if forks else ("to", link.lower, link.end)

    def track(self, link: Link) -> float:
        """Return the `y` at which a link runs across."""
        at = self.tracks.get(("from", link.upper, link.value))
        at = self.tracks.get(("to", link.lower, link.end), 0) if at is None else at
        return self.y + self.labels + BEND + TRACK * at


def ends(link: Link) -> tuple[float, float]:
    """The two `x` of a link, made one where they nearly are."""
    start, end = link.upper.x + link.start, link.lower.x + link.end
    loose = isinstance(link.lower, Stack) and not (link.lower.sign or link.lower.roles)
    return (start, start) if loose and abs(start - end) < SNAP else (start, end)


def by_ranks(ranked: Ranked) -> list[list[Link]]:
    """Return the links by the rank that they start from."""
    found: list[list[Link]] = [[] for _ in ranked.ranks]
    for link in ranked.links:
        found[link.upper.rank].append(link)
    return found


def channels(ranked: Ranked, links: list[list[Link]]) -> list[Channel]:
    return [
        Channel(rank, below, {link for link in below if enters_aside(link, ranked)})
        for rank, below in zip(ranked.ranks, links, strict=True)
    ]


def stack_up(ranks: list[list[Item]], spaces: list[Channel], top: float) -> float:
    """Set each `y`, rank under rank, and return the total height."""
    y = top
    for at, rank in enumerate(ranks):
        tall = max(item.height for item in rank)
        for item in rank:
            item.y = y + (tall - item.height) * item.low
        spaces[at].y = y + tall
        y += tall + (spaces[at].height if at < len(ranks) - 1 else 0)
    return y - top


def enters_aside(link: Link, ranked: Ranked) -> bool:
    """Return whether an edge that passes by enters a merge from its side."""
    lower = link.lower
    if not isinstance(link.upper, Dummy) or not isinstance(lower, Stack) or lower.roles:
        return False
    if lower.plates[0].family != "merge":
        return False
    low, high = sorted((link.upper.x, lower.x))
    free = all(
        each is lower or isinstance(each, Dummy) or abs(2 * each.x - low - high) > high - low + each.width + SNAP
        for each in ranked.ranks[lower.rank]
    )
    return free and abs(link.upper.x - lower.x) > lower.width / 2 + SNAP


def points(link: Link, space: Channel, ranked: Ranked) -> list[Point]:
    """Return the points of a link."""
    upper, lower = link.upper, link.lower
    (start, end), top = ends(link), upper.y + upper.height
    if enters_aside(link, ranked):
        edge = lower.x + (lower.width / 2 if start > lower.x else -lower.width / 2)
        return [(start, top), (start, lower.y + lower.height / 2), (edge, lower.y + lower.height / 2)]
    if abs(start - end) < 1:
        return [(start, top), (start, lower.y)]
    y = space.track(link)
    return [(start, top), (start, y), (end, y), (end, lower.y)]


def tines(line: list[Point], link: Link) -> list[list[Point]]:
    """Return a line for each time that the end of a link reads the value."""
    lower = link.lower
    times = lower.times(link.value)
    if times == 1 or not isinstance(lower, Stack):
        return [line]
    (ax, ay), (x, y) = line[-2:]
    down = ax == x
    wide = lower.width if down else lower.height
    part = min(TINES, 0.7 * wide / (times - 1))
    found = []
    for at in range(times):
        aside = part * (at - (times - 1) / 2)
        if down:
            begin = max(ay, y - TINES)
            found.append([*line[:-1], (x, begin), (x + aside, begin), (x + aside, y + _sunk(lower, aside))])
        else:
            far = 1 if ax > x else -1
            begin = x + far * min(TINES, abs(ax - x))
            found.append([*line[:-1], (begin, y), (begin, y + aside), (x - far * _sunk(lower, aside), y + aside)])
    return found


def _sunk(lower: Stack, aside: float) -> float:
    """Return how much lower the edge of a round item is off its middle."""
    radius = lower.width / 2
    return radius - sqrt(radius**2 - aside**2) if lower.sign else 0
