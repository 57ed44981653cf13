"""Masks of dropout and noise: as distributed as asked for, new ones at each step, none that tells of another."""

from __future__ import annotations

from functools import cache
from math import erf

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from netdsl import ops
from netdsl.backend.emit import check, emit
from netdsl.backend.serialize import to_bytes
from netdsl.ir.graph import Graph
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import prune

SHAPE = (16, 32, 16, 16)
COUNT = 16 * 32 * 16 * 16


def graph_of(p, key, shape=SHAPE, kept_axes=None):
    graph = Graph("dropout")
    x, step = graph.input("x", shape), graph.input("step", (), "u32")
    y = ops.dropout(x, p, key, step, kept_axes)
    loss = ops.reduce_sum(ops.mul(y, graph.input("r", shape)), range(len(shape)), keepdims=False)
    graph.output("y", y)
    graph.output("dx", gradients(loss, [x])[0])
    return prune(graph)


@cache
def session(p, key, kept_axes=None):
    from onnxruntime import InferenceSession

    emitted = emit(graph_of(p, key, kept_axes=kept_axes))
    check(emitted)
    return InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])


def mask(p=0.5, key=3, step=0, kept_axes=None):
    """What is kept."""
    ones = np.ones(SHAPE, np.float32)
    y, dx = session(p, key, kept_axes).run(None, {"x": ones, "r": ones, "step": np.array(step, np.uint32)})
    np.testing.assert_array_equal(y, dx)
    assert set(np.unique(y)) <= {np.float32(0), np.float32(1 / (1 - p))}
    return y != 0


def correlation(a, b):
    return abs(np.corrcoef(a.ravel(), b.ravel())[0, 1])


LIMIT = 5 / COUNT**0.5
"""Five standard deviations of a correlation between independent masks."""


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_as_many_are_dropped_as_was_asked(p):
    for step in (0, 1, 1000):
        for key in (0, 1):
            assert abs(mask(p, key, step).mean() - (1 - p)) < 5 * (p * (1 - p) / COUNT) ** 0.5


def test_a_mask_can_be_had_again():
    np.testing.assert_array_equal(mask(step=7), mask(step=7))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_of_steps_and_layers_are_independent(p):
    first = mask(p, 3, 7)
    for key, step in [(3, 8), (3, 9), (3, 7 + 2**16), (3, 2**31 + 7), (4, 7), (5, 6), (2, 8), (4, 6), (1000, 7)]:
        assert correlation(first, mask(p, key, step)) < LIMIT, (key, step)


def test_neighbors_are_independent():
    for step in range(4):
        flat = mask(step=step).ravel()
        for apart in (1, 2, 3, 16, 255, 256, 512, 8192):
            assert correlation(flat[apart:], flat[:-apart]) < 1.1 * LIMIT, (step, apart)


def test_no_mask_is_another_one_shifted():
    """By the correlation at all distances at once."""
    spectra = [np.fft.rfft(mask(key=key, step=step).ravel() - 0.5) for key in (0, 1) for step in range(6)]
    for i, a in enumerate(spectra):
        for b in spectra[:i]:
            assert np.abs(np.fft.irfft(a * b.conj(), COUNT)).max() / (COUNT / 4) < 7 / COUNT**0.5


def test_each_byte_of_neighbors_is_as_frequent_as_any():
    bytes_ = np.packbits(mask().ravel())
    found = np.bincount(bytes_, minlength=256)
    expected = len(bytes_) / 256
    assert ((found - expected) ** 2 / expected).sum() < 255 + 5 * (2 * 255) ** 0.5


def test_maps_are_dropped_whole():
    kept = mask(kept_axes=2)
    assert np.array_equal(kept, np.broadcast_to(kept[:, :, :1, :1], SHAPE))
    assert abs(kept[:, :, 0, 0].mean() - 0.5) < 5 * 0.5 / 512**0.5
    assert not np.array_equal(kept, mask(kept_axes=2, step=1))


def test_the_reference_draws_the_same():
    model = onnx.load_from_string(to_bytes(emit(graph_of(0.3, 11), float_type="f64"), ()))
    ones = np.ones(SHAPE)
    with np.errstate(over="ignore"):
        y, _ = ReferenceEvaluator(model).run(None, {"x": ones, "r": ones, "step": np.array(5, np.uint32)})
    np.testing.assert_array_equal(y != 0, mask(0.3, 11, 5))


def test_no_chance_is_no_operation():
    graph = Graph("dropout")
    x = graph.input("x", (2, 3))
    assert ops.dropout(x, 0.0, 1, graph.input("step", (), "u32")) is x
    assert not graph.operations


def test_whole_examples_are_dropped_independently():
    """3,200 draws of 16 examples: five standard deviations around p, and no two examples alike."""
    kept = np.stack([mask(0.3, step=step, kept_axes=1).reshape(16, -1) for step in range(200)])
    assert (kept == kept[..., :1]).all(), "an example is kept or dropped as a whole"
    assert abs(kept[..., 0].mean() - 0.7) < 5 * (0.21 / 3200) ** 0.5
    assert np.abs(np.corrcoef(kept[..., 0].T) - np.eye(16)).max() < 5 / 200**0.5


@cache
def noise_session(normal, key):
    from onnxruntime import InferenceSession

    graph = Graph("noise")
    x, step = graph.input("x", SHAPE), graph.input("step", (), "u32")
    graph.output("z", ops.noise(x, normal, key, step))
    emitted = emit(prune(graph))
    check(emitted)
    return InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])


def drawn(normal, key=3, step=0):
    runs = noise_session(normal, key)
    return runs.run(None, {"x": np.zeros(SHAPE, np.float32), "step": np.array(step, np.uint32)})[0]


@pytest.mark.parametrize(
    ("normal", "cumulative"),
    [(True, np.vectorize(lambda z: (1 + erf(z / 2**0.5)) / 2)), (False, lambda z: (z.astype("f8") + 1) / 2)],
)
def test_noise_has_its_distribution(normal, cumulative):
    """Kolmogorov and Smirnov's distance from the distribution, exceeded by one sample of 10,000 at 2.2 / sqrt(n)."""
    for key, step in [(0, 0), (3, 7), (2**32 - 1, 2**31)]:
        z = np.sort(drawn(normal, key, step).ravel())
        assert z.dtype == np.float32
        assert np.isfinite(z).all()
        assert np.abs(cumulative(z) - (np.arange(COUNT) + 0.5) / COUNT).max() < 2.2 / COUNT**0.5


@pytest.mark.parametrize("normal", [True, False])
def test_noise_of_steps_layers_and_neighbors_is_independent(normal):
    first = drawn(normal, 3, 7)
    np.testing.assert_array_equal(first, drawn(normal, 3, 7))
    for key, step in [(3, 8), (3, 2**31 + 7), (4, 7), (2, 8), (1000, 7), (3 ^ 0x9E3779B9, 7)]:
        assert correlation(first, drawn(normal, key, step)) < LIMIT, (key, step)
    flat = first.ravel()
    for apart in (1, 2, 3, 16, 256, 512):
        assert correlation(flat[apart:], flat[:-apart]) < LIMIT
        assert correlation(flat[apart:] ** 2, flat[:-apart] ** 2) < LIMIT
