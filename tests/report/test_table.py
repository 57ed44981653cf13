"""CSV that spreadsheets open: no cell of a user's text is a formula, and numbers are numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from netdsl.report.table import csv_text, json_text
from tests.support.cli_tools import Commands, netdsl, strict

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


def test_numbers_that_are_not_finite_are_null_in_json() -> None:
    data = {"a": float("nan"), "b": [0.1, float("-inf"), {"c": (float("inf"), "NaN é")}]}
    assert strict(json_text(data)) == {"a": None, "b": [0.1, None, {"c": [None, "NaN é"]}]}


def test_an_undefined_figure_is_null_in_json(netdsl: Commands) -> None:
    netdsl.write(n='net n { input x [3, 2]; conv 1 4 }\ntrain n { data npz "x.npz"; loss ctc; batch 2; epochs 1 }')
    np.savez("x.npz", x=np.ones((2, 3, 2), np.float32), target=np.full((2, 1), -1))
    np.savez("w.npz", **{"conv1.weight": np.ones((4, 3, 1), np.float32), "conv1.bias": np.zeros(4, np.float32)})
    found = strict(netdsl("eval", "n.net", "--weights", "w.npz", "--data", "x.npz", "--json").out)
    assert (found["examples"], found["edit"]) == (2, None)
