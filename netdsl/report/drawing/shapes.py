"""Shapes of drawings: boxes, smooth lines with arrowheads, and groups with a title."""

from __future__ import annotations

from math import ceil, cos, dist, pi, sin
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from netdsl.report.canvas import DASHED, Shape, dashes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

    Point = tuple[float, float]


class Titled(Shape):
    """A group of shapes with a tooltip."""

    __slots__ = ("shapes", "title")

    def __init__(self, title: str, shapes: Sequence[Shape]) -> None:
        self.title = title
        self.shapes = shapes

    def svg(self) -> str:
        inside = "\n".join(shape.svg() for shape in self.shapes)
        return f"<g><title>{escape(clean(self.title))}</title>\n{inside}\n</g>"

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        for shape in self.shapes:
            shape.png(picture, draw)


class Rectangle(Shape):
    """A rectangle with corners rounded by `radius`; `ends` are the rounded ends: `tb`, `t`, `b` or none."""

    __slots__ = ("dashed", "edge", "fill", "height", "place", "radius", "round", "width")

    def __init__(
        self,
        place: Point,
        width: float,
        height: float,
        *,
        fill: str,
        edge: str,
        radius: float = 0,
        round: str = "tb",
        dashed: bool = False,
    ) -> None:
        self.place = place
        self.width = width
        self.height = height
        self.fill = fill
        self.edge = edge
        self.radius = radius
        self.round = round
        self.dashed = dashed

    def svg(self) -> str:
        x, y = self.place
        w, h = self.width, self.height
        look = f'fill="{self.fill}" stroke="{self.edge}"' + DASHED * self.dashed
        if self.round == "tb" or not self.radius:
            round = f' rx="{self.radius:g}"' if self.radius else ""
            return f'<rect x="{coord(x)}" y="{coord(y)}" width="{coord(w)}" height="{coord(h)}"{round} {look}/>'
        top, low = (self.radius if end in self.round else 0 for end in "tb")
        path = f"M{coord(x + top)} {coord(y)}h{coord(w - 2 * top)}" + _corner(top, top, top)
        path += f"v{coord(h - top - low)}" + _corner(low, -low, low) + f"h{coord(2 * low - w)}"
        path += _corner(low, -low, -low) + f"v{coord(top + low - h)}" + _corner(top, top, -top)
        return f'<path d="{path}z" {look}/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        x, y = (round(at) for at in self.place)
        right, low = round(self.place[0] + self.width), round(self.place[1] + self.height)
        corners = ("t" in self.round, "t" in self.round, "b" in self.round, "b" in self.round)
        fill, edge = (None if color == "none" else color for color in (self.fill, "none" if self.dashed else self.edge))
        draw.rounded_rectangle((x, y, right, low), self.radius, fill, edge, PNG_SCALE, corners=corners)
        if self.dashed:
            dashes(draw, self._outline(x, y, right, low), self.edge, PNG_SCALE, PNG_SCALE)

    def _outline(self, x: float, y: float, right: float, low: float) -> list[Point]:
        """Return points along the outline, clockwise from the upper right corner, closed."""
        points = []
        for turn, (at, height, end) in enumerate(((right, y, "t"), (right, low, "b"), (x, low, "b"), (x, y, "t"))):
            radius = self.radius if end in self.round else 0
            middle = at + (radius if at == x else -radius), height + (radius if end == "t" else -radius)
            angles = [(turn - 1 + step / 6) * pi / 2 for step in range(7)]
            points += [(middle[0] + radius * cos(angle), middle[1] + radius * sin(angle)) for angle in angles]
        return [*points, points[0]]


class Pattern(Shape):
    """A hatched rectangle with an outline: `solid`, `horizontal`, `vertical`, `grid`, `diagonal`, `falling`,
    `crossed` or `dotted`."""

    __slots__ = ("ink", "kind", "place", "scale", "size")

    def __init__(self, place: Point, size: Point, kind: str, ink: str, scale: int) -> None:
        self.place = place
        self.size = size
        self.kind = kind
        self.ink = ink
        self.scale = scale

    def svg(self) -> str:
        (x, y), (w, h) = self.place, self.size
        frame = f'<rect x="{coord(x)}" y="{coord(y)}" width="{coord(w)}" height="{coord(h)}" '
        if self.kind == "solid":
            return f'{frame}fill="{self.ink}"/>'
        path = "".join(f"M{coord(ax)} {coord(ay)}L{coord(bx)} {coord(by)}" for (ax, ay), (bx, by) in self._lines())
        return f'{frame}fill="none" stroke="{self.ink}"/>\n<path d="{path}" stroke="{self.ink}"/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        (x, y), (w, h) = self.place, self.size
        draw.rectangle((x, y, x + w, y + h), self.ink if self.kind == "solid" else None, self.ink, PNG_SCALE)
        for line in self._lines():
            draw.line(line, self.ink, PNG_SCALE)

    def _lines(self) -> list[tuple[Point, Point]]:
        (x, y), (w, h), step = self.place, self.size, HATCH * self.scale
        down = [step * at for at in range(1, ceil(h / step))]
        across = [step * at for at in range(1, ceil(w / step))]
        rows = [((x, y + at), (x + w, y + at)) for at in down]
        columns = [((x + at, y), (x + at, y + h)) for at in across]
        if self.kind in ("horizontal", "vertical", "grid"):
            return rows * (self.kind != "vertical") + columns * (self.kind != "horizontal")
        if self.kind == "dotted":
            return [((x + a, y + b), (x + a + self.scale, y + b)) for b in down for a in across]
        sums = [step * at for at in range(1, ceil((w + h) / step))]
        rising = [((x + max(0, at - h), y + min(at, h)), (x + min(at, w), y + max(0, at - w))) for at in sums]
        if self.kind == "diagonal":
            return rising
        falling = [((ax, 2 * y + h - ay), (bx, 2 * y + h - by)) for (ax, ay), (bx, by) in rising]
        return falling if self.kind == "falling" else rising + falling


class Smooth(Shape):
    """A polyline with rounded bends, and an arrowhead at its end if it has one."""

    __slots__ = ("dashed", "head", "ink", "points", "radius")

    def __init__(
        self, points: Sequence[Point], ink: str, radius: float, *, head: float = 0, dashed: bool = False
    ) -> None:
        self.points = points
        self.ink = ink
        self.radius = radius
        self.head = head
        self.dashed = dashed

    def svg(self) -> str:
        parts = [f"M{coord(self.points[0][0])} {coord(self.points[0][1])}"]
        for before, at, after in self._bends():
            parts.append(f"L{coord(before[0])} {coord(before[1])}")
            parts.append(f"Q{coord(at[0])} {coord(at[1])} {coord(after[0])} {coord(after[1])}")
        x, y = self.points[-1]
        parts.append(f"L{coord(x)} {coord(y)}")
        line = f'<path d="{"".join(parts)}" fill="none" stroke="{self.ink}"{DASHED * self.dashed}/>'
        if not self.head:
            return line
        tip = " ".join(f"{coord(x)},{coord(y)}" for x, y in self._tip())
        return f'{line}\n<polygon points="{tip}" fill="{self.ink}"/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        if self.dashed:
            dashes(draw, self._curve(), self.ink, PNG_SCALE, PNG_SCALE)
        else:
            draw.line(self._curve(), self.ink, PNG_SCALE, joint="curve")
        if self.head:
            draw.polygon(self._tip(), self.ink)

    def _curve(self) -> list[Point]:
        """Return its points, with enough at each bend to look round."""
        points = [self.points[0]]
        for (ax, ay), (bx, by), (cx, cy) in self._bends():
            for step in range(9):
                t = step / 8
                points.append(
                    (
                        (1 - t) ** 2 * ax + 2 * t * (1 - t) * bx + t * t * cx,
                        (1 - t) ** 2 * ay + 2 * t * (1 - t) * by + t * t * cy,
                    )
                )
        return [*points, self.points[-1]]

    def _bends(self) -> list[tuple[Point, Point, Point]]:
        """Yield where each bend starts, its corner, and where it ends."""
        found = []
        for before, at, after in zip(self.points, self.points[1:], self.points[2:], strict=False):
            one, two = dist(before, at), dist(at, after)
            radius = min(self.radius, one / 2, two / 2)
            if radius:
                found.append((_toward(at, before, radius / one), at, _toward(at, after, radius / two)))
        return found

    def _tip(self) -> list[Point]:
        (ax, ay), (x, y) = self.points[-2:]
        size, long = self.head, dist((ax, ay), (x, y)) or 1
        dx, dy = (x - ax) / long, (y - ay) / long
        wide = size * 0.45
        return [
            (x, y),
            (x - dx * size + dy * wide, y - dy * size - dx * wide),
            (x - dx * size - dy * wide, y - dy * size + dx * wide),
        ]


class Circle(Shape):
    """A circle with an outline."""

    __slots__ = ("at", "edge", "fill", "radius")

    def __init__(self, at: Point, radius: float, *, fill: str, edge: str) -> None:
        self.at = at
        self.radius = radius
        self.fill = fill
        self.edge = edge

    def svg(self) -> str:
        x, y = self.at
        look = f'fill="{self.fill}" stroke="{self.edge}"'
        return f'<circle cx="{coord(x)}" cy="{coord(y)}" r="{coord(self.radius)}" {look}/>'

    def png(self, picture: Picture, draw: ImageDraw) -> None:
        x, y = self.at
        points = [(x + self.radius * cos(step * pi / 32), y + self.radius * sin(step * pi / 32)) for step in range(64)]
        draw.polygon(points, None if self.fill == "none" else self.fill, self.edge, PNG_SCALE)


HATCH = 3
"""Distance between the lines of a pattern."""
PNG_SCALE = 2
"""PNG pixels per pixel of the drawing."""


def coord(value: float) -> str:
    """Format a number with one decimal, or none if it is whole."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def clean(text: str) -> str:
    """Remove control characters that XML does not allow."""
    return "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _corner(radius: float, dx: float, dy: float) -> str:
    return f"a{coord(radius)} {coord(radius)} 0 0 1 {coord(dx)} {coord(dy)}" if radius else ""


def _toward(at: Point, other: Point, part: float) -> Point:
    return at[0] + (other[0] - at[0]) * part, at[1] + (other[1] - at[1]) * part
