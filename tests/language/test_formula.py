"""Counts with sizes in them: sums and products of formulas are those of the numbers that they stand for."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.size import Size
from netdsl.ir.formula import Count, Formula, Largest, element_count, largest

H, W = Size("H"), Size("W")
SIZES = st.sampled_from([1, 2, 3, 7, H, W, 2 * H, (H + 1) // 2, 4 * W + 2, H + W, (W + 3) // 4])
SHAPES = st.lists(SIZES, max_size=4).map(tuple)
VALUES = st.fixed_dictionaries({"H": st.integers(1, 50), "W": st.integers(1, 50)})


def value(figure: Count, sizes: dict[str, int]) -> int:
    return figure.value(sizes) if isinstance(figure, Formula) else figure


def known(shape: tuple, sizes: dict[str, int]) -> int:
    return prod(size if isinstance(size, int) else size.substitute({**sizes}) for size in shape)


@given(SHAPES, SHAPES, VALUES)
def test_formulas_count_what_they_stand_for(a: tuple, b: tuple, sizes: dict[str, int]) -> None:
    x, y = known(a, sizes), known(b, sizes)
    assert value(element_count(a), sizes) == x
    assert value(element_count(a) + element_count(b), sizes) == x + y
    assert value(element_count(a) - element_count(b), sizes) == x - y
    assert value(5 - element_count(a) * 3, sizes) == 5 - 3 * x
    assert value(element_count(a) * element_count(b), sizes) == x * y
    assert element_count(a) * element_count(b) == element_count((*a, *b)) == element_count((*b, *a))


@given(st.lists(SHAPES, min_size=1, max_size=6), VALUES)
def test_the_largest_is_among_what_is_kept(shapes: list[tuple], sizes: dict[str, int]) -> None:
    found = largest(map(element_count, shapes))
    kept = found.counts if isinstance(found, Largest) else (found,)
    assert max(value(each, sizes) for each in kept) == max(known(shape, sizes) for shape in shapes)


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (element_count((3, H, W)), "3*H*W"),
        (element_count((64, 2 * H, 4 * W)), "512*H*W"),
        (element_count((H, 4 * W + 2)), "2*H*(2*W + 1)"),
        (element_count((3, (H + 1) // 2)), "3*((H + 1)//2)"),
        (element_count((1000, H)) + 2000 + element_count((H, H)), "H*H + 1000*H + 2000"),
        (element_count((2, H)) - element_count((1, W)), "2*H - W"),
        (element_count((H,)) - element_count((H,)), "0"),
        (largest([element_count((3, H)), element_count((2, H)), element_count((W, 9)), 3]), "max(3*H, 9*W)"),
        (largest([element_count((3, H)), 4]), "max(3*H, 4)"),
        (largest([element_count((3, H)), element_count((2, H)), element_count((3, H)) + 4]), "3*H + 4"),
    ],
)
def test_text(figure: Count | Largest, text: str) -> None:
    assert str(figure) == text


def test_factors_take_separators() -> None:
    assert f"{element_count((1728, H, W)) * 1000 + 5000:,}" == "1,728,000*H*W + 5,000"
    assert f"{largest([element_count((1000, H)), element_count((2000, W))]):,}" == "max(1,000*H, 2,000*W)"
