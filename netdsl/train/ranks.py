"""The processes that train a net together: which of them this one is, and what they tell each other."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import NoReturn

    from netdsl.base.dtypes import Array

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds for which the other ranks leave it to rank 0 to end all, in case that all have failed alike."""


class RankFailed(Exception):
    """A rank has failed, and all ranks know it, as all raise this. The message of `error` names the rank, unless it is
    rank 0 or this one."""

    def __init__(self, error: UserError) -> None:
        super().__init__(error.message)
        self.error = error


class Ranks:
    """A group of processes with the ranks 0 to `size` - 1; this class is the group of one.

    All ranks call `exchange`, `fill` and `sum` in the same order, and all get the same. `in_lockstep` is whether ranks
    may wait for this one in another call than `exchange`, so that it cannot tell them that it has failed.
    """

    __slots__ = ("in_lockstep", "rank", "size")

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.in_lockstep = False

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which alone writes files and speaks."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """The rank and its machine, for messages."""
        return f"rank {self.rank} ({platform.node() or 'unknown'})"

    def exchange(self, value: T) -> list[T]:
        """Return the small values of all ranks in their order. Raises RankFailed if a rank failed instead of passing
        one."""
        found = self._gather(value)
        for rank, each in enumerate(found):
            if isinstance(each, _Failure):
                raise RankFailed(each.told(rank in (0, self.rank)))
        return found

    def broadcast(self, value: T | None) -> T:
        """Return the value of rank 0; those of the others are ignored. Raises RankFailed."""
        return self.exchange(value)[0]  # type: ignore[return-value]

    def fail(self, error: UserError) -> NoReturn:
        """Raise an error on all ranks, as RankFailed, by taking part in their next `exchange`; alone, as it is."""
        if self.size > 1:
            self.exchange(_Failure(error, self.name))
        raise error

    def fill(self, array: Array) -> None:
        """Overwrite a contiguous array by that of rank 0."""

    def sum(self, buffer: Array) -> None:
        """Replace a flat array of f32 by the sum of those of all ranks, added by `tree_sum`."""

    def close(self) -> None:
        """Give up the means of exchange."""

    def abort(self, code: int) -> NoReturn:
        """End the processes of all ranks at once, wherever they are, after messages of this one are printed."""
        raise SystemExit(code)

    @contextmanager
    def lockstep(self) -> Iterator[None]:
        """Begin a block in which ranks may wait for each other in any call once all are here; they leave it together,
        even by RankFailed. Raises RankFailed if a rank failed before."""
        self.exchange(None)
        self.in_lockstep = True
        try:
            yield
        except RankFailed:
            self.in_lockstep = False
            raise
        self.in_lockstep = False

    def _gather(self, value: T) -> list[T]:
        """Return the values of all ranks."""
        return [value]


ALONE = Ranks()


class _Failure:
    """The error of a rank, in a form that other processes can read."""

    __slots__ = ("_helps", "_kind", "_message", "_name")

    def __init__(self, error: UserError, name: str) -> None:
        self._kind = type(error)
        self._message = error.message
        self._helps = error.helps
        self._name = name

    def told(self, own: bool) -> UserError:
        """Return the error, with the rank in its message unless it is `own`."""
        error = self._kind.__new__(self._kind)
        error.message = self._message if own else f"{self._name}: {self._message}"
        error.helps = self._helps
        error.args = (error.message,)
        return error


class RanksDiffer(UserError, code="E0895", title="ranks that differ"):
    """The processes of a training do not have the same program, data, weights or versions, so that they would compute
    something else than one process does.

    ```sh
    mpirun -n 4 netdsl --version
    ```
    """


class RankRaised(UserError, code="E0898", title="an exception on another rank"):
    """A program trains a net in several processes, and one of them has raised an exception before the first step or
    after the last. Its traceback is in the output of that process.

    ```sh
    mpirun -n 4 python train.py
    ```
    """


def check_agreement(ranks: Ranks, values: Mapping[str, str]) -> None:
    """Raise RanksDiffer on all ranks, as RankFailed, if a value, such as a version or a digest, is not the same on
    all."""
    found = ranks.exchange((ranks.name, values))
    first, expected = found[0]
    for name, each in found:
        for what in {**expected, **each}:
            if each.get(what) != expected.get(what):
                ranks.fail(
                    RanksDiffer(
                        f"{name} differs from {first} in {what}: {_short(each, what)} instead of "
                        f"{_short(expected, what)}",
                        "all ranks need the same files, arguments and versions of packages",
                    )
                )


def cores_per_rank(ranks: Ranks) -> int:
    """Return the number of cores that each rank can have to itself, or 1: the least of all ranks, which wait for the
    slowest."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(os.cpu_count() or 1)}
    found = ranks.exchange((platform.node(), own))
    sharers = [sum(node == other and not cores.isdisjoint(others) for other, others in found) for node, cores in found]
    return max(1, min(len(cores) // count for (_, cores), count in zip(found, sharers, strict=True)))


MAX_LENGTH = 16
"""Maximum number of characters shown of a value; digests are longer."""


def _short(values: Mapping[str, str], what: str) -> str:
    text = values.get(what, "none")
    return text if len(text) <= MAX_LENGTH else f"{text[:8]}…"


def tree_sum(parts: Sequence[Array]) -> Array:
    """Return the sum of arrays of one shape, which are overwritten, added in a binary tree: neighbors first.

    The sum over contiguous groups of 2^k parts, each summed like this, has the same bits.
    """
    while len(parts) > 1:
        for into, added in zip(parts[::2], parts[1::2], strict=False):
            into += added
        parts = parts[::2]
    return parts[0]
