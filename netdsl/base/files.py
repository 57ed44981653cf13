"""Files: user paths, reading sources, and atomic writes."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedWriter, FileIO

from netdsl.base.limits import SOURCE_BYTES
from netdsl.base.text import Source
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

TYPE_CHECKING = False  # importing typing takes as long as all of this
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from _typeshed import ReadableBuffer


def name_beside(target: str) -> str:
    """Return an unused file name in the folder of a target."""
    return f"{_names_beside(target)}{os.urandom(4).hex()}.tmp"


def _names_beside(target: str) -> str:
    """Return how the names of temporary files of a target begin."""
    from zlib import crc32

    return os.path.join(os.path.dirname(target), f".netdsl-{crc32(os.fsencode(os.path.basename(target))):08x}")


def remove_leftovers(folder: str) -> None:
    """Remove temporary files left behind by killed writers. Call this only if no other process writes to the folder."""
    for name in os.listdir(folder):
        if re.fullmatch(r"\.netdsl-[0-9a-f]{16}\.tmp", name):
            with suppress(OSError):
                os.unlink(os.path.join(folder, name))


def remove_leftovers_of(path: str) -> None:
    """Remove temporary files of one target left behind by killed writers, and none that a living one has locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    from glob import escape, glob

    for name in glob(f"{escape(_names_beside(os.path.realpath(path)))}*.tmp"):
        with suppress(OSError), open(name, "rb") as file:  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name)


FLUSHED = 2**23
"""Number of bytes of a large file that are sent to the disk while the next ones are made."""


class _Early(FileIO):
    """A new file that is sent to the disk while it is written, so that the final sync has little to wait for."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "xb")
        self._begin = self._end = 0

    def write(self, data: ReadableBuffer, /) -> int:
        count = super().write(data)
        self._end += count
        if self._end - self._begin >= FLUSHED:
            with suppress(AttributeError, OSError):  # other systems, and some file systems, have no such advice
                os.posix_fadvise(self.fileno(), self._begin, self._end - self._begin, os.POSIX_FADV_DONTNEED)
            self._begin = self._end
        return count


class Staged:
    """A temporary file, from `open` to `publish` or `discard`. `mode` is that of the target, or None if it is new."""

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
        self._file = BufferedWriter(_Early(self.path))
        with suppress(ImportError, OSError):  # Windows, and some network file systems, have no such locks
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._file

    def close(self) -> None:
        """Flush all bytes to disk."""
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
    """Open a temporary file, and publish it if no exception occurs."""
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


WRITER_SECONDS = 1.0
"""Time in seconds to wait for a writer to open a named pipe."""


class FileProblem(UserError, exit_code=USAGE_IS_WRONG):
    """A file that cannot be used."""


class MissingFile(FileProblem, code="E0601", title="a missing file"):
    """The file does not exist.

    ```sh
    ls *.net
    netdsl zoo
    ```
    """


class NotAFile(FileProblem, code="E0602", title="a path that is not a file"):
    """The path is a folder or a device, but a file is required.

    ```sh
    netdsl check folder/net.net
    ```
    """


class Unreadable(FileProblem, code="E0603", title="an unreadable file"):
    """The operating system does not allow reading the file, usually because of its permissions.

    ```sh
    chmod u+r net.net
    ```
    """


class TooLarge(FileProblem, code="E0604", title="a source file that is too large", exit_code=1):
    """A source file has at most 2 MB. Larger networks are not written by hand.

    ```sh
    du -h net.net
    ```
    """


class NotText(FileProblem, code="E0605", title="a source file that is not text", exit_code=1):
    """A source file is UTF-8 text without NUL characters. A byte order mark and all line endings are accepted.

    ```sh
    iconv -f UTF-16 -t UTF-8 net.net > utf8.net
    netdsl check utf8.net
    ```
    """


class CannotWrite(FileProblem, code="E0606", title="an output that cannot be written"):
    """The output cannot be written: the folder is missing, there is no permission, or the disk is full. An existing
    file stays intact.

    ```sh
    mkdir models
    netdsl compile lenet5 -o models/lenet5.onnx
    ```
    """


class NoWorkingFolder(FileProblem, code="E0656", title="a missing working folder"):
    """The working folder has been deleted or moved since the shell entered it, so relative paths and programs on
    standard input cannot be resolved. Absolute paths work.

    ```sh
    cd "$HOME"
    ```
    """


def absolute(path: str) -> str:
    """Return a path as seen from the root, not normalized. Raises NoWorkingFolder."""
    try:
        return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        raise NoWorkingFolder("the working folder no longer exists", "change to another one with `cd`") from None


def problem_of(error: OSError | ValueError, path: str) -> FileProblem:
    """Return the problem that prevents a file from being read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return MissingFile(f"there is no file {path}")
    if isinstance(error, IsADirectoryError):
        return NotAFile(f"{path} is a folder, not a file")
    if isinstance(error, PermissionError):
        return Unreadable(f"{path} may not be read: permission denied")
    return Unreadable(f"{path} cannot be read: {error.strerror or error}")


def open_file(path: str) -> BinaryIO:
    """Open a regular file for reading bytes; it has a size and can seek."""
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    except (OSError, ValueError) as error:
        raise problem_of(error, path) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotAFile(f"{path} is a pipe or a device; this needs a file on disk")
    return file


def is_within(folder: str, path: str) -> bool:
    """Return whether a path is a folder or lies in it, with all links resolved."""
    root = os.path.realpath(folder)
    try:
        return os.path.commonpath((root, os.path.realpath(path))) == root
    except ValueError:  # a NUL, or another drive
        return False


def beneath(folder: str, path: str) -> str | None:
    """Return a path relative to a folder with all links resolved, if it then lies in that folder; None elsewhere."""
    joined = os.path.join(folder, path)
    found = os.path.realpath(joined) if is_within(folder, joined) else None
    return None if found == os.path.realpath(folder) else found


def mistaken(head: bytes) -> str | None:
    """Return what a file is if its first bytes (64 suffice) show that it is another format, otherwise an empty
    string."""
    text = head.lstrip().lower()
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-LFS pointer, not the file itself; `git lfs pull` fetches it"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, most likely an error message that was saved by its address"
    return None


def read_source(path: str, shown: str | None = None) -> Source:
    """Return the text of a `.net` file, or of standard input for `-`.

    `shown` is the name in messages, if it differs from the path. Reading stops at the size limit, also for endless
    devices.
    """
    name = shown or ("<stdin>" if path == "-" else path)
    return Source(name, read_text(path, name))


def read_text(path: str, name: str | None = None) -> str:
    """Return the text of a file unchanged, including line endings and byte order mark; `name` is its name in
    messages."""
    name = name or path
    try:
        data = _read_limited(path)
    except (OSError, ValueError) as error:
        raise problem_of(error, name) from None
    return decoded(data, name)


def _read_limited(path: str) -> bytes:
    if path == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise OSError(errno.EBADF, "the standard input is closed")
        return sys.stdin.buffer.read(SOURCE_BYTES + 1)
    if stat.S_ISFIFO(os.stat(path).st_mode):
        return _read_pipe(path)
    with open(path, "rb") as file:
        return file.read(SOURCE_BYTES + 1)


def _read_pipe(path: str) -> bytes:
    """Read a named pipe. Opening it blocks until it has a writer, so check for one first."""
    from select import select

    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as pipe:
        ready, _, _ = select([pipe], [], [], 0)
        if not ready:
            select([pipe], [], [], WRITER_SECONDS)
        head = pipe.read(1)
        if head == b"" and not ready:
            raise OSError(errno.EPIPE, "nobody writes into this pipe")
        os.set_blocking(descriptor, True)
        parts = [head or b""]
        while sum(map(len, parts)) <= SOURCE_BYTES and (part := pipe.read(SOURCE_BYTES + 1)):
            parts.append(part)
    return b"".join(parts)


_OTHER_FILES = {
    "onnx": "this takes the source of a net; `run`, `eval`, `weights`, `profile` and others take compiled models",
    **dict.fromkeys(
        ("safetensors", "npz", "pth", "pt", "keras", "h5"),
        "this takes the source of a net; weights are for `--weights`, and `netdsl weights` lists them",
    ),
}
"""What to do with files that are not sources, by suffix."""


def decoded(data: bytes, name: str) -> str:
    """Decode the bytes of a source. Raises TooLarge or NotText."""
    if len(data) > SOURCE_BYTES:
        raise TooLarge(f"{name} is larger than {SOURCE_BYTES:,} bytes, the limit of a source")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise NotText(f"{name} is UTF-16 text", "save it as UTF-8")
    if b"\0" in data:
        suffix = name.rpartition(".")[2]
        helps = [_OTHER_FILES[suffix]] if suffix in _OTHER_FILES else []
        raise NotText(f"{name} is not text: NUL character at {_place(data, data.index(0))}", *helps)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place(data, error.start)
        raise NotText(f"{name} is not valid UTF-8 at {place}: 0x{data[error.start]:02x}", "save it as UTF-8") from None


def _place(data: bytes, offset: int) -> str:
    head = data[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return f"byte {offset} (line {head.count(10) + 1})"


@contextmanager
def write_atomically(path: str, size: int = 0) -> Iterator[BinaryIO]:
    """Open a binary file of at least `size` bytes, which is renamed to `path` in one step if the block ends without an
    exception.

    Until then the bytes are in a temporary file beside the target, which any exception removes, including Ctrl-C. Links
    are followed, devices and pipes are written directly, and `-` is standard output. Fails on entering if the target
    cannot be written.
    """
    if path == "-":
        yield from _write_to_stdout()
        return
    target = path
    try:
        target, mode = target_of(path)
        direct = mode is not None and not stat.S_ISREG(mode)
        if not direct:
            require_space(target, size)
        yield from _write_directly(target) if direct else staged(target, mode)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename not in (None, path, target):
            raise  # from what the caller reads
        raise CannotWrite(f"cannot write {path}: {reason(error)}") from None


def write_all(contents: Mapping[str, bytes]) -> None:
    """Write several files, none of them before there is space for all. Raises CannotWrite."""
    with ExitStack() as stack:
        files = [stack.enter_context(write_atomically(path)) for path in contents]
        for file, (path, data) in zip(files, contents.items(), strict=True):
            try:
                file.write(data)
                file.flush()
            except OSError as error:
                error.filename = path  # or the last one is blamed
                raise


def target_of(path: str) -> tuple[str, int | None]:
    """Return the target of a path after links, and its mode. Raises OSError if it cannot be written."""
    try:
        target = os.path.realpath(absolute(path))
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return target, None
    except ValueError as error:
        raise OSError(errno.EINVAL, f"no file can have this name: {error}") from None
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "it is a folder")
    if not os.access(target, os.W_OK):
        if not os.path.exists(target):  # another writer exchanges it at this very moment
            return target, None
        raise OSError(errno.EACCES, "it is read-only")
    return target, mode


def require_space(target: str, size: int) -> None:
    """Raise OSError where a file of `size` bytes does not fit on its disk."""
    folder = os.path.dirname(target)
    if not size or not os.path.isdir(folder):  # opening the file reports the error
        return
    from shutil import disk_usage

    total, used, free = disk_usage(folder)
    if getattr(os, "geteuid", lambda: 1)() == 0:
        free = total - used  # root may use the reserve
    if total and size > free:  # some network file systems tell nothing
        raise OSError(errno.ENOSPC, f"it takes {size:,} bytes, but only {free:,} are free")


def reason(error: OSError) -> str:
    """Return why a file cannot be written."""
    if isinstance(error, FileNotFoundError):
        return "its folder does not exist"
    if isinstance(error, NotADirectoryError):
        return "its folder is not a folder"
    return (error.strerror or str(error)).lower()


def _write_to_stdout() -> Iterator[BinaryIO]:
    if sys.stdout is None or sys.stdout.closed:
        raise CannotWrite("cannot write: the standard output is closed")
    try:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        raise CannotWrite(f"cannot write to the standard output: {reason(error)}") from None


def _write_directly(target: str) -> Iterator[BinaryIO]:
    with open(target, "wb") as file:
        yield file
