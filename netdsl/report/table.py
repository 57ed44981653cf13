"""Tables as aligned text and as CSV, and data as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import escape, width

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    Cells = Iterable[object]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of cells that Excel, LibreOffice or Google Sheets evaluate; the last four are full-width forms.

Source: OWASP, "CSV Injection".
"""


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), gap: int = 2) -> list[str]:
    """Return a line for each row of cells, escaped and in columns with `gap` spaces between them; those in `right` are
    aligned to the right."""
    rows = [[*map(escape, row)] for row in rows]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for at, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (wide - width(cell))
            cells.append(blank + cell if at in right else cell + blank)
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def json_number(number: object) -> int | str:
    """Return a size or count as JSON data: an integer, or a formula as text."""
    return number if isinstance(number, int) else str(number)


def json_text(data: object) -> str:
    """Return data as JSON, in one line of ASCII; numbers that are not finite are null."""
    from json import dumps, loads

    try:
        return dumps(data, allow_nan=False)
    except ValueError:
        return dumps(loads(dumps(data), parse_constant=lambda _: None))


def markdown_text(head: Sequence[str], rows: Iterable[Cells]) -> str:
    """Return a header and rows as a GitHub table, escaped; None is an empty cell."""
    lines = [[("" if cell is None else escape(str(cell)).replace("|", "\\|")) for cell in row] for row in rows]
    table = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def csv_text(head: Cells, rows: Iterable[Cells]) -> str:
    """Return a header and rows as CSV, without a line end after the last row. A text that a spreadsheet would evaluate
    is prefixed with an apostrophe; numbers stay numbers."""
    from csv import writer
    from types import SimpleNamespace

    lines: list[str] = []
    file = writer(SimpleNamespace(write=lines.append))  # its own line ends, CRLF, make it quote a lone CR too
    for row in (head, *rows):
        file.writerow([_inert(cell) for cell in row])
    return "\n".join(line.removesuffix("\r\n") for line in lines)


def _inert(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
