"""Write a model and its external data as a unit, so that a model is never found with the data of another."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from netdsl.base.files import CannotWrite, Staged, name_beside, reason, require_space, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Writable(Protocol):
        def write(self, data: bytes | memoryview, /) -> int: ...


SUFFIX = ".data"

MARK = b"netdsl weights\n"
"""First bytes of a data file written by netdsl."""


class DataFile:
    """A data file that is being written, and the relative path by which the model refers to it."""

    __slots__ = ("file", "name")

    def __init__(self, file: Writable, name: str) -> None:
        self.file = file
        self.name = name


def data_of(path: str) -> str:
    """Return the path of a model's external data: next to the model, or if that is a link, next to its target."""
    return (os.path.realpath(path) if os.path.islink(path) else path) + SUFFIX


@contextmanager
def write_pair(path: str, size: int) -> Iterator[tuple[BinaryIO, DataFile]]:
    """Open a model and its data, `PATH.data`, of at least `size` bytes. Raises CannotWrite.

    Both are renamed into place if the context exits without an exception; otherwise the old files stay. If they replace
    a model with data, neither file exists for a moment.
    """
    model = _staged(path, path)
    data = _staged(data_of(path), model.target + SUFFIX, links=False)
    try:
        require_space(data.target, size)
        yield model.open(), DataFile(data.open(), os.path.basename(data.target))
        data.close()
        model.close()
        with _alone(os.path.dirname(model.target)):
            _exchange(model, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename not in (None, *model.names, *data.names):
            raise  # an error of a file that the caller reads
        raise _cannot(data_of(path) if error.filename in data.names else path, error) from None
    finally:
        model.discard()
        data.discard()


def _staged(path: str, wanted: str, *, links: bool = True) -> Staged:
    """Prepare a temporary file for `wanted`, which must be on disk. `path` is its name in messages."""
    try:
        if path == "-":
            raise OSError("external data requires a file on disk")
        target, mode = target_of(wanted)
        if mode is not None and not stat.S_ISREG(mode):
            raise OSError("external data requires a file on disk")
        if not links and os.path.islink(wanted):
            raise OSError("it is a link, which runtimes do not follow")
        name = os.path.basename(target)
        if ".." in name:  # onnx's checker mistakes it for a parent folder
            raise OSError("with external data, the name cannot contain two consecutive dots")
        name.encode()  # the model contains it, and strings in protobuf are UTF-8
    except UnicodeEncodeError:
        raise _cannot(path, OSError("its name is not valid text")) from None
    except OSError as error:
        raise _cannot(path, error) from None
    return Staged(target, mode)


def _cannot(path: str, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write {path}: {reason(error)}")


def _exchange(model: Staged, data: Staged) -> None:
    """Move the old files aside, the model first, then rename the data into place, and finally the model."""
    old = {file.target: name_beside(file.target) for file in (model, data)} if os.path.lexists(data.target) else {}
    try:
        for target, aside in old.items():
            with suppress(FileNotFoundError):
                os.rename(target, aside)
        data.publish()
        model.publish()
    finally:
        done = not os.path.lexists(model.path)
        if not done and not os.path.lexists(data.path):
            os.unlink(data.target)
        for target, aside in reversed(old.items()):
            with suppress(FileNotFoundError):
                if done:
                    os.unlink(aside)
                else:
                    os.replace(aside, target)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Lock the folder, if the system can, so that concurrent writers do not mix their files."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
