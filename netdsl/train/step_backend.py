"""Step backends: compute a training step in standard ops on plain arrays, or in onnxruntime's blocked layout.

`plain` runs everywhere. `nchwc` uses ops that are internal to onnxruntime, and only if both backends
agree on a small net. `auto` selects the faster one, as measured on this machine (`netdsl.train.tune`).
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.ir.graph import Graph
from netdsl.ops.base import known
from netdsl.ops.nchwc import reorder_input
from netdsl.passes.blocked import Lowered, lower_blocked
from netdsl.passes.gradient import gradients
from netdsl.passes.mixed import half_type
from netdsl.train.step import portable
from netdsl.train.tune import choose_backend, standard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.ir.graph import Value

STEP_BACKENDS = ("auto", "plain", "nchwc")

STORED = {"plain": "std", "nchwc": "blk"}
"""Names of step backends in files: checkpoints, `run.json` and the cache of measurements. Options accept them too."""


def current_name(name: str) -> str:
    """Return the name of a step backend, given the current or the stored one."""
    return {old: new for new, old in STORED.items()}.get(name, name)


def stored_name(name: str) -> str:
    """Return the name of a step backend in files."""
    return STORED.get(name, name)


PLAIN = {"lowering": "std"}
"""Choices of the backend `plain`, which has no others."""


class BlockedIsMissing(RuntimeWarning):
    """The blocked layout was requested, but does not work with this processor and onnxruntime."""


def lower_step(
    graph: Graph,
    step_backend: str = "auto",
    *,
    threads: int | None = None,
    choices: Mapping[str, Any] | None = None,
    shown: Callable[[int, int], None] | None = None,
) -> Lowered:
    """Lower a training step, macros included, to ops that onnxruntime supports.

    `choices` come from an earlier result and take precedence over `step_backend`: they reproduce the same graph on the
    same kind of machine. If the blocked layout does not work, the step is computed with `plain`; unless the backend is
    `auto`, there is a BlockedIsMissing warning, once per process. `shown` is for `choose_backend`.
    """
    chosen = select_backend(graph, step_backend, threads=threads, choices=choices, shown=shown)
    if current_name(chosen["lowering"]) == "plain":
        return standard(graph)
    return lower_blocked(graph, chosen["block"], chosen.get("recipes"))


def select_backend(
    graph: Graph,
    step_backend: str = "auto",
    *,
    threads: int | None = None,
    choices: Mapping[str, Any] | None = None,
    shown: Callable[[int, int], None] | None = None,
) -> Mapping[str, Any]:
    """Return the choices for `lower_step`, which has the arguments, with what works on this machine."""
    assert step_backend in STEP_BACKENDS, step_backend
    step_backend = current_name(choices["lowering"]) if choices else step_backend
    if step_backend == "plain" or graph.dtype != "f32" or half_type(graph):
        return PLAIN
    block = block_size()
    if block is None:
        if step_backend == "nchwc":
            _warn()
        return PLAIN
    found = choose_backend(graph, block, threads, shown) if step_backend == "auto" else choices or {}
    return PLAIN if found.get("lowering") == PLAIN["lowering"] else {**found, "lowering": "blk", "block": block}


@functools.cache
def _warn() -> None:
    text = "the blocked layout does not work with this onnxruntime on this processor; the step is computed with `plain`"
    warnings.warn(BlockedIsMissing(text), stacklevel=3)


@functools.cache
def block_size() -> int | None:
    """Return the number of channels per block, or None if the blocked layout fails or computes wrong results."""
    try:
        block = _measured_block()
        return block if block and _agrees(block) else None
    except Exception:  # internal ops of another version may raise anything
        return None


def _measured_block() -> int | None:
    """Return the block size, derived from the order in which ReorderInput puts 64 channels of two pixels."""
    graph = Graph("order")
    x = graph.input("x", (1, 64, 1, 2))
    graph.output("y", reorder_input(x, 64))
    (y,) = run_graph(graph, {"x": np.arange(128, dtype=np.float32).reshape(1, 64, 1, 2)})
    block = int(np.flatnonzero(y.reshape(-1) == 1)[0])  # the second pixel of the first channel
    return block if block in (4, 8, 16, 32) else None


def _agrees(block: int) -> bool:
    """Return whether the gradients of a net with every kind of kernel agree between both backends."""
    graph = _probe()
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(known(x.shape), np.float32) for name, x in graph.inputs.items()}
    expected = run_graph(portable(graph), feeds)
    found = run_graph(lower_blocked(graph, block).graph, feeds)
    return all(np.allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max()) for a, b in zip(expected, found, strict=True))


def _probe() -> Graph:
    graph = Graph("probe")

    def weight(*shape: int) -> Value:
        return graph.input(f"w{len(graph.inputs)}", shape)

    x = graph.input("x", (2, 3, 13, 13))
    y, _, _ = ops.batch_norm_training(ops.conv(x, weight(20, 3, 3, 3), pads=(1,) * 4), weight(20), weight(20))
    y = ops.max_pool(ops.relu(y), (3, 3), (2, 2), (1,) * 4)
    y = ops.conv(y, weight(36, 20, 3, 3), weight(36), strides=(2, 2), pads=(1,) * 4)
    z = ops.conv(y, weight(36, 1, 3, 3), pads=(1,) * 4, group=36)
    y = ops.conv(ops.mul(ops.add(ops.relu(z), y), weight(2, 36, 1, 1)), weight(18, 36, 1, 1), weight(18))
    y = ops.clip(ops.conv(ops.leaky_relu(y, 0.2), weight(18, 18, 1, 1), weight(18)), -0.5, 6.0)
    loss = ops.reduce_sum(ops.mul(y, y), (0, 1, 2, 3), keepdims=False)
    for name, dx in zip(graph.inputs, gradients(loss, [*graph.inputs.values()]), strict=True):
        assert dx is not None
        graph.output(f"d{name}", dx)
    return graph


def run_graph(graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
    """Return the outputs of a graph without parameters."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = emit(graph).model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))
