"""Tables in text files after RFC 4180: separated by `,`, `;` or tabs, with quotes and column names in the first row."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from netdsl.base.files import mistaken, open_file
from netdsl.data.errors import BadTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

SEPARATORS = ",;\t"
LONGEST_LINE = 2**24
"""Maximum length of a line; a file with a longer one is not a table."""


class Table:
    """A table's header, checked, and its rows. Messages quote what is in it only with `quotes`."""

    __slots__ = ("_file", "_separator", "header", "path", "quotes")

    def __init__(self, path: str, separator: str | None, *, quotes: bool = True) -> None:
        self.path = path
        self.quotes = quotes
        self.header: list[str] = []
        self._file: BinaryIO = open_file(path)
        try:
            self._separator = separator or self._sniffed()
            _, header = next(self.rows(), (1, []))
            self.header = [name.strip() for name in header]
            self._judge_header()
        except BaseException:
            self._file.close()
            raise

    def _sniffed(self) -> str:
        """Return the separator that splits the first line into the most cells."""
        first = self._line(1)
        if first is None:
            raise BadTable(f"{self.path} is empty: a table begins with its columns' names")
        try:
            return max(SEPARATORS, key=lambda s: len(next(csv.reader([first], delimiter=s))))
        except csv.Error as error:
            raise BadTable(f"{self.path}, line 1: {error}") from None

    def _judge_header(self) -> None:
        path, header = self.path, self.header
        if not header:
            raise BadTable(f"{path} holds blank lines alone: a table begins with its columns' names")
        if all(_is_number(name) for name in header):
            raise BadTable(
                f"{path} has no header: its first row holds numbers alone",
                "name the columns in a first row, such as `x1,x2,class`",
            )
        for number, name in enumerate(header):
            if not name:
                raise BadTable(
                    f"{path}, line 1, column {number + 1}: the column has no name",
                    "pandas leaves out the column of row numbers with `to_csv(path, index=False)`",
                )
            if name in header[:number]:
                called = f"a column `{name}`" if self.quotes else "a column of this name"
                raise BadTable(f"{path}, line 1, column {number + 1}: there is {called} already")

    @property
    def held(self) -> str:
        """The names of the columns, for the end of a message."""
        return f"; it has {', '.join(self.header[:20])}" if self.quotes else ""

    def _line(self, number: int) -> str | None:
        data = self._file.readline(LONGEST_LINE + 1)
        where = f"{self.path}, line {number}"
        if not data:
            return None
        if number == 1:
            if (what := mistaken(data[:64])) or b"\0" in data:
                raise BadTable(f"{self.path} {what or 'is no text: its first line has a NUL'}")
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
        """Yield the number of a row's last line and its cells, starting with the header; blank lines are skipped.
        Raises BadTable for a row whose number of cells differs from the header's."""
        self._file.seek(0)
        reader = csv.reader(self._lines(), delimiter=self._separator, strict=True)
        try:
            for row in reader:
                if row and self.header and len(row) != len(self.header):
                    raise BadTable(
                        f"{self.path}, line {reader.line_num}: the row has {len(row)} cells, and the header "
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
