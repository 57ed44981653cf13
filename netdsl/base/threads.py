"""Threads that are started only if there is memory for them.

`Thread.start` of CPython waits forever for a thread that runs out of memory before it signals its start
(python/cpython issue 140746).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Thread

THREAD_BYTES = 1 << 24
"""Address space in which a thread can start: 8 MB of stack, and as much for Python."""


def thread_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of threads, each with a number after the name. Raises MemoryError."""
    _require_memory(threads)
    return ThreadPoolExecutor(threads, name)


def start(thread: Thread) -> None:
    """Start a thread. Raises MemoryError."""
    _require_memory(1)
    thread.start()


def _require_memory(threads: int) -> None:
    try:
        mmap(-1, threads * THREAD_BYTES).close()
    except OSError:
        raise MemoryError(f"there is not enough memory to start {threads} threads") from None
