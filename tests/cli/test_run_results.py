"""What `netdsl run` offers beside the outputs: labels, folders of pictures, lines of JSON, shards, and its speed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from netdsl.app.labels import BadLabels, read_labels
from netdsl.data.errors import BadData
from netdsl.data.reader import open_input
from tests.support.cli_tools import MNIST, Commands, netdsl, strict

__all__ = ["netdsl"]

DIGITS = sorted((MNIST / "digits").glob("*.png"))
LENET = ["run", "lenet5", "--weights", MNIST / "lenet5.safetensors"]
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
IDENTITY = "net n {{ input x {}; identity }}"


LABELS = {
    "lines": ("a\nb c\nd\n", ["a", "b c", "d"]),
    "no newline at the end": ("a\nb", ["a", "b"]),
    "Windows": ("\ufeffa\r\nb\r\n\r\n", ["a", "b"]),
    "a blank one": ("a\n\nb\n", ["a", "", "b"]),
    "blanks around": (" a \n\tb\n", ["a", "b"]),
    "JSON": ('["a", "b\\nc", "ä"]', ["a", "b\nc", "ä"]),
    "JSON in lines": ('\n[\n"a",\n"b"\n]\n', ["a", "b"]),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_read(tmp_path: Path, case: str) -> None:
    text, names = LABELS[case]
    (tmp_path / "labels").write_bytes(text.encode())
    assert read_labels(str(tmp_path / "labels")) == names


BAD_LABELS = {
    "empty": ("", "contains no labels"),
    "blank": ("\n \n", "contains no labels"),
    "an empty list": ("[]", "contains no labels"),
    "half a list": ('["a",', "begins like a JSON list, but is not valid JSON"),
    "a list of numbers": ('["a", 1]', "is not a string"),
    "a list of lists": ("[" * 100_000, "begins like a JSON list, but is not valid JSON"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(tmp_path: Path, case: str) -> None:
    text, said = BAD_LABELS[case]
    (tmp_path / "labels").write_text(text)
    with pytest.raises(BadLabels, match=said):
        read_labels(str(tmp_path / "labels"))


def test_classes_have_their_names(netdsl: Commands) -> None:
    Path("names.txt").write_text("\n".join(NAMES))
    ran = netdsl(*LENET, *DIGITS, "--labels", "names.txt", "--top", 1)
    assert (ran.code, ran.err) == (0, "")
    found = [line.split("  ")[1].split()[0] for line in ran.out.splitlines()]
    assert found == [NAMES[int(path.stem[0])] for path in DIGITS]


def test_a_label_does_nothing_to_the_terminal(netdsl: Commands) -> None:
    netdsl.write(n=IDENTITY.format(2))
    np.save("x.npy", np.float32([[1, 2]]))
    Path("l.json").write_text(json.dumps(["\x1b[31mred", "a\nb"]))
    assert netdsl("run", "n.net", "x.npy", "--labels", "l.json").out == "x.npy[0]  a\\nb: 2  \\x1b[31mred: 1\n"


@pytest.mark.parametrize("count", [9, 11])
def test_there_is_a_label_for_each_class(netdsl: Commands, count: int) -> None:
    """Row 89 of the bad inputs: both numbers, before anything is computed."""
    Path("names.txt").write_text("\n".join(map(str, range(count))))
    ran = netdsl(*LENET, *DIGITS, "--labels", "names.txt", "-o", "o.npz")
    assert (ran.code, ran.out, Path("o.npz").exists()) == (1, "", False)
    assert ran.err == f"error[E0623]: names.txt has {count} labels, but the output `output` has 10 classes\n"


def test_labels_of_an_output_whose_size_only_the_data_tell(netdsl: Commands) -> None:
    netdsl.write(n=IDENTITY.format("?"))
    np.save("x.npy", np.float32([[1, 2]]))
    Path("two").write_text("a\nb")
    Path("three").write_text("a\nb\nc")
    assert netdsl("run", "n.net", "x.npy", "--labels", "two").out == "x.npy[0]  b: 2  a: 1\n"
    ran = netdsl("run", "n.net", "x.npy", "--labels", "three")
    assert (ran.code, ran.out) == (1, "")
    assert "three has 3 labels, but the output `output` has 2 classes" in ran.err


def test_labels_name_the_outputs_that_they_fit(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 3; output a { identity }; output b { concat { identity } { identity } } }")
    np.save("x.npy", np.float32([[1, 2, 3]]))
    Path("three").write_text("i\nj\nk")
    ran = netdsl("run", "n.net", "x.npy", "--labels", "three", "--top", 2)
    assert ran.out == "x.npy[0]  a: k: 3  j: 2  b: 2: 3  5: 3\n"


def test_a_folder_is_its_pictures_in_order(netdsl: Commands) -> None:
    Path("pictures").mkdir()
    for path in reversed(DIGITS):
        shutil.copy(path, "pictures")
    wanted = netdsl(*LENET, *(f"pictures/{path.name}" for path in DIGITS))
    assert wanted.out.count("\n") == 16
    for name in ("pictures", "pictures/", "image=pictures"):
        ran = netdsl(*LENET, name)
        assert (ran.code, ran.out, ran.err) == (0, wanted.out, "")
    (Path("pictures") / "notes.txt").write_text("not a picture")
    (Path("pictures") / "empty.png").write_bytes(b"")
    (Path("pictures") / "deeper").mkdir()
    ran = netdsl(*LENET, "pictures")
    assert (ran.code, ran.out) == (0, wanted.out)
    assert ran.err == "pictures: skipped 3 files without an image: deeper, empty.png, notes.txt\n"
    assert netdsl(*LENET, "pictures", "-q").err == ""


def test_a_folder_without_pictures(netdsl: Commands) -> None:
    Path("nothing").mkdir()
    ran = netdsl(*LENET, "nothing")
    assert (ran.code, ran.err.splitlines()[0]) == (1, "error[E0801]: the folder nothing contains no images")


def test_json_is_a_line_an_example(netdsl: Commands) -> None:
    netdsl.write(
        n="net n { input x 4; output a { identity }; output one { dense 1 bias off }; output map { reshape 1x2x2 } }"
    )
    np.savez("w.npz", **{"one.dense1.weight": np.ones((1, 4), np.float32)})
    np.save("x.npy", np.float32([[1, 2, 4, 3], [np.nan, np.inf, -np.inf, 0]]))
    ran = netdsl("run", "n.net", "x.npy", "--weights", "w.npz", "--json", "--top", 2)
    assert (ran.code, ran.err) == (0, "")
    first, second = map(strict, ran.out.splitlines())
    assert first == {
        "name": "x.npy[0]",
        "outputs": {
            "a": {"top": [{"class": 2, "value": 4}, {"class": 3, "value": 3}]},
            "one": {"value": 10},
            "map": {"shape": [1, 2, 2], "min": 1, "max": 4},
        },
    }
    assert second["outputs"] == {
        "a": {"top": [{"class": 0, "value": "nan"}, {"class": 1, "value": "inf"}]},
        "one": {"value": "nan"},
        "map": {"shape": [1, 2, 2], "min": "nan", "max": "nan"},
    }


def test_json_has_labels(netdsl: Commands) -> None:
    Path("names.json").write_text(json.dumps(NAMES))
    ran = netdsl(*LENET, *DIGITS, "--labels", "names.json", "--json", "--top", 1)
    for path, line in zip(DIGITS, ran.out.splitlines(), strict=True):
        found = strict(line)
        (best,) = found["outputs"]["output"]["top"]
        assert (found["name"], best["class"], best["label"]) == (
            str(path),
            int(path.stem[0]),
            NAMES[int(path.stem[0])],
        )


@pytest.mark.parametrize("form", ["npy", "npz", "gz", "png"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_shards_are_the_whole(netdsl: Commands, form: str, count: int) -> None:
    raw = gzip.decompress((MNIST / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, "u1", 16 * 784, 16).reshape(16, 28, 28)
    paths: list[object] = [f"x.{form}"]
    if form == "npy":
        np.save("x.npy", images)
    elif form == "npz":
        np.savez_compressed("x.npz", image=images)
    elif form == "gz":
        Path("x.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 16]) + raw[8:16] + images.tobytes()))
    else:
        paths = list(DIGITS)
    whole = netdsl(*LENET, *paths, "-o", "whole.npz")
    assert whole.out.count("\n") == 16
    out, parts = "", []
    for index in range(count):
        ran = netdsl(*LENET, *paths, "--shard", f"{index}/{count}", "--batch", 3, "-o", "part.npz", "--force")
        assert ran.code == 0, ran
        out += ran.out
        with np.load("part.npz") as found:
            parts.append(found["output"])
    assert {line.split("  ")[0] for line in out.splitlines()} == {
        line.split("  ")[0] for line in whole.out.splitlines()
    }
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    with np.load("whole.npz") as found:
        np.testing.assert_allclose(np.concatenate(parts), found["output"], rtol=1e-4, atol=1e-5)


def test_a_shard_of_a_fixed_batch(netdsl: Commands) -> None:
    assert netdsl("compile", *LENET[1:], "--batch", 4).code == 0
    whole = netdsl(*LENET, *DIGITS).out.splitlines()
    for index, (first, stop) in enumerate([(0, 5), (5, 10), (10, 16)]):
        ran = netdsl("run", "lenet5.onnx", *DIGITS, "--shard", f"{index}/3")
        assert ran.out.splitlines() == whole[first:stop]


@pytest.mark.parametrize("text", ["", "1", "/", "1/", "/2", "2/2", "-1/2", "0/0", "a/b", "1/2/3", "0/" + "9" * 5000])
def test_what_is_no_shard(netdsl: Commands, text: str) -> None:
    ran = netdsl(*LENET, *DIGITS, f"--shard={text}")
    assert (ran.code, ran.out) == (2, "")
    assert "is not of the form I/N" in ran.err


def test_shards_of_inputs_that_differ_in_length_do_not_mix_them(netdsl: Commands) -> None:
    netdsl.write(n="net n { input a 2; input b 2; from a; add b }")
    np.save("a.npy", np.ones((7, 2), np.float32))
    np.save("b.npy", np.ones((6, 2), np.float32))
    ran = netdsl("run", "n.net", "a=a.npy", "b=b.npy", "--shard", "0/2")
    assert (ran.code, ran.out) == (1, "")
    assert "the inputs differ in length: a has 7, b has 6" in ran.err


def test_a_short_stream_is_found_out_in_each_shard(tmp_path: Path) -> None:
    path = tmp_path / "x.idx"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 10, 0, 0, 0, 4]) + bytes(4 * 6))
    reader = open_input(str(path), (4,), "u8")
    assert [len(batch) for batch in reader.batches(2, 2, 5)] == [2, 1]
    for first, stop in ((5, 8), (8, 10)):
        with pytest.raises(BadData, match="declares 10 examples, but ends in number 6"):
            list(reader.batches(2, first, stop))


def test_outputs_written_to_the_null_device(netdsl: Commands) -> None:
    netdsl.write(n=IDENTITY.format(2))
    np.save("x.npy", np.ones((3, 2), np.float32))
    ran = netdsl("run", "n.net", "x.npy", "-o", os.devnull)
    assert (ran.code, ran.out.count("\n")) == (0, 3), ran


def test_the_speed_is_told_to_those_who_ask(netdsl: Commands) -> None:
    assert netdsl(*LENET, *DIGITS).err == ""
    first, _ = netdsl(*LENET, *DIGITS, "-v").err.splitlines()
    assert first.startswith("16 examples in 0.")
    assert " s on cpu: " in first
    assert first.endswith(" examples/s")


def test_the_speed_is_told_on_a_terminal(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert " examples/s\n" in netdsl(*LENET, *DIGITS).err
    assert netdsl(*LENET, *DIGITS, "-q").err == ""
