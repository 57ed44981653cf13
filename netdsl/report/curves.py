"""Training curves: loss and metrics over the steps, with axes, a grid and a legend."""

from __future__ import annotations

from itertools import groupby
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING

from netdsl.report.canvas import FONT_SIZE, Canvas
from netdsl.report.drawing.metrics import shorten, text_width, tick_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 300
HEAD, TITLE_SIZE = 28, 15
"""Height of the title and its font size."""
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 44, 44
"""Margins around the axes of a panel."""
ROW = 20
"""Height of a legend line that does not fit beside the title."""
KEY, APART = 22, 20
"""Width of the key before a curve's name, and gap between two entries."""

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colors that the color-blind can distinguish: Okabe & Ito (2008), Color universal design. Further curves are
dashed."""

VALIDATION = "validation_"
"""Prefix of the figures of validation data."""

MAX_POINTS = 600
"""Maximum number of points drawn per curve; more are averaged."""

CURVE_TICKS = 6
MAX_DOTS = 24
"""Maximum number of points of a curve that are drawn as dots."""


def draw_curves(title: str, panels: Mapping[str, Mapping[str, Points]], x_label: str, *, unit: float = 0) -> Canvas:
    """Draw panels one below the other. Each has curves by name, as points (x, y) with increasing x; a curve is
    interrupted where it is not finite. Ticks of x are at least `unit` apart."""
    made: list[_Panel] = []
    for name, curves in panels.items():
        made.append(_Panel(name, curves, made[-1].end if made else HEAD, unit))
    canvas = Canvas(WIDTH, (made[-1].end if made else HEAD) + 8, title)
    canvas.text(
        WIDTH / 2,
        HEAD / 2 + 4,
        shorten(title, TITLE_SIZE, WIDTH - 48, bold=True),
        anchor="middle",
        size=TITLE_SIZE,
        bold=True,
    )
    for panel in made:
        panel.grid(canvas)
        panel.draw(canvas)
        panel.legend(canvas)
        canvas.text((LEFT + WIDTH - RIGHT) / 2, panel.bottom + 34, x_label, anchor="middle", faint=True)
    return canvas


def draw_history(
    rows: Sequence[Mapping[str, float]], title: str, *, steps: Points = (), in_steps: bool = False
) -> Canvas:
    """Draw the loss and the metrics of a training from the rows of its epochs, the loss from that of `steps` if they
    are more. The axis has epochs, or with `in_steps` and before the end of the first epoch steps."""
    per_epoch = rows[-1]["step"] / rows[-1]["epoch"] if rows and not in_steps else 1
    names = dict.fromkeys(key.removeprefix(VALIDATION) for row in rows for key in row)
    panels: dict[str, dict[str, Points]] = {"loss": {}}
    for name in names:
        if name not in ("epoch", "step", "rate", "loss_scale", "skipped"):
            curves = {"training": name, "validation": VALIDATION + name}
            panels[name] = {
                key: [(row["step"] / per_epoch, row[column]) for row in rows if column in row]
                for key, column in curves.items()
            }
    if len(steps) > len(rows):
        panels["loss"]["training"] = [(step / per_epoch, loss) for step, loss in steps]
    return draw_curves(title, panels, "epoch" if rows and not in_steps else "step", unit=1)


class _Curve:
    """A curve's points, in runs between non-finite ones, and its style, which depends on its index."""

    def __init__(self, name: str, points: Points, place: int) -> None:
        self.name = shorten(name, FONT_SIZE, WIDTH - LEFT - RIGHT - KEY)
        self.runs = _runs(points)
        self.color = COLORS[place % len(COLORS)]
        self.dashed = place // len(COLORS) % 2 == 1

    @property
    def points(self) -> list[tuple[float, float]]:
        return [point for run in self.runs for point in run]


class _Panel:
    """One pair of axes."""

    def __init__(self, title: str, curves: Mapping[str, Points], top: float, unit: float) -> None:
        drawn = [_Curve(name, points, place) for place, (name, points) in enumerate(curves.items())]
        self.curves = [curve for curve in drawn if curve.runs]
        self.title = shorten(title, FONT_SIZE, WIDTH - LEFT - RIGHT, bold=True)
        self.head = top + TOP - 18
        self.rows = self._rows()
        self.top = top + TOP + ROW * (self.rows[-1][0] if self.rows else 0)
        self.bottom = self.top + HEIGHT - TOP - BOTTOM
        self.end = self.bottom + BOTTOM
        points = [point for curve in self.curves for point in curve.points]
        self.unit = unit
        self.x = _range([0.0, *(x for x, _ in points)] if points else [], unit)
        self.y = _range([y for _, y in points])

    def _rows(self) -> list[tuple[int, float, _Curve]]:
        """Lay out the legend: one entry per curve, on the title's line if all fit there."""
        widths = [KEY + text_width(curve.name, FONT_SIZE) + APART for curve in self.curves]
        x = WIDTH - RIGHT + APART - sum(widths)
        row = 0
        if x < LEFT + text_width(self.title, FONT_SIZE, bold=True) + APART:
            x, row = LEFT, 1
        found = []
        for curve, wide in zip(self.curves, widths, strict=True):
            if x > LEFT and x + wide - APART > WIDTH - RIGHT + 1e-6:
                x, row = LEFT, row + 1
            found.append((row, x, curve))
            x += wide
        return found

    def draw(self, canvas: Canvas) -> None:
        for curve in self.curves:
            few = len(curve.points) <= MAX_DOTS
            for run in curve.runs:
                places = [(self.across(x), self.up(y)) for x, y in run]
                if len(places) > 1:
                    canvas.line(places, curve.color, 2, dashed=curve.dashed)
                for x, y in places if few or len(places) == 1 else ():
                    canvas.dot(x, y, 2.5, curve.color)

    def grid(self, canvas: Canvas) -> None:
        for y, text in _ticks(*self.y):
            at = self.up(y)
            canvas.line([(LEFT, at), (WIDTH - RIGHT, at)], canvas.theme.grid)
            canvas.text(LEFT - 8, at, text, anchor="end")
        for x, text in _ticks(*self.x, self.unit):
            at = self.across(x)
            canvas.line([(at, self.bottom), (at, self.bottom + 4)])
            canvas.text(at, self.bottom + 14, text, anchor="middle")
        canvas.line([(LEFT, self.top), (LEFT, self.bottom), (WIDTH - RIGHT, self.bottom)])

    def legend(self, canvas: Canvas) -> None:
        canvas.text(LEFT, self.head, self.title, bold=True)
        for row, x, curve in self.rows:
            y = self.head + ROW * row
            canvas.line([(x, y), (x + 16, y)], curve.color, 3, dashed=curve.dashed)
            canvas.text(x + KEY, y, curve.name)

    def across(self, x: float) -> float:
        low, high = self.x
        return LEFT + (x - low) / (high - low) * (WIDTH - RIGHT - LEFT)

    def up(self, y: float) -> float:
        low, high = self.y
        return self.bottom - (y - low) / (high - low) * (self.bottom - self.top)


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """Split points into runs of finite ones, about MOST points in all: each is the mean of its neighbors, at the
    position of the last."""
    group = -(-sum(isfinite(y) for _, y in points) // MAX_POINTS) or 1
    found = []
    for finite, run in groupby(points, lambda point: isfinite(point[1])):
        if finite:
            near = list(run)
            parts = [near[at : at + group] for at in range(0, len(near), group)]
            found.append([(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts])
    return found


def _range(values: Sequence[float], unit: float = 0) -> tuple[float, float]:
    """Return an interval with round ends around the values; that of zeros has no negative numbers."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-300):
        low, high = low - abs(low) / 2, high + (abs(high) / 2 or 1)
    step = max(unit, tick_step(high - low, CURVE_TICKS))
    return floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step


def _ticks(low: float, high: float, unit: float = 0) -> Iterator[tuple[float, str]]:
    """Yield the value and the text of each tick."""
    step = max(unit, tick_step(high - low, CURVE_TICKS))
    for k in range(round(low / step), floor(high / step + 1e-9) + 1):
        yield k * step, _number(k * step, step)


def _number(value: float, step: float) -> str:
    """Format a tick with as many digits as distinguish it from the next one, within limits."""
    if abs(value) < step / 2:
        return "0"
    return f"{value:.{min(8, max(6, 1 + floor(log10(abs(value))) - floor(log10(step))))}g}"
