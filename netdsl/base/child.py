"""Compute in a child process whose memory is returned to the system when it ends."""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def in_child(function: Callable[[], bytes]) -> bytes | None:
    """Return what a function returns in a child process that starts as a copy of this one; None if the function fails,
    or on systems other than Linux, or if other threads of Python run, whose locks the child would wait for.

    The function may not use other libraries' threads, which do not exist in the child, nor change anything outside it.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return None
    answer, write = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries that the function does not use
            child = os.fork()
    except OSError:  # there is no memory for it
        os.close(answer)
        os.close(write)
        return None
    if child == 0:
        _answer(function, write)
    os.close(write)
    with os.fdopen(answer, "rb") as file:
        try:
            found = file.read()
        finally:
            file.close()  # a child that still writes ends
            _, status = os.waitpid(child, 0)
    return found if status == 0 else None


def _answer(function: Callable[[], bytes], write: int) -> None:
    """Write the function's result, and end the process without what its parent does at its end."""
    code = 1
    try:
        gc.disable()  # which could end sessions, and wait for their threads
        with os.fdopen(write, "wb") as file:
            file.write(function())
        code = 0
    finally:
        os._exit(code)
