"""`average D`: the moving average against its formula, and what is validated, kept and written."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl.app.frontend import load_recipe
from netdsl.base.user_error import UserError
from netdsl.diagnostics.report import Report
from netdsl.train.export import step_to_bytes
from netdsl.train.loop import Trainer
from netdsl.weights.safetensors import SafetensorsWeights

BN = "input x 3x8x8; conv 3x3 16 pad 1 bias off; bn momentum 0.3; relu; conv 3x3 16; relu; global_avgpool; dense 3"
PLAIN: dict[str, Any] = {"step_backend": "plain", "threads": 1}
LINES = "optimizer adam lr 0.02; batch 4; seed 2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(net: str, lines: str, **how: Any) -> Any:
    rng = np.random.default_rng(0)
    shape = (3, 8, 8) if "8x8" in net else (4,)
    x, y = rng.standard_normal((34, *shape)).astype("f4"), rng.integers(0, 3, 34)
    Path("a.net").write_text(f'net a {{ {net} }}\ntrain a {{ data npz "a.npz"; loss cross_entropy; {lines} }}\n')
    return netdsl.fit("a.net", data=(x, y), **{**PLAIN, **how})


def averaged(weights: list[dict[str, np.ndarray]], decay: float) -> dict[str, np.ndarray]:
    """The formula: the first are the initial weights, and each of the others those after a step."""
    found = {name: array.astype("f8") for name, array in weights[0].items()}
    for t, after in enumerate(weights[1:], 1):
        d = min(decay, (1 + t) / (10 + t))
        found = {name: d * found[name] + (1 - d) * array for name, array in after.items()}
    return found


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize("decay", [0.3, 0.9999])
@pytest.mark.parametrize("more", ["", "accumulate 2", "freeze conv1"])
@pytest.mark.usefixtures("folder")
def test_averages_are_their_formula(more: str, decay: float, backend: str) -> None:
    """The weights after n steps are those of a run of n steps; running statistics are averaged, too."""
    first = train(BN, "optimizer sgd lr 1e-30; batch 4; seed 2; steps 1").weights
    before = {name: array for name, array in first.items() if "running" not in name}
    before |= {"bn1.running_mean": np.zeros(16, "f4"), "bn1.running_var": np.ones(16, "f4")}
    states = [train(BN, f"{LINES}; {more}; steps {n}", step_backend=backend).weights for n in range(1, 6)]
    found = train(BN, f"{LINES}; {more}; steps 5; average {decay}", step_backend=backend)
    for name, expected in averaged([before, *states], decay).items():
        np.testing.assert_allclose(found.average[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found.weights[name], states[-1][name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert all((one != other).any() for one, other in pairwise(state["dense1.weight"] for state in states))


@pytest.mark.usefixtures("folder")
def test_averages_are_validated_and_are_the_best() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((20, 4)).astype("f4"), rng.integers(0, 3, 20)
    found = train("input x 4; dense 3", f"{LINES}; epochs 2; average 0.9", validate=(x, y))
    z = x @ found.average["dense1.weight"].T.astype("f8") + found.average["dense1.bias"]
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    assert found.history[-1]["validation_loss"] == pytest.approx(-log_p[np.arange(20), y].mean(), rel=1e-6)
    by_epoch = [train("input x 4; dense 3", f"{LINES}; epochs {n}; average 0.9").average for n in (1, 2)]
    best = np.argmax([row["validation_accuracy"] for row in found.history])
    for name, array in by_epoch[best].items():
        np.testing.assert_array_equal(found.best[name], array)


def test_an_interrupted_run_resumes_with_the_same_averages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, step = f"{LINES}; epochs 3; average 0.99; accumulate 2", Trainer._step
    whole = train(BN, lines, out="whole")

    def interrupted(self: Trainer, feeds: Any) -> None:
        step(self, feeds)
        self.stopped = self.position.step == 5

    monkeypatch.setattr(Trainer, "_step", interrupted)
    train(BN, lines, out="run")
    monkeypatch.setattr(Trainer, "_step", step)
    train(BN, lines, out="run", resume=True)
    for name in ("average.safetensors", "average.onnx", "best.safetensors", "last.safetensors"):
        assert (folder / "run" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    file = SafetensorsWeights(str(folder / "run" / "average.safetensors"))
    for name, array in whole.average.items():
        np.testing.assert_array_equal(file.read(name), array)
    assert whole.weights["dense1.weight"].tolist() != whole.average["dense1.weight"].tolist()


@pytest.mark.usefixtures("folder")
def test_a_run_without_averages_has_no_file_of_them() -> None:
    found = train(BN, f"{LINES}; steps 2; average 0", out="run")
    assert not Path("run/average.safetensors").exists()
    assert found.average is found.weights


@pytest.mark.usefixtures("folder")
def test_a_compiled_step_has_no_averages() -> None:
    Path("a.net").write_text("net a { input x 2; dense 2 }\ntrain a { data xor; loss cross_entropy; average 0.9 }\n")
    recipe = load_recipe("a.net", Report())
    assert recipe is not None
    assert "\n  average 0.9\n" in recipe.text
    with pytest.raises(UserError) as caught:
        step_to_bytes(recipe)
    assert caught.value.code == "E0887"


@pytest.mark.parametrize("decay", ["1", "(-0.1)", "on", ""])
@pytest.mark.usefixtures("folder")
def test_decays_that_are_none(decay: str) -> None:
    with pytest.raises(netdsl.NetError) as caught:
        train(BN, f"{LINES}; average {decay}")
    assert [problem.code for problem in caught.value.problems] == ["E0401" if decay else "E0403"]
