"""Tables in Parquet files, read by pyarrow a batch of rows at a time.

Source: https://parquet.apache.org/docs/file-format/.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

from netdsl.base.files import open_file
from netdsl.base.limits import UNPACKED_BYTES
from netdsl.data.errors import BadTable, MissingPackage
from netdsl.data.table_file import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_ROWS = 4096
"""Number of rows read at a time."""

INDEX = re.compile(r"__index_level_\d+__")
"""Column in which pandas writes the index of a data frame."""


class ParquetTable(Table):
    """A Parquet file. Rows are numbered from 1; numbers are texts that convert back to the same value, and null is an
    empty text."""

    __slots__ = ("_file", "_parquet")

    unit = "row"

    def __init__(self, path: str, *, quotes: bool = True) -> None:
        super().__init__(path, quotes=quotes)
        try:
            from pyarrow.parquet import ParquetFile
        except ModuleNotFoundError:
            raise MissingPackage(
                f"{path} is a Parquet file, and reading it requires pyarrow", "pip install 'netdsl[parquet]'"
            ) from None
        self._file: BinaryIO = open_file(path)
        try:
            with _Damage(path):
                self._parquet: Any = ParquetFile(self._file)
                schema = self._parquet.schema_arrow
                self.header = list(schema.names)
                kinds = {place: kind for place, kind in enumerate(schema.types) if not _is_supported(kind)}
                self.unsupported = {place: str(kind).partition("<")[0] for place, kind in kinds.items()}
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def _check_header(self) -> None:
        if not self.header:
            raise BadTable(f"{self.path} has no columns")
        self._check_names(self.path)
        for number, name in enumerate(self.header):
            if INDEX.fullmatch(name):
                raise BadTable(
                    f"{self.path}, column {number + 1} is the index of a data frame, `{name}`",
                    "pandas leaves it out with `to_parquet(path, index=False)`",
                )
        metadata = self._parquet.metadata
        declared = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
        if max(declared, metadata.num_rows * len(self.header) * 8) > UNPACKED_BYTES:
            raise BadTable(f"{self.path} declares {metadata.num_rows:,} rows, too many to read into memory")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        number = 0
        with _Damage(self.path):
            for batch in self._parquet.iter_batches(BATCH_ROWS):
                columns = [
                    [""] * len(column) if place in self.unsupported else column.to_pylist()
                    for place, column in enumerate(batch.columns)
                ]
                for row in zip(*columns, strict=True):
                    number += 1
                    yield number, ["" if cell is None else str(cell) for cell in row]

    def close(self) -> None:
        self._file.close()


def _is_supported(kind: Any) -> bool:
    """Return whether a type of Arrow is one of numbers or texts."""
    import pyarrow.types as is_type

    if is_type.is_dictionary(kind):
        return _is_supported(kind.value_type)
    checks = ("integer", "floating", "boolean", "string", "large_string", "decimal", "null")
    return any(getattr(is_type, f"is_{each}")(kind) for each in checks)


class _Damage:
    """Turns errors of pyarrow into BadTable."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (GeneratorExit, KeyboardInterrupt, MemoryError)):
            return
        from pyarrow import ArrowException

        if isinstance(error, (ArrowException, OSError, ValueError)):
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
            raise BadTable(f"{self._path} is damaged, or not supported: {reason}") from None
