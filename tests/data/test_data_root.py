"""What the data of a `train` block may read, and what messages say of files that are not the net's own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netdsl as api
from netdsl.base.user_error import UserError
from tests.data.test_dataset import idx
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

STD = ("--step-backend", "plain", "--threads", "1", "--force")
NET = "net n {{ input {input}; dense 2 }}\ntrain n {{ data {data}; {more} loss cross_entropy; batch 2; epochs 1 }}\n"


def made() -> None:
    """Write the same data of each kind into `in` and `out`, and links in `in` that lead out."""
    for folder in ("in", "out"):
        for name in ("a", "b"):
            Path(folder, "F", name).mkdir(parents=True)
            Image.new("L", (3, 2), 9).save(Path(folder, "F", name, "0.png"))
        x, y = np.arange(8, dtype=np.float32).reshape(2, 4), np.array([0, 1])
        np.savez(f"{folder}/t.npz", x=x, y=y)
        np.save(f"{folder}/x.npy", x)
        np.save(f"{folder}/y.npy", y)
        Path(folder, "t.csv").write_text("p,q,r,s,kind\n1,2,3,4,u\n5,6,7,8,v\n")
        Path(folder, "M").mkdir()
        for part in ("train", "t10k"):
            Path(folder, "M", f"{part}-images-idx3-ubyte").write_bytes(idx(np.ones((2, 2, 3), np.uint8)))
            Path(folder, "M", f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array([0, 1], np.uint8)))
    Path("in/link.csv").symlink_to("../out/t.csv")
    Path("in/link").symlink_to("../out")
    Path("in/own.csv").symlink_to("t.csv")
    Path("in/G").mkdir()
    for name in ("a", "b"):
        Path("in/G", name).mkdir()
        Path("in/G", name, "0.png").symlink_to(f"../../../out/F/{name}/0.png")
    Path("in/L").mkdir()
    for file in Path("out/M").iterdir():
        Path("in/L", file.name).symlink_to(file.resolve())


INSIDE = {
    "csv": ("x 4", 'csv "t.csv" target "kind"'),
    "a link within": ("x 4", 'csv "own.csv" target "kind"'),
    "npz": ("x 4", 'npz "t.npz"'),
    "npy": ("x 4", 'npy "x.npy" "y.npy"'),
    "folder": ("x 1x2x3", 'folder "F"'),
    "mnist": ("x 1x2x3", 'mnist "M"'),
    "idx": ("x 1x2x3", 'idx "M/train-images-idx3-ubyte" "M/train-labels-idx1-ubyte"'),
    "there and back": ("x 4", 'csv "../in/t.csv" target "kind"'),
    "generated": ("x 2", "xor"),
}
OUTSIDE = {
    "csv": ("x 4", 'csv "../out/t.csv" target "kind"'),
    "a link": ("x 4", 'csv "link.csv" target "kind"'),
    "a folder's link": ("x 4", 'npz "link/t.npz"'),
    "one of two": ("x 4", 'npy "x.npy" "../out/y.npy"'),
    "folder": ("x 1x2x3", 'folder "../out/F"'),
    "linked pictures": ("x 1x2x3", 'folder "G"'),
    "mnist": ("x 1x2x3", 'mnist "../out/M"'),
    "linked idx files": ("x 1x2x3", 'mnist "L"'),
    "what is not there": ("x 4", 'csv "../out/none.csv" target "kind"'),
    "a prefix of the name": ("x 4", 'csv "../in2/t.csv" target "kind"'),
}


def write(input: str, data: str, more: str = "") -> None:
    Path("in/n.net").write_text(NET.format(input=input, data=data, more=more))


@pytest.mark.parametrize("case", INSIDE)
def test_data_within_the_root_are_read(netdsl: Commands, case: str) -> None:
    made()
    write(*INSIDE[case])
    for root in ((), ("--root", "in"), ("--root", os.path.abspath("in"))):
        assert netdsl("train", "in/n.net", *STD, *root).code == 0


@pytest.mark.parametrize("case", OUTSIDE)
def test_data_do_not_leave_the_root(netdsl: Commands, case: str) -> None:
    made()
    write(*OUTSIDE[case])
    for command in (("train", "in/n.net", *STD), ("eval", "in/n.net", "--set", "train.validate=0.5")):
        ran = netdsl(*command, "--root", "in")
        assert ran.code == 1
        assert "error[E0874]" in ran.err
        assert "no file" not in ran.err
    absolute = OUTSIDE[case][1].replace('"', f'"{os.path.abspath("in")}/', 1)
    write(OUTSIDE[case][0], absolute)
    assert "error[E0874]" in netdsl("train", "in/n.net", *STD, "--root", "in").err


def test_validation_does_not_leave_the_root_and_the_command_line_may(netdsl: Commands) -> None:
    made()
    write("x 4", 'csv "t.csv" target "kind"', 'validate csv "../out/t.csv" target "kind";')
    assert "error[E0874]" in netdsl("train", "in/n.net", *STD, "--root", "in").err
    assert netdsl("train", "in/n.net", *STD).code == 0
    data = ("--data", 'csv "out/t.csv" target "kind"')
    assert netdsl("eval", "in/n.net", "--weights", "runs/n/best.safetensors", "--root", "in", *data).code == 0


def test_python_takes_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made()
    write("x 4", 'csv "../out/t.csv" target "kind"')
    assert len(api.fit("in/n.net", threads=1).history) == 1
    with pytest.raises(UserError, match="is outside the root") as caught:
        api.fit("in/n.net", threads=1, root=Path("in"))
    assert caught.value.code == "E0874"


SECRET = "hunter2"
FOREIGN = {
    "a header": (f"{SECRET},x\n1,2\n", "", "E0837"),
    "a header, nearly named": (f"{SECRET}abc,x\n1,2\n", "", "E0837"),
    "a password file": (f"root:x:0:0:{SECRET}:/root:/bin/sh\n", ' separator ":"', "E0834"),
    "a key": (f"key={SECRET}\n", ' separator "="', "E0837"),
    "a cell": (f"kind,password\na,{SECRET}\n", "", "E0834"),
    "a column": (f"kind,{SECRET}\na,?\n", "", "E0834"),
    "a word": (f"kind,x\n{SECRET},1\nb,1\nc,1\n", "", "E0836"),
    "a word that is one of two": (f"kind,x\n{SECRET},1\n", "", "E0836"),
    "a column with inf": (f"kind,{SECRET}\na,inf\nb,1\n", "", "E0833"),
    "one line": (f"{SECRET}\n", "", "E0837"),
    "columns twice": (f"{SECRET},{SECRET}\n", "", "E0834"),
}


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("case", FOREIGN)
def test_nothing_of_a_foreign_file_is_quoted(netdsl: Commands, case: str, linked: bool) -> None:
    text, more, code = FOREIGN[case]
    Path("in").mkdir()
    Path("secret").write_text(text)
    Path("in/secret").symlink_to("../secret")
    path = "secret" if linked else "../secret"
    Path("in/n.net").write_text(NET.format(input="x 1", data=f'csv "{path}" target "kind"{more}', more=""))
    ran = netdsl("train", "in/n.net", *STD)
    assert f"error[{code}]" in ran.err
    assert SECRET not in ran.err + ran.out
    Path("in/secret").unlink()
    Path("in/secret").write_text(text)
    if linked:  # which is the net's own file now
        assert (SECRET in netdsl("train", "in/n.net", *STD).err) == (case != "a password file")


def test_the_arrays_of_a_foreign_archive_are_not_listed(netdsl: Commands) -> None:
    Path("in").mkdir()
    np.savez("out.npz", **{SECRET: np.zeros(3)})
    Path("in/n.net").write_text(NET.format(input="x 1", data='npz "../out.npz"', more=""))
    ran = netdsl("train", "in/n.net", *STD)
    assert "error[E0837]: in/../out.npz has no array `x`" in ran.err
    assert SECRET not in ran.err


def test_the_classes_of_a_foreign_folder_are_not_listed(netdsl: Commands) -> None:
    Path("in").mkdir()
    for name in (SECRET, "b", "c"):
        Path("out", name).mkdir(parents=True)
    Path("in/n.net").write_text(NET.format(input="x 1x2x3", data='folder "../out"', more=""))
    ran = netdsl("train", "in/n.net", *STD)
    assert "error[E0836]: in/../out has 3 classes, but the net has 2" in ran.err
    assert SECRET not in ran.err
