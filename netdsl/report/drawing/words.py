"""The texts of a drawing and its tooltips."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.declare.arguments import Word
from netdsl.elaborate.arithmetic import show_value
from netdsl.report.drawing.fold import ranged
from netdsl.report.drawing.metrics import short_count, shorten, text_width
from netdsl.report.drawing.outline import OPERATOR_SIGNS, family, roles
from netdsl.report.figures import layer_call, net_call
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.base.text import Frame
    from netdsl.ir.formula import Count
    from netdsl.ir.net import Net, Node
    from netdsl.report.drawing.fold import Group
    from netdsl.report.drawing.outline import Outline
    from netdsl.report.figures import Figures, LayerFigures

QUIET = re.compile(r" (bias|init|bias_init|momentum) [\w.-]+(\([^)]*\))?")
LONG_DECIMALS = re.compile(r"\d+\.\d{5,}")
"""Patterns that the texts of layers omit or round; the tooltip has them in full."""
LONGEST_VALUES = 32
"""Maximum length of a call of `values` that is written with its numbers."""
SIZE, SMALL = 12, 10
WIDEST = 320


class Plate:
    """The texts of a layer: its call, and its label and counts, in one line, `figures`, unless it is `split`; the color
    of its family; `title` is the tooltip."""

    __slots__ = (
        *("counts", "family", "figures", "height", "kind", "label", "name", "sign", "split", "strip", "text", "title"),
    )

    def __init__(
        self, row: LayerFigures, mates: list[LayerFigures], label: str, named: list[str], *, strip: bool
    ) -> None:
        node = row.node
        self.name = node.name
        self.kind = node.layer.kind
        self.family = family(node)
        self.sign = OPERATOR_SIGNS.get(self.kind, "") if self.family == "merge" else ""
        words = ranged([_words(mate) for mate in mates])
        self.text = shorten(" ".join([words, *named]), SMALL if strip else SIZE, WIDEST)
        self.counts = _figures([mate.params for mate in mates], [mate.macs for mate in mates])
        self.split = False
        room = WIDEST / 2 if self.sign or strip else WIDEST - text_width(f" · {self.counts}" * bool(self.counts), SMALL)
        self.label = shorten(label, SMALL, room)
        said = self.label if not self.sign else ""
        self.figures = shorten(" · ".join(filter(None, (said, self.counts))), SMALL, WIDEST)
        self.title = _title(row, mates)
        self.strip = strip
        self.height = 0.0

    @property
    def width(self) -> float:
        """Return the width of a strip, whose call and figures share a line, or of a plate, which has two lines."""
        if self.strip:
            return text_width(self.text, SMALL) + (text_width(self.figures, SMALL) + 8 if self.figures else 0)
        return max(text_width(self.text, SIZE), *(text_width(line, SMALL) for line in self.lines))

    @property
    def lines(self) -> list[str]:
        """The lines below the call."""
        return [self.label, self.counts] if self.split else [self.figures]


def plates(rows: list[LayerFigures], outline: Outline, shown: int) -> list[Plate]:
    """Return the texts of layers in boxes whose titles have the first `shown` parts of their names."""
    mates = [outline.mates[row] for row in rows]
    return [
        Plate(row, others, _layer_label(others, outline.labels, shown), _named(row.node, outline.named), strip=at > 0)
        for at, (row, others) in enumerate(zip(rows, mates, strict=True))
    ]


def _named(node: Node, named: set[Node]) -> list[str]:
    """Return the operands that a layer names, such as `indices index`; the call has those of its keywords."""
    operands, _ = node.layer.split(node.inputs)
    taken = roles(node, tuple(x for x in operands if x in named))
    return [f"{role} {x.name}" for x, role in taken.items()]


def _layer_label(mates: list[LayerFigures], labels: frozenset[str], shown: int) -> str:
    """Return the part of a layer's name that no box around it says, for several layers of the first and the last;
    nothing if it has no label, or no weights and only a label that it shares."""
    node = mates[0].node
    first, last = node.name.split("."), mates[-1].node.name.split(".")
    ends = range(shown + 1 if node.parameters else len(first), len(first) + 1)
    if node.layer.kind == "input" or not any(".".join(first[:end]) in labels for end in ends):
        return ""
    return _between(".".join(first[shown:]), ".".join(last[shown:]))


def _between(first: str, last: str) -> str:
    """Return two names as one: `layer1.0…2`; nothing if they differ in more than their ends."""
    if first == last:
        return first
    start, _, one = first.rpartition(".")
    end, _, other = last.rpartition(".")
    if start != end:
        return ""
    stem = one.rstrip("0123456789")
    if other.rstrip("0123456789") == stem:
        other = other[len(stem) :]
    return f"{start}.{one}…{other}" if start else f"{one}…{other}"


def _words(row: LayerFigures) -> str:
    if row.node.layer.kind == "values" and len(row.call) > LONGEST_VALUES:
        return f"values {format_shape(row.node.shape)}"
    text = _rounded(QUIET.sub("", row.call))
    return text.replace("input", row.node.name, 1) if row.node.layer.kind == "input" else text


def _rounded(text: str) -> str:
    """Return a text with its long decimals rounded."""
    return LONG_DECIMALS.sub(lambda found: f"{float(found[0]):.4g}", text)


def _figures(params: list[int], macs: list[Count]) -> str:
    """Format figures as `36.9k weights · 116M MACs`, as ranges for a layer drawn for several."""
    words = [f"{_range(params)} weights"] if any(params) else []
    words += [f"{_range(macs)} MACs"] if any(macs) else []
    return " · ".join(words)


def _range(counts: list[int] | list[Count]) -> str:
    numbers = [count for count in counts if isinstance(count, int)]
    if len(numbers) == len(counts) and min(numbers) != max(numbers):
        return f"{short_count(min(numbers))}…{short_count(max(numbers))}"
    return short_count(counts[0])


def _title(row: LayerFigures, mates: list[LayerFigures]) -> str:
    node = row.node
    name = node.name if len(mates) == 1 else f"{node.name} … {mates[-1].node.name}"
    place = node.span.source.name.replace("\\", "/").rpartition("/")[2]
    lines = [name, _operation(node), f"{_ranged([mate.node.shape for mate in mates])}"]
    lines += [f"{row.params:,} weights"] if row.params and len(mates) == 1 else []
    lines += [f"{row.macs:,} MACs"] if row.macs and len(mates) == 1 else []
    return "\n".join([*lines, f"{place}:{node.span.source.position(node.span.start)[0]}"])


def _operation(node: Node) -> str:
    """Return the call of a layer; for a difference or a quotient also the operands, which the arrows do not show."""
    if node.layer.kind not in ("sub", "div"):
        return layer_call(node.layer)
    return f"{layer_call(node.layer)}: {f' {OPERATOR_SIGNS[node.layer.kind]} '.join(x.name for x in node.inputs)}"


def shapes(nodes: list[Node]) -> str:
    """Return the shape of a value, or of the values that one stands for: `96…256x56x56`."""
    return shorten(_ranged([node.shape for node in nodes]), SMALL, WIDEST)


def _ranged(found: list[Shape]) -> str:
    first = found[0]
    if all(each == first for each in found):
        return format_shape(first)
    if any(len(each) != len(first) for each in found):
        return f"{format_shape(first)} … {format_shape(found[-1])}"
    return "x".join(
        str(sizes[0]) if len(set(sizes)) == 1 else f"{sizes[0]}…{sizes[-1]}" for sizes in zip(*found, strict=True)
    )


def head(group: Group, around: str) -> str:
    """Return the title of a box: its label relative to those in `around`, the call with evaluated arguments, and the
    count."""
    label, words = _label(group).removeprefix(f"{around}."), _call(group) or _main_call(group)
    text = f"{label}: {words}" if label and words else label or words
    times = f"× {group.times}" if group.times > 1 else ""
    return shorten(" ".join(filter(None, (text, times))), SIZE, 2 * WIDEST)


def _call(group: Group) -> str:
    return ranged([_frame_call(each.frame) for each in group.mates])


def main_row(group: Group) -> LayerFigures | None:
    """Return the attention or recurrent layer of a labeled part, if it has one."""
    part = group.frame is None and group.times == 1
    return next((row for row in group.rows if part and family(row.node) in ("attention", "recurrent")), None)


def _main_call(group: Group) -> str:
    row = main_row(group)
    return _words(row) if row else ""


def _frame_call(frame: Frame | None) -> str:
    if frame is None or not frame.name:
        return ""
    words = [frame.name]
    if frame.call:
        block, given = frame.call
        for parameter in block.parameters:
            name = parameter.name.text
            if name in given and not _is_default(given[name][0], parameter.default):
                words += [name] * (parameter.default is not None) + [_value(given[name][0])]
    return " ".join(words)


def _is_default(value: object, default: ast.Expr | None) -> bool:
    """Whether a value is what its parameter has anyway, which a number, a switch or a word says by itself."""
    if isinstance(default, ast.Name):
        return isinstance(value, Word) and value == default.text
    if isinstance(default, (ast.Number, ast.Switch, ast.Text)):
        return type(value) is type(default.value) and value == default.value
    return False


def _value(value: object) -> str:
    block = getattr(value, "block", None)
    return str(block.name.text if block is not None else getattr(value, "name", "") or _rounded(show_value(value)))


def _label(group: Group) -> str:
    """Return the label that the names of all its layers share; for several rounds, the first and the last."""
    first, last = label(group), label(group.last)
    if group.times == 1 or not first:
        return first
    return "" if first == last else _between(first, last)


def shown_scopes(group: Group, known: int) -> int:
    """Return how many of the common scopes of its layers a box and those around it show, which alone show `known`."""
    return len(group.scopes) if _label(group) or not label(group) else known


def label(group: Group) -> str:
    """Return the common scopes of its layers, without one that only repeats the name of the block."""
    shared = ".".join(group.scopes)
    block = group.frame.name if group.frame else ""
    last = shared.rpartition(".")[2]
    said = bool(block) and last.startswith(block) and last[len(block) :].isdecimal()
    return "" if said else shared


def hover(group: Group) -> str:
    """Return the tooltip of a box: the common names of its layers, its call, and its source location."""
    lines = [label(group), _call(group), f"× {group.times}" if group.times > 1 else ""]
    if group.frame is not None:
        place = group.frame.span.source.name.replace("\\", "/").rpartition("/")[2]
        lines.append(f"{place}:{group.frame.span.source.position(group.frame.span.start)[0]}")
    return "\n".join(filter(None, lines))


def totals(group: Group) -> str:
    """Return the total of all rounds of a box."""
    rows = group.all_rows
    macs: Count = sum((row.macs for row in rows), 0)
    return shorten(_figures([sum(row.params for row in rows)], [macs]), SMALL, 2 * WIDEST)


def net_title(net: Net) -> str:
    return shorten(net_call(net), 20, 4 * WIDEST)


def net_totals(figures: Figures) -> str:
    macs = f"{figures.macs:,} MACs" if figures.macs else ""
    return "  ·  ".join(filter(None, (f"{figures.params:,} weights", macs, f"depth {figures.depth}")))


def paper_lines(net: Net, room: float) -> list[str]:
    """Return the paper that the net names: one line, or the authors in a line of their own."""
    said = [net.about.get(key) for key in ("authors", "paper", "year")]
    words = [str(each) for each in said if isinstance(each, (str, int))]
    text = ", ".join(words)
    if text_width(text, SIZE) > room and isinstance(said[0], str) and len(words) > 1:
        return [words[0], ", ".join(words[1:])]
    return [text] if text else []
