"""Batches that are made while the step before runs."""

from __future__ import annotations

from contextlib import contextmanager
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

DEPTH = 2
"""So many batches wait."""

PATIENCE = 0.1
"""Seconds until a thread that waits for room looks whether anybody still reads."""


@contextmanager
def ahead(batches: Iterable[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """The same, read by a thread of its own; what it raises is raised here, in its place. Leaving ends the thread."""
    queue: Queue[tuple[T | None, BaseException | None]] = Queue(depth)
    left = Event()
    thread = Thread(target=_fill, args=(batches, queue, left), name="netdsl batches", daemon=True)
    thread.start()
    try:
        yield _drain(queue)
    finally:
        left.set()
        _empty(queue)
        thread.join()


def _empty(queue: Queue[tuple[T | None, BaseException | None]]) -> None:
    """Empty a queue."""
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return


def _drain(queue: Queue[tuple[T | None, BaseException | None]]) -> Iterator[T]:
    while True:
        item, error = queue.get()
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error
        yield item  # type: ignore[misc]


def _fill(batches: Iterable[T], queue: Queue[tuple[T | None, BaseException | None]], left: Event) -> None:
    try:
        for batch in batches:
            if not _put(queue, (batch, None), left):
                return
        end: BaseException = StopIteration()
    except BaseException as error:
        end = error
    finally:
        if hasattr(batches, "close"):
            batches.close()
    _put(queue, (None, end), left)


def _put(queue: Queue[T], item: T, left: Event) -> bool:
    while not left.is_set():
        try:
            queue.put(item, timeout=PATIENCE)
        except Full:
            continue
        return True
    return False
