"""Statistics of the numbers of a layer, gathered batch by batch."""

from __future__ import annotations

from hashlib import blake2b
from math import ceil, floor, inf, isfinite, log2, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array

BLOCK = 2**17
"""Numbers that are processed at once: 1 MB in double precision."""
BINS = 8
"""Bins of a histogram that is shown."""
FINE_BINS = 256
"""Maximum number of bins while the range of the numbers is not known."""
FLOAT_DIGITS = 24
"""Binary digits of a float32."""
BLOCKS = "▁▂▃▄▅▆▇█"


class Histogram:
    """Counts of numbers in bins whose width is a power of two, aligned to 0. The width grows with the range, which
    merges neighbors and loses no count, so the result does not depend on the order of the numbers."""

    __slots__ = ("_counts", "_exponent", "_first")

    def __init__(self) -> None:
        self._exponent = 0
        self._first = 0
        self._counts: Array = np.zeros(0, np.int64)

    def add(self, values: Array, low: float, high: float) -> None:
        """Add finite numbers in double precision between `low` and `high`."""
        self._cover(low, high)
        places = np.floor(values * 2.0**-self._exponent).astype(np.int64)
        places -= self._first
        self._counts += np.bincount(places, minlength=len(self._counts))

    def _cover(self, low: float, high: float) -> None:
        """Extend the bins to a range, and merge them if there are too many."""
        if not len(self._counts):
            self._exponent = _least_exponent(low, high)
            self._first = floor(low / 2.0**self._exponent)
            self._counts = np.zeros(1, np.int64)
        width = 2.0**self._exponent
        low = min(low, self._first * width)
        high = max(high, (self._first + len(self._counts) - 1) * width)
        exponent = max(self._exponent, _least_exponent(low, high))
        first, last = floor(low / 2.0**exponent), floor(high / 2.0**exponent)
        if exponent == self._exponent and (first, last - first + 1) == (self._first, len(self._counts)):
            return
        shift = exponent - self._exponent
        places = [((self._first + at) >> shift) - first for at in range(len(self._counts))]
        counts = np.zeros(last - first + 1, np.int64)
        np.add.at(counts, places, self._counts)
        self._counts, self._first, self._exponent = counts, first, exponent

    def counts(self, low: float, high: float) -> list[int]:
        """Return the counts in equal bins from `low` to `high`. A number near a limit can be in either bin."""
        found = [0] * BINS
        width = 2.0**self._exponent
        for at, count in enumerate(self._counts.tolist()):
            center = (self._first + at + 0.5) * width
            part = (center - low) / (high - low) if high > low else 0.0
            found[min(max(int(part * BINS), 0), BINS - 1)] += count
        return found


def _least_exponent(low: float, high: float) -> int:
    """Return the exponent of the least width for a range: few bins, and no more digits than the numbers have."""
    size = max(abs(low), abs(high))
    by_range = ceil(log2((high - low) / (FINE_BINS - 2))) if high > low else -inf
    by_digits = floor(log2(size)) - FLOAT_DIGITS if size else -inf
    found = max(by_range, by_digits)
    return int(found) if isfinite(found) else 0


def histogram_text(counts: list[int]) -> str:
    """Draw counts as block characters; only an empty bin is blank."""
    most = max(counts, default=0)
    return "".join(BLOCKS[max(0, ceil(count / most * len(BLOCKS)) - 1)] if count else " " for count in counts)


class Statistics:
    """The statistics of the outputs of a layer, or of a weight, over all numbers that were added.

    Moments, extremes and histogram are those of the finite numbers. Means and squared deviations of blocks are merged
    by the formula of Chan, Golub & LeVeque (1983). `low` and `high` are the bounds at and beyond which a number is
    saturated. `same` tells whether all examples are equal.
    """

    __slots__ = (
        "_digest",
        "_high",
        "_low",
        "_squares",
        "channel_high",
        "channel_low",
        "count",
        "examples",
        "high",
        "histogram",
        "infinite",
        "low",
        "mean",
        "nan",
        "same",
        "saturated",
        "shape",
        "zeros",
    )

    def __init__(self, low: float = -inf, high: float = inf) -> None:
        self._low, self._high = float(np.float32(low)), float(np.float32(high))  # as a layer computes them
        self.examples = self.count = self.zeros = self.saturated = self.nan = self.infinite = 0
        self.mean = self._squares = 0.0
        self.low, self.high = inf, -inf
        self.shape: tuple[int, ...] = ()
        self.channel_low: Array | None = None
        self.channel_high: Array | None = None
        self.histogram = Histogram()
        self.same = True
        self._digest = b""

    def add(self, array: Array) -> None:
        """Add examples [n, *shape], whose first axis is the channels."""
        if not array.size:
            return
        self.shape = array.shape[1:]
        self.examples += len(array)
        flat = np.ascontiguousarray(array).reshape(-1)
        for at in range(0, flat.size, BLOCK):
            self._add_block(flat[at : at + BLOCK])
        if array.ndim > 1:
            self._add_channels(array.reshape(*array.shape[:2], -1))
        self._compare(array.reshape(len(array), -1))

    def _add_block(self, block: Array) -> None:
        self.zeros += block.size - int(np.count_nonzero(block))
        wide = block.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity - infinity
            total = float(wide.sum())
        if not isfinite(total):
            nan = int(np.count_nonzero(np.isnan(wide)))
            wide = wide[np.isfinite(wide)]
            self.nan += nan
            self.infinite += int(block.size - wide.size) - nan
            total = float(wide.sum())
        if not wide.size:
            return
        low, high = float(wide.min()), float(wide.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if low <= self._low:
            self.saturated += int(np.count_nonzero(wide <= self._low))
        if high >= self._high:
            self.saturated += int(np.count_nonzero(wide >= self._high))
        self.histogram.add(wide, low, high)
        self._merge(wide, total / wide.size)

    def _merge(self, block: Array, mean: float) -> None:
        """Merge the moments of a block, which is overwritten."""
        before, count = self.count, block.size
        self.count += count
        block -= mean
        np.square(block, out=block)
        change = mean - self.mean
        self.mean += change * count / self.count
        self._squares += float(block.sum()) + change * change * before * count / self.count

    def _add_channels(self, array: Array) -> None:
        low, high = array.min((0, 2)), array.max((0, 2))
        self.channel_low = low if self.channel_low is None else np.minimum(self.channel_low, low)
        self.channel_high = high if self.channel_high is None else np.maximum(self.channel_high, high)

    def _compare(self, rows: Array) -> None:
        if not self.same:
            return
        digest = blake2b((rows[0] + 0).tobytes(), digest_size=16).digest()
        few = rows[:, : BLOCK // len(rows) + 1]
        self.same = (
            digest == (self._digest or digest)
            and bool((few == few[:1]).all())
            and all(np.array_equal(row, rows[0]) for row in rows[1:])
        )
        self._digest = digest

    @property
    def size(self) -> int:
        """The number of all numbers, finite or not."""
        return self.count + self.nonfinite

    @property
    def nonfinite(self) -> int:
        return self.nan + self.infinite

    @property
    def deviation(self) -> float:
        """The standard deviation of the population."""
        return sqrt(self._squares / self.count) if self.count else 0.0

    @property
    def norm(self) -> float:
        """The square root of the sum of squares."""
        return sqrt(self._squares + self.count * self.mean**2)

    @property
    def channels(self) -> int:
        return 0 if self.channel_low is None else len(self.channel_low)

    @property
    def zero_channels(self) -> Array:
        """Whether each channel is 0 throughout."""
        if self.channel_low is None or self.channel_high is None:
            return np.zeros(0, bool)
        return np.asarray((self.channel_low == 0) & (self.channel_high == 0))

    @property
    def is_constant(self) -> bool:
        """Whether all of several numbers are equal."""
        return self.count > 1 and not self.nonfinite and self.low == self.high

    @property
    def can_saturate(self) -> bool:
        return self._low > -inf or self._high < inf

    @property
    def bins(self) -> list[int]:
        """The counts in equal bins from the least to the largest number."""
        return self.histogram.counts(self.low, self.high) if self.count else [0] * BINS
