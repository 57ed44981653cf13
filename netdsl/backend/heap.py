"""Return memory to the system: while weights are drawn or loaded, and after a graph has been compiled."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = 2**24
"""Minimum size of large weights in bytes."""

RETURNED = 2**20
"""Minimum size in bytes of blocks that are returned when they are freed."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""

GROWN = 2**25
"""The size in bytes up to which glibc raises its threshold for blocks outside of its heap."""


@contextmanager
def returned_blocks(size: int) -> Iterator[None]:
    """Let glibc return freed parts of weights of this size in bytes to the system, if they are large.

    onnxruntime copies the weights of a model, packs the copies for its matrix products, and frees them one by one;
    threads draw weights in blocks. glibc takes blocks of such sizes from its heaps once one of them has been freed,
    where gaps remain: a model takes twice its size, and the heap of a thread keeps its end.
    Afterwards, the thresholds are those that glibc itself would have arrived at.
    """
    mallopt = _mallopt() if size >= LARGE else None
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, RETURNED)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, GROWN)
        mallopt(TRIM_THRESHOLD, 2 * GROWN)


def return_memory() -> None:
    """Free graphs that nobody uses, whose cycles the garbage collector may not visit for a long time, and let glibc
    return freed memory to the system."""
    gc.collect()
    if trim := _function("malloc_trim"):
        trim(0)


def _mallopt() -> Callable[..., int] | None:
    """Return glibc's function, or None if there is none or the user sets its parameters."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    return _function("mallopt")


def _function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, or None if it has none of this name."""
    import ctypes

    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # other C libraries, and Windows
        return None
    return function
