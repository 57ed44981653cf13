"""Tables that name image files in a column."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.errors import BadPicture, BadTable, ClassesDiffer, Incomplete, OutsideData, WrongShape
from netdsl.data.kinds import KINDS
from netdsl.data.picture import Picture
from netdsl.data.spec import Bounds, DataSpec, Target
from netdsl.ir.names import Names
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]


def drawn(folder: Path, *names: str, size: tuple[int, int] = (5, 4)) -> list[np.ndarray[Any, Any]]:
    """RGB images by the names of their files, of this width and height."""
    pixels = []
    for number, name in enumerate(names):
        pixels.append(np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[-1]).save(folder / name)
    return pixels


def opened(folder: Path, text: str, *, target: Target | None = None, **more: Any) -> Dataset:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    kind = KINDS["csv"](file=str(folder / "t.csv"), image="path", target=more.pop("columns", ("label",)))
    goal = target or Target("y", "class", classes=2)
    return kind.open(DataSpec({"x": ((3, 4, 5), "f32")}, {"y": goal}, **more))


def whole(dataset: Dataset) -> dict[str, Any]:
    (batch,) = dataset.batches(len(dataset), seed=0, epoch=0, shuffle=False)
    return batch


TEXT = "path,label,author\nb/1.png,dog,x\na.png,cat,y\n"


@pytest.mark.parametrize("relative", [False, True])
def test_paths_are_relative_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    pixels = drawn(tmp_path, "b/1.png", "a.png")
    monkeypatch.chdir(tmp_path if relative else tmp_path.parent)
    dataset = opened(Path() if relative else tmp_path, TEXT)
    batch = whole(dataset)
    assert np.array_equal(batch["x"], np.stack(pixels).transpose(0, 3, 1, 2))
    assert batch["y"].tolist() == [1, 0]
    assert dataset.names.classes == {"y": ("cat", "dog")}
    assert [note.partition(".csv: ")[2] for note in dataset.notes] == [
        "columns that are neither the image nor a target are ignored: author"
    ]
    assert dataset.digests().keys() == {"x", "y"}


def test_labels_are_names_numbers_or_values(tmp_path: Path) -> None:
    drawn(tmp_path, "1.png", "2.png")
    assert whole(opened(tmp_path, "path,label\n1.png,1\n2.png,0\n"))["y"].tolist() == [1, 0]
    values = opened(
        tmp_path,
        "a;path;b\n1,5;1.png;2\n".replace(",", ".") + "3;2.png;-4\n",
        columns=("b", "a"),
        target=Target("y", "value", shape=(2,)),
    )
    assert whole(values)["y"].tolist() == [[2, 1.5], [-4, 3]]
    named = opened(tmp_path, "path,label\n1.png,b\n", names=Names({"y": ("b", "a")}))
    assert whole(named)["y"].tolist() == [0]
    with pytest.raises(ClassesDiffer, match=r"line 2, column 2 \(`label`\) is `c`"):
        opened(tmp_path, "path,label\n1.png,c\n", names=Names({"y": ("b", "a")}))


def test_images_are_preprocessed(tmp_path: Path) -> None:
    (pixels,) = drawn(tmp_path, "1.png", size=(10, 8))
    how = Picture(resize=(4, 5), filter="box", mean=(9,), std=(2,))
    (x,) = whole(opened(tmp_path, "path,label\n1.png,0\n", pictures={"x": how}))["x"]
    small = np.asarray(Image.fromarray(pixels).resize((5, 4), Image.Resampling.BOX), np.float32)
    np.testing.assert_allclose(x, (small.transpose(2, 0, 1) - 9) / 2, rtol=1e-6)


BAD: dict[str, tuple[str, type[UserError], str]] = {
    "a missing file": ("1.png,0\n\n\n9.png,0", Incomplete, r"t.csv, line 5, column 1 \(`path`\): no file \S*9.png"),
    "a folder": ("1.png,0\nsub,0", Incomplete, "line 3, column 1"),
    "no ending": ("1,0", Incomplete, r"line 2.*no file"),
    "no path": ("1.png,0\n ,1", BadTable, r"line 3, column 1 \(`path`\) is empty"),
    "NUL": ("1.png\0,0", Incomplete, "line 2"),
    "not an image": ("t.csv,0", BadPicture, "t.csv is damaged, or not a supported image"),
    "another size": ("1.png,0\nsub/2.png,1", WrongShape, "2.png is 3x7"),
    "a row too short": ("1.png", BadTable, "line 2: the row has 1 cells"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_rows_are_named(tmp_path: Path, what: str) -> None:
    drawn(tmp_path, "1.png")
    drawn(tmp_path, "sub/2.png", size=(7, 3))
    text, error, message = BAD[what]
    with pytest.raises(error, match=message) as caught:
        opened(tmp_path, f"path,label\n{text}\n")
    assert ("1.png exists" in str(caught.value.helps)) == (what == "no ending")


def test_columns_that_are_missing(tmp_path: Path) -> None:
    drawn(tmp_path, "1.png")
    with pytest.raises(Incomplete, match="has no column `path`; it has Path, label"):
        opened(tmp_path, "Path,label\n1.png,0\n")


def test_nothing_outside_the_root_is_read_or_told(tmp_path: Path) -> None:
    drawn(tmp_path, "out.png", "root/1.png")
    root = tmp_path / "root"
    (root / "link.png").symlink_to(tmp_path / "out.png")
    for path in ("../out.png", str(tmp_path / "out.png"), "link.png"):
        with pytest.raises(OutsideData):
            opened(root, f"path,label\n{path},0\n", bounds=Bounds(str(root)))
    with pytest.raises(Incomplete) as caught:
        opened(tmp_path, "path,label\nsecret,0\n", bounds=Bounds(None, str(root)))
    assert "secret" not in str(caught.value) + str(caught.value.helps)
    assert "line 2, column 1: no such file" in str(caught.value)


def test_it_is_checked_trained_and_evaluated(netdsl: Commands) -> None:
    names = [f"images/{number}.png" for number in range(8)]
    drawn(netdsl.folder, *names)
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names))
    rows = rows.replace("\n", ",me\n")
    Path("train.csv").write_text(f"path,label,author\n{rows}")
    line = 'csv "train.csv" image "path" target "label"'
    training = f"{{ data {line}; validate 0.5; loss cross_entropy; optimizer sgd lr 0.1; batch 2; epochs 1 }}"
    netdsl.write(
        n=f"net n {{ input image 3x4x5 mean 127 std 64; dense 2 }}\ntrain n {training}",
        raw=f"net raw {{ input image 3x4x5; dense 2 }}\ntrain raw {training}",
        flat=f"net flat {{ input image 60; dense 2 }}\ntrain flat {training}",
    )
    assert netdsl("check", "n.net").err == "n.net: ok (n)\n"
    assert "W0306" in netdsl("check", "raw.net").err
    assert "has images with 1 or 3 channels, but the input is 60" in netdsl("check", "flat.net").err
    ran = netdsl("train", "n.net")
    assert (ran.code, "columns that are neither the image nor a target are ignored: author" in ran.err) == (0, True), (
        ran
    )
    ran = netdsl("eval", "runs/n/best.onnx", "--data", line)
    assert (ran.code, "rows: true class" in ran.out) == (0, True), ran
    os.remove("images/3.png")
    assert "train.csv, line 5, column 1 (`path`): no file images/3.png" in netdsl("train", "n.net", "--force").err
