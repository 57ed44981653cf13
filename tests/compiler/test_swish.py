"""The gradient of x s(x) takes fewer operations, and is the same."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl import ops
from netdsl.ir.graph import Graph, Value
from netdsl.ops.arithmetic import Add, Mul
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import prune
from netdsl.passes.swish import factored_gradients
from netdsl.train.step_backend import run_graph


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated(x: Value, z: Value, more: bool) -> Graph:
    """The gradient of the weighted sum of x s(z), and of another use of x if there is `more`."""
    graph, weights = x.graph, x.graph.input("w", (3, 4))
    y = ops.mul(x, ops.sigmoid(z))
    terms = [y, ops.tanh(x)] if more else [y]
    loss = ops.reduce_sum(ops.mul(ops.add(*terms) if more else y, weights), (0, 1), keepdims=False)
    (dx,) = gradients(loss, [x])
    assert dx is not None
    graph.output("y", y)
    graph.output("dx", dx)
    return prune(graph)


@pytest.mark.parametrize("more", [False, True])
def test_a_swish(more: bool) -> None:
    graph = Graph("test")
    x = graph.input("x", (3, 4))
    before = gated(x, x, more)
    after = factored_gradients(before)
    assert count(after, Mul) == count(before, Mul) - 2
    assert count(after, Add) == count(before, Add) + more
    random = np.random.default_rng(0)
    x_, w = random.standard_normal((3, 4), np.float32), random.standard_normal((3, 4), np.float32)
    s = sigmoid(x_)
    expected = w * (s + x_ * s * (1 - s)) + (w * (1 - np.tanh(x_) ** 2) if more else 0)
    for graph in (before, after):
        np.testing.assert_allclose(run_graph(graph, {"x": x_, "w": w})[1], expected, rtol=1e-5, atol=1e-6)


def test_a_gate_of_something_else_is_left_alone() -> None:
    graph = Graph("test")
    x = graph.input("x", (3, 4))
    graph = gated(x, ops.tanh(x), more=False)
    assert len(factored_gradients(graph).operations) == len(graph.operations)


def count(graph: Graph, kind: type) -> int:
    return sum(isinstance(each.op, kind) for each in graph.operations)
