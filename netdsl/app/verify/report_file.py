"""Open the file of a report, by whose beginning netdsl recognizes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from netdsl.app.output import replace
from netdsl.app.verify.outcome import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

MARK = f'{{"schema": "{SCHEMA.partition("/")[0]}/'.encode()


def report_file(path: str, *, force: bool, reads: Iterable[str | None]) -> AbstractContextManager[BinaryIO]:
    """Open a report, which is written whole or not at all. Raises UserError."""
    return replace(path, made=MARK, force=force, reads=reads)
