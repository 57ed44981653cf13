"""Axes of a comparison's pictures: ticks at round numbers, linear or logarithmic."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS = 7
"""About so many on a linear axis."""
FACTORS = ((1, (1, 1.5, 2, 3, 5, 7)), (3.5, (1, 2, 5)), (99, (1,)))
"""Of powers of ten, where ticks are on a logarithmic axis of up to so many decades."""
LEAST = 0.5
"""Of decades, or of a linear axis's values."""


class Axis:
    """Values lie between the pixels `start` and `end`, `room` pixels of which stay free at both ends."""

    __slots__ = ("_end", "_high", "_low", "_start", "is_log")

    def __init__(self, values: Iterable[float], start: float, end: float, *, room: float, is_log: bool = False) -> None:
        self.is_log = is_log
        scaled = [self._scaled(value) for value in values]
        self._low, self._high = min(scaled), max(scaled)
        lacking = max(0.0, LEAST - (self._high - self._low)) / 2
        self._low, self._high = self._low - lacking, self._high + lacking
        inward = room if end > start else -room
        self._start, self._end = start + inward, end - inward

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self._pixel(self._scaled(value))

    def ticks(self, start: float, end: float) -> list[float]:
        """Round values between two pixels."""
        low, high = sorted((self._value(start), self._value(end)))
        if not self.is_log:
            step = _step(high - low)
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


def _step(size: float) -> float:
    """A round distance of ticks: 1, 2 or 5 times a power of ten."""
    rough = size / TICKS
    power: float = 10.0 ** floor(log10(rough))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
