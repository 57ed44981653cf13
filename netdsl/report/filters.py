"""Draw the filters of a convolution."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.report.canvas import Canvas, length

if TYPE_CHECKING:
    from netdsl.report.canvas import Pixels

    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

FEW, TILE, LARGEST = 64, 40, 1400
"""Minimum size of a tile in pixels, with few and with many tiles, and maximum size of the picture."""
ROOM, MARGIN, HEAD = 4, 16, 44
LINE, MANY = 8, 32
"""Number of tiles per line, and the number above which tiles are many."""
MIN_NUMBER_HEIGHT = 12
"""Width of a row's number in pixels."""


def draw_filters(name: str, weight: Floats, *, together: bool = False) -> Canvas:
    """Draw filters [O, I, height, width], one tile each; zero is mid-grey, the largest |w| of a filter white or black.

    Filters with three input channels are shown in color, red first; otherwise each input channel has its own tile, and
    each filter a row if there are several. With `together`, all filters share one scale. Source: Krizhevsky et al.
    (2012), figure 3; Zeiler & Fergus (2014).
    """
    count, channels, *window = weight.shape
    shades = shaded(weight, together)
    rows = channels not in (1, 3)
    tiles = shades.transpose(0, 2, 3, 1)[:, None] if channels == 3 else shades[..., None]
    columns = channels if rows else count if count <= LINE else ceil(sqrt(count * 1.6))
    scale = tile_scale(columns, ceil(tiles.shape[0] * tiles.shape[1] / columns), max(window))
    room = ROOM if scale * min(window) > ROOM else 1
    grid = tile_grid(tiles.reshape(-1, *tiles.shape[2:]), columns, scale, room)
    left = MARGIN + (30 if rows else 0)
    legend = _legend(weight.shape, together)
    width = max(grid.shape[1] + left, MARGIN + length(legend, 11), MARGIN + length(name)) + MARGIN
    canvas = Canvas(width, grid.shape[0] + HEAD + MARGIN, name)
    canvas.text(MARGIN, 16, name, bold=True)
    canvas.text(MARGIN, 33, legend, size=11, faint=True)
    canvas.image(left, HEAD, grid)
    step = scale * window[0] + room
    for row in range(count if rows else 0):
        if step >= MIN_NUMBER_HEIGHT or row % ceil(MIN_NUMBER_HEIGHT / step) == 0:
            canvas.text(
                left - 6, HEAD + row * step + scale * window[0] / 2, str(row), anchor="end", size=10, faint=True
            )
    return canvas


def shaded(weight: Floats, together: bool) -> Pixels:
    """Map weights to shades: 128 for zero, 255 and 1 for plus and minus the largest |w|."""
    size = np.abs(weight).max(axis=None if together else (1, 2, 3), keepdims=True)
    return np.round(128 + 127 * weight / np.where(size == 0, 1, size)).astype(np.uint8)


def _legend(shape: tuple[int, ...], together: bool) -> str:
    count, channels, height, width = shape
    kind = "in color" if channels == 3 else "one channel" if channels == 1 else f"a row each, {channels:,} channels"
    scale = "one scale for all" if together else "each scaled to its largest weight"
    return f"{count:,} filters of {height}x{width}, {kind}; {scale}, grey is 0"


def tile_scale(columns: int, rows: int, side: int) -> int:
    """Return the size of a weight's square in pixels."""
    fits = min(LARGEST // columns, LARGEST // rows) - ROOM
    wanted = FEW if columns * rows <= MANY else TILE
    return max(1, min(ceil(wanted / side), fits // side))


def tile_grid(tiles: Pixels, columns: int, scale: int, room: int) -> Pixels:
    """Arrange tiles [n, height, width, 1 or 3] in a grid, with white gaps, as [H, W] or [H, W, 3]."""
    count, height, width, depth = tiles.shape
    tiles = tiles.repeat(scale, 1).repeat(scale, 2)
    rows = ceil(count / columns)
    padded = np.full((rows * columns, height * scale + room, width * scale + room, depth), 255, np.uint8)
    padded[:count, : height * scale, : width * scale] = tiles
    lined = padded.reshape(rows, columns, *padded.shape[1:]).transpose(0, 2, 1, 3, 4)
    grid = lined.reshape(rows * padded.shape[1], columns * padded.shape[2], depth)
    grid = grid[: -room or None, : -room or None]
    return grid if depth == 3 else grid[..., 0]
