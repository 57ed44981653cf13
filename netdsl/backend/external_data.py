"""Write a model and its external data as one unit: a model is never found with another model's data."""

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
    """The data file to write, and its name in the model: a relative file name, so that both files can be moved
    together."""

    __slots__ = ("file", "name")

    def __init__(self, file: Writable, name: str) -> None:
        self.file = file
        self.name = name


def data_of(path: str) -> str:
    """Return the path of a model's data; if the model's path is a link, next to the model itself."""
    return (os.path.realpath(path) if os.path.islink(path) else path) + SUFFIX


@contextmanager
def write_pair(path: str, size: int) -> Iterator[tuple[BinaryIO, DataFile]]:
    """Open a model and its data, `PATH.data`, of at least `size` bytes.

    Both are renamed into place if the block ends without an exception; otherwise the old files stay. Fails on entering
    if they cannot be written. If there were data before, neither model nor data exist for an instant.
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
            raise  # from what the caller reads
        raise _cannot(data_of(path) if error.filename in data.names else path, error) from None
    finally:
        model.discard()
        data.discard()


def _staged(path: str, wanted: str, *, links: bool = True) -> Staged:
    """Open a temporary file, which must be on a disk. `path` is its name in messages."""
    try:
        if path == "-":
            raise OSError("external data requires a file on disk")
        target, mode = target_of(wanted)
        if mode is not None and not stat.S_ISREG(mode):
            raise OSError("external data requires a file on disk")
        if not links and os.path.islink(wanted):
            raise OSError("it is a link, which runtimes do not follow")
        name = os.path.basename(target)
        if ".." in name:  # onnx's checker takes it for a way out of the folder
            raise OSError("with external data, the name cannot contain two consecutive dots")
        name.encode()  # the model has to tell it, and protobuf's texts are UTF-8
    except UnicodeEncodeError:
        raise _cannot(path, OSError("its name is not valid text")) from None
    except OSError as error:
        raise _cannot(path, error) from None
    return Staged(target, mode)


def _cannot(path: str, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write {path}: {reason(error)}")


def _exchange(model: Staged, data: Staged) -> None:
    """Move old files aside, the model first, then rename the data into place, and the model last."""
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
    """Lock the folder, where the system can, so that the files of concurrent writers are not mixed."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
