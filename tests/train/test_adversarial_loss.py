"""Adversarial training: the step's loss against one put together from its parts, its gradients against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from netdsl.app.frontend import load_recipe
from netdsl.backend.emit import emit
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.recipe import Recipe
from netdsl.train.adversarial_loss import Still
from netdsl.train.step import portable, training_step
from tests.cli.test_attack import random_weights
from tests.support.exact import evaluator

NET = """
net a {
  input x 1x6x6 DTYPE
  scale 1/255
  conv 3x3 4; tanh; avgpool 2x2
  dense 3
}
train a { data npz "none.npz"; loss cross_entropy; batch 4; optimizer sgd lr 1; augment { FGSM } }
"""


def recipe_of(fgsm: str, dtype: str = "") -> Recipe:
    report = Report()
    found = load_recipe(Source("a.net", NET.replace("DTYPE", dtype).replace("FGSM", fgsm)), report)
    assert found is not None, [problem.message() for problem in report]
    return found


class Step:
    """A step in float64 by onnx's evaluator, or in float32 by onnxruntime."""

    def __init__(self, recipe: Recipe, *, double: bool = True) -> None:
        graph = portable(training_step(recipe.net, recipe))
        model = emit(graph, float_type="f64" if double else "f32").model
        self.names = [output.name for output in model.graph.output]
        self.float = np.float64 if double else np.float32
        self.run = evaluator(model).run if double else onnxruntime.InferenceSession(model.SerializeToString()).run
        self.weights = {name: value.astype(self.float) for name, value in random_weights(recipe.net).items()}

    def __call__(self, x: Any, **weights: Any) -> dict[str, Any]:
        feeds = {
            "x": x,
            "target": np.array([0, 1, 2, 0]),
            "rate": np.array(1, self.float),
            "step": np.array(0, np.uint32),
        }
        return dict(zip(self.names, self.run(None, {**feeds, **self.weights, **weights}), strict=True))


def pixels(dtype: Any = np.float64) -> Any:
    return np.random.default_rng(0).uniform(0, 255, (4, 1, 6, 6)).astype(dtype)


def by_hand(epsilon: float, part: float) -> float:
    """The mixed loss: the gradient by the pixels from differences of the plain loss, all else the formula."""
    plain = Step(recipe_of("fgsm 0 part 1"))
    x = pixels()
    clean = float(plain(x)["loss"])
    gradient = np.zeros(x.size)
    for at in range(x.size):
        step = np.zeros(x.size)
        step[at] = 1e-3
        ahead, behind = (float(plain(x + sign * step.reshape(x.shape))["loss"]) for sign in (1, -1))
        gradient[at] = ahead - behind
    changed = np.clip(x + 255 * epsilon * np.sign(gradient).reshape(x.shape), 0, 255)
    return (1 - part) * clean + part * float(plain(changed)["loss"])


@pytest.mark.parametrize(("epsilon", "part"), [(0.1, 0.5), (0.3, 0.2), (0.1, 1.0)])
def test_the_loss_is_the_papers_mixture(epsilon: float, part: float) -> None:
    found = Step(recipe_of(f"fgsm {epsilon} part {part}"))(pixels())["loss"]
    assert float(found) == pytest.approx(by_hand(epsilon, part), rel=1e-9)


def test_no_epsilon_is_no_attack() -> None:
    x = pixels()
    plain, still = Step(recipe_of("flip")), Step(recipe_of("fgsm 0"))
    for name, value in plain(x).items():
        np.testing.assert_allclose(still(x)[name], value, rtol=1e-10, err_msg=name)


def test_the_gradients_are_those_of_the_mixture_with_the_attack_held_still() -> None:
    """With rate 1 of plain sgd a weight's change is its gradient."""
    step = Step(recipe_of("fgsm 0.1"))
    x = pixels()
    for name in ("conv1.weight", "dense1.weight"):
        weight = step.weights[name]
        gradient = weight - step(x)[f"{name}.next"]
        for at in np.random.default_rng(1).choice(weight.size, 5, replace=False):
            moved = np.zeros(weight.size)
            moved[at] = 1e-6
            losses = [float(step(x, **{name: weight + sign * moved.reshape(weight.shape)})["loss"]) for sign in (1, -1)]
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(gradient.reshape(-1)[at], rel=1e-5, abs=1e-9)


def test_bytes_are_attacked_between_each_other() -> None:
    x = pixels(np.uint8)
    bytes_, floats = (
        Step(recipe_of("fgsm 0.007", "dtype u8"), double=False),
        Step(recipe_of("fgsm 0.007"), double=False),
    )
    assert bytes_(x)["loss"] == pytest.approx(floats(x.astype(np.float32))["loss"], rel=1e-6)
    assert bytes_(x)["loss"] > Step(recipe_of("fgsm 0", "dtype u8"), double=False)(x)["loss"]


def test_nothing_of_it_is_in_what_was_left_out() -> None:
    graph = portable(training_step(recipe_of("flip").net, recipe_of("flip")))
    assert not any(isinstance(operation.op, Still) for operation in graph.operations)


def test_words_have_nothing_between_them() -> None:
    net = "net a { input w 3 dtype i64; embedding 5 4; dense 2 }"
    text = net + '\ntrain a { data npz "n.npz"; loss cross_entropy; augment fgsm 0.1 }'
    report = Report()
    assert load_recipe(Source("a.net", text), report) is None
    assert [problem.code for problem in report] == ["E0346"]


def test_a_vector_is_changed_like_a_picture() -> None:
    """J = log(1 + e^(-t (w x + b))) of one weight: the change is epsilon (high - low) against the sign of w t."""
    text = "net a { input x 2; dense 1 bias off }\ntrain a { data clouds; loss logistic; batch 1; augment { FGSM } }"
    report = Report()
    recipe = load_recipe(Source("a.net", text.replace("FGSM", "fgsm 0.25 part 1 low (-4) high 4")), report)
    assert recipe is not None, [problem.message() for problem in report]
    graph = portable(training_step(recipe.net, recipe))
    model = emit(graph, float_type="f64").model
    x, w, t = np.array([[0.5, -3.0]]), np.array([[2.0, -1.0]]), np.array([1.0])
    fed = {"x": x, "dense1.weight": w, "target": t, "rate": np.array(1.0), "step": np.array(0, np.uint32)}
    names = [output.name for output in model.graph.output]
    found = dict(zip(names, evaluator(model).run(names, fed), strict=True))
    changed = np.clip(x - 0.25 * 8 * np.sign(w), -4, 4)
    assert found["loss"] == pytest.approx(np.log1p(np.exp(-(changed @ w.T).item())), rel=1e-12)
