"""Prepare batches in a background thread while the previous step runs, if that saves time."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

from netdsl.base.threads import start

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

T = TypeVar("T")

PREFETCH_DEPTH = 2
"""Number of batches prepared in advance."""

PROBES = 10
"""Number of batches, after the first, that are prepared synchronously to measure their cost."""

MIN_PREFETCH_SECONDS = 0.0004
"""Minimum time in seconds to prepare a batch that is worth a thread; handing one over costs about half of this."""

POLL_SECONDS = 0.1
"""Interval in seconds at which a waiting thread checks whether there is still a reader."""


@contextmanager
def prefetched(batches: Generator[T, None, None], depth: int = PREFETCH_DEPTH) -> Iterator[Iterator[T]]:
    """Iterate over batches, in a background thread if preparing them takes a relevant share of the time.

    Exceptions are raised in their place in the iteration. Leaving the context ends the thread and closes the generator.
    """
    reader = _Reader(batches, depth)
    try:
        yield reader.read()
    finally:
        reader.close()


class _Reader(Generic[T]):
    __slots__ = ("_batches", "_left", "_queue", "_thread")

    def __init__(self, batches: Generator[T, None, None], depth: int) -> None:
        self._batches = batches
        self._queue: Queue[tuple[object, BaseException | None]] = Queue(depth)
        self._left = Event()
        self._thread: Thread | None = None

    def read(self) -> Iterator[T]:
        yield from _first(self._batches)
        cost = yield from _probed(self._batches)
        if cost < MIN_PREFETCH_SECONDS:
            yield from self._batches
            return
        self._thread = Thread(target=self._fill, name="netdsl batches", daemon=True)
        start(self._thread)
        while True:
            item, error = self._queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    def close(self) -> None:
        self._left.set()
        if self._thread is not None:
            self._empty()
            self._thread.join()
        self._batches.close()

    def _empty(self) -> None:
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                return

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                if not self._put((batch, None)):
                    return
            end: BaseException = StopIteration()
        except BaseException as error:
            end = error
        self._put((None, end))

    def _put(self, item: tuple[object, BaseException | None]) -> bool:
        while not self._left.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
            except Full:
                continue
            return True
        return False


def _first(batches: Iterator[T]) -> Iterator[T]:
    """Yield the first batch. It is not timed, because preparing it also opens files and starts an epoch."""
    yield from islice(batches, 1)


def _probed(batches: Iterator[T]) -> Generator[T, None, float]:
    """Yield up to `PROBES` batches, and return the median time in seconds to prepare one."""
    spent = []
    for _ in range(PROBES):
        at = perf_counter()
        batch = list(islice(batches, 1))
        spent.append(perf_counter() - at)
        if not batch:
            return 0.0
        yield batch[0]
    return sorted(spent)[len(spent) // 2]
