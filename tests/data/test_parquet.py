"""Parquet files hold what a CSV file of the same table holds."""

from __future__ import annotations

import builtins
import datetime
import decimal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.errors import BadTable, ColumnsDiffer, Incomplete, MissingPackage, NoExamples, NotFinite
from netdsl.data.kinds import KINDS
from netdsl.data.spec import Bounds, DataSpec, Target
from netdsl.ir.names import Names
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def opened(folder: Path, columns: dict[str, Any], dtype: str = "f32", width: int = 2, **more: Any) -> Dataset:
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=more.pop("group", 100))
    return again(folder, dtype, width, **more)


def again(folder: Path, dtype: str = "f32", width: int = 2, classes: int = 2, **more: Any) -> Dataset:
    kind = KINDS["parquet"](file=str(folder / "t.parquet"), target=("c",))
    return kind.open(DataSpec({"x": ((width,), dtype)}, {"y": Target("y", "class", classes=classes)}, **more))


def whole(dataset: Dataset) -> dict[str, Any]:
    (batch,) = dataset.batches(len(dataset), seed=0, epoch=0, shuffle=False)
    return batch


def test_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(9000).astype(np.float32), rng.integers(-(2**20), 2**20, 9000)
    dataset = opened(tmp_path, {"a": a, "c": rng.integers(0, 2, 9000), "b": b}, group=1000)
    batch = whole(dataset)
    assert np.array_equal(batch["x"], np.stack([a, b.astype(np.float32)], 1))
    assert batch["y"].sum() > 4000
    assert dataset.targets["y"].name(4200).endswith("t.parquet, row 4201, column 2 (`c`)")


SAME: dict[str, tuple[Any, list[int]]] = {
    "words": (["v", "s", "v"], [1, 0, 1]),
    "categories": (pa.array(["v", "s", "v"]).dictionary_encode(), [1, 0, 1]),
    "large strings": (pa.array(["v", "s", "v"], pa.large_string()), [1, 0, 1]),
    "whole floats": ([1.0, 0.0, 1.0], [1, 0, 1]),
    "truths": ([True, False, True], [1, 0, 1]),
    "bytes": (pa.array([1, 0, 1], pa.uint8()), [1, 0, 1]),
    "decimals": ([decimal.Decimal("1.00"), decimal.Decimal(0), decimal.Decimal(1)], [1, 0, 1]),
}


@pytest.mark.parametrize("what", SAME)
def test_types_of_labels(tmp_path: Path, what: str) -> None:
    column, labels = SAME[what]
    assert whole(opened(tmp_path, {"a": [1, 2, 3], "b": [4.5, 5, 6], "c": column}))["y"].tolist() == labels


def test_integers_stay_exact(tmp_path: Path) -> None:
    large = [2**53 + 1, -(2**53) - 1]
    dataset = opened(tmp_path, {"a": large, "c": [0, 1]}, "i64", 1)
    assert whole(dataset)["x"].ravel().tolist() == large


BAD: dict[str, tuple[dict[str, Any], type[UserError], str]] = {
    "null": ({"a": [1, None], "b": [1, 2], "c": [0, 1]}, BadTable, r"row 2, column 1: `a` is empty"),
    "NaN": ({"a": [1, np.nan], "b": [1, 2], "c": [0, 1]}, NotFinite, r"row 2, column 1 \(`a`\) contains nan"),
    "words": (
        {"a": ["x", "y"], "b": [1, 2], "c": [0, 1]},
        BadTable,
        "row 1, column 1: `a` contains 'x'",
    ),
    "dates": ({"a": [datetime.date(2000, 1, 1)], "b": [1], "c": [0]}, BadTable, "`a` has the unsupported type date32"),
    "lists": ({"a": [[1, 2]], "b": [1], "c": [0]}, BadTable, "`a` has the unsupported type list"),
    "binary": ({"a": [1], "b": [1], "c": [b"0"]}, BadTable, "`c` has the unsupported type binary"),
    "no rows": (
        {"a": pa.array([], pa.int8()), "b": pa.array([], pa.int8()), "c": pa.array([], pa.int8())},
        NoExamples,
        "no rows",
    ),
    "no columns": ({}, BadTable, "has no columns"),
    "an index": ({"a": [1], "b": [2], "__index_level_0__": [0], "c": [0]}, BadTable, "is the index of a data frame"),
    "no target": ({"a": [1], "b": [1]}, Incomplete, "has no column `c`; it has a, b"),
    "a name missing": ({"": [1], "b": [1], "c": [0]}, BadTable, "column 1: the column has no name"),
    "more columns": ({"a": [1], "b": [1], "d": [1], "c": [0]}, Incomplete, "has 3 columns for the input `x`"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_tables(tmp_path: Path, what: str) -> None:
    columns, error, message = BAD[what]
    with pytest.raises(error, match=message):
        opened(tmp_path, columns)


def test_columns_are_matched_by_name(tmp_path: Path) -> None:
    names = Names({}, {"x": ("b", "a")}, {"y": ("c",)})
    assert whole(opened(tmp_path, {"a": [1], "c": [1], "b": [2]}, names=names))["x"].tolist() == [[2, 1]]
    with pytest.raises(ColumnsDiffer, match="`a` is missing and `d` is new"):
        opened(tmp_path, {"d": [1], "c": [1], "b": [2]}, names=names)


def test_damaged_files(tmp_path: Path) -> None:
    opened(tmp_path, {"a": [1.0] * 50, "b": [2.0] * 50, "c": ["u", "v"] * 25})
    good = (tmp_path / "t.parquet").read_bytes()
    rng = np.random.default_rng(0)
    mutants = [good[:size] for size in range(4, len(good), 61)]
    for _ in range(60):
        mutant = bytearray(good)
        for at in rng.integers(4, len(good), 3):
            mutant[at] = rng.integers(256)
        mutants.append(bytes(mutant))
    for mutant in mutants:
        (tmp_path / "t.parquet").write_bytes(mutant)
        with suppress(UserError):  # no other error
            again(tmp_path)


def test_a_table_that_declares_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.data.parquet.UNPACKED_BYTES", 10_000)
    column = pa.array([0] * 1000, pa.int64()).dictionary_encode()
    with pytest.raises(BadTable, match="declares 1,000 rows, too many"):
        opened(tmp_path, {"a": column, "b": column, "c": column})


def test_texts_of_other_folders_are_not_told(tmp_path: Path) -> None:
    with pytest.raises(BadTable) as caught:
        opened(tmp_path, {"secret": ["hidden"], "b": [1], "c": [0]}, bounds=Bounds(None, str(tmp_path / "x")))
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_csv_and_parquet_are_recognized_by_their_bytes(tmp_path: Path) -> None:
    opened(tmp_path, {"a": [1], "b": [2], "c": [1]})
    spec = DataSpec({"x": ((2,), "f32")}, {"y": Target("y", "class", classes=2)})
    assert whole(KINDS["csv"](file=str(tmp_path / "t.parquet"), target=("c",)).open(spec))["x"].tolist() == [[1, 2]]
    with pytest.raises(BadTable, match="is a Parquet file, which has no separator"):
        KINDS["csv"](file=str(tmp_path / "t.parquet"), target=("c",), separator=";").open(spec)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path, {"a": [1], "b": [2], "c": [1]})
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackage, match="reading it requires pyarrow") as caught:
        again(tmp_path)
    assert "pip install 'netdsl[parquet]'" in caught.value.helps


def test_it_is_trained_and_evaluated(netdsl: Commands) -> None:
    pq.write_table(pa.table({"a": [0.0, 1, 2, 3], "b": [1, 0, 1, 0], "c": ["u", "v", "u", "v"]}), "t.parquet")
    line = 'parquet "t.parquet" target "c"'
    netdsl.write(n=f"net n {{ input x 2; dense 2 }}\ntrain n {{ data {line}; loss cross_entropy; batch 2; epochs 1 }}")
    assert netdsl("check", "n.net").code == 0
    assert netdsl("train", "n.net", "-q").code == 0
    ran = netdsl("eval", "n.net", "--weights", "runs/n/last.safetensors", "--data", line)
    assert (ran.code, "rows: true class" in ran.out) == (0, True), ran


def test_it_is_an_input_of_run(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; dense 2 }")
    pq.write_table(pa.table({"a": [0.5, 1], "b": [1, 0]}), "t.parquet")
    Path("t.csv").write_text("a,b\n0.5,1\n1,0\n")
    one, other = (netdsl("run", "n.net", f"t.{ending}", "-q") for ending in ("parquet", "csv"))
    assert one.code == 0
    assert one.out == other.out.replace("t.csv, line 2", "t.parquet, row 1").replace("t.csv", "t.parquet")
    Path("t.parquet").rename("t.bin")
    assert "t.bin is a Parquet file, whose name must end with .parquet" in netdsl("run", "n.net", "t.bin").err
