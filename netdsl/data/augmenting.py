"""The computation of augmentations on a batch [N, C, H, W], uint8 or floating-point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from netdsl.data.errors import BadAugment

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.data.draws import Draws

GROUP = 2**20
"""Number of elements rotated at a time."""


def crop(x: Array, sizes: tuple[int, int] | None, pads: tuple[int, int], fill: str, draws: Draws | None) -> Array:
    """Pad each image, then crop it to `sizes` or to its original size: at a random position, or at the center if
    `draws` is None."""
    (height, width), (down, right) = sizes or x.shape[2:], pads
    if pads != (0, 0):
        around = ((0, 0), (0, 0), (down, down), (right, right))
        x = np.pad(x, around, mode="reflect") if fill == "reflect" else np.pad(x, around)
    free = x.shape[2] - height + 1, x.shape[3] - width + 1
    if min(free) < 1:
        raise BadAugment(f"a crop of {height}x{width} does not fit into {x.shape[2]}x{x.shape[3]} (height x width)")
    if draws is None:
        top, left = round((free[0] - 1) / 2), round((free[1] - 1) / 2)  # like the center crop of a picture
        return x[:, :, top : top + height, left : left + width]
    parts = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(2, 3))
    return parts[np.arange(len(x)), :, draws.below(free[0]), draws.below(free[1])]


def flip(x: Array, axis: int, p: float, draws: Draws) -> Array:
    """Reverse an axis of each image with probability p."""
    chosen = draws.uniform() < p
    made = x.copy()
    made[chosen] = np.flip(x[chosen], axis)
    return made


def erase(
    x: Array, p: float, area: tuple[float, float], ratio: tuple[float, float], value: float, draws: Draws
) -> Array:
    """Fill a random rectangle of each image with a value, with probability p."""
    height, width = x.shape[2:]
    chosen = draws.uniform() < p
    pixels = height * width * (area[0] + draws.uniform() * (area[1] - area[0]))
    shares = np.exp(math.log(ratio[0]) + draws.uniform() * math.log(ratio[1] / ratio[0]))
    tall = np.clip(np.rint(np.sqrt(pixels * shares)), 1, height).astype(np.int64)
    wide = np.clip(np.rint(np.sqrt(pixels / shares)), 1, width).astype(np.int64)
    rows = _within(draws.below(height - tall + 1), tall, height) & chosen[:, None]
    columns = _within(draws.below(width - wide + 1), wide, width)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    if x.dtype == np.uint8 and value not in range(256):
        x = x.astype(np.float32)
    return np.where(inside, x.dtype.type(value), x)


def _within(first: Array, count: Array, size: int) -> Array:
    """Return a mask [N, size] that is true for `count` positions starting at `first`."""
    places = np.arange(size)
    return (places >= first[:, None]) & (places < (first + count)[:, None])


def rotate(x: Array, degrees: float, draws: Draws) -> Array:
    """Rotate images counter-clockwise about their centers by angles in [-degrees, degrees]."""
    angles = np.deg2rad((2 * draws.uniform() - 1) * degrees)
    made = np.empty_like(x)
    step = max(1, GROUP // math.prod(x.shape[1:]))
    for at in range(0, len(x), step):
        turned = _turned(x[at : at + step], angles[at : at + step])
        made[at : at + step] = np.rint(turned) if x.dtype.kind in "iu" else turned
    return made


def _turned(x: Array, angles: Array) -> Array:
    """Rotate each image by its angle in radians, with bilinear interpolation and 0 outside; float32."""
    height, width = x.shape[2:]
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    down = np.arange(height)[:, None] - (height - 1) / 2
    right = np.arange(width) - (width - 1) / 2
    i = sin * right + cos * down + (height - 1) / 2
    j = cos * right - sin * down + (width - 1) / 2
    # Pad with a border of zeros, and clip positions outside the image to it.
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float32)
    i, j = np.clip(i, -1, height) + 1, np.clip(j, -1, width) + 1
    top, left = np.minimum(i.astype(np.int64), height), np.minimum(j.astype(np.int64), width)
    below, beside = (i - top).astype(np.float32)[:, None], (j - left).astype(np.float32)[:, None]
    flat = padded.reshape(*x.shape[:2], -1)
    places = (top * (width + 2) + left).reshape(len(x), -1)

    def pixels(offset: int) -> Array:  # one `take` per image is twice as fast as one for the batch
        return np.stack([one.take(at, 1) for one, at in zip(flat, places + offset, strict=True)]).reshape(x.shape)

    upper = pixels(0) * (1 - beside) + pixels(1) * beside
    lower = pixels(width + 2) * (1 - beside) + pixels(width + 3) * beside
    made: Array = upper * (1 - below) + lower * below
    return made
