"""Edits are carried out, and never two at one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.text import Source, Span
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Edit

TEXT = "conv 3x3 64 stride 2"


def edits(source: Source, *changes: tuple[int, int, str]) -> list[Edit]:
    return [Edit(Span(source, start, end), text) for start, end, text in changes]


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ([], TEXT),
        ([(5, 8, "5x5")], "conv 5x5 64 stride 2"),
        ([(11, 20, "")], "conv 3x3 64"),
        ([(20, 20, " bias false"), (0, 4, "dwconv")], "dwconv 3x3 64 stride 2 bias false"),
        ([(5, 8, "64"), (9, 11, "3x3")], "conv 64 3x3 stride 2"),
        ([(5, 5, "a"), (5, 8, "X"), (5, 5, "b"), (8, 8, "c")], "conv abXc 64 stride 2"),
        ([(0, 20, "relu\n")], "relu\n"),
    ],
)
def test_every_edit_is_made(changes: list[tuple[int, int, str]], after: str) -> None:
    assert apply(TEXT, edits(Source("a.net", TEXT), *changes)) == after


@pytest.mark.parametrize("changes", [[(0, 4, "x"), (3, 5, "y")], [(0, 4, "x"), (2, 2, "y")], [(20, 21, "")]])
def test_edits_must_not_overlap(changes: list[tuple[int, int, str]]) -> None:
    with pytest.raises(AssertionError, match="overlaps"):
        apply(TEXT, edits(Source("a.net", TEXT), *changes))


@given(st.lists(st.tuples(st.text("ab\n"), st.text("cd"), st.text("ef"))), st.randoms())
def test_edits_in_any_order_give_the_joined_pieces(parts: list[tuple[str, str, str]], random: object) -> None:
    """Each part is text that stays, text that goes, and what comes in its place; `.` keeps the edits apart."""
    source = Source("a.net", "".join(f"{kept}.{old}" for kept, old, _ in parts))
    changes, at = [], 0
    for kept, old, new in parts:
        at += len(kept) + 1
        changes.append((at, at + len(old), new))
        at += len(old)
    random.shuffle(changes)  # type: ignore[attr-defined]
    assert apply(source.text, edits(source, *changes)) == "".join(f"{kept}.{new}" for kept, _, new in parts)
