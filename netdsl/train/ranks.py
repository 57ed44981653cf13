"""The processes that train a net together: which of them this one is, and what they tell each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.dtypes import Array

T = TypeVar("T")


class Ranks:
    """A group of processes with the ranks 0 to `size` - 1; this class is the group of one.

    All ranks call `exchange` and `sum` in the same order. Both return the same on every rank.
    """

    __slots__ = ("rank", "size")

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which alone writes files and speaks."""
        return self.rank == 0

    def exchange(self, value: T) -> list[T]:
        """Return the small values of all ranks in their order. Raises RankFailed if a rank failed instead of passing
        one."""
        return [value]

    def broadcast(self, value: T | None) -> T:
        """Return the value of rank 0; those of the others are ignored. Raises RankFailed."""
        return self.exchange(value)[0]  # type: ignore[return-value]

    def sum(self, buffer: Array) -> None:
        """Replace a flat array of f32 by the sum of those of all ranks, added by `tree_sum`."""


ALONE = Ranks()


class RankFailed(Exception):
    """Another rank has failed, and has said why."""


def tree_sum(parts: Sequence[Array]) -> Array:
    """Return the sum of arrays of one shape, which are overwritten, added in a binary tree: neighbors first.

    The sum over contiguous groups of 2^k parts, each summed like this, has the same bits.
    """
    while len(parts) > 1:
        for into, added in zip(parts[::2], parts[1::2], strict=False):
            into += added
        parts = parts[::2]
    return parts[0]
