"""The lecture's examples: what is claimed of them, found out by other means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.data.generated import Clouds
from netdsl.data.kinds import KINDS
from netdsl.data.spec import DataSpec, Target

Array = np.ndarray[Any, Any]


def made(kind: str, *shape: int, **arguments: Any) -> Dataset:
    return KINDS[kind](**arguments).open(
        DataSpec({"x": (shape, "f32")}, {"y": Target("y", "class", classes=3 if kind == "shapes" else 2)})
    )


def content(dataset: Dataset) -> tuple[Array, Array]:
    batch = next(dataset.batches(len(dataset), seed=0, epoch=0, shuffle=False))
    return batch["x"], batch["y"]


def test_xor() -> None:
    x, y = content(made("xor", 2))
    assert [(*corner, label) for corner, label in zip(x.tolist(), y.tolist(), strict=True)] == [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 0),
    ]
    noisy, labels = content(made("xor", 2, n=4000, noise=0.1, seed=3))
    np.testing.assert_array_equal(labels, np.tile(y, 1000))
    away = noisy - np.tile(x, (1000, 1))
    assert abs(away.mean()) < 0.01
    assert abs(away.std() - 0.1) < 0.005


@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(("margin", "radius"), [(0.1, 1.0), (0.01, 5.0), (2.0, 2.0)])
def test_clouds_have_their_margin_and_radius(n: int, size: int, margin: float, radius: float) -> None:
    dataset = made("clouds", size, n=n, margin=margin, radius=radius, seed=7)
    assert isinstance(dataset, Clouds)
    x, y = content(dataset)
    assert y.tolist() == [1, 0] * (n // 2) + [1] * (n % 2)
    distances = (2 * y - 1) * (x.astype(np.float64) @ dataset.normal)
    assert np.linalg.norm(dataset.normal) == pytest.approx(1)
    assert distances.min() == dataset.margin == pytest.approx(margin, rel=1e-6)
    assert np.linalg.norm(x.astype(np.float64), axis=1).max() == pytest.approx(dataset.radius)
    assert dataset.radius == pytest.approx(radius, rel=1e-6)
    # No hyperplane has a larger margin: half the distance between two examples of both classes bounds it.
    assert np.linalg.norm(x[0].astype(np.float64) - x[1]) / 2 == pytest.approx(margin, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptron_makes_no_more_mistakes_on_clouds_than_novikoff_says(seed: int) -> None:
    dataset = made("clouds", 5, n=100, margin=0.2, seed=seed)
    assert isinstance(dataset, Clouds)
    x, y = content(dataset)
    signs, w, mistakes, clean = 2 * y - 1, np.zeros(5), 0, 0
    while clean < len(x):
        for one, sign in zip(x, signs, strict=True):
            clean += 1
            if sign * (one @ w) <= 0:
                w, mistakes, clean = w + sign * one, mistakes + 1, 0
    assert 0 < mistakes <= (dataset.radius / dataset.margin) ** 2


def parts(image: Array, corners: bool) -> int:
    """How many parts a figure has: labels spread to neighbors until nothing changes."""
    labels = np.where(image > 0, np.arange(1, image.size + 1).reshape(image.shape), 0)
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if corners or 0 in (i, j)]
    while True:
        padded = np.pad(labels, 1)
        height, width = image.shape
        spread = np.max([padded[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in steps], axis=0) * (image > 0)
        if (spread == labels).all():
            return len(set(labels.ravel().tolist()) - {0})
        labels = spread


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 9, 6), (12, 12)])
def test_connectedness(shape: tuple[int, ...]) -> None:
    x, y = content(made("connectedness", *shape, n=101, seed=1))
    images = x.reshape(101, *shape[-2:])
    assert set(np.unique(x).tolist()) == {0, 1}
    assert y.tolist() == [1, 0] * 50 + [1]
    for image, label in zip(images, y, strict=True):
        assert parts(image, corners=False) == parts(image, corners=True) == 2 - label
    areas = images.sum((1, 2))
    np.testing.assert_array_equal(areas[0:100:2], areas[1:100:2])


@pytest.mark.parametrize("shape", [(1, 28, 28), (40, 32)])
def test_shapes(shape: tuple[int, ...]) -> None:
    """A shape fills a known fraction of the smallest circle around it: all, 2/π or 3√3/(4π)."""
    wanted = DataSpec({"x": (shape, "f32")}, {"y": Target("y", "class", classes=3)})
    dataset = KINDS["shapes"](n=60, noise=0.0).open(wanted)
    assert dataset.names.classes == {"y": ("circle", "square", "triangle")}
    x, y = content(dataset)
    assert y.tolist() == [0, 1, 2] * 20
    fractions = (1, 2 / np.pi, 3 * 3**0.5 / (4 * np.pi))
    for image, label in zip(x.reshape(60, *shape[-2:]), y, strict=True):
        assert (image.min(), image.max()) == (0, 255)
        inside = np.argwhere(image >= 128)
        distances = np.linalg.norm(inside[:, None] - inside, axis=-1)
        width = distances.max() + 1  # of the shape: the diameter, the diagonal, or a side
        radius = width / (3**0.5 if label == 2 else 2)
        assert image.sum() / 255 / (np.pi * radius**2) == pytest.approx(fractions[label], abs=0.15)
        assert 0.15 * min(image.shape) < radius < 0.45 * min(image.shape)


def test_noise_of_shapes_is_in_bytes() -> None:
    x, _ = content(made("shapes", 9, 9, n=300, noise=0.5))
    assert set(np.unique(x).tolist()) <= set(range(256))
    assert len(np.unique(x)) > 200


@pytest.mark.parametrize(
    ("kind", "shape", "arguments"),
    [
        ("xor", (2,), {"noise": 0.5}),
        ("clouds", (4,), {}),
        ("connectedness", (6, 6), {"n": 10}),
        ("shapes", (8, 9), {"n": 9}),
    ],
)
def test_the_seed_decides(kind: str, shape: tuple[int, ...], arguments: dict[str, Any]) -> None:
    first, same, other = (content(made(kind, *shape, seed=seed, **arguments))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("kind", "shape", "arguments", "said"),
    [
        ("xor", (3,), {}, "xor has two inputs, but the net takes 3"),
        ("clouds", (2,), {"margin": 3.0}, "in a ball of radius 1 have no margin of 3"),
        ("connectedness", (3, 6, 6), {}, "generates images of at least 4x4 with one channel, but `x` is 3x6x6"),
        ("connectedness", (1, 3, 6), {}, "`x` is 1x3x6"),
        ("shapes", (3, 28, 28), {}, "generates images of at least 8x8 with one channel, but `x` is 3x28x28"),
    ],
)
def test_what_cannot_be_made(kind: str, shape: tuple[int, ...], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(kind, *shape, **arguments)


def test_signs_are_made_of_the_labels() -> None:
    net = DataSpec({"x": ((2,), "f32")}, {"y": Target("y", "sign")})
    _, y = content(KINDS["xor"]().open(net))
    assert y.tolist() == [-1, 1, 1, -1]


def test_every_kind_and_argument_says_what_it_is() -> None:
    for cls in KINDS.values():
        assert cls.__doc__
        assert all(argument.doc for argument in cls.arguments.values())
