"""The outputs of `netdsl run` as Parquet files, read by others and held against the archives of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support.cli_tools import ROOT, Commands, netdsl
from tests.support.run_parts import NETS, arrays_of, foreign, in_parts, prepared
from tests.support.walkthrough import blocks

__all__ = ["netdsl"]


@pytest.mark.parametrize("case", NETS)
def test_joined_parquet_is_the_archive(netdsl: Commands, case: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    line = prepared(netdsl, case)
    assert netdsl("run", *line, "-o", "whole.npz", "--batch", 4).code == 0
    expected = arrays_of([Path("whole.npz")])
    for count in (1, 4, 30):
        paths = in_parts(netdsl, line, count, ".parquet", "--batch", 4)
        tables = [parquet.read_table(path) for path in paths]
        assert len({str(table.schema.remove_metadata()) for table in tables}) == 1
        names = [name for table in tables for name in table["name"].to_pylist()]
        assert names == [f"x.npz[{at}]" for at in range(23)]
        for name, array in expected.items():
            flat = [number for table in tables for chunk in table[name].chunks for number in flattened(chunk)]
            assert np.array(flat, array.dtype).reshape(array.shape).tobytes() == array.tobytes()


def flattened(chunk: Any) -> Any:
    while hasattr(chunk, "flatten") and chunk.type.num_fields:
        chunk = chunk.flatten()
    return chunk.to_numpy(zero_copy_only=False)


TYPES = {"float16": 10, "float32": 1, "float64": 11, "int64": 7, "int32": 6, "int8": 3, "uint8": 2, "bool": 9}


def all_types() -> list[str]:
    """A model with an output of each type and rank."""
    nodes, outputs = [], []
    for at, (name, kind) in enumerate(TYPES.items()):
        shape = [[], [6], [2, 3], [1, 3, 2]][at % 4]
        if shape:
            nodes.append(helper.make_node("Constant", [], [f"s{at}"], value_ints=[0, *shape]))
            nodes.append(helper.make_node("Reshape", ["x", f"s{at}"], [f"r{at}"]))
        else:
            nodes.append(helper.make_node("Constant", [], [f"s{at}"], value_ints=[1]))
            nodes.append(helper.make_node("ReduceSum", ["x", f"s{at}"], [f"r{at}"], keepdims=0))
        nodes.append(helper.make_node("Cast", [f"r{at}"], [name], to=kind))
        outputs.append(helper.make_tensor_value_info(name, kind, ["N", *shape]))
    return foreign(nodes, outputs)


def of_pyarrow(path: str) -> dict[str, list[Any]]:
    from pyarrow import parquet

    columns: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    return columns


def of_pandas(path: str) -> dict[str, list[Any]]:
    frame = pytest.importorskip("pandas").read_parquet(path)
    return {name: [nested(value) for value in frame[name]] for name in frame}


def of_polars(path: str) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = pytest.importorskip("polars").read_parquet(path).to_dict(as_series=False)
    return columns


def nested(value: Any) -> Any:
    return [nested(each) for each in value] if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("read", [of_pyarrow, of_pandas, of_polars])
def test_columns_keep_types_and_shapes(netdsl: Commands, read: Callable[[str], dict[str, list[Any]]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    line = all_types()
    assert netdsl("run", *line, "-o", "o.npz", "--batch", 5).code == 0
    assert netdsl("run", *line, "-o", "o.parquet", "--batch", 5).code == 0
    expected = dict(np.load("o.npz"))
    assert {name: array.dtype.name for name, array in expected.items()} == {name: name for name in TYPES}
    found = read("o.parquet")
    assert found.pop("name") == [f"x.npy[{at}]" for at in range(23)]
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(np.array(found[name], array.dtype), array)
        assert np.array(found[name]).shape == array.shape
    arrow = {"float16": "halffloat", "float32": "float", "float64": "double"}
    types = parquet.read_schema("o.parquet").types[1:]
    for kind, (name, array) in zip(types, expected.items(), strict=True):
        for size in array.shape[1:]:
            assert kind.list_size == size
            kind = kind.value_type
        assert str(kind) == arrow.get(name, name)


def test_row_groups_are_batches_up_to_a_size(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    line = prepared(netdsl, "classes")
    for size, expected in ((1, [5, 5, 5, 5, 3]), (2**24, [23])):
        monkeypatch.setattr("netdsl.app.parquet_output.GROUP", size)
        assert netdsl("run", *line, "-o", "o.parquet", "--batch", 5).code == 0
        metadata = parquet.read_metadata("o.parquet")
        assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == expected


def test_a_parquet_file_of_ours_is_replaced_and_no_other(netdsl: Commands) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    line = prepared(netdsl, "classes")
    for _ in range(2):
        assert netdsl("run", *line, "-o", "o.parquet").code == 0
    for theirs in (b"PAR1", b"made by netdsl"):
        Path("theirs.parquet").write_bytes(theirs)
        ran = netdsl("run", *line, "-o", "theirs.parquet")
        assert (ran.code, "E0611" in ran.err, Path("theirs.parquet").read_bytes()) == (2, True, theirs)
    parquet.write_table(pyarrow.table({"a": [1]}), "theirs.parquet")
    assert "E0611" in netdsl("run", *line, "-o", "theirs.parquet").err
    assert netdsl("run", *line, "-o", "theirs.parquet", "--force").code == 0
    Path("empty.parquet").touch()
    assert netdsl("run", *line, "-o", "empty.parquet").code == 0


def test_what_is_no_column(netdsl: Commands) -> None:
    pytest.importorskip("pyarrow")
    y = helper.make_tensor_value_info("name", TensorProto.FLOAT, ("N", 6))
    ran = netdsl("run", *foreign([helper.make_node("Relu", ["x"], ["name"])], [y]), "-o", "o.parquet")
    assert (ran.code, "error[E0627]: the output `name` has the name" in ran.err, Path("o.parquet").exists()) == (
        1,
        True,
        False,
    )


def test_without_pyarrow(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    line = prepared(netdsl, "classes")
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    ran = netdsl("run", *line, "-o", "o.parquet")
    assert (ran.code, ran.out, Path("o.parquet").exists()) == (2, "", False)
    assert ran.err.endswith(
        "error[E0806]: writing o.parquet requires pyarrow\n  = help: pip install 'netdsl[parquet]'\n"
    )


@pytest.mark.parametrize("at", range(3))
def test_programs_read_the_parts(netdsl: Commands, at: int) -> None:
    """As on the page about clusters."""
    pytest.importorskip("pyarrow")
    program = blocks(ROOT / "docs" / "cluster.md", "python")[at]
    for package in ("pandas", "polars"):
        if package in program:
            pytest.importorskip(package)
    line = prepared(netdsl, "classes")
    for suffix in (".npz", ".csv", ".parquet"):
        for i in range(3):
            assert netdsl("run", *line, "--batch", 4, "--shard", f"{i}/3", "-o", f"parts/{{shard}}{suffix}").code == 0
    assert netdsl("run", *line, "--batch", 4, "-o", "whole.npz").code == 0
    expected = np.load("whole.npz")["output"]
    found: dict[str, Any] = {}
    exec(program, found)
    for name in ("outputs", "scores") if "scores" in found else ("outputs",):
        array = np.stack([*(found[name]["output"] if name == "outputs" else found[name])])
        assert (array.dtype, array.tobytes()) == (np.float32, expected.tobytes())
    if "predictions" in found:
        assert found["predictions"]["class"].tolist() == expected.argmax(1).tolist()
        assert found["predictions"]["file"].tolist() == [f"x.npz[{at}]" for at in range(23)]
