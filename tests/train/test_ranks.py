"""The sums over shards and ranks, and what ranks tell each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.train.ranks import ALONE, RankFailed, Ranks, tree_sum
from tests.support.thread_ranks import on_ranks


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


def test_a_rank_alone_exchanges_with_itself_and_adds_nothing() -> None:
    buffer = np.arange(3, dtype=np.float32)
    ALONE.sum(buffer)
    assert (ALONE.exchange("a"), ALONE.broadcast("a"), buffer.tolist()) == (["a"], "a", [0, 1, 2])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_threads_stand_in_for_ranks(size: int) -> None:
    parts = np.random.default_rng(size).standard_normal((size, 7), np.float32)
    total = tree_sum([part.copy() for part in parts])

    def work(ranks: Ranks) -> tuple[list[int], int]:
        for _ in range(20):
            buffer = parts[ranks.rank].copy()
            ranks.sum(buffer)
            np.testing.assert_array_equal(buffer, total)
        return ranks.exchange(ranks.rank), ranks.broadcast(ranks.rank + 7)

    assert on_ranks(size, work) == [([*range(size)], 7)] * size


def test_the_error_of_one_thread_ends_the_others() -> None:
    failed = []

    def work(ranks: Ranks) -> None:
        if ranks.rank == 1:
            raise ValueError("full")
        try:
            ranks.exchange(0)
        except RankFailed:
            failed.append(ranks.rank)
            raise

    with pytest.raises(ValueError, match="full"):
        on_ranks(3, work)
    assert sorted(failed) == [0, 2]


def test_threads_that_make_different_calls_fail() -> None:
    def work(ranks: Ranks) -> None:
        ranks.exchange(0) if ranks.leads else ranks.sum(np.zeros(2, np.float32))

    with pytest.raises(AssertionError, match=r"\['exchange', 'sum of 2'\]"):
        on_ranks(2, work)
