"""Paint the page: title, items and edges, legend."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from netdsl.report.canvas import INK, PAPER, Canvas, TextLine
from netdsl.report.drawing import items, shapes
from netdsl.report.drawing.items import CARD, Box, Content, Dummy, End, Port, Stack, content
from netdsl.report.drawing.metrics import shorten, text_width
from netdsl.report.drawing.outline import Outline
from netdsl.report.drawing.plan import plan
from netdsl.report.drawing.words import net_title, net_totals, paper_line

if TYPE_CHECKING:
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Shape
    from netdsl.report.drawing.items import Item
    from netdsl.report.drawing.words import Plate

    Point = tuple[float, float]

LINE, FAINT = "#77818d", "#626b76"
FAMILY_COLORS = {
    "conv": ("#dce8f7", "#86a5cf"),
    "dense": ("#e7def4", "#a58dcb"),
    "pool": ("#dff0dd", "#8dbb87"),
    "norm": ("#f3f1e7", "#bfb9a0"),
    "function": ("#fcebd6", "#dab07a"),
    "merge": ("#ffffff", "#77818d"),
    "shape": ("#e9edf0", "#a8b1ba"),
    "input": ("#ffffff", "#3c4653"),
}
"""Fill and outline of a family of layers."""
MEANING = {
    "conv": "convolution",
    "dense": "dense, embedding",
    "pool": "pooling",
    "norm": "normalization",
    "function": "function",
    "merge": "merge",
    "shape": "rearrangement",
}
SHADES = ("#f4f6f8", "#eaedf1", "#e1e5ea")
"""Fills of nested boxes."""
BORDER = "#c3c9d1"
BEHIND = "#f8f9fb", BORDER
"""Fill and outline of the cards behind a box."""
MAX_TITLE_WIDTH = 720
"""Maximum length of a line of text above a narrow drawing."""
MARGIN, TITLE, LINE_OF_TITLE = 24, 20, 18
BEND, HEAD = 7, 6


def draw_net(net: Net, *, unfold: bool = False, scale: int = 1) -> Canvas:
    """Draw a net; all lengths are multiplied by `scale`."""
    outline = Outline(net, unfold=unfold)
    root = content(net, outline)
    plan(root)
    return _Painter(outline, root, scale).page(net)


class _Painter:
    """Adds shapes to a canvas; `at` translates and scales."""

    def __init__(self, outline: Outline, root: Content, scale: int) -> None:
        self.outline = outline
        self.root = root
        self.scale = scale
        self.families: set[str] = set()
        self.folded = self.dashed = False
        self.shapes: list[Shape] = []

    def page(self, net: Net) -> Canvas:
        title, room = net_title(net), max(self.root.width, MAX_TITLE_WIDTH)
        lines = [shorten(line, 12, room) for line in (net_totals(self.outline.figures), *paper_line(net))]
        top = MARGIN + TITLE + LINE_OF_TITLE * len(lines) + 14
        words = [text_width(line, 12) for line in lines]
        wide = max([self.root.width, text_width(title, TITLE, bold=True), *words])
        self.text(MARGIN, MARGIN + TITLE / 2, title, TITLE, bold=True)
        for at, line in enumerate(lines):
            self.text(MARGIN, MARGIN + TITLE + 6 + LINE_OF_TITLE * (at + 0.5), line, 12, ink=FAINT)
        self.content(self.root, MARGIN + (wide - self.root.width) / 2, top, 0)
        low = self.legend(wide, top + self.root.height + 24)
        canvas = Canvas((wide + 2 * MARGIN) * self.scale, (low + MARGIN) * self.scale, title)
        for shape in self.shapes:
            canvas.add(shape)
        return canvas

    def content(self, content: Content, x: float, y: float, depth: int) -> None:
        for rank in content.ranks:
            for item in rank:
                self.item(item, x, y, depth)
        for upper, lower, points in content.edges:
            dashed = lower.dashed or upper.dashed
            head = 0 if isinstance(lower, (Port, Dummy)) else HEAD
            moved = [self.crisp(px + x, py + y) for px, py in points]
            self.shapes.append(shapes.Smooth(moved, LINE, BEND * self.scale, head=head * self.scale, dashed=dashed))

    def item(self, item: Item, x: float, y: float, depth: int) -> None:
        left, top = x + item.x - item.width / 2, y + item.y
        self.dashed = self.dashed or item.dashed
        if isinstance(item, Box):
            self.box(item, left, top, depth)
        elif isinstance(item, Stack):
            self.stack(item, left, top)
        elif isinstance(item, End):
            box = self.rectangle(
                left, top, item.width, item.height, FAMILY_COLORS["input"], radius=12, dashed=item.dashed
            )
            self.shapes.append(box)
            self.text(x + item.x, top + item.height / 2, item.name, 12, anchor="middle", bold=True)
        for value, label in item.outputs.items():
            if label:
                self.text(
                    x + item.x + item.exit(value) + 6, top + item.height + 8, label, items.PORT_LABEL_SIZE, ink=FAINT
                )

    def box(self, box: Box, left: float, top: float, depth: int) -> None:
        width, height = box.width - box.cards, box.height - box.cards
        look = SHADES[min(depth, len(SHADES) - 1)], BORDER
        cards = [
            self.rectangle(left + move, top + move, width, height, BEHIND, radius=7)
            for move in range(box.cards, 0, -CARD)
        ]
        self.folded = self.folded or bool(cards)
        back = self.rectangle(left, top, width, height, look, radius=7, dashed=box.dashed)
        middle = left + width / 2
        words: list[Shape] = [self.word(middle, top + 12, box.title, 11, "middle", INK, bold=True)]
        if box.figures:
            words.append(self.word(middle, top + 27, box.figures, items.PORT_LABEL_SIZE, "middle", FAINT))
        self.shapes.append(shapes.Titled(box.hover, [*cards, back, *words]))
        self.content(box.content, left, top, depth + 1)

    def stack(self, stack: Stack, left: float, top: float) -> None:
        for at, plate in enumerate(stack.plates):
            self.families.add(plate.family)
            ends = "t" * (at == 0) + "b" * (at == len(stack.plates) - 1)
            self.plate(stack, plate, left, top, ends)
            top += plate.height

    def plate(self, stack: Stack, plate: Plate, left: float, top: float, ends: str) -> None:
        middle = left + stack.width / 2
        fill, edge = colors = FAMILY_COLORS[plate.family]
        if stack.sign:
            radius = stack.height / 2
            circle = shapes.Circle(self.point(middle, top + radius), radius * self.scale, fill=fill, edge=edge)
            sign = self.word(middle, top + stack.height / 2, plate.sign, 15, "middle", INK)
            self.shapes.append(shapes.Titled(plate.title, [circle, sign]))
            return
        radius = 12 if plate.family == "input" else 5
        parts: list[Shape] = [
            self.rectangle(left, top, stack.width, plate.height, colors, radius=radius, ends=ends, dashed=stack.dashed)
        ]
        if plate.strip:
            line = top + plate.height / 2
            if plate.figures:
                parts.append(self.word(middle - plate.width / 2, line, plate.text, 10, "start", INK))
                parts.append(self.word(middle + plate.width / 2, line, plate.figures, 10, "end", FAINT))
            else:
                parts.append(self.word(middle, line, plate.text, 10, "middle", INK))
        else:
            first = top + (14 if plate.figures else plate.height / 2)
            parts.append(self.word(middle, first, plate.text, 12, "middle", INK))
            if plate.figures:
                parts.append(self.word(middle, top + 28, plate.figures, 10, "middle", FAINT))
        self.shapes.append(shapes.Titled(plate.title, parts))

    def legend(self, wide: float, top: float) -> float:
        """Draw the legend of the colors and return the height at which it ends."""
        entries = [(MEANING[name], name) for name in MEANING if name in self.families]
        if self.folded:
            entries.append(("equal rounds, drawn once", "folded"))
        if self.dashed:
            entries.append(("for training only", "dashed"))
        x, y = float(MARGIN), top
        for text, name in entries:
            taken = 24 + text_width(text, 11) + 18
            if x > MARGIN and x + taken - 18 > MARGIN + wide:
                x, y = MARGIN, y + 20
            if name == "folded":
                self.shapes.append(self.rectangle(x + 3, y + 3, 16, 12, BEHIND, radius=3))
            colors = FAMILY_COLORS.get(name) or ((SHADES[0], BORDER) if name == "folded" else (PAPER, LINE))
            self.shapes.append(self.rectangle(x, y, 16, 12, colors, radius=3, dashed=name == "dashed"))
            self.text(x + 24, y + 6, text, 11, ink=FAINT)
            x += taken
        return y + 14

    def point(self, x: float, y: float) -> Point:
        return x * self.scale, y * self.scale

    def crisp(self, x: float, y: float) -> Point:
        """Return the middle of a pixel, so that a line is one pixel wide."""
        return floor(x * self.scale) + 0.5, floor(y * self.scale) + 0.5

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colors: tuple[str, str],
        *,
        radius: float,
        ends: str = "tb",
        dashed: bool = False,
    ) -> Shape:
        """Return a box or a part of one; `colors` are its fill and outline."""
        (fill, edge), s = colors, self.scale
        return shapes.Rectangle(
            self.crisp(x, y), width * s, height * s, fill=fill, edge=edge, radius=radius * s, round=ends, dashed=dashed
        )

    def word(self, x: float, y: float, text: str, size: int, anchor: str, ink: str, *, bold: bool = False) -> TextLine:
        return TextLine(self.point(x, y), shapes.clean(text), anchor, size * self.scale, bold, ink)

    def text(
        self, x: float, y: float, text: str, size: int, *, anchor: str = "start", ink: str = INK, bold: bool = False
    ) -> None:
        self.shapes.append(self.word(x, y, text, size, anchor, ink, bold=bold))
