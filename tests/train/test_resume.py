"""What a run that goes on looks at: that the data are the same, and what else its bits depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import netdsl as api
from netdsl.data import column
from netdsl.data.errors import BadStream
from netdsl.data.sources import from_arrays
from netdsl.train import run as runs
from netdsl.train.folder import OtherRun
from netdsl.train.open_data import subset
from netdsl.train.run import CheckpointWriter
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

NET = """
net small {{ input x 1x4x4; dense 3 }}
train small {{ data {data}; {lines} loss cross_entropy; optimizer sgd lr 0.1; batch 5; epochs 1; seed 2 }}
"""
STD = ("--step-backend", "plain", "--threads", "1")
ON = (*STD, "--resume", "--epochs")
Pair = tuple[np.ndarray, np.ndarray]


def pair(seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((20, 1, 4, 4)).astype(np.float32), rng.integers(0, 3, 20)


def write(path: Path, x: Any, y: Any) -> None:
    np.savez(path, x=x, y=y)


def program(folder: Path, data: str = 'npz "data.npz"', lines: str = "") -> Path:
    (folder / "small.net").write_text(NET.format(data=data, lines=lines))
    return folder / "small.net"


@pytest.mark.parametrize(
    ("lines", "file", "what", "said"),
    [
        ("", "data", "x", "the training's `x`"),
        ("", "data", "y", "the training's `target`"),
        ("validate 0.25;", "data", "x", "the training's `x`"),
        ('validate npz "other.npz";', "other", "y", "the validation's `target`"),
    ],
)
def test_other_values_are_refused(netdsl: Commands, lines: str, file: str, what: str, said: str) -> None:
    program(netdsl.folder, lines=lines)
    x, y = pair()
    for name in ("data", "other"):
        write(netdsl.folder / f"{name}.npz", x, y)
    assert netdsl("train", "small.net", *STD).code == 0
    np.savez_compressed(netdsl.folder / f"{file}.npz", x=x, y=y)
    assert netdsl("train", "small.net", *ON, "2").code == 0, "the same values in another form are the same"
    (x if what == "x" else y).reshape(-1)[-1] = 1 if y[-1] != 1 else 0
    write(netdsl.folder / f"{file}.npz", x, y)
    ran = netdsl("train", "small.net", *ON, "3")
    assert ran.code == 2
    assert "E0864" in ran.err
    assert said in ran.err
    assert "--force starts this one anew" in ran.err
    assert netdsl("train", "small.net", *STD, "--force").code == 0


def test_pictures_are_known_by_their_names_and_sizes(netdsl: Commands) -> None:
    rng = np.random.default_rng(0)

    def save(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).save(path)

    for label in "abc":
        for number in range(3):
            save(netdsl.folder / "pets" / label / f"{number}.png")
    program(netdsl.folder, 'folder "pets"')
    assert netdsl("train", "small.net", *STD).code == 0
    (netdsl.folder / "pets").rename(netdsl.folder / "moved")
    (netdsl.folder / "moved").rename(netdsl.folder / "pets")
    assert netdsl("train", "small.net", *ON, "2").code == 0
    (netdsl.folder / "pets" / "a" / "1.png").rename(netdsl.folder / "pets" / "a" / "7.png")
    assert "E0864" in netdsl("train", "small.net", *ON, "3").err


def test_an_other_version_is_told(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    program(netdsl.folder)
    write(netdsl.folder / "data.npz", *pair())
    assert netdsl("train", "small.net", *STD).code == 0
    assert "may differ" not in netdsl("train", "small.net", *ON, "2").err
    now = runs.onnxruntime.__version__
    monkeypatch.setattr(runs, "VERSION", "99.0")
    monkeypatch.setattr(runs.onnxruntime, "__version__", "9.9")
    monkeypatch.setattr(runs, "processor", lambda: "Abacus 9000")
    ran = netdsl("train", "small.net", *ON, "3")
    assert ran.code == 0
    assert f"onnxruntime was {now} and is 9.9: the last bits may differ" in ran.err
    assert "and is 99.0" in ran.err
    assert "and is Abacus 9000" in ran.err
    assert "may differ" not in netdsl("train", "small.net", *ON, "4").err, "it is told once"
    monkeypatch.undo()
    run = netdsl.folder / "runs" / "small"
    with pytest.warns(RuntimeWarning) as told:
        api.fit(netdsl.folder / "small.net", out=run, resume=True, settings={"train.epochs": 5})
    assert len(told) == 3
    assert f"was 9.9 and is {now}" in str(told[1].message)


def test_a_checkpoint_of_before_says_nothing_of_it(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    program(netdsl.folder)
    write(netdsl.folder / "data.npz", *pair())

    def earlier_writer(folder: Any, keep: int, kept: dict[str, Any], seconds: float) -> CheckpointWriter:
        return CheckpointWriter(
            folder, keep, {key: kept[key] for key in kept if key not in ("data", "made_with")}, seconds
        )

    monkeypatch.setattr("netdsl.train.run.CheckpointWriter", earlier_writer)
    assert netdsl("train", "small.net", *STD).code == 0
    write(netdsl.folder / "data.npz", *pair(1))
    ran = netdsl("train", "small.net", *ON, "2")
    assert ran.code == 0
    assert "differ" not in ran.err


PICTURES = """
net n { input x 1x16x16 HOW; dense 3 }
train n { data shapes n 12; loss cross_entropy; batch 4; epochs 1 }
"""


def test_images_that_are_preprocessed_otherwise_are_another_run(netdsl: Commands) -> None:
    hows = ["mean 100 std 50", "mean 90 std 50", "mean 100", "resize 16 mean 100 std 50", "crop 16 mean 100 std 50"]
    hows += ["filter box mean 100 std 50", "resize 16x16 letterbox 3 mean 100 std 50", "order bgr mean 100 std 50", ""]
    netdsl.write(n=PICTURES.replace("HOW", hows[0]))
    assert netdsl("train", "n.net", *STD).code == 0
    for how in hows:
        netdsl.write(n=PICTURES.replace("HOW", how))
        ran = netdsl("train", "n.net", *STD, "--resume", "--set", "train.epochs=2")
        assert (ran.code == 0) == (how == hows[0]), ran.err
        assert ("the inputs of the net preprocess images otherwise" in ran.err) == (how != hows[0])


FORMS: dict[str, Callable[[Pair], Any]] = {
    "arrays": lambda p: p,
    "batches": lambda p: [(p[0][:10], p[1][:10]), (p[0][10:], p[1][10:])],
    "epochs": lambda p: lambda _: iter([p]),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_of_a_program(tmp_path: Path, form: str) -> None:
    file = program(tmp_path)
    how: dict[str, Any] = {"out": tmp_path / "run", "step_backend": "plain", "threads": 1}
    how["settings"] = {"train.steps": 4}
    api.fit(file, data=FORMS[form](pair()), **how)
    api.fit(file, data=FORMS[form](pair()), resume=True, **how)
    with pytest.raises(OtherRun, match="data have changed: the training's `x`"):
        api.fit(file, data=FORMS[form](pair(1)), resume=True, **how)


class Loader:
    """Gives them in another order each time."""

    def __init__(self) -> None:
        self.begun = 0

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[Pair]:
        self.begun += 1
        x, y = pair()
        order = np.random.default_rng(self.begun).permutation(20)
        return ((x[at], y[at]) for at in np.split(order, 4))


def test_what_shuffles_by_itself_is_not_looked_at(tmp_path: Path) -> None:
    file, loader = program(tmp_path), Loader()
    how: dict[str, Any] = {"step_backend": "plain", "settings": {"train.steps": 3}}
    api.fit(file, data=loader, **how)
    begun = loader.begun
    api.fit(file, data=loader, out=tmp_path / "run", **how)
    assert loader.begun == 2 * begun
    api.fit(file, data=loader, out=tmp_path / "run", resume=True, **how)


def test_much_data_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column, "SAMPLE_BYTES", 1000)
    x, y = np.zeros((5000, 10), np.float32), np.zeros(5000, int)
    whole = from_arrays({"x": x}, {"y": y})
    found = whole.digests()
    assert found == from_arrays({"x": x.copy()}, {"y": y}).digests()
    assert found != from_arrays({"x": x[:-1]}, {"y": y[:-1]}).digests()
    for at in (0, 4999):
        other = x.copy()
        other[at] = 1
        again = from_arrays({"x": other}, {"y": y}).digests()
        assert again["x"] != found["x"]
        assert again["y"] == found["y"]
    halves = [subset(whole, np.arange(at, 5000, 2)).digests()["x"] for at in (0, 1)]
    assert halves[0] != halves[1]


def test_a_part_of_arrays_validates_and_of_a_stream_cannot(tmp_path: Path) -> None:
    file = program(tmp_path, lines="validate 0.25;")
    x, y = pair()
    write(tmp_path / "data.npz", x, y)
    how: dict[str, Any] = {"step_backend": "plain", "threads": 1}
    assert api.fit(file, data=(x, y), **how).history == api.fit(file, **how).history

    def batches(_: int) -> Iterator[Pair]:
        yield x, y

    for source in ([(x, y)], batches):
        with pytest.raises(BadStream, match=r"`validate 0.25` holds out examples"):
            api.fit(file, data=source, settings={"train.steps": 3}, **how)
    trained = api.fit(file, data=batches, validate=(x, y), settings={"train.steps": 3}, **how)
    assert "validation_loss" in trained.history[-1]


@pytest.mark.parametrize("place", ["data", "net"])
def test_where_a_nan_of_a_stream_was_born(tmp_path: Path, place: str) -> None:
    file = program(tmp_path)
    x, y = pair()
    if place == "data":
        x[7] = np.nan
    else:
        x *= 1e30
        file.write_text(file.read_text().replace("dense 3", "mine: exp; dense 3"))
    said = r"epoch 0, item 0: x\[7\]" if place == "data" else "appears in `mine`"
    with pytest.raises(api.UserError, match=said):
        api.fit(file, data=[(x, y)], step_backend="plain")


def test_an_item_that_does_not_fit_is_called_by_its_number(tmp_path: Path) -> None:
    file = program(tmp_path)
    x, y = pair()
    items = [(x, y) if number != 37 else (x, y[1:]) for number in range(40)]
    with pytest.raises(api.UserError, match="epoch 0, item 37"):
        api.fit(file, data=items, out=tmp_path / "run", step_backend="plain")
