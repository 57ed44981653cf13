"""The folder of a run: numbered by default, and removed if the training fails before its first step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import netdsl as api
from netdsl.base.user_error import UserError
from netdsl.train.folder import claim_folder, numbered_folders
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

XOR = """
net xor { input x 2; hidden: dense 4; tanh; dense 2 }
train xor { data xor; validate xor; loss cross_entropy; batch 4; epochs 2 }
"""
STD = ("--step-backend", "plain", "--threads", "1")


def steps(path: str) -> int:
    return len(Path(path, "metrics.jsonl").read_text().splitlines())


def test_each_run_has_a_folder_of_its_own(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    assert "a new run" not in netdsl("train", "xor.net", *STD).err
    assert "runs/xor-2: a new run, because runs/xor exists\n" in netdsl("train", "xor.net", *STD, "--epochs", "3").err
    Path("runs/xor-9").mkdir()
    Path("runs/xor-next").mkdir()
    assert "runs/xor-10: a new run, because runs/xor-9 exists\n" in netdsl("train", "xor.net", *STD).err
    assert [steps(f"runs/{name}") for name in ("xor", "xor-2", "xor-10")] == [2, 3, 2]
    netdsl("train", "xor.net", *STD, "--force", "--epochs", "1")
    assert [steps(f"runs/{name}") for name in ("xor", "xor-2", "xor-10")] == [1, 3, 2]


def test_the_last_run_is_resumed(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    assert "resuming" not in netdsl("train", "xor.net", *STD, "--resume").err
    assert netdsl("train", "xor.net", *STD).code == 0
    Path("runs/xor-3").mkdir()  # of a process that was killed before its run began
    ran = netdsl("train", "xor.net", *STD, "--resume", "--epochs", "4")
    assert "runs/xor-2: resuming after step 2 of 4" in ran.err
    assert [steps(f"runs/{name}") for name in ("xor", "xor-2")] == [2, 4]


def test_processes_that_start_at_once_have_different_folders(tmp_path: Path) -> None:
    base = str(tmp_path / "runs" / "net")
    with ThreadPoolExecutor(8) as pool:
        found = [path for path, _ in pool.map(claim_folder, [base] * 40)]
    assert sorted(found) == sorted([base, *(f"{base}-{number}" for number in range(2, 41))])
    assert numbered_folders(base) == [base, *(f"{base}-{number}" for number in range(2, 41))]


FAILURES = {
    "data": ["--set", 'train.data=npz "none.npz"'],
    "validation": ["--set", 'train.validate=npz "none.npz"'],
    "weights": ["--weights", "none.npz"],
    "shapes": ["--weights", "other.npz"],
    "provider": ["--provider", "tensorrt"],
    "first step": ["--weights", "big.npz"],
}


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("out", [[], ["--out", "a/b"], ["--out", "mine", "--force"]])
def test_a_start_that_fails_leaves_nothing(netdsl: Commands, how: str, out: list[str]) -> None:
    netdsl.write(xor=XOR)
    np.savez("other.npz", wrong=np.zeros(3, np.float32))
    big = {"hidden.weight": (4, 2), "hidden.bias": 4, "dense1.weight": (2, 4), "dense1.bias": 2}
    np.savez("big.npz", **{name: np.full(shape, 3e38, np.float32) for name, shape in big.items()})
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")
    before = sorted(map(str, Path().rglob("*")))
    ran = netdsl("train", "xor.net", *STD, *out, *FAILURES[how])
    assert ran.code in (1, 2), ran
    assert "error[" in ran.err
    assert sorted(map(str, Path().rglob("*"))) == before


def test_a_start_that_fails_leaves_earlier_runs(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", *STD).code == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    for more in ([], ["--resume"], ["--force"]):
        assert netdsl("train", "xor.net", *STD, "--set", 'train.data=npz "none.npz"', *more).code == 2
        assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["notes.txt", "plots/loss.png", ".hidden"])
def test_a_start_that_fails_leaves_what_others_have_written_since(
    netdsl: Commands, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        theirs = Path("runs/xor", name)
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_text("mine")
        raise UserError("the data are gone")

    netdsl.write(xor=XOR)
    monkeypatch.setattr("netdsl.train.loop.Trainer.run", fail)
    assert "the data are gone" in netdsl("train", "xor.net", *STD).err
    assert [str(path) for path in Path("runs/xor").rglob("*") if path.is_file()] == [f"runs/xor/{name}"]


def test_a_file_in_the_place_of_the_folder_of_runs(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    Path("runs").write_text("mine")
    ran = netdsl("train", "xor.net", *STD)
    assert (ran.code, ran.err) == (2, "error[E0606]: runs is a file, but a run needs a folder\n")
    assert Path("runs").read_text() == "mine"


def test_fit_leaves_nothing_either(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    with pytest.raises(UserError):
        api.fit("xor.net", data=(np.full((4, 2), np.nan, np.float32), np.zeros(4, int)), out="run")
    assert not Path("run").exists()
