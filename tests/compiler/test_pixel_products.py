"""Convolutions of single pixels as products of matrices."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.ir.graph import Graph
from netdsl.ops.convolution import Conv
from netdsl.ops.linear import Gemm
from netdsl.passes.gradient import gradients
from netdsl.passes.pixel_products import pixel_products
from netdsl.train.step import portable, training_step
from tests.support.exact import evaluator
from tests.train.test_step import TRAIN, read

CASES = {
    "a bias": (((3, 4, 1, 1), (5, 4, 1, 1), (5,)), {}, True),
    "no bias": (((3, 4, 1, 1), (5, 4, 1, 1)), {}, True),
    "strides": (((3, 4, 1, 1), (5, 4, 1, 1)), {"strides": (2, 2)}, True),
    "one axis": (((3, 4, 1), (5, 4, 1), (5,)), {}, True),
    "three axes": (((3, 4, 1, 1, 1), (5, 4, 1, 1, 1)), {}, True),
    "pads": (((3, 4, 1, 1), (5, 4, 1, 1)), {"pads": (1, 1, 1, 1)}, False),
    "groups": (((3, 4, 1, 1), (6, 2, 1, 1)), {"group": 2}, False),
    "a kernel": (((3, 4, 2, 2), (5, 4, 2, 2)), {}, False),
    "an image": (((3, 4, 2, 1), (5, 4, 1, 1)), {}, False),
}


@pytest.mark.parametrize("name", CASES)
def test_products_and_their_gradients_are_those_of_the_convolution(name: str) -> None:
    shapes, attributes, is_product = CASES[name]
    graph = Graph("case")
    xs = [graph.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    graph.output("y", ops.conv(*xs, **attributes))
    changed = pixel_products(graph)
    assert Counter(type(each.op) for each in changed.operations)[Gemm if is_product else Conv] == 1
    random = np.random.default_rng(0)
    feeds = {x.name: random.standard_normal(x.shape) for x in xs}
    expected, found = (_gradients(each, feeds) for each in (graph, changed))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def _gradients(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The result, and the gradients of half the sum of its squares."""
    y = graph.outputs["y"]
    loss = ops.mul(ops.reduce_sum(ops.mul(y, y), range(len(y.shape)), keepdims=False), 0.5)
    for name, dx in zip(graph.inputs, gradients(loss, [*graph.inputs.values()]), strict=True):
        graph.output(f"d{name}", dx)
    return evaluator(emit(portable(graph), float_type="f64").model).run(None, feeds)


def test_a_squeezed_step_multiplies() -> None:
    """Both convolutions after a global pool, and the gradients of both, are products."""
    squeezed = "mul { } { global_avgpool; conv 1x1 5; relu; conv 1x1 8; sigmoid }"
    found = read(f"net t {{ input x 3x4x4; conv 3x3 8; {squeezed}; flatten; dense 3 }}\n{TRAIN}")
    made = Counter(type(each.op).__name__ for each in training_step(found.net, found).operations)
    assert made["Gemm"] == 3 * 3
    assert made["Conv"] == made["ConvDw"] == 1
    assert made["ConvDx"] == 0
