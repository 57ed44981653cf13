"""Optimizers against PyTorch, step by step, on onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime import InferenceSession

from netdsl import ops
from netdsl.backend.emit import NEXT, emit
from netdsl.backend.serialize import to_bytes
from netdsl.ir.graph import Graph
from netdsl.optimizers import OPTIMIZERS
from netdsl.train.step import UpdateState
from tests.support.recipe_tools import recipe_with

W = np.array([0.5, -1.0, 2.0, 0.25], "f4")
GRADIENTS = np.array(
    [
        [0.1, -0.2, 0.3, 0.0],
        [-0.4, 0.5, 0.05, 1e-4],
        [2.0, -3.0, 1.0, 0.0],
        [0.1, 0.1, -0.1, -2e-4],
        [0.0, 0.7, -0.6, 5.0],
    ],
    "f4",
)
RATES = [0.1, 0.1, 0.05, 0.05, 0.01]

# After the first, second and fifth step, by torch.optim of PyTorch 2.13 in float64: SGD, Adam, AdamW, RMSprop.
PYTORCH = {
    "sgd": [
        [0.49, -0.98, 1.97, 0.25],
        [0.53, -1.03, 1.965, 0.24999],
        [0.425, -0.892, 1.926, 0.2],
    ],
    "sgd momentum 0.9": [
        [0.49, -0.98, 1.97, 0.25],
        [0.521, -1.012, 1.938, 0.24999],
        [0.3376649, -0.7452928, 1.8171072, 0.19999252],
    ],
    "sgd momentum 0.9 decay 0.01": [
        [0.4895, -0.979, 1.968, 0.24975],
        [0.5195605, -1.009121, 1.932232, 0.24926525],
        [0.33452765, -0.73903994, 1.8045694, 0.19839854],
    ],
    "sgd momentum 0.9 decay 0.01 nesterov on": [
        [0.48005, -0.9601, 1.9392, 0.249525],
        [0.5466329, -1.0362658, 1.9000955, 0.2488294],
        [0.27463962, -0.65428467, 1.7442809, 0.15278689],
    ],
    "sgd decay 0.01": [
        [0.4895, -0.979, 1.968, 0.24975],
        [0.5290105, -1.028021, 1.961032, 0.24949025],
        [0.42348927, -0.88898003, 1.919905, 0.1992259],
    ],
    "adam": [
        [0.40000001, -0.9, 1.9, 0.25],
        [0.45595036, -0.94422153, 1.8216673, 0.17559684],
        [0.4016211, -0.89103144, 1.7513817, 0.15685112],
    ],
    "adam decay 0.01 eps 1e-3": [
        [0.4009434, -0.90047393, 1.9003115, 0.17857143],
        [0.45551983, -0.94244803, 1.8194689, 0.11084844],
        [0.4008931, -0.88879411, 1.7472235, 0.048057904],
    ],
    "adam beta1 0.5 beta2 0.9": [
        [0.40000001, -0.9, 1.9, 0.25],
        [0.47823666, -0.96873256, 1.8363978, 0.15811901],
        [0.40736483, -0.90337415, 1.7675117, 0.16234561],
    ],
    "adamw": [
        [0.39950001, -0.899, 1.898, 0.24975],
        [0.45505086, -0.94232253, 1.8177693, 0.17509709],
        [0.4002397, -0.8881155, 1.7455114, 0.15617453],
    ],
    "adamw decay 0.1": [
        [0.39500001, -0.89, 1.88, 0.2475],
        [0.44700036, -0.92532153, 1.7828673, 0.17062184],
        [0.38795456, -0.86217796, 1.6932979, 0.15016218],
    ],
    "rmsprop": [
        [-0.499999, -4.9999975e-07, 1.0000003, 0.25],
        [0.47042873, -0.92911801, 0.83479574, -0.749001],
        [-0.043963018, -0.47596803, 0.4539485, -0.40109549],
    ],
    "rmsprop alpha 0.9 eps 1e-3 decay 0.01": [
        [0.1930176, -0.6884635, 1.6868667, 0.11037961],
        [0.49744048, -0.97993338, 1.6195275, 0.044994223],
        [0.33399385, -0.83687046, 1.4979458, -0.002584953],
    ],
    "rmsprop momentum 0.9": [
        [-0.499999, -4.9999975e-07, 1.0000003, 0.25],
        [-0.42957037, -0.02911846, -0.065203962, -0.749001],
        [-1.4032123, 0.91678544, -1.9342791, -1.2474455],
    ],
}


def optimizer_of(text):
    return recipe_with(f"optimizer {text}").optimizer


class Steps:
    """The update of one weight as a graph of its own, and its state."""

    def __init__(self, text, decays=True):
        graph = Graph("update")
        w = graph.state_input("w", W.shape)
        update = UpdateState(w, graph.input("rate", ()), graph.input("step", ()), decays)
        graph.update(w, optimizer_of(text).update(w, graph.input("g", W.shape), update), 0.0)
        update.finish()
        self.session = InferenceSession(to_bytes(emit(graph), ()))
        self.state = {name: np.full(W.shape, s.initial, "f4") for name, s in graph.state.items()} | {"w": W}
        self.count = 0

    def __call__(self, gradient, rate):
        self.count += 1
        fed = {"g": gradient, "rate": np.float32(rate), "step": np.float32(self.count)}
        names = {x.name for x in self.session.get_inputs()}
        fed = {name: np.asarray(value) for name, value in {**self.state, **fed}.items() if name in names}
        after = self.session.run([f"{name}{NEXT}" for name in self.state], fed)
        self.state = dict(zip(self.state, after, strict=True))
        return self.state["w"]


@pytest.mark.parametrize("text", PYTORCH)
def test_steps_are_pytorchs(text):
    steps = Steps(text)
    found = [steps(g, r) for g, r in zip(GRADIENTS, RATES, strict=True)]
    np.testing.assert_allclose([found[at] for at in (0, 1, 4)], PYTORCH[text], rtol=2e-6, atol=2e-7)


def test_every_optimizer_is_held_against_pytorch():
    assert {text.split()[0] for text in PYTORCH} == set(OPTIMIZERS)


def test_a_thousand_steps_of_adam():
    """The bias correction nears 1; by torch.optim.Adam of PyTorch 2.13 in float32."""
    steps = Steps("adam")
    for at in range(1000):
        w = steps(GRADIENTS[at % 5], 0.001)
    np.testing.assert_allclose(w, [0.10671027, -0.72799927, 1.75677133, -0.19767314], rtol=2e-6)


@pytest.mark.parametrize("text", ["sgd", "sgd momentum 0.9", "adam", "adamw", "rmsprop", "rmsprop momentum 0.9"])
def test_what_takes_no_decay_is_as_without(text):
    plain, spared = Steps(f"{text} decay 0"), Steps(f"{text} decay 0.5", decays=False)
    for gradient in GRADIENTS:
        np.testing.assert_array_equal(plain(gradient, 0.1), spared(gradient, 0.1))


def test_the_scalars_of_a_step_are_computed_once():
    graph = Graph("two")
    adam = optimizer_of("adam")
    rate, step = graph.input("rate", ()), graph.input("step", ())
    counts = []
    for name in ("a", "b", "c"):
        w = graph.state_input(name, (3,))
        before = len(graph.operations)
        adam.update(w, graph.input(f"g{name}", (3,)), UpdateState(w, rate, step, True))
        counts.append(len(graph.operations) - before)
    assert counts[1] == counts[2] == 10 < counts[0]
    other = Graph("other")
    w = other.state_input("w", (3,))
    fresh = adam.update(
        w, other.input("g", (3,)), UpdateState(w, other.input("rate", ()), other.input("step", ()), True)
    )
    assert fresh.graph is other


def clipped(text, gradients):
    graph = Graph("clip")
    inputs = [graph.input(f"g{i}", g.shape) for i, g in enumerate(gradients)]
    for i, g in enumerate(recipe_with(f"optimizer {text}").optimizer.clipped(inputs)):
        graph.output(f"y{i}", ops.identity(g))
    session = InferenceSession(to_bytes(emit(graph), ()))
    return session.run(None, {f"g{i}": g for i, g in enumerate(gradients)})


TWO = [np.array([[3.0], [-4.0]], "f4"), np.array([12.0, 0.0, -84.0], "f4")]


def test_clipping_by_the_norm_of_all_gradients():
    """By torch.nn.utils.clip_grad_norm_: the norm is 85."""
    a, b = clipped("sgd clip 5", TWO)
    np.testing.assert_allclose(a[:, 0], [0.17647059, -0.23529411], rtol=1e-6)
    np.testing.assert_allclose(b, [0.70588234, 0, -4.9411764], rtol=1e-6)
    for found, given in zip(clipped("sgd clip 85.1", TWO), TWO, strict=True):
        np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize("norm", [0.5, 5, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_norm_is_that_of_all_gradients_as_one_vector(count, norm):
    rng = np.random.default_rng(count)
    gradients = [rng.standard_normal((at + 1,) * (1 + at // 2 % 2)).astype("f4") for at in range(count)]
    length = np.linalg.norm(np.concatenate([g.reshape(-1) for g in gradients]).astype("f8"))
    for found, given in zip(clipped(f"sgd clip {norm}", gradients), gradients, strict=True):
        np.testing.assert_allclose(found, given * min(1, norm / (length + 1e-6)), rtol=1e-5)


def test_clipping_by_value_comes_first():
    a, b = clipped("sgd clip_value 4", TWO)
    assert (a[:, 0].tolist(), b.tolist()) == ([3, -4], [4, 0, -4])
    a, b = clipped("adam clip_value 4 clip 1", TWO)
    np.testing.assert_allclose([*a[:, 0], *b], np.array([3, -4, 4, 0, -4]) / 57**0.5, rtol=1e-6)


def test_nothing_to_clip():
    assert recipe_with("optimizer sgd clip 1").optimizer.clipped([]) == []
    assert recipe_with("optimizer sgd").optimizer.clipped([1]) == [1]
