"""Symbolic sizes: whatever arithmetic makes of them, numbers in the places of their names give what numbers give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.size import Size, Undecidable, multiple_that_decides

H, W = Size("H"), Size("W")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("+"), st.integers(-20, 20)),
        st.tuples(st.just("*"), st.integers(-4, 4)),
        st.tuples(st.just("//"), st.integers(1, 12)),
        st.tuples(st.just("%"), st.integers(1, 12)),
        st.tuples(st.just("+size"), st.sampled_from("HW")),
        st.tuples(st.just("-size"), st.sampled_from("HW")),
    ),
    max_size=8,
)


def follow(start, steps, names):
    """The value of a chain of steps, over sizes or over numbers."""
    value = start
    for op, operand in steps:
        if op == "+":
            value = value + operand
        elif op == "*":
            value = value * operand
        elif op == "//":
            value = value // operand
        elif op == "%":
            value = value % operand
        else:
            value = value + names[operand] if op == "+size" else value - names[operand]
    return value


@given(STEPS, st.integers(1, 500), st.integers(1, 500))
def test_a_formula_computes_what_numbers_compute(steps, h, w):
    formula = follow(H, steps, {"H": H, "W": W})
    number = follow(h, steps, {"H": h, "W": w})
    assert (formula.substitute({"H": h, "W": w}) if isinstance(formula, Size) else formula) == number


@given(STEPS, st.integers(1, 6), st.integers(1, 500), st.integers(1, 500))
def test_a_formula_may_stand_in_the_place_of_a_name(steps, factor, h, w):
    formula = follow(H, steps, {"H": H, "W": W})
    inserted = formula.substitute({"H": H * factor}) if isinstance(formula, Size) else formula
    number = follow(h * factor, steps, {"H": h * factor, "W": w})
    assert (inserted.substitute({"H": h, "W": w}) if isinstance(inserted, Size) else inserted) == number


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(-3, 3), st.integers(1, 4)), min_size=1, max_size=6))
def test_windows_and_factors_in_two_ways_of_writing_are_one_size(layers):
    one, other = H, H
    for kernel, pad, stride in layers:
        one = (one + 2 * pad - kernel) // stride + 1
        other = (other + 2 * pad - kernel + stride) // stride
    assert one == other


EQUAL = [
    ("floors of floors fold", (H // 2) // 2, H // 4),
    ("with their offsets", ((H + 1) // 2 + 3) // 4, (H + 7) // 8),
    ("multiples leave a floor", (6 * H + 5) // 3, 2 * H + 1),
    ("and a rest stays", (6 * H + W) // 3, 2 * H + W // 3),
    ("common factors cancel", (4 * H + 2) // 6, (2 * H + 1) // 3),
    ("floors join what is added to them", ((H // 3) + W) // 2, (H + 3 * W) // 6),
    ("sums commute", H + W + 1, 1 + W + H),
    ("differences vanish", H + 3 - H, 3),
    ("halving and doubling an even size", (16 * H) // 2 * 2, 16 * H),
]


@pytest.mark.parametrize(("left", "right"), [e[1:] for e in EQUAL], ids=[e[0] for e in EQUAL])
def test_equal_sizes_have_one_form(left, right):
    assert left == right
    assert hash(left) == hash(right)


TEXTS = [
    (H, "H"),
    (16 * H, "16*H"),
    ((H + 1) // 2, "(H + 1)//2"),
    (H // 2 + 1, "H//2 + 1"),
    (2 * H // 3, "(2*H)//3"),
    (2 * (H // 3), "2*(H//3)"),
    (2 * H - W - 3, "2*H - W - 3"),
    (-H, "-H"),
    ((H // 2 + W) // 3, "(H + 2*W)//6"),
]


@pytest.mark.parametrize(("size", "text"), TEXTS, ids=[t for _, t in TEXTS])
def test_a_size_reads_as_one_would_write_it(size, text):
    assert str(size) == text


def test_what_has_no_answer_says_so():
    with pytest.raises(Undecidable):
        H * W
    with pytest.raises(Undecidable):
        H // 0


def test_the_multiple_that_would_decide_is_found():
    assert multiple_that_decides(H // 2 * 2, H) == ("H", 2)
    assert multiple_that_decides(H // 16 * 16, H) == ("H", 16)
    assert multiple_that_decides(H, H + 1) is None
    assert multiple_that_decides(H, W) is None


@given(STEPS)
def test_the_least_value_of_a_name_is_the_first_that_makes_a_size_positive(steps):
    size = follow(H, [step for step in steps if "W" not in step], {"H": H})
    least = size.least() if isinstance(size, Size) else None
    if least is not None:
        assert [follow(n, [step for step in steps if "W" not in step], {"H": n}) > 0 for n in range(1, 200)] == [
            n >= least for n in range(1, 200)
        ]


def test_a_size_that_does_not_grow_with_one_name_has_no_least_value():
    assert (H - 3).least() == 4
    assert (H // 2 * 3 - 7).least() == 6
    assert [size.least() for size in (5 - H, H + W, H - H // 2, H % 3)] == [None] * 4
