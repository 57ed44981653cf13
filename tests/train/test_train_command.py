"""The commands `netdsl train` and `netdsl eval`."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnxruntime
import pytest

from netdsl.cli.commands import COMMANDS
from tests.support.cli_tools import MNIST, Commands, netdsl

__all__ = ["netdsl"]

XOR = """
net xor { input x 2; hidden: dense 4; tanh; dense 2 }
train xor {
  data xor; validate xor
  loss cross_entropy
  optimizer sgd lr 0.5 momentum 0.9
  batch 4; epochs 30; seed 1
}
"""
TWO_EPOCHS = """
net xor { input x 2; hidden: dense 4; tanh; dense 2 }
train xor { data xor; loss cross_entropy; batch 4; epochs 2 }
"""
STD = ("--step-backend", "plain", "--threads", "1")
DIGITS = f"""
net digits {{ input image 1x28x28; scale 1/255; dense 10 }}
train digits {{
  data mnist "{MNIST}" split test
  validate 0.1
  loss cross_entropy
  optimizer sgd lr 0.2
  batch 100; epochs 1
}}
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_folder(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    ran = netdsl("train", "xor.net", *STD)
    assert ran.code == 0, ran
    run = netdsl.folder / "runs" / "xor"
    assert ran.out.splitlines()[-1].startswith("epoch 30/30  loss 0.")
    assert len(ran.out.splitlines()) == 30
    assert "runs/xor: 30 steps" in ran.err
    assert (run / "source" / "xor.net").read_text() == XOR
    about = json.loads((run / "run.json").read_text())
    assert (about["net"], about["seed"], about["lowering"], about["threads"]) == ("xor", 1, "std", 1)
    assert "optimizer sgd lr 0.5 momentum 0.9" in about["recipe"]
    table = rows(run / "metrics.csv")
    assert list(table[0]) == ["epoch", "step", "loss", "accuracy", "validation_loss", "validation_accuracy", "rate"]
    assert [row["step"] for row in table] == [str(step) for step in range(1, 31)]
    objects = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [{key: str(value) for key, value in row.items()} for row in objects] == table
    assert float(table[-1]["loss"]) < float(table[0]["loss"])
    assert ElementTree.parse(run / "curves.svg").getroot().tag.endswith("svg")
    assert len(list((run / "checkpoints").iterdir())) == 1
    for which in ("best", "last"):
        session = onnxruntime.InferenceSession(run / f"{which}.onnx")
        assert session.get_inputs()[0].shape[1:] == [2]
        assert netdsl("compile", "xor.net", "--weights", run / f"{which}.safetensors", "-o", "same.onnx").code == 0
        assert (netdsl.folder / "same.onnx").read_bytes() == (run / f"{which}.onnx").read_bytes()


@pytest.mark.parametrize(
    ("options", "axis", "ticks"),
    [(("--epochs", 4), "epoch", ["0", "1", "2", "3", "4"]), (("--steps", 40), "step", ["0", "10", "20", "30", "40"])],
)
def test_curves_are_over_epochs_or_over_steps(
    netdsl: Commands, options: tuple[str, int], axis: str, ticks: list[str]
) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", "--set", "train.batch=1", *options, *STD).code == 0
    curves = Path("runs/xor/curves.svg").read_text("utf-8")
    assert ">xor: " in curves
    found = re.findall(r'text-anchor="middle" [^>]*>([^<]+)<', curves)
    assert found[1 : 1 + len(ticks) + 1] == [*ticks, axis]


def test_curves_do_not_depend_on_the_folder(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    for folder in ("a", "other/place"):
        assert netdsl("train", "xor.net", "--out", folder, *STD).code == 0
    assert Path("a/curves.svg").read_bytes() == Path("other/place/curves.svg").read_bytes()


def test_a_run_is_not_overwritten(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", *STD).code == 0
    before = {path: path.read_bytes() for path in (netdsl.folder / "runs").rglob("*") if path.is_file()}
    ran = netdsl("train", "xor.net", *STD, "--out", "runs/xor")
    assert ran.code == 2
    assert "E0863" in ran.err
    assert "--resume" in ran.err
    assert before == {path: path.read_bytes() for path in before}
    assert netdsl("train", "xor.net", *STD, "--force", "--epochs", "2").code == 0
    assert len(rows(netdsl.folder / "runs" / "xor" / "metrics.csv")) == 2
    (netdsl.folder / "mine").mkdir()
    (netdsl.folder / "mine" / "thesis.txt").write_text("years")
    ran = netdsl("train", "xor.net", *STD, "--out", "mine")
    assert ran.code == 2
    assert "thesis.txt" in ran.err
    assert netdsl("train", "xor.net", *STD, "--out", "mine", "--force").code == 0
    assert (netdsl.folder / "mine" / "thesis.txt").read_text() == "years"


def test_a_run_can_be_made_longer(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", *STD, "--out", "whole", "--epochs", "12").code == 0
    assert netdsl("train", "xor.net", *STD, "--out", "parts", "--steps", "5", "--resume").code == 0
    ran = netdsl("train", "xor.net", *STD, "--out", "parts", "--epochs", "12", "--resume")
    assert ran.code == 0
    assert "resuming after step 5 of 12" in ran.err
    for name in ("metrics.csv", "last.safetensors", "best.safetensors", "last.onnx"):
        assert (netdsl.folder / "whole" / name).read_bytes() == (netdsl.folder / "parts" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("lr 0.5", "lr 0.25"), "the recipe differs from the one"),
        (("dense 4", "dense 5"), "the net or the computation of a step has changed"),
    ],
)
def test_a_run_goes_on_with_its_own_recipe(netdsl: Commands, change: tuple[str, str], said: str) -> None:
    netdsl.write(xor=XOR)
    assert netdsl("train", "xor.net", *STD, "--epochs", "2").code == 0
    netdsl.write(xor="# a comment is no other recipe\n" + XOR)
    assert netdsl("train", "xor.net", *STD, "--resume").code == 0
    netdsl.write(xor=XOR.replace(*change))
    ran = netdsl("train", "xor.net", *STD, "--resume")
    assert ran.code == 2
    assert "E0864" in ran.err
    assert said in ran.err


def test_lines_of_json(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    ran = netdsl("train", "xor.net", *STD, "--epochs", "3", "--json")
    found = [row for row in map(json.loads, ran.out.splitlines()) if row["event"] == "epoch"]
    assert [row["epoch"] for row in found] == [1, 2, 3]
    assert found[0].keys() >= {"loss", "accuracy", "validation_accuracy", "rate"}


def test_a_loss_that_is_no_number_names_the_layer(netdsl: Commands) -> None:
    netdsl.write(
        bad="net bad {\n  input x 2\n  dense 4; relu\n  scale 1e30\n  scale 1e30\n  dense 1\n}\n"
        'train bad { data npz "x.npz"; loss mse; batch 4; epochs 3 }\n'
    )
    np.savez(netdsl.folder / "x.npz", x=np.ones((8, 2), np.float32), target=np.ones((8, 1), np.float32))
    ran = netdsl("train", "bad.net", *STD)
    assert ran.code == 1
    assert "E0862" in ran.err
    assert "epoch 1, step 1" in ran.err
    assert "appears in `scale2`, bad.net:5:3" in ran.err
    assert not (netdsl.folder / "runs" / "bad" / "last.safetensors").exists()


def test_weights_that_blew_up_are_named_and_the_last_good_checkpoint_stays(netdsl: Commands) -> None:
    netdsl.write(
        line='net line { input x 1; d: dense 1 }\ntrain line { data npz "x.npz"; loss mse; batch 2; epochs 99 }'
    )
    np.savez(netdsl.folder / "x.npz", x=np.array([[10], [20]], np.float32), target=np.zeros((2, 1), np.float32))
    ran = netdsl("train", "line.net", *STD, "--checkpoint", "0", "--set", "train.lr=1e15")
    assert ran.code == 1, ran
    assert "E0862" in ran.err
    assert "appears in the loss, `mse`, line.net:2:" in ran.err
    assert "`--set train.lr=0.01`" in ran.err
    assert "0001.safetensors, is finite" in ran.err
    for seconds, said in (("0", "`d.weight` of `d`, line.net:1:"), ("60", "the weight `d.weight` of `d`, line.net:1:")):
        ran = netdsl("train", "line.net", *STD, "--force", "--checkpoint", seconds, "--set", "train.lr=3e38")
        assert ran.code == 1, ran
        assert "E0862" in ran.err
        assert said in ran.err


def test_a_batch_of_more_than_all_is_explained(netdsl: Commands) -> None:
    netdsl.write(xor=XOR)
    ran = netdsl("train", "xor.net", *STD, "--set", "train.batch=100", "--epochs", "1")
    assert ran.code == 0
    assert "there are fewer examples, 4, than the batch size, 100" in ran.err


def test_batch_norm_of_one_value_is_rejected(netdsl: Commands) -> None:
    netdsl.write(one='net one { input x 3; dense 2; bn; dense 1 }\ntrain one { data npz "x.npz"; loss mse; batch 8 }')
    np.savez(netdsl.folder / "x.npz", x=np.zeros((1, 3), np.float32), target=np.zeros((1, 1), np.float32))
    ran = netdsl("train", "one.net", *STD)
    assert ran.code == 1
    assert "E0861" in ran.err
    assert "one.net:1:" in ran.err


def test_tensorboard_needs_its_package(netdsl: Commands) -> None:
    pytest.importorskip("importlib")
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        netdsl.write(xor=XOR)
        ran = netdsl("train", "xor.net", *STD, "--tensorboard")
        assert ran.code == 2
        assert "netdsl[tensorboard]" in ran.err


def test_eval_is_what_training_said(netdsl: Commands) -> None:
    netdsl.write(digits=DIGITS)
    assert netdsl("train", "digits.net", *STD, "--out", "run").code == 0
    row = rows(netdsl.folder / "run" / "metrics.csv")[-1]
    ran = netdsl("eval", "digits.net", "--weights", "run/last.safetensors", "--json", "--threads", "1")
    assert ran.code == 0, ran
    found = json.loads(ran.out)
    assert found["examples"] == 1000
    assert found["accuracy"] == pytest.approx(float(row["validation_accuracy"]))
    assert found["loss"] == pytest.approx(float(row["validation_loss"]))
    matrix = np.array(found["confusion"]["output"])
    assert matrix.sum() == 1000
    assert matrix.trace() / 1000 == found["accuracy"]
    assert found["accuracy"] > 0.8


def test_eval_of_files_and_models(netdsl: Commands) -> None:
    weights = MNIST / "lenet5.safetensors"
    data = f'mnist "{MNIST}" split test'
    text = netdsl("eval", "lenet5", "--weights", weights, "--data", data, "--plot", "confusion.svg", "--batch", "999")
    assert text.code == 0, text
    assert "accuracy  0.9921" in text.out
    assert "rows: true class" in text.out
    assert b"predicted" in (netdsl.folder / "confusion.svg").read_bytes()
    assert netdsl("compile", "lenet5", "--weights", weights).code == 0
    model = netdsl("eval", "lenet5.onnx", "--data", MNIST, "--json")
    assert json.loads(model.out)["accuracy"] == 0.9921
    assert "E0645" in netdsl("eval", "lenet5.onnx").err


def test_eval_needs_data(netdsl: Commands) -> None:
    netdsl.write(xor=XOR.replace("; validate xor", ""))
    ran = netdsl("eval", "xor.net")
    assert ran.code == 2
    assert "E0645" in ran.err


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        ("input x 2; dense 1", "its output is 1, and `cross_entropy` takes a number for each of two classes or more"),
        ("input x 2; output a { dense 2 }; output b { dense 3 }", "it has 2 outputs, `a`, `b`"),
        ("input target 2; dense 2", "the name `target` is reserved"),
        ("input x 2; loss: param [2]; add {from x} loss", "the name `loss` is reserved"),
        ("input x 3x?x?; scale 1/255; conv 3x3 8; global_avgpool; dense 2", "the input `x` of [3, x_1, x_2] has no"),
    ],
)
def test_only_a_classifier_is_evaluated_without_a_training(netdsl: Commands, net: str, reason: str) -> None:
    netdsl.write(n=f"net n {{ {net} }}")
    ran = netdsl("eval", "n.net", "--data", "xor")
    assert ran.code == 1
    assert ran.out == ""
    assert f"error[E0647]: without a `train` block, `n` is evaluated as a classifier, but {reason}" in ran.err


@pytest.mark.parametrize(
    "body",
    [
        "input x 8 dtype i64; embedding 20 4; linear 20",
        "input x 3x9x7; conv 3x3 4; flatten; dense 3",
        "input x 2; dense 2",
    ],
)
def test_the_block_that_a_net_lacks_fits_it(netdsl: Commands, body: str) -> None:
    net = f"net n {{ {body} }}\n"
    netdsl.write(n=net)
    ran = netdsl("train", "n.net")
    (block,) = re.findall("add one, such as `(.*?)`", ran.err)
    netdsl.write(n=net + block)
    ran = netdsl("check", "--strict", "n.net")
    assert (ran.code, ran.err) == (0, "n.net: ok (n)\n"), ran


def test_the_training_heads_of_a_classifier_are_not_evaluated(netdsl: Commands) -> None:
    heads = "net n { input x 2; output aux training { dense 3 }; dense 2 }"
    netdsl.write(n=heads, plain="net n { input x 2; dense 2 }")
    ran = netdsl("eval", "n.net", "--data", "xor", "--json")
    assert json.loads(ran.out) == json.loads(netdsl("eval", "plain.net", "--data", "xor", "--json").out)


def test_a_mistake_in_a_classifier_is_repaired(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; dens 2 }")
    assert "did you mean `dense`?" in netdsl("eval", "n.net", "--data", "xor").err


def test_the_commands_are_declared() -> None:
    assert {"train", "eval"} <= COMMANDS.keys()


# --- errors: names, folders, checkpoints and data --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["target", "rate", "loss", "step", "row"])
@pytest.mark.parametrize(
    "net", ["input {} 2; dense 2", "input x 2; {}: dense 2; output {}", "input x 2; add { } {{}: param [2]}"]
)
def test_a_name_that_the_step_has_too(netdsl: Commands, net: str, name: str) -> None:
    netdsl.write(n=f"net n {{ {net.replace('{}', name)} }}\ntrain n {{ data xor; loss cross_entropy }}")
    what = "input" if net.startswith("input {}") else "output" if "output" in net else "weight"
    for ran in (netdsl("train", "n.net", *STD), netdsl("eval", "n.net", "--data", "xor"), netdsl("check", "n.net")):
        assert ran.code == 1, ran
        assert f"error[E0347]: the {what} `{name}` has a name that is reserved for the training step" in ran.err


def test_a_folder_that_is_none(netdsl: Commands) -> None:
    netdsl.write(xor=TWO_EPOCHS)
    (netdsl.folder / "taken").mkdir()
    (netdsl.folder / "taken" / "thesis.txt").write_text("")
    for out, code, said in (
        ("xor.net", "E0606", "xor.net is a file, but a run needs a folder"),
        ("xor.net/run", "E0606", "xor.net/run"),
        ("taken", "E0863", "taken is not the folder of a run: it contains `thesis.txt`"),
    ):
        ran = netdsl("train", "xor.net", *STD, "--out", out)
        assert ran.code == 2, ran
        assert f"error[{code}]: " in ran.err
        assert said in ran.err
    assert netdsl("train", "xor.net", *STD, "--resume", "--force").code == 2
    assert not (netdsl.folder / "runs").exists()


def test_an_end_that_is_over(netdsl: Commands) -> None:
    netdsl.write(xor=TWO_EPOCHS)
    assert netdsl("train", "xor.net", *STD, "--epochs", "3").code == 0
    ran = netdsl("train", "xor.net", *STD, "--resume")
    assert ran.code == 0
    assert "runs/xor: already at step 3 of 2" in ran.err


@pytest.mark.parametrize("length", [0, 5, 300])
def test_checkpoints_that_are_all_damaged(netdsl: Commands, length: int) -> None:
    netdsl.write(xor=TWO_EPOCHS)
    assert netdsl("train", "xor.net", *STD).code == 0
    (path,) = (netdsl.folder / "runs" / "xor" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:length])
    ran = netdsl("train", "xor.net", *STD, "--resume", "--epochs", "4")
    assert ran.code == 1
    assert f"{path.name} is damaged: " in ran.err
    assert str(length) in ran.err
    assert "--force starts it anew" in ran.err
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
    assert "step 1, with learning rate 0.01: it first appears in `log1`, n.net:1:32" in ran.err
    assert "a lower rate" not in ran.err


@pytest.mark.parametrize(
    ("between", "told"),
    [
        ("", ["error[E0883]: words.npz: words[3] contains 10 at [1], but `embedding1`, n.net:1:35, has 10 vectors"]),
        ("reshape [3];", ["error[E0814]: n failed: ", "embedding1/Gather", "within the inclusive range [-10,9]"]),
    ],
)
def test_an_index_that_an_embedding_lacks(between: str, told: list[str], netdsl: Commands) -> None:
    numbers = np.arange(24).reshape(8, 3)
    np.savez(netdsl.folder / "words.npz", words=numbers, target=np.arange(8) % 2)
    netdsl.write(
        n=f"net n {{ input words 3 dtype i64; {between} embedding 10 4; flatten; dense 2 }}\n"
        'train n { data npz "words.npz"; loss cross_entropy; epochs 1 }'
    )
    for ran in (netdsl("train", "n.net", *STD), netdsl("eval", "n.net", "--data", 'npz "words.npz"')):
        assert ran.code == 1, ran
        for each in told:
            assert each in ran.err


def test_a_file_where_folders_of_pictures_should_be(netdsl: Commands) -> None:
    netdsl.write(n='net n { input x 1x8x8; dense 2 }\ntrain n { data folder "n.net"; loss cross_entropy }')
    ran = netdsl("train", "n.net", *STD)
    assert ran.code == 1
    assert "n.net is a file" in ran.err
