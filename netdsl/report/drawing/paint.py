"""Paint the page: title, items and edges, legend."""

from __future__ import annotations

from itertools import product
from math import floor
from typing import TYPE_CHECKING

from netdsl.report.canvas import Canvas, TextLine
from netdsl.report.drawing import items, shapes
from netdsl.report.drawing.items import CARD, Box, Content, Dummy, End, Port, Stack, content
from netdsl.report.drawing.metrics import shorten, text_width
from netdsl.report.drawing.outline import CLOSED, FULL, ONCE, Outline, family
from netdsl.report.drawing.plan import A4, SLIDES, plan
from netdsl.report.drawing.words import main_row, net_title, net_totals, paper_lines
from netdsl.report.theme import LIGHT

if TYPE_CHECKING:
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Shape
    from netdsl.report.drawing.items import Item
    from netdsl.report.drawing.words import Plate
    from netdsl.report.theme import Theme

    Point = tuple[float, float]

MEANING = {
    "conv": "convolution",
    "dense": "dense, linear, embedding",
    "attention": "attention",
    "recurrent": "recurrent layer",
    "pool": "pooling",
    "norm": "normalization",
    "function": "function",
    "merge": "merge",
    "shape": "rearrangement",
    "source": "weight, constant",
}
CLOSED_MEANING = {ONCE: "structure as of an earlier box of this block"}
PATTERN_WIDTH = 7
"""Width of a layer's pattern."""
MAX_TITLE_WIDTH = 720
"""Maximum length of a line of text above a narrow drawing."""
LEGIBLE_WIDTH = 1440
"""Width up to which a drawing that fills a slide is legible: on one of 960 points, its text has 8 points."""
MARGIN, TITLE, LINE_OF_TITLE, LEGEND = 24, 20, 18, 38
BEND, HEAD = 7, 6


def draw_net(net: Net, *, unfold: bool = False, wide: bool = False, theme: Theme = LIGHT, scale: int = 1) -> Canvas:
    """Draw a net; all lengths are multiplied by `scale`.

    A `wide` drawing fills a slide. If its text would be too small, boxes are closed, except with `unfold`.
    """
    details = range(FULL, CLOSED + 1) if wide and not unfold else (FULL,)
    outlines: dict[int, Outline] = {}
    pages: list[Canvas] = []
    for page, detail in product(SLIDES if wide else (A4,), details):
        if detail not in outlines:
            outlines[detail] = Outline(net, unfold=unfold, detail=detail)
        outline = outlines[detail]
        if detail == FULL or outline.closed:
            root = content(net, outline)
            plan(root, page)
            pages.append(_Painter(outline, root, theme, scale, detail).page(net, page.sides if wide else None))
            if pages[-1].width <= LEGIBLE_WIDTH * scale:
                return pages[-1]
    return min(pages, key=lambda page: page.width)


class _Painter:
    """Adds shapes to a canvas; `at` translates and scales."""

    def __init__(self, outline: Outline, root: Content, theme: Theme, scale: int, detail: int) -> None:
        self.outline = outline
        self.root = root
        self.theme = theme
        self.scale = scale
        self.detail = detail
        self.families: set[str] = set()
        self.folded = self.beside = self.dashed = self.closed = False
        self.shapes: list[Shape] = []

    def page(self, net: Net, sides: Point | None) -> Canvas:
        """Return the drawing with its title and legend, in the proportions of `sides`."""
        title = net_title(net)
        room = max(self.root.width, MAX_TITLE_WIDTH, text_width(title, TITLE, bold=True))
        lines = [shorten(line, 12, room) for line in (net_totals(self.outline.figures), *paper_lines(net, room))]
        top = MARGIN + TITLE + LINE_OF_TITLE * len(lines) + 14
        words = [text_width(line, 12) for line in lines]
        wide = max([self.root.width, text_width(title, TITLE, bold=True), *words])
        high = self.root.height
        if sides:
            rest = top + LEGEND + MARGIN
            wide = max(wide, (high + rest) * sides[0] / sides[1] - 2 * MARGIN)
            high = max(high, (wide + 2 * MARGIN) * sides[1] / sides[0] - rest)
        self.text(MARGIN, MARGIN + TITLE / 2, title, TITLE, bold=True)
        for at, line in enumerate(lines):
            self.text(MARGIN, MARGIN + TITLE + 6 + LINE_OF_TITLE * (at + 0.5), line, 12, ink=self.theme.faint)
        self.content(self.root, MARGIN + (wide - self.root.width) / 2, top + (high - self.root.height) / 2, 0)
        low = self.legend(wide, top + high + 24)
        canvas = Canvas((wide + 2 * MARGIN) * self.scale, (low + MARGIN) * self.scale, title, self.theme)
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
            self.shapes.append(
                shapes.Smooth(moved, self.theme.line, BEND * self.scale, head=head * self.scale, dashed=dashed)
            )

    def item(self, item: Item, x: float, y: float, depth: int) -> None:
        left, top = x + item.x - item.width / 2, y + item.y
        self.dashed = self.dashed or item.dashed
        if isinstance(item, Box):
            self.box(item, left, top, depth)
        elif isinstance(item, Stack):
            self.stack(item, left, top)
        elif isinstance(item, End):
            box = self.rectangle(
                left, top, item.width, item.height, self.theme.families["input"], radius=12, dashed=item.dashed
            )
            self.shapes.append(box)
            self.text(x + item.x, top + item.height / 2, item.name, 12, anchor="middle", bold=True)
        for value, label in item.outputs.items():
            if label:
                right, low = item.label or (item.x + item.exit(value) + 6, item.y + item.height + 8)
                self.text(x + right, y + low, label, items.PORT_LABEL_SIZE, ink=self.theme.faint)

    def box(self, box: Box, left: float, top: float, depth: int) -> None:
        width, height = box.width - box.cards, box.height - box.cards
        shades = self.theme.shades
        cards = [
            self.rectangle(left + move, top + move, width, height, (self.theme.behind, self.theme.border), radius=7)
            for move in range(box.cards, 0, -CARD)
        ]
        self.folded = self.folded or bool(cards)
        self.beside = self.beside or box.group.beside
        look = shades[min(depth, len(shades) - 1)], self.theme.border
        if main := main_row(box.group):
            look = self.theme.families[family(main.node)]
            self.families.add(family(main.node))
        back = self.rectangle(left, top, width, height, look, radius=7, dashed=box.dashed)
        middle = left + width / 2
        words: list[Shape] = [self.word(middle, top + 12, box.title, 11, "middle", self.theme.ink, bold=True)]
        if box.figures:
            words.append(self.word(middle, top + 27, box.figures, items.PORT_LABEL_SIZE, "middle", self.theme.faint))
        self.shapes.append(shapes.Titled(box.hover, [*cards, back, *words]))
        if box.content is None:
            self.closed = True
        else:
            taken = max(text_width(box.title, 11, bold=True), text_width(box.figures, items.PORT_LABEL_SIZE))
            for port in box.content.entries.values():
                if abs(port.x - width / 2) > taken / 2 + 6:  # beside the title
                    line = [self.crisp(left + port.x, top + at) for at in (0, port.y)]
                    self.shapes.append(shapes.Smooth(line, self.theme.line, 0))
            self.content(box.content, left, top, depth + 1)

    def stack(self, stack: Stack, left: float, top: float) -> None:
        for at, plate in enumerate(stack.plates):
            self.families.add(plate.family)
            ends = "t" * (at == 0) + "b" * (at == len(stack.plates) - 1)
            self.plate(stack, plate, left, top, ends)
            top += plate.height

    def plate(self, stack: Stack, plate: Plate, left: float, top: float, ends: str) -> None:
        middle = left + stack.width / 2
        fill, edge = colors = self.theme.families[plate.family]
        if stack.sign:
            radius = stack.height / 2
            circle = shapes.Circle(self.point(middle, top + radius), radius * self.scale, fill=fill, edge=edge)
            sign = self.word(middle, top + stack.height / 2, plate.sign, 15, "middle", self.theme.ink)
            self.shapes.append(shapes.Titled(plate.title, [circle, sign]))
            return
        pattern = self.theme.patterns.get(plate.family, "")
        radius = 12 if plate.family in ("input", "source") else 0 if self.theme.patterns else 5
        parts: list[Shape] = [
            self.rectangle(left, top, stack.width, plate.height, colors, radius=radius, ends=ends, dashed=stack.dashed)
        ]
        if pattern:
            middle += PATTERN_WIDTH / 2
            parts.append(self.pattern(left, top, PATTERN_WIDTH, plate.height, pattern))
        if plate.strip:
            line = top + plate.height / 2
            if plate.figures:
                parts.append(self.word(middle - plate.width / 2, line, plate.text, 10, "start", self.theme.ink))
                parts.append(self.word(middle + plate.width / 2, line, plate.figures, 10, "end", self.theme.faint))
            else:
                parts.append(self.word(middle, line, plate.text, 10, "middle", self.theme.ink))
        else:
            if stack.roles and plate is stack.plates[0]:
                for value, role in ((value, role) for value, role in stack.roles.items() if role):
                    x = left + stack.width / 2 + stack.slots[value]
                    parts.append(self.word(x, top + 8, role, items.ROLE_SIZE, "middle", self.theme.faint))
                top += items.ROLES
            first = top + (14 if plate.figures else items.PLATE / 2)
            parts.append(self.word(middle, first, plate.text, 12, "middle", self.theme.ink))
            for number, words in enumerate(filter(None, plate.lines)):
                parts.append(self.word(middle, top + 28 + items.LINE * number, words, 10, "middle", self.theme.faint))
        self.shapes.append(shapes.Titled(plate.title, parts))

    def legend(self, wide: float, top: float) -> float:
        """Draw the legend of the colors and return the height at which it ends."""
        entries = [(MEANING[name], name) for name in MEANING if name in self.families]
        if self.folded:
            entries.append((f"equal rounds{' or branches' * self.beside}, drawn once", "folded"))
        if self.closed:
            entries.append((CLOSED_MEANING.get(self.detail, "contents not shown"), "closed"))
        if self.dashed:
            entries.append(("for training only", "dashed"))
        x, y = float(MARGIN), top
        for text, name in entries:
            taken = 24 + text_width(text, 11) + 18
            if x > MARGIN and x + taken - 18 > MARGIN + wide:
                x, y = MARGIN, y + 20
            box, theme = name in ("folded", "closed"), self.theme
            if name == "folded":
                self.shapes.append(self.rectangle(x + 3, y + 3, 16, 12, (theme.behind, theme.border), radius=3))
            other = (theme.shades[0], theme.border) if box else (theme.paper, theme.line)
            colors = theme.families.get(name, other)
            radius = 0 if theme.patterns and name in MEANING else 3
            self.shapes.append(self.rectangle(x, y, 16, 12, colors, radius=radius, dashed=name == "dashed"))
            if name in theme.patterns:
                self.shapes.append(self.pattern(x, y, 16, 12, theme.patterns[name]))
            self.text(x + 24, y + 6, text, 11, ink=self.theme.faint)
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

    def pattern(self, x: float, y: float, width: float, height: float, kind: str) -> Shape:
        size = width * self.scale, height * self.scale
        return shapes.Pattern(self.crisp(x, y), size, kind, self.theme.ink, self.scale)

    def word(self, x: float, y: float, text: str, size: int, anchor: str, ink: str, *, bold: bool = False) -> TextLine:
        return TextLine(self.point(x, y), shapes.clean(text), anchor, size * self.scale, bold, ink)

    def text(
        self, x: float, y: float, text: str, size: int, *, anchor: str = "start", ink: str = "", bold: bool = False
    ) -> None:
        self.shapes.append(self.word(x, y, text, size, anchor, ink or self.theme.ink, bold=bold))
