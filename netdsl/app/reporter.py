"""What a use case reports while it works: notes, warnings and progress."""

from __future__ import annotations

from contextlib import nullcontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Reporter:
    """Receives the reports of a use case. This one is silent; that of the command line prints."""

    __slots__ = ()

    def note(self, text: str) -> None:
        """Report what was done or assumed."""

    def warn(self, *lines: str) -> None:
        """Report what is probably not intended."""

    def progress(self, unit: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Return a context that reports the progress of long work: call its value with the number of units done."""
        return nullcontext(lambda _: None)


SILENT = Reporter()
