"""The items of a page: stacks of layers, boxes, the ports of a box, and the outputs of the net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.report.drawing.fold import Group
from netdsl.report.drawing.metrics import text_width
from netdsl.report.drawing.outline import roles, stacks
from netdsl.report.drawing.words import head, hover, label, plates, shapes, shown_scopes, totals

if TYPE_CHECKING:
    from netdsl.ir.net import Net, Node
    from netdsl.report.drawing.outline import Outline
    from netdsl.report.figures import LayerFigures

PORT_LABEL_SIZE = 10
"""Font size of the shapes beside edges and of other small text."""
SLOT = 26
"""Maximum distance between two edges that enter a box without content."""
SIGN = 22
"""Diameter of a merge drawn as its sign in a circle."""
PLATE, TALL, STRIP, LINE = 24, 38, 16, 12
"""Heights of a layer, of a layer with figures, of a strip, and of another line."""
ROLES, ROLE_SIZE, ROLE_GAP = 11, 9, 10
"""Height of the line of roles in a layer, its font size, and the gap between two roles."""
HEADER, FIGURES = 22, 14
"""Heights of the lines above a box."""
PAD, CLOSED, CARD = 12, 6, 4
"""Padding of a box and of one without its content, and offset between the cards of a folded one."""
STEP = 20
"""Widths are multiples of this, so that more items have equal widths."""


class Item:
    """Something with a position: (`x`, `y`) is the middle of its upper edge, in the plan that contains it.

    It reads the values `inputs`; `outputs` are those of its values that others read, each with the shape beside its
    edge, or at `label`; `keywords` are inputs such as a mask. `side` marks a detour that does not bend the main line,
    `low` what is at the lower end of its rank, `dashed` what exists for training only.
    """

    __slots__ = ("dashed", "height", "inputs", "keywords", "label", "low", "outputs", "rank", "side", "width", "x", "y")

    def __init__(self, width: float, height: float, inputs: list[Node], outputs: dict[Node, str]) -> None:
        self.width = width
        self.height = height
        self.inputs = inputs
        self.outputs = outputs
        self.rank = 0
        self.x = self.y = 0.0
        self.keywords: set[Node] = set()
        self.label: tuple[float, float] | None = None
        self.side = self.low = self.dashed = False

    def entry(self, value: Node) -> float:
        """Return where an edge with this value ends, relative to the middle."""
        return 0

    def exit(self, value: Node) -> float:
        return 0

    def times(self, value: Node) -> int:
        """Return how often it reads a value: `add { } { }` reads one twice."""
        return 1

    @property
    def constant(self) -> bool:
        """Whether it reads nothing, and has no input of the net."""
        return False

    @property
    def right(self) -> float:
        """The extent to the right of its middle, including the shapes beside its edges."""
        labels = [self.exit(x) + 6 + text_width(text, PORT_LABEL_SIZE) for x, text in self.outputs.items() if text]
        return max([self.width / 2, *labels])


class Dummy(Item):
    """The point where an edge passes through a rank."""

    __slots__ = ("value",)

    def __init__(self, value: Node, rank: int) -> None:
        super().__init__(8, 0, [value], {value: ""})
        self.value = value
        self.rank = rank


class Gate(Dummy):
    """The point where a value leaves a column at its right, or enters one at its left."""

    __slots__ = ("enters",)

    def __init__(self, value: Node, *, enters: bool) -> None:
        super().__init__(value, 0)
        self.inputs = [] if enters else [value]
        self.outputs = {value: ""} if enters else {}
        self.enters = enters


class Port(Item):
    """The point where a value enters or leaves a box."""

    __slots__ = ("value",)

    def __init__(self, value: Node, *, enters: bool) -> None:
        super().__init__(8, 0, [] if enters else [value], {value: ""} if enters else {})
        self.value = value


class End(Item):
    """An output of the net."""

    __slots__ = ("name",)

    def __init__(self, name: str, value: Node) -> None:
        super().__init__(_stepped(text_width(name, 12, bold=True) + 24), PLATE, [value], {})
        self.name = name


class Stack(Item):
    """A layer and the layers attached to it, as adjacent plates; `sign` is that of a merge, such as `+` in a circle.

    A layer that takes its inputs as different things has a slot for each, at `slots` from the middle, with its role.
    """

    __slots__ = ("first", "plates", "reads", "roles", "sign", "slots")

    def __init__(self, rows: list[LayerFigures], outline: Outline, outputs: dict[Node, str], shown: int) -> None:
        self.first = rows[0].node
        self.reads = outline.reads[self.first]
        self.roles = roles(self.first, self.reads)
        self.slots = dict.fromkeys(self.roles, 0.0)
        self.plates = plates(rows, outline, shown)
        self.sign = self.plates[0].sign if len(rows) == 1 else ""
        width, height = (SIGN, SIGN) if self.sign else self._size()
        if self.sign and self.plates[0].label:  # there is no room for it in the circle
            outputs = {value: text and f"{self.plates[0].label}: {text}" for value, text in outputs.items()}
        super().__init__(width, height, list(dict.fromkeys(self.reads)), outputs)
        self.keywords = _keywords([self.first])
        self.dashed = self.first in outline.training

    @property
    def constant(self) -> bool:
        return not self.inputs and self.first.layer.kind != "input"

    def times(self, value: Node) -> int:
        return 1 if self.roles else self.reads.count(value)

    def entry(self, value: Node) -> float:
        return self.slots.get(value, 0)

    @property
    def pitch(self) -> float:
        """The distance between two slots."""
        return max(text_width(text, ROLE_SIZE) for text in self.roles.values()) + ROLE_GAP

    @property
    def _span(self) -> float:
        """The width that the slots need in any order."""
        aside = _keywords([self.first]).intersection(self.roles)
        return self.pitch * (len(self.roles) + len(aside)) if self.roles else 0

    def arrange(self, order: list[Node]) -> None:
        """Set the slots in this order, with the operands around the middle."""
        places = [at for at, value in enumerate(order) if value not in self.keywords] or [*range(len(order))]
        middle = sum(places) / len(places)
        self.slots = {value: (at - middle) * self.pitch for at, value in enumerate(order)}

    def narrow(self) -> None:
        """Write the label in a line of its own."""
        plate = self.plates[0]
        if plate.label and plate.counts and not self.sign:
            plate.split = True
            self.width, self.height = self._size()

    def _size(self) -> tuple[float, float]:
        for plate in self.plates:
            plate.height = STRIP
        first = self.plates[0]
        first.height = (TALL if first.figures else PLATE) + LINE * first.split + ROLES * bool(self.roles)
        wide = max(self._span, *(plate.width + 16 for plate in self.plates))
        return _stepped(wide), sum(plate.height for plate in self.plates)


class Box(Item):
    """A group: a header, and its content in a plan of its own, relative to the upper left corner of the box.

    `inner` maps values of the last round, which others see, to the drawn ones. Without `content`, it stands for its
    content.
    """

    __slots__ = ("content", "figures", "group", "header", "hover", "inner", "slots", "title")

    def __init__(
        self, group: Group, outline: Outline, content: Content | None, outputs: dict[Node, str], around: str
    ) -> None:
        self.group = group
        self.content = content
        self.title = head(group, around)
        self.hover = hover(group)
        self.figures = totals(group)
        self.header = HEADER + FIGURES * bool(self.figures)
        self.slots: dict[Node, float] = {}
        drawn = {mate.node: row.node for row, mate in zip(group.rows, group.last.rows, strict=True)}
        self.inner = {value: drawn[value] for value in outputs}
        super().__init__(0, 0, content.reads if content else _reads(group, outline), outputs)
        self.keywords = _keywords([row.node for row in group.rows])
        self.dashed = group.rows[0].node in outline.training

    def fit(self) -> None:
        """Set the size from the content and the title."""
        words = max(text_width(self.title, 11, bold=True), text_width(self.figures, PORT_LABEL_SIZE)) + 16
        if self.content is None:
            self.width, self.height = _stepped(words) + self.cards, self.header + CLOSED + self.cards
            return
        self.width = _stepped(max(self.content.width + 2 * PAD, words)) + self.cards
        self.height = self.header + self.content.height + self.cards
        content = self.content
        content.shift((self.width - self.cards - content.width) / 2, self.header)
        for port in content.exits.values():
            port.y += self.cards
        content.edges = [
            (a, b, [*points[:-1], (points[-1][0], b.y)] if isinstance(b, Port) else points)
            for a, b, points in content.edges
        ]

    @property
    def cards(self) -> int:
        """The extent of the cards behind the box."""
        return CARD * min(2, self.group.times - 1)

    @property
    def constant(self) -> bool:
        return not self.inputs and all(row.node.layer.kind != "input" for row in self.group.rows)

    def entry(self, value: Node) -> float:
        return (
            self.content.entries[value].x - self.width / 2
            if self.content
            else self.slots.get(value, 0) - self.cards / 2
        )

    def arrange(self, order: list[Node], aside: set[Node]) -> None:
        """Set where edges enter a box without content, in this order, with those of the main line around the middle."""
        places = [at for at, value in enumerate(order) if value not in aside] or [*range(len(order))]
        pitch = min(SLOT, (self.width - self.cards) / (2 * len(order) + 1))
        self.slots = {value: (at - sum(places) / len(places)) * pitch for at, value in enumerate(order)}

    def exit(self, value: Node) -> float:
        return self.content.exits[self.inner[value]].x - self.width / 2 if self.content else -self.cards / 2


class Content:
    """The items of a group in source order, starting and ending with its ports."""

    __slots__ = ("edges", "entries", "exits", "height", "items", "ranks", "reads", "width")

    def __init__(self, items: list[Item], reads: list[Node], gives: list[Node]) -> None:
        self.reads = reads
        self.entries = {value: Port(value, enters=True) for value in reads}
        self.exits = {value: Port(value, enters=False) for value in gives}
        self.items: list[Item] = [*self.entries.values(), *items, *self.exits.values()]
        self.ranks: list[list[Item]] = []
        self.edges: list[tuple[Item, Item, list[tuple[float, float]]]] = []
        self.width = self.height = 0.0

    def shift(self, x: float, y: float) -> None:
        for rank in self.ranks:
            for item in rank:
                item.x += x
                item.y += y
                item.label = item.label and (item.label[0] + x, item.label[1] + y)
        self.edges = [(a, b, [(px + x, py + y) for px, py in points]) for a, b, points in self.edges]


def content(net: Net, outline: Outline) -> Content:
    """Return everything to be placed, without positions."""
    made = _content(outline.root, outline, {output.node for output in net.outputs.values()}, 0)
    made.exits.clear()
    made.items = [item for item in made.items if not isinstance(item, Port)]
    for output in net.outputs.values():
        end = End(output.name, output.node)
        end.dashed = output.training
        made.items.append(end)
    return made


def _content(group: Group, outline: Outline, gives: set[Node], known: int) -> Content:
    """Return the content of a group; `gives` are its nodes that others read, `known` is the number of scopes that the
    boxes around it show."""
    scopes = shown_scopes(group, known) if group is not outline.root else 0
    parts = stacks(group.parts, outline.reads, gives)
    reads = [_reads(part, outline) for part in parts]
    used = {value for values in reads for value in values}
    around = label(group) or _shared([part for part in parts if isinstance(part, Group)])
    items: list[Item] = []
    for part in parts:
        rows = part.last.rows if isinstance(part, Group) else part
        shown = used | gives if group is outline.root else used
        seen = [row for row in rows if row.node in used or row.node in gives]
        drawn = dict(zip(rows, part.rows, strict=True)) if isinstance(part, Group) and part.beside else {}
        outputs = {row.node: _label(drawn.get(row, row), outline) if row.node in shown else "" for row in seen}
        if isinstance(part, Group):
            items.append(_box(part, outline, outputs, around, scopes))
        else:
            items.append(Stack(part, outline, outputs, scopes))
    inside = {row.node for row in group.rows}
    outer = dict.fromkeys(value for values in reads for value in values if value not in inside)
    return Content(items, list(outer), [row.node for row in group.rows if row.node in gives])


def _box(group: Group, outline: Outline, outputs: dict[Node, str], around: str, known: int) -> Box:
    if group in outline.closed and len(outputs) == 1:
        return Box(group, outline, None, outputs, around)
    drawn = {mate.node: row.node for row, mate in zip(group.rows, group.last.rows, strict=True)}
    content = _content(group, outline, {drawn[node] for node in outputs}, known)
    return Box(group, outline, content, outputs, around)


def _shared(groups: list[Group]) -> str:
    """Return the scope that contains all of these groups."""
    words = {group.rows[0].node.name.partition(".")[0] for group in groups}
    return words.pop() if len(words) == 1 < len(groups) else ""


def _reads(part: list[LayerFigures] | Group, outline: Outline) -> list[Node]:
    """Return the outside values that a part reads; for equal rounds those of the first."""
    rows = part.rows if isinstance(part, Group) else part
    own = {row.node for row in rows}
    return list(dict.fromkeys(x for row in rows for x in outline.reads[row.node] if x not in own))


def _keywords(nodes: list[Node]) -> set[Node]:
    """Return the values that layers read only for keywords, such as a mask."""
    reads = [node.layer.split(node.inputs) for node in nodes]
    return {x for _, values in reads for x in values.values()} - {x for operands, _ in reads for x in operands}


def _label(row: LayerFigures, outline: Outline) -> str:
    """Return the shape beside an edge: a range for a layer drawn for several, except for the value passed on by the
    last."""
    return shapes([mate.node for mate in outline.mates[row]])


def _stepped(width: float) -> float:
    return -(-width // STEP) * STEP
