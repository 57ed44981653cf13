"""Write outputs as an .npz archive, one batch in memory at a time."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from netdsl.app.output import ARCHIVE
from netdsl.base.shape import format_shape
from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from tempfile import SpooledTemporaryFile

    from netdsl.app.predict import Batch
    from netdsl.backend.session import Array

IN_MEMORY = 2**25
"""Size in bytes above which an output is spooled to a temporary file."""


class OutputsDiffer(UserError, code="E0621", title="outputs of different sizes"):
    """An output has a different size for each example, so the results cannot be stored in one array."""


def check_example(name: str, first: tuple[int, ...], later: tuple[int, ...]) -> None:
    """Raise OutputsDiffer if two examples have outputs of different shapes."""
    if first != later:
        here, there = format_shape(first), format_shape(later)
        raise OutputsDiffer(f"the output `{name}` is {here} for some examples and {there} for others")


class _Spool:
    """Collects the results of one output, concatenated along the first axis."""

    __slots__ = ("count", "dtype", "example", "file", "name")

    def __init__(self, name: str, first: Array, file: SpooledTemporaryFile[bytes]) -> None:
        self.name = name
        self.dtype = first.dtype
        self.example = first.shape[1:]
        self.count = 0
        self.file = file

    def add(self, batch: Array) -> None:
        import numpy as np

        check_example(self.name, self.example, batch.shape[1:])
        self.count += len(batch)
        try:
            self.file.write(np.ascontiguousarray(batch).data.cast("B") if batch.size else b"")
        except OSError as error:
            from tempfile import gettempdir

            error.filename = gettempdir()  # the temporary file failed, not the output
            raise


@contextmanager
def output_archive(file: BinaryIO, about: str = "") -> Iterator[Callable[[Batch], None]]:
    """Yield a function that collects the outputs of a batch, and raises UserError.

    When the context exits, write one array per output, concatenated along the first axis. `about` goes into the
    comment of the archive.
    """
    from tempfile import SpooledTemporaryFile

    spools: dict[str, _Spool] = {}
    with ExitStack() as stack:

        def add(batch: Batch) -> None:
            for name, array in batch.outputs.items():
                if name not in spools:
                    spools[name] = _Spool(name, array, stack.enter_context(SpooledTemporaryFile(IN_MEMORY)))
                spools[name].add(array)

        yield add
        _zip(file, spools, about.encode() + ARCHIVE)


def _zip(file: BinaryIO, spools: dict[str, _Spool], comment: bytes) -> None:
    import os
    import stat
    import zipfile
    from shutil import copyfileobj
    from types import SimpleNamespace

    from numpy.lib import format

    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # /dev/null reports position 0 after each write
        file = cast("BinaryIO", SimpleNamespace(write=file.write, flush=file.flush))
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = comment
        for name, spool in spools.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # with a fixed date, 1980, so that equal outputs give equal bytes
            header = {
                "descr": format.dtype_to_descr(spool.dtype),
                "fortran_order": False,
                "shape": (spool.count, *spool.example),
            }
            with archive.open(entry, "w", force_zip64=True) as member:
                format.write_array_header_1_0(member, header)
                spool.file.seek(0)
                copyfileobj(spool.file, member)


def archive_about(path: str) -> str:
    """Return what an archive of outputs says about itself; an empty string if it is none."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment
    except (OSError, zipfile.BadZipFile):
        return ""
    return comment.removesuffix(ARCHIVE).decode(errors="replace") if comment.endswith(ARCHIVE) else ""
