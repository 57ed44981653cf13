"""Ordered results of work done ahead of time by a few threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

T = TypeVar("T")
U = TypeVar("U")


def ahead(work: Callable[[T], U], items: Iterable[T], threads: int, most: int) -> Generator[U, None, None]:
    """Yield `work(item)` for each item in order, with at most `most` started but not yet consumed.

    An exception is raised where its result would be. When the consumer stops, pending work is dropped, and the threads
    have ended when `close` returns.
    """
    pool = ThreadPoolExecutor(threads, "netdsl-data")
    waiting: deque[Future[U]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
