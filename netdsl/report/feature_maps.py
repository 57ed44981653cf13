"""Draw the feature maps of a layer."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.report.canvas import Canvas, length
from netdsl.report.filters import HEAD, LINE, MARGIN, ROOM, tile_grid, tile_scale

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.report.canvas import Pixels

MAX_MAPS = 64
"""Maximum number of channels drawn."""
NOT_FINITE = (255, 0, 255)
"""Color of numbers that are not finite."""
FLAT = 128
"""Shade of a map whose numbers are all equal."""


def draw_maps(name: str, maps: Array) -> Canvas:
    """Draw the first channels of a layer's output [channels, height, width], or [channels, length], for one example.

    Each map is scaled to its own range: black is its least, white its largest number.
    """
    shown = maps[:MAX_MAPS]
    shown = shown[:, None] if shown.ndim == 2 else shown
    count, height, width = shown.shape
    columns = 1 if height == 1 else count if count <= LINE else ceil(sqrt(count * 1.6))
    scale = tile_scale(columns, ceil(count / columns), max(height, width))
    room = ROOM if scale * min(height, width) > ROOM else 1
    grid = tile_grid(shades(shown), columns, scale, room)
    legend = _legend(maps.shape)
    canvas = Canvas(
        max(grid.shape[1] + MARGIN, MARGIN + length(legend, 11), MARGIN + length(name)) + MARGIN,
        grid.shape[0] + HEAD + MARGIN,
        name,
    )
    canvas.text(MARGIN, 16, name, bold=True)
    canvas.text(MARGIN, 33, legend, size=11, faint=True)
    canvas.image(MARGIN, HEAD, grid)
    return canvas


def shades(maps: Array) -> Pixels:
    """Map each of [n, height, width] to shades [n, height, width, 1], or to colors if some numbers are not finite."""
    finite = np.isfinite(maps)
    wide = np.where(finite, maps, 0).astype(np.float64)
    low = np.where(finite, wide, np.inf).min((1, 2), keepdims=True)
    high = np.where(finite, wide, -np.inf).max((1, 2), keepdims=True)
    extent = np.where(high > low, high - low, 1)
    levels = np.where(high > low, np.round(255 * (wide - low) / extent), FLAT)[..., None]
    if finite.all():
        return levels.astype(np.uint8)
    return np.where(finite[..., None], levels, NOT_FINITE).astype(np.uint8)


def _legend(shape: tuple[int, ...]) -> str:
    count = f"the first {MAX_MAPS} of {shape[0]:,}" if shape[0] > MAX_MAPS else f"{shape[0]:,}"
    return f"{count} maps of {format_shape(shape[1:])}, each scaled to its own range; a constant one is grey"
