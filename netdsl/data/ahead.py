"""Work done ahead of time by a few threads, its results in order."""

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
    """`work(item)` for each, in order; at most `most` are begun and not yet asked for.

    An exception comes where its result would. When the consumer stops, what has not begun is given up, and the
    threads have ended when `close` returns.
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
