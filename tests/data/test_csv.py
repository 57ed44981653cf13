"""Tables: what is read, held against the csv module and NumPy, and what is told of bad ones (row 87)."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.kinds import KINDS
from netdsl.data.spec import DataSpec, Target
from netdsl.data.table_file import LONGEST_LINE
from netdsl.ir.names import Names


def net(*shape: int, classes: int = 3, dtype: str = "f32", **more: Any) -> DataSpec:
    return DataSpec({"x": (shape, dtype)}, {"y": Target("y", "class", classes=classes)}, **more)


def opened(folder: Path, text: str | bytes, wanted: DataSpec | None = None, *target: str, **more: Any) -> Dataset:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return KINDS["csv"](file=str(path), target=target or ("c",), **more).open(wanted or net(2))


def content(dataset: Dataset) -> tuple[list[Any], list[Any]]:
    batch = next(dataset.batches(len(dataset), seed=0, epoch=0, shuffle=False))
    return batch["x"].tolist(), batch["y"].tolist()


GOOD: dict[str, str | bytes] = {
    "plain": "a,c,b\n1,0,2\n3,2,4\n",
    "no line end": "a,c,b\n1,0,2\n3,2,4",
    "CRLF": "a,c,b\r\n1,0,2\r\n3,2,4\r\n",
    "a mark": b"\xef\xbb\xbfa,c,b\n1,0,2\n3,2,4\n",
    "semicolons": "a;c;b\n1;0;2\n3;2;4\n",
    "tabs": "a\tc\tb\n1\t0\t2\n3\t2\t4\n",
    "quotes": '"a","c","b"\n"1","0","2"\n"3","2","4"\n',
    "separators in quotes": '"a;1;2;3","c","b ""x"""\n1,0,2\n3,2,4\n',
    "a line end in quotes": '"a\nb",c,b\n1,0,2\n3,2,4\n',
    "spaces": " a , c , b \n 1 , 0 , 2 \n 3 , 2 , 4 \n",
    "blank lines": "a,c,b\n\n1,0,2\n\n\n3,2,4\n\n",
    "other forms of numbers": "a,c,b\n1.0,0.0,+2\n0.3e1,2.0,4.\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_tables_that_hold_the_same(tmp_path: Path, name: str) -> None:
    assert content(opened(tmp_path, GOOD[name])) == ([[1, 2], [3, 4]], [0, 2])


def test_a_separator_of_ones_own(tmp_path: Path) -> None:
    assert content(opened(tmp_path, "a|c|b\n1|0|2\n", separator="|")) == ([[1, 2]], [0])


@given(
    st.lists(st.tuples(*[st.floats(-(2.0**100), 2.0**100, width=32)] * 3, st.integers(0, 9)), min_size=1, max_size=20)
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "d", "c"), *rows])
    x, y = content(opened(tmp_path_factory.mktemp("csv"), text.getvalue(), net(3, classes=10)))
    np.testing.assert_array_equal(np.array(x, np.float32), np.array([row[:3] for row in rows], np.float32))
    assert y == [row[3] for row in rows]


def test_words_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    dataset = opened(tmp_path, "a,b,c\n1,2,virginica\n3,4, setosa\n5,6,virginica\n", net(2, classes=2))
    assert content(dataset)[1] == [1, 0, 1]
    assert dataset.names.classes == {"y": ("setosa", "virginica")}


def test_a_validation_table_keeps_the_classes_of_training(tmp_path: Path) -> None:
    dataset = opened(tmp_path, "a,b,c\n1,2,w\n", _trained())
    assert content(dataset)[1] == [2]
    with pytest.raises(UserError, match=r"line 3, column 3 \(`c`\) is `z`, but the classes are u, v, w") as found:
        opened(tmp_path, "a,b,c\n1,2,w\n1,2,z\n", _trained())
    assert found.value.code == "E0836"


def _trained() -> DataSpec:
    return DataSpec({"x": ((2,), "f32")}, {"y": Target("y", "class", classes=3)}, names=Names({"y": ("u", "v", "w")}))


def test_signs_values_and_several_targets(tmp_path: Path) -> None:
    signs = DataSpec({"x": ((1,), "f32")}, {"y": Target("y", "sign")})
    assert content(opened(tmp_path, "a,c\n1,no\n2,yes\n", signs)) == ([[1], [2]], [-1, 1])
    assert content(opened(tmp_path, "a,c\n1,-1\n2,1\n", signs)) == ([[1], [2]], [-1, 1])
    pair = DataSpec({"x": ((1,), "f32")}, {"y": Target("y", "value", shape=(2,))})
    assert content(opened(tmp_path, "u,a,v\n1,2,3.5\n", pair, "v", "u")) == ([[2]], [[3.5, 1]])
    both = DataSpec(
        {"x": ((1,), "f32"), "i": ((2,), "i64")},
        {"u": Target("u", "value"), "v": Target("v", "class", classes=4)},
    )
    batch = next(opened(tmp_path, "u,a,v,b,d\n1,2,3,4,5\n", both, "u", "v").batches(1, seed=0, epoch=0))
    assert {name: array.tolist() for name, array in batch.items()} == {"x": [[2]], "i": [[4, 5]], "u": [1], "v": [3]}


def test_numbers_fill_the_inputs_shape_row_by_row(tmp_path: Path) -> None:
    dataset = opened(tmp_path, "c,p,q,r,s\n1,1,2,3,4\n", net(1, 2, 2))
    assert content(dataset) == ([[[[1, 2], [3, 4]]]], [1])


BAD: dict[str, tuple[str | bytes, str, str]] = {
    "ragged, short": ("a,b,c\n1,2,0\n1,2\n", "E0834", "line 3: the row has 2 cells, but the header has 3"),
    "ragged, long": ("a,b,c\n1,2,0,5\n", "E0834", "line 2: the row has 4 cells, but the header has 3"),
    "a line end in quotes": ('a,"b\n",c\n1,2,0\n1,2\n', "E0834", "line 4: the row has 2 cells"),
    "no header": ("1,2,0\n3,4,1\n", "E0834", "has no header: its first row contains only numbers"),
    "a blank header": ("\n1,2,0\n", "E0834", "has no header"),
    "empty": ("", "E0834", "is empty"),
    "blank": ("\n\n", "E0834", "contains only blank lines"),
    "no rows": ("a,b,c\n", "E0830", "has a header, but no rows"),
    "no name": (",a,b,c\n0,1,2,0\n", "E0834", "line 1, column 1: the column has no name"),
    "a name twice": ("a,a,c\n1,2,0\n", "E0834", "line 1, column 2: the column `a` occurs twice"),
    "no number": ("a,b,c\n1,2,0\n1,x,0\n", "E0834", r"line 3, column 2: `b` contains 'x', which is not a number"),
    "a control character": (
        "a,b,c\n1,\x1d33,0\n",
        "E0834",
        "line 2, column 2: `b` contains '33', which is not a number",
    ),
    "an empty cell": ("a,b,c\n1,,0\n", "E0834", "line 2, column 2: `b` is empty, but must contain a number"),
    "a decimal comma": ("a;b;c\n1;2,5;0\n", "E0834", "`b` contains '2,5', which is not a number\n.*with a point"),
    "NaN": ("a,b,c\n1,nan,0\n", "E0833", r"line 2, column 2 \(`b`\) contains nan"),
    "infinite": ("a,b,c\n1,2,0\n\n1e400,2,0\n", "E0833", r"line 4, column 1 \(`a`\) contains inf"),
    "a label too large": ("a,b,c\n1,2,3\n", "E0832", r"line 2, column 3 \(`c`\) is 3, .* from 0 to 2"),
    "a label below": ("a,b,c\n1,2,-1\n", "E0832", r"line 2, column 3 \(`c`\) is -1"),
    "a fraction as label": ("a,b,c\n1,2,0.5\n", "E0832", r"line 2, column 3 \(`c`\) is 0\.5"),
    "NaN as label": ("a,b,c\n1,2,nan\n", "E0832", r"line 2, column 3 \(`c`\) is nan"),
    "an empty word": (
        "a,b,c\n1,2,u\n1,2,v\n1,2, \n",
        "E0834",
        r"line 4, column 3 \(`c`\) is empty, but must contain a class",
    ),
    "an empty label": ("a,b,c\n1,2,0\n1,2,\n", "E0834", r"line 3, column 3 \(`c`\) is empty, but must contain a class"),
    "too few words": ("a,b,c\n1,2,u\n1,2,v\n", "E0836", r"`c` holds 2 classes \(u, v\), but the net has 3"),
    "too many words": ("a,b,c\n1,2,u\n1,2,v\n1,2,w\n1,2,z\n", "E0836", r"4 classes \(u, v, w, z\), but the net has 3"),
    "an open quote": ('a,b,c\n1,2,"0\n1,2,0\n', "E0834", "line 3: unexpected end of data\n.*a quote is not closed"),
    "a quote inside": ('a,b,c\n1,"2"3,0\n', "E0834", "line 2: "),
    "a huge cell": ("a,b,c\n1," + "2" * 200_000 + ",0\n", "E0834", "line 2: field larger than field limit"),
    "a huge line": ("a,b,c\n" + "1,2,0" * (LONGEST_LINE // 5 + 1), "E0834", "line 2 is longer than 16,777,216 bytes"),
    "a huge header": ("a" * 200_000, "E0834", "line 1: field larger than field limit"),
    "no UTF-8": (b"a,b,c\n1,\xff,0\n", "E0834", "line 2 is not UTF-8, from byte 3 on"),
    "a binary": (b"\x89PNG\r\n\0\0,,,", "E0834", "t.csv"),
    "NUL": (b"a\0b,c\n", "E0834", "contains NUL"),
    "a web page": ("<!doctype html>\n", "E0834", "is a web page"),
    "no such column": ("a,b,cc\n1,2,0\n", "E0837", "has no column `c`; it has a, b, cc"),
    "another width": ("a,b,d,c\n1,2,3,0\n", "E0837", "has 3 columns for the input `x`, which takes 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(tmp_path: Path, name: str) -> None:
    text, code, said = BAD[name]
    with pytest.raises(UserError, match=said) as caught:
        opened(tmp_path, text)
    assert caught.value.code == code
    assert str(tmp_path / "t.csv") in str(caught.value)


def test_a_float_is_no_whole_number_where_one_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2, column 2: `b` contains '2\.5', which is not an integer"):
        opened(tmp_path, "a,b,c\n1,2.5,0\n", net(2, dtype="i64"))
    with pytest.raises(UserError, match="which is not an integer"):
        opened(tmp_path, "a,b,c\n1,99999999999999999999,0\n", net(2, dtype="i64"))


def test_one_name_for_two_targets(tmp_path: Path) -> None:
    both = DataSpec(
        {"x": ((1,), "f32")}, {"u": Target("u", "value"), "v": Target("v", "sign"), "w": Target("w", "sign")}
    )
    with pytest.raises(UserError, match="2 columns are named as targets, but the net has 3 targets"):
        opened(tmp_path, "u,a,v\n1,2,3\n", both, "u", "v")


@pytest.mark.parametrize("separator", ["ab", '"', "\n"])
def test_what_is_no_separator(tmp_path: Path, separator: str) -> None:
    with pytest.raises(UserError, match="a separator must be a single character"):
        opened(tmp_path, "a,b,c\n1,2,0\n", separator=separator)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        KINDS["csv"](file=str(tmp_path / "none.csv"), target=("c",)).open(net(2))
