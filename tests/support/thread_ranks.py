"""Ranks that are threads of one process, to test without MPI what several processes compute together."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import TYPE_CHECKING, Any, TypeVar

from netdsl.base.user_error import UserError
from netdsl.train.ranks import RankFailed, Ranks, tree_sum

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.base.dtypes import Array

T = TypeVar("T")

SECONDS = 120
"""Seconds after which ranks that wait for each other fail instead of hanging."""


class ThreadRanks(Ranks):
    """A rank among the threads that share a barrier and a board with a place for each."""

    __slots__ = ("_barrier", "_board")

    def __init__(self, rank: int, barrier: Barrier, board: list[Any]) -> None:
        super().__init__(rank, barrier.parties)
        self._barrier = barrier
        self._board = board

    def _gather(self, value: T) -> list[T]:
        return [pickle.loads(each) for each in self._shared("exchange", pickle.dumps(value))]

    def fill(self, array: Array) -> None:
        assert array.flags.c_contiguous
        found = self._shared(f"fill of {array.shape}", array.copy())
        if not self.leads:  # whose array may be read-only
            array[...] = found[0]

    def sum(self, buffer: Array) -> None:
        assert (buffer.dtype, buffer.ndim) == ("f4", 1)
        buffer[:] = tree_sum(self._shared(f"sum of {len(buffer)}", buffer.copy()))

    def _shared(self, call: str, value: Any) -> list[Any]:
        """Return copies of the values of all ranks, which must have made the same call."""
        self._board[self.rank] = call, value
        self._wait()
        found = [(name, each if isinstance(each, bytes) else each.copy()) for name, each in self._board]
        self._wait()
        calls = [name for name, _ in found]
        assert calls == [call] * self.size, f"the ranks disagree: {calls}"
        return [each for _, each in found]

    def _wait(self) -> None:
        try:
            self._barrier.wait(SECONDS)
        except BrokenBarrierError:
            raise RankFailed(UserError("another rank has ended")) from None


def on_ranks(size: int, work: Callable[[ThreadRanks], T]) -> list[T]:
    """Return the results of a function on each of `size` ranks at once. Raises the first error that does not follow
    from another."""
    barrier, board = Barrier(size), [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> T:
        try:
            return work(ThreadRanks(rank, barrier, board))
        except BaseException as error:
            errors.append(error)
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as threads:
        done = [threads.submit(run, rank) for rank in range(size)]
    for error in sorted(errors, key=lambda error: isinstance(error, RankFailed))[:1]:
        raise error.error if isinstance(error, RankFailed) else error
    return [each.result() for each in done]
