"""The sums over shards and ranks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netdsl.train.ranks import tree_sum


@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_whole_subtrees_can_be_summed_first(level: int, groups: int, seed: int) -> None:
    each = 2**level
    parts = np.random.default_rng(seed).standard_normal((each * groups, 5), np.float32)
    whole = tree_sum([part.copy() for part in parts])
    grouped = tree_sum([tree_sum([part.copy() for part in group]) for group in np.split(parts, groups)])
    np.testing.assert_array_equal(whole, grouped)
    np.testing.assert_allclose(whole, parts.sum(0, dtype="f8"), rtol=1e-5, atol=1e-5)


def test_neighbors_are_added_first() -> None:
    parts = [np.array([value], np.float32) for value in (1e8, -1e8, 1.0, 1e-3, 5.0)]
    assert tree_sum(parts) == np.float32(1.0) + np.float32(1e-3) + np.float32(5.0)
