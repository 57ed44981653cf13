"""Draw a profile: a roofline chart of its rows beneath the speed of the machine, and a bar for the time of each.

Source: Williams, Waterman & Patterson (2009), "Roofline: an insightful visual performance model for multicore
architectures". A kernel that moves many bytes for each operation can be no faster than memory; the others are limited
by the processor.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape
from netdsl.profiling.text import profile_title, time_text
from netdsl.profiling.views import BETWEEN, rows
from netdsl.report.canvas import Canvas
from netdsl.report.comparison_chart import PALE, ChartAxis, inks_of, pale
from netdsl.report.drawing.metrics import shorten
from netdsl.report.drawing.shapes import Circle, Rectangle, Titled
from netdsl.report.theme import LIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.profiling.profile import Peaks, Profile
    from netdsl.profiling.views import Row
    from netdsl.report.theme import Theme

WIDTH, LEFT, RIGHT = 1000, 64, 24
TITLE = 64
"""Height of the title."""
CHART, BELOW = 400, 64
"""Heights of the chart, and of the labels below its axis."""
BAR, BARS = 24, 20
"""Height of a row below the chart, and maximum number of rows."""
TIME, BAR_WIDTH = 190, 270
"""Position and maximum width of a bar."""
MAX_RADIUS, MIN_RADIUS = 30, 8
"""Radii of the circle of a row that takes all of the time, and of the smallest that has room for its number."""
SMALL = 11


def roofline(profile: Profile, by: str, theme: Theme = LIGHT) -> Canvas:
    """Draw the rows of a view that take longest. Those with floating-point operations are circles in the chart, whose
    area is their share of the time, with the numbers of their bars. Without measured peaks, there are only bars."""
    found = rows(profile, by)[:BARS]
    inks = inks_of([_kind(row) for row in found], theme)
    chart = CHART + BELOW if profile.peaks and _points(found) else 0
    height = TITLE + chart + BAR * (len(found) + 1) + 16
    title = profile_title(profile)
    canvas = Canvas(WIDTH, height, title, theme)
    canvas.text(LEFT / 2, 24, shorten(title, 14, WIDTH - LEFT, bold=True), size=14, bold=True)
    about = "area of a circle: share of the time; numbers: the rows below"
    canvas.text(LEFT / 2, 46, about if chart else "time of a run", size=SMALL, faint=True)
    if profile.peaks and chart:
        _chart(canvas, found, profile.peaks, inks)
    _bars(canvas, profile, found, inks, TITLE + chart)
    return canvas


def _points(found: list[Row]) -> dict[Row, tuple[float, float]]:
    """Return the operations for each byte and in each second of the rows that have any."""
    return {row: (row.flops / row.moved, row.rate) for row in found if row.flops and row.moved and row.rate}


def _kind(row: Row) -> str:
    return row.place.kind if row.place else row.name


def _chart(canvas: Canvas, found: list[Row], peaks: Peaks, inks: Mapping[str, str]) -> None:
    theme, points = canvas.theme, _points(found)
    right, top, low = WIDTH - RIGHT, TITLE, TITLE + CHART
    ridge = peaks.flops / peaks.bandwidth
    intensities = [x for x, _ in points.values()]
    across = ChartAxis([*intensities, ridge / 4, ridge * 4], LEFT, right, room=MAX_RADIUS, is_log=True)
    rates = [rate / 1e9 for _, rate in points.values()]
    upward = ChartAxis([*rates, peaks.flops / 1e9, peaks.flops / 1e10], low, top, room=MAX_RADIUS, is_log=True)
    for value in upward.ticks(low, top):
        canvas.line([(LEFT, upward.at(value)), (right, upward.at(value))], theme.grid)
        canvas.text(LEFT - 8, upward.at(value), f"{value:g}", anchor="end")
    for value in across.ticks(LEFT, right):
        canvas.line([(across.at(value), top), (across.at(value), low)], theme.grid)
        canvas.text(across.at(value), low + 16, f"{value:g}", anchor="middle")
    canvas.line([(LEFT, top), (LEFT, low), (right, low)])
    canvas.text(16, (top + low) / 2, "GFLOP/s", anchor="middle", faint=True, turned=True)
    canvas.text((LEFT + right) / 2, low + 38, "operations for each byte of memory", anchor="middle", faint=True)
    _roofs(canvas, peaks, across, upward)
    for row in sorted(points, key=lambda row: -row.seconds):
        x, rate = points[row]
        place, ink = (across.at(x), upward.at(rate / 1e9)), inks[_kind(row)]
        radius = max(MIN_RADIUS, MAX_RADIUS * sqrt(row.share))
        circle = Circle(place, radius, fill=pale(ink, PALE, theme), edge=ink)
        canvas.add(Titled(_told(row), [circle]))
        canvas.text(*place, str(found.index(row) + 1), anchor="middle", size=SMALL)


def _roofs(canvas: Canvas, peaks: Peaks, across: ChartAxis, upward: ChartAxis) -> None:
    """Draw the limits that were measured: of memory, rising with the operations for each byte, and of the processor."""
    top, low, right = TITLE, TITLE + CHART, WIDTH - RIGHT
    ink, peak = canvas.theme.ink, peaks.flops / 1e9
    bend = across.at(peaks.flops / peaks.bandwidth), upward.at(peak)
    # On logarithmic axes, the limit of memory is straight; where it leaves the chart, it is cut.
    step = across.at(peaks.flops / peaks.bandwidth / 10) - bend[0], upward.at(peak / 10) - bend[1]
    end = min((LEFT - bend[0]) / step[0], (low - bend[1]) / step[1])
    canvas.line([(bend[0] + step[0] * end, bend[1] + step[1] * end), bend, (right, bend[1])], ink, 1.5)
    # Circles on the roof cover what is beside it, and none reaches above the chart.
    canvas.text(right, top - 8, f"{peak:,.0f} GFLOP/s", anchor="end", size=SMALL)
    middle = bend[0] + step[0] * end * 0.6, bend[1] + step[1] * end * 0.6
    canvas.text(middle[0] - 8, middle[1] - 8, f"{peaks.bandwidth / 1e9:,.1f} GB/s", anchor="end", size=SMALL)


def _bars(canvas: Canvas, profile: Profile, found: list[Row], inks: Mapping[str, str], top: float) -> None:
    """Draw a bar for each row, and one for the time between operators."""
    between = profile.between * profile.scale
    most = max([between, *(row.seconds for row in found)]) or 1.0
    for at, row in enumerate(found):
        ink = inks[_kind(row)]
        _bar(canvas, top + BAR * (at + 0.5), str(at + 1), row.seconds, row.share, most, ink, _name(row, profile))
    share = between / (profile.seconds or 1)
    _bar(canvas, top + BAR * (len(found) + 0.5), "", between, share, most, canvas.theme.faint, BETWEEN)


def _bar(canvas: Canvas, y: float, number: str, seconds: float, share: float, most: float, ink: str, name: str) -> None:
    canvas.text(LEFT / 2 + 8, y, number, anchor="end", size=SMALL)
    canvas.text(LEFT + 60, y, time_text(seconds), anchor="end", size=SMALL)
    canvas.text(LEFT + 110, y, f"{100 * share:.1f} %", anchor="end", size=SMALL)
    width = max(1.0, BAR_WIDTH * seconds / most)
    canvas.add(Rectangle((TIME, y - 7), width, 14, fill=pale(ink, PALE, canvas.theme), edge=ink))
    room = WIDTH - RIGHT - (TIME + BAR_WIDTH + 12)
    canvas.text(TIME + BAR_WIDTH + 12, y, shorten(name, SMALL, room), size=SMALL)


def _name(row: Row, profile: Profile) -> str:
    """Return the line of the source, or the name of a row, and how often it occurs."""
    place = row.place
    times = f"  {row.count}×" if row.count > 1 else ""
    if place and place.line and row.name == f"{place.file}:{place.line}" and place.file in profile.sources:
        return escape(f"{place.line}  {profile.sources[place.file].line(place.line).strip()}{times}")
    return escape(f"{row.name}{times}")


def _told(row: Row) -> str:
    """Return the tooltip of a circle."""
    words = [row.name, time_text(row.seconds), f"{100 * row.share:.1f} %"]
    words += [f"{row.rate / 1e9:,.1f} GFLOP/s"] if row.rate else []
    words += [format_shape(shape) for shape in row.shapes[:1] if shape]
    return escape(", ".join(words))
