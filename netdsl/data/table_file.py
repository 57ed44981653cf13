"""Files of tables: the interface, opening by first bytes, and CSV after RFC 4180."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from netdsl.base.files import mistaken, open_file
from netdsl.data.errors import BadTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

SEPARATORS = ",;\t"
LONGEST_LINE = 2**24
"""Maximum length of a line in bytes, so that a file that is not a table is not read as a single line."""


class Table(ABC):
    """A table: its header, which is checked, and its rows as texts. Messages quote its contents only if `quotes` is
    true."""

    __slots__ = ("header", "path", "quotes", "unsupported")

    unit: ClassVar[str]
    """What the numbers of rows count, in messages."""

    def __init__(self, path: str, *, quotes: bool = True) -> None:
        self.path = path
        self.quotes = quotes
        self.header: list[str] = []
        self.unsupported: dict[int, str] = {}
        """Types of the columns that cannot be read, by index."""

    @property
    def held(self) -> str:
        """The end of a message: the column names."""
        return f"; it has {', '.join(self.header[:20])}" if self.quotes else ""

    @abstractmethod
    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each row, in `unit`, and its cells. Raises BadTable."""

    def check_column(self, place: int) -> None:
        """Raise BadTable if the cells of a column are neither numbers nor texts."""
        if place in self.unsupported:
            called = f" `{self.header[place]}`" if self.quotes else ""
            kind = self.unsupported[place]
            raise BadTable(f"{self.path}, column {place + 1}: the column{called} has the unsupported type {kind}")

    @abstractmethod
    def close(self) -> None: ...

    def _check_names(self, where: str) -> None:
        """Check that each column has a name of its own; `where` begins the message."""
        for number, name in enumerate(self.header):
            if not name:
                raise BadTable(
                    f"{where}, column {number + 1}: the column has no name",
                    "pandas leaves out the column of row numbers with `to_csv(path, index=False)`",
                )
            if name in self.header[:number]:
                called = f"the column `{name}`" if self.quotes else "a column"
                raise BadTable(f"{where}, column {number + 1}: {called} occurs twice")


def open_table(path: str, separator: str | None = None, *, quotes: bool = True) -> Table:
    """Open a CSV or Parquet file, by its first bytes. `separator` is that of a CSV file (default: detected). Raises
    BadTable, and MissingPackage for a Parquet file without pyarrow."""
    with open_file(path) as file:
        parquet = file.read(4) == b"PAR1"
    if not parquet:
        return CsvTable(path, separator, quotes=quotes)
    if separator is not None:
        raise BadTable(f"{path} is a Parquet file, which has no separator")
    from netdsl.data.parquet import ParquetTable

    return ParquetTable(path, quotes=quotes)


class CsvTable(Table):
    """A CSV file. Rows are numbered by their last line."""

    __slots__ = ("_file", "_separator")

    unit = "line"

    def __init__(self, path: str, separator: str | None, *, quotes: bool = True) -> None:
        super().__init__(path, quotes=quotes)
        self._file: BinaryIO = open_file(path)
        try:
            self._separator = separator or self._sniffed()
            _, header = next(self._lines_of_cells(), (1, []))
            self.header = [name.strip() for name in header]
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def _sniffed(self) -> str:
        """Return the separator that splits the first line into the most cells."""
        first = self._line(1)
        if first is None:
            raise BadTable(f"{self.path} is empty: a table begins with the names of its columns")
        try:
            return max(SEPARATORS, key=lambda s: len(next(csv.reader([first], delimiter=s))))
        except csv.Error as error:
            raise BadTable(f"{self.path}, line 1: {error}") from None

    def _check_header(self) -> None:
        path, header = self.path, self.header
        if not header:
            raise BadTable(f"{path} contains only blank lines: a table begins with the names of its columns")
        if all(_is_number(name) for name in header):
            raise BadTable(
                f"{path} has no header: its first row contains only numbers",
                "name the columns in a first row, such as `x1,x2,class`",
            )
        self._check_names(f"{path}, line 1")

    def _line(self, number: int) -> str | None:
        data = self._file.readline(LONGEST_LINE + 1)
        where = f"{self.path}, line {number}"
        if not data:
            return None
        if number == 1:
            if (what := mistaken(data[:64])) or b"\0" in data:
                raise BadTable(f"{self.path} {what or 'is not text: its first line contains NUL'}")
            data = data.removeprefix(b"\xef\xbb\xbf")
        if len(data) > LONGEST_LINE:
            raise BadTable(f"{where} is longer than {LONGEST_LINE:,} bytes")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadTable(f"{where} is not UTF-8, from byte {error.start + 1} on", "save the table as UTF-8") from None

    def _lines(self) -> Iterator[str]:
        number = 1
        while (line := self._line(number)) is not None:
            yield line
            number += 1

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each row's last line, and its cells; blank lines are skipped. Raises BadTable for a row
        whose number of cells differs from the header's."""
        rows = self._lines_of_cells()
        next(rows)
        return rows

    def _lines_of_cells(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the header and the rows."""
        self._file.seek(0)
        reader = csv.reader(self._lines(), delimiter=self._separator, strict=True)
        try:
            for row in reader:
                if row and self.header and len(row) != len(self.header):
                    raise BadTable(
                        f"{self.path}, line {reader.line_num}: the row has {len(row)} cells, but the header has "
                        f"{len(self.header)}"
                    )
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            helps = ["a quote is not closed"] if "end of data" in str(error) else []
            raise BadTable(f"{self.path}, line {reader.line_num}: {error}", *helps) from None

    def close(self) -> None:
        self._file.close()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
