"""What one position of a result reads from an operand, axis by axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Undecidable, product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.shape import Dim, Shape


class Reach:
    """An operand's axis as axis `to` of the result sees it.

    Place p of the result reads the operand's places from ((p // block)*stride + first) // up up to
    ((p // block)*stride + last) // up.
    """

    __slots__ = ("block", "first", "last", "stride", "to", "up")

    def __init__(
        self, to: int, *, stride: int = 1, first: int = 0, last: int | None = None, up: int = 1, block: int = 1
    ) -> None:
        self.to = to
        self.stride = stride
        self.first = first
        self.last = first if last is None else last
        self.up = up
        self.block = block

    @property
    def moves(self) -> bool:
        """Return whether position p of the result reads anything but position p."""
        return (self.stride, self.first, self.last, self.up, self.block) != (1, 0, 0, 1, 1)


REGROUPED = Reach(-1)
"""The axes hold the same elements in the same order, under other sizes: `runs` tells which axes share theirs."""

UNKNOWN_REACH = Reach(-1)
"""It is not known which places are read."""


def aligned_reach(axis: int, x: Shape, y: Shape) -> Reach:
    """Align axes as NumPy broadcasts: from the last axis, with sizes of 1 expanded."""
    to = axis + len(y) - len(x)
    return Reach(to, stride=0 if x[axis] == 1 != y[to] else 1)


def window(axis: int, span: int, stride: int, pad: int) -> Reach:
    """Return the reach of a window of `span` positions, the first of which begins `pad` before the operand."""
    return Reach(axis, stride=stride, first=-pad, last=span - 1 - pad)


def groups(axis: int, channels: int, outputs: int, count: int) -> Reach | None:
    """Return the reach of channels in groups that read the same group of the operand; None for a single group."""
    if count == 1:
        return None
    inside = channels // count
    return Reach(axis, stride=inside, last=inside - 1, block=outputs // count)


def runs(x: Shape, y: Shape) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Return the shortest runs of axes with equal numbers of elements."""
    found: list[tuple[Sequence[int], Sequence[int]]] = []
    i = j = 0
    while i < len(x) and j < len(y):
        begin, other = i, j
        i, j = i + 1, j + 1
        while (order := _compare(x[begin:i], y[other:j])) and (i < len(x) or j < len(y)):
            if (order < 0 and i < len(x)) or j == len(y):
                i += 1
            else:
                j += 1
        found.append((range(begin, i), range(other, j)))
    if found and (i < len(x) or j < len(y)):  # axes of size 1 at the end
        here, there = found.pop()
        found.append((range(here[0], len(x)), range(there[0], len(y))))
    return found


def _compare(x: Sequence[Dim], y: Sequence[Dim]) -> int:
    """Compare the numbers of elements: negative if the axes of x have fewer, 0 if equal."""
    try:
        difference = product(tuple(x)) - product(tuple(y))
    except Undecidable:
        return len(x) - len(y) or -1
    if isinstance(difference, int):
        return difference
    return -1 if any(factor < 0 for _, factor in difference.terms) else 1


def known_elements(shape: Shape) -> int:
    """Return the number of elements of a shape, or 0 if unknown."""
    try:
        found = product(shape)
    except Undecidable:
        return 0
    return found if isinstance(found, int) else 0
