"""Draw an image, its perturbation and the adversarial example, as in figure 1 of Goodfellow, Shlens & Szegedy
(2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.report.canvas import Canvas, length

if TYPE_CHECKING:
    from netdsl.report.canvas import Pixels

    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

PANEL, LEAST = 224, 200
"""Size in pixels to which images are enlarged by whole factors, and the minimum width of a column."""
MARGIN, SIGN, CAPTION = 24, 64, 60
TITLE_HEIGHT = 40


class Panel:
    """An image as pixels, with lines of text below it, the first in bold."""

    __slots__ = ("lines", "pixels")

    def __init__(self, pixels: Pixels, *lines: str) -> None:
        self.pixels = pixels
        self.lines = lines


def draw_adversarial(title: str, image: Panel, change: Panel, result: Panel) -> Canvas:
    """Draw three panels in a row: image + perturbation = result."""
    height, width = image.pixels.shape[:2]
    scale = max(1, PANEL // max(height, width))
    texts = [line for panel in (image, change, result) for line in panel.lines]
    column = max(scale * width, LEAST, *(length(line) for line in texts))
    total = 3 * column + 2 * SIGN + 2 * MARGIN
    canvas = Canvas(max(total, length(title) + 2 * MARGIN), TITLE_HEIGHT + scale * height + CAPTION, title)
    canvas.text(MARGIN, 20, title, faint=True)
    middle = MARGIN + column / 2
    for panel, sign in ((image, "+"), (change, "="), (result, "")):
        left, right, bottom = (
            round(middle - scale * width / 2),
            round(middle + scale * width / 2),
            TITLE_HEIGHT + scale * height,
        )
        canvas.image(left, TITLE_HEIGHT, panel.pixels, scale)
        corners = [(left, TITLE_HEIGHT), (right, TITLE_HEIGHT), (right, bottom), (left, bottom)]
        canvas.line([*corners, corners[0]], canvas.theme.faint)
        for row, line in enumerate(panel.lines):
            at = bottom + 20 + 18 * row
            canvas.text(middle, at, line, anchor="middle", bold=not row, faint=row > 0)
        canvas.text(middle + (column + SIGN) / 2, TITLE_HEIGHT + scale * height / 2, sign, anchor="middle", size=30)
        middle += column + SIGN
    return canvas


def as_pixels(x: Floats, low: float, high: float, order: str = "rgb") -> Pixels:
    """Convert an image [1 or 3, height, width] to bytes [height, width(, 3)], mapping `low` to 0 and `high` to 255."""
    shades: Pixels = np.clip((x - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    if order == "bgr":
        shades = shades[::-1]
    pixels: Pixels = shades[0] if len(shades) == 1 else shades.transpose(1, 2, 0)
    return pixels
