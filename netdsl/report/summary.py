"""The figures of a net as a table for a terminal, in Markdown, as CSV or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import elements, format_shape
from netdsl.base.terminal import escape, paint, width
from netdsl.ir.formula import Largest
from netdsl.ir.net import UNFINISHED
from netdsl.report.figures import net_call
from netdsl.report.table import aligned, csv_text, json_number
from netdsl.report.tree import TableLine, table_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.net import Node, Parameter
    from netdsl.report.figures import Figures, LayerFigures
    from netdsl.report.receptive_field import FieldSize

SUMMARY_FIELDS = ("name", "layer", "line", "shape", "params", "macs", "bytes", "receptive_field")


def summary_data(figures: Figures, *, weights: bool = False) -> dict[str, object]:
    """Return the data that `summary --format json` prints, including the `weights` of each layer if True. Numbers
    that depend on dynamic sizes are formulas."""
    net = figures.net
    return {
        "net": net.name,
        **({"incomplete": str(net.incomplete)} if net.incomplete is not None else {}),
        "layers": [
            _layer(row) | ({"weights": [*map(_weight, row.weights)]} if weights else {}) for row in figures.rows
        ],
        "totals": {
            "params": figures.params,
            "trainable": figures.trainable,
            "buffers": figures.buffers,
            "macs": json_number(figures.macs),
            "depth": figures.depth,
            "peak_bytes": json_number(figures.peak),
        },
        "inputs": [_value(row.node.name, row.node) for row in figures.rows if row.node.layer.kind == "input"],
        "outputs": [_value(out.name, out.node) for out in net.inference_outputs.values() if out.name != UNFINISHED],
    }


def summary_csv(figures: Figures, *, weights: bool = False) -> str:
    """Return a header and a line for each layer; shapes are `64x56x56`, with symbolic sizes `[64, H, W]`. With
    `weights`, a layer is followed by its weights, which have no layer and costs."""

    def lines(row: LayerFigures) -> Iterator[tuple[object, ...]]:
        sizes, field = format_shape(row.node.shape), field_text(row.field)
        yield row.node.name, row.call, row.line, sizes, row.params, row.macs, row.bytes, field
        for each in row.weights if weights else ():
            yield each.name, "", row.line, format_shape(each.shape), elements(each.shape), "", "", ""

    return csv_text(SUMMARY_FIELDS, (line for row in figures.rows for line in lines(row)))


def _layer(row: LayerFigures) -> dict[str, object]:
    shape = [*map(json_number, row.node.shape)]
    counts = row.params, json_number(row.macs), json_number(row.bytes)
    return dict(zip(SUMMARY_FIELDS, (row.node.name, row.call, row.line, shape, *counts, row.field), strict=True))


def _weight(weight: Parameter) -> dict[str, object]:
    size = elements(weight.shape)
    return {"name": weight.name, "shape": [*weight.shape], "params": size, "buffer": weight.buffer}


def _value(name: str, node: Node) -> dict[str, object]:
    return {"name": name, "shape": [*map(json_number, node.shape)], "dtype": getattr(node.layer, "dtype", node.dtype)}


SUMMARY_HEADINGS = ("line", "name", "layer", "output", "weights", "MACs", "bytes", "field")
NAME_COLUMN, LAYER_COLUMN, SHAPE_COLUMN = 1, 2, 3
MIN_NAME_WIDTH, MIN_LAYER_WIDTH = 8, 16
"""Minimum widths of these columns on a narrow terminal."""
Cells = tuple[str, ...]


def summary_text(
    figures: Figures,
    *,
    depth: int | None = None,
    weights: bool = False,
    columns: int | None = None,
    color: bool = False,
) -> str:
    """Format the table and the totals, in at most `columns` if possible: gaps shrink, layers are cut, the last
    columns are dropped, and finally names are cut. With `weights`, each layer is followed by its weights."""
    listed = list(_table(figures, depth, weights))
    table = [SUMMARY_HEADINGS, *listed]
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    gap = 2
    if columns is not None and sum(widths) + gap * (len(widths) - 1) > columns:
        gap = 1
        while len(widths) > SHAPE_COLUMN and _others(widths, LAYER_COLUMN) + MIN_LAYER_WIDTH > columns:
            widths.pop()
        for column, least in ((LAYER_COLUMN, MIN_LAYER_WIDTH), (NAME_COLUMN, MIN_NAME_WIDTH)):
            widths[column] = min(widths[column], max(least, columns - _others(widths, column)))
    styles = ["strong", *("" if cells[SHAPE_COLUMN] else "place" for cells in listed)]
    shortened = [[_cut(cell, wide) for cell, wide in zip(cells, widths, strict=False)] for cells in table]
    right = [at for at in range(len(widths)) if at == 0 or at > SHAPE_COLUMN]
    lines = aligned(shortened, right=right, gap=gap)
    out = [paint(line, style, color) for line, style in zip(lines, styles, strict=True)]
    return "\n".join([paint(_title(figures), "strong", color), "", *out, "", *_totals(figures)])


def summary_markdown(figures: Figures, *, depth: int | None = None, weights: bool = False) -> str:
    """Format a GitHub table, and the totals as a list."""
    rows: list[Cells] = [SUMMARY_HEADINGS, ("--:", ":--", ":--", ":--", "--:", "--:", "--:", "--:")]
    table = [f"| {' | '.join(cells)} |" for cells in (*rows, *_table(figures, depth, weights))]
    return "\n".join([f"**{_title(figures)}**", "", *table, "", *(f"- {line}" for line in _totals(figures))])


def _table(figures: Figures, depth: int | None, weights: bool) -> Iterator[Cells]:
    """Yield the rows of the table: layers, scopes and, with `weights`, weights with their initializers."""
    for line in table_lines(figures, depth):
        yield _cells(line)
        for each in line.rows[0].weights if weights and len(line.rows) == 1 else ():
            made = "running statistic" if each.buffer else str(each.init)
            yield "", escape(each.name), made, format_shape(each.shape), f"{elements(each.shape):,}", "", "", ""


def _cells(line: TableLine) -> Cells:
    if not line.rows:
        return str(line.line or ""), escape(line.name), escape(line.text), "", "", "", "", ""
    last = line.rows[-1]
    return (
        str(line.line),
        escape(line.name),
        escape(line.text),
        format_shape(last.node.shape),
        *(f"{figure:,}" if figure else "" for figure in (line.params, line.macs, line.bytes)),
        field_text(last.field),
    )


def field_text(field: FieldSize | list[FieldSize]) -> str:
    """Format a receptive field: `7`, `7x3`, `all`, or `?` if unknown."""
    if isinstance(field, list):
        return "x".join(map(field_text, field))
    return "?" if field is None else str(field)


def _others(widths: list[int], column: int) -> int:
    """Return the width of all columns except one, with one space between columns."""
    return sum(widths) - widths[column] + len(widths) - 1


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
    if figures.net.incomplete is not None:
        yield f"incomplete: only what precedes the first error, {escape(str(figures.net.incomplete))}"
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
