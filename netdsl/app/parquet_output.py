"""Write outputs as a Parquet file, some row groups in memory at a time.

Source: https://parquet.apache.org/docs/file-format/.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from netdsl.app.archive import check_example
from netdsl.app.prediction_table import NoTable
from netdsl.data.errors import MissingPackage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.app.predict import Batch
    from netdsl.backend.session import Array

NAMES = "name"
"""Column of the names of the examples."""

ABOUT = b"netdsl"
"""Key of the metadata by which netdsl recognizes its own files."""

GROUP = 2**24
"""Size in bytes at which a row group ends."""


def check_pyarrow(path: str) -> None:
    """Raise MissingPackage without pyarrow."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise MissingPackage(f"writing {path} requires pyarrow", "pip install 'netdsl[parquet]'")


@contextmanager
def output_parquet(file: BinaryIO, about: str = "") -> Iterator[Callable[[Batch], None]]:
    """Yield a function that adds the examples of a batch, and raises UserError: a column with their names, and one for
    each output, of lists of fixed sizes. `about` goes into the metadata of the file."""
    writer = _Writer(file, about)
    try:
        yield writer.add
        writer.flush()
    finally:
        writer.close()


class _Writer:
    """Writes row groups of whole batches."""

    __slots__ = ("_about", "_bytes", "_examples", "_file", "_tables", "_writer")

    def __init__(self, file: BinaryIO, about: str) -> None:
        self._file = file
        self._about = about
        self._examples: dict[str, tuple[int, ...]] = {}
        self._tables: list[Any] = []
        self._bytes = 0
        self._writer: Any = None

    def add(self, batch: Batch) -> None:
        import pyarrow

        for name, array in batch.outputs.items():
            check_example(name, self._examples.setdefault(name, array.shape[1:]), array.shape[1:])
        columns = {name: _column(name, array) for name, array in batch.outputs.items()}
        self._tables.append(pyarrow.table({NAMES: pyarrow.array(batch.names, pyarrow.string()), **columns}))
        self._bytes += self._tables[-1].nbytes
        if self._bytes >= GROUP:
            self.flush()

    def flush(self) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        if not self._tables:
            return
        table = pyarrow.concat_tables(self._tables)
        if self._writer is None:
            schema = table.schema.with_metadata({ABOUT: self._about})
            self._writer = ParquetWriter(self._file, schema, use_dictionary=False)
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=max(1, len(table)))
        self._tables, self._bytes = [], 0

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _column(name: str, array: Array) -> Any:
    """Return the examples [n, *] as lists in lists, the innermost of numbers, each of a fixed size."""
    import numpy as np
    import pyarrow

    if name == NAMES:
        raise NoTable(f"the output `{name}` has the name of the column for the names of the examples")
    if 0 in array.shape[1:]:
        raise NoTable(f"the output `{name}` has an axis of length 0")
    column = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
    for size in reversed(array.shape[1:]):
        column = pyarrow.FixedSizeListArray.from_arrays(column, size)
    return column


def parquet_about(path: str) -> str | None:
    """Return what a Parquet file of outputs says about itself; None if it is none. Raises MissingPackage."""
    check_pyarrow(path)
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        metadata = read_metadata(path).metadata or {}
    except (OSError, ArrowException):
        return None
    return metadata[ABOUT].decode(errors="replace") if ABOUT in metadata else None


def is_parquet_output(path: str) -> bool:
    """Return whether a file is a Parquet file of outputs. Raises MissingPackage."""
    return parquet_about(path) is not None
