"""The class Summary: sizes and costs of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from netdsl.ir.net import Net

HEADS = ("line", "name", "layer", "output", "weights", "MACs", "bytes", "field")


class Summary:
    """Sizes and costs of a net, printed as a table.

    `layers` is a list with a dict per layer, and `totals` a dict for the net, as in `netdsl summary --format json`.
    Values that depend on sizes known only at run time are formulas (str).

    ```python
    >>> netdsl.load("lenet5").summary().totals["params"]
    61706

    ```
    """

    __slots__ = ("_text", "layers", "totals")

    def __init__(self, net: Net, batch: int) -> None:
        from netdsl.report.figures import Figures
        from netdsl.report.summary import summary_data, summary_text

        figures = Figures(net, batch)
        data: dict[str, Any] = summary_data(figures)
        self.layers: list[dict[str, Any]] = data["layers"]
        self.totals: dict[str, int | str] = data["totals"]
        self._text = summary_text(figures)

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    @property
    def html(self) -> str:
        """The table as HTML."""
        from netdsl.api.notebook import table
        from netdsl.base.shape import format_shape

        keys = ("line", "name", "layer", "shape", "params", "macs", "bytes", "receptive_field")
        rows = [[_cell(format_shape(row[key]) if key == "shape" else row[key]) for key in keys] for row in self.layers]
        caption = ", ".join(f"{name} {_cell(value)}" for name, value in self.totals.items())
        return table(caption, HEADS, rows)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import bundle

        return bundle(self._text, self.html, include, exclude)


def _cell(figure: object) -> str:
    if isinstance(figure, list):
        return "x".join(map(_cell, figure))
    return f"{figure:,}" if isinstance(figure, int) else "?" if figure is None else str(figure)
