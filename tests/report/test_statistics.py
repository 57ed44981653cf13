"""Statistics that are gathered in parts, compared with NumPy's of the whole."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from netdsl.report.statistics import BINS, BLOCK, Histogram, Statistics, histogram_text

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def in_parts(array: np.ndarray, cuts: list[int], **bounds: float) -> Statistics:
    stats = Statistics(**bounds)
    for part in np.split(array, sorted(cuts)):
        stats.add(part)
    return stats


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, (6, 3, 4), elements=FLOATS), st.lists(st.integers(0, 6), max_size=3))
def test_parts_are_merged(array: np.ndarray, cuts: list[int]) -> None:
    stats = in_parts(array, cuts)
    wide = array.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    assert (stats.nan, stats.infinite) == (np.isnan(wide).sum(), np.isinf(wide).sum())
    assert (stats.count, stats.size, stats.examples) == (finite.size, array.size, 6)
    assert stats.zeros == (wide == 0).sum()
    assert sum(stats.bins) == finite.size
    if finite.size:
        size = np.abs(finite).max() or 1.0
        assert (stats.low, stats.high) == (finite.min(), finite.max())
        assert abs(stats.mean - finite.mean()) <= 1e-12 * size
        assert abs(stats.deviation - finite.std()) <= 1e-7 * size
        assert abs(stats.norm - np.sqrt((finite**2).sum())) <= 1e-7 * size
    zeros = [bool((channel == 0).all()) for channel in wide.swapaxes(0, 1)]
    assert stats.zero_channels.tolist() == zeros
    assert stats.same == all(np.array_equal(one, array[0]) for one in array)


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_large_arrays_in_blocks(shift: float) -> None:
    array = (np.random.default_rng(0).standard_normal((2, 5, BLOCK // 4)) + shift).astype(np.float32)
    stats = in_parts(array, [1])
    wide = array.astype(np.float64)
    assert stats.mean == pytest.approx(wide.mean(), rel=1e-12, abs=1e-12)
    assert stats.deviation == pytest.approx(wide.std(), rel=1e-10)
    expected = np.histogram(wide, BINS)[0]
    assert np.abs(np.array(stats.bins) - expected).max() < 0.02 * array.size


def test_a_histogram_does_not_depend_on_the_order() -> None:
    values = np.random.default_rng(1).standard_cauchy(4000).astype(np.float32)
    found = []
    for order in (values, values[::-1], np.sort(values), np.sort(np.abs(values))[::-1] * np.sign(values)):
        histogram = Histogram()
        for part in np.split(order.astype(np.float64), 8):
            histogram.add(part, part.min(), part.max())
        found.append(histogram.counts(order.min(), order.max()))
    assert found[0] == found[1] == found[2]
    assert sum(found[0]) == values.size


@pytest.mark.parametrize("values", [[0.0], [1e-45, 3e38], [-3e38, 3e38], [1e30, 1e30], [5, 5 + 1e-6], [-0.0, 0.0]])
def test_histograms_of_extreme_ranges(values: list[float]) -> None:
    stats = Statistics()
    stats.add(np.array(values, np.float32)[:, None])
    assert sum(stats.bins) == len(values)
    assert len(histogram_text(stats.bins)) == BINS


def test_bounds_are_rounded_as_the_layer_computes_them() -> None:
    stats = Statistics(0.1, 0.7)
    stats.add(np.array([[0.1, 0.7, 0.4, nan, inf]], np.float32))
    assert (stats.saturated, stats.can_saturate, stats.nonfinite) == (2, True, 2)
    assert not Statistics().can_saturate


def test_examples_that_are_equal() -> None:
    one = np.arange(4, dtype=np.float32)[None]
    assert in_parts(np.repeat(one, 5, 0), [2]).same
    assert not in_parts(np.concatenate([one, one + 1]), [1]).same
    assert not in_parts(np.concatenate([one, one, one + 1]), []).same
    assert Statistics().same


def test_block_characters() -> None:
    assert histogram_text([0, 1, 8, 4, 0, 0, 0, 0]) == " ▁█▄    "
    assert histogram_text([0] * 8) == " " * 8
