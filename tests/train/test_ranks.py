"""The sums over shards and ranks, and what ranks tell each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.user_error import UserError
from netdsl.data.errors import BadStream
from netdsl.train.ranks import ALONE, RankFailed, Ranks, RanksDiffer, check_agreement, tree_sum
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
    ALONE.fill(buffer)
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
        array = np.full((2, 3), ranks.rank + 5)
        ranks.fill(array)
        assert (array == 5).all()
        return ranks.exchange(ranks.rank), ranks.broadcast(ranks.rank + 7)

    assert on_ranks(size, work) == [([*range(size)], 7)] * size


@pytest.mark.parametrize("failing", [[0], [2], [1, 2], [0, 1, 2]])
def test_all_ranks_raise_the_error_of_the_first_that_fails(failing: list[int]) -> None:
    def work(ranks: Ranks) -> tuple[type[UserError], str, tuple[str, ...]]:
        error = BadStream(f"stream {ranks.rank} ends\tearly", "repeat it", details=["after 3"])
        with pytest.raises(RankFailed) as caught:
            ranks.fail(error) if ranks.rank in failing else ranks.exchange(0)
        found = caught.value.error
        assert str(found) == str(error).replace(error.message, found.message)
        return type(found), found.message.replace(ranks.name, f"{ranks.rank}"), found.helps

    first = failing[0]
    message = f"stream {first} ends\\tearly\nafter 3"
    for rank, (kind, found, helps) in enumerate(on_ranks(3, work)):
        assert (kind, helps) == (BadStream, ("repeat it",))
        assert (found == message) == (rank == first or first == 0)
        assert found.endswith(message)
        assert found.startswith(f"rank {first} (") or rank == first or first == 0


def test_a_rank_alone_raises_its_error() -> None:
    error = BadStream("the stream ends early")
    with pytest.raises(BadStream) as caught:
        ALONE.fail(error)
    assert caught.value is error


def test_ranks_learn_what_differs_between_them() -> None:
    def work(ranks: Ranks) -> None:
        digest = "0123456789abcdef0123456789abcdef"
        check_agreement(ranks, {"the version": "1.32.0", "the recipe": digest})
        check_agreement(ranks, {"the version": "1.31.0" if ranks.rank == 2 else "1.32.0", "the recipe": digest})

    with pytest.raises(
        RanksDiffer, match=r"rank 2 \(.*\) differs from rank 0 \(.*\) in the version: 1.31.0 instead of 1.32.0\n"
    ):
        on_ranks(3, work)


def test_a_digest_is_shown_in_part() -> None:
    with pytest.raises(RanksDiffer, match=r"differs from .* in the recipe: 11111111… instead of 00000000…"):
        on_ranks(2, lambda ranks: check_agreement(ranks, {"the recipe": str(ranks.rank) * 64}))


def test_a_value_that_a_rank_lacks_differs() -> None:
    with pytest.raises(RanksDiffer, match=r"differs from .* in the data `x`: none instead of abc"):
        on_ranks(2, lambda ranks: check_agreement(ranks, {"the data `x`": "abc"} if ranks.leads else {}))


def test_ranks_in_lockstep_cannot_tell_that_they_fail() -> None:
    def work(ranks: Ranks) -> list[bool]:
        found = [ranks.in_lockstep]
        with ranks.lockstep():
            found.append(ranks.in_lockstep)
        found.append(ranks.in_lockstep)
        with pytest.raises(RankFailed), ranks.lockstep():
            ranks.fail(BadStream("the data end")) if ranks.leads else ranks.exchange(0)
        found.append(ranks.in_lockstep)
        with pytest.raises(ZeroDivisionError), ranks.lockstep():
            raise ZeroDivisionError
        return [*found, ranks.in_lockstep]

    assert on_ranks(2, work) == [[False, True, False, False, True]] * 2


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
