"""`accumulate N`: a step of N batches against one batch N times as large, and against PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl.base.user_error import UserError
from netdsl.data.given import Pair
from netdsl.data.spec import DataSpec, Target
from netdsl.train.loop import Trainer
from netdsl.train.nonfinite import Diverged

HEAD = "optimizer sgd lr 0.1 momentum 0.9 decay 1e-3"
MLP = "input x 6; dense 5; tanh; dense 3"
PLACES = "input x 3x6x6; conv 3x3 16 pad 1; relu; conv 3x3 3 pad 1"
BN = "input x 6; dense 5 bias off; bn momentum 0.25; tanh; dense 3"
PLAIN: dict[str, Any] = {"step_backend": "plain", "threads": 1}


def data(shape: tuple[int, ...] = (6,), places: tuple[int, ...] = (), count: int = 58) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((count, *shape)).astype("f4"), rng.integers(0, 3, (count, *places))


def spec(classes: int) -> DataSpec:
    return DataSpec({"x": ((6,), "f32")}, {"target": Target("target", "class", classes=classes)})


def train(net: str, lines: str, given: Any, how: dict[str, Any], folder: Path | None = None, **more: Any) -> Any:
    file = (folder or Path()) / "a.net"
    loss = "" if "loss" in lines else "loss cross_entropy; "
    file.write_text(f'net a {{ {net} }}\ntrain a {{ data npz "a.npz"; {loss}{lines} }}\n')
    return netdsl.fit(str(file), data=given, **how, **more)


WEIGHT = [
    [0.835845113, 0.382958293, -0.260730803, -0.825989366],
    [-0.494688034, 0.130136684, 0.796574771, 0.593426883],
    [0.00591749698, -0.748243034, -0.677207351, -0.144871384],
]
BIAS = [-0.0412116759, -0.320786655, 0.429803222]

CASES = [
    (MLP, HEAD, ()),
    (MLP, "optimizer adam lr 0.01", ()),
    (MLP, f"{HEAD}; augment fgsm 0.1 high 1", ()),
    (MLP, "optimizer adamw lr 0.01 decay 0.1 clip 0.05 except bias; schedule cosine warmup 1", ()),
    (MLP, "optimizer rmsprop lr 0.01 momentum 0.5 clip_value 1e-3", ()),
    (MLP, f"{HEAD}; loss cross_entropy class_weights [0.5, 3, 0] weight 2", ()),
    (PLACES, f"{HEAD}; loss cross_entropy ignore 1 smoothing 0.1; metric accuracy; metric confusion", (6, 6)),
    (
        "input x 6; dense 3; output aux training { dense 3 }; tanh; dense 3",
        f"{HEAD}; loss output cross_entropy ignore 0; loss aux cross_entropy ignore 0 class_weights [1, 2, 3]",
        (),
    ),
    ("input x 6; dense 1200; relu; dense 1200; relu; dense 3", "optimizer sgd lr 0.01 momentum 0.9", ()),
]


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize(("net", "lines", "places"), CASES, ids=[f"{row[0]}; {row[1]}" for row in CASES])
@pytest.mark.usefixtures("in_folder")
def test_a_step_is_that_of_a_batch_as_large_as_all_of_its_batches(
    net: str, lines: str, places: tuple[int, ...], backend: str
) -> None:
    """Two epochs of 2 steps: the last 10 of the 58 examples do not fill one."""
    given = data((3, 6, 6) if places else (6,), places)
    how = {"step_backend": backend, "threads": 1}
    one = train(net, f"{lines}; batch 24; epochs 2", given, how)
    several = train(net, f"{lines}; batch 8; accumulate 3; epochs 2", given, how)
    for name, expected in one.weights.items():
        np.testing.assert_allclose(several.weights[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    for found, expected in zip(several.history, one.history, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    assert [row["step"] for row in several.history] == [2, 4]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("in_folder")
def test_three_steps_are_pytorchs() -> None:
    """By PyTorch 2.13: AdamW and clip_grad_norm_ with gradients of three batches, each loss divided by 3."""
    x, y = np.sin(np.arange(48.0)).reshape(12, 4).astype("f4"), np.arange(12) % 3
    weights = {"dense1.weight": np.cos(np.arange(12.0)).reshape(3, 4), "dense1.bias": np.array([0.1, -0.2, 0.3])}
    np.savez("first.npz", **{name: array.astype("f4") for name, array in weights.items()})
    lines = "optimizer adamw lr 0.05 decay 0.1 clip 0.1; batch 4; accumulate 3; epochs 3"
    found = train("input x 4; dense 3", lines, (x, y), PLAIN, weights="first.npz").weights
    np.testing.assert_allclose(found["dense1.weight"], WEIGHT, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["dense1.bias"], BIAS, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("in_folder")
def test_batch_norm_normalizes_each_batch_and_follows_all_of_them() -> None:
    """Weights that do not change: the running mean is that of the batches one after the other."""
    given = data(count=24)
    lines = "optimizer sgd lr 1e-30; epochs 2"
    one, several = (train(BN, f"{lines}; {n}", given, PLAIN) for n in ("batch 8", "batch 8; accumulate 3"))
    for name in ("bn1.running_mean", "bn1.running_var"):
        np.testing.assert_array_equal(one.weights[name], several.weights[name])
    assert one.history[-1]["loss"] == pytest.approx(several.history[-1]["loss"], rel=1e-6)


@pytest.mark.parametrize("net", [MLP, BN, "input x 6; dense 300; dropout 0.5; dense 300; relu; dense 3"])
def test_an_interrupted_run_resumes_with_the_same_bits(
    in_folder: Path, net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is complete or not begun, so no checkpoint lies between its batches."""
    given, lines = data(count=50), "optimizer adam lr 0.01; batch 4; accumulate 3; epochs 3; seed 7"
    expected = train(net, lines, given, PLAIN, out=str(in_folder / "whole"))
    step = Trainer._step

    def interrupted(self: Trainer, feeds: Any) -> None:
        step(self, feeds)
        self.stopped = self.position.step == 6

    monkeypatch.setattr(Trainer, "_step", interrupted)
    train(net, lines, given, PLAIN, out=str(in_folder / "run"))
    monkeypatch.setattr(Trainer, "_step", step)
    found = train(net, lines, given, PLAIN, out=str(in_folder / "run"), resume=True)
    assert found.history[-1] == expected.history[-1]
    for name, array in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], array, err_msg=name)
    for file in ("last.safetensors", "best.safetensors"):
        assert (in_folder / "run" / file).read_bytes() == (in_folder / "whole" / file).read_bytes()
    steps = [(in_folder / name / "steps.csv").read_text() for name in ("run", "whole")]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.usefixtures("in_folder")
def test_an_infinite_loss_ends_the_step_in_its_batch(batch: int) -> None:
    """The layer is found by computing the batch again, and the weights are those before the step."""
    x, y = data(count=24)
    net = "input x 6; dense 5; exp; dense 3"
    lines = "optimizer sgd lr 1e-3; batch 8; accumulate 3; epochs 1"
    order = next(iter(Pair(x, np.arange(24)).open(spec(24)).batches(24, seed=0, epoch=0)))["target"]
    x[order[8 * batch + 5]] = 1e4
    with pytest.raises(Diverged) as caught:
        train(net, lines, (x, y), PLAIN)
    place = "a.net:1:29, whose inputs and weights are finite"
    assert caught.value.message.endswith(
        f"at epoch 1, step 1, with learning rate 0.001: it first appears in `exp1`, {place}"
    )


@pytest.mark.usefixtures("in_folder")
def test_more_examples_than_there_are() -> None:
    with pytest.raises(UserError) as caught:
        train(MLP, "batch 20; accumulate 3", data(), PLAIN)
    assert (caught.value.code, "takes 3 batches of 20 for each update, 60 examples, but there are 58" in
            caught.value.message) == ("E0885", True)  # fmt: skip


@pytest.mark.usefixtures("in_folder")
def test_streams_and_keywords() -> None:
    """An iterable of batches of any size, and the line as a keyword of `Net.fit`."""
    x, y = data()
    net = netdsl.parse(f"net a {{ {MLP} }}")
    how: Any = {"loss": "cross_entropy", "optimizer": "sgd lr 0.1", "epochs": 2, **PLAIN}
    one = net.fit(data=[(x[at : at + 7], y[at : at + 7]) for at in range(0, 58, 7)], batch=24, **how)
    several = net.fit(data=[(x[at : at + 7], y[at : at + 7]) for at in range(0, 58, 7)], batch=8, accumulate=3, **how)
    for name, expected in one.weights.items():
        np.testing.assert_allclose(several.weights[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("in_folder")
def test_a_compiled_step_does_not_accumulate() -> None:
    Path("a.net").write_text(f"net a {{ {MLP} }}\ntrain a {{ data xor; loss cross_entropy; batch 8; accumulate 3 }}\n")
    from netdsl.app.frontend import load_recipe
    from netdsl.diagnostics.report import Report
    from netdsl.train.export import step_to_bytes

    recipe = load_recipe("a.net", Report())
    assert recipe is not None
    with pytest.raises(UserError) as caught:
        step_to_bytes(recipe)
    assert caught.value.code == "E0886"
    assert "--set train.accumulate=1 --set train.batch=24" in caught.value.helps[0]
