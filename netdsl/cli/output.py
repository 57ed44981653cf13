"""Outputs of commands: written whole, and never over a file that netdsl did not make."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError
from netdsl.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

SEARCHED = 64
"""A model says who made it in its first bytes, an archive in its last."""


class WouldOverwrite(UserError, code="E0611", exit_code=USAGE_IS_WRONG):
    """The output is there already, and netdsl did not make it."""


@contextmanager
def replace(path: str, *, made: bytes, force: bool) -> Iterator[BinaryIO]:
    """A file to write, which takes its name when it is whole. Raises WouldOverwrite before anything is done.

    What is there may be replaced if it is empty, no regular file, or has the bytes `made` near its beginning or end.
    """
    if not force and os.path.isfile(path) and not _has(path, made):
        raise WouldOverwrite(
            f"{escape(path)} exists, and netdsl did not make it",
            "name another file with -o, or overwrite it with --force",
        )
    with write_atomically(path) as file:
        yield file


def _has(path: str, made: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(SEARCHED)
            file.seek(-min(SEARCHED, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return not head or made in head or made in file.read(SEARCHED)
    except OSError:
        return False
