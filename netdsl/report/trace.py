"""The statistics of a net's layers on examples, or of its weights, as a table, as CSV, in Markdown or as JSON."""

from __future__ import annotations

from math import log10
from statistics import median
from typing import TYPE_CHECKING

from netdsl.base.record import Record
from netdsl.base.shape import format_shape
from netdsl.base.terminal import plural
from netdsl.report.statistics import histogram_text
from netdsl.report.table import aligned, csv_text, markdown_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.ir.net import Node
    from netdsl.report.canvas import Canvas
    from netdsl.report.statistics import Statistics

    Curve = Sequence[tuple[float, float]]

JUMP = 10
"""Ratio of the standard deviation of a layer to that of its inputs above which it is flagged."""
SATURATED = 0.9
"""Share of saturated numbers from which a layer is flagged."""
ENOUGH = 32
"""Numbers per channel below which a channel of zeros is no evidence."""
FADED, BURST = 1e-3, 1e3
"""Ratios to the other gradients below which a gradient vanishes, and above which it explodes."""

UNOPTIMIZED = (
    "The net runs without onnxruntime's optimizations, so numbers can differ from those of `run` in the last digits."
)


class Row(Record):
    """A layer, or a weight, with its statistics and what is remarkable about them: texts by key."""

    name: str
    kind: str
    line: int
    stats: Statistics
    flags: dict[str, str]
    ratio: float | None = None
    """The standard deviation as a multiple of that of the inputs; for gradients, the norm of a weight's as a multiple
    of that of the weight."""
    gradient: Statistics | None = None
    dead: int | None = None
    """Channels that are 0 throughout; units of a ReLU that also get no gradient, where there are gradients."""


def layer_flags(stats: Statistics, before: Sequence[Statistics], ratio: float | None) -> dict[str, str]:
    """Return what is remarkable about the outputs of a layer, whose inputs are `before`."""
    found = nonfinite_flags(stats)
    dead = int(stats.zero_channels.sum())
    inherited = len(before) == 1 and before[0].channels == stats.channels and before[0].zero_channels.sum() == dead
    if stats.is_constant:
        found["constant"] = f"all are {stats.low:.4g}"
    elif dead and not inherited and stats.size >= ENOUGH * stats.channels:
        found["dead"] = f"{dead:,} of {stats.channels:,} channels dead"
    if stats.same and stats.examples > 1 and before and not stats.is_constant:
        found["same"] = "same for all examples"
    if ratio is not None and ratio > JUMP:
        found["jump"] = f"deviation × {ratio:.3g}"
    if stats.can_saturate and stats.size and stats.saturated >= SATURATED * stats.size and not stats.is_constant:
        found["saturated"] = "saturated"
    return found


def weight_flags(stats: Statistics, rank: int) -> dict[str, str]:
    """Return what is remarkable about a weight: filters of zeros, and a matrix of equal numbers."""
    found = nonfinite_flags(stats)
    dead = int(stats.zero_channels.sum())
    if rank > 1 and stats.is_constant:
        found["constant"] = f"all are {stats.low:.4g}"
    elif rank > 1 and dead:
        found["dead"] = f"{dead:,} of {stats.channels:,} rows are 0"
    return found


def nonfinite_flags(stats: Statistics) -> dict[str, str]:
    """Return how many numbers are not finite, if any."""
    counts = ((stats.nan, "NaN"), (stats.infinite, "infinite"))
    text = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return {"nonfinite": text} if text else {}


def ratio_to(stats: Statistics, before: Sequence[Statistics]) -> float | None:
    """Return the standard deviation as a multiple of the largest one of the inputs."""
    largest = max((each.deviation for each in before), default=0.0)
    return stats.deviation / largest if largest else None


HEADINGS = ("line", "layer", "kind", "shape", "mean", "std", "min", "max", "zero", "saturated", "dead", "histogram", "")
LEFT = ("layer", "kind", "shape", "histogram", "")
"""Headings of columns that are aligned to the left."""
FIELDS = (
    *("name", "layer", "line", "shape", "count", "mean", "std", "min", "max", "zeros", "saturated", "nan", "infinite"),
    *("channels", "dead", "ratio", "histogram", "flags"),
)


class Trace:
    """The statistics of the outputs of a net's layers, or of its weights. `of` is what they are of, `first` a sentence
    about the first layer with non-finite numbers, and `shown` the rows in the table."""

    headings: tuple[str, ...] = HEADINGS
    fields: tuple[str, ...] = FIELDS

    def __init__(
        self, net: str, of: str, rows: Sequence[Row], shown: Sequence[Row], examples: int = 0, first: str = ""
    ) -> None:
        self.net = net
        self.of = of
        self.rows = rows
        self.shown = shown
        self.examples = examples
        self.first = first

    @property
    def is_finite(self) -> bool:
        return not any(each.nonfinite for row in self.rows for each in (row.stats, row.gradient) if each is not None)

    def record(self, row: Row) -> dict[str, object]:
        """Return a row as data. Moments, extremes and histogram are those of finite numbers, None without any."""
        s = row.stats
        none = not s.count
        return {
            "name": row.name,
            "layer": row.kind,
            "line": row.line,
            "shape": [*s.shape],
            "count": s.size,
            "mean": None if none else s.mean,
            "std": None if none else s.deviation,
            "min": None if none else s.low,
            "max": None if none else s.high,
            "zeros": s.zeros / s.size if s.size else None,
            "saturated": s.saturated / s.size if s.size and s.can_saturate else None,
            "nan": s.nan,
            "infinite": s.infinite,
            "channels": s.channels,
            "dead": row.dead,
            "ratio": row.ratio,
            "histogram": s.bins,
            "flags": [*row.flags],
        }

    def data(self) -> dict[str, object]:
        """Return the data that `trace --format json` prints."""
        return {
            "net": self.net,
            "of": self.of,
            "examples": self.examples,
            "layers": [self.record(row) for row in self.shown],
            "first_nonfinite": self.first or None,
        }

    def csv(self) -> str:
        """Return a header with the names of the JSON keys, and a line for each row."""
        return csv_text(self.fields, (self._csv_row(row) for row in self.shown))

    def _csv_row(self, row: Row) -> list[object]:
        record = self.record(row) | {
            "shape": format_shape(row.stats.shape),
            "histogram": " ".join(map(str, row.stats.bins)),
            "flags": " ".join(row.flags),
        }
        return [record[field] for field in self.fields]

    def cells(self, row: Row) -> tuple[str, ...]:
        """Return a row of the table."""
        s, record = row.stats, self.record(row)
        return (
            str(row.line),
            row.name,
            row.kind,
            format_shape(s.shape) or "-",
            *(number(record[key]) for key in ("mean", "std", "min", "max")),
            *(percent(record[key]) for key in ("zeros", "saturated")),
            f"{row.dead}/{s.channels}" if row.dead else "",
            histogram_text(s.bins),
            "; ".join(row.flags.values()),
        )

    @property
    def title(self) -> str:
        examples = f", {plural(self.examples, 'example')}" if self.examples else ""
        return f"{self.net}: {self.of}{examples}"

    @property
    def remarks(self) -> list[str]:
        """The lines below the table."""
        lines = [f"First non-finite numbers: {self.first}"] if self.first else []
        return [*lines, UNOPTIMIZED] if self.examples else lines

    def text(self) -> str:
        """Return the table without the columns that are empty."""
        rows = [self.headings, *map(self.cells, self.shown)]
        columns = [at for at, name in enumerate(self.headings) if not name or any(row[at] for row in rows[1:])]
        kept = [[row[at] for at in columns] for row in rows]
        right = {at for at, name in enumerate(kept[0]) if name not in LEFT}
        table = aligned(kept, right=right)
        return "\n".join([self.title, "", *table, *([""] if self.remarks else []), *self.remarks])

    def markdown(self) -> str:
        headings = [name or "remarks" for name in self.headings]
        table = markdown_text(headings, map(self.cells, self.shown))
        return "\n".join([f"**{self.title}**", "", table, *(part for line in self.remarks for part in ("", line))])

    def picture(self) -> Canvas:
        """Draw mean and deviation, and the share of zeros and of saturated numbers, by the position of the layer."""
        from netdsl.report.curves import draw_curves

        places = [(at, row.stats) for at, row in enumerate(self.shown, 1) if row.stats.count]
        shares = {
            "zeros": [(at, 100 * s.zeros / s.size) for at, s in places],
            "saturated": [(at, 100 * s.saturated / s.size) for at, s in places if s.can_saturate],
        }
        panels = {
            "mean": {
                "mean": [(at, s.mean) for at, s in places],
                "mean + std": [(at, s.mean + s.deviation) for at, s in places],
                "mean - std": [(at, s.mean - s.deviation) for at, s in places],
            },
            "standard deviation, log10": {"std": [(at, log10(s.deviation)) for at, s in places if s.deviation]},
            "%": shares,
        }
        return draw_curves(self.title, _filled(panels), "layer", unit=1)


class GradientTrace(Trace):
    """The gradients of a loss with respect to the outputs of the layers and to the weights, for one batch."""

    headings = ("line", "layer", "kind", "shape", "norm", "gradient", "ratio", "max", "zero", "dead", "histogram", "")
    fields = (
        *("name", "layer", "line", "shape", "norm", "gradient", "ratio", "mean", "std", "min", "max", "zeros"),
        *("nan", "infinite", "channels", "dead", "histogram", "flags"),
    )

    def record(self, row: Row) -> dict[str, object]:
        """Return a row as data. All but `norm` and `dead` is of the gradient."""
        assert row.gradient is not None
        of_gradient = Row(name=row.name, kind=row.kind, line=row.line, stats=row.gradient, flags=row.flags)
        found = super().record(of_gradient) | {
            "norm": row.stats.norm,
            "gradient": row.gradient.norm,
            "ratio": row.ratio,
            "dead": row.dead,
        }
        return {field: found[field] for field in self.fields}

    def _csv_row(self, row: Row) -> list[object]:
        assert row.gradient is not None
        text = {
            "shape": format_shape(row.gradient.shape),
            "histogram": " ".join(map(str, row.gradient.bins)),
            "flags": " ".join(row.flags),
        }
        return [(self.record(row) | text)[field] for field in self.fields]

    def cells(self, row: Row) -> tuple[str, ...]:
        g = row.gradient
        assert g is not None
        return (
            str(row.line),
            row.name,
            row.kind,
            format_shape(row.stats.shape) or "-",
            number(row.stats.norm),
            number(g.norm),
            number(row.ratio),
            number(max(abs(g.low), abs(g.high)) if g.count else None),
            percent(g.zeros / g.size if g.size else None),
            f"{row.dead}/{row.stats.channels}" if row.dead else "",
            histogram_text(g.bins),
            "; ".join(row.flags.values()),
        )

    def picture(self) -> Canvas:
        """Draw the norms of the gradients, and the dead units, by the position of the layer."""
        from netdsl.report.curves import draw_curves

        layers = [row for row in self.shown if not is_weight(row)]
        weights = [(at, row) for at, row in enumerate((r for r in self.shown if is_weight(r)), 1)]
        norms = [(at, log10(r.gradient.norm)) for at, r in enumerate(layers, 1) if r.gradient and r.gradient.norm]
        dead = [(at, 100 * r.dead / r.stats.channels) for at, r in enumerate(layers, 1) if r.dead is not None]
        panels = {
            "gradient of layers, log10 of the norm": {"gradient": norms},
            "dead units, %": {"dead": dead},
            "gradient of weights, log10 of the ratio to the weight": {
                "ratio": [(at, log10(r.ratio)) for at, r in weights if r.ratio]
            },
        }
        return draw_curves(self.title, _filled(panels), "layer, or weight", unit=1)


def _filled(panels: Mapping[str, Mapping[str, Curve]]) -> dict[str, dict[str, Curve]]:
    """Return the panels and curves that have points."""
    filled = {title: {name: curve for name, curve in curves.items() if curve} for title, curves in panels.items()}
    return {title: curves for title, curves in filled.items() if curves}


WEIGHT = "weight"
STATISTIC = "running statistic"


def is_weight(row: Row) -> bool:
    return row.kind in (WEIGHT, STATISTIC)


def flag_gradients(rows: Sequence[Row], weighted: Mapping[str, Node]) -> None:
    """Flag the gradients that vanish and explode: those of layers by their norm, compared with the layers that have
    weights, named in `weighted`; those of weights by their ratio to the weight, compared with each other.

    A gradient vanishes below FADED times the larger of the median and the last one, and explodes above BURST times the
    last one, which is the nearest to the loss.
    """
    norms = [(row, row.gradient.norm) for row in rows if not is_weight(row) and row.gradient is not None]
    compared = [norm for row, norm in norms if row.name in weighted]
    ratios = [(row, row.ratio) for row in rows if is_weight(row) and row.ratio is not None and len(row.stats.shape) > 1]
    for found, reference in ((norms, compared), (ratios, [ratio for _, ratio in ratios])):
        if not reference:
            continue
        last = reference[-1]
        most = max(median(reference), last)
        for row, value in found:
            if not value:
                row.flags["none"] = "no gradient"
            elif value < FADED * most:
                row.flags["vanishing"] = f"vanishing: × {value / most:.2g}"
            elif value > BURST * last > 0:
                row.flags["exploding"] = f"exploding: × {value / last:.2g}"


def number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | int) else ""


def percent(share: object) -> str:
    return f"{100 * share:.1f}%" if isinstance(share, float | int) else ""
