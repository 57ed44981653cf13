"""Pictures of filters: what each pixel shows, which layer is drawn, and files that can be read again."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from netdsl.report.canvas import Canvas, encode_png
from netdsl.report.filters import draw_filters, shaded
from tests.support.cli_tools import MNIST, Commands, netdsl

__all__ = ["netdsl"]

WEIGHTS = MNIST / "lenet5.safetensors"


def grid(canvas: Canvas) -> Any:
    """The pixels of the one image in a picture."""
    (data,) = re.findall(r"base64,([^\"]+)\"", canvas.svg().decode())
    return np.asarray(Image.open(io.BytesIO(b64decode(data))))


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5, 3), (64, 64, 3)])
def test_pillow_reads_our_png(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    np.testing.assert_array_equal(np.asarray(image), pixels)
    assert image.info["Software"] == "made by netdsl"


def test_zero_is_grey_and_each_filter_has_its_scale() -> None:
    weight = np.array([[0, 1, -1, 0.5], [0, 10, -5, 0]]).reshape(2, 1, 2, 2)
    assert shaded(weight, together=False).reshape(2, 4).tolist() == [[128, 255, 1, 192], [128, 255, 64, 128]]
    assert shaded(weight, together=True)[0].reshape(4).tolist() == [128, 141, 115, 134]
    assert (shaded(np.zeros((2, 1, 2, 2)), together=False) == 128).all()


def test_one_channel_is_grey_tiles_in_a_line() -> None:
    weight = np.random.default_rng(1).standard_normal((3, 1, 2, 2))
    found = grid(draw_filters("w", weight))
    side = found.shape[0]
    assert found.ndim == 2
    for at, shades in enumerate(shaded(weight, together=False)[:, 0]):
        tile = found[:, at * (side + 4) : at * (side + 4) + side]
        np.testing.assert_array_equal(tile, shades.repeat(side // 2, 0).repeat(side // 2, 1))


def test_three_channels_are_colors() -> None:
    weight = np.zeros((1, 3, 2, 2))
    weight[0, 0, 0, 0], weight[0, 2, 1, 1] = 1, -1
    found = grid(draw_filters("w", weight))
    assert found[0, 0].tolist() == [255, 128, 128]
    assert found[-1, -1].tolist() == [128, 128, 1]


def test_more_channels_are_rows() -> None:
    weight = np.random.default_rng(1).standard_normal((5, 2, 3, 3))
    canvas = draw_filters("w", weight)
    found = grid(canvas)
    side = (found.shape[1] - 4) // 2
    assert found.shape == (5 * (side + 4) - 4, 2 * side + 4)
    third = shaded(weight, together=False)[2, 1].repeat(side // 3, 0).repeat(side // 3, 1)
    np.testing.assert_array_equal(found[2 * (side + 4) :][:side, side + 4 :], third)
    assert re.findall(r">(\d)</text>", canvas.svg().decode()) == list("01234")


@pytest.mark.parametrize(("count", "channels", "side"), [(2, 16, 64), (3, 11, 40)])
def test_more_than_32_tiles_are_smaller(count: int, channels: int, side: int) -> None:
    found = grid(draw_filters("w", np.ones((count, channels, 8, 8))))
    assert found.shape == (count * (side + 4) - 4, channels * (side + 4) - 4)


@pytest.mark.parametrize("shape", [(512, 512, 3, 3), (1000, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 99), (1, 4000, 3, 3)])
def test_any_size_is_drawn(shape: tuple[int, ...]) -> None:
    canvas = draw_filters("w", np.ones(shape, np.float32))
    ElementTree.fromstring(canvas.svg())
    assert np.asarray(Image.open(io.BytesIO(canvas.png()))).ndim == 3


def test_a_name_cannot_break_the_picture() -> None:
    root = ElementTree.fromstring(draw_filters('<&">', np.ones((1, 1, 2, 2))).svg())
    assert [each.text for each in root if each.tag.endswith("title")] == ['<&">']


def test_the_first_convolution_is_drawn(netdsl: Commands) -> None:
    ran = netdsl("filters", WEIGHTS)
    assert ran.code == 0
    assert ran.err == "filters.svg: `conv1.weight`, 6 filters of 1x5x5\n"
    assert "conv1.weight" in Path("filters.svg").read_text("utf-8")
    assert ran.out == ""


@pytest.mark.parametrize("layer", ["conv2", "conv2.weight"])
def test_a_layer_by_its_name(netdsl: Commands, layer: str) -> None:
    assert "16 filters of 6x5x5" in netdsl("filters", WEIGHTS, "--layer", layer, "-o", "two.png").err
    assert Path("two.png").read_bytes()[:4] == b"\x89PNG"


def test_of_a_net_with_its_weights_and_without(netdsl: Commands) -> None:
    assert netdsl("filters", "lenet5", "--weights", WEIGHTS, "-o", "a.svg").code == 0
    assert netdsl("filters", WEIGHTS, "-o", "b.svg").code == 0
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    drawn = netdsl("filters", "lenet5", "-o", "c.svg", "--seed", 3)
    assert "using random weights (seed 3)" in drawn.err
    assert Path("c.svg").read_bytes() != Path("a.svg").read_bytes()


def test_an_archive_with_an_optimizers_state(netdsl: Commands) -> None:
    state = np.ones((2, 1, 3, 3), np.float32)
    np.savez("state.npz", **{"conv.weight.velocity": state, "conv.weight": state, "step": np.array(3)})
    assert "`conv.weight`" in netdsl("filters", "state.npz").err
    assert "`conv.weight.velocity`" in netdsl("filters", "state.npz", "--layer", "conv.weight.velocity").err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((WEIGHTS, "--layer", "conv3"), "E0705", "it has conv1, conv2"),
        ((WEIGHTS, "--layer", "dense1"), "E0705", "no convolution `dense1`"),
        (("xor",), "E0705", "xor has no convolution"),
        (("nothing.safetensors",), "E0601", "nothing.safetensors"),
        (("nan.npz",), "E0704", "NaN"),
        ((WEIGHTS, "-o", "filters"), "E0643", "cannot draw to filters"),
        (("bad.net",), "E0202", "nosuch"),
    ],
)
def test_what_is_wrong_is_told(netdsl: Commands, arguments: tuple[Any, ...], code: str, said: str) -> None:
    np.savez("nan.npz", weight=np.full((1, 1, 2, 2), np.nan, np.float32))
    netdsl.write(bad="net bad { input x 1x4x4; nosuch }")
    ran = netdsl("filters", *arguments)
    assert ran.code in (1, 2)
    assert code in ran.err
    assert said in ran.err
    assert not list(Path().glob("filters*"))
