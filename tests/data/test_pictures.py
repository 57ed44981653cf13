"""Pictures are read back from their SVG: what is written stands where the pixels and the axes say."""

from __future__ import annotations

import base64
import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from netdsl.report import confusion, filters
from netdsl.report.canvas import BASELINE, Canvas, encode_png
from netdsl.report.curves import draw_curves
from netdsl.report.drawing.metrics import text_width

SVG = "{http://www.w3.org/2000/svg}"


class Words:
    """A text of a picture: its box, and the middle of its line."""

    def __init__(self, found: ElementTree.Element) -> None:
        self.text = found.text or ""
        size = float(found.get("font-size", 0))
        self.bold = found.get("font-weight") is not None
        wide = text_width(self.text, size, bold=self.bold)
        self.turned = found.get("transform") is not None
        self.anchor = found.get("text-anchor", "")
        self.x = float(found.get("x", 0))
        self.left = self.x - wide * ("start", "middle", "end").index(self.anchor) / 2
        self.right = self.left + wide
        self.y = float(found.get("y", 0)) - BASELINE * size
        self.top, self.bottom = self.y - size / 2, self.y + size / 2
        if self.turned:  # upwards, around the place of its anchor
            assert found.get("transform") == f"rotate(-90 {self.x:g} {self.y:g})"
            low = self.y + wide * ("start", "middle", "end").index(self.anchor) / 2
            self.left, self.right, self.top, self.bottom = self.x - size / 2, self.x + size / 2, low - wide, low


class Picture:
    """What is on a picture."""

    def __init__(self, canvas: Canvas) -> None:
        root = ElementTree.fromstring(canvas.svg())
        self.width, self.height = float(root.get("width", 0)), float(root.get("height", 0))
        self.words = [Words(each) for each in root.iter(f"{SVG}text")]
        self.images = []
        for each in root.iter(f"{SVG}image"):
            data = base64.b64decode(each.get("href", "").partition("base64,")[2])
            place = (float(each.get("x", 0)), float(each.get("y", 0)))
            self.images.append((*place, np.asarray(Image.open(io.BytesIO(data)))))
        lines = [each.get("points", "").split() for each in root.iter(f"{SVG}polyline")]
        self.lines = [[tuple(map(float, point.split(","))) for point in line] for line in lines]
        self.dots = [(float(each.get("cx", 0)), float(each.get("cy", 0))) for each in root.iter(f"{SVG}circle")]

    def check(self) -> None:
        """All is inside, and no text hides another or a part of an image that it does not stand in."""
        for word in self.words:
            assert word.left >= -1, word.text
            assert word.right <= self.width + 1, word.text
            assert word.top >= -1, word.text
            assert word.bottom <= self.height + 1, word.text
        for at, one in enumerate(self.words):
            for other in self.words[at + 1 :]:
                apart = one.right <= other.left or other.right <= one.left
                assert apart or one.bottom <= other.top + 1 or other.bottom <= one.top + 1, (one.text, other.text)
        for x, y, pixels in self.images:
            assert x + pixels.shape[1] <= self.width
            assert y + pixels.shape[0] <= self.height


NAMES = ["ox", "a cat", "w", "hen"]


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_the_numbers_of_a_confusion_matrix_stand_in_their_cells(classes: int) -> None:
    counts = np.array([[90, 0, 3, 7], [1, 5, 0, 0], [0, 0, 0, 0], [20, 30, 0, 10]])[:classes, :classes]
    names = NAMES[:classes]
    found = Picture(confusion.draw_confusion("of a net", counts, names))
    found.check()
    ((left, top, pixels),) = found.images
    side = pixels.shape[0] / classes
    seen = np.zeros_like(counts)
    for word in found.words:
        if word.text.isdigit():
            row, column = (word.y - top) / side, (word.x - left) / side
            assert row % 1 == pytest.approx(0.5)
            assert column % 1 == pytest.approx(0.5)
            assert word.anchor == "middle"
            seen[int(row), int(column)] = int(word.text)
    np.testing.assert_array_equal(seen, counts)
    rows = {word.text: word.y for word in found.words if word.anchor == "end" and not word.turned}
    assert rows == pytest.approx({name: top + (at + 0.5) * side for at, name in enumerate(names)})
    middle = {name: left + (at + 0.5) * side for at, name in enumerate(names)}
    below = {word.text: word.x for word in found.words if word.top >= top + pixels.shape[0]}
    assert below == pytest.approx({**middle, "predicted class": left + pixels.shape[0] / 2})
    (title,) = [word for word in found.words if word.bold]
    assert title.text == "of a net"
    (aside,) = [word for word in found.words if word.turned and word.right < left]
    assert (aside.text, aside.y) == ("true class", pytest.approx(top + pixels.shape[0] / 2))


@pytest.mark.parametrize(
    ("classes", "names", "named"),
    [
        (2, "yes or no", 2),
        (10, "", 10),
        (10, "a name that is rather long and longer than that, and still longer: ", 10),
        (20, "class ", 20),
        (21, "", 21),
        (100, "kind of ", 100),
        (101, "", 6),
        (1000, "", 10),
        (1000, "n0", 10),
        (2500, "", 9),
    ],
)
def test_a_confusion_matrix_has_room_for_its_names(classes: int, names: str, named: int) -> None:
    counts = np.eye(classes, dtype=np.int64) * 123_456
    found = Picture(confusion.draw_confusion("n" * 60, counts, [f"{names}{at}" for at in range(classes)]))
    found.check()
    ((left, top, pixels),) = found.images
    assert len(pixels) <= 1300
    assert {"true class", "predicted class"} <= {word.text for word in found.words}
    beside = [word for word in found.words if word.anchor == "end" and not word.turned]
    below = [word for word in found.words if word.top >= top + len(pixels) and word.text != "predicted class"]
    assert len(beside) == len(below) == named
    assert [word.text for word in beside] == [word.text for word in below]
    side = len(pixels) / min(classes, len(pixels))
    for down, across in zip(beside, below, strict=True):
        assert down.y - top == pytest.approx(across.x - left, abs=0.1)
        assert round((down.y - top) / side - 0.5, 6) % 1 == 0
    assert (np.diagonal(pixels.sum(2)) == min(pixels.sum(2).reshape(-1))).all()


def test_a_turned_text_is_in_a_png_where_the_svg_has_it() -> None:
    for anchor in ("start", "middle", "end"):
        canvas = Canvas(40, 200, "")
        canvas.text(20, 100, "predicted", anchor=anchor, turned=True)
        (word,) = Picture(canvas).words
        dark = np.argwhere(np.asarray(Image.open(io.BytesIO(canvas.png())).convert("L")) < 128)
        (top, left), (bottom, right) = dark.min(0), dark.max(0)
        assert word.left <= left < right <= word.right + 1
        assert word.top - 1 <= top < bottom <= word.bottom + 1
        ends = {"start": bottom - 100, "middle": (top + bottom) / 2 - 100, "end": top - 100}
        assert abs(ends[anchor]) <= 3


@pytest.mark.parametrize("classes", [4, 30])
def test_the_darker_a_cell_the_more_of_its_row(classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (classes, classes)) * np.arange(1, classes + 1)[:, None]
    found = Picture(confusion.draw_confusion("n", counts, [f"{at}" for at in range(classes)]))
    found.check()
    ((_, _, pixels),) = found.images
    side = pixels.shape[0] // classes
    cells = pixels[side // 8 :: side, side // 8 :: side].astype(int).sum(2)[:classes, :classes]
    parts = counts / counts.sum(1, keepdims=True)
    order = np.argsort(parts, axis=None)
    assert (np.diff(cells.reshape(-1)[order]) <= 0).all()
    assert cells[parts == 0].min() == 3 * 255


@pytest.mark.parametrize("shape", [(5, 2, 3, 3), (40, 6, 5, 5), (7, 4, 2, 3), (200, 2, 1, 1)])
def test_the_numbers_of_filters_stand_beside_their_rows(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(1).standard_normal(shape)
    found = Picture(filters.draw_filters("conv1.weight", weight))
    found.check()
    ((left, top, pixels),) = found.images
    title, legend, *numbers = found.words
    assert (title.text, title.bold, legend.bold) == ("conv1.weight", True, False)
    assert title.bottom <= legend.top + 1
    assert legend.bottom <= top
    assert legend.text.startswith(f"{shape[0]} filters of {shape[2]}x{shape[3]}, a row each, {shape[1]} channels")
    for word in numbers:
        assert word.right <= left
        assert word.anchor == "end"
        assert (word.y - top) / pixels.shape[0] * shape[0] // 1 == int(word.text)
    assert numbers[0].text == "0"
    assert shape[0] > 50 or len(numbers) == shape[0]


@pytest.mark.parametrize("together", [False, True])
def test_filters_are_scaled_each_or_together(together: bool) -> None:
    weight = np.array([1.0, 0.5, -0.25, 0.125]).reshape(4, 1, 1, 1) * np.array([[1.0, -1.0, 0.5]])
    shades = filters.shaded(weight.astype(np.float32), together)[:, 0, 0].astype(float)
    expected = weight[:, 0, 0] / (1 if together else np.abs(weight).max(axis=(1, 2, 3)).reshape(4, 1))
    np.testing.assert_allclose((shades - 128) / 127, expected, atol=0.5 / 127)


CURVES: dict[str, list[tuple[float, float]]] = {
    "loss": [(0, 2.5), (1, 1.25), (2, 0.75), (3, 0.8), (4, 0.1)],
    "flat": [(0, 0.7), (5, 0.7)],
    "negative": [(10, -3.0), (20, 40.0), (30, 17.5)],
    "large": [(1, 1e5), (2, 3e5), (7, 2.2e5)],
    "tiny": [(0, 1e-7), (1, 4e-7)],
}


def scale(ticks: list[tuple[float, float]]) -> Any:
    """The number of a place, by the numbers that stand at an axis; they must be evenly spaced."""
    places, numbers = np.array(sorted(ticks)).T
    slope, start = np.polyfit(places, numbers, 1)
    span = np.abs(numbers).max()
    assert len(ticks) > 2
    np.testing.assert_allclose(slope * places + start, numbers, atol=1e-3 * span)
    return lambda place: slope * place + start


@pytest.mark.parametrize("name", CURVES)
def test_curves_stand_where_their_axes_say(name: str) -> None:
    points = CURVES[name]
    found = Picture(draw_curves("run", {name: {"a": points}}, "step"))
    found.check()
    axis = [
        word
        for word in found.words
        if word.text.replace("-", "").replace("+", "").replace("e", "").replace(".", "").isdigit()
    ]
    height = scale([(word.y, float(word.text)) for word in axis if word.anchor == "end"])
    across = scale([(word.x, float(word.text)) for word in axis if word.anchor == "middle"])
    low, high = min(y for _, y in points), max(y for _, y in points)
    room = {"abs": 0.01 * max(high - low, abs(high))}
    assert [across(x) for x, _ in found.dots] == pytest.approx([x for x, _ in points], abs=0.02 * points[-1][0])
    assert [height(y) for _, y in found.dots] == pytest.approx([y for _, y in points], **room)
    assert any(len(line) == len(points) and np.allclose(line, found.dots, atol=0.1) for line in found.lines)


def test_no_curve_leaves_axes_from_0_to_1() -> None:
    found = Picture(draw_curves("run", {"loss": {}}, "step"))
    found.check()
    for anchor in ("end", "middle"):
        numbers = [float(w.text) for w in found.words if w.anchor == anchor and w.text.replace(".", "").isdigit()]
        assert (min(numbers), max(numbers)) == (0, 1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 2, 3), (1, 300), (300, 1, 3)])
def test_pixels_are_read_back_by_pillow(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    image.load()
    assert image.mode == ("RGB" if len(shape) == 3 else "L")
    np.testing.assert_array_equal(np.asarray(image), pixels)
    assert image.text["Software"] == "made by netdsl"  # type: ignore[attr-defined]
