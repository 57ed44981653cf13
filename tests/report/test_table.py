"""CSV that spreadsheets open: no cell of a user's text is a formula, and numbers are numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from netdsl.report.table import csv_text
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "-", "＝1+1", "+x", "-x"]
INERT = ["", "a", "a=1", "1-2", " =1", "'=1", "64x56x56", "-1.5", "+2", "-1e-3", -1.5, 3, None, "a,b", '"q"', "[2, H]"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text: str) -> None:
    assert list(csv.reader(io.StringIO(csv_text(["h"], [[text]]), newline=""))) == [["h"], [f"'{text}"]]


@pytest.mark.parametrize("value", INERT)
def test_other_cells_are_unchanged(value: object) -> None:
    rows = list(csv.reader(io.StringIO(csv_text(["h", "n"], [[value, 1]]), newline="")))
    assert rows == [["h", "n"], ["" if value is None else str(value), "1"]]


def test_a_protocol_and_a_file_name_are_no_formulas(netdsl: Commands) -> None:
    text = 'net a {\n  about { protocol "=HYPERLINK(1)"; top1 1.5 }\n  input x 4; dense 2\n}\n'
    Path("=a.net").write_text(text)
    (row,) = csv.DictReader(io.StringIO(netdsl("compare", "=a.net", "--format", "csv").out))
    assert (row["file"], row["protocol"], row["top1"]) == ("'=a.net", "'=HYPERLINK(1)", "1.5")
