"""Trainings in one process, or in threads that stand in for several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.train.ranks import ALONE
from tests.support.thread_ranks import on_ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.train.loop import Trainer
    from netdsl.train.ranks import Ranks


def trained_on(size: int, trainer: Callable[[Ranks], Trainer]) -> tuple[Any, Any]:
    """Return the state and the figures after a training, which are the same on all ranks."""

    def run(ranks: Ranks) -> tuple[Any, Any]:
        made = trainer(ranks)
        made.run()
        return made.runner.state(), made.progress.history

    first, *others = on_ranks(size, run) if size > 1 else [run(ALONE)]
    for state, history in others:
        assert_same(state, first[0])
        assert history == first[1]
    return first


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
