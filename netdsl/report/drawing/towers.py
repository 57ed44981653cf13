"""The plan of a net of an encoder and a decoder, each with inputs of its own, such as a Transformer: side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.report.drawing.items import Box, Content, Gate

if TYPE_CHECKING:
    from netdsl.ir.net import Node
    from netdsl.report.drawing.items import Item

GUTTER = 44
"""Gap between two columns."""
LANE = 8
"""Distance between parallel edges from one tower to the other."""
MAX_CROSSING = 3
"""Maximum number of values that the second tower reads from the first."""


def split(root: Content) -> tuple[Content, Content] | None:
    """Split a net at a box that reads the result of a box and of other inputs of the net; None if there is none."""
    if sum(map(_is_input, root.items)) < 2:
        return None
    makers = {value: item for item in root.items for value in item.outputs}
    for reader in root.items:
        for value in reader.inputs if isinstance(reader, Box) and len(reader.inputs) > 1 else ():
            first = _above(makers[value], makers)
            parts = [[item for item in root.items if (item in first) == own] for own in (True, False)]
            crossing = list(dict.fromkeys(x for item in parts[1] for x in item.inputs if makers[x] in first))
            if all(map(_is_tower, parts)) and len(crossing) <= MAX_CROSSING:
                crossing.sort(key=lambda x: root.items.index(makers[x]), reverse=True)
                _put_first(crossing, parts[1])
                return (
                    Content([*parts[0], *(Gate(x, enters=False) for x in crossing)], [], []),
                    Content([*(Gate(x, enters=True) for x in crossing), *parts[1]], [], []),
                )
    return None


def _above(item: Item, makers: dict[Node, Item]) -> set[Item]:
    """Return an item and all that it depends on."""
    found = {item}
    todo = [item]
    while todo:
        new = {makers[x] for x in todo.pop().inputs} - found
        found |= new
        todo += new
    return found


def _is_tower(items: list[Item]) -> bool:
    """Return whether there are a box and an input of the net."""
    return any(isinstance(item, Box) for item in items) and any(map(_is_input, items))


def _is_input(item: Item) -> bool:
    return not item.inputs and not item.constant


def _put_first(values: list[Node], items: list[Item]) -> None:
    """Let values enter boxes at the left."""
    for content in (item.content for item in items if isinstance(item, Box) and item.content):
        first = [value for value in values if value in content.entries]
        ports = [content.entries[value] for value in first]
        content.items = [*ports, *(item for item in content.items if item not in ports)]


def join(root: Content, first: Content, second: Content) -> None:
    """Place two towers side by side, and the edges between them."""
    leaving = [item for item in first.items if isinstance(item, Gate)]
    entering = [item for item in second.items if isinstance(item, Gate)]
    second.shift(first.width + GUTTER + LANE * len(leaving), 0)
    root.ranks = [*first.ranks, *second.ranks]
    root.width = max(item.x + item.right for rank in second.ranks for item in rank)
    root.height = max(first.height, second.height)
    lifted = {gate: gate.y - LANE * at for at, gate in enumerate(entering)}
    for upper, lower, points in second.edges:
        if isinstance(upper, Gate):
            points[0] = (points[0][0], lifted[upper])
        root.edges.append((upper, lower, points))
    for upper, lower, points in first.edges:
        if isinstance(lower, Gate) and len(points) > 2:  # leaves in the channel, where its edge turns
            lower.y = points[-2][1]
            points.pop()
        root.edges.append((upper, lower, points))
    for at, (start, end) in enumerate(zip(leaving, entering, strict=True)):
        end.y = lifted[end]
        lane = first.width + GUTTER / 2 + LANE * (len(leaving) - at)
        root.edges.append((start, end, [(start.x, start.y), (lane, start.y), (lane, end.y), (end.x, end.y)]))
