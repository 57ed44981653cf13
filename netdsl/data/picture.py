"""The preprocessing of images, as an input declares it and a model's metadata store it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.shape import format_shape
from netdsl.data.errors import WrongShape
from netdsl.declare.arguments import ValueMisfit, Word, height_width
from netdsl.layers.input import PREPROCESSING, InputLayer

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.data.reader import Dims
    from netdsl.ir.net import Node

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


class Picture:
    """How an image becomes an input; the arguments are those of `input`.

    `resize`: size of the shorter side, or height and width. `letterbox`: gray value around an image that keeps its
    aspect ratio in `resize`. `crop`: height and width of the center crop. `mean` and `std`: one number, or one per
    channel.
    """

    __slots__ = ("crop", "filter", "letterbox", "mean", "order", "resize", "std")

    def __init__(
        self,
        resize: int | tuple[int, int] | None = None,
        crop: int | tuple[int, int] | None = None,
        filter: str = "bilinear",
        order: str = "rgb",
        letterbox: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        assert filter in FILTERS, filter
        assert order in ("rgb", "bgr"), order
        self.resize = resize
        self.letterbox = letterbox
        self.crop = None if crop is None else height_width(crop)
        self.filter = filter
        self.order = order
        self.mean = mean
        self.std = std

    @property
    def normalizes(self) -> bool:
        """Whether pixels are normalized."""
        return self.mean is not None or self.std is not None

    def normalized(self, x: Array) -> Array:
        """Return (x - mean) / std, float32, for images [N, C, H, W]; or x itself if neither is declared."""
        if not self.normalizes:
            return x
        mean, std = (np.array(each, np.float32).reshape(-1, 1, 1) for each in (self.mean or (0,), self.std or (1,)))
        made: Array = (x - mean) / std
        return made

    def check_array(self, path: str, shape: Dims) -> None:
        """Raise WrongShape if image files of the size in an array, [*, height, width], would be resized, since arrays
        are not."""
        size = shape[-2:]
        known = [each for each in size if each is not None]
        if self.resize not in (None, size) and (len(known) < 2 or self.resize != min(known)):
            raise WrongShape(
                f"{path} has images of {format_shape(size)} (height x width) in an array, which are not resized, but "
                f"the input declares `{Picture(self.resize, letterbox=self.letterbox)}`",
                "remove `resize`, or pass image files",
            )

    def note_array(self, path: str) -> str:
        """Return the note that numbers in an array are not preprocessed; empty if nothing is declared."""
        return f"{path}: arrays are used as they are, without `{self}`" if str(self) else ""

    def in_pixels(self) -> Picture:
        """Return the same preprocessing without normalization."""
        return Picture(self.resize, self.crop, self.filter, self.order, self.letterbox)

    def __str__(self) -> str:
        """Return the arguments of `input` as they are written, without defaults."""
        given = ((name, getattr(self, name)) for name in PREPROCESSING)
        return " ".join(
            f"{name} {_written(name, value)}" for name, value in given if value != InputLayer.arguments[name].default
        )


def _written(name: str, value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    if name in ("resize", "crop"):
        return str(value[0]) if name == "crop" and value[0] == value[1] else format_shape(value)
    return f"[{', '.join(f'{each:g}' for each in value)}]" if len(value) > 1 else f"{value[0]:g}"


def declared_picture(node: Node) -> Picture:
    """Return the preprocessing that an input of a net declares."""
    assert isinstance(node.layer, InputLayer)
    return Picture(**node.layer.preprocessing)  # type: ignore[arg-type]


def parse_picture(text: str, channels: int | None) -> Picture | None:
    """Return the preprocessing in a model's metadata, for images with this number of channels; None if it is
    invalid."""
    try:
        known = json.loads(text)
        given: dict[str, Any] = {
            name: InputLayer.arguments[name].kind.convert(_from_json(value)) for name, value in known.items()
        }
    except (ValueError, RecursionError, AttributeError, KeyError, ValueMisfit):
        return None
    lengths = {len(given[name]) for name in ("mean", "std") if name in given}
    boxed = "letterbox" not in given or isinstance(given.get("resize"), tuple)
    return Picture(**given) if given.keys() <= {*PREPROCESSING} and boxed and lengths <= {1, channels} else None


def _from_json(value: object) -> object:
    return tuple(value) if isinstance(value, list) else Word(value) if isinstance(value, str) else value
