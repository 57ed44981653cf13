"""A state that is overwritten becomes what it becomes in two sets, in whichever order its step's operations run."""

from __future__ import annotations

import random

import numpy as np
import pytest

from netdsl.backend.emit import emit
from netdsl.ir.graph import LOSS, Graph
from netdsl.ops.indexing import Slice
from netdsl.passes import in_place, split_dense_rows
from netdsl.passes.finish import Finished, finish
from netdsl.train.runner import Runner, initial_state
from netdsl.train.step import portable, training_step
from tests.train.test_step import NETS, feeds_of, read, step_of

RECIPES = {
    "momentum": "optimizer sgd lr 0.1 momentum 0.9 decay 0.01",
    "nesterov": "optimizer sgd lr 0.1 momentum 0.9 nesterov on",
    "plain": "optimizer sgd lr 0.1",
    "adam": "optimizer adamw lr 0.01 decay 0.01",
    "clip": "optimizer sgd lr 0.1 momentum 0.5 clip 1",
}
MORE = {
    "twice": "input x 12; dense 8; relu; dense 8; relu; dense 3",
    "linear": "input x 12; dense 3",
    "sequence": "input x 6x5; linear 8; relu; linear 8; relu; linear 3",
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """What is worth it for large weights alone is done for the smallest."""
    monkeypatch.setattr(in_place, "MIN_ELEMENTS", 2)
    monkeypatch.setattr(split_dense_rows, "SLAB_ELEMENTS", 24)
    monkeypatch.setattr(split_dense_rows, "MIN_SPLIT_ELEMENTS", 30)


def program(net: str, recipe: str = RECIPES["momentum"]) -> str:
    return f"net t {{ {net} }}\ntrain t {{ data xor; loss cross_entropy; {recipe}; batch 4; seed 3 }}"


def start(graph: Graph) -> tuple[dict, dict]:
    """Feeds and a state of floats."""
    values = {name: x.astype(x.dtype.str.replace("f8", "f4")) for name, x in feeds_of(graph).items()}
    feeds = {name: values[name] for name in graph.inputs}
    return feeds, initial_state(graph, {name: values[name] for name in graph.parameters})


def trained(graph: Graph, finished: Finished, steps: int = 4) -> dict:
    feeds, state = start(graph)
    runner = Runner(graph, emit(finished.graph).model.SerializeToString(), state, finished=finished, threads=1)
    for _ in range(steps):
        runner.step(feeds)
    return {**runner.state(), LOSS: runner.result(LOSS)}


def shuffled(graph: Graph, seed: int) -> Graph:
    """The same graph, its operations in another order in which they can run."""
    chance, waiting = random.Random(seed), list(graph.operations)
    made, order = {x for operation in waiting for x in operation.inputs if x.producer is None}, []
    while waiting:
        ready = [operation for operation in waiting if made.issuperset(operation.inputs)]
        operation = chance.choice(ready)
        waiting.remove(operation)
        order.append(operation)
        made.update(operation.outputs)
    graph.operations[:] = order
    return graph


def same(found: dict, expected: dict) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def twice(finished: Finished) -> Finished:
    """The same step with two sets of everything."""
    return Finished(finished.graph, finished.parts, frozenset())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", {**NETS, **MORE})
def test_one_set_is_as_good_as_two(name: str, recipe: str, fused: bool) -> None:
    graph = step_of(program({**NETS, **MORE}[name], RECIPES[recipe]))
    finished = finish(graph, LOSS, fused=fused)
    assert finished.overwritten
    same(trained(graph, finished), trained(graph, twice(finished)))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["conv_bn", "residual", "shared", "twice", "prelu_deconv", "sequence"])
def test_any_order_is_as_good(name: str, seed: int, fused: bool) -> None:
    graph = step_of(program({**NETS, **MORE}[name]))
    expected = trained(graph, twice(finish(graph, LOSS, fused=fused)))
    finished = finish(graph, LOSS, fused=fused)
    shuffled(finished.graph, seed)
    same(trained(graph, finished), expected)


def test_without_edges_an_order_spoils_it() -> None:
    """What the tests above would find."""
    graph = step_of(program(MORE["twice"]))
    expected = trained(graph, twice(Finished(graph, {}, frozenset())))
    spoiled = []
    for seed in range(8):
        careless = Finished(shuffled(step_of(program(MORE["twice"])), seed), {}, frozenset(graph.state))
        found = trained(graph, careless)
        spoiled.append(any(not np.array_equal(found[name], expected[name]) for name in expected))
    assert any(spoiled)


def test_edges_keep_no_result_of_the_forward_pass() -> None:
    """The output of the net, which is transposed, lies between its products and the updates."""
    graph = in_place.in_place(step_of(program(MORE["sequence"])), LOSS).graph
    ops = [type(each.op).__name__ for each in graph.operations]
    forward = {y for each in graph.operations[: ops.index("LogSoftmax")] for y in each.outputs}
    edges = [each for each in graph.operations if isinstance(each.op, Slice)]
    assert edges
    assert forward.isdisjoint(x for each in edges for x in each.inputs)


@pytest.mark.parametrize("name", {**NETS, **MORE})
def test_slabs_compute_the_same_but_for_rounding(name: str) -> None:
    graph = step_of(program({**NETS, **MORE}[name]))
    found, expected = trained(graph, finish(graph, LOSS)), trained(graph, Finished(graph, {}, frozenset()))
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-3, atol=1e-5, err_msg=key)


def test_large_dense_weights_come_in_slabs() -> None:
    parts = finish(step_of(program(MORE["twice"])), LOSS).parts
    assert parts["dense1.weight"] == [f"dense1.weight/{i}" for i in range(4)]
    assert parts["dense1.weight.velocity"] == [f"dense1.weight/{i}.velocity" for i in range(4)]
    assert "dense3.weight" not in parts


@pytest.mark.parametrize("recipe", ["clip", "momentum"])
def test_a_weight_that_is_used_otherwise_stays_whole(recipe: str) -> None:
    """The norm of all gradients reads each of them whole."""
    found = read(program(MORE["twice"], RECIPES[recipe]))
    parts = split_dense_rows.split_dense_rows(portable(training_step(found.net, found))).parts
    assert bool(parts) == (recipe == "momentum")


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_step_whose_loss_is_not_finite_changes_nothing(poison: float) -> None:
    graph = step_of(program(MORE["twice"]))
    finished = finish(graph, LOSS)
    feeds, state = start(graph)
    runner = Runner(graph, emit(finished.graph).model.SerializeToString(), state, finished=finished, threads=1)
    runner.step(feeds)
    before = runner.state()
    runner.step({**feeds, "x": np.full_like(feeds["x"], poison)})
    assert not np.isfinite(runner.result(LOSS))
    same(runner.before(), before)
    same(runner.state(), before)
    runner.step(feeds)
    assert np.isfinite(runner.result(LOSS))
    assert runner.state()["step"] == 2
