"""The progress of long work: one line on a terminal's stderr, removed at the end."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import TYPE_CHECKING

from netdsl.app.messages import NORMAL, audible

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

FIRST = 0.5
NEXT = 0.1
"""Time in seconds until the line first appears, and between updates."""


class Progress:
    """`1,024 of 10,000 examples`. Silent in a pipe, and if `beside`, the stream of concurrent output, is a terminal
    too."""

    __slots__ = ("_due", "_shown", "_total", "_unit")

    def __init__(self, unit: str, total: int, *, beside: TextIO | None = None) -> None:
        here = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and audible(NORMAL)
        quiet = not here or (beside is not None and beside.isatty())
        self._due = float("inf") if quiet else monotonic() + FIRST
        self._shown = False
        self._total = total
        self._unit = unit

    def show(self, done: int) -> None:
        now = monotonic()
        if now >= self._due:
            self._due = now + NEXT
            self._shown = True
            sys.stderr.write(f"\r\x1b[K{done:,} of {self._total:,} {self._unit}")
            sys.stderr.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
