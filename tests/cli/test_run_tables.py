"""Tables and folders of classes as the data of `netdsl run`, and its predictions as CSV, held against NumPy."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netdsl.weights.safetensors import write_tensors
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

X = np.random.default_rng(7).normal(0, 1, (5, 3)).astype(np.float32)
NET = ("n.net", "--weights", "w.safetensors")


@pytest.fixture
def files(netdsl: Commands) -> Commands:
    """w.safetensors for a net whose scores are its inputs, trained on a table with the columns a, b and c."""
    netdsl.write(n="net n { input x 3; dense 3 }")
    weights(loss="cross_entropy", classes=["ash", "=elm", "oak, red"], columns=["a", "b", "c"])
    table("x.csv", ("kind", "c", "a", "b"), [["?", c, a, b] for a, b, c in X.tolist()])
    return netdsl


def weights(loss: str = "", **names: list[str]) -> None:
    keys = {"classes": "netdsl.classes.output", "columns": "netdsl.columns.x"}
    metadata = {keys[key]: json.dumps(value) for key, value in names.items()}
    with open("w.safetensors", "wb") as file:
        arrays = {"dense1.weight": np.eye(3, dtype=np.float32), "dense1.bias": np.zeros(3, np.float32)}
        write_tensors(file, arrays, metadata | ({"netdsl.loss.output": loss} if loss else {}))


def table(path: str, head: Any, rows: Any) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def outputs(netdsl: Commands, *command: object) -> Any:
    ran = netdsl("run", *command, "-o", "out.npz", "--force")
    assert ran.code == 0, ran
    with np.load("out.npz") as found:
        return found["output"]


def test_columns_are_matched_by_name(files: Commands) -> None:
    assert files("compile", *NET, "-o", "m.onnx").code == 0
    for model in (NET, ("m.onnx",)):
        np.testing.assert_allclose(outputs(files, *model, "x.csv"), X, atol=1e-6)
        np.testing.assert_allclose(outputs(files, *model, "x=x.csv", "--batch", 2), X, atol=1e-6)
        assert files("run", *model, "x.csv").err == "x.csv: columns that are not an input are ignored: kind\n"
    assert files("run", "m.onnx", "x.csv", "--shard", "1/2").out.startswith("x.csv[2]  ")


def test_without_names_columns_are_in_order(files: Commands) -> None:
    weights()
    table("y.csv", "cab", X.tolist())
    np.testing.assert_allclose(outputs(files, *NET, "y.csv"), X, atol=1e-6)
    ran = files("run", *NET, "x.csv")
    assert (ran.code, ran.out) == (1, "")
    assert "x.csv has 4 columns, but the input `x` takes 3" in ran.err
    assert "the model does not name its columns" in ran.err


def test_one_table_feeds_several_inputs(netdsl: Commands) -> None:
    netdsl.write(n="net n { input p 2; input q 1; from p; mul q }")
    assert netdsl("compile", "n.net").code == 0
    import onnx

    model = onnx.load("n.onnx")
    for name, columns in (("p", ["a", "c"]), ("q", ["b"])):
        model.metadata_props.add(key=f"netdsl.columns.{name}", value=json.dumps(columns))
    onnx.save(model, "n.onnx")
    table("x.csv", ("a", "b", "c", "d"), [[1, 10, 2, "x"], [3, 20, 4, "y"]])
    ran = netdsl("run", "n.onnx", "x.csv", "-o", "out.npz")
    assert (ran.code, ran.err) == (0, "x.csv: columns that are not an input are ignored: d\n")
    assert np.load("out.npz")["output"].tolist() == [[10, 20], [60, 80]]
    assert netdsl("run", "n.onnx", "p=x.csv", "q=x.csv").out == ran.out


BAD_TABLES = {
    "a column is missing": ("a,b\n1,2\n", "x.csv lacks columns of training: `c` is missing; it has a, b"),
    "a word": ("a,b,c\n1,2,z\n", "x.csv, line 2, column 3: `c` contains 'z', which is not a number"),
    "nothing": ("a,b,c\n1,,3\n", "x.csv, line 2, column 2: `b` is empty, but must contain a number"),
    "not finite": ("a,b,c\n1,nan,3\n", "x.csv, line 2, column 2 (`b`) contains nan"),
    "no header": ("1,2,3\n4,5,6\n", "x.csv has no header"),
    "no rows": ("a,b,c\n", "x.csv has a header, but no rows"),
    "empty": ("", "x.csv is empty"),
    "not UTF-8": ("a,b,c\n1,2,\xff\n", "x.csv, line 2 is not UTF-8"),
    "a ragged row": ("a,b,c\n1,2\n", "x.csv, line 2: the row has 2 cells, but the header has 3"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(files: Commands, case: str) -> None:
    text, said = BAD_TABLES[case]
    Path("x.csv").write_bytes(text.encode("latin-1"))
    ran = files("run", *NET, "x.csv", "-o", "o.csv")
    assert (ran.code, ran.out, said in ran.err, Path("o.csv").exists()) == (1, "", True, False), ran


def test_a_table_beside_other_files(files: Commands) -> None:
    np.save("x.npy", X)
    for paths in (("x.csv", "x.npy"), ("x.npy", "x.csv")):
        ran = files("run", *NET, *paths)
        assert (ran.code, "must all be images, but x.csv is a table" in ran.err) == (1, True)
    assert files("run", *NET, "no.csv").code == 2


def test_a_folder_has_a_subfolder_for_each_class(netdsl: Commands) -> None:
    netdsl.write(n="net n { input image 1x2x2; flatten }")
    for at, path in enumerate(["b/2.png", "b/10.png", "a/deep/1.png", "a/3.png", ".hidden/4.png"]):
        (Path("F") / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), at).save(Path("F") / path)
    Path("F/b/notes.txt").write_text("not an image")
    ran = netdsl("run", "n.net", "F", "--format", "csv")
    assert [row["file"] for row in rows_of(ran.out)] == ["F/a/3.png", "F/a/deep/1.png", "F/b/10.png", "F/b/2.png"]
    assert ran.err == "F: skipped 1 file without an image: notes.txt\n"
    Image.new("L", (2, 2)).save("F/0.png")
    assert [row["file"] for row in rows_of(netdsl("run", "n.net", "F", "--format", "csv").out)] == ["F/0.png"]


def test_predictions_are_a_table(files: Commands) -> None:
    names = ["ash", "'=elm", "oak, red"]
    chances = np.exp(X.astype(np.float64))
    chances /= chances.sum(1, keepdims=True)
    ran = files("run", *NET, "x.csv", "--format", "csv", "--batch", 2, "-q")
    assert ran.out.splitlines()[0] == "file,class,probability"
    found = rows_of(ran.out)
    assert [row["file"] for row in found] == [f"x.csv[{at}]" for at in range(5)]
    assert [row["class"] for row in found] == [names[at] for at in X.argmax(1)]
    np.testing.assert_allclose([float(row["probability"]) for row in found], chances.max(1), atol=1e-6)
    written = files("run", *NET, "x.csv", "-o", "p.csv", "--top", 1, "-q")
    assert Path("p.csv").read_bytes().decode() == ran.out
    assert written.out == files("run", *NET, "x.csv", "--top", 1).out
    assert files("run", *NET, "x.csv", "-o", "P.CSV", "--format", "csv").out == Path("P.CSV").read_text() == ran.out
    scores = rows_of(files("run", *NET, "x.csv", "--format", "csv", "--logits").out)
    np.testing.assert_allclose([float(row["score"]) for row in scores], X.max(1), atol=1e-5)


def test_parts_of_a_table(files: Commands) -> None:
    whole = files("run", *NET, "x.csv", "--format", "csv").out.splitlines()
    parts = [files("run", *NET, "x.csv", "--format", "csv", "--shard", f"{at}/7").out.splitlines() for at in range(7)]
    assert {part[0] for part in parts} == {whole[0]}
    assert [line for part in parts for line in part[1:]] == whole[1:]
    assert [] in [part[1:] for part in parts]


def test_numbers_are_a_table_too(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 1; identity }", m="net m { input x 1x2x2; identity }")
    netdsl.write(two="net two { input x 1; output a { identity }; output b { identity } }")
    np.save("x.npy", np.float32([[1.5], [-2]]))
    np.save("m.npy", np.zeros((1, 1, 2, 2), np.float32))
    assert netdsl("run", "n.net", "x.npy", "--format", "csv").out == "file,value\nx.npy[0],1.5\nx.npy[1],-2\n"
    for command, said in ((("two.net", "x.npy"), "two.net has 2 outputs"), (("m.net", "m.npy"), "`output` is a map")):
        ran = netdsl("run", *command, "-o", "p.csv")
        assert (ran.code, ran.out, "E0627" in ran.err, said in ran.err) == (1, "", True, True), ran
        assert not Path("p.csv").exists()


def test_a_table_of_ours_is_replaced_and_no_other(files: Commands) -> None:
    for _ in range(2):
        assert files("run", *NET, "x.csv", "-o", "p.csv").code == 0
    for theirs in (
        b"file,class,fold\r\na.png,1,2\r\n",
        b"profile,value\n1,2\n",
        b"id,file,class,score\n",
        b"a\nfile,value",
    ):
        Path("theirs.csv").write_bytes(theirs)
        ran = files("run", *NET, "x.csv", "-o", "theirs.csv")
        assert (ran.code, ran.out, Path("theirs.csv").read_bytes()) == (2, "", theirs)
    assert files("run", *NET, "x.csv", "-o", "theirs.csv", "--force").code == 0
    ran = files("run", *NET, "x.csv", "-o", "x.csv", "--force")
    assert (ran.code, "E0613" in ran.err) == (2, True)


@pytest.mark.parametrize("name", ["p.json", "p.tsv", "p", "p.parquet.gz", "csv", "p.csv.gz"])
def test_a_suffix_selects_a_format_that_exists(files: Commands, name: str) -> None:
    ran = files("run", *NET, "x.csv", "-o", name)
    assert (ran.code, ran.out, "error[E0628]: cannot write outputs to" in ran.err, Path(name).exists()) == (
        2,
        "",
        True,
        False,
    )


def test_one_format_at_a_time(files: Commands) -> None:
    ran = files("run", *NET, "x.csv", "--format", "csv", "--json")
    assert (ran.code, "contradict each other" in ran.out, ran.err) == (2, True, "")
    ran = files("run", "missing.net", "x.csv", "--format", "csv")
    assert (ran.code, ran.out, "error[E0601]" in ran.err) == (2, "", True)


def test_names_do_nothing_to_a_terminal(files: Commands) -> None:
    weights(loss="cross_entropy", classes=["\x1b[31m", "b\nc", "d"])
    np.save("\x1b[32mx.npy", np.float32([[9, 0, 0], [0, 9, 0]]))
    assert files("run", *NET, "\x1b[32mx.npy", "--format", "csv").out.splitlines()[1:] == [
        "\\x1b[32mx.npy[0],\\x1b[31m,0.999753",
        "\\x1b[32mx.npy[1],b\\nc,0.999753",
    ]
