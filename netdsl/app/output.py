"""Write outputs of commands atomically, and never over a file that netdsl did not write."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from netdsl.base.files import write_atomically
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from netdsl.backend.external_data import DataFile
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas

    Mark = bytes | tuple[bytes, ...] | Callable[[str], bool]

MODEL = b"\x12\x06netdsl"
"""The producer's name in protobuf, among the first bytes of a model."""

ARCHIVE = b"made by netdsl"
"""The comment among the last bytes of an archive, by which netdsl recognizes its own."""

SEARCHED = 64


class WouldOverwrite(UserError, code="E0611", title="an output that exists", exit_code=USAGE_IS_WRONG):
    """The output exists and was not written by netdsl.

    ```sh
    netdsl compile lenet5 -o other.onnx
    netdsl compile lenet5 --force
    ```
    """


class WouldDestroy(UserError, code="E0613", title="an output that is also an input", exit_code=USAGE_IS_WRONG):
    """The output is one of the files that the command reads. Not even `--force` overwrites it.

    ```sh
    netdsl compile net.net -o new.onnx
    ```
    """


class NotAPicture(UserError, code="E0643", title="an unsupported image format", exit_code=USAGE_IS_WRONG):
    """Images are written as SVG, PNG or PDF, so the name of the output must end with `.svg`, `.png` or `.pdf`. `draw`
    also writes `.dot` and `.mmd`.

    ```sh
    netdsl draw net.net -o net.svg
    ```
    """


@contextmanager
def replace(
    path: str, *, made: Mark, force: bool, reads: Iterable[str | None] = (), size: int = 0
) -> Iterator[BinaryIO]:
    """Open a temporary file of at least `size` bytes, and rename it to `path` when it is complete.

    An existing file is replaced with `force`, or if it is empty, is not a regular file, or contains the bytes `made`
    near its beginning or end; a mark that is a line has the newlines around it, and one that is a function judges the
    path. Raises WouldDestroy if it is one of `reads`, WouldOverwrite or CannotWrite, before anything is written.
    """
    _judge(path, made, force, reads)
    with signals_clean_up(), write_atomically(path, size) as file:
        yield file


@contextmanager
def replace_model(
    path: str, weights: int, *, apart: bool, force: bool, reads: Iterable[str | None] = ()
) -> Iterator[tuple[BinaryIO, DataFile | None]]:
    """Open a model like `replace`, and its external data if `apart`, or if the weights are too large for one file."""
    from netdsl.backend.compile import ONE_FILE

    if not apart and not (is_on_disk(path) and weights > ONE_FILE):
        with replace(path, made=MODEL, force=force, reads=reads, size=weights) as file:
            yield file, None
        return
    from netdsl.backend.external_data import MARK, data_of, write_pair

    reads = tuple(reads)
    _judge(path, MODEL, force, reads)
    _judge(data_of(path), MARK, force, reads)
    with signals_clean_up(), write_pair(path, weights) as files:
        yield files


@contextmanager
def replace_picture(path: str, *, force: bool, reads: Iterable[str | None] = ()) -> Iterator[Callable[[Canvas], None]]:
    """Yield a function that writes a canvas to a file, replaced like by `replace`. Raises UserError.

    The suffix of the path determines the format.
    """
    form = picture_form(path)
    with replace(path, made=ARCHIVE, force=force, reads=reads) as file:

        def write(canvas: Canvas) -> None:
            file.write(canvas.encode(form))

        yield write


def picture_form(path: str, texts: Sequence[str] = ()) -> str:
    """Return the format that a file name ends with: that of a picture whose package is installed, or one of `texts`.
    Raises NotAPicture, MissingPackage."""
    form = path.lower().rpartition(".")[2]
    if form in texts:
        return form
    from netdsl.report.canvas import PICTURE_FORMS, check_installed

    if form not in PICTURE_FORMS:
        *names, last = [f".{name}" for name in (*PICTURE_FORMS, *texts)]
        raise NotAPicture(f"cannot draw to {path}", f"the name must end with {', '.join(names)} or {last}")
    check_installed(form)
    return form


def is_on_disk(path: str) -> bool:
    """Return whether an output is or will be a regular file."""
    return path != "-" and (os.path.isfile(path) or not os.path.exists(path))


def sources(net: Net) -> set[str]:
    """Return the source files of a net, which no output may replace."""
    return {net.source.name, *(node.span.source.name for node in net.nodes)}


def _judge(path: str, made: Mark, force: bool, reads: Iterable[str | None]) -> None:
    """Raise WouldDestroy or WouldOverwrite if a file must not be replaced."""
    for read in reads:
        if read and path != "-" and _same(path, read):
            raise WouldDestroy(f"{path} is an input of this command, and cannot also be its output")
    if not force and os.path.isfile(path) and not _has(path, made):
        raise WouldOverwrite(
            f"{path} exists and was not written by netdsl",
            "choose another file, or overwrite this one with --force",
        )
    if path == "-" and sys.stdout.isatty():
        raise WouldOverwrite("refusing to write binary output to a terminal", "name a file with -o")


def _same(path: str, other: str) -> bool:
    try:
        return os.path.isfile(path) and os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def _has(path: str, made: Mark) -> bool:
    if callable(made):
        return os.path.getsize(path) == 0 or made(path)
    marks = (made,) if isinstance(made, bytes) else made
    try:
        with open(path, "rb") as file:
            head = b"\n" + file.read(SEARCHED)
            file.seek(-min(SEARCHED, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read(SEARCHED)
            return head == b"\n" or any(mark in head or mark in tail for mark in marks)
    except OSError:
        return False


@contextmanager
def signals_clean_up() -> Iterator[None]:
    """Turn termination signals into exceptions, so that no partial file remains."""
    import signal
    import threading

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    asked = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        asked = []
    before = {number: signal.getsignal(number) for number in asked}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # an ignored signal stays ignored, such as SIGHUP by nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
