"""Horizontal positions: the main line straight, branches on both sides, detours nearby."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from netdsl.report.drawing.items import Dummy, Gate
from netdsl.report.drawing.route import SNAP

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.report.drawing.items import Item
    from netdsl.report.drawing.ranks import Ranked

ITEM_GAP = 18
"""Gap between the items of a rank."""
PLACEMENT_ROUNDS = 4
FAINT = 0.001
"""Weight of detours in the position of the main line."""
STRAIGHT = 8
"""Weight of long edges, relative to others, in keeping them straight."""


def across(ranked: Ranked) -> None:
    """Set the `x` of each item, in pixels from an arbitrary origin."""
    for rank in ranked.ranks:
        _settle(rank, [0.0] * len(rank))
    if all(len(rank) == 1 for rank in ranked.ranks):
        _line_up(ranked)
    else:
        for _ in range(PLACEMENT_ROUNDS):
            _sweep(ranked, _wish)
        for _ in range(PLACEMENT_ROUNDS):
            _sweep(ranked, _alone)
    _straighten(ranked)
    _snap(ranked)


def _sweep(ranked: Ranked, wish: Callable[[Item, Ranked, bool], float]) -> None:
    """Sweep once from bottom to top and once back."""
    for down in (False, True):
        for rank in ranked.ranks if down else reversed(ranked.ranks):
            _settle(rank, [wish(item, ranked, down) for item in rank])


def _alone(item: Item, ranked: Ranked, down: bool) -> float:
    """Return the position below or above a neighbor that has no other, otherwise the current one."""
    links = ranked.above[item] if down else ranked.below[item]
    if len(links) != 1:
        return item.x
    (link,) = links
    others = ranked.below[link.upper] if down else ranked.above[link.lower]
    return _wish(item, ranked, down) if len(others) == 1 else item.x


def _line_up(ranked: Ranked) -> None:
    """Align a plain chain, port under port."""
    for (item,) in ranked.ranks:
        item.x = _wish(item, ranked, True)


def _wish(item: Item, ranked: Ranked, down: bool) -> float:
    """Return the position that the neighbors above, or those below, suggest."""
    total = weight = 0.0
    for link in ranked.above[item] if down else ranked.below[item]:
        other = link.upper if down else link.lower
        place = other.x + (link.start - link.end if down else link.end - link.start)
        faint = other.side and not item.side
        much = FAINT if faint or link.minor else 1.0
        if isinstance(item, Dummy) and isinstance(other, Dummy):
            much = STRAIGHT
        total += much * place
        weight += much
    return total / weight if weight else item.x


def _settle(rank: list[Item], wishes: list[float]) -> None:
    """Return the positions nearest to the wishes, by least squares, without overlaps: overlapping neighbors are moved
    together (pool adjacent violators; Barlow et al. 1972)."""
    offsets = [0.0]
    for left, right in pairwise(rank):
        offsets.append(offsets[-1] + left.right + ITEM_GAP + right.width / 2)
    pools: list[tuple[float, float, int]] = []
    for item, wish, offset in zip(rank, wishes, offsets, strict=True):
        mean, weight, count = wish - offset, FAINT if item.side else 1.0, 1
        while pools and pools[-1][0] >= mean:
            before, much, many = pools.pop()
            mean = (before * much + mean * weight) / (much + weight)
            weight, count = weight + much, count + many
        pools.append((mean, weight, count))
    at = 0
    for mean, _, count in pools:
        for item, offset in zip(rank[at : at + count], offsets[at : at + count], strict=True):
            item.x = mean + offset
        at += count


def _straighten(ranked: Ranked) -> None:
    """Make each detour one straight line, as close to the rest as possible."""
    places = {item: (rank, at) for rank in ranked.ranks for at, item in enumerate(rank) for rank in [rank]}
    done: set[Item] = set()
    for rank in ranked.ranks:
        for item in rank:
            if item.side and item not in done and not isinstance(item, Gate):
                detour = chain(item, ranked)
                done.update(detour)
                _move(detour, places)


def chain(item: Item, ranked: Ranked) -> list[Item]:
    """A thing of a detour, and those of it that follow."""
    found = [item]
    while True:
        lower = [link.lower for link in ranked.below[found[-1]] if link.lower.side]
        if len(lower) != 1 or len(ranked.above[lower[0]]) != 1:
            return found
        found.append(lower[0])


def _move(detour: list[Item], places: dict[Item, tuple[list[Item], int]]) -> None:
    left = [before.x + before.right + ITEM_GAP + item.width / 2 for item in detour for before in _before(item, places)]
    right = [after.x - after.width / 2 - ITEM_GAP - item.right for item in detour for after in _after(item, places)]
    if left:
        x = max(left)
    elif right:
        x = min(right)
    else:
        return
    for item in detour:
        item.x = x
        rank, at = places[item]
        for before, after in pairwise(rank[at:]):
            after.x = max(after.x, before.x + before.right + ITEM_GAP + after.width / 2)


def _snap(ranked: Ranked) -> None:
    """Remove bends of long edges that are too small to see."""
    for item in (item for rank in ranked.ranks for item in rank if isinstance(item, Dummy)):
        for link in ranked.above[item]:  # one, or none of a gate
            above = link.upper.x + link.start
            if abs(above - item.x) < SNAP:
                item.x = above


def _before(item: Item, places: dict[Item, tuple[list[Item], int]]) -> list[Item]:
    rank, at = places[item]
    return rank[at - 1 : at] if at else []


def _after(item: Item, places: dict[Item, tuple[list[Item], int]]) -> list[Item]:
    rank, at = places[item]
    return rank[at + 1 : at + 2]
