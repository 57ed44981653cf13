"""Pictures of curves: titles, legends and ticks have room, and what is drawn is what is there."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from netdsl.report.canvas import Canvas
from netdsl.report.curves import COLORS, WIDTH, draw_curves
from netdsl.report.drawing.metrics import text_width


def test_curves_have_axes_and_a_legend() -> None:
    points = [(step, 1 / step) for step in range(1, 5000)]
    text = draw_curves("run", {"loss": {"training": points, "validation": []}}, "step").svg().decode()
    assert ">training<" in text
    assert ">validation<" not in text
    assert ">5000<" in text
    longest = max(line.count(",") for line in text.splitlines() if "polyline" in line)
    assert 300 < longest <= 600
    assert "nan" not in draw_curves("run", {"loss": {"a": [(1, float("nan")), (2, 1.0)]}}, "step").svg().decode()


def texts(canvas: Canvas) -> list[tuple[float, float, float, str]]:
    """Left, right and height of each text."""
    found = []
    for each in ElementTree.fromstring(canvas.svg()).iter("{http://www.w3.org/2000/svg}text"):
        words = each.text or ""
        wide = text_width(words, float(each.get("font-size", 0)), bold=each.get("font-weight") is not None)
        left = float(each.get("x", 0)) - wide * ("start", "middle", "end").index(each.get("text-anchor", "")) / 2
        found.append((left, left + wide, float(each.get("y", 0)), words))
    return found


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("loss", ["training", "validation"]),
        ("the loss of the main output with label smoothing " * 2, ["training", "validation"]),
        ("loss", [f"the metric of class {k}" for k in range(12)]),
        ("l" * 200, ["W" * 100, "b"]),
        ("loss", []),
    ],
)
def test_a_legend_leaves_room_for_titles_and_names(title: str, names: list[str]) -> None:
    points = [(step, 1 / step) for step in range(1, 9)]
    canvas = draw_curves("run", {title: dict.fromkeys(names, points), "accuracy": {"training": points}}, "step")
    found = texts(canvas)
    assert {"accuracy", *(name for name in names if len(name) < 100)} <= {words for *_, words in found}
    for at, (left, right, y, words) in enumerate(found):
        assert 0 <= left < right <= WIDTH + 10, words
        assert not [other for a, b, height, other in found[at + 1 :] if abs(height - y) < 9 and left < b and a < right]


def test_curves_have_a_title_and_whole_epochs() -> None:
    points = [(k / 2, k) for k in range(1, 7)]
    canvas = draw_curves("net: cross_entropy", {"loss": {"training": points}}, "epoch", unit=1)
    found = texts(canvas)
    (title,) = [(left, right) for left, right, y, words in found if words == "net: cross_entropy" and y < 28]
    assert sum(title) == pytest.approx(WIDTH)
    axis = max(y for *_, y, words in found if words == "3")
    assert [words for *_, y, words in sorted(found) if y == axis] == ["0", "1", "2", "3"]
    long = texts(draw_curves("title " * 99, {"loss": {"training": points}}, "epoch"))
    assert all(0 <= left < right <= WIDTH for left, right, *_ in long)


def test_a_curve_is_broken_where_it_is_not_finite() -> None:
    nan, inf = float("nan"), float("inf")
    values = [1.0, 2.0, nan, 3.0, inf, 1.0, 2.0, 3.0]
    text = draw_curves("run", {"loss": {"empty": [(0, nan)], "a": [*enumerate(values)]}}, "step").svg().decode()
    curves = re.findall(f'points="([^"]*)" fill="none" stroke="{COLORS[1]}" stroke-width="2"', text)
    assert [len(points.split()) for points in curves] == [2, 3]
    assert text.count("<circle") == 6
    assert ">empty<" not in text


def test_more_curves_than_colors_are_dashed() -> None:
    text = draw_curves("run", {"loss": {f"c{k}": [(0, k), (1, k)] for k in range(12)}}, "step").svg().decode()
    looks = re.findall(r'stroke="(#\w+)" stroke-width="2"( stroke-dasharray="4 3")?', text)
    assert len(looks) == len({*looks}) == 12


@pytest.mark.parametrize(
    "values", [[0.7, 0.7], [0.0, 0.0], [0.0, 5e-324], [1e30, 1e30], [1234.5, 1234.6], [-1e-9, 1.0]]
)
def test_the_ticks_of_an_axis_are_different(values: list[float]) -> None:
    axis = [
        words for left, right, y, words in texts(draw_curves("r", {"l": {"a": [*enumerate(values)]}}, "")) if left < 60
    ]
    assert len(axis) == len({*axis}) > 3


def test_the_axis_of_zeros_has_no_negative_numbers() -> None:
    found = [words for *_, words in texts(draw_curves("dead", {"%": {"dead": [(1, 0.0), (2, 0.0)]}}, "layer", unit=1))]
    assert not [words for words in found if words.startswith("-")]
    assert "1" in found
