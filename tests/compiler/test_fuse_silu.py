"""x sigmoid(x) in one pass: where steps have it, its numbers, and its test at run time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnxruntime
import pytest

from netdsl import ops
from netdsl.backend.emit import NEXT, emit
from netdsl.ir.graph import LOSS, Graph
from netdsl.ops.activations import Sigmoid
from netdsl.ops.quick_gelu import QuickGelu
from netdsl.passes.finish import finish
from netdsl.passes.fuse_silu import fuse_silu
from netdsl.passes.rewrite import expand_macros
from netdsl.train import fused_ops
from netdsl.train.runner import Runner
from tests.train.test_step import TRAIN, Doubles, feeds_of, step_of

STEP = f"net t {{ input x 3x6x6; conv 3x3 8; silu; conv 3x3 8; silu; flatten; dense 3 }}\n{TRAIN}"

needs_it = pytest.mark.skipif(not fused_ops.are_supported(), reason="this onnxruntime has no QuickGelu")


def kinds(graph: Graph) -> Counter[type]:
    return Counter(type(each.op) for each in graph.operations)


@needs_it
def test_a_fused_step_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.passes.finish.SHARED", 8)  # as if all values were large
    graph = step_of(STEP)
    values = feeds_of(graph)
    expected = Doubles(graph)(values)
    finished = finish(graph, LOSS, fused=True)
    assert kinds(finished.graph)[QuickGelu] == 2
    assert kinds(finished.graph)[Sigmoid] == 2  # of the gradients
    given = {name: x.astype(x.dtype.str.replace("f8", "f4")) for name, x in values.items()}
    state = {name: given[name] for name in {**graph.parameters, **graph.state}}
    runner = Runner(graph, emit(finished.graph).model.SerializeToString(), state, finished=finished)
    runner.step({name: given[name] for name in graph.inputs})
    for name, array in runner.state().items():
        np.testing.assert_allclose(array, expected[name + NEXT], rtol=1e-4, atol=1e-4, err_msg=name)


@needs_it
def test_all_of_the_domain() -> None:
    """The function tends to 0 on the left, where onnxruntime's sigmoid has a lower bound, and to x on the right."""
    graph = Graph("silu")
    graph.output("y", ops.silu_training(graph.input("x", (2001,))))
    fused = fuse_silu(expand_macros(graph))
    assert kinds(fused) == {QuickGelu: 1}
    x = np.linspace(-50, 50, 2001, dtype="f4")
    (y,) = onnxruntime.InferenceSession(emit(fused).model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(y, x / (1 + np.exp(-x.astype("f8"))), rtol=1e-5, atol=1e-5)


CASES = {
    "the other order": (lambda x: ops.mul(ops.sigmoid(x), x), 1),
    "of something else": (lambda x: ops.mul(ops.tanh(x), ops.sigmoid(x)), 0),
    "a sigmoid that is needed": (lambda x: ops.add(ops.mul(x, ops.sigmoid(x)), x.graph.operations[0].outputs[0]), 0),
    "a squared sigmoid": (lambda x: (lambda s: ops.mul(s, s))(ops.sigmoid(x)), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_fused(name: str) -> None:
    build, count = CASES[name]
    graph = Graph("case")
    graph.output("y", build(graph.input("x", (3, 4))))
    assert kinds(fuse_silu(graph))[QuickGelu] == count


def test_doubles_and_outputs_stay() -> None:
    graph = Graph("doubles")
    x = graph.input("x", (3,), "f64")
    graph.output("y", ops.mul(x, ops.sigmoid(x)))
    seen = graph.input("seen", (3,))
    s = ops.sigmoid(seen)
    graph.output("s", s)
    graph.output("z", ops.mul(seen, s))
    assert kinds(fuse_silu(graph))[QuickGelu] == 0


def test_a_wrong_result_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_ops, "quick_gelu", ops.relu)
    assert not fused_ops.are_supported.__wrapped__()
