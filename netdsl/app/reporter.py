"""The interface by which use cases report notes, warnings and progress."""

from __future__ import annotations

from contextlib import nullcontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Reporter:
    """Receives the reports of a use case. This implementation ignores them; that of the command line prints."""

    __slots__ = ()

    def note(self, text: str) -> None:
        """Report something that was done or assumed."""

    def warn(self, *lines: str) -> None:
        """Report something that is probably unintended."""

    def progress(self, unit: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Return a context manager whose value is called with the number of completed units."""
        return nullcontext(lambda _: None)


SILENT = Reporter()
