"""The formats of the outputs of `netdsl run`, by the suffix of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from netdsl.app.archive import archive_about, output_archive
from netdsl.app.output import ARCHIVE, is_on_disk
from netdsl.app.parquet_output import check_pyarrow, is_parquet_output, output_parquet, parquet_about
from netdsl.app.prediction_table import MARKS, output_table
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from netdsl.app.output import Mark
    from netdsl.app.predict import Batch
    from netdsl.app.scores import Reading
    from netdsl.backend.session import Session

    Write = Callable[[Batch], None]


class NoFormat(UserError, code="E0628", title="an unsupported format of outputs", exit_code=USAGE_IS_WRONG):
    """`run` writes its outputs to an archive of NumPy arrays, to a Parquet file or to a table of predictions, so the
    name of the file must end with `.npz`, `.parquet` or `.csv`. `--format json` prints them as JSON.

    ```sh
    netdsl run net.net x.npy -o out.npz
    netdsl run net.net x.npy --format json > out.json
    ```
    """


class Format(NamedTuple):
    """How outputs are written, how netdsl recognizes its files, and what those say about themselves. A table says
    nothing, but the names of its examples."""

    made: Mark
    writer: Callable[[BinaryIO, str], AbstractContextManager[Write]] | None = None
    about: Callable[[str], str | None] | None = None


TABLE = Format(MARKS)
FORMATS = {
    ".npz": Format(ARCHIVE, output_archive, archive_about),
    ".parquet": Format(is_parquet_output, output_parquet, parquet_about),
    ".csv": TABLE,
}


def open_writer(
    path: str, file: BinaryIO, session: Session, readings: Mapping[str, Reading], about: str
) -> AbstractContextManager[Write]:
    """Return what writes the outputs of batches in the format of a path."""
    writer = format_of(path).writer
    return output_table(file, session, readings) if writer is None else writer(file, about)


def format_of(path: str) -> Format:
    """Return the format of a file of outputs; devices, pipes and standard output get an archive, unless they have a
    suffix."""
    return FORMATS[_suffix(path) or ".npz"]


def check_suffix(path: str) -> None:
    """Raise NoFormat if the name of a regular file ends with no suffix of a format, and MissingPackage for a Parquet
    file without pyarrow."""
    if _suffix(path) is None and is_on_disk(path):
        *names, last = FORMATS
        raise NoFormat(
            f"cannot write outputs to {path}",
            f"the name must end with {', '.join(names)} or {last}; --format json prints JSON",
        )
    if _suffix(path) == ".parquet":
        check_pyarrow(path)


def _suffix(path: str) -> str | None:
    return next((suffix for suffix in FORMATS if path.lower().endswith(suffix)), None)
