"""States that are joined become what they become alone, under every optimizer, and keep their names."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl.backend.emit import emit
from netdsl.ir.graph import LOSS, UPDATE, Graph
from netdsl.passes import join_states
from netdsl.passes.finish import Finished, finish
from netdsl.passes.join_states import ALIGNMENT, JOINED
from netdsl.train.runner import Choices, Runner, initial_state, lower
from netdsl.train.step import UpdateState, training_step
from tests.train.test_optimizers import GRADIENTS, PYTORCH, RATES, W, optimizer_of
from tests.train.test_step import feeds_of, read

SHAPES = {"a": (4,), "b": (2, 2), "c": (4, 1, 1), "d": (4,)}
"""Weights whose elements are the same, but in another order each."""


def updates(text: str) -> Graph:
    """The update of several weights, given their gradients."""
    graph, optimizer = Graph("updates"), optimizer_of(text)
    rate, step = graph.input("rate", ()), graph.input("step", ())
    for name, shape in SHAPES.items():
        w = graph.state_input(name, shape)
        update = UpdateState(w, rate, step, decays=True)
        graph.update(w, optimizer.update(w, graph.input(f"d{name}", shape), update), 0.0)
        update.finish()
    return graph


def turned(array: np.ndarray, name: str) -> np.ndarray:
    at = list(SHAPES).index(name)
    return np.roll(array, at).reshape(SHAPES[name])


def runner_of(graph: Graph, finished: Finished, state: dict, layouts: dict | None = None) -> Runner:
    model = emit(finished.graph).model.SerializeToString()
    return Runner(graph, model, state, finished=finished, layouts=layouts, threads=1)


@pytest.mark.parametrize("text", PYTORCH)
def test_joined_steps_are_pytorchs(text: str) -> None:
    graph = updates(text)
    finished = finish(graph, None)
    assert all(name.startswith(JOINED) for name in finished.graph.state)
    state = {**initial_state(graph, {}), **{name: turned(W, name) for name in SHAPES}}
    runner, found = runner_of(graph, finished, state), []
    for step, (gradient, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), 1):
        given = {f"d{name}": turned(gradient, name) for name in SHAPES}
        runner.step({**given, "rate": np.array(rate, "f4"), "step": np.array(step, "f4")})
        found.append(runner.state())
    for name in SHAPES:
        for at, expected in zip((0, 1, 4), PYTORCH[text], strict=True):
            np.testing.assert_allclose(found[at][name], turned(np.array(expected), name), rtol=2e-6, atol=2e-7)


NET = (
    "input x 3x5x5; conv 3x3 8; bn; relu; conv 3x3 6 bias on; bn; prelu; a: dwconv 3x3; reuse a; bn; "
    "global_avgpool; dense 7; tanh; dense 3"
)
RECIPES = {
    "momentum": "optimizer sgd lr 0.1 momentum 0.9 decay 0.01",
    "decay": "optimizer sgd lr 0.1 momentum 0.9 nesterov on decay 0.1 { except bias bn }",
    "adam": "optimizer adam lr 1e-2 clip 1; average 0.9",
    "adamw": "optimizer adamw lr 1e-2 clip_value 0.01; freeze dense1",
    "rmsprop": "optimizer rmsprop lr 1e-3 momentum 0.5",
    "half": "optimizer sgd lr 0.1; dtype f16; average 0.5",
}


@pytest.mark.parametrize(
    ("recipe", "backend"), [*((each, "plain") for each in RECIPES), ("momentum", "nchwc"), ("adam", "nchwc")]
)
def test_joined_states_of_a_net_have_the_same_bits(recipe: str, backend: str) -> None:
    found = read(f"net t {{ {NET} }}\ntrain t {{ data xor; loss cross_entropy; {RECIPES[recipe]}; batch 4; seed 3 }}")
    graph = training_step(found.net, found)
    lowered = lower(graph, Choices(backend, threads=1, emulated=found.dtype != "f32"))
    values = {name: x.astype(x.dtype.str.replace("f8", "f4")) for name, x in feeds_of(graph).items()}
    feeds = {name: values[name] for name in graph.inputs}
    runners = []
    for join in (True, False):
        finished = finish(lowered.graph, LOSS, join=join)
        assert bool(finished.joined) == join
        state = initial_state(graph, {name: values[name] for name in graph.parameters})
        runners.append(runner_of(graph, finished, state, lowered.layouts))
    joined, alone = runners
    for _ in range(3):
        for runner in runners:
            runner.step(feeds)
        same(joined.before(), alone.before())
        same(joined.state(), alone.state())
    assert joined.result(LOSS) == alone.result(LOSS)
    kept = alone.state()
    for runner in runners:
        runner.step(feeds)
        runner.restore(kept)
        same(runner.state(), kept)
        runner.step(feeds)
    same(joined.state(), alone.state())


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_deeper_net_has_no_more_kernels_in_its_update() -> None:
    def count(layers: int) -> int:
        net = "; ".join(["input x 4", *["dense 4", "bn"] * layers, "dense 3"])
        found = read(f"net t {{ {net} }}\ntrain t {{ data xor; loss cross_entropy; {RECIPES['decay']}; batch 4 }}")
        step = finish(lower(training_step(found.net, found), Choices("plain")).graph, LOSS).graph
        assert max(len(name.split("/")) for name in step.state) == 4
        return sum(each.origin.phase == UPDATE and "Reshape" not in repr(each) for each in step.operations)

    assert count(9) == count(4)


def test_large_states_and_single_ones_stay_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_states, "MAX_ELEMENTS", 3)
    assert not finish(updates("adam"), None).joined
    monkeypatch.setattr(join_states, "MAX_ELEMENTS", 4)
    monkeypatch.setattr(join_states, "MAX_JOINED", 2 * ALIGNMENT)
    members = finish(updates("sgd decay 0.1"), None).joined
    assert [*members.values()] == [["a", "b"], ["c", "d"]]
