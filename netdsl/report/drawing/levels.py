"""The plan of a net that reduces the resolution and restores it, such as U-Net: a row for each resolution."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from netdsl.report.drawing.items import PORT_LABEL_SIZE, Box, Item
from netdsl.report.drawing.metrics import text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim
    from netdsl.report.drawing.items import Content
    from netdsl.report.drawing.route import Point

    Edge = tuple[Item, Item, list[Point]]

LEAST, AROUND = 30, 26
"""Minimum length of an edge between two items of a row, and that of an edge in addition to its label."""
ACROSS = 40
"""Additional distance between the left and the right half."""
BETWEEN, DOWN, UP, OVER = 58, 18, 36, 14
"""Distance between two rows; below the upper one, that of the edges down; above the lower one, that of the edges up and
of those over an item."""
TURN = 12
"""Distance from a box with contents at which an edge turns to its top, or from its bottom."""
BORDER = 1.6
"""Ratio below which two sizes are of one resolution."""
LABEL = 9
"""Distance of a label above its edge."""


def lay_levels(content: Content) -> bool:
    """Lay out a chain of items whose skip connections join two items of the same resolution, one for each resolution.
    Return whether the content is one, with at least two skip connections."""
    bridges = _bridges(content)
    runs = _runs([item for item in content.items if item not in bridges], bridges)
    if runs is None:
        return False
    depth = len(runs) // 2
    left, right = runs[: depth + 1], runs[:depth:-1]
    across = {maker: item for item, maker in bridges.items()}
    rows = [[*row, *(across[row[-1]] for _ in (0,) if row[-1] in across)] for row in left]
    middles = _rows(rows, right)
    _place(rows, 0, middles)
    _place(right, max(row[-1].x + row[-1].width / 2 + _after(row[-1]) for row in rows) + ACROSS, middles)
    _stack(right)
    content.ranks = [[item] for row in [*rows, *reversed(right)] for item in row]
    content.edges = [*_along([*rows, *right]), *_down(left), *_up([left[-1], *reversed(right)])]
    for row, back in zip(rows, right, strict=False):
        content.edges.append(_skip(row[-1], next(item for item in back if {*row[-1].outputs} & {*item.inputs}), back))
    items = [item for rank in content.ranks for item in rank]
    content.width = max(max(item.x + item.width / 2, _end_of_label(item)) for item in items)
    top = min(item.y for item in items)
    content.shift(0, -min(0, top - OVER - LABEL))
    content.height = max(item.y + item.height + TURN * _is_open(item) for item in items)
    return True


def _end_of_label(item: Item) -> float:
    return max(
        (item.label[0] + text_width(text, PORT_LABEL_SIZE) for text in item.outputs.values() if item.label), default=0
    )


def _bridges(content: Content) -> dict[Item, Item]:
    """Return the items that stand on a skip connection, such as a crop, each with the item in front of it."""
    makers = {value: item for item in content.items for value in item.outputs}
    found: dict[Item, Item] = {}
    before: Item | None = None
    for item in content.items:
        first = makers[item.inputs[0]] if len(item.inputs) == 1 else before
        if first is before or first is None or first in found or first in found.values():
            before = item
        else:
            found[item] = first
    return found


def _runs(items: list[Item], bridges: dict[Item, Item]) -> list[list[Item]] | None:
    """Return the items in runs of one resolution, if they are as `lay_levels` requires."""
    makers = {value: at for at, item in enumerate(items) for value in item.outputs}
    makers |= {value: items.index(first) for item, first in bridges.items() for value in item.outputs}
    skips: dict[int, int] = {}
    places: list[list[int]] = []
    sizes: list[Sequence[Dim]] = []
    for at, item in enumerate(items):
        reads = [makers[value] for value in item.inputs for _ in range(item.times(value))]
        if len(item.outputs) > 1 or item.dashed or (_is_open(item) and len(item.inputs) > 1):
            return None
        if sorted(reads)[-1:] != ([at - 1] if at else []) or len(reads) > 2:
            return None
        skips |= dict.fromkeys(reads, at) if len(reads) == 2 else {}
        sizes += [value.shape[1:] for value in item.outputs] or sizes[-1:]
        if at and _is_near(sizes[-2], sizes[-1]):
            places[-1].append(at)
        else:
            places.append([at])
    skips = {upper: lower for upper, lower in skips.items() if lower > upper + 1}
    pairs = [*zip(places[: len(places) // 2], reversed(places), strict=False)]
    nested = all(skips.get(row[-1]) in back and not _is_open(items[back[0]]) for row, back in pairs)
    if len(places) % 2 == 0 or len(pairs) < 2 or not nested or len(skips) != len(pairs):
        return None
    return [[items[at] for at in run] for run in places]


def _is_near(one: Sequence[Dim], other: Sequence[Dim]) -> bool:
    """Return whether the sizes of two maps differ at most by a border."""
    pairs = [*zip(one, other, strict=False)]
    numbers = [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]
    near = all(max(pair) < BORDER * min(pair) for pair in numbers)
    return len(one) == len(other) and near and all(a == b for a, b in pairs if (a, b) not in numbers)


def _after(item: Item) -> float:
    """Return the length of the edge after an item, which has its label."""
    labels = [text_width(text, PORT_LABEL_SIZE) + AROUND for text in item.outputs.values() if text]
    return max([LEAST, *labels])


def _rows(left: list[list[Item]], right: list[list[Item]]) -> list[float]:
    """Return the middle of each row."""
    middles, y = [], float(OVER + LABEL)
    for at, run in enumerate(left):
        height = max(item.height for item in [*run, *(right[at] if at < len(right) else ())])
        middles.append(y + height / 2)
        y += height + BETWEEN
    return middles


def _place(runs: list[list[Item]], start: float, middles: list[float]) -> None:
    for run, middle in zip(runs, middles, strict=False):
        x = start
        for item in run:
            item.x, item.y = x + item.width / 2, middle - item.height / 2
            item.label = item.x + item.width / 2 + 6, middle - LABEL
            x += item.width + _after(item)


def _stack(right: list[list[Item]]) -> None:
    """Stack the items at the end of the upper row that would make it longer than the others."""
    row = right[0]
    limit = max(run[-1].x + run[-1].width / 2 for run in right[1:])
    for before, item in pairwise(row):
        if item.x - item.width / 2 > limit:
            item.x, item.y = before.x, before.y - LEAST - item.height
            before.label = _beside(before), before.y - LABEL


def _along(runs: list[list[Item]]) -> list[Edge]:
    found: list[Edge] = []
    for a, b in (pair for run in runs for pair in pairwise(run)):
        if a.x != b.x:
            found.append((a, b, [*_leave(a), *_enter(b)]))
        elif _is_open(a):
            found.append((a, b, [*_leave(a)[:-1], (_beside(a) - LABEL, _middle(b)), (b.x + b.width / 2, _middle(b))]))
        else:
            found.append((a, b, [(a.x, a.y), (b.x, b.y + b.height)]))
    return found


def _down(left: list[list[Item]]) -> list[Edge]:
    found: list[Edge] = []
    for row, below in pairwise(left):
        a, b = row[-1], below[0]
        track = max(item.y + item.height for item in row) + DOWN
        start, end = a.x + a.exit(*a.outputs), b.x + b.entry(*b.inputs)
        found.append((a, b, [(start, a.y + a.height), (start, track), (end, track), (end, b.y)]))
    return found


def _up(runs: list[list[Item]]) -> list[Edge]:
    """Return the edges to the row above, from the lowest row on, which is in the left half."""
    found: list[Edge] = []
    for at, (row, above) in enumerate(pairwise(runs)):
        a, b = row[-1], above[0]
        end = (b.x, b.y + b.height)
        if at == 0:
            found.append((a, b, [*_leave(a), (b.x, _middle(a)), end]))
        else:
            track = min(item.y for item in row) - UP
            way = [*_leave(a)[:-1], (_leave(a)[-1][0], track)] if _is_open(a) else [(a.x, a.y), (a.x, track)]
            found.append((a, b, [*way, (b.x, track), end]))
            a.label = _beside(a), a.y - LABEL
    return found


def _skip(upper: Item, lower: Item, back: list[Item]) -> Edge:
    """Return the edge across, over the items in front of its end."""
    if lower is back[0]:
        return upper, lower, [*_leave(upper), *_enter(lower)]
    rise = back[0].x - back[0].width / 2 - AROUND / 2
    top = min(item.y for item in back[: back.index(lower)]) - OVER
    return upper, lower, [*_leave(upper), (rise, _middle(upper)), (rise, top), (lower.x, top), (lower.x, lower.y)]


def _is_open(item: Item) -> bool:
    """Return whether an item is a box with its contents, which edges enter at its top and leave at its bottom."""
    return isinstance(item, Box) and item.content is not None


def _leave(item: Item) -> list[Point]:
    """Return the points from where an edge leaves an item to its right."""
    right, low = item.x + item.width / 2, item.y + item.height
    if not _is_open(item):
        return [(right, _middle(item))]
    x, aside = item.x + item.exit(*item.outputs), right + TURN
    return [(x, low), (x, low + TURN), (aside, low + TURN), (aside, _middle(item))]


def _enter(item: Item) -> list[Point]:
    """Return the points from the left of an item to where an edge enters it."""
    left = item.x - item.width / 2
    if not _is_open(item):
        return [(left, _middle(item))]
    x, top = item.x + item.entry(*item.inputs), item.y - TURN
    return [(left - TURN, _middle(item)), (left - TURN, top), (x, top), (x, item.y)]


def _beside(item: Item) -> float:
    """Return where the label beside an edge upwards begins."""
    return _leave(item)[-1][0] + LABEL if _is_open(item) else item.x + 6


def _middle(item: Item) -> float:
    return item.y + item.height / 2
