"""Training on a part of a step's rows: each layer draws the noise that these rows have in a batch of the whole step."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from netdsl import ops
from netdsl.backend.emit import check, emit
from netdsl.backend.serialize import to_bytes
from netdsl.ir.graph import ROW, STEP, Graph
from netdsl.lower import lower_training
from netdsl.ops.random import Rows
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import expand_macros, prune
from tests.support.layer_cases import GROUPS
from tests.support.programs import flow, net_of

TOTAL, KEY, COUNT = 5, 3, 7
PARTS = (0, 3), (3, 4), (4, 5)

DRAWING = [
    ("x 2x3", "dropout 0.5"),
    ("x 4x2x3", "dropout 0.5 spatial on"),
    ("x 8", "skip { drop_path 0.5 }"),
    ("x 2x3", "noise normal 0.5"),
    ("x 2x3", "noise uniform"),
    ("x 4x6", "rnn 3 layers 3 dropout 0.5"),
    ("x 4x6", "lstm 3 layers 2 dropout 0.5 bidirectional on"),
    ("x 4x6", "gru 3 layers 2 dropout 0.5 last on"),
    ("x 12x5", "attention 2 dropout 0.5 causal on"),
    ("x 16x3x4", "attention 4 kv 2 dropout 0.5"),
    ("x 8x3", "attention 2 dropout 0.5 { linear 8 } { param [8, 4] } { param [8, 4] }"),
    ("x 8x3", "add { } { attention 2 dropout 0.5 { param [8, 3] } { param [8, 4] } { param [8, 4] } }"),
    ("x 8", "add { } { param [8]; dropout 0.5 }"),
    ("x 8", "dropout 0.5; dense 8; skip { drop_path 0.5; add { } { param [8]; noise normal } }"),
]
"""Calls of every layer that draws. Those behind a `param` draw once for all rows."""


def trained(given: str, statements: str, rows: tuple[int, int] | None = None) -> Graph:
    """Return the training graph of some rows of a step, or of all in one batch, with the gradients of sum(r y)."""
    net = flow(f"input {given}\n{statements}")
    batch, step_batch = (TOTAL, None) if rows is None else (rows[1] - rows[0], TOTAL)
    graph = lower_training(net, batch=batch, seed=KEY, step_batch=step_batch)
    (y,) = graph.outputs.values()
    loss = ops.reduce_sum(ops.mul(y, graph.input("r", y.shape)), range(len(y.shape)), keepdims=False)
    wanted = [graph.inputs["x"], *graph.parameters.values()]
    for x, dx in zip(wanted, gradients(loss, wanted), strict=True):
        if dx is not None:
            graph.output(f"d {x.name}", ops.identity(dx))
    return graph


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)


def run(graph: Graph, rows: tuple[int, int] = (0, TOTAL)) -> dict[str, np.ndarray]:
    from onnxruntime import InferenceSession

    graph = prune(expand_macros(graph))
    emitted = emit(graph)
    check(emitted)
    feeds = {name: numbers(name, (TOTAL, *x.shape[1:]))[slice(*rows)] for name, x in graph.inputs.items() if x.shape}
    feeds |= {name: numbers(name, x.shape) for name, x in graph.parameters.items()}
    feeds[STEP] = np.array(COUNT, np.uint32)
    if ROW in graph.inputs:
        feeds[ROW] = np.array(rows[0], np.uint32)
    model = InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])
    names = [each.name for each in model.get_inputs()]
    assert set(feeds) >= set(names)
    found = model.run([*graph.outputs], {name: feeds[name] for name in names})
    return dict(zip(graph.outputs, found, strict=True))


@pytest.mark.parametrize(("given", "statements"), DRAWING)
def test_parts_of_a_step_draw_the_noise_of_the_whole(given: str, statements: str) -> None:
    whole = run(trained(given, statements))
    parts = [run(trained(given, statements, rows), rows) for rows in PARTS]
    exact = not {"dense", "attention", "rnn", "lstm", "gru"} & set(statements.split())
    for name, expected in whole.items():
        by_example = not name.startswith("d ") or name == "d x"
        found = [part[name] for part in parts]
        joined = np.concatenate(found) if by_example else np.sum(found, 0)
        if exact and by_example:
            np.testing.assert_array_equal(joined, expected, err_msg=name)
        else:
            np.testing.assert_allclose(joined, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@cache
def draws(given: str, statements: str) -> bool:
    """Return whether a layer's result depends on the number of the step."""
    graph = lower_training(flow(f"input {given}\n{statements}"), batch=2, seed=0)
    step = graph.state[STEP]
    return sum(step.before in operation.inputs for operation in graph.operations) > 1


def test_whatever_draws_has_a_row_and_nothing_else() -> None:
    calls = [(given, call) for given, calls in GROUPS.items() if "?" not in given for call in calls] + DRAWING
    drawing = {(given, call) for given, call in calls if draws(given, call)}
    for given, call in calls:
        graph = lower_training(flow(f"input {given}\n{call}"), batch=2, seed=0, step_batch=4)
        once = call.startswith("add ")  # its noise, behind a `param`, is the same for each row
        assert (ROW in graph.inputs) == ((given, call) in drawing and not once), (given, call)
        assert ROW not in lower_training(flow(f"input {given}\n{call}"), batch=2, seed=0).inputs
    assert drawing >= set(DRAWING)


def hashed(x: np.ndarray, key: object = 0) -> np.ndarray:
    x = ((x ^ x >> 16) * np.uint32(0x7FEB352D)) ^ np.uint32(key)
    return (x ^ x >> 15) * np.uint32(0x846CA68B)


def drawn(index: np.ndarray, key: int) -> np.ndarray:
    """The numbers of these indices in step COUNT, as `ops.random` documents them."""
    start = np.array([(COUNT * 0x9E3779B9 + key * 0x85EBCA6B) % 2**32], np.uint32)
    first = hashed(start)
    first ^= first >> 16
    second = hashed(first + np.uint32(0x9E3779B9))
    second ^= second >> 16
    return hashed(index.astype(np.uint32) + first, second[0])


PLACES = [
    ((TOTAL, 4, 6), 0, None, 0),
    ((TOTAL, 4, 6), 0, 2, 0),
    ((TOTAL, 4, 6), 0, 1, 0),
    ((4, TOTAL, 6), 1, None, 0),
    ((2, 3, TOTAL), 2, None, 0),
    ((TOTAL, 4, 6), 0, None, 2**32 - 3),
]
"""Shapes, the axis of rows, and the axes kept; and the first row, whose indices wrap at 2^32."""


@pytest.mark.parametrize(("shape", "axis", "kept_axes", "offset"), PLACES)
def test_masks_are_the_hash_of_the_index_in_the_step(
    shape: tuple[int, ...], axis: int, kept_axes: int | None, offset: int
) -> None:
    each = shape if kept_axes is None else (*shape[:kept_axes], *(1 for _ in shape[kept_axes:]))
    inner = int(np.prod(each[axis + 1 :]))
    index = (np.arange(np.prod(each)) + offset * inner).reshape(each)
    expected = np.broadcast_to(drawn(index, KEY) >= 2**31, shape)
    for begin, end in PARTS:
        found = mask((*shape[:axis], end - begin, *shape[axis + 1 :]), kept_axes, axis, (offset + begin) % 2**32)
        np.testing.assert_array_equal(found, expected.take(range(begin, end), axis))
    if not offset:
        np.testing.assert_array_equal(mask(shape, kept_axes), expected)


def mask(shape: tuple[int, ...], kept_axes: int | None, axis: int = 0, first: int | None = None) -> np.ndarray:
    """Return what dropout of 0.5 keeps of these rows from `first` on, or of all rows of the step."""
    from onnxruntime import InferenceSession

    graph = Graph("mask")
    x, step, row = graph.input("x", shape), graph.input(STEP, (), "u32"), graph.input(ROW, (), "u32")
    rows = None if first is None else Rows(row, TOTAL)
    graph.output("y", ops.dropout(x, 0.5, KEY, step, kept_axes, rows, axis))
    model = InferenceSession(to_bytes(emit(graph), ()), providers=["CPUExecutionProvider"])
    scalars = {STEP: np.array(COUNT, np.uint32), ROW: np.array(first or 0, np.uint32)}
    return model.run(None, {"x": np.ones(shape, np.float32), **scalars})[0] != 0


def test_the_row_is_the_last_input_and_an_unsigned_scalar() -> None:
    graph = lower_training(net_of("net n { input x 3; dropout 0.5; dense 2 }"), batch=2, seed=0, step_batch=4)
    assert [*graph.inputs] == ["x", ROW]
    assert (graph.inputs[ROW].shape, graph.inputs[ROW].dtype) == ((), "u32")
