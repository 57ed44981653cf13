"""The plan of a drawing: boxes from the innermost outwards, and the page in the number of columns that makes it
largest."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from netdsl.base.record import Record
from netdsl.report.drawing.items import Box, Content, Dummy, Port, Stack
from netdsl.report.drawing.levels import lay_levels
from netdsl.report.drawing.place import across, chain
from netdsl.report.drawing.ranks import Ranked
from netdsl.report.drawing.route import ARROW, LABELS, by_ranks, channels, points, stack_up, tines
from netdsl.report.drawing.towers import GUTTER, join, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.report.drawing.items import Item
    from netdsl.report.drawing.ranks import Link
    from netdsl.report.drawing.route import Channel, Point

MAX_PAGE_COLUMNS = 24
APART = 0.8
"""Share of the size that columns must keep, relative to others, if a branch begins in a later column."""
WIDE_RANK = 600
"""Width beyond which layers side by side are made narrow."""
FOOT = 10
"""Distance between an edge that returns to the first column and the end of its box."""


class Page(Record):
    """A page on which a drawing should be large: its width and height, and what surrounds the drawing.

    It may be turned if it `turns`. Up to the heights `column` and `box`, a drawing and a box stay one column. `kept` is
    the share of the size that another column must keep to be worthwhile. A net such as U-Net that is higher than
    `column` has a row for each resolution.
    """

    sides: tuple[float, float]
    frame: tuple[float, float]
    turns: bool
    column: float
    box: float
    kept: float


A4 = Page(sides=(297, 210), frame=(0, 0), turns=True, column=1000, box=1600, kept=0.94)
SLIDES = [Page(sides=(16, 9), frame=(48, 150), turns=False, column=0, box=box, kept=0.99) for box in (800, 400)]


def plan(root: Content, page: Page = A4) -> None:
    """Set the position of each item of a net and its boxes, and the points of each edge."""
    towers = split(root)
    contents = [root]
    for content in contents:
        contents += [item.content for item in content.items if isinstance(item, Box) and item.content is not None]
    for content in reversed(contents):
        for item in content.items:
            if isinstance(item, Box):
                item.fit()
        if content is root and towers:
            for tower in towers:
                _lay(tower, page, inf)
            join(root, *towers)
        else:
            _lay(content, page, page.box if content.entries else page.column)
            if content is root and content.height > page.column:
                lay_levels(content)


def _sides(ranks: list[list[Item]]) -> tuple[float, float]:
    items = [item for rank in ranks for item in rank]
    return min(item.x - item.width / 2 for item in items), max(item.x + item.right for item in items)


def _lay(content: Content, page: Page, short: float) -> None:
    """Place the items of a content, up to a height of `short` in one column."""
    ranked = Ranked(content)
    for rank in ranked.ranks:
        stacks = [item for item in rank if isinstance(item, Stack)]
        for stack in stacks if sum(stack.width for stack in stacks) > WIDE_RANK else ():
            stack.narrow()
    across(ranked)
    content.ranks = ranked.ranks
    links = by_ranks(ranked)
    spaces = channels(ranked, links)
    starts = _starts(ranked.ranks, links, spaces, page, short)
    left = 0.0
    for start, end in zip(starts, [*starts[1:], len(ranked.ranks)], strict=True):
        ranks = ranked.ranks[start:end]
        low, high = _sides(ranks)
        for item in (item for rank in ranks for item in rank):
            item.x += left - low
        top = 2 * ARROW if start else 0
        foot = 2 * ARROW if end < len(ranked.ranks) else 0
        content.height = max(content.height, top + stack_up(ranks, spaces[start:end], top) + foot)
        left += high - low + GUTTER
        _draw_up(ranked, start, end)
    content.width = left - GUTTER
    if len(starts) > 1 and len(content.exits) == len(content.entries) == 1:
        _return(content)
    for port in content.exits.values():
        port.y = content.height
    for at, below in enumerate(links):
        for link in below:
            line = _over(link, starts, ranked) if at + 1 in starts else points(link, spaces[at], ranked)
            if len(starts) > 1 and isinstance(link.lower, Port):
                line = [line[0], (line[0][0], content.height - FOOT), (link.lower.x, content.height - FOOT), line[-1]]
            content.edges += [(link.upper, link.lower, each) for each in tines(line, link)]


def _draw_up(ranked: Ranked, start: int, end: int) -> None:
    """Move the layers of a training head close together, however tall the items beside them are."""
    for item in (item for rank in ranked.ranks[start:end] for item in rank if item.dashed and item.side):
        if any(link.upper.dashed for link in ranked.above[item]):
            continue
        head = chain(item, ranked)
        if head[1:] and head[-1].rank < end and _is_clear(head[1:], ranked):
            for upper, lower in pairwise(head):
                lower.y = min(lower.y, upper.y + upper.height + LABELS + ARROW)


def _is_clear(head: list[Item], ranked: Ranked) -> bool:
    """Return whether consecutive items can move upwards in one straight line."""
    if any(isinstance(item, Dummy) for item in head):
        return False
    links = [link for item in head for link in ranked.above[item]]
    left, right = min(item.x - item.width / 2 for item in head), max(item.x + item.right for item in head)
    own = {*head, links[0].upper}
    beside = [item for rank in ranked.ranks[head[0].rank - 1 : head[-1].rank] for item in rank if item not in own]
    straight = all(abs(link.upper.x + link.start - link.lower.x - link.end) < 1 for link in links)
    return straight and all(item.x + item.right < left or item.x - item.width / 2 > right for item in beside)


def _return(content: Content) -> None:
    """Let the output of a box with several columns leave under its entry, so that boxes align."""
    (entry,), (port,) = content.entries.values(), content.exits.values()
    port.x = entry.x
    content.height += 2 * FOOT


def _severable(below: list[Link]) -> bool:
    """Return whether a single value leads to the next rank, which can then start a column."""
    ports = any(isinstance(link.lower, Port) for link in below)
    return len({(link.upper, link.value) for link in below}) == 1 and not ports


def _begins(link: Link) -> bool:
    """Return whether a branch begins with an input of the net."""
    upper = link.upper
    return isinstance(upper, Stack) and not (upper.inputs or upper.constant) and len(link.lower.inputs) == 1


def _over(link: Link, starts: list[int], ranked: Ranked) -> list[Point]:
    """Return the points from the foot of a column to the head of the next, through the gutter."""
    upper, lower = link.upper, link.lower
    start, end = upper.x + link.start, lower.x + link.end
    at = starts.index(lower.rank)
    _, high = _sides(ranked.ranks[starts[at - 1] : starts[at]])
    gutter = high + GUTTER / 2
    foot = upper.y + upper.height + ARROW + 8
    head = lower.y - 2 * ARROW + 4
    return [(start, upper.y + upper.height), (start, foot), (gutter, foot), (gutter, head), (end, head), (end, lower.y)]


def _starts(
    ranks: list[list[Item]], links: list[list[Link]], spaces: list[Channel], page: Page, short: float
) -> list[int]:
    """Return the ranks at which columns start, such that the whole is as large as possible on a page."""
    heights = [max(item.height for item in rank) for rank in ranks]
    cuts = [at + 1 for at, below in enumerate(links[:-1]) if _severable(below)]
    if _height(heights, spaces, 0, len(heights)) <= short or not cuts:
        return [0]
    begins = max((link.upper.rank for below in links for link in below if _begins(link)), default=0)

    def quality(starts: list[int]) -> float:
        apart = any(0 < start <= begins for start in starts)
        return _scale(starts, ranks, heights, spaces, page) * (APART if apart else 1)

    return max(_partitions(heights, spaces, cuts), key=quality)


def _scale(
    starts: list[int], ranks: list[list[Item]], heights: list[float], spaces: list[Channel], page: Page
) -> float:
    width, height = page.frame[0] - GUTTER, page.frame[1]
    for start, end in zip(starts, [*starts[1:], len(ranks)], strict=True):
        low, high = _sides(ranks[start:end])
        width += high - low + GUTTER
        height = max(height, page.frame[1] + _height(heights, spaces, start, end))
    long, short = page.sides
    turned = min(short / width, long / height) if page.turns else 0.0
    return max(min(long / width, short / height), turned) * page.kept ** len(starts)


def _height(heights: list[float], spaces: list[Channel], start: int, end: int) -> float:
    return sum(heights[start:end]) + sum(space.height for space in spaces[start : end - 1])


def _partitions(heights: list[float], spaces: list[Channel], cuts: list[int]) -> Iterator[list[int]]:
    """Yield columns of about equal height, for each number of columns."""
    sums = [0.0]
    for height, space in zip(heights, spaces, strict=True):
        sums.append(sums[-1] + height + space.height)
    known: set[tuple[int, ...]] = set()
    for count in range(1, min(MAX_PAGE_COLUMNS, len(cuts) + 1) + 1):
        low, high = sums[-1] / count, sums[-1]
        for _ in range(16):
            middle = (low + high) / 2
            if len(_filled(sums, cuts, middle)) <= count:
                high = middle
            else:
                low = middle
        starts = _filled(sums, cuts, high)
        if tuple(starts) not in known:
            known.add(tuple(starts))
            yield starts


def _filled(sums: list[float], cuts: list[int], most: float) -> list[int]:
    """Fill columns up to a height, or beyond it where no cut is possible."""
    starts, fit = [0], 0
    for cut in [*cuts, len(sums) - 1]:
        if sums[cut] - sums[starts[-1]] > most and fit > starts[-1]:
            starts.append(fit)
        fit = cut
    return starts
