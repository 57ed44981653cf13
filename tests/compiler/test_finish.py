"""The last passes together: what our session runs computes what the portable step does."""

from __future__ import annotations

import numpy as np
import pytest

from netdsl.ir.graph import LOSS
from netdsl.ops.arithmetic import Add
from netdsl.passes.finish import binary_sums, finish
from tests.compiler.test_in_place import RECIPES, program
from tests.train.test_step import NETS, Doubles, feeds_of, step_of


@pytest.mark.parametrize("name", NETS)
def test_a_finished_step_computes_the_same(name: str) -> None:
    graph = step_of(program(NETS[name], RECIPES["momentum"]))
    feeds = feeds_of(graph)
    expected, found = Doubles(graph)(feeds), Doubles(finish(graph, LOSS).graph)(feeds)
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-12, err_msg=key)


def test_sums_are_of_two() -> None:
    graph = step_of(program(NETS["dense"], RECIPES["momentum"]))
    assert max(len(each.inputs) for each in graph.operations if isinstance(each.op, Add)) == 3
    assert {len(each.inputs) for each in binary_sums(graph).operations if isinstance(each.op, Add)} == {2}
