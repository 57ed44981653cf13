"""Charts of a comparison: accuracy against operations, and depth by year; the area of a circle shows the parameters.

After Canziani, Paszke & Culurciello (2016), "An analysis of deep neural network models for practical applications",
figures 1 and 2.
"""

from __future__ import annotations

import re
from itertools import cycle, pairwise
from math import ceil, floor, log10, sqrt
from typing import TYPE_CHECKING

from netdsl.base.terminal import escape
from netdsl.report.canvas import FONT_SIZE, Canvas, Polyline
from netdsl.report.comparison_labels import CircleLabel, place_labels
from netdsl.report.drawing.metrics import short_count, shorten, text_width, tick_step
from netdsl.report.drawing.shapes import Circle, Titled
from netdsl.report.theme import LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.report.comparison import Compared
    from netdsl.report.theme import Theme

    Rows = Sequence[Compared]
    Inks = Mapping[str, str]
    Places = dict[Compared, tuple[float, float, float]]
    from collections.abc import Iterable, Mapping, Sequence

PALE = 0.72
"""Share of the paper's color in the fill of a circle."""
LABEL_SIZE = 11
"""Font size of labels."""
TOP, ROW, KEY, GAP = 12, 20, 18, 24
"""Space above the legend, height of a line, space before a text, and between two entries."""


def inks_of(names: Sequence[str], theme: Theme) -> dict[str, str]:
    """Return a color for each name, most frequent first."""
    known = sorted(dict.fromkeys(names), key=lambda name: (-names.count(name), name))
    return dict(zip(known, cycle(theme.palette), strict=False))


def pale(ink: str, share: float, theme: Theme) -> str:
    """Return a color mixed with a share of the paper's."""
    parts = [(int(ink[at : at + 2], 16), int(theme.paper[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (paper - part) * share):02x}" for part, paper in parts)


class Legend:
    """The legend of the colors, in lines of at most `width` pixels from `left` on; `height` includes the space
    above."""

    __slots__ = ("_entries", "height")

    def __init__(self, inks: Mapping[str, str], left: float, width: float) -> None:
        self._entries: list[tuple[float, float, str, str]] = []
        x, y = left, TOP + ROW / 2
        for name, ink in inks.items():
            text = shorten(escape(name), LABEL_SIZE, width - KEY)
            wide = KEY + text_width(text, LABEL_SIZE)
            if x > left and x + wide > left + width:
                x, y = left, y + ROW
            self._entries.append((x, y, text, ink))
            x += wide + GAP
        self.height = y + ROW / 2

    def draw(self, canvas: Canvas) -> None:
        for x, y, text, ink in self._entries:
            canvas.add(Circle((x + 6, y), 6, fill=pale(ink, PALE, canvas.theme), edge=ink))
            canvas.text(x + KEY, y, text, size=LABEL_SIZE)


LINEAR_TICKS = 7
"""Approximate number of ticks on a linear axis."""
FACTORS = ((1, (1, 1.5, 2, 3, 5, 7)), (3.5, (1, 2, 5)), (99, (1,)))
"""Multiples of powers of ten with a tick on a logarithmic axis, by the maximum number of decades."""
MIN_AXIS_EXTENT = 0.5
"""Minimum extent of an axis, in decades or values."""


class ChartAxis:
    """An axis from pixel `start` to pixel `end`, with `room` pixels left free at both ends."""

    __slots__ = ("_end", "_high", "_low", "_start", "is_log")

    def __init__(self, values: Iterable[float], start: float, end: float, *, room: float, is_log: bool = False) -> None:
        self.is_log = is_log
        scaled = [self._scaled(value) for value in values]
        self._low, self._high = min(scaled), max(scaled)
        lacking = max(0.0, MIN_AXIS_EXTENT - (self._high - self._low)) / 2
        self._low, self._high = self._low - lacking, self._high + lacking
        inward = room if end > start else -room
        self._start, self._end = start + inward, end - inward

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self._pixel(self._scaled(value))

    def ticks(self, start: float, end: float) -> list[float]:
        """Return round values between two pixels."""
        low, high = sorted((self._value(start), self._value(end)))
        if not self.is_log:
            step = tick_step(high - low, LINEAR_TICKS)
            return [step * k for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
        factors = next(factors for decades, factors in FACTORS if high - low <= decades)
        powers = range(floor(low), ceil(high) + 1)
        return [k * 10.0**power for power in powers for k in factors if low <= log10(k) + power <= high]

    def _scaled(self, value: float) -> float:
        return log10(value) if self.is_log else float(value)

    def _pixel(self, scaled: float) -> float:
        part = (scaled - self._low) / (self._high - self._low)
        return self._start + part * (self._end - self._start)

    def _value(self, pixel: float) -> float:
        part = (pixel - self._start) / (self._end - self._start)
        return self._low + part * (self._high - self._low)


CHART_WIDTH = 1200
LEFT, RIGHT = 64, 24
TITLE, BELOW, APART = 80, 46, 10
"""Heights of a panel's title, of the labels below its axis, and of the gap between panels."""
TALL, LOW, MANY = 700, 250, 12
"""Heights of a panel with more than `MANY` nets, and with fewer."""
MAX_RADIUS = 34
"""Radius of the largest circle in pixels."""
MIN_RADIUS = 1.5
"""Radius below which a circle gets a dot of this radius at its centre."""
LABEL_HEIGHT = 14
"""Height of a label's line."""
YEAR_WIDTH = 44
"""Minimum width of a year's column in pixels, if there is room: that of its label."""
NO_ERROR = "no published error"
DIGIT = re.compile(r"\d")


def accuracy_by_macs(rows: Rows, theme: Theme = LIGHT) -> Canvas:
    """Draw a panel for each data set, that of most nets first, and one for the weights of nets without a published
    error. Every row has a positive number of MACs.

    Colors distinguish protocols, whose errors are not directly comparable; lines connect the nets of a file.
    """
    published = [row for row in rows if row.top1 is not None]
    others = [row for row in rows if row.top1 is None]
    sets: dict[str, list[Compared]] = {}
    for row in published:
        sets.setdefault(_data_set(row), []).append(row)
    panels = sorted(sets.items(), key=lambda each: (-len(each[1]), each[0]))
    inks = inks_of([_protocol(row) for _, each in panels for row in each], theme)
    inks |= {NO_ERROR: theme.faint} if others else {}
    legend = Legend(inks, LEFT, CHART_WIDTH - RIGHT - LEFT)
    top = legend.height
    panels += [(NO_ERROR, others)] if others else []
    heights = [TALL if len(each) > MANY else LOW for _, each in panels]
    height = top + sum(TITLE + tall + BELOW + APART for tall in heights)
    words = "Published top-1 accuracy" if published else "Weights"
    canvas = Canvas(CHART_WIDTH, height, f"{words} against operations; circle area: number of weights", theme)
    legend.draw(canvas)
    for (name, each), tall in zip(panels, heights, strict=True):
        _panel(canvas, name, each, inks, top + TITLE, tall)
        top += TITLE + tall + BELOW + APART
    return canvas


def depth_by_year(rows: Rows, theme: Theme = LIGHT) -> Canvas:
    """Draw a lane for each file of nets below its years; years without a net are left out. Every row has a year.

    Colors distinguish the data sets of the published errors.
    """
    names = [_data_set(row) if row.top1 is not None else NO_ERROR for row in rows]
    inks = {
        **inks_of([name for name in names if name != NO_ERROR], theme),
        **({NO_ERROR: theme.faint} if NO_ERROR in names else {}),
    }
    legend = Legend(inks, LEFT, CHART_WIDTH - RIGHT - LEFT)
    top = legend.height + TITLE
    canvas = Canvas(CHART_WIDTH, top + TALL + BELOW, "Depth by year; circle area: number of weights", theme)
    legend.draw(canvas)
    middles, columns = _lanes(rows)
    area = _Area(canvas, "depth: the most layers with operations on one path", top, TALL)
    area.head(rows)
    depth = ChartAxis([max(1, row.depth) for row in rows], top + TALL, top, room=MAX_RADIUS + 10, is_log=True)
    area.levels(depth, "{:g}".format)
    for year, (start, end) in columns.items():
        canvas.line([(end, top), (end, top + TALL)], canvas.theme.grid)
        canvas.text((start + end) / 2, top + TALL + 16, str(year), anchor="middle")
    canvas.text((LEFT + CHART_WIDTH - RIGHT) / 2, top + TALL + 36, "year of the paper", anchor="middle", faint=True)
    places: Places = {row: (middles[row.year, row.file], depth.at(max(1, row.depth)), area.radius(row)) for row in rows}
    colors = {row: inks[name] for row, name in zip(rows, names, strict=True)}
    area.join(places, colors, lambda row: (row.year, row.file), lambda row: row.depth)
    area.circles(places, colors)
    area.label(_deepest(rows), places)
    return canvas


def _panel(canvas: Canvas, name: str, rows: Rows, inks: Inks, top: float, tall: float) -> None:
    """Draw accuracy, or the weights of nets without a published error, against operations."""
    by_weights = name == NO_ERROR
    area = _Area(canvas, f"{name}: {'weights' if by_weights else 'top-1 accuracy in percent'}", top, tall)
    area.head(rows)
    values = {row: max(1, row.params) if by_weights else _accuracy_of(row) for row in rows}
    up = ChartAxis(values.values(), top + tall, top, room=MAX_RADIUS + 10, is_log=by_weights)
    macs = ChartAxis([_macs(row) for row in rows], LEFT, CHART_WIDTH - RIGHT, room=MAX_RADIUS + 30, is_log=True)
    area.levels(up, (lambda value: short_count(round(value))) if by_weights else "{:g}".format)
    area.columns(macs, lambda value: short_count(round(value)), "multiply-accumulate operations for one example")
    places = {row: (macs.at(_macs(row)), up.at(values[row]), area.radius(row)) for row in rows}
    colors = {row: inks[name if by_weights else _protocol(row)] for row in rows}
    area.join(places, colors, lambda row: (row.file, row.protocol, DIGIT.sub("", row.name)), _macs)
    area.circles(places, colors)
    area.label({row: row.name for row in rows}, places)


class _Area:
    """What is drawn between a pair of axes, in this order: title and sizes, grid, lines, circles and labels."""

    def __init__(self, canvas: Canvas, title: str, top: float, tall: float) -> None:
        self._canvas = canvas
        self._top = top
        self._low = top + tall
        self._most = 1
        self._lines: list[tuple[tuple[float, float], tuple[float, float]]] = []
        self._title = title

    def head(self, rows: Rows) -> None:
        """Draw title and legend, and fix the scale of the circles: the most parameters get LARGEST."""
        self._most = max(1, *(row.params for row in rows))
        known = [10**power for power in range(len(str(self._most))) if self._radius(10**power) >= MIN_RADIUS]
        x, y = float(CHART_WIDTH - RIGHT), self._top - 18
        for count in reversed(known[-3:]):
            radius = self._radius(count)
            self._canvas.text(x, y, short_count(count), anchor="end", size=LABEL_SIZE, faint=True)
            x -= text_width(short_count(count), LABEL_SIZE) + 6 + radius
            self._canvas.add(Circle((x, self._top - 8 - radius), radius, fill="none", edge=self._canvas.theme.faint))
            x -= radius + 14
        self._canvas.text(x, y, "weights:", anchor="end", size=LABEL_SIZE, faint=True)
        room = x - text_width("weights:", LABEL_SIZE) - GAP - LEFT
        self._canvas.text(LEFT, y, shorten(escape(self._title), FONT_SIZE, room, bold=True), bold=True)

    def radius(self, row: Compared) -> float:
        return self._radius(row.params)

    def _radius(self, count: int) -> float:
        return MAX_RADIUS * sqrt(count / self._most)

    def levels(self, axis: ChartAxis, words: Callable[[float], str]) -> None:
        for value in axis.ticks(self._low, self._top):
            y = axis.at(value)
            self._canvas.line([(LEFT, y), (CHART_WIDTH - RIGHT, y)], self._canvas.theme.grid)
            self._canvas.text(LEFT - 8, y, words(value), anchor="end")
        self._canvas.line([(LEFT, self._top), (LEFT, self._low), (CHART_WIDTH - RIGHT, self._low)])

    def columns(self, axis: ChartAxis, words: Callable[[float], str], title: str) -> None:
        for value in axis.ticks(LEFT, CHART_WIDTH - RIGHT):
            x = axis.at(value)
            self._canvas.line([(x, self._top), (x, self._low)], self._canvas.theme.grid)
            self._canvas.text(x, self._low + 16, words(value), anchor="middle")
        self._canvas.text((LEFT + CHART_WIDTH - RIGHT) / 2, self._low + 36, title, anchor="middle", faint=True)

    def join(
        self,
        places: Places,
        colors: Mapping[Compared, str],
        family: Callable[[Compared], object],
        order: Callable[[Compared], float],
    ) -> None:
        """Draw a pale line through the nets of each family."""
        families: dict[object, list[Compared]] = {}
        for row in places:
            families.setdefault(family(row), []).append(row)
        for rows in families.values():
            if len(rows) > 1:
                points = [places[row][:2] for row in sorted(rows, key=order)]
                self._canvas.line(points, pale(colors[rows[0]], 0.5, self._canvas.theme), 1.5)
                self._lines += pairwise(points)

    def circles(self, places: Places, colors: Mapping[Compared, str]) -> None:
        """Draw small circles over large ones, of equal ones those with a color on top, and all outlines last."""
        theme = self._canvas.theme
        by_size = sorted(places.items(), key=lambda each: (-each[1][2], colors[each[0]] != theme.faint))
        for row, (x, y, radius) in by_size:
            circle = Circle((x, y), radius, fill=pale(colors[row], PALE, theme), edge=colors[row])
            self._canvas.add(Titled(_told(row), [circle]))
        for row, (x, y, radius) in by_size:
            if radius < MIN_RADIUS:
                self._canvas.dot(x, y, MIN_RADIUS, colors[row])
            else:
                self._canvas.add(Circle((x, y), radius, fill="none", edge=colors[row]))

    def label(self, names: Mapping[Compared, str], places: Places) -> None:
        """Label circles; a label without room becomes a tooltip only."""
        labels = []
        for row, name in names.items():
            text = escape(name)
            labels.append(CircleLabel(text, text_width(text, LABEL_SIZE), LABEL_HEIGHT, places[row]))
        room = (LEFT + 2, self._top, CHART_WIDTH - RIGHT, self._low - 2)
        place_labels(labels, list(places.values()), self._lines, room)
        for label in labels:
            if label.line is not None:
                self._canvas.add(Polyline(label.line, self._canvas.theme.faint, 0.8))
        for label in labels:
            if label.box is not None:
                left, top, right, low = label.box
                self._canvas.text((left + right) / 2, (top + low) / 2, label.text, anchor="middle", size=LABEL_SIZE)


def _lanes(rows: Rows) -> tuple[dict[tuple[int | None, str], float], dict[int | None, tuple[float, float]]]:
    """Return the middle of each lane by year and file, and the extent of each year's column."""
    years: dict[int | None, list[str]] = {}
    for row in rows:
        years.setdefault(row.year, [])
        if row.file not in years[row.year]:
            years[row.year].append(row.file)
    left, lanes = float(CHART_WIDTH - LEFT - RIGHT), sum(map(len, years.values()))
    narrowest = min(YEAR_WIDTH, left / len(years))
    for count in sorted(map(len, years.values())):
        if count * left < narrowest * lanes:
            left, lanes = left - narrowest, lanes - count
    middles, columns, x = {}, {}, float(LEFT)
    for year, files in years.items():
        size = max(narrowest, len(files) * left / max(1, lanes))
        columns[year] = x, x + size
        for at, file in enumerate(files):
            middles[year, file] = x + size * (at + 0.5) / len(files)
        x += size
    return middles, columns


def _deepest(rows: Rows) -> dict[Compared, str]:
    """Return the deepest net of each year and file, which represents the others."""
    lanes: dict[object, list[Compared]] = {}
    for row in rows:
        lanes.setdefault((row.year, row.file), []).append(row)
    return {
        max(each, key=lambda row: row.depth): each[0].name if len(each) == 1 else each[0].family
        for each in lanes.values()
    }


def _told(row: Compared) -> str:
    """Return the tooltip of a circle."""
    parts = [row.name, *([f"{row.year}"] if row.year is not None else [])]
    parts += [f"{row.params:,} weights", f"{row.macs:,} MACs", f"depth {row.depth}"]
    parts += [f"{name} error {error:.2f} %" for name, error in (("top-1", row.top1), ("top-5", row.top5)) if error]
    return escape(", ".join([*parts, *([row.protocol] if row.protocol else [])]))


def _data_set(row: Compared) -> str:
    """Return the first word of a protocol: `ImageNet`."""
    return ((row.protocol or "").split() or ["unknown protocol"])[0].rstrip(",")


def _protocol(row: Compared) -> str:
    return row.protocol or "unknown protocol"


def _accuracy_of(row: Compared) -> float:
    assert row.top1 is not None
    return 100 - row.top1


def _macs(row: Compared) -> int:
    assert isinstance(row.macs, int)
    return row.macs
