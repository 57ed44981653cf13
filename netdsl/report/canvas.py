"""Pictures of pixels, lines and text, written as SVG directly, as PNG by Pillow, or as PDF by CairoSVG."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from importlib.util import find_spec
from math import ceil, dist
from typing import TYPE_CHECKING, Any
from unicodedata import normalize
from xml.sax.saxutils import escape

import numpy as np

from netdsl.data.errors import MissingPackage
from netdsl.report.theme import LIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

    from netdsl.report.theme import Theme

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]
    Point = tuple[float, float]

PICTURE_FORMS = {"svg": None, "png": ("PIL", "Pillow", "images"), "pdf": ("cairosvg", "CairoSVG", "pdf")}
"""Formats, with the module, the package and the extra that each needs."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
PDF_FONT = "Helvetica"
"""CairoSVG takes the first font of a list alone."""
MAX_PDF_SIDE = 14_400 / 0.75
"""Maximum side of a PDF in pixels; readers refuse larger pages."""
PDF_DATE = "2000-01-01T00:00:00Z"
"""The date in every PDF, so that equal pictures give equal bytes."""
PRODUCER = b"made by netdsl"
"""Comment at the end of every picture."""
FONT_SIZE = 13
"""Font size in pixels."""
FONT_EXTRAS = "·…‘’“”°±"
REPLACEMENTS = {"×": "x", "÷": "/", "−": "-", "–": "-", "—": "-", "µ": "u", "ß": "ss"}
"""Replacements for non-ASCII characters that Pillow's built-in font lacks."""
DASH, FREE = 4, 3
"""Length of a dash, and of the gap between dashes."""
DASHED = f' stroke-dasharray="{DASH} {FREE}"'
BASELINE = 0.35
"""Distance from the middle of a line to its baseline, as a fraction of the font size."""


def length(text: str, size: int = FONT_SIZE) -> float:
    """Return the approximate width of a line of text in pixels; common fonts are hardly wider."""
    return 0.56 * size * len(text)


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels [height, width], grey, or [height, width, 3], RGB, as a PNG file that names its producer.

    Source: PNG specification (3rd edition), sections 5, 9 and 11; rows are not filtered.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # in front of each row stands its filter, 0
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), 9)
    parts = (b"IHDR", header), (b"IDAT", data), (b"tEXt", b"Software\0" + PRODUCER), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Canvas:
    """A picture under construction; positions are in pixels from the upper left corner.

    `title` is for screen readers and the browser's tab.
    """

    __slots__ = ("_height", "_shapes", "_title", "_width", "theme")

    def __init__(self, width: float, height: float, title: str, theme: Theme = LIGHT) -> None:
        self.theme = theme
        self._width = round(width)
        self._height = round(height)
        self._title = title
        self._shapes: list[Shape] = []

    @property
    def width(self) -> int:
        return self._width

    def image(self, x: float, y: float, pixels: Pixels, scale: int = 1) -> None:
        """Add an image; each pixel becomes a square of `scale` pixels, without smoothing."""
        enlarged = pixels.repeat(scale, 0).repeat(scale, 1) if scale > 1 else pixels
        self._shapes.append(Image(x, y, enlarged))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        size: int = FONT_SIZE,
        bold: bool = False,
        ink: str = "",
        faint: bool = False,
        turned: bool = False,
    ) -> None:
        """Add a line of text centred vertically on `y`; `anchor` (start, middle, end) is the part placed at `x`. Text
        that is `turned` runs upwards, centred horizontally on `x`."""
        self._shapes.append(
            TextLine(
                (x, y), text, anchor, size, bold, ink or (self.theme.faint if faint else self.theme.ink), turned=turned
            )
        )

    def line(self, points: Sequence[Point], ink: str = "", width: float = 1, *, dashed: bool = False) -> None:
        self._shapes.append(Polyline(points, ink or self.theme.ink, width, dashed=dashed))

    def dot(self, x: float, y: float, radius: float, ink: str = "") -> None:
        self._shapes.append(Dot(x, y, radius, ink or self.theme.ink))

    def add(self, shape: Shape) -> None:
        self._shapes.append(shape)

    def encode(self, form: str) -> bytes:
        """Return the picture in one of PICTURE_FORMS. Raises MissingPackage."""
        check_installed(form)
        return {"svg": self.svg, "png": self.png, "pdf": self.pdf}[form]()

    def svg(self, font: str = FONT) -> bytes:
        """Return the SVG; equal pictures give equal bytes."""
        size = f'width="{self._width}" height="{self._height}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {self._width} {self._height}" '
            f'font-family="{font}" role="img">',
            f"<title>{escape(self._title)}</title>",
            f'<rect {size} fill="{self.theme.paper}"/>',
            *(shape.svg() for shape in self._shapes),
            "</svg>",
            f"<!-- {PRODUCER.decode()} -->",
            "",
        ]
        return "\n".join(lines).encode()

    def png(self) -> bytes:
        """Return the PNG, by Pillow."""
        from PIL import Image as Pillow
        from PIL import ImageDraw

        picture = Pillow.new("RGB", (self._width, self._height), self.theme.paper)
        draw = ImageDraw.Draw(picture)
        for shape in self._shapes:
            shape.png(picture, draw)
        return encode_png(np.asarray(picture))

    def pdf(self) -> bytes:
        """Return a PDF of one page, by CairoSVG, with the fonts of this machine. Raises MissingPackage if the library
        cairo cannot be loaded."""
        try:
            from cairocffi import PDF_METADATA_CREATE_DATE, PDF_METADATA_TITLE
            from cairosvg.surface import PDFSurface
        except (ImportError, OSError) as error:
            reason = str(error).partition("\n")[0]  # cairocffi adds a line for each name that it tried
            raise MissingPackage(f"CairoSVG cannot be loaded: {reason}", "install the library cairo") from None
        title = self._title

        class Surface(PDFSurface):  # type: ignore[misc]
            def finish(self) -> None:
                self.cairo.set_metadata(PDF_METADATA_TITLE, title)
                self.cairo.set_metadata(PDF_METADATA_CREATE_DATE, PDF_DATE)
                super().finish()

        scale = min(1.0, MAX_PDF_SIDE / max(self._width, self._height))
        return b"%b%% %b\n" % (Surface.convert(self.svg(PDF_FONT), scale=scale), PRODUCER)


def check_installed(form: str) -> None:
    """Check that the package of a format is there, before what is to be drawn is computed. Raises MissingPackage."""
    needed = PICTURE_FORMS[form]
    if needed and find_spec(needed[0]) is None:
        raise MissingPackage(
            f"a picture as {form.upper()} needs {needed[1]}",
            f"pip install 'netdsl[{needed[2]}]', or name an .svg file",
        )


class Shape:
    """One shape on a canvas."""

    __slots__ = ()

    def svg(self) -> str:
        raise NotImplementedError

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        raise NotImplementedError


class Image(Shape):
    __slots__ = ("pixels", "x", "y")

    def __init__(self, x: float, y: float, pixels: Pixels) -> None:
        self.x = x
        self.y = y
        self.pixels = pixels

    def svg(self) -> str:
        height, width = self.pixels.shape[:2]
        data = b64encode(encode_png(self.pixels)).decode()
        place = f'x="{self.x:g}" y="{self.y:g}" width="{width}" height="{height}"'
        return f'<image {place} style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        from PIL import Image as Pillow

        picture.paste(Pillow.fromarray(self.pixels).convert("RGB"), (round(self.x), round(self.y)))


class TextLine(Shape):
    __slots__ = ("anchor", "at", "bold", "ink", "size", "text", "turned")

    def __init__(
        self, at: Point, text: str, anchor: str, size: int, bold: bool, ink: str, *, turned: bool = False
    ) -> None:
        self.at = at
        self.text = text
        self.anchor = anchor
        self.size = size
        self.bold = bold
        self.ink = ink
        self.turned = turned

    def svg(self) -> str:
        x, y = self.at[0], self.at[1] + BASELINE * self.size
        look = f'font-size="{self.size}"' + (' font-weight="600"' if self.bold else "")
        look += f' transform="rotate(-90 {self.at[0]:g} {self.at[1]:g})"' if self.turned else ""
        return (
            f'<text x="{x:g}" y="{y:g}" {look} text-anchor="{self.anchor}" fill="{self.ink}">{escape(self.text)}</text>'
        )

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        from PIL import ImageFont

        anchor = {"start": "lm", "middle": "mm", "end": "rm"}[self.anchor]
        font = ImageFont.load_default(self.size)
        text = "".join(map(_plain, self.text))
        stroke = 0.3 if self.bold else 0
        if not self.turned:
            draw.text(self.at, text, self.ink, font, anchor, stroke_width=stroke)
            return
        from PIL import Image as Pillow
        from PIL import ImageDraw

        long, high = ceil(font.getlength(text)) + 4, 2 * self.size
        mask = Pillow.new("L", (long, high))
        ImageDraw.Draw(mask).text((2, high / 2), text, 255, font, "lm", stroke_width=stroke)
        below = {"start": 2, "middle": long / 2, "end": long - 2}[self.anchor]
        corner = round(self.at[0] - high / 2), round(self.at[1] - long + below)
        picture.paste(self.ink, corner, mask.transpose(Pillow.Transpose.ROTATE_90))


def _plain(character: str) -> str:
    """Return the replacement of a character that Pillow's font lacks, such as `x` for `×`; otherwise the character."""
    if character.isascii() or character in FONT_EXTRAS:
        return character
    base = REPLACEMENTS.get(character) or normalize("NFKD", character)[0]
    return base if base.isascii() else character


class Polyline(Shape):
    __slots__ = ("dashed", "ink", "points", "width")

    def __init__(self, points: Sequence[Point], ink: str, width: float, *, dashed: bool = False) -> None:
        self.points = points
        self.ink = ink
        self.width = width
        self.dashed = dashed

    def svg(self) -> str:
        points = " ".join(f"{x:.5g},{y:.5g}" for x, y in self.points)
        look = f'stroke="{self.ink}" stroke-width="{self.width:g}"' + DASHED * self.dashed
        return f'<polyline points="{points}" fill="none" {look}/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        width = max(1, round(self.width))
        if self.dashed:
            dashes(draw, self.points, self.ink, width)
        else:
            draw.line(list(self.points), self.ink, width, joint="curve")


def dashes(draw: ImageDraw, points: Sequence[Point], ink: str, width: int, scale: int = 1) -> None:
    """Split a line into the dashes of an SVG's `stroke-dasharray`, for a PNG that is `scale` times larger."""
    dash, drawn, left = [points[0]], True, float(DASH * scale)
    for end in points[1:]:
        while (far := dist(dash[-1], end)) > left:
            (x, y), part = dash[-1], left / far
            dash.append((x + (end[0] - x) * part, y + (end[1] - y) * part))
            if drawn:
                draw.line(dash, ink, width)
            drawn = not drawn
            dash, left = dash[-1:], float((DASH if drawn else FREE) * scale)
        dash.append(end)
        left -= far
    if drawn:
        draw.line(dash, ink, width)


class Dot(Shape):
    __slots__ = ("ink", "radius", "x", "y")

    def __init__(self, x: float, y: float, radius: float, ink: str) -> None:
        self.x = x
        self.y = y
        self.radius = radius
        self.ink = ink

    def svg(self) -> str:
        return f'<circle cx="{self.x:.5g}" cy="{self.y:.5g}" r="{self.radius:g}" fill="{self.ink}"/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        x, y, r = self.x, self.y, self.radius
        draw.ellipse((x - r, y - r, x + r, y + r), self.ink)
