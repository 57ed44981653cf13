"""The figures of a net as a table for a terminal, in Markdown, as CSV or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape, paint, width
from netdsl.ir.formula import Largest
from netdsl.report.figures import net_call
from netdsl.report.table import aligned, csv_text, json_number
from netdsl.report.tree import TableLine, table_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.net import Node
    from netdsl.report.figures import Figures, LayerFigures
    from netdsl.report.receptive_field import FieldSize

SUMMARY_FIELDS = ("name", "layer", "line", "shape", "params", "macs", "bytes", "receptive_field")


def summary_data(figures: Figures) -> dict[str, object]:
    """Return the data that `summary --format json` prints. Numbers that depend on dynamic sizes are formulas."""
    net = figures.net
    return {
        "net": net.name,
        "layers": [_layer(row) for row in figures.rows],
        "totals": {
            "params": figures.params,
            "trainable": figures.trainable,
            "buffers": figures.buffers,
            "macs": json_number(figures.macs),
            "depth": figures.depth,
            "peak_bytes": json_number(figures.peak),
        },
        "inputs": [_value(row.node.name, row.node) for row in figures.rows if not row.node.inputs],
        "outputs": [_value(out.name, out.node) for out in net.inference_outputs.values()],
    }


def summary_csv(figures: Figures) -> str:
    """Return a header and a line for each layer; shapes are `64x56x56`, with symbolic sizes `[64, H, W]`."""

    def cells(row: LayerFigures) -> tuple[object, ...]:
        sizes, field = format_shape(row.node.shape), field_text(row.field)
        return row.node.name, row.call, row.line, sizes, row.params, row.macs, row.bytes, field

    return csv_text(SUMMARY_FIELDS, map(cells, figures.rows))


def _layer(row: LayerFigures) -> dict[str, object]:
    shape = [*map(json_number, row.node.shape)]
    counts = row.params, json_number(row.macs), json_number(row.bytes)
    return dict(zip(SUMMARY_FIELDS, (row.node.name, row.call, row.line, shape, *counts, row.field), strict=True))


def _value(name: str, node: Node) -> dict[str, object]:
    return {"name": name, "shape": [*map(json_number, node.shape)], "dtype": getattr(node.layer, "dtype", node.dtype)}


SUMMARY_HEADINGS = ("line", "layer", "output", "weights", "MACs", "bytes", "field")
LAYER_COLUMN = 1
MIN_LAYER_WIDTH = 16
"""Minimum width of the layer column on a narrow terminal."""
Cells = tuple[str, ...]


def summary_text(figures: Figures, *, depth: int | None = None, columns: int | None = None, color: bool = False) -> str:
    """Format the table and the totals, in at most `columns` if possible: gaps shrink, layers are cut, and finally the
    last columns are dropped."""
    listed = list(table_lines(figures, depth))
    table = [SUMMARY_HEADINGS, *(_cells(line, "  " * line.depth) for line in listed)]
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    gap = 2
    if columns is not None and sum(widths) + gap * (len(widths) - 1) > columns:
        gap = 1
        while len(widths) > 3 and _taken(widths) + MIN_LAYER_WIDTH > columns:
            widths.pop()
        widths[LAYER_COLUMN] = min(widths[LAYER_COLUMN], max(MIN_LAYER_WIDTH, columns - _taken(widths)))
    styles = ["strong", *("" if line.rows else "place" for line in listed)]
    shortened = [[_cut(cell, wide) for cell, wide in zip(cells, widths, strict=False)] for cells in table]
    right = [at for at in range(len(widths)) if at not in (LAYER_COLUMN, LAYER_COLUMN + 1)]
    lines = aligned(shortened, right=right, gap=gap)
    out = [paint(line, style, color) for line, style in zip(lines, styles, strict=True)]
    return "\n".join([paint(_title(figures), "strong", color), "", *out, "", *_totals(figures)])


def summary_markdown(figures: Figures, *, depth: int | None = None) -> str:
    """Format a GitHub table, and the totals as a list."""
    rows: list[Cells] = [SUMMARY_HEADINGS, ("--:", ":--", ":--", "--:", "--:", "--:", "--:")]
    rows += [_cells(line, "&emsp;" * line.depth) for line in table_lines(figures, depth)]
    table = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"**{_title(figures)}**", "", *table, "", *(f"- {line}" for line in _totals(figures))])


def _cells(line: TableLine, indent: str) -> Cells:
    words = f"{line.name}: {line.text}" if line.name and line.text else line.text or f"{line.name}:"
    if not line.rows:
        return str(line.line or ""), indent + escape(words), "", "", "", "", ""
    last = line.rows[-1]
    if not last.node.inputs and len(line.rows) == 1:
        words = line.text.replace("input", f"input {line.name}", 1)
    return (
        str(line.line),
        indent + escape(words),
        format_shape(last.node.shape),
        *(f"{figure:,}" if figure else "" for figure in (line.params, line.macs, line.bytes)),
        field_text(last.field),
    )


def field_text(field: FieldSize | list[FieldSize]) -> str:
    """Format a receptive field: `7`, `7x3`, `all`, or `?` if unknown."""
    if isinstance(field, list):
        return "x".join(map(field_text, field))
    return "?" if field is None else str(field)


def _taken(widths: list[int]) -> int:
    """Return the width of all columns except the layers, with one space between columns."""
    return sum(widths) - widths[LAYER_COLUMN] + len(widths) - 1


def _cut(cell: str, wide: int) -> str:
    if width(cell) <= wide:
        return cell
    while width(cell) > wide - 1:
        cell = cell[:-1]
    return cell + "…"


def _title(figures: Figures) -> str:
    return f"{escape(net_call(figures.net))}  {escape(figures.net.source.name)}"


def _totals(figures: Figures) -> Iterator[str]:
    params, buffers = figures.params, figures.buffers
    weights = f"{params:,}"
    if figures.trainable != params:
        weights += f", of which {figures.trainable:,} are trained"
    if buffers:
        weights += f", plus {buffers:,} running statistics"
    yield f"weights  {weights}"
    yield f"MACs     {figures.macs:,}"
    yield f"depth    {figures.depth}"
    batch = f", for a batch of {figures.batch}" if figures.batch > 1 else ""
    if isinstance(figures.peak, Largest):
        yield f"memory   bytes at peak, the largest of these{batch}:"
        yield from (f"         {each:,}" for each in figures.peak.counts)
    else:
        at = figures.peak_at
        where = f", at {escape(at.node.name)} in line {at.line}" if at else ""
        yield f"memory   {figures.peak:,} bytes at peak{where}{batch}"
