"""What goes wrong with `netdsl train` and `netdsl eval`: wrong data, wrong words, wrong folders."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

STD = ("--lowering", "std", "--threads", "1")
XOR = """
net xor { input x 2; hidden: dense 4; tanh; dense 2 }
train xor { data xor; loss cross_entropy; batch 4; epochs 2 }
"""


@pytest.mark.parametrize("name", ["target", "rate", "loss", "step"])
@pytest.mark.parametrize("net", ["input {} 2; dense 2", "input x 2; {}: dense 2; output {}"])
def test_a_name_that_the_step_has_too(netdsl: Commands, net: str, name: str) -> None:
    netdsl.write(n=f"net n {{ {net.replace('{}', name)} }}\ntrain n {{ data xor; loss cross_entropy }}")
    what = "input" if net.startswith("input {}") else "output"
    for ran in (netdsl("train", "n.net", *STD), netdsl("eval", "n.net", "--data", "xor"), netdsl("check", "n.net")):
        assert ran.code == 1, ran
        assert f"error[E0347]: the {what} `{name}` has the name of a part of the training step" in ran.err


def test_a_folder_that_is_none(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    (netdsl.folder / "taken").mkdir()
    (netdsl.folder / "taken" / "thesis.txt").write_text("")
    for out, code, said in (
        ("xor.net", "E0606", "xor.net is a file, and a run needs a folder"),
        ("xor.net/run", "E0606", "xor.net/run"),
        ("taken", "E0863", "taken is not the folder of a run: it holds `thesis.txt`"),
    ):
        ran = netdsl("train", "xor.net", *STD, "--out", out)
        assert ran.code == 2, ran
        assert f"error[{code}]: " in ran.err
        assert said in ran.err
    assert netdsl("train", "xor.net", *STD, "--resume", "--force").code == 2
    assert not (netdsl.folder / "runs").exists()


def test_an_end_that_is_over(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", *STD, "--epochs", "3").code == 0
    ran = netdsl("train", "xor.net", *STD, "--resume")
    assert ran.code == 0
    assert "runs/xor: is at its end, with step 3 of 2" in ran.err


@pytest.mark.parametrize("length", [0, 5, 300])
def test_checkpoints_that_are_all_damaged(netdsl: Commands, length: int) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", *STD).code == 0
    (path,) = (netdsl.folder / "runs" / "xor" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:length])
    ran = netdsl("train", "xor.net", *STD, "--resume", "--epochs", "4")
    assert ran.code == 1
    assert f"{path.name} is damaged: " in ran.err
    assert str(length) in ran.err
    assert "--force begins it anew" in ran.err
    assert netdsl("train", "xor.net", *STD, "--force").code == 0


@pytest.mark.parametrize(
    ("net", "why"),
    [("a: dense 2 }", "all weights are frozen"), ("tanh }", "it has no weights")],
    ids=["frozen", "none"],
)
def test_weights_that_do_not_change_are_told(netdsl: Commands, net: str, why: str) -> None:
    freeze = "freeze a; " if "a:" in net else ""
    netdsl.write(n=f"net n {{ input x 2; {net}\ntrain n {{ {freeze}data xor; loss cross_entropy; epochs 2 }}")
    ran = netdsl("train", "n.net", *STD)
    assert ran.code == 0, ran
    assert f"n.net:2:7: warning[W0307]: `n` learns nothing: {why}\n" in ran.err


def test_a_rate_is_not_blamed_for_the_first_step(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; scale (-1); log; dense 2 }\ntrain n { data xor; loss cross_entropy }")
    ran = netdsl("train", "n.net", *STD)
    assert ran.code == 1
    assert "step 1, with the rate 0.01: it first appears in `log1`, n.net:1:32" in ran.err
    assert "a lower rate" not in ran.err


def test_an_index_that_an_embedding_lacks(netdsl: Commands) -> None:
    numbers = np.arange(24).reshape(8, 3)
    np.savez(netdsl.folder / "words.npz", words=numbers, target=np.arange(8) % 2)
    netdsl.write(
        n="net n { input words 3 dtype i64; embedding 10 4; flatten; dense 2 }\n"
        'train n { data npz "words.npz"; loss cross_entropy; epochs 1 }'
    )
    for ran in (netdsl("train", "n.net", *STD), netdsl("eval", "n.net", "--data", 'npz "words.npz"')):
        assert ran.code == 1, ran
        assert "error[E0814]: n failed: " in ran.err
        assert "embedding1/Gather" in ran.err
        assert "within the inclusive range [-10,9]" in ran.err


def test_a_file_where_folders_of_pictures_should_be(netdsl: Commands) -> None:
    netdsl.write(n='net n { input x 1x8x8; dense 2 }\ntrain n { data folder "n.net"; loss cross_entropy }')
    ran = netdsl("train", "n.net", *STD)
    assert ran.code == 1
    assert "n.net is a file" in ran.err
