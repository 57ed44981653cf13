"""Writing that goes on beside the training."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Writer:
    """One piece of work at a time, in a thread of its own: to wait for a disk takes nothing from who computes.

    What the work raises is raised by whoever asks for it next.
    """

    __slots__ = ("_error", "_thread")

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def begin(self, work: Callable[[], object]) -> None:
        """Do it, as soon as the work before is done."""
        self.wait()
        # No daemon: a process that ends lets the work end before.
        self._thread = Thread(target=self._do, args=(work,), name="netdsl writer", daemon=False)
        self._thread.start()

    def is_busy(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        self.wait()
        return False

    def wait(self) -> None:
        """Until the work is done. Raises what it raised, once."""
        self.end()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def end(self) -> None:
        """The same, and what it raised stays."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
