"""CSV for programs and for spreadsheets, which compute what looks like a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    Cells = Iterable[object]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of cells that Excel, LibreOffice or Google Sheets evaluate; the last four are full-width forms.

Source: OWASP, "CSV Injection".
"""


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """Return a header and rows as CSV, without a line end behind the last row. A text that a spreadsheet would evaluate
    gets an apostrophe in front; numbers stay numbers."""
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
