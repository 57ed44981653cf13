"""Every layer as it is trained: the gradients to its weights and to its input, in double and in single precision."""

from __future__ import annotations

from functools import cache
from zlib import crc32

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import check, emit
from netdsl.lower import lower_training
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import expand_macros, prune
from tests.support.exact import evaluator
from tests.support.layer_cases import GROUPS
from tests.support.programs import flow

BATCH = 3
CASES = [
    (group, call)
    for group, calls in GROUPS.items()
    for call in calls
    if "?" not in group and ("dtype" not in group or "embedding" in call)
    if "argmax" not in call and "indices" not in call
]

NETS = {
    "all kinds of convolutions": (
        "x 2x9x8",
        "conv 3x3 6 stride 2; bn; relu; conv 3x3 6 groups 2 bias off; bn; relu6; dwconv 3x3 stride 2; gelu;"
        "conv 1x1 4; deconv 2x2 4 stride 2; maxpool 2x2; flatten; dense 3; log_softmax",
    ),
    "large maps": ("x 2x24x23", "conv 3x3 3; bn; tanh; bn affine off"),
    "residual": (
        "x 3x6x6",
        "conv 3x3 4; bn; relu; skip { conv 3x3 4; bn; relu; conv 3x3 4; bn }; relu; global_avgpool",
    ),
    "dense blocks": (
        "x 2x6x6",
        "concat { } { bn; relu; conv 3x3 3 }; concat { } { bn; conv 3x3 2 }; avgpool 2x2; lrn 3",
    ),
    # onnxruntime would let their statistics share memory, if it could.
    "normalised alike": (
        "x 4x3x3",
        "concat { bn eps 0.1 affine off } { bn affine off } { bn } { bn eps 0.1 }; conv 1x1 4; bn; tanh; bn affine off",
    ),
    "weights used again": ("x 5", "a: dense 5; tanh; reuse a; dropout 0.3; reuse a; softmax"),
}


def numbers(name, shape):
    """Variances are positive; no two numbers of one value are close."""
    rng = np.random.default_rng(crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 2, shape)
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count // 2 + 0.4) * max(0.01, 3 / count) + len(name) * 1e-4).reshape(shape)


@cache
def differentiated(given, statements):
    """The training graph of a net: its result, and the gradients of the sum of that times `r`."""
    graph = lower_training(flow(f"input {given}\n{statements}"), batch=BATCH, seed=3)
    (y,) = graph.outputs.values()
    loss = ops.reduce_sum(ops.mul(y, graph.input("r", y.shape)), range(len(y.shape)), keepdims=False)
    wanted = {x.name: x for x in [*graph.inputs.values(), *graph.parameters.values()] if x.dtype == "f32"}
    wanted = {name: x for name, x in wanted.items() if "running" not in name and name != "r"}
    for (name, x), dx in zip(wanted.items(), gradients(loss, list(wanted.values())), strict=True):
        graph.output(f"d {name}", ops.zeros(graph, x.shape) if dx is None else ops.identity(dx))
    return prune(expand_macros(graph))


@cache
def feeds(given, statements):
    graph = differentiated(given, statements)
    found = {}
    for x in [*graph.inputs.values(), *graph.parameters.values(), *(state.before for state in graph.state.values())]:
        if x.dtype == "f32":
            found[x.name] = numbers(x.name, x.shape)
        else:
            found[x.name] = (
                np.random.default_rng(1).integers(0, 20, x.shape).astype({"u32": "u4", "i64": "i8"}[x.dtype])
            )
    return found


def gradients_named(graph):
    return [name for name in graph.outputs if name.startswith("d ")]


@cache
def in_double_precision(given, statements):
    graph = differentiated(given, statements)
    run = evaluator(emit(graph, float_type="f64").model)
    names = gradients_named(graph)
    return run, dict(zip(names, run.run(names, feeds(given, statements)), strict=True))


@pytest.mark.parametrize(("given", "statements"), [*CASES, *NETS.values()])
def test_gradients_are_the_limits_of_differences(given, statements):
    fed, h = feeds(given, statements), 1e-6
    run, found = in_double_precision(given, statements)
    (y, *_) = differentiated(given, statements).outputs
    rng = np.random.default_rng(1)
    scale = max(np.linalg.norm(dx) for dx in found.values())
    for name, dx in found.items():
        x = name.removeprefix("d ")
        direction = rng.standard_normal(dx.shape)
        ahead, behind = (run.run([y], fed | {x: fed[x] + step * direction})[0] for step in (h, -h))
        difference = np.sum((ahead - behind) * fed["r"]) / (2 * h)
        bound = 1e-6 * scale * np.linalg.norm(direction) + 1e-9
        assert abs(difference - np.sum(dx * direction)) <= bound, (x, difference, np.sum(dx * direction))


@pytest.mark.parametrize(("given", "statements"), CASES)
def test_only_layers_that_say_so_stop_the_gradient(given, statements):
    _, found = in_double_precision(given, statements)
    dx = found.get(f"d {given.split()[0]}")
    nodes = flow(f"input {given}\n{statements}").nodes
    reads_input = any(node.inputs for node in nodes)  # `param` and `values` do not
    assert dx is None or dx.any() == (reads_input and all(node.layer.differentiable for node in nodes))


@pytest.mark.parametrize(("given", "statements"), [*CASES, *NETS.values()])
def test_gradients_in_single_precision(given, statements):
    from onnxruntime import InferenceSession

    graph = differentiated(given, statements)
    emitted = emit(graph)
    check(emitted)
    session = InferenceSession(emitted.model.SerializeToString(), providers=["CPUExecutionProvider"])
    fed = {k: v.astype("f4") if v.dtype == np.float64 else v for k, v in feeds(given, statements).items()}
    _, expected = in_double_precision(given, statements)
    scale = max(np.abs(dx).max() for dx in expected.values())
    for dx, exact in zip(session.run(list(expected), fed), expected.values(), strict=True):
        np.testing.assert_allclose(dx, exact, rtol=0, atol=1e-5 * scale)
