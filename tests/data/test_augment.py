"""Augmentations, held against plain NumPy and Pillow, picture by picture."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netdsl.data.augment import AUGMENTATIONS, Augment, Augmentation
from netdsl.data.augmenting import rotate
from netdsl.data.draws import Draws
from netdsl.data.errors import BadAugment
from netdsl.data.spec import DataSpec, Target
from netdsl.declare.arguments import ValueMisfit, Word

Array = np.ndarray[Any, Any]


def step(name: str, **values: Any) -> Augmentation:
    """As the language would make it, its values converted."""
    cls = AUGMENTATIONS[name]
    return cls(**{key: cls.arguments[key].kind.convert(value) for key, value in values.items()})


def pictures(n: int = 64, channels: int = 3, height: int = 8, width: int = 6) -> Array:
    return np.random.default_rng(0).integers(1, 256, (n, channels, height, width)).astype(np.uint8)


def augmented(x: Array, *steps: Augmentation, seed: int = 1, epoch: int = 2, first: int = 0) -> Array:
    made = Augment(steps)(x.copy(), seed=seed, epoch=epoch, positions=np.arange(first, first + len(x)))
    assert isinstance(made, np.ndarray)
    return made


ALL = [
    step("crop", pad=2),
    step("crop", pad=2, fill=Word("reflect")),
    step("crop", size=(5, 4)),
    step("crop", size=(8, 8), pad=(1, 2)),
    step("flip"),
    step("flip", axis=Word("vertical"), p=0.25),
    step("rotate", degrees=30),
    step("erase", p=0.75, area=(0.1, 0.5), value=7),
]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.kind)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_is_drawn_depends_on_seed_epoch_and_place_alone(one: Augmentation, dtype: type) -> None:
    x: Array = pictures().astype(dtype)
    whole = augmented(x, one)
    assert whole.dtype == dtype
    np.testing.assert_array_equal(augmented(x[10:13], one, first=10), whole[10:13])
    np.testing.assert_array_equal(augmented(x, one), whole)
    assert (augmented(x, one, epoch=3) != whole).any()
    assert (augmented(x, one, seed=2) != whole).any()
    assert (augmented(x, one, first=1) != whole).any()


def test_a_batch_stays_as_it_was() -> None:
    for one in ALL:
        x = pictures()
        Augment([one])(x, seed=0, epoch=0, positions=np.arange(len(x)))
        np.testing.assert_array_equal(x, pictures())


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_a_padded_crop_is_a_part_and_every_part_comes(fill: str) -> None:
    x = np.repeat(pictures(1), 2000, axis=0)
    made = augmented(x, step("crop", pad=(2, 1), fill=Word(fill)))
    mode: Any = "constant" if fill == "zero" else "reflect"
    padded = np.pad(x[0], ((0, 0), (2, 2), (1, 1)), mode=mode)
    parts = {padded[:, i : i + 8, j : j + 6].tobytes(): (i, j) for i in range(5) for j in range(3)}
    counts: dict[tuple[int, int], int] = {}
    for one in made:
        place = parts[one.tobytes()]
        counts[place] = counts.get(place, 0) + 1
    assert len(counts) == 15
    assert min(counts.values()) > 2000 / 15 * 0.7


def test_a_crop_of_a_size_and_its_centre_in_evaluation() -> None:
    x = pictures(200)
    made = augmented(x, step("crop", size=(5, 4)))
    assert made.shape == (200, 3, 5, 4)
    for one, whole in zip(made, x, strict=True):
        assert any(np.array_equal(one, whole[:, i : i + 5, j : j + 4]) for i in range(4) for j in range(3))
    still = Augment([step("crop", size=(5, 4)), step("flip")]).fixed
    assert [one.kind for one in still.steps] == ["crop"]
    np.testing.assert_array_equal(augmented(x, *still.steps), x[:, :, 2:7, 1:5])


@pytest.mark.parametrize(("axis", "number"), [("horizontal", 3), ("vertical", 2)])
def test_flip(axis: str, number: int) -> None:
    x = pictures(4000, 1, 3, 3)
    made = augmented(x, step("flip", axis=Word(axis), p=0.3))
    flipped = np.array([(a != b).any() for a, b in zip(made, x, strict=True)])
    assert abs(flipped.mean() - 0.3) < 0.03
    np.testing.assert_array_equal(made, np.where(flipped[:, None, None, None], np.flip(x, number), x))


class Angle(Draws):
    """Draws always the same."""

    def __init__(self, value: float, count: int) -> None:
        super().__init__(0, 0, np.arange(count), 0)
        self._value = value

    def uniform(self) -> Array:
        return np.full(len(self), self._value)


@pytest.mark.parametrize("degrees", [10.0, -25.0, 90.0, 180.0, 0.0])
def test_rotation_is_pillows_away_from_the_border(degrees: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3, 17, 17)).astype(np.float32)
    made = rotate(x, 180.0, Angle((degrees / 180 + 1) / 2, 2))
    wanted = np.array(
        [[np.asarray(Image.fromarray(plane).rotate(degrees, Image.Resampling.BILINEAR)) for plane in one] for one in x]
    )
    i, j = np.mgrid[:17, :17] - 8
    inside = np.hypot(i, j) < 7
    np.testing.assert_allclose(made[..., inside], wanted[..., inside], atol=1e-5)


def turned(x: Array, degrees: float) -> Array:
    """Counter-clockwise about the centre: the sum of all pixels, each weighted by its bilinear hat."""
    height, width = x.shape[-2:]
    down, right = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    i = sine * right + cosine * down[:, None]
    j = cosine * right - sine * down[:, None]
    rows = np.maximum(0, 1 - np.abs(i[..., None] - down))
    columns = np.maximum(0, 1 - np.abs(j[..., None] - right))
    made: Array = np.einsum("nchw,yxh,yxw->ncyx", x, rows, columns)
    return made


@pytest.mark.parametrize("size", [(7, 4), (4, 9), (1, 5), (6, 1), (2, 3)])
@pytest.mark.parametrize("degrees", [0, 3, -17, 45, 90, -90, 131, 180])
def test_rotation_is_bilinear_to_the_edge_and_zero_beyond(size: tuple[int, int], degrees: float) -> None:
    x = np.random.default_rng(2).uniform(1, 2, (2, 3, *size)).astype(np.float32)
    made = rotate(x, 180.0, Angle((degrees / 180 + 1) / 2, 2))
    np.testing.assert_allclose(made, turned(x, degrees), atol=1e-5)


def test_rotated_bytes_are_rounded() -> None:
    x = pictures(2, 3, 7, 4)
    made = rotate(x, 180.0, Angle((20 / 180 + 1) / 2, 2))
    assert made.dtype == np.uint8
    exact = turned(x, 20)
    assert np.abs(made - exact).max() <= 0.5 + 1e-3
    assert np.abs(made - np.floor(exact)).max() == 1


@pytest.mark.parametrize("degrees", [5, 60])
def test_angles_are_uniform_to_both_sides(degrees: float) -> None:
    """Near the centre of a ramp the value tells the angle."""
    x = np.repeat(np.arange(9, dtype=np.float32).reshape(1, 1, 1, 9) - 4, 9, axis=2).repeat(2000, axis=0)
    made = augmented(x, step("rotate", degrees=degrees))
    angles = np.rad2deg(np.arctan2(-made[:, 0, 5, 4], made[:, 0, 4, 5]))
    assert -degrees <= angles.min() < -0.98 * degrees
    assert 0.98 * degrees < angles.max() <= degrees
    assert abs(angles.mean()) < 0.05 * degrees


def test_large_batches_are_turned_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures(7)
    whole = augmented(x, step("rotate", degrees=90))
    monkeypatch.setattr("netdsl.data.augmenting.GROUP", 300)
    np.testing.assert_array_equal(augmented(x, step("rotate", degrees=90)), whole)


def test_what_is_erased_is_a_rectangle_of_the_declared_area_and_ratio() -> None:
    x = pictures(2000, 3, 32, 32)
    made = augmented(x, step("erase", p=0.6, area=(0.1, 0.2), ratio=(0.5, 2), value=0))
    erased = (made == 0).all(1)
    np.testing.assert_array_equal(made, np.where(erased[:, None], 0, x))
    chosen = erased.any((1, 2))
    assert abs(chosen.mean() - 0.6) < 0.04
    tall, wide = erased.any(2).sum(1)[chosen], erased.any(1).sum(1)[chosen]
    np.testing.assert_array_equal(tall * wide, erased.sum((1, 2))[chosen])
    areas, ratios = tall * wide / 1024, tall / wide
    assert 0.08 < areas.min() < 0.11 < 0.19 < areas.max() < 0.22
    assert 0.45 < ratios.min() < 0.6 < 1.8 < ratios.max() < 2.2
    assert abs(np.log(ratios).mean()) < 0.05


def test_a_value_that_bytes_do_not_hold_makes_floats() -> None:
    made = augmented(pictures(), step("erase", p=1, value=-0.5))
    assert made.dtype == np.float32
    assert (made == -0.5).any((1, 2, 3)).all()


def test_steps_follow_one_another_and_draw_apart() -> None:
    x = pictures(500, 1, 4, 4)
    twice = augmented(x, step("flip"), step("flip"))
    assert 0.4 < (twice == x).all((1, 2, 3)).mean() < 0.6


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**40), st.integers(1, 50))
def test_draws_are_uniform_and_never_reach_their_limit(seed: int, epoch: int, limit: int) -> None:
    draws = Draws(seed, epoch, np.arange(2000), 0)
    uniform, below = draws.uniform(), draws.below(limit)
    assert 0 <= uniform.min() <= uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.05
    assert set(below.tolist()) <= set(range(limit))
    assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 0.15


def splitmix64(state: int) -> int:
    """The first number of java.util.SplittableRandom from a state, by its authors' reference in C."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_the_reference_is_splitmix64() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # the first of its published test vectors
    assert splitmix64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, -1, 12345])
@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (3, 1), (2**40, 2)])
def test_draws_are_splitmix64_of_what_they_are_for(seed: int, epoch: int, step: int) -> None:
    places = [0, 1, 7, 2**33]
    draws = Draws(seed, epoch, np.array(places), step)
    for count in (1, 2, 3):
        expected = []
        for place in places:
            state = 0
            for part in (seed, epoch, step, place, count):
                state = splitmix64(state ^ part % 2**64)
            expected.append((state >> 11) / 2**53)
        assert draws.uniform().tolist() == expected


BAD: dict[str, tuple[list[Augmentation], tuple[int | None, ...], str]] = {
    "another size": ([step("crop", size=5)], (3, 8, 8), "`crop` produces 5x5, but the input is 8x8"),
    "reflects too much": ([step("crop", pad=8, fill=Word("reflect"))], (3, 9, 8), "reflects 8 pixels"),
    "adds too much": ([step("crop", pad=(8, 9))], (3, 9, 9), "adds 9 pixels on a side, but the image has 9"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_the_input(name: str) -> None:
    steps, shape, said = BAD[name]
    with pytest.raises(BadAugment, match=said):
        Augment(steps).source(shape)


def test_what_does_not_fit_the_pictures() -> None:
    with pytest.raises(BadAugment, match="a crop of 9x9 does not fit into 8x6"):
        augmented(pictures(), step("crop", size=9))
    with pytest.raises(BadAugment, match="the net has none"):
        DataSpec({"x": ((4,), "f32")}, {"y": Target("y", "class", classes=2)}, augment=Augment([step("flip")])).example(
            "x"
        )


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("flip", "p", 1.5),
        ("flip", "axis", Word("diagonal")),
        ("erase", "area", (0.5, 0.1)),
        ("erase", "area", 0),
        ("erase", "ratio", (1, 2, 3)),
        ("rotate", "degrees", 181),
        ("crop", "pad", -1),
    ],
)
def test_arguments_are_checked(name: str, argument: str, value: object) -> None:
    with pytest.raises(ValueMisfit):
        step(name, **{argument: value})


def test_declarations_need_no_numpy() -> None:
    code = "import sys, netdsl.data.augment, netdsl.data.kinds; sys.exit(bool({'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_augmentation_says_what_it_is_and_whose() -> None:
    for cls in AUGMENTATIONS.values():
        assert cls.__doc__
        assert "Source: " in cls.__doc__
        assert "Shapes: " in cls.__doc__
        assert all(argument.doc for argument in cls.arguments.values())
