"""Curves as a picture: loss and metrics over the steps, with axes, a grid and a legend."""

from __future__ import annotations

from itertools import cycle
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING

from netdsl.report.canvas import FAINT, Canvas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 44, 44
"""The margins around a panel's axes."""

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by the colour-blind too: Okabe & Ito (2008), Color universal design."""

MOST = 600
"""So many points of a curve are drawn; more are averaged."""

TICKS = 6
DOTTED = 24
"""A curve of so few points shows them."""

GRID = "#e3e5e8"
LETTER = 7.2
"""About the width of a letter, in pixels."""


def chart(title: str, panels: Mapping[str, Mapping[str, Points]], x_label: str) -> Canvas:
    """A picture of panels one below the other; each has curves by name, which are points (x, y) by growing x."""
    canvas = Canvas(WIDTH, HEIGHT * len(panels) + 8, title)
    for at, (name, curves) in enumerate(panels.items()):
        panel = _Panel({key: list(_thinned(points)) for key, points in curves.items()}, HEIGHT * at)
        panel.grid(canvas)
        panel.draw(canvas)
        panel.legend(canvas)
        canvas.text(LEFT, panel.top - 18, name, bold=True)
        canvas.text((LEFT + WIDTH - RIGHT) / 2, panel.bottom + 34, x_label, anchor="middle", ink=FAINT)
    return canvas


class _Panel:
    """One pair of axes."""

    def __init__(self, curves: Mapping[str, Points], top: float) -> None:
        self.curves = {key: points for key, points in curves.items() if points}
        self.top = top + TOP
        self.bottom = top + HEIGHT - BOTTOM
        points = [point for each in self.curves.values() for point in each]
        self.x = _range([0.0, *(x for x, _ in points)])
        self.y = _range([y for _, y in points])

    def draw(self, canvas: Canvas) -> None:
        for color, points in zip(cycle(COLORS), self.curves.values(), strict=False):
            places = [(self.across(x), self.up(y)) for x, y in points]
            if len(places) > 1:
                canvas.line(places, color, 2)
            for x, y in places if len(places) <= DOTTED else ():
                canvas.dot(x, y, 2.5, color)

    def grid(self, canvas: Canvas) -> None:
        for y in _ticks(*self.y):
            at = self.up(y)
            canvas.line([(LEFT, at), (WIDTH - RIGHT, at)], GRID)
            canvas.text(LEFT - 8, at, _number(y), anchor="end")
        for x in _ticks(*self.x):
            at = self.across(x)
            canvas.line([(at, self.bottom), (at, self.bottom + 4)])
            canvas.text(at, self.bottom + 14, _number(x), anchor="middle")
        canvas.line([(LEFT, self.top), (LEFT, self.bottom), (WIDTH - RIGHT, self.bottom)])

    def legend(self, canvas: Canvas) -> None:
        at: float = WIDTH - RIGHT
        for color, name in reversed([*zip(cycle(COLORS), self.curves, strict=False)]):
            canvas.text(at, self.top - 18, name, anchor="end")
            at -= LETTER * len(name) + 10
            canvas.line([(at - 16, self.top - 18), (at, self.top - 18)], color, 3)
            at -= 36

    def across(self, x: float) -> float:
        low, high = self.x
        return LEFT + (x - low) / (high - low) * (WIDTH - RIGHT - LEFT)

    def up(self, y: float) -> float:
        low, high = self.y
        return self.bottom - (y - low) / (high - low) * (self.bottom - self.top)


def _thinned(points: Points) -> Iterator[tuple[float, float]]:
    """Finite points, at most MOST: each the mean of its neighbours, at the place of the last of them."""
    found = [(x, y) for x, y in points if isfinite(y)]
    group = -(-len(found) // MOST) or 1
    for at in range(0, len(found), group):
        part = found[at : at + group]
        yield part[-1][0], sum(y for _, y in part) / len(part)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """An interval of round ends around the values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = _step(low, high)
    return floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step


def _step(low: float, high: float) -> float:
    """A round distance of ticks: 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power: float = 10.0 ** floor(log10(rough))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))


def _ticks(low: float, high: float) -> Iterator[float]:
    step = _step(low, high)
    for k in range(round(low / step), floor(high / step + 1e-9) + 1):
        yield k * step


def _number(value: float) -> str:
    text = f"{value:.6g}"
    return "0" if text == "-0" or abs(value) < 1e-12 else text
