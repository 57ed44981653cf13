"""Synthetic examples, generated from a seed: exclusive or, separable clouds, connectedness, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.data.dataset import Dataset
from netdsl.data.errors import Incomplete
from netdsl.data.sources import assembled, only
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.data.spec import DataSpec

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
TRIES = 1000
"""Maximum number of attempts to draw a figure; a few suffice in practice."""


def _made(
    what: str, x: Array, y: Array, wanted: DataSpec, classes: tuple[str, ...] = (), pixels: bool = False
) -> Dataset:
    """Return a data set of examples [n, D] for an input of D numbers, with labels; `classes` are their names, and
    `pixels` are normalized as the input declares."""
    name, target = only(wanted, what)
    shape, _ = wanted.inputs[name]
    ready = x if len(shape) < 2 else x.reshape(len(x), *(size or 1 for size in shape))
    found = Names({target: classes}) if classes and wanted.targets[target].classes == len(classes) else None
    return assembled({name: (what, ready)}, {target: (what, y)}, wanted, found, pixels=pixels)


def _image_size(wanted: DataSpec, what: str, least: int) -> tuple[int, int]:
    """Return the height and width of the only input, an image with one channel. Raises Incomplete."""
    name, _ = only(wanted, what)
    sizes = [size for size in wanted.inputs[name][0] if size != 1]
    if len(sizes) != 2 or any(size is None or size < least for size in sizes):
        raise Incomplete(
            f"{what} generates images of at least {least}x{least} with one channel, but `{name}` is "
            f"{format_shape(wanted.inputs[name][0])}"
        )
    height, width = (size or 0 for size in sizes)
    return height, width


def _size(wanted: DataSpec, what: str) -> int:
    """Return the number of elements of an example of the only input."""
    name, _ = only(wanted, what)
    shape, _ = wanted.inputs[name]
    if None in shape:
        raise Incomplete(f"{what} requires inputs of a fixed size, but `{name}` is {format_shape(shape)}")
    return int(np.prod([size or 1 for size in shape]))


def open_xor(wanted: DataSpec, n: int, noise: float, seed: int) -> Dataset:
    """Create the data of `kinds.Xor`."""
    corners = np.array(CORNERS, np.float32)[np.arange(n) % 4]
    labels = (corners[:, 0] != corners[:, 1]).astype(np.int64)
    spread = np.random.default_rng(seed).normal(0, 1, corners.shape) * noise
    if _size(wanted, "xor") != 2:
        raise Incomplete(f"xor has two inputs, but the net takes {_size(wanted, 'xor')}")
    return _made("xor", (corners + spread).astype(np.float32), labels, wanted)


class Clouds(Dataset):
    """Two separable classes. For the examples in float32, `margin` is the smallest distance to the hyperplane through
    the origin with unit normal `normal`, and `radius` the largest distance to the origin."""

    __slots__ = ("margin", "normal", "radius")

    def __init__(self, made: Dataset, x: Array, signs: Array, normal: Array) -> None:
        super().__init__(made.inputs, made.targets, names=made.names, augment=made.augment)
        self.normal = normal
        self.margin = float((signs * (x.astype(np.float64) @ normal)).min())
        self.radius = float(np.linalg.norm(x.astype(np.float64), axis=1).max())


def open_clouds(wanted: DataSpec, n: int, margin: float, radius: float, seed: int) -> Clouds:
    """Create the data of `kinds.Clouds`."""
    if margin > radius:
        raise Incomplete(f"clouds in a ball of radius {radius:g} have no margin of {margin:g}")
    size = _size(wanted, "clouds")
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=size)
    normal /= np.linalg.norm(normal)
    signs = np.where(np.arange(n) % 2, -1.0, 1.0)
    along = rng.uniform(margin, radius, n)
    across = rng.normal(size=(n, size))
    across -= np.outer(across @ normal, normal)
    lengths = np.linalg.norm(across, axis=1, keepdims=True)
    across = np.divide(across, lengths, out=np.zeros_like(across), where=lengths > 1e-9)
    reach = rng.uniform(0, 1, n) ** (1 / max(1, size - 1))  # uniform in the ball orthogonal to the normal
    along[:2], reach[:2], along[2], reach[2] = margin, 0, max(margin, radius / 2), 1
    if size == 1:
        along[2] = radius
    x = (signs * along)[:, None] * normal + (reach * np.sqrt(radius**2 - along**2))[:, None] * across
    x = x.astype(np.float32)
    return Clouds(_made("clouds", x, (signs > 0).astype(np.int64), wanted), x, signs, normal)


def open_connectedness(wanted: DataSpec, n: int, seed: int) -> Dataset:
    """Create the data of `kinds.Connectedness`."""
    height, width = _image_size(wanted, "connectedness", 4)
    rng = np.random.default_rng(seed)
    images = np.zeros((n, height, width), np.uint8)
    for index in range(0, n, 2):
        area = int(rng.integers(4, max(5, height * width // 3)))
        images[index] = _figure((height, width), (area,), rng)
        if index + 1 < n:
            part = int(rng.integers(1, area))
            images[index + 1] = _figure((height, width), (part, area - part), rng)
    return _made("connectedness", images.reshape(n, -1), np.arange(1, n + 1) % 2, wanted)


def _figure(shape: tuple[int, int], areas: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return a figure with disconnected parts of these areas: [H, W], 1 inside."""
    for _ in range(TRIES):
        figure = np.zeros(shape, np.uint8)
        if all(_grow(figure, area, rng) for area in areas):
            return figure
    raise AssertionError(f"no room for {areas} in {shape}")


def _grow(figure: Array, area: int, rng: np.random.Generator) -> bool:
    """Add a part with this number of cells, grown from a random one by random neighbors; return False if there is no
    room.

    Source: Eden (1961), A two-dimensional growth process.
    """
    near = np.pad(figure, 1)
    near = near[:-2] | near[1:-1] | near[2:]
    near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]  # the figure and its 8-neighborhood
    free = {(int(i), int(j)) for i, j in np.argwhere(near == 0)}
    edge = sorted(free)
    edge = [edge[int(rng.random() * len(edge))]] if edge else []
    seen = set(edge)
    for draw in rng.random(area):
        if not edge:
            return False
        at = int(draw * len(edge))
        edge[at], edge[-1] = edge[-1], edge[at]
        i, j = edge.pop()
        figure[i, j] = 1
        new = [cell for cell in ((i - 1, j), (i, j - 1), (i, j + 1), (i + 1, j)) if cell in free and cell not in seen]
        seen.update(new)
        edge += new
    return True


SHAPES = ("circle", "square", "triangle")
SIDES = (0, 4, 3)
"""Number of sides of each shape; none for the circle."""


def open_shapes(wanted: DataSpec, n: int, noise: float, seed: int) -> Dataset:
    """Create the data of `kinds.Shapes`."""
    height, width = _image_size(wanted, "shapes", 8)
    rng = np.random.default_rng(seed)
    pixels = np.moveaxis(np.indices((height, width), np.float32), 0, -1)
    images = np.empty((n, height, width), np.uint8)
    for index in range(n):
        radius = rng.uniform(0.2, 0.4) * min(height, width)
        center = rng.uniform(radius, (height - 1 - radius, width - 1 - radius))
        gray = np.clip(0.5 - _outside(pixels - center, SIDES[index % 3], radius, rng.uniform(0, 2 * np.pi)), 0, 1)
        images[index] = np.clip(255 * gray + rng.normal(0, 255 * noise, gray.shape), 0, 255).round()
    return _made("shapes", images.reshape(n, -1), np.arange(n) % 3, wanted, SHAPES, pixels=True)


def _outside(offsets: Array, sides: int, radius: float, angle: float) -> Array:
    """Return how far points lie outside a circle around the origin, or outside the nearest side of a regular polygon in
    this circle; negative inside: [H, W, 2] -> [H, W]."""
    if not sides:
        round: Array = np.linalg.norm(offsets, axis=-1) - radius
        return round
    angles = angle + 2 * np.pi / sides * np.arange(sides)
    normals = np.stack([np.sin(angles), np.cos(angles)])
    straight: Array = (offsets @ normals).max(-1) - radius * np.cos(np.pi / sides)
    return straight
