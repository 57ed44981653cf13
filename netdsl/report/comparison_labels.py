"""Placement of the labels of circles without overlaps."""

from __future__ import annotations

from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Box = tuple[float, float, float, float]
    Point = tuple[float, float]
    Circle = tuple[float, float, float]
    Line = tuple[Point, Point]

LABEL_GAP = 2.0
"""Gap between a circle and its label, and between two labels, in pixels."""
DISTANCES = (LABEL_GAP, 7.0, 14.0, 24.0, 36.0, 50.0, 66.0, 84.0, 104.0, 128.0, 156.0, 190.0)
ANGLES = (0, 8, 12, 4, 15, 1, 14, 2, 9, 7, 10, 6, 13, 3, 11, 5)
"""Preferred directions in sixteenths of a turn, clockwise from the right, best first."""
LEADER_DISTANCE = 8.0
"""Distance beyond which a label gets a leader line to its circle."""
LABEL_ROUNDS = 2
"""Number of times each label is placed again among all others."""


class CircleLabel:
    """The text of a circle, `width` by `height`. `box` (left, top, right, bottom) is its place, None if there is no
    room; `line` is its leader line, if it stands apart."""

    __slots__ = ("box", "circle", "height", "line", "text", "width")

    def __init__(self, text: str, width: float, height: float, circle: Circle) -> None:
        self.text = text
        self.width = width
        self.height = height
        self.circle = circle
        self.box: Box | None = None
        self.line: Line | None = None


def place_labels(labels: Sequence[CircleLabel], circles: Sequence[Circle], lines: Sequence[Line], room: Box) -> None:
    """Give each label a box that overlaps no other label, and as few circles and lines as possible.

    Greedy, the most crowded labels first, then each again among the others.
    """
    centers = [label.circle for label in labels]
    crowd = {label: sum(_apart(label.circle, other) < 90 for other in centers) for label in labels}
    order = sorted(labels, key=lambda label: -crowd[label])
    for _ in range(1 + LABEL_ROUNDS):
        for label in order:
            others = [other for other in labels if other is not label and other.box is not None]
            _settle(label, others, circles, lines, room)


def _apart(a: Circle, b: Circle) -> float:
    return hypot(a[0] - b[0], a[1] - b[1])


def _settle(
    label: CircleLabel, others: Sequence[CircleLabel], circles: Sequence[Circle], lines: Sequence[Line], room: Box
) -> None:
    best = float("inf")
    label.box = label.line = None
    taken = [other.box for other in others if other.box is not None]
    leaders = [other.line for other in others if other.line is not None]
    for rank, (distance, box) in enumerate(_candidates(label)):
        cost = 0.4 * distance + 0.2 * (rank % len(ANGLES))
        if cost >= best:
            continue
        if not _within(box, room) or any(_meet(box, other) for other in taken):
            continue
        line = _leader(label.circle, box) if distance > LEADER_DISTANCE else None
        cost += _hidden(box, label.circle, circles)
        if cost >= best:
            continue
        cost += sum(10 for other in lines if _cuts(other, box)) + sum(25 for other in leaders if _cuts(other, box))
        if line is not None and cost < best:
            cost += sum(25 for other in taken if _cuts(line, other))
            cost += sum(12 for other in leaders if _cross(line, other))
        if cost < best:
            best, label.box, label.line = cost, box, line


def _candidates(label: CircleLabel) -> Iterator[tuple[float, Box]]:
    x, y, radius = label.circle
    for distance in DISTANCES:
        for angle in ANGLES:
            dx, dy = cos(angle * pi / 8), sin(angle * pi / 8)
            middle = x + dx * (radius + distance + label.width / 2)
            height = y + dy * (radius + distance + label.height / 2)
            left, top = round(middle - label.width / 2, 1), round(height - label.height / 2, 1)
            yield distance, (left, top, left + label.width, top + label.height)


def _hidden(box: Box, own: Circle, circles: Sequence[Circle]) -> float:
    """Return the cost of the circles that a box partly covers; small circles cost most."""
    price = 0.0
    for circle in circles:
        x, y, radius = circle
        dx = max(box[0] - x, 0, x - box[2])
        dy = max(box[1] - y, 0, y - box[3])
        if circle != own and dx * dx + dy * dy < radius * radius:
            price += 16 if radius > 14 else 60
    return price


def _within(box: Box, room: Box) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] + LABEL_GAP and b[0] < a[2] + LABEL_GAP and a[1] < b[3] and b[1] < a[3]


def _leader(circle: Circle, box: Box) -> Line:
    """Return the line from the nearest point of the box to the circle."""
    x, y, radius = circle
    at = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    far = hypot(at[0] - x, at[1] - y) or 1
    return at, (x + (at[0] - x) * radius / far, y + (at[1] - y) * radius / far)


def _cuts(line: Line, box: Box) -> bool:
    (x, y), (to_x, to_y) = line
    if max(x, to_x) < box[0] or min(x, to_x) > box[2] or max(y, to_y) < box[1] or min(y, to_y) > box[3]:
        return False
    sides = [
        (to_x - x) * (bottom - y) - (to_y - y) * (side - x) for side in (box[0], box[2]) for bottom in (box[1], box[3])
    ]
    return min(sides) < 0 < max(sides)


def _cross(a: Line, b: Line) -> bool:
    def side(line: Line, point: Point) -> float:
        (x, y), (to_x, to_y) = line
        return (to_x - x) * (point[1] - y) - (to_y - y) * (point[0] - x)

    return side(a, b[0]) * side(a, b[1]) < 0 and side(b, a[0]) * side(b, a[1]) < 0
