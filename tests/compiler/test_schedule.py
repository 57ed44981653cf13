"""The order of a step's operations: it computes the same, and keeps one gradient of a weight at a time."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.ir.graph import LOSS, Graph, Value
from netdsl.ops.nchwc import ReorderOutput
from netdsl.passes import in_place
from netdsl.passes.blocked import lower_blocked
from netdsl.passes.recompute import Memory
from netdsl.passes.schedule import reorder_updates
from netdsl.train.step import training_step
from netdsl.train.step_backend import block_size
from tests.compiler.test_in_place import RECIPES, program, start
from tests.train.test_step import NETS, Doubles, feeds_of, read, step_of

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


def test_a_gradient_is_computed_before_what_is_added_to_it() -> None:
    graph = Graph("order")
    w, v, x = graph.state_input("w", (8, 8)), graph.state_input("w.velocity", (8, 8)), graph.input("x", (8, 8))
    decayed, kept = ops.mul(w, 0.1), ops.mul(v, 0.9)
    gradient = ops.matmul(ops.matmul(ops.matmul(x, x), x), x)
    velocity = ops.add(ops.add(gradient, decayed), kept)
    graph.update(w, ops.sub(w, ops.mul(velocity, 0.01)))
    graph.update(v, velocity)
    assert most(graph) == 4 * 64
    assert most(reorder_updates(graph)) == 3 * 64


def test_a_transposed_kernel_is_used_before_the_kernel_is_overwritten(monkeypatch) -> None:
    if (block := block_size()) is None:
        pytest.skip("onnxruntime has no blocked layout on this processor")
    monkeypatch.setattr(in_place, "MIN_ELEMENTS", 2)
    found = read(program("input x 16x6x6; repeat 3 { conv 3x3 64; relu }; dense 3"))
    lowered = lower_blocked(training_step(found.net, found), block).graph
    graph = reorder_updates(in_place.in_place(lowered, LOSS).graph)
    memory = Memory(graph)
    kernels = {
        life.uses[-1]: graph.state[operation.origin.name + ".weight"].after.producer
        for operation in graph.operations
        if isinstance(operation.op, ReorderOutput) and operation.origin and operation.outputs[0].shape[0] > 64
        for life in (memory.lives[operation.outputs[0]],)
    }
    assert len(kernels) == 2
    assert all(used < memory.position[update] for used, update in kernels.items() if update)


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
