"""A file that is written beside its target, and takes the target's name when it is whole."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


def name_beside(target: str) -> str:
    """A name in a target's folder that no other file has."""
    return os.path.join(os.path.dirname(target), f".netdsl-{os.urandom(6).hex()}.tmp")


def remove_leftovers(folder: str) -> None:
    """Remove the files that writers in a folder left behind when they were killed. Only for who writes there alone."""
    for name in os.listdir(folder):
        if re.fullmatch(r"\.netdsl-[0-9a-f]{12}\.tmp", name):
            with suppress(OSError):
                os.unlink(os.path.join(folder, name))


class Staged:
    """The file, from `open` to either `publish` or `discard`. `mode` is the target's, or None where that is new."""

    __slots__ = ("_file", "_mode", "path", "target")

    def __init__(self, target: str, mode: int | None) -> None:
        self.target = target
        self.path = name_beside(target)
        self._mode = mode
        self._file: BinaryIO | None = None

    @property
    def names(self) -> tuple[str, str]:
        return self.path, self.target

    def open(self) -> BinaryIO:
        self._file = open(self.path, "xb")
        return self._file

    def close(self) -> None:
        """Put all bytes on the disk."""
        assert self._file is not None
        self._file.flush()
        if self._mode is not None:
            os.chmod(self.path, stat.S_IMODE(self._mode))
        os.fsync(self._file.fileno())
        self._file.close()

    def publish(self) -> None:
        os.replace(self.path, self.target)

    def discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        with suppress(OSError):  # a signal may come after the file is there and before it is known here
            os.unlink(self.path)


def staged(target: str, mode: int | None) -> Iterator[BinaryIO]:
    """The whole way: a file to write to, published where nothing goes wrong."""
    file = Staged(target, mode)
    try:
        yield file.open()
        file.close()
        file.publish()
    except BaseException as error:
        file.discard()
        if isinstance(error, OSError) and error.filename == file.path:
            error.filename = target
        raise
