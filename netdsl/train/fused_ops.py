"""Test whether onnxruntime has the ops of its own that steps are finished with: it adds multiples in place
(`netdsl.passes.scaled_sums`), computes the sigmoid linear unit in one pass (`netdsl.passes.fuse_silu`), and adds and
activates in convolutions (`netdsl.passes.affine_convolutions`)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from netdsl.backend.emit import emit
from netdsl.ir.graph import Graph
from netdsl.ops.base import apply, known
from netdsl.ops.fused_conv import FusedConv
from netdsl.ops.quick_gelu import quick_gelu
from netdsl.ops.scaled_sum import scaled_sum

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.base.dtypes import Array

COUNT = 1000
"""Elements of the vectors of the test, no multiple of the width of SIMD registers."""


@functools.cache
def are_supported() -> bool:
    """Return whether the CPU provider has the ops and computes the right results, sums where it overwrites the
    addend."""
    try:
        return _adds() and _activates() and _convolves()
    except Exception:  # internal ops of another version may raise anything
        return False


def _adds() -> bool:
    graph = Graph("sum")
    x, z = graph.input("x", (1, 1, COUNT)), graph.input("z", (1, 1, COUNT))
    graph.output("y", scaled_sum(x, graph.input("a", (1, 1, 1)), z))
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(known(each.shape), np.float32) for name, each in graph.inputs.items()}
    expected = feeds["x"] * feeds["a"] + feeds["z"]
    _run(graph, feeds, feeds["z"])
    return np.allclose(feeds["z"], expected, rtol=1e-5, atol=1e-5)


def _activates() -> bool:
    graph = Graph("silu")
    graph.output("y", quick_gelu(graph.input("x", (COUNT,))))
    x = np.linspace(-120, 40, COUNT, dtype=np.float32)
    y = np.zeros_like(x)
    _run(graph, {"x": x}, y)
    return np.allclose(y, x / (1 + np.exp(-x.astype(np.float64))), rtol=1e-5, atol=1e-5)


def _convolves() -> bool:
    graph = Graph("affine")
    x, z = graph.input("x", (2, 3, 7, 9)), graph.input("z", (2, 3, 7, 9))
    op = FusedConv((1, 1), (0,) * 4, (1, 1), 3, bias=True, addend=True, activation="Relu")
    graph.output("y", apply(op, x, graph.input("w", (3, 1, 1, 1)), graph.input("b", (3,)), z))
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(known(each.shape), np.float32) for name, each in graph.inputs.items()}
    expected = np.maximum(feeds["x"] * feeds["w"][:, 0] + feeds["b"][:, None, None] + feeds["z"], 0)
    y = np.zeros_like(expected)
    _run(graph, feeds, y)
    return np.allclose(y, expected, rtol=1e-5, atol=1e-5)


def _run(graph: Graph, feeds: Mapping[str, Array], y: Array) -> None:
    """Run a graph whose output `y` is written to an array."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = emit(graph).model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(y))
    session.run_with_iobinding(binding)
