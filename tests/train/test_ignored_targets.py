"""`cross_entropy ignore C`: from the labels of the data to the loss, the metrics and the class weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netdsl
from netdsl.base.user_error import UserError
from tests.support.recipe_tools import recipe_of

IGNORED = -100
NET = "net words { input x 4x5; scores: conv 1 3 }\n"
BLOCK = "train words { data npz 'x.npz'; loss cross_entropy ignore (-100) MORE; metric accuracy; batch 2; epochs 2 }\n"


def words(count: int = 11) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, (count, 5))
    y[rng.random((count, 5)) < 0.4] = IGNORED
    y[3] = IGNORED
    return rng.standard_normal((count, 4, 5)).astype(np.float32), y


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "words.net"


def write(program: Path, more: str = "") -> str:
    program.write_text(NET + BLOCK.replace("'", '"').replace("MORE", more))
    return str(program)


@pytest.mark.parametrize("weights", [None, (0.5, 3.0, 2.0)])
def test_validation_is_the_mean_over_all_positions_that_count(program: Path, weights: tuple[float, ...] | None) -> None:
    """Not the mean over the batches, which have different numbers of them."""
    x, y = words()
    more = f"class_weights {list(weights)}" if weights else ""
    found = netdsl.fit(write(program, more), data=(x, y), validate=(x, y), threads=1, step_backend="plain")
    w, b = found.weights["scores.weight"][..., 0], found.weights["scores.bias"]
    z = (np.einsum("kc,ncl->nkl", w, x) + b[:, None]).astype("f8")
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    counted = y != IGNORED
    at = np.take_along_axis(log_p, np.where(counted, y, 0)[:, None], 1)[:, 0][counted]
    share = np.asarray(weights or (1.0, 1.0, 1.0))[y[counted]]
    row = found.history[-1]
    assert row["validation_loss"] == pytest.approx(-(at * share).sum() / share.sum(), rel=1e-6)
    assert row["validation_accuracy"] == pytest.approx((z.argmax(1) == y)[counted].mean())


def test_an_evaluation_without_positions_that_count_is_undefined(program: Path) -> None:
    x, y = words()
    none = np.full_like(y, IGNORED)
    found = netdsl.fit(write(program), data=(x, y), validate=(x, none), threads=1, step_backend="plain")
    row = found.history[-1]
    assert np.isnan([row["validation_loss"], row["validation_accuracy"]]).all()
    assert np.isfinite(row["loss"])  # although a batch of it may have no position that counts
    assert np.isnan(netdsl.evaluate(write(program), (x, none), weights=found.weights)["loss"])


def test_other_labels_out_of_range_are_errors(program: Path) -> None:
    x, y = words()
    y[1, 2] = -1
    with pytest.raises(UserError) as caught:
        netdsl.fit(write(program), data=(x, y))
    text = "target[1] is -1 at [2], but a label must be an integer from 0 to 2, or -100, which is ignored"
    assert caught.value.message == text


def test_balanced_class_weights_do_not_count_ignored_targets(program: Path) -> None:
    x, y = words()
    with pytest.warns(UserWarning, match="class weights") as told:
        netdsl.fit(write(program, "class_weights balanced"), data=(x, y), threads=1, step_backend="plain")
    counts = np.bincount(y[y != IGNORED])
    expected = ", ".join(f"{k} {weight:.4g}" for k, weight in enumerate(counts.sum() / (3 * counts)))
    assert str(told[0].message) == f"class weights of `output`: {expected}"


def test_balanced_class_weights_of_an_ignored_class(program: Path) -> None:
    """The weights of the others are those of a net without that class."""
    x, y = words()
    y[y == IGNORED] = 0
    y[0] = [1, 1, 1, 2, 0]
    text = write(program, "class_weights balanced")
    program.write_text(program.read_text().replace("(-100)", "0"))
    with pytest.warns(UserWarning, match="class weights") as told:
        netdsl.fit(text, data=(x, y), threads=1, step_backend="plain")
    counts = np.bincount(y.ravel())[1:]
    one, two = counts.sum() / (2 * counts)
    assert str(told[0].message) == f"class weights of `output`: 0 0, 1 {one:.4g}, 2 {two:.4g}"


def test_heads_that_share_a_target_ignore_the_same_class() -> None:
    net = "net n { input x 4x5; output aux training { conv 1 3 }; output output { conv 1 3 } }\n"
    block = "train n { data xor; loss output cross_entropy ignore 7; loss aux cross_entropy }"
    _, problems = recipe_of(net + block)
    assert [problem.code for problem in problems] == ["E0225"]
