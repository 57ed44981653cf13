"""Updates whose sums of multiples are fused compute what the step computes in double precision."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import NEXT, emit
from netdsl.base.shape import elements
from netdsl.ir.graph import LOSS, UPDATE, Graph, Origin
from netdsl.ops.arithmetic import Add, Mul
from netdsl.ops.scaled_sum import ScaledSum
from netdsl.ops.shaping import Reshape
from netdsl.passes import in_place
from netdsl.passes.blocked import lower_blocked
from netdsl.passes.finish import Finished, finish
from netdsl.passes.scaled_sums import scaled_sums
from netdsl.train import fused_ops as support
from netdsl.train import runner
from netdsl.train.runner import Choices, Runner, finish_step
from netdsl.train.step import training_step
from tests.compiler.test_in_place import RECIPES, program
from tests.train.test_step import Doubles, feeds_of, read, step_of

NET = "input x 3x6x6; conv 3x3 8; bn; relu; conv 3x3 8; relu; flatten; dense 12; relu; dense 3"
USED = {name: text for name, text in RECIPES.items() if name != "adam"} | {
    "average": "optimizer sgd lr 0.1 momentum 0.9; average 0.9"
}

pytestmark = pytest.mark.skipif(not support.are_supported(), reason="this onnxruntime has no FusedConv")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "MIN_ELEMENTS", 30)


def kinds(finished: Finished) -> Counter[type]:
    """The number of operations on weights by their class."""
    large = (each for each in finished.graph.operations if elements(each.outputs[0].shape) >= 30)
    return Counter(type(each.op) for each in large if each.origin and each.origin.phase == UPDATE)


@pytest.mark.parametrize("recipe", USED)
def test_a_fused_step_computes_the_same(recipe: str) -> None:
    graph = step_of(program(NET, USED[recipe]))
    values = feeds_of(graph)
    expected = Doubles(graph)(values)
    finished = finish(graph, LOSS, fused=True)
    assert kinds(finished)[ScaledSum] >= 2  # at least the dense weights
    given = {name: x.astype(x.dtype.str.replace("f8", "f4")) for name, x in values.items()}
    state = {name: given[name] for name in {**graph.parameters, **graph.state}}
    session = Runner(graph, emit(finished.graph).model.SerializeToString(), state, finished=finished)
    session.step({name: given[name] for name in graph.inputs})
    for name, array in session.state().items():
        np.testing.assert_allclose(array, expected[name + NEXT], rtol=1e-4, atol=1e-4, err_msg=name)


def test_updates_of_a_blocked_step_are_fused() -> None:
    found = read(program(NET))
    step = training_step(found.net, found)
    graph = lower_blocked(step, 8).graph
    assert kinds(finish(graph, LOSS, fused=True))[ScaledSum] == 8


def test_momentum_takes_four_operations_a_weight() -> None:
    finished = finish(step_of(program("input x 12; dense 20; relu; dense 3")), LOSS, fused=True)
    assert {name: x.before.shape for name, x in finished.graph.state.items() if name.startswith("dense1.w")} == {
        "dense1.weight": (1, 1, 240),
        "dense1.weight.velocity": (1, 1, 240),
    }
    made = [type(each.op) for each in finished.graph.operations if each.outputs[0].shape == (1, 1, 240)]
    assert Counter(made) == {Reshape: 1, ScaledSum: 2, Mul: 1, Add: 1}


def update_of(build: str) -> Graph:
    """A graph that updates a weight [4, 8] by a gradient, and also outputs the gradient in the first case."""
    graph = Graph("update")
    x, w = graph.input("x", (4, 8)), graph.state_input("w", (4, 8))
    with graph.owned(Origin(None, UPDATE)):
        g = ops.relu(x)
        if build == "read twice":
            graph.output("g", ops.exp(g))
        g = ops.add(g, ops.mul(w, 0.5))
        graph.update(w, ops.sub(w, ops.mul(g, graph.input("rate", ()))) if build != "swapped" else ops.sub(g, w))
    return graph


@pytest.mark.parametrize(("build", "count"), [("once", 2), ("read twice", 1), ("swapped", 0)])
def test_only_what_nothing_else_reads_is_overwritten(build: str, count: int) -> None:
    found = scaled_sums(update_of(build), ["w"])
    assert sum(isinstance(each.op, ScaledSum) for each in found.operations) == count
    assert found.state["w"].before.shape == ((1, 1, 32) if count else (4, 8))


def test_steps_are_not_fused_where_the_op_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = step_of(program(NET))
    monkeypatch.setattr(support, "emit", lambda _: 1 / 0)
    assert not support.are_supported.__wrapped__()
    assert ScaledSum in kinds(finish_step(graph, Choices("plain")))
    monkeypatch.setattr(runner, "are_supported", support.are_supported.__wrapped__)
    assert ScaledSum not in kinds(finish_step(graph, Choices("plain")))
