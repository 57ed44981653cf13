"""A net's figures for programs: plain data, JSON and CSV; docs/summary.md has the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netdsl.ir.formula import Count, Largest
    from netdsl.ir.net import Node
    from netdsl.report.field import Size
    from netdsl.report.figures import Figures, Row

COLUMNS = ("name", "layer", "line", "shape", "params", "macs", "bytes", "receptive_field")


def plain(figures: Figures) -> dict[str, Any]:
    """What `summary --format json` prints. Numbers that depend on sizes known only at run time are formulas."""
    net = figures.net
    return {
        "net": net.name,
        "layers": [_layer(row) for row in figures.rows],
        "totals": {
            "params": figures.params,
            "trainable": figures.trainable,
            "buffers": figures.buffers,
            "macs": _number(figures.macs),
            "depth": figures.depth,
            "peak_bytes": _number(figures.peak),
        },
        "inputs": [_value(row.node.name, row.node) for row in figures.rows if not row.node.inputs],
        "outputs": [_value(out.name, out.node) for out in net.outputs.values() if not out.training],
    }


def json(figures: Figures) -> str:
    from json import dumps

    return dumps(plain(figures), indent=2, ensure_ascii=False)


def csv(figures: Figures) -> str:
    """Return a header and a line for each layer; shapes are `64x56x56`, with symbolic sizes `[64, H, W]`."""
    from netdsl.ir import shape
    from netdsl.report.spreadsheet import table
    from netdsl.report.table import seen

    def cells(row: Row) -> tuple[object, ...]:
        sizes, field = shape.text(row.node.shape), seen(row.field)
        return row.node.name, row.call, row.line, sizes, row.params, row.macs, row.bytes, field

    return table(COLUMNS, map(cells, figures.rows))


def _layer(row: Row) -> dict[str, Any]:
    field: Size | list[Size] = row.field
    values = (row.node.name, row.call, row.line, _shape(row.node), row.params, _number(row.macs), _number(row.bytes))
    return dict(zip(COLUMNS, (*values, field), strict=True))


def _value(name: str, node: Node) -> dict[str, Any]:
    return {"name": name, "shape": _shape(node), "dtype": getattr(node.layer, "dtype", node.dtype)}


def _shape(node: Node) -> list[int | str]:
    return [size if isinstance(size, int) else str(size) for size in node.shape]


def _number(count: Count | Largest) -> int | str:
    return count if isinstance(count, int) else str(count)
