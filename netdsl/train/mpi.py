"""Ranks over MPI, by mpi4py."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from netdsl.train.ranks import Ranks, tree_sum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from mpi4py.MPI import Intracomm, Request

    from netdsl.base.dtypes import Array

T = TypeVar("T")

MAX_MESSAGE = 2**30
"""Maximum size of a message in bytes: some MPIs fail beyond 2^31."""

SPIN = 1e-3
"""Seconds for which a rank that waits yields its core, without sleeping, as most messages arrive at once."""

NAP, LONG_NAP = 1e-4, 1e-3
"""Seconds for which a rank sleeps between looks at a message, within a step and elsewhere. MPI itself would occupy a
core, which the ranks that others wait for may need."""


class MpiRanks(Ranks):
    """The ranks of a communicator. Calls of MPI are not for other threads."""

    __slots__ = ("_comm", "_scratch")

    def __init__(self, comm: Intracomm) -> None:
        super().__init__(comm.Get_rank(), comm.Get_size())
        self._comm = comm.Dup()  # whose messages do not mix with those of the program
        self._scratch = np.empty(0, np.float32)

    def fill(self, array: Array) -> None:
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, MAX_MESSAGE):
            _wait(self._comm.Ibcast(flat[start : start + MAX_MESSAGE]), LONG_NAP)

    def sum(self, buffer: Array) -> None:
        assert buffer.dtype == np.float32
        assert buffer.ndim == 1
        assert buffer.flags.c_contiguous
        for piece in _pieces(buffer):
            if self.size == 2:  # whose order makes no difference
                _wait(self._comm.Iallreduce(_in_place(), piece), NAP)
            else:
                self._tree_sum(piece)

    def _tree_sum(self, buffer: Array) -> None:
        """Sum a buffer, of which each rank adds a part, as MPIs differ in the order in which they add."""
        ends = [len(buffer) * rank // self.size for rank in range(self.size + 1)]
        counts = np.diff(ends).tolist()
        own = counts[self.rank]
        if self._scratch.size < own * self.size:
            self._scratch = np.empty(own * self.size, np.float32)
        parts = self._scratch[: own * self.size].reshape(self.size, own)
        sent, received = (buffer, (counts, ends[:-1])), (parts, [own] * self.size)
        _wait(self._comm.Ialltoallv(sent, received), NAP)
        buffer[ends[self.rank] : ends[self.rank + 1]] = tree_sum([*parts])
        _wait(self._comm.Iallgatherv(_in_place(), (buffer, (counts, ends[:-1]))), NAP)

    def close(self) -> None:
        self._comm.Free()

    def abort(self, code: int) -> NoReturn:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):  # closed, or a broken pipe
                stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would add a message that says less
        self._comm.Abort(code)
        os._exit(code)

    def _gather(self, value: T) -> list[T]:
        mine = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = np.empty(self.size, np.int64)
        _wait(self._comm.Iallgather(np.array(len(mine), np.int64), sizes), LONG_NAP)
        found = np.empty(int(sizes.sum()), np.uint8)
        assert len(found) < MAX_MESSAGE, "not a small value"
        _wait(self._comm.Iallgatherv(mine, (found, sizes.tolist())), LONG_NAP)
        return [pickle.loads(each.tobytes()) for each in np.split(found, np.cumsum(sizes)[:-1])]


def _in_place() -> Any:
    from mpi4py import MPI

    return MPI.IN_PLACE


def _pieces(buffer: Array) -> Iterator[Array]:
    """Yield consecutive parts of a buffer of f32, each of the size of a message."""
    count = MAX_MESSAGE // buffer.itemsize
    for start in range(0, len(buffer), count):
        yield buffer[start : start + count]


def _wait(request: Request, nap: float) -> None:
    """Wait until a message has arrived, in a way that leaves the cores to others and lets signals through."""
    begin = monotonic()
    while not request.Test():
        if monotonic() - begin >= SPIN:
            sleep(nap)
        elif hasattr(os, "sched_yield"):
            os.sched_yield()
