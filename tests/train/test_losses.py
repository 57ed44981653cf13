"""Losses against PyTorch's figures and loops in numpy; their gradients against central differences, in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.backend.serialize import to_bytes
from netdsl.ir.graph import Graph
from netdsl.losses import LOSSES, Target
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import expand_macros, prune
from tests.support.recipe_tools import loss_of


def graph_of(text, shape):
    """A loss of a batch [N, *shape] and its gradient by the output."""
    loss, target = loss_of(text, shape[1:])
    graph = Graph("loss")
    y = graph.input("y", shape)
    targets = [] if target is None else [graph.input("t", (shape[0], *target.shape), target.dtype)]
    value = loss.body(y, *targets)
    assert value.shape == ()
    graph.output("loss", value)
    (dy,) = gradients(value, [y])
    graph.output("dy", ops.identity(dy))
    return prune(expand_macros(graph))


def run(text, y, t):
    """Loss and gradient, in float32 on onnxruntime."""
    session = InferenceSession(to_bytes(emit(graph_of(text, np.shape(y))), ()))
    wanted = {x.name: x.type for x in session.get_inputs()}
    dtypes = {"y": "f4", "t": "i8" if "int64" in wanted.get("t", "") else "f4"}
    return session.run(["loss", "dy"], {name: np.asarray({"y": y, "t": t}[name], dtypes[name]) for name in wanted})


Y = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [30.0, -90.0, 4.0], [1.0, 1.0, 0.0]])
CLASSES = np.array([0, 2, 1, 1])
MAPS = (3 * np.sin(np.arange(24.0))).reshape(2, 3, 2, 2)
PLACES = np.array([[[0, 1], [2, 0]], [[1, 1], [2, 0]]])
ONE = np.array([[2.0], [-0.5], [100.0], [-100.0], [0.0]])
SIGNS = np.array([1.0, 1, 1, 1, -1])
SEQUENCES = (3 * np.sin(np.arange(30.0))).reshape(2, 3, 5)
PADDED = np.array([[0, 2, -100, 1, -100], [-100, -100, 1, 1, -100]])

# By torch.nn.functional of PyTorch 2.13 in float64: cross_entropy, soft_margin_loss, mse_loss, l1_loss, smooth_l1_loss,
# and multi_margin_loss times the number of classes, by which it divides.
PYTORCH = [
    ("cross_entropy", Y, CLASSES, 30.52631223571096),
    ("cross_entropy smoothing 0.1", Y, CLASSES, 28.791312235872393),
    ("cross_entropy", MAPS, PLACES, 3.4215075584771393),
    ("cross_entropy smoothing 0.2", MAPS, PLACES, 3.2492856891020914),
    ("cross_entropy ignore 1", Y, CLASSES, 0.6216270724432006),
    ("cross_entropy ignore (-100)", SEQUENCES, PADDED, 2.4800404883900424),
    ("cross_entropy ignore (-100) smoothing 0.1", SEQUENCES, PADDED, 2.4627064589742442),
    ("cross_entropy ignore (-100) class_weights [0.5, 3, 2]", SEQUENCES, PADDED, 2.702328686568401),
    ("cross_entropy ignore (-100) class_weights [0.5, 3, 2] smoothing 0.2", SEQUENCES, PADDED, 2.5347762708730586),
    ("cross_entropy ignore 0 smoothing 0.2", MAPS, PLACES, 4.107320274038621),
    ("cross_entropy ignore 0 class_weights [0.5, 3, 2]", MAPS, PLACES, 4.594196951684841),
    ("logistic", ONE, SIGNS, 20.358830435156605),
    ("hinge multiclass weston_watkins", Y, CLASSES, 54.675),
    ("hinge multiclass weston_watkins squared on", Y, CLASSES, 5917.1125),
    ("hinge multiclass weston_watkins margin 0.5", Y, CLASSES, 54.05),
    ("mse", Y, np.ones((4, 3)), 761.5991666646551),
    ("l1", Y, np.ones((4, 3)), 10.825000000000001),
    ("smooth_l1", Y, np.ones((4, 3)), 10.424583333333333),
    ("smooth_l1 beta 0.25", Y, np.ones((4, 3)), 10.720833333333333),
    ("smooth_l1 beta 3", Y, np.ones((4, 3)), 29.96625 / 3),  # huber_loss with delta 3
]


@pytest.mark.parametrize(("text", "y", "t", "expected"), PYTORCH, ids=[f"{r[0]} {r[1].ndim}" for r in PYTORCH])
def test_losses_are_pytorchs(text, y, t, expected):
    assert run(text, y, t)[0] == pytest.approx(expected, rel=1e-6)


def rows(y, t):
    """Each place's numbers and its class."""
    return zip(np.moveaxis(y, 1, -1).reshape(-1, y.shape[1]), np.ravel(t), strict=True)


def crammer_singer(y, t, margin=1.0):
    return np.mean([max(0.0, margin + max(np.delete(row, k)) - row[k]) for row, k in rows(y, t)])


def weston_watkins(y, t):
    return np.mean([sum(max(0.0, 1 + other - row[k]) for other in np.delete(row, k)) for row, k in rows(y, t)])


def perceptron(y, t):
    return np.mean([max(0.0, max(np.delete(row, k)) - row[k]) for row, k in rows(y, t)])


def over_signs(function):
    return lambda y, t: np.mean(function(np.ravel(y) * np.ravel(t)))


def weighted(*weights, smoothing=0.0):
    """PyTorch's cross_entropy with `weight`: the loss of a target divided by the sum of the weights of all targets."""

    def formula(y, t):
        total = share = 0.0
        for row, k in rows(y, t):
            log_p = row - np.log(np.sum(np.exp(row - row.max()))) - row.max()
            q = np.full(len(row), smoothing / len(row))
            q[k] += 1 - smoothing
            total -= np.sum(weights * q * log_p)
            share += weights[k]
        return total / share if share else 0.0

    return formula


SIGN_MAPS = np.sign(np.cos(np.arange(12.0))).reshape(3, 2, 2)
FORMULAS = [
    ("hinge", Y, CLASSES, crammer_singer),
    ("hinge", MAPS, PLACES, crammer_singer),
    ("hinge margin 0.25", MAPS, PLACES, lambda y, t: crammer_singer(y, t, 0.25)),
    ("hinge multiclass weston_watkins", MAPS, PLACES, weston_watkins),
    ("perceptron", Y, CLASSES, perceptron),
    ("perceptron", MAPS, PLACES, perceptron),
    ("perceptron", ONE, SIGNS, over_signs(lambda m: np.maximum(0, -m))),
    ("hinge", ONE, SIGNS, over_signs(lambda m: np.maximum(0, 1 - m))),
    ("hinge margin 2 squared on", ONE, SIGNS, over_signs(lambda m: np.maximum(0, 2 - m) ** 2)),
    ("hinge", MAPS.reshape(3, 1, 2, 4)[..., :2], SIGN_MAPS, over_signs(lambda m: np.maximum(0, 1 - m))),
    ("cross_entropy class_weights [1, 1, 1]", Y, CLASSES, weighted(1, 1, 1)),
    ("cross_entropy class_weights [0.5, 3, 2]", Y, CLASSES, weighted(0.5, 3, 2)),
    ("cross_entropy class_weights [0.5, 3, 0]", MAPS, PLACES, weighted(0.5, 3, 0)),
    ("cross_entropy class_weights [1, 2, 9] smoothing 0.3", Y, CLASSES, weighted(1, 2, 9, smoothing=0.3)),
    ("cross_entropy class_weights [0, 0, 9]", Y[:1], CLASSES[:1], weighted(0, 0, 9)),
    ("mean", Y, None, lambda y, _: np.sum(y) / y.size),
    ("mean", MAPS, None, lambda y, _: np.sum(y) / y.size),
    ("exponential", ONE[:2], SIGNS[:2], over_signs(lambda m: np.exp(-m))),
    ("logistic", MAPS.reshape(3, 1, 2, 4)[..., :2], SIGN_MAPS, over_signs(lambda m: np.log1p(np.exp(-m)))),
]


@pytest.mark.parametrize(("text", "y", "t", "formula"), FORMULAS, ids=[f"{r[0]} {r[1].shape}" for r in FORMULAS])
def test_losses_are_their_formulas(text, y, t, formula):
    assert run(text, y, t)[0] == pytest.approx(formula(y, t), rel=1e-6)


CASES = {f"{row[0]} {row[1].shape}": row[:3] for row in (*PYTORCH, *FORMULAS)}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_limits_of_differences(name):
    text, y, t = CASES[name]
    rng = np.random.default_rng(len(name))
    y = rng.standard_normal(y.shape)
    model = onnx.load_from_string(to_bytes(emit(graph_of(text, y.shape), float_type="f64"), ()))
    evaluator = ReferenceEvaluator(model)
    given = {i.name: np.int64 if i.type.tensor_type.elem_type == 7 else "f8" for i in model.graph.input}
    targets = {"t": t.astype(given["t"])} if "t" in given else {}
    (dy,) = evaluator.run(["dy"], {"y": y, **targets})
    for _ in range(4):
        direction = rng.standard_normal(y.shape)
        ahead, behind = (evaluator.run(["loss"], {"y": y + h * direction, **targets})[0] for h in (1e-6, -1e-6))
        assert (ahead - behind) / 2e-6 == pytest.approx(np.sum(dy * direction), rel=1e-6, abs=1e-8)


def test_equal_class_weights_change_nothing():
    for text in ("cross_entropy", "cross_entropy smoothing 0.1"):
        one, other = run(text, Y, CLASSES), run(f"{text} class_weights [7, 7, 7]", Y, CLASSES)
        assert one[0] == pytest.approx(other[0], rel=1e-6)
        assert one[1] == pytest.approx(other[1], rel=1e-5)


@pytest.mark.parametrize("more", ["", "smoothing 0.1", "class_weights [0.5, 3, 2]"])
def test_a_batch_of_ignored_targets_has_no_loss_and_no_gradient(more):
    """PyTorch's mean of no targets is NaN, which would end a training."""
    loss, dy = run(f"cross_entropy ignore 255 {more}", MAPS, np.full((2, 2, 2), 255))
    assert (loss, np.abs(dy).max()) == (0, 0)


def test_every_loss_is_held_against_figures():
    assert {row[0].split()[0] for row in (*PYTORCH, *FORMULAS)} == set(LOSSES) - {"ctc"}, "test_ctc has those of ctc"


def test_large_outputs_neither_overflow_nor_lose_their_gradient():
    loss, dy = run("cross_entropy", [[1e4, -1e4], [1e4, -1e4]], [0, 1])
    assert (loss, dy.tolist()) == (1e4, [[0, 0], [0.5, -0.5]])
    loss, dy = run("logistic", [[1e4], [-1e4]], [1, 1])
    assert (loss, dy.tolist()) == (5e3, [[0], [-0.5]])


AT_ZERO = [
    ("logistic", [[0.0]], [1], [[-0.5]]),
    ("perceptron", [[0.0]], [1], [[-1.0]]),
    ("perceptron", [[0.0]], [-1], [[1.0]]),
    ("hinge", [[0.0]], [1], [[-1.0]]),
    ("exponential", [[0.0]], [1], [[-1.0]]),
    ("cross_entropy", [[0.0, 0.0]], [1], [[0.5, -0.5]]),
    ("l1", [[1.0, 0.0]], [[1.0, 1.0]], [[0.0, -0.5]]),
    ("smooth_l1", [[1.0, 0.5]], [[1.0, 1.0]], [[0.0, -0.25]]),
]


@pytest.mark.parametrize(("text", "y", "t", "expected"), AT_ZERO, ids=[f"{row[0]} {row[2]}" for row in AT_ZERO])
def test_weights_of_zero_learn(text, y, t, expected):
    """A net whose outputs are all 0 has a gradient: Rosenblatt's begins so."""
    assert run(text, y, t)[1] == pytest.approx(np.array(expected))


@pytest.mark.parametrize("text", ["perceptron", "hinge", "hinge multiclass weston_watkins"])
def test_ties_of_classes_are_mistakes(text):
    _, dy = run(text, [[0.0, 0.0, 0.0]], [1])
    assert dy[0, 1] < 0
    assert dy[0, 0] + dy[0, 2] == pytest.approx(-dy[0, 1])


def test_targets():
    assert loss_of("cross_entropy", (10,))[1] == Target("class", (), 10)
    assert loss_of("cross_entropy", (21, 4, 4))[1] == Target("class", (4, 4), 21)
    assert loss_of("hinge", (1,))[1] == Target("sign", ())
    assert loss_of("hinge", (3,))[1] == Target("class", (), 3)
    assert loss_of("logistic", (1, 4, 4))[1] == Target("sign", (4, 4))
    assert loss_of("mse", (3, 4))[1] == Target("value", (3, 4))
    ignoring = loss_of("cross_entropy ignore (-1)", (10,))[1]
    assert (ignoring.ignore, ignoring == loss_of("cross_entropy", (10,))[1]) == (-1, False)
    assert [loss_of(text, (1,))[1].dtype for text in ("mse", "logistic")] == ["f32", "f32"]
    assert loss_of("cross_entropy", (10,))[1].dtype == "i64"


@pytest.mark.parametrize("wrong", [-1, 3])
@pytest.mark.parametrize("text", ["cross_entropy", "cross_entropy ignore 0"])
def test_a_class_that_does_not_exist_is_an_error(text, wrong):
    with pytest.raises((Fail, InvalidArgument), match=r"index|indice"):
        run(text, Y, np.array([0, 2, wrong, 1]))
