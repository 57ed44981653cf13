"""Unequal classes: class weights from the training data, and validation sets with the share of each class."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
from onnxruntime import InferenceSession

import netdsl as api
from netdsl.base.user_error import UserError
from netdsl.train.open_data import stratified
from tests.support.cli_tools import Commands, netdsl
from tests.support.recipe_tools import recipe_of

__all__ = ["netdsl"]

STD = ("--step-backend", "plain", "--threads", "1")
RARE = """
net rare { input x 3; dense 4; tanh; dense 3 }
train rare {
  data npz "rare.npz"; validate 0.25 stratified on
  loss cross_entropy class_weights balanced
  optimizer sgd lr 0.1
  batch 16; epochs 2
}
"""
Pair = tuple[np.ndarray, np.ndarray]


def pair(sizes: tuple[int, ...] = (80, 15, 5)) -> Pair:
    rng = np.random.default_rng(1)
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (rng.standard_normal((len(y), 3)) + y[:, None]).astype(np.float32), y


def save(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.savez(folder / "rare.npz", x=x, target=y)


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def test_balanced_weights_are_those_of_scikit_learn(netdsl: Commands) -> None:
    save(netdsl.folder, *pair())
    netdsl.write(rare=RARE)
    ran = netdsl("train", "rare.net", *STD)
    assert ran.code == 0, ran
    kept = np.array([60, 11, 4])  # of 80, 15 and 5, after a quarter is held out: 20, 4 and 1
    weights = 75 / (3 * kept)
    shown = ", ".join(f"{k} {w:.4g}" for k, w in enumerate(weights))
    assert f"class weights of `output`: {shown}" in ran.err
    listed = f"[{', '.join(map(repr, weights.tolist()))}]"
    netdsl.write(rare=RARE.replace("balanced", listed))
    assert netdsl("train", "rare.net", *STD, "--out", "listed").code == 0
    last = Path("listed/last.safetensors").read_bytes()
    assert Path("runs/rare/last.safetensors").read_bytes() == last
    netdsl.write(rare=RARE.replace("class_weights balanced", ""))
    assert netdsl("train", "rare.net", *STD, "--out", "equal").code == 0
    assert Path("equal/last.safetensors").read_bytes() != last


@pytest.mark.parametrize("batch", [7, 100])
def test_the_validation_loss_is_that_of_all_examples(netdsl: Commands, batch: int) -> None:
    """It does not depend on how they are split into batches."""
    x, y = pair()
    save(netdsl.folder, x, y)
    netdsl.write(rare=RARE.replace("balanced", "[0.5, 2, 9]").replace("0.25 stratified on", 'npz "other.npz"'))
    copyfile("rare.npz", "other.npz")
    assert netdsl("train", "rare.net", *STD).code == 0
    ran = netdsl("eval", "rare.net", "--weights", "runs/rare/last.safetensors", "--batch", batch, "--json")
    (scores,) = InferenceSession("runs/rare/last.onnx").run(None, {"x": x})
    w = np.array([0.5, 2, 9])[y]
    expected = -np.sum(w * log_softmax(scores.astype("f8"))[np.arange(len(y)), y]) / w.sum()
    assert json.loads(ran.out)["loss"] == pytest.approx(expected, rel=1e-5)


def test_eval_without_the_training_data_says_so(netdsl: Commands) -> None:
    x, y = pair()
    save(netdsl.folder, x, y)
    netdsl.write(rare=RARE)
    assert netdsl("train", "rare.net", *STD).code == 0
    told = netdsl("eval", "rare.net", "--weights", "runs/rare/last.safetensors", "--json")
    row = json.loads(Path("runs/rare/metrics.jsonl").read_text().splitlines()[-1])
    assert json.loads(told.out)["loss"] == pytest.approx(row["validation_loss"])
    Path("rare.npz").rename("other.npz")
    ran = netdsl("eval", "rare.net", "--weights", "runs/rare/last.safetensors", "--data", 'npz "other.npz"')
    assert ran.code == 0, ran
    assert "the loss has no class weights, which depend on the training data: " in ran.err


def test_weights_that_the_data_do_not_determine(netdsl: Commands) -> None:
    x, y = pair((9, 9))
    save(netdsl.folder, x, y)
    netdsl.write(rare=RARE)
    ran = netdsl("train", "rare.net", *STD)
    assert ran.code == 1
    assert "error[E0866]: `class_weights balanced` needs examples of each class" in ran.err
    assert "the training data have none of 2\n" in ran.err
    ran = netdsl("compile", "rare.net", "--training")
    assert ran.code == 1
    assert "E0866" in ran.err
    with pytest.raises(UserError, match="an iterable provides them batch by batch"):
        api.fit("rare.net", data=[(x, y)], validate=(x, y))


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("loss cross_entropy class_weights [1, 2]", "E0339"),
        ("loss cross_entropy class_weights [0, 0, 0]", "E0401"),
        ("loss cross_entropy class_weights [1, (-2), 3]", "E0401"),
        ("loss cross_entropy class_weights equal", "E04"),
        ("loss hinge class_weights balanced", "E0402"),
        ("loss mse; validate 0.1 stratified on", "E0425"),
        ("loss cross_entropy; validate xor stratified on", "E04"),
    ],
)
def test_wrong_lines(lines: str, code: str) -> None:
    found, problems = recipe_of(f"net n {{ input x 2; dense 3 }}\ntrain n {{ data xor; {lines} }}")
    assert found is None
    assert [problem.code[: len(code)] for problem in problems] == [code]


@pytest.mark.parametrize("seed", range(10))
def test_each_class_has_its_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 60, rng.integers(2, 8))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)) - 1, sizes))
    order = rng.permutation(len(labels))
    for count in (1, len(labels) // 3, len(labels) - 1):
        found = stratified(order, [labels[order]], count)
        assert sorted(found) == list(range(len(labels)))
        held = np.bincount(labels[found[:count]] + 1, minlength=len(sizes))
        assert np.all(np.abs(held - sizes * count / len(labels)) < 1)
        for part in (found[:count], found[count:]):
            places = np.argsort(order)[part]
            assert np.all(places[1:] > places[:-1])


def test_several_targets_are_split_by_their_combination() -> None:
    a, b = np.repeat([0, 0, 1, 1], 6), np.repeat([-1.0, 1, -1, 1], 6)
    held = stratified(np.arange(24), [a, b], 8)[:8]
    assert sorted(zip(a[held], b[held], strict=True)) == sorted([(0, -1), (0, 1), (1, -1), (1, 1)] * 2)


def test_a_file_and_arrays_are_split_alike(netdsl: Commands) -> None:
    x, y = pair()
    save(netdsl.folder, x, y)
    netdsl.write(rare=RARE)
    how = {"threads": 1, "step_backend": "plain"}
    assert api.fit("rare.net", **how).history == api.fit("rare.net", data=(x, y), **how).history
