"""Comparison of nets, one row each, as a table, CSV or JSON."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl.report.figures import Figures
from netdsl.report.receptive_field import WHOLE_INPUT
from netdsl.report.summary import field_text
from netdsl.report.table import aligned, csv_text, json_number, json_text, markdown_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.formula import Count, Largest
    from netdsl.ir.net import Net
    from netdsl.report.receptive_field import FieldSize

COMPARISON_HEADINGS = ("net", "year", "depth", "weights", "MACs", "memory", "field", "top-1", "top-5", "protocol")
COMPARISON_FIELDS = (
    *("net", "file", "year", "depth", "params", "macs", "peak_bytes", "receptive_field"),
    *("top1", "top5", "protocol"),
)
NUMBER_COLUMNS = [at for at, heading in enumerate(COMPARISON_HEADINGS) if heading not in ("net", "protocol")]
"""Columns that are aligned to the right."""


class Compared:
    """One row of a comparison.

    `params`, `macs`, `depth` and `peak` (bytes, for the given batch) are those of `summary`; `field` is the largest
    receptive field of a layer that does not see the whole input, or "all" if all do or if each of several positions of
    one does, as in an attention. `year`, `top1` and `top5` (published errors, in percent) and their `protocol` come
    from the net's `about`; None if it does not give them.
    """

    __slots__ = ("depth", "field", "file", "macs", "name", "params", "peak", "protocol", "top1", "top5", "year")

    def __init__(self, name: str, net: Net, batch: int = 1) -> None:
        figures = Figures(net, batch)
        year = net.about.get("year")
        protocol = net.about.get("protocol")
        self.name = name
        self.file = net.source.name
        self.depth = figures.depth
        self.params = figures.params
        self.macs: Count = figures.macs
        self.peak: Count | Largest = figures.peak
        self.field = _field(figures)
        self.year = year if isinstance(year, int) else None
        self.top1 = _percent(net.about.get("top1"))
        self.top5 = _percent(net.about.get("top5"))
        self.protocol = protocol if isinstance(protocol, str) else None

    @property
    def family(self) -> str:
        """Return the file's name: what the nets of one paper share."""
        return self.file.replace("\\", "/").rpartition("/")[2].removesuffix(".net")

    @property
    def data(self) -> dict[str, object]:
        values = (
            self.name,
            self.file,
            self.year,
            self.depth,
            self.params,
            json_number(self.macs),
            json_number(self.peak),
        )
        return dict(zip(COMPARISON_FIELDS, (*values, self.field, self.top1, self.top5, self.protocol), strict=True))


def ordered(rows: Iterable[Compared]) -> list[Compared]:
    """Return rows without duplicates, by year, those without one last; the nets of a file together, cheapest first."""

    def place(row: Compared) -> tuple[float, str, float, int]:
        macs = row.macs if isinstance(row.macs, int) else float("inf")
        return (row.year if row.year is not None else float("inf"), row.file, macs, row.params)

    return sorted({(row.file, row.name): row for row in rows}.values(), key=place)


def comparison_text(rows: list[Compared]) -> str:
    """Format a header and one line per net, with errors in percent."""
    return "\n".join(aligned([COMPARISON_HEADINGS, *map(_cells, rows)], right=NUMBER_COLUMNS))


def comparison_csv(rows: list[Compared]) -> str:
    """Return a header and a line for each net; unknown figures are empty."""
    return csv_text(COMPARISON_FIELDS, ({**row.data, "receptive_field": _field_text(row)}.values() for row in rows))


def comparison_markdown(rows: list[Compared]) -> str:
    """Format the same table for GitHub."""
    return markdown_text(COMPARISON_HEADINGS, map(_cells, rows))


def comparison_json(rows: list[Compared]) -> str:
    """Format an array of objects; unknown values are null."""
    return json_text([row.data for row in rows])


def _cells(row: Compared) -> tuple[str, ...]:
    return (
        row.name,
        "" if row.year is None else str(row.year),
        str(row.depth),
        f"{row.params:,}",
        f"{row.macs:,}",
        f"{row.peak:,}",
        _field_text(row),
        *("" if error is None else f"{error:.2f}" for error in (row.top1, row.top5)),
        row.protocol or "",
    )


def _field_text(row: Compared) -> str:
    return "" if row.field is None else field_text(row.field)


def _field(figures: Figures) -> FieldSize | list[FieldSize]:
    fields = [row.field for row in figures.rows if row.node.layer.kind != "input"]
    if any(row.field == WHOLE_INPUT and prod(row.node.shape[1:]) != 1 for row in figures.rows):
        return WHOLE_INPUT
    partial = [(max(sizes), field) for field in fields if (sizes := _sizes(field))]
    largest, field = max(partial, key=lambda each: each[0], default=(0, None))
    return field if largest > 1 else "all" if "all" in fields else None


def _sizes(field: FieldSize | list[FieldSize]) -> list[int]:
    """Return the axes of a receptive field; none if one is not a number."""
    axes = field if isinstance(field, list) else [field]
    sizes = [axis for axis in axes if isinstance(axis, int)]
    return sizes if len(sizes) == len(axes) else []


def _percent(error: object) -> float | None:
    is_number = isinstance(error, int | float) and not isinstance(error, bool)
    return error if is_number and 0 <= error <= 100 else None  # type: ignore[operator, return-value]
