"""Sinking transpositions: the same results, with fewer of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdsl import ops
from netdsl.backend.compile import compile_to_bytes
from netdsl.base.shape import Size
from netdsl.ir.graph import Graph, Value
from netdsl.ops.shaping import Transpose
from netdsl.passes.sink_transposes import sink_transposes
from netdsl.train.step_backend import run_graph
from tests.compiler.test_in_place import program
from tests.support.programs import flow, net_of
from tests.train.test_step import step_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def transposes(graph: Graph) -> int:
    return sum(isinstance(operation.op, Transpose) for operation in graph.operations)


def last(x: Value, body: Callable[[Value], Value]) -> Value:
    """Apply a function of the last axis to the channels, as layers do."""
    rank = len(x.shape)
    y = body(ops.transpose(x, (0, *range(2, rank), 1)))
    return ops.transpose(y, (0, rank - 1, *range(1, rank - 1)))


class Weights:
    """Weights as inputs with fixed random values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[str, np.ndarray] = {}

    def __call__(self, *shape: int) -> Value:
        name = f"w{len(self.values)}"
        random = np.random.default_rng(len(self.values))
        self.values[name] = random.standard_normal(shape).astype(np.float32) / 4
        return self.graph.input(name, shape)


def block(x: Value, w: Weights, heads: int = 2) -> Value:
    """A Transformer's block on [N, D, L]."""
    _, d, length = x.shape
    assert isinstance(d, int)

    def linear(x: Value, units: int) -> Value:
        return last(x, lambda v: ops.add(ops.matmul(v, w(v.shape[2], units)), w(units)))

    def norm(x: Value) -> Value:
        return last(x, lambda v: ops.layer_norm(v, w(d), w(d)))

    def split(x: Value) -> Value:
        return ops.transpose(ops.reshape(x, (heads, d // heads, length)), (0, 1, 3, 2))

    qkv = linear(norm(x), 3 * d)
    q, k, v = (split(ops.slice(qkv, (1,), (i * d,), ((i + 1) * d,))) for i in range(3))
    scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))), 3)
    mixed = ops.reshape(ops.transpose(ops.matmul(scores, v), (0, 1, 3, 2)), (d, length))
    x = ops.add(x, linear(mixed, d))
    return ops.add(x, linear(ops.relu(linear(norm(x), 4 * d)), d))


@pytest.mark.parametrize("length", [5, Size("L")], ids=str)
def test_four_transpositions_are_left_of_a_transformer_block(length: int | Size) -> None:
    graph = Graph("vit")
    w = Weights(graph)
    x = graph.input("x", (Size("N"), 8, length))
    y = ops.add(x, w(8, 1))
    for _ in range(3):
        y = block(y, w)
    graph.output("y", y)
    sunk = sink_transposes(graph)
    assert transposes(graph) == 3 * 17
    assert transposes(sunk) == 3 * 4 + 2
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 8, 5)).astype(np.float32), **w.values}
    for expected, found in zip(run_graph(graph, feeds), run_graph(sunk, feeds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


BLOCKS = {
    "gpt": "skip { layernorm; linear 96; attention 4 causal on; linear 32 };"
    "skip { layernorm; linear 64; gelu; linear 32 }",
    "bert": "skip { linear 96; attention 4; linear 32 }; layernorm; skip { linear 64; gelu; linear 32 }; layernorm",
    "llama": "skip { rmsnorm; attention 4 { linear 32 } { linear 16 } { linear 16 }; linear 32 };"
    "skip { rmsnorm; mul { linear 64; silu } { linear 64 }; linear 32 }",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_onnxruntime_keeps_four_transpositions_of_a_compiled_block(block: str, tmp_path: Path) -> None:
    counts = []
    for depth in (1, 3):
        net = net_of(f"net n {{ input tokens 9 dtype i64; embedding 50 32; repeat {depth} {{ {block} }} }}")
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3  # it warns of a model that fits this machine alone
        onnxruntime.InferenceSession(compile_to_bytes(net), options, ["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath).graph
        counts.append(sum(node.op_type == "Transpose" for node in optimized.node))
    assert counts[1] - counts[0] == 2 * 4


def test_a_sequence_with_steps_first_is_mapped_as_it_is() -> None:
    """As a recurrent layer's result is by `linear`: the channels come first only at the end."""
    graph = Graph("recurrent")
    w = Weights(graph)
    steps = graph.input("x", (7, Size("N"), 8))
    graph.output("y", last(ops.transpose(steps, (1, 2, 0)), lambda v: ops.add(ops.matmul(v, w(8, 3)), w(3))))
    sunk = sink_transposes(graph)
    assert transposes(sunk) == 1
    x = np.random.default_rng(0).standard_normal((7, 2, 8)).astype(np.float32)
    (found,) = run_graph(sunk, {"x": x, **w.values})
    np.testing.assert_allclose(found, (x @ w.values["w0"] + w.values["w1"]).transpose(1, 2, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "permute [1, 0]; permute [1, 0]; output a",
        "permute [0, 1]; output a",
        "a: identity; permute [1, 0]; permute [1, 0]; output b; from a; output c",
        "relu; output a; permute [1, 0]; permute [1, 0]; output b",
    ],
)
def test_outputs_whose_transpositions_cancel_are_values_of_their_own(body: str) -> None:
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    session = onnxruntime.InferenceSession(compile_to_bytes(flow(f"input x 3x4; {body}")))
    for y in session.run(None, {"x": x}):
        np.testing.assert_array_equal(y, x)


def test_a_graph_without_gain_stays_itself() -> None:
    graph = Graph("shuffle")
    x = graph.input("x", (Size("N"), 6, 4, 4))
    y = ops.transpose(ops.reshape(ops.relu(x), (2, 3, 4, 4)), (0, 2, 1, 3, 4))
    graph.output("y", ops.reshape(y, (6, 4, 4)))
    assert sink_transposes(graph) is graph


def constant(x: Value, shape: tuple[int, ...]) -> Value:
    return ops.constant(x.graph, [0.5 + i % 3 for i in range(int(np.prod(shape)))], shape=shape)


def joined(x: Value, axis: int) -> Value:
    """Join an axis with the one before it."""
    before, size = x.shape[max(axis - 1, 0)], x.shape[axis]
    shape = (*x.shape[: axis - 1], before * size, *x.shape[axis + 1 :]) if axis else x.shape
    return ops.reshape(x, shape, batch=False)


def halved(x: Value, axis: int) -> Value:
    """Split an axis in two, if its size is even."""
    half, rest = divmod(x.shape[axis], 2)
    return x if rest else ops.reshape(x, (*x.shape[:axis], half, 2, *x.shape[axis + 1 :]), batch=False)


def rotated(x: Value, other: Value, axis: int) -> Value:
    half = x.shape[axis] // 2
    both = ops.concat([x, other], axis)
    return ops.slice(both, (axis,), (half,), (half + x.shape[axis],))


STEPS: list[Callable[[Value, Value, int], Value]] = [
    lambda x, _, axis: ops.transpose(x, (*range(axis, len(x.shape)), *range(axis))),
    lambda x, _, axis: ops.transpose(x, (*range(axis), *range(len(x.shape) - 1, axis - 1, -1))),
    lambda x, *_: ops.relu(x),
    lambda x, other, _: ops.add(x, other),
    lambda x, other, _: ops.add(x, other, x),
    lambda x, _, axis: ops.mul(x, constant(x, x.shape[axis:])),
    lambda x, _, axis: ops.sub(constant(x, tuple(1 if i == axis else n for i, n in enumerate(x.shape))), x),
    lambda x, other, _: ops.where(ops.greater(x, other), x, constant(x, x.shape[-1:])),
    lambda x, _, axis: ops.softmax(x, axis),
    rotated,
    lambda x, _, axis: ops.expand(ops.reduce_sum(x, (axis,)), x.shape),
    lambda x, _, axis: ops.reduce_mean(x, (axis,), keepdims=False) if len(x.shape) > 2 else x,
    lambda x, *_: ops.layer_norm(x, *[constant(x, x.shape[-1:])] * 2),
    lambda x, _, axis: ops.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]), batch=False) if len(x.shape) < 6 else x,
    lambda x, _, axis: joined(x, axis),
    lambda x, _, axis: halved(x, axis),
]


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """A graph of transpositions among ops of every rule."""
    graph = Graph("random")
    values = [graph.input("x", (2, 3, 4, 6)), graph.input("z", (2, 3, 4, 6))]
    values.append(ops.transpose(values[0], (0, 2, 3, 1)))
    for _ in range(draw(st.integers(2, 12))):
        x = draw(st.sampled_from(values))
        other = draw(st.sampled_from([v for v in values if v.shape == x.shape]))
        values.append(draw(st.sampled_from(STEPS))(x, other, draw(st.integers(0, len(x.shape) - 1))))
    kept = draw(st.lists(st.sampled_from(values[2:]), max_size=2, unique=True))
    for i, y in enumerate([values[-1], *kept]):
        graph.output(f"y{i}", ops.identity(y))
    return graph


@given(programs())
@settings(max_examples=60, deadline=None)
def test_any_graph_computes_the_same(graph: Graph) -> None:
    random = np.random.default_rng(1)
    feeds = {name: random.standard_normal(x.shape).astype(np.float32) for name, x in graph.inputs.items()}
    for expected, found in zip(run_graph(graph, feeds), run_graph(sink_transposes(graph), feeds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd lr 0.1", "sgd lr 0.1 momentum 0.9", "adam"])
def test_a_step_transposes_gradients_rather_than_weights(optimizer: str) -> None:
    """Unlike those of inference, weights of a step change: a runtime cannot transpose them once."""
    graph = step_of(program("input x 3x6x6; conv 3x3 8; flatten; dense 3", f"optimizer {optimizer}"))
    assert not {state.before for state in graph.state.values()} & {
        operation.inputs[0] for operation in graph.operations if isinstance(operation.op, Transpose)
    }
    made = [state.after.producer for state in graph.state.values()]
    assert not [each for each in made if each and isinstance(each.op, Transpose)]
