"""A training step as a graph: what it changes and how, held against finite differences of the loss that it gives."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import ELEMENT_TYPES, NEXT, check, emit
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.train_block import recipe
from netdsl.passes.run_time import at_run_time
from netdsl.train.runner import Runner, initial_state
from netdsl.train.step import portable, training_step
from tests.support.exact import evaluator

RATE = 0.5

TRAIN = "train t { data xor; loss cross_entropy; optimizer sgd lr 1; batch 4; seed 3 }"

NETS = {
    "dense": "input x 5; dense 6; tanh; dense 3",
    "shared": "input x 5; a: dense 5; tanh; reuse a; tanh; reuse a; dense 3",
    "conv_bn": "input x 2x6x6; conv 3x3 4 stride 2 bias off; bn; relu; conv 3x3 3; global_avgpool; flatten; dense 3",
    "bn_again": "input x 4; dense 4; a: bn momentum 0.3; tanh; reuse a; dense 3",
    "residual": "input x 3x4x4; skip { conv 3x3 3; bn; relu; conv 3x3 3 }; maxpool 2x2; dense 3",
    "dropout": "input x 6; dense 8; tanh; dropout 0.5; dense 3",
    "lrn_groups": "input x 4x5x5; conv 3x3 4 groups 2; relu; lrn 5 alpha 0.1; avgpool 3x3 stride 2; dense 3",
    "recurrent": "input x 3x5; lstm 4; m: gru 3 bidirectional on; state m; dense 3",
    "transformer": "input x 4x3; linear 12; attention 2 causal on; linear 6; gelu; linear 6; gelu tanh on; dense 3",
    "prelu_deconv": "input x 2x3x3; deconv 2x2 3 stride 2; prelu; dense 3",
}


def read(text: str):
    report = Report()
    module = Library(report).load(Source("test.net", text), "test.net")
    found = recipe(module)
    assert found is not None, [f"{p.code} {p.span}: {p.message()}" for p in report]
    return found


def step_of(text: str):
    found = read(text)
    return portable(training_step(found.net, found))


def feeds_of(graph, seed=0):
    """Numbers for everything that a step takes, as doubles; labels are of three classes."""
    random = np.random.default_rng(seed)
    feeds = {"rate": np.array(RATE)}
    befores = {name: state.before for name, state in graph.state.items()}
    for name, x in {**graph.inputs, **graph.parameters, **befores}.items():
        if name == "rate":
            continue
        kind = ELEMENT_TYPES[x.dtype][1]
        if kind == "<f4":
            feeds[name] = random.normal(size=x.shape) + (2.0 if name.endswith("running_var") else 0.0)
            feeds[name] = np.abs(feeds[name]) if name.endswith("running_var") else feeds[name]
        else:
            feeds[name] = random.integers(0, 3, x.shape).astype(kind)
    return feeds


class Doubles:
    """A step in float64 on onnx's reference evaluator, corrected."""

    def __init__(self, graph):
        model = emit(graph, float_type="f64").model
        self.names = [output.name for output in model.graph.output]
        self.evaluator = evaluator(model)

    def __call__(self, feeds):
        return dict(zip(self.names, self.evaluator.run(None, feeds), strict=True))


@pytest.mark.parametrize("name", NETS)
def test_weights_move_against_finite_differences(name):
    graph = step_of(f"net t {{ {NETS[name]} }}\n{TRAIN}")
    check(emit(graph))
    step, feeds = Doubles(graph), feeds_of(graph)
    after = step(feeds)
    random = np.random.default_rng(1)
    for weight in (w for w in graph.state if w in graph.parameters and "running" not in w):
        direction = random.normal(size=feeds[weight].shape)
        ends = [step({**feeds, weight: feeds[weight] + h * direction})["loss"] for h in (1e-5, -1e-5)]
        slope = (ends[0] - ends[1]) / 2e-5
        moved = ((feeds[weight] - after[weight + NEXT]) / RATE * direction).sum()
        assert moved == pytest.approx(slope, rel=1e-6, abs=1e-8), weight


def test_statistics_are_those_of_the_batch():
    graph = step_of(f"net t {{ input x 2x3x3; bn momentum 0.3; dense 3 }}\n{TRAIN}")
    feeds = feeds_of(graph)
    after = Doubles(graph)(feeds)
    mean, var = feeds["x"].mean(axis=(0, 2, 3)), feeds["x"].var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(after["bn1.running_mean.next"], 0.7 * feeds["bn1.running_mean"] + 0.3 * mean)
    np.testing.assert_allclose(after["bn1.running_var.next"], 0.7 * feeds["bn1.running_var"] + 0.3 * var)


def test_a_layer_that_is_applied_twice_keeps_its_statistics_twice():
    graph = step_of(f"net t {{ input x 4; a: bn momentum 0.3; scale 2; reuse a; dense 3 }}\n{TRAIN}")
    feeds = feeds_of(graph)
    first = 0.7 * feeds["a.running_mean"] + 0.3 * feeds["x"].mean(axis=0)
    # The second application meets values whose mean is the offset, doubled.
    np.testing.assert_allclose(
        Doubles(graph)(feeds)["a.running_mean.next"], 0.7 * first + 0.3 * 2 * feeds["a.bias"], rtol=1e-6
    )


@pytest.mark.parametrize("how", ["freeze { a: { dense 4; bn } }", "a: { dense 4; bn }"])
def test_frozen_weights_and_statistics_stay(how):
    freeze = "" if how.startswith("freeze") else "; freeze a"
    graph = step_of(f"net t {{ input x 5; {how}; dense 3 }}\n{TRAIN.replace(' }', freeze + ' }')}")
    assert set(graph.state) == {"step", "dense1.weight", "dense1.bias"}
    assert {name for name in graph.parameters if name.startswith("a.")} == {
        f"a.{name}"
        for name in ("dense1.weight", "dense1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")
    }


def test_heads_join_the_loss_with_their_weights():
    net = "net t { input x 5; dense 4; tanh; output aux training { dense 3 }; dense 3 }"
    lines = "loss cross_entropy; loss aux cross_entropy weight 0.3"
    both = step_of(f"{net}\n{TRAIN.replace('loss cross_entropy', lines)}")
    none = step_of(f"{net}\n{TRAIN.replace('loss cross_entropy', lines.replace('0.3', '0'))}")
    assert list(both.outputs) == ["output", "loss"]
    feeds = feeds_of(both)
    logits = np.tanh(feeds["x"] @ feeds["dense1.weight"].T + feeds["dense1.bias"])
    logits = logits @ feeds["aux.dense1.weight"].T + feeds["aux.dense1.bias"]
    picked = np.take_along_axis(logits, feeds["target"][:, None], 1)[:, 0]
    head = (np.log(np.exp(logits).sum(axis=1)) - picked).mean()
    loss, without = Doubles(both)(feeds)["loss"], Doubles(none)(feeds)["loss"]
    assert loss - without == pytest.approx(0.3 * head)


def test_several_outputs_have_targets_of_their_own():
    net = "net t { input x 5; dense 4; tanh; output policy { dense 3 }; output value { dense 1; tanh } }"
    graph = step_of(f"{net}\ntrain t {{ data xor; loss policy cross_entropy; loss value mse weight 0.5; batch 4 }}")
    assert {name: (x.dtype, x.shape) for name, x in graph.inputs.items()} == {
        "x": ("f32", (4, 5)),
        "target.policy": ("i64", (4,)),
        "target.value": ("f32", (4, 1)),
        "rate": ("f32", ()),
    }


def test_each_step_drops_others():
    graph = step_of(
        f"net t {{ input x 1000; dropout 0.5; output dropped; dense 3 }}\n{TRAIN}".replace("t { data", "t { data")
    )
    feeds = {**feeds_of(graph), "x": np.ones((4, 1000))}
    step = Doubles(graph)
    masks = [step({**feeds, "step": np.array(n, "u4")})["dropped"] for n in (0, 1, 0)]
    assert set(np.unique(masks[0])) == {0.0, 2.0}
    np.testing.assert_array_equal(masks[0], masks[2])
    assert 0.4 < (masks[0] == masks[1]).mean() < 0.6
    assert 0.4 < (masks[0][0] == masks[0][1]).mean() < 0.6


def test_a_runner_goes_on_from_what_the_step_before_left():
    graph = step_of(f"net t {{ {NETS['conv_bn']} }}\n{TRAIN.replace('lr 1', 'lr 1 momentum 0.9 decay 0.01')}")
    model = emit(graph).model.SerializeToString()
    feeds = {name: array.astype(array.dtype.str.replace("f8", "f4")) for name, array in feeds_of(graph).items()}
    state = {name: feeds.pop(name) for name in list(feeds) if name not in graph.inputs}
    state = initial_state(graph, {name: array for name, array in state.items() if name in graph.parameters})
    runner = Runner(graph, model, dict(state))
    step, expected = Doubles(graph), state
    for number in range(3):
        runner.step(feeds)
        given = {name: x.astype(x.dtype.str.replace("f4", "f8")) for name, x in {**feeds, **expected}.items()}
        after = step(given)
        np.testing.assert_allclose(runner.result("loss"), after["loss"], rtol=1e-4)
        expected = {name: after.get(name + NEXT, given[name]) for name in expected}
        assert runner.state()["step"] == number + 1
    for name, value in runner.state().items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-3, atol=1e-4, err_msg=name)


def test_a_step_of_a_transformer_masks_in_one_pass_and_computes_an_activation_once() -> None:
    net = "input x 8x5; linear 24; attention 2 causal on; gelu; linear 4; gelu tanh on; dense 3"
    graph = step_of(
        f'net n {{ {net} }}\ntrain n {{ data npz "x.npz"; loss cross_entropy; optimizer sgd lr 0.1; batch 2 }}'
    )
    found = [(type(each.op).__name__, each.outputs[0].shape) for each in graph.operations]
    assert [shape for name, shape in found if name == "Where" and shape[-1] == 5] == [(5, 5)]
    assert [each for each in found if each[0] in ("Erf", "Sigmoid")] == [("Erf", (2, 5, 8)), ("Sigmoid", (2, 5, 4))]


def test_constants_at_run_time_are_those_of_the_step() -> None:
    """Numbers, integers and truths: places and segments of a sequence, and which of its pairs see each other."""
    net = "input x 6x260; s: values [i // 9 for i in range(260)] dtype i64; from x; linear 12; rope 2; linear 36"
    graph = step_of(
        f"net n {{ {net}; attention 2 causal on segments s dropout 0.1; upsample 2; linear 3 }}\n"
        f'train n {{ data npz "x.npz"; loss cross_entropy; optimizer sgd lr 0.1; batch 2 }}'
    )
    late = ops.greater_or_equal(ops.counter(graph, 300), ops.constant(graph, 9, "i64"))
    pairs = ops.logical_and(ops.reshape(late, (300, 1), batch=False), late)
    graph.output("pairs", ops.where(pairs, ops.constant(graph, 1.0), 0.0))
    moved = at_run_time(graph)
    assert len(moved.operations) > len(graph.operations)
    feeds = feeds_of(graph)
    expected, found = (Doubles(each)(feeds) for each in (graph, moved))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
