"""The colors of drawings and charts: one table for each theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping


class Theme(Record):
    """Colors by their use. `ink` and `faint` are those of text, `line` that of edges, `grid` that of charts.

    `palette` are colors of charts that the color-blind can distinguish: Okabe & Ito (2008), Color universal design,
    with a darker yellow, and six more; in dark, lighter ones.

    `families` has the fill and the outline of each family of layers, `shades` the fills of nested boxes, whose outline
    is `border`, and `behind` the fill of the cards behind a box. `patterns` fill the left end of a layer instead of
    colors; with them, layers have square corners.
    """

    ink: str
    faint: str
    paper: str
    line: str
    grid: str
    palette: tuple[str, ...]
    border: str
    behind: str
    shades: tuple[str, ...]
    families: Mapping[str, tuple[str, str]]
    patterns: Mapping[str, str]


LIGHT = Theme(
    ink="#1b1f24",
    faint="#626b76",
    paper="#ffffff",
    line="#77818d",
    grid="#e3e5e8",
    palette=(
        *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#6c4fa3", "#7a5230"),
        *("#a3123a", "#5c7a00", "#2f3e50", "#00a6b8"),
    ),
    border="#c3c9d1",
    behind="#f8f9fb",
    shades=("#f4f6f8", "#eaedf1", "#e1e5ea"),
    families={
        "conv": ("#dce8f7", "#86a5cf"),
        "dense": ("#e7def4", "#a58dcb"),
        "attention": ("#f9dfe6", "#d1879d"),
        "recurrent": ("#d7eeee", "#76b3b4"),
        "pool": ("#dff0dd", "#8dbb87"),
        "norm": ("#f3f1e7", "#bfb9a0"),
        "function": ("#fcebd6", "#dab07a"),
        "merge": ("#ffffff", "#77818d"),
        "shape": ("#e9edf0", "#a8b1ba"),
        "source": ("#fbfbfc", "#a8b1ba"),
        "input": ("#ffffff", "#3c4653"),
    },
    patterns={},
)
DARK = Theme(
    ink="#e8eaed",
    faint="#a7b0ba",
    paper="#15181c",
    line="#8b95a1",
    grid="#2d3239",
    palette=(
        *("#4da6e0", "#ff8a47", "#3cc79a", "#e39cc4", "#e0b13d", "#8fd0f5", "#ab90e0", "#c29068"),
        *("#e8668a", "#a6c64e", "#a9b8ca", "#45d3e2"),
    ),
    border="#454d57",
    behind="#191c21",
    shades=("#1e2227", "#272c32", "#30363d"),
    families={
        "conv": ("#1f3b5a", "#5f93cc"),
        "dense": ("#3b2d58", "#9d84d4"),
        "attention": ("#572b3b", "#d47f9b"),
        "recurrent": ("#173f42", "#55a5aa"),
        "pool": ("#1f4227", "#69a661"),
        "norm": ("#3d3a2c", "#9f9778"),
        "function": ("#4d3618", "#cb964f"),
        "merge": ("#15181c", "#8b95a1"),
        "shape": ("#323a42", "#808b96"),
        "source": ("#1b1f24", "#808b96"),
        "input": ("#15181c", "#d3d8de"),
    },
    patterns={},
)
PLAIN = Theme(
    ink="#000000",
    faint="#000000",
    paper="#ffffff",
    line="#000000",
    grid="#999999",
    palette=("#000000",),
    border="#000000",
    behind="#ffffff",
    shades=("#ffffff",),
    families=dict.fromkeys(LIGHT.families, ("#ffffff", "#000000")),
    patterns={
        "conv": "solid",
        "dense": "crossed",
        "attention": "grid",
        "recurrent": "falling",
        "pool": "horizontal",
        "norm": "vertical",
        "function": "diagonal",
        "shape": "dotted",
    },
)
THEMES = {"light": LIGHT, "dark": DARK, "plain": PLAIN}
"""Themes by the name that `--theme` accepts."""
