"""Images as examples: decoded by Pillow, upright, 8-bit gray or RGB, channels first, values 0 to 255."""

from __future__ import annotations

import math
import os
import threading
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.files import open_file
from netdsl.base.shape import format_shape
from netdsl.data.errors import BadData, BadPicture, MissingPackage, WrongShape
from netdsl.data.picture import Picture
from netdsl.data.reader import Reader, convert

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL.Image import Image

    from netdsl.base.dtypes import Array
    from netdsl.data.reader import Dims

FORMATS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    **{f"P{digit}".encode(): "PPM" for digit in range(1, 7)},
}
"""Pillow's name of each supported format, by the first bytes of a file. Other formats of Pillow are not opened: some
run external programs, such as Ghostscript."""

ENDINGS = frozenset([".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"])
"""File extensions of images in the folders of a data set. Other files there are ignored, and counted in a note."""

PIXELS = 2**26
"""Maximum number of pixels of an image, checked before it is decoded: a larger one may be a decompression bomb."""

LARGE = 2**22
"""Images with more pixels are decoded one at a time, whatever the number of threads: decoding takes up to 12 bytes per
pixel."""

ROWS = 256
"""Number of rows that are composited onto white at a time, which bounds the memory for copies."""


class ImageReader(Reader):
    """One image per example.

    Transparent images are composited onto white, 16-bit channels keep their upper byte, palettes and CMYK become RGB,
    and EXIF orientation is applied.
    """

    __slots__ = ("_paths", "frame", "sizes")

    def __init__(self, paths: Sequence[str], shape: Dims, dtype: str, picture: Picture | None = None) -> None:
        super().__init__(paths[0], shape, dtype)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise WrongShape(f"{paths[0]} is an image, but the input takes examples of {format_shape(shape)}")
        self._paths = tuple(paths)
        self.frame = self.picture = picture or Picture()
        self.sizes: list[tuple[int, int]] = []
        """Height and width of each image as stored, before EXIF orientation is applied."""
        for path in self._paths:
            with _opened(path) as image:
                self.sizes.append((image.height, image.width))
            self._check_size(path, self.sizes[-1])

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return self._paths[index]

    def batches(self, size: int, first: int = 0, stop: int | None = None) -> Iterator[Array]:
        for at, end in self.spans(size, first, stop):
            paths = self._paths[at:end]
            yield convert(self, stacked([self.read(index) for index in range(at, end)], paths), at)

    def _check_size(self, path: str, size: tuple[int, int]) -> None:
        """Raise WrongShape if an image stored with this height and width cannot fit the input, whatever its EXIF
        orientation, and BadPicture if it would become too large. Reads headers only."""
        if self.frame.resize is not None:
            made = self.frame.resize if isinstance(self.frame.resize, tuple) else resized_size(self.frame, *size)
            if math.prod(made) > PIXELS:
                raise BadPicture(
                    f"{path}, {format_shape(size)} (height x width), would be resized to {format_shape(made)}, more "
                    f"than the limit of {PIXELS:,} pixels"
                )
            return
        if (crop := self.frame.crop) is not None:
            if not any(each[0] >= crop[0] and each[1] >= crop[1] for each in (size, size[::-1])):
                raise self._too_small(path, size)
        elif not any(self._fits(each) for each in (size, size[::-1])):
            raise self._misfit(path, size)

    def _fits(self, size: tuple[int, int]) -> bool:
        return all(want in (None, found) for want, found in zip(self.shape[1:], size, strict=True))

    def _misfit(self, path: str, size: tuple[int, int]) -> WrongShape:
        wanted = format_shape(self.shape[1:])
        return WrongShape(
            f"{path} is {format_shape(size)} (height x width), but the input takes {wanted}",
            "resize it first, or declare how on the input, such as `resize 256 crop 224` or `resize 224x224`",
        )

    def _too_small(self, path: str, size: tuple[int, int]) -> WrongShape:
        crop = format_shape(self.frame.crop or ())
        return WrongShape(f"{path} is {format_shape(size)} (height x width), too small for a crop of {crop}")

    def read(self, index: int) -> Array:
        """Return an image as [channels, height, width], uint8. Thread-safe."""
        from PIL import ImageOps

        path = self._paths[index]
        height, width = self.sizes[index]
        with _opened(path) as image, _one_at_a_time if height * width > LARGE else nullcontext():
            self._check_size(path, (image.height, image.width))
            try:
                ImageOps.exif_transpose(image, in_place=True)
                ready = self._framed(_in_mode(image, path, "L" if self.shape[0] == 1 else "RGB"), path)
                pixels = np.asarray(ready)
            except (BadPicture, WrongShape, MemoryError):
                raise
            except Exception as error:
                raise _damaged(path, error) from None
        array = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if not self._fits(array.shape[1:]):
            raise self._misfit(path, array.shape[1:])
        return array[::-1] if self.frame.order == "bgr" else array

    def _framed(self, image: Image, path: str) -> Image:
        from PIL import Image

        picture, mode = self.frame, image.mode
        if picture.resize is not None:
            width, height = image.size
            size = resized_size(picture, height, width)
            image = image.resize(size[::-1], Image.Resampling[picture.filter.upper()])
        if picture.letterbox is not None:
            assert isinstance(picture.resize, tuple)
            fill = picture.letterbox if mode == "L" else (picture.letterbox,) * 3
            inner, image = image, Image.new(mode, picture.resize[::-1], fill)
            image.paste(inner, (round((image.width - inner.width) / 2), round((image.height - inner.height) / 2)))
        if picture.crop is not None:
            height, width = picture.crop
            if image.height < height or image.width < width:
                raise self._too_small(path, (image.height, image.width))
            # torchvision's CenterCrop rounds like this.
            left, top = round((image.width - width) / 2), round((image.height - height) / 2)
            image = image.crop((left, top, left + width, top + height))
        return image


def resized_size(picture: Picture, height: int, width: int) -> tuple[int, int]:
    """Return height and width of an image after `resize`, before it is letterboxed."""
    if isinstance(picture.resize, tuple) and picture.letterbox is None:
        return picture.resize
    if isinstance(picture.resize, tuple):
        tall, wide = picture.resize
        if width / height > wide / tall:  # rounded like Pillow's ImageOps.pad
            return max(1, round(height / width * wide)), wide
        return tall, min(wide, max(1, round(width / height * tall)))
    assert picture.resize is not None
    short = min(height, width)
    return max(1, picture.resize * height // short), max(1, picture.resize * width // short)


def stacked(arrays: Sequence[Array], paths: Sequence[str]) -> Array:
    """Return the images as a batch. Raises WrongShape if one differs in size from the first."""
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise WrongShape(
                f"images in one batch differ in size: {paths[0]} is {format_shape(arrays[0].shape[1:])}, "
                f"{path} is {format_shape(array.shape[1:])} (height x width)"
            )
    return np.stack(arrays)


class _Silence:
    """Suppress warnings. Warning filters are global, so concurrent threads share one change to them."""

    __slots__ = ("_caught", "_inside", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_silence = _Silence()
_one_at_a_time = threading.Lock()


@contextmanager
def _opened(path: str) -> Iterator[Image]:
    """Open an image and check its header, without decoding pixels."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise MissingPackage(
            f"{path} is an image, and reading images requires Pillow", "pip install 'netdsl[images]'"
        ) from None
    with open_file(path) as file, _silence:
        try:
            image = Image.open(file, formats=[format_of(file.read(4)) or "PNG"])
            width, height = image.size
        except Exception as error:  # hostile bytes make the decoders fail in any way
            raise _damaged(path, error) from None
        if width * height > PIXELS:
            raise BadPicture(f"{path} has {width}x{height} pixels, more than the limit of {PIXELS:,}")
        try:
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
        except Exception as error:
            raise _damaged(path, error) from None
        if animated:
            raise BadPicture(f"{path} is an animation, not a still image")
        yield image


def format_of(head: bytes) -> str | None:
    """Return Pillow's name of the format of a file with these first bytes, or None."""
    return next((name for magic, name in FORMATS.items() if head.startswith(magic)), None)


def _damaged(path: str, error: Exception) -> BadPicture | BadData:
    reason = str(error).splitlines()[0].partition(" <")[0] if str(error) else type(error).__name__
    if "DecompressionBomb" in type(error).__name__:
        return BadPicture(f"{path} has more pixels than the limit of {PIXELS:,}: {reason}")
    if os.path.getsize(path) == 0:
        return BadPicture(f"{path} is empty")
    return BadPicture(f"{path} is damaged, or not a supported image: {reason}")


def _in_mode(image: Image, path: str, mode: str) -> Image:
    """Convert an image to 8-bit gray (`L`) or `RGB`, composited onto white. Raises BadPicture for wider pixels."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype("<u2") >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise BadPicture(f"{path} has {kind} pixels; only 8 and 16 bits are supported")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        opaque = Image.new(mode, image.size)
        for top in range(0, image.height, ROWS):  # alpha_composite needs RGBA copies
            rows = image.crop((0, top, image.width, min(top + ROWS, image.height))).convert("RGBA")
            white = Image.new("RGBA", rows.size, "white")
            opaque.paste(Image.alpha_composite(white, rows).convert(mode), (0, top))
        return opaque
    return image.convert(mode)
