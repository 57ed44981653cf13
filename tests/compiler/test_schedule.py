"""The order of a step's operations: it computes the same, and keeps one gradient of a weight at a time."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl.base.shape import elements
from netdsl.ir.graph import LOSS, Graph, Value
from netdsl.passes import in_place
from netdsl.passes.schedule import reorder_updates
from tests.compiler.test_in_place import RECIPES, program, start
from tests.train.test_step import NETS, Doubles, feeds_of, step_of

DEEP = "input x 64; repeat 6 { dense 64; relu }; dense 3"


def most(graph: Graph) -> int:
    """The most elements that live at once, beside the state."""
    ends = {*graph.outputs.values(), *(state.after for state in graph.state.values())}
    last = {x: i for i, operation in enumerate(graph.operations) for x in (*operation.inputs, *operation.outputs)}
    live: dict[Value, int] = {}
    found = 0
    for i, operation in enumerate(graph.operations):
        live.update((y, elements(y.shape)) for y in operation.outputs if y not in ends)
        found = max(found, sum(live.values()))
        for x in {*operation.inputs, *operation.outputs}:
            if last[x] == i:
                live.pop(x, None)
    return found


@pytest.mark.parametrize("name", NETS)
def test_another_order_computes_the_same(name: str) -> None:
    graph = step_of(program(NETS[name]))
    feeds = feeds_of(graph)
    expected, found = Doubles(graph)(feeds), Doubles(reorder_updates(graph))(feeds)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


def test_one_gradient_is_kept_at_a_time() -> None:
    graph = step_of(program(DEEP, RECIPES["momentum"]))
    assert most(graph) > 6 * 64 * 64
    assert most(reorder_updates(graph)) < 5 * 64 * 64


@pytest.mark.parametrize("recipe", ["momentum", "adam"])
def test_no_update_in_place_waits_for_the_end(monkeypatch, recipe: str) -> None:
    """What it waits for, the loss and the weight's readers, is there when its gradient is."""
    monkeypatch.setattr(in_place, "MIN_ELEMENTS", 2)
    graph = reorder_updates(in_place.in_place(step_of(program(DEEP, RECIPES[recipe])), LOSS).graph)
    updates = [graph.operations.index(graph.state[f"dense{i}.weight"].after.producer) for i in range(1, 8)]
    back = max(i for i, each in enumerate(graph.operations) if each.origin and each.origin.name == "relu1")
    assert updates == sorted(updates, reverse=True)
    assert updates[1] < back < updates[0]


def test_clipping_needs_all_gradients_at_once() -> None:
    """Their norm is known after the last of them."""
    assert most(reorder_updates(step_of(program(DEEP, RECIPES["clip"])))) > 6 * 64 * 64


def test_the_state_keeps_its_order() -> None:
    graph = step_of(program(DEEP))
    assert list(reorder_updates(graph).state) == list(graph.state)
    assert start(graph)[1].keys() == start(reorder_updates(graph))[1].keys()
