"""`netdsl run`, `eval` and `session.decode` on outputs of `ctc`, held against a decoder that walks along the places."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl as api
from netdsl.base.user_error import UserError
from netdsl.weights.safetensors import write_tensors
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

X = np.random.default_rng(3).integers(-2, 3, (9, 4, 7)).astype(np.float32)
X[2, :, 1] = np.nan
FRAMES = np.array([7, 3, 2, 0, 1, 5, 6, 7, 4])
TRAIN = '\ntrain n { data npz "x.npz"; loss ctc lengths frames }'
NETS = {
    "only the loss reads lengths": "net n { input frames 1 dtype i64; input x 4x7; linear 4 }" + TRAIN,
    "a layer reads them": "net n { input frames 1 dtype i64; input x 4x7; linear 4; gru 4 lengths frames }" + TRAIN,
    "none": "net n { input x 4x7; linear 4 }",
}
NET = ("n.net", "--weights", "w.safetensors")
LETTERS = {0: ["", "a", "b", "c"], 2: ["a", "b", "<blank>", "c"]}


def walked(scores: Any, blank: int) -> list[int]:
    """Return the symbols of one example [K, T]."""
    found: list[int] = []
    before = blank
    for column in scores.T.tolist():
        best = column.index(max(column))
        if best not in (before, blank):
            found.append(best)
        before = best
    return found


def weights(
    blank: object = 0, lengths: str | None = None, names: list[str] | None = None, recurrent: Any = None, **more: str
) -> None:
    """Write w.safetensors for a net whose scores are its inputs, but for `recurrent` weights."""
    texts = {"loss": "ctc", "blank": f"{blank}", "lengths": lengths, "classes": names and json.dumps(names), **more}
    with open("w.safetensors", "wb") as file:
        arrays = {"linear1.weight": np.eye(4, dtype=np.float32), "linear1.bias": np.zeros(4, np.float32)}
        arrays |= recurrent or {}
        write_tensors(file, arrays, {f"netdsl.{key}.output": text for key, text in texts.items() if text})


def archive(path: str = "x.npz", **arrays: Any) -> None:
    np.savez(path, **{"x": X, "frames": FRAMES, **arrays})


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("lengths", [None, "frames"])
def test_each_format_has_the_sequences(netdsl: Commands, blank: int, lengths: str | None) -> None:
    netdsl.write(n=NETS["only the loss reads lengths"])
    weights(blank, lengths, LETTERS[blank])
    archive()
    assert netdsl("compile", *NET, "-o", "m.onnx").code == 0
    ends = [7] * 9 if lengths is None else FRAMES
    expected = [None if at == 2 else walked(x[:, :end], blank) for at, (x, end) in enumerate(zip(X, ends, strict=True))]
    texts = [None if row is None else "".join(LETTERS[blank][symbol] for symbol in row) for row in expected]
    assert (lengths is None) or "" in texts
    for model in (NET, ("m.onnx",)):
        ran = netdsl("run", *model, "x.npz", "--batch", 4)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.splitlines() == [
            f"x.npz[{at}]  {'(nan)' if text is None else text or '(empty)'}" for at, text in enumerate(texts)
        ]
        records = [
            json.loads(line)["outputs"]["output"] for line in netdsl("run", *model, "x.npz", "--json").out.splitlines()
        ]
        assert [record["sequence"] for record in records] == expected
        assert ["".join(record["labels"]) if "labels" in record else None for record in records] == texts
        rows = list(csv.DictReader(netdsl("run", *model, "x.npz", "--format", "csv").out.splitlines()))
        assert [row["sequence"] for row in rows] == ["(nan)" if text is None else text for text in texts]
        assert netdsl("run", *model, "x.npz", "-o", "o.npz", "--force").code == 0
        np.testing.assert_array_equal(np.load("o.npz")["output"], X)
        assert netdsl("run", *model, "x.npz", "--shard", "2/3").out.splitlines() == ran.out.splitlines()[6:]
    assert netdsl("run", *NET, "x.npz", "--logits").out.startswith("x.npz[0]  4x7, -2 to 2\n")


@pytest.mark.parametrize("net", NETS)
def test_python_decodes(netdsl: Commands, net: str) -> None:
    """Up to the lengths, which a net that does not read them takes too."""
    netdsl.write(n=NETS[net])
    x, frames = np.delete(X, 2, 0), np.delete(FRAMES, 2)
    shapes = {"weight_ih_l0": (12, 4), "weight_hh_l0": (12, 4), "bias_ih_l0": 12, "bias_hh_l0": 12}
    arrays = {f"gru1.{name}": np.random.default_rng(0).normal(0, 1, shape) for name, shape in shapes.items()}
    recurrent = {name: np.float32(array) for name, array in arrays.items()} if "a layer" in net else None
    weights(0, None if net == "none" else "frames", recurrent=recurrent)
    session = api.load("n.net").session(weights="w.safetensors")
    given = {} if net == "none" else {"frames": frames}
    y = session(x=x, frames=frames[:, None])["output"] if "frames" in session.inputs else x
    ends = [7] * 8 if net == "none" else frames
    expected = [walked(one[:, :end], 0) for one, end in zip(y, ends, strict=True)]
    assert session.decode(x=x, batch=3, **given) == {"output": expected}
    if net == "only the loss reads lengths":
        assert session.decode(x, frames=frames[:, None].tolist()) == {"output": expected}
        with pytest.warns(UserWarning, match="all places are read; .* pass frames=…"):
            assert session.decode(x) == {"output": [walked(one, 0) for one in x]}
        with pytest.raises(UserError, match=r"`frames` of x\[1\] is 8, but the output has 7 places"):
            session.decode(x[:2], frames=[7, 8])
        with pytest.raises(UserError, match="the inputs differ in length"):
            session.decode(x, frames=[7, 8])
        with pytest.raises(UserError, match=r"the output `output` of x\[2\] contains NaN"):
            session.decode(X, frames=FRAMES)


def test_lengths_that_are_not_given_are_missed(netdsl: Commands) -> None:
    netdsl.write(n=NETS["only the loss reads lengths"])
    weights(lengths="frames")
    np.save("x.npy", X[:2])
    ran = netdsl("run", *NET, "x.npy")
    assert ran.out == "".join(f"x.npy[{at}]  {' '.join(map(str, walked(X[at], 0)))}\n" for at in (0, 1))
    assert ran.err == "n.net: all places are read; to read up to the end of each, add frames=PATH\n"
    for lengths, said in (([7, -1], "`frames` of x.npy[1] is -1, but the output has 7 places"), ([7.5, 1], "float64")):
        np.save("f.npy", lengths)
        ran = netdsl("run", *NET, "x=x.npy", "frames=f.npy")
        assert (ran.code, ran.out, said in ran.err) == (1, "", True), ran


def test_labels_name_the_symbols_with_or_without_the_blank(netdsl: Commands) -> None:
    netdsl.write(n=NETS["none"])
    weights(2)
    np.save("x.npy", X[:1])
    row = walked(X[0], 2)
    for labels in (["ab", "b", "c"], ["ab", "b", "-", "c"]):
        Path("l.txt").write_text("\n".join(labels))
        words = [["ab", "b", "-", "c"][symbol] for symbol in row]
        assert netdsl("run", *NET, "x.npy", "--labels", "l.txt").out == f"x.npy[0]  {' '.join(words)}\n"
    Path("l.txt").write_text("a\nb\n")
    ran = netdsl("run", *NET, "x.npy", "--labels", "l.txt")
    assert (ran.code, "l.txt has 2 labels, but the output `output` has 4 classes" in ran.err) == (1, True)


def test_labels_without_the_blank_name_the_symbols_of_an_evaluation(netdsl: Commands) -> None:
    netdsl.write(n='net n { input x 4x7; linear 4 }\ntrain n { data npz "t.npz"; loss ctc blank 2 }')
    weights(2)
    archive("t.npz", x=np.nan_to_num(X), target=np.ones((9, 1), int), target_names=np.array(["a", "b", "c"]))
    netdsl("compile", *NET)
    for model in (NET, ("n.onnx",)):
        for labels, code in (("a b c", 0), ("a b <> c", 1), ("a c b", 1), ("a b", 1)):
            Path("l.txt").write_text(labels.replace(" ", "\n"))
            ran = netdsl("eval", *model, "--data", "t.npz", "--labels", "l.txt")
            assert (ran.code, "\nedit " in ran.out) == (code, not code), (labels, ran)


def test_without_a_train_block_weights_of_sequences_are_not_evaluated_as_classes(netdsl: Commands) -> None:
    netdsl.write(n="net n { input frames 1 dtype i64; input x 4x7; linear 4 }")
    archive("t.npz", x=np.nan_to_num(X), target=np.ones((9, 2), int))
    weights(2, "frames")
    ran = netdsl("eval", *NET, "--data", "t.npz")
    assert (ran.code, ran.err) == (
        1,
        "error[E0647]: without a `train` block, `n` is evaluated as a classifier, but it was trained with the loss "
        "`ctc`\n  = help: add `train n { data …; loss ctc blank 2 lengths frames }`\n",
    )
    weights(loss="")
    ran = netdsl("eval", *NET, "--data", "t.npz")
    assert (ran.code, ran.err) == (
        1,
        "error[E0802]: t.npz: target is 9x2, but the target takes examples of 7\n"
        "  = help: without a `train` block, `n` is evaluated as a classifier; for another loss, add "
        "`train n { data …; loss … }`\n",
    )


def test_a_blank_reads_a_model_from_elsewhere(netdsl: Commands) -> None:
    netdsl.write(
        n="net n { input x 4x7; output y { identity }; output z { flatten } }",
        flat="net flat { input x 4x7; dense 4 }",
    )
    assert netdsl("compile", "n.net").code == 0
    np.save("x.npy", X[:1])
    assert netdsl("run", "n.onnx", "x.npy").out.startswith("x.npy[0]  y: 4x7, ")
    assert netdsl("run", "n.onnx", "x.npy", "--blank", 3).out.startswith(
        f"x.npy[0]  y: {' '.join(map(str, walked(X[0], 3)))}  z: "
    )
    session = api.load("n.net").session()
    assert session.decode(X[:1], blank=3) == {"y": [walked(X[0], 3)]}
    with pytest.raises(UserError, match="n was not trained with `loss ctc`"):
        session.decode(X[:1])
    ran = netdsl("run", "flat.net", "x.npy", "--blank", 0)
    assert (ran.code, "flat.net has no output [K, T] with the symbol 0: `output` is 4" in ran.err) == (2, True), ran
    netdsl.write(n=NETS["none"])
    for metadata, said in (
        ({"loss": "hinge"}, "trained with the loss `hinge`"),
        ({}, "the blank of the output `output` is 0"),
    ):
        weights(**metadata)
        ran = netdsl("run", *NET, "x.npy", "--blank", 1)
        assert (ran.code, "E0629" in ran.err, said in ran.err) == (2, True, True), ran


@pytest.mark.parametrize("blank", ["4", "-1", "x", "", "9" * 5000])
def test_a_blank_is_one_of_the_symbols(netdsl: Commands, blank: str) -> None:
    netdsl.write(n=NETS["none"])
    weights(blank=blank or " ")
    np.save("x.npy", X[:1])
    ran = netdsl("run", *NET, "x.npy")
    assert (ran.code, ran.out, "error[E0872]: w.safetensors: the blank of the output" in ran.err) == (1, "", True), ran


TRAINED = """
net n { input frames 1 dtype i64; input x 4x7; conv 3 8 pad 1; relu; linear 4 }
train n { data npz "t.npz"; loss ctc blank 3 lengths frames; metric edit; batch 4; steps 3 }
"""


def test_a_training_says_how_to_read_its_net(netdsl: Commands) -> None:
    netdsl.write(n=TRAINED)
    x, frames = np.nan_to_num(X), np.maximum(FRAMES, 1)
    target = np.array([[at % 3, -1] for at in range(9)])
    archive("t.npz", x=x, frames=frames, target=target, target_names=np.array(["go", "left", "right"]))
    assert netdsl("train", "n.net", "--step-backend", "plain", "--threads", 1).code == 0
    best = ("n.net", "--weights", "runs/n/best.safetensors")
    y = api.load("n.net").session(weights="runs/n/best.safetensors")(x)["output"]
    rows = [walked(one[:, :end], 3) for one, end in zip(y, frames, strict=True)]
    texts = [" ".join(["go", "left", "right"][symbol] for symbol in row) or "(empty)" for row in rows]
    for model in (best, ("runs/n/best.onnx",)):
        lines = netdsl("run", *model, "t.npz").out.splitlines()
        assert [line.partition("  ")[2] for line in lines] == texts
        # the distance to one symbol: all others are inserted, and it is replaced if it is missing
        distances = [max(len(row), 1) - (at % 3 in row) for at, row in enumerate(rows)]
        found = json.loads(netdsl("eval", *model, "--data", "t.npz", "--json").out)
        assert found["edit"] == pytest.approx(sum(distances) / 9)


BAD_NAMES = {
    "too few": (["a", "b"], "t.npz: target_names has 2 names, but the net has 4 classes"),
    "twice": (["a", "b", "a"], "t.npz: target_names has a name twice, or an empty one"),
    "empty": (["a", "", "b"], "t.npz: target_names has a name twice, or an empty one"),
    "numbers": ([1, 2, 3], "t.npz: target_names has shape [3] and type int64, but must be a row of strings"),
    "a column": ([["a"], ["b"], ["c"]], "t.npz: target_names has shape [3, 1] and type <U1, but must be"),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_that_do_not_fit(netdsl: Commands, case: str) -> None:
    names, said = BAD_NAMES[case]
    netdsl.write(n=TRAINED)
    archive("t.npz", x=np.nan_to_num(X), target=np.zeros((9, 1), int), target_names=np.array(names))
    ran = netdsl("train", "n.net")
    assert (ran.code, said in ran.err) == (1, True), ran


def test_names_of_other_data_are_in_the_same_order(netdsl: Commands) -> None:
    netdsl.write(
        n="net n { input x 2; dense 2 }\n"
        'train n { data npz "t.npz"; loss cross_entropy; steps 1; validate npz "v.npz" }'
    )
    x, y = np.eye(2, dtype=np.float32), np.arange(2)
    np.savez("t.npz", x=x, y=y, y_names=np.array(["a", "b"]))
    np.savez("v.npz", x=x, y=y, y_names=np.array(["b", "a"]))
    ran = netdsl("train", "n.net")
    assert (ran.code, "v.npz: y_names is b, a, but the classes are a, b, in this order" in ran.err) == (1, True), ran
    np.savez("v.npz", x=x, y=y)
    assert netdsl("train", "n.net", "--step-backend", "plain").code == 0
    np.save("x.npy", 9 * x)
    ran = netdsl("run", "runs/n/best.onnx", "x.npy", "--format", "csv")
    assert {row["class"] for row in csv.DictReader(ran.out.splitlines())} <= {"a", "b"}


def test_an_archive_feeds_the_inputs_that_it_names(netdsl: Commands) -> None:
    netdsl.write(n="net n { input p 2; input q 2; from p; mul q }")
    p, q = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6], [7, 8]])
    np.savez("both.npz", p=p, q=q, more=p)
    np.savez("p.npz", p=p)
    np.savez("other.npz", z=p)
    np.save("q.npy", q)
    for arguments in (["both.npz"], ["p.npz", "q=q.npy"]):
        assert netdsl("run", "n.net", *arguments, "-o", "o.npz", "--force").code == 0
        np.testing.assert_array_equal(np.load("o.npz")["output"], p * q)
    ran = netdsl("run", "n.net", "other.npz")
    assert (ran.code, "other.npz is for no input: there are p, q" in ran.err) == (2, True), ran
