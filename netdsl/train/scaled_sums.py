"""Test whether onnxruntime adds multiples in place, as the updates of a step do (`netdsl.passes.scaled_sums`)."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime

from netdsl.backend.emit import emit
from netdsl.ir.graph import Graph
from netdsl.ops.base import known
from netdsl.ops.scaled_sum import scaled_sum

COUNT = 1000
"""Elements of the vectors of the test, no multiple of the width of SIMD registers."""


@functools.cache
def are_supported() -> bool:
    """Return whether the CPU provider has the op, and computes the right sums when it overwrites the addend."""
    try:
        return _agrees()
    except Exception:  # internal ops of another version may raise anything
        return False


def _agrees() -> bool:
    graph = Graph("sum")
    x, z = graph.input("x", (1, 1, COUNT)), graph.input("z", (1, 1, COUNT))
    graph.output("y", scaled_sum(x, graph.input("a", (1, 1, 1)), z))
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(known(each.shape), np.float32) for name, each in graph.inputs.items()}
    expected = feeds["x"] * feeds["a"] + feeds["z"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = emit(graph).model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_ortvalue_output("y", values["z"])
    session.run_with_iobinding(binding)
    return np.allclose(feeds["z"], expected, rtol=1e-5, atol=1e-5)
