"""Synthetic examples, generated from a seed: exclusive or, separable clouds, connectedness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.data.dataset import Dataset
from netdsl.data.errors import Incomplete
from netdsl.data.sources import assembled, only

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.data.spec import DataSpec

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
TRIES = 1000
"""Maximum number of attempts to draw a figure; a few suffice in practice."""


def _made(what: str, x: Array, y: Array, wanted: DataSpec) -> Dataset:
    """Return a data set of examples [n, D] for an input of D numbers, with labels 0 or 1."""
    name, target = only(wanted, what)
    shape, _ = wanted.inputs[name]
    ready = x if len(shape) < 2 else x.reshape(len(x), *(size or 1 for size in shape))
    return assembled({name: (what, ready)}, {target: (what, y)}, wanted)


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
    name, _ = only(wanted, "connectedness")
    shape = tuple(size for size in wanted.inputs[name][0] if size != 1)
    if len(shape) != 2 or any(size is None or size < 4 for size in shape):
        raise Incomplete(
            f"connectedness generates images of at least 4x4 with one channel, but `{name}` is "
            f"{format_shape(wanted.inputs[name][0])}"
        )
    height, width = (size or 0 for size in shape)
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
