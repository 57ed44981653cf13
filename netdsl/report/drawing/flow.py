"""Export a drawing for other layout programs: Graphviz's dot and Mermaid flowcharts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.report.drawing.items import Box, End, Stack, content
from netdsl.report.drawing.outline import Outline
from netdsl.report.drawing.words import net_title, net_totals
from netdsl.report.theme import LIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.net import Net, Node
    from netdsl.report.theme import Theme

DOT_COMMENT = "made by netdsl"


class Flow:
    """The stacks and outputs of a net, each with an identifier such as `n7`, in its boxes, and the edges between
    them."""

    __slots__ = ("edges", "names", "outline", "root", "title")

    def __init__(self, net: Net, *, unfold: bool) -> None:
        self.outline = Outline(net, unfold=unfold)
        self.root = content(net, self.outline)
        self.title = f"{net_title(net)}: {net_totals(self.outline.figures)}"
        self.names: dict[Stack | End, str] = {}
        makers: dict[Node, Stack] = {}
        inner: dict[Node, Node] = {}
        said: dict[Node, str] = {}
        for step, _, item in self.walk():
            if isinstance(item, Box) and step == "open":
                inner.update((a, b) for a, b in item.inner.items() if a is not b)
                for value, shape in item.outputs.items():  # an inner box has none where an outer one has it
                    said[item.inner[value]] = shape or said.get(value, "")
            if isinstance(item, (Stack, End)):
                self.names[item] = f"n{len(self.names)}"
            if isinstance(item, Stack):
                makers.update(dict.fromkeys(item.outputs, item))
        self.edges: list[tuple[str, str, str, bool]] = []
        for item, name in self.names.items():
            for read in item.inputs:
                value, times = read, item.times(read)
                while value not in makers:
                    value = inner[value]
                maker = makers[value]
                shape = maker.outputs[value] or said.get(value, "")
                role = item.roles.get(read, "") if isinstance(item, Stack) else ""
                shape = ": ".join(filter(None, (role, shape)))
                self.edges += [(self.names[maker], name, shape, maker.dashed or item.dashed)] * times

    def walk(self) -> Iterator[tuple[str, int, Stack | End | Box]]:
        """Yield each item with its depth, boxes twice: `open` and `close`."""
        todo: list[tuple[str, int, object]] = [("open", 0, item) for item in reversed(self.root.items)]
        while todo:
            step, depth, item = todo.pop()
            if not isinstance(item, (Stack, End, Box)):
                continue
            yield step, depth, item
            if isinstance(item, Box) and step == "open":
                assert item.content is not None
                todo.append(("close", depth, item))
                todo += [("open", depth + 1, each) for each in reversed(item.content.items)]


def lines_of(item: Stack | End) -> list[str]:
    """Return the lines of text of an item."""
    if isinstance(item, End):
        return [item.name]
    lines = ((plate.text, plate.label if plate.strip else plate.figures) for plate in item.plates)
    return [line for pair in lines for line in pair if line]


def dot(net: Net, *, unfold: bool = False, wide: bool = False, theme: Theme = LIGHT) -> str:
    """Format a digraph with a cluster for each box."""
    flow = Flow(net, unfold=unfold)
    out = [
        f"// {DOT_COMMENT}",
        f"digraph {_quoted(net.name)} {{",
        f'  graph [label={_quoted(flow.title)} labelloc=t fontname="Helvetica" color="{theme.border}" '
        f'fontcolor="{theme.ink}" bgcolor="{theme.paper}"{" rankdir=LR" * wide}];',
        f'  node [shape=box style="rounded,filled" fontname="Helvetica" fontsize=11 fontcolor="{theme.ink}" '
        'margin="0.12,0.05"];',
        f'  edge [color="{theme.line}" fontname="Helvetica" fontsize=9 fontcolor="{theme.line}"];',
    ]
    clusters = 0
    for step, depth, item in flow.walk():
        indent = "  " * (depth + 1)
        if not isinstance(item, Box):
            out.append(f"{indent}{flow.names[item]} [label={_quoted(*lines_of(item))}{_look(item, theme)}];")
        elif step == "close":
            out.append(f"{indent}}}")
        else:
            look = f'style="rounded,filled" fillcolor="{theme.shades[min(depth, len(theme.shades) - 1)]}"'
            out.append(f"{indent}subgraph cluster_{clusters} {{")
            out.append(f"{indent}  graph [label={_quoted(item.title)} {look}];")
            clusters += 1
    for start, end, shape, dashed in flow.edges:
        out.append(f"  {start} -> {end} [label={_quoted(shape)}{' style=dashed' * dashed}];")
    return "\n".join([*out, "}", ""])


def _look(item: Stack | End, theme: Theme) -> str:
    if isinstance(item, End):
        return (
            f' shape=oval fillcolor="{theme.paper}" color="{theme.families["input"][1]}"'
            + ' style="filled,dashed"' * item.dashed
        )
    fill, edge = theme.families[item.plates[0].family]
    return f' fillcolor="{fill}" color="{edge}"' + ' style="rounded,filled,dashed"' * item.dashed


def _quoted(*lines: str) -> str:
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'


def mermaid(net: Net, *, unfold: bool = False, wide: bool = False, theme: Theme = LIGHT) -> str:
    """Format a flowchart with a subgraph for each box."""
    flow = Flow(net, unfold=unfold)
    out = [f"%% {DOT_COMMENT}", f"flowchart {'LR' if wide else 'TB'}"]
    boxes = 0
    for step, depth, item in flow.walk():
        indent = "  " * (depth + 1)
        if isinstance(item, Box):
            out.append(f"{indent}end" if step == "close" else f"{indent}subgraph b{boxes}[{_entities(item.title)}]")
            boxes += step == "open"
        else:
            left, right = ("([", "])") if isinstance(item, End) else ("[", "]")
            out.append(f"{indent}{flow.names[item]}{left}{_entities(*lines_of(item))}{right}")
    for start, end, shape, dashed in flow.edges:
        arrow = "-.->" if dashed else "-->"
        label = f"|{_entities(shape)}|" if shape else ""
        out.append(f"  {start} {arrow}{label} {end}")
    families: dict[str, list[str]] = {}
    for item, name in flow.names.items():
        families.setdefault(item.plates[0].family if isinstance(item, Stack) else "input", []).append(name)
    for family, names in families.items():
        fill, edge = theme.families[family]
        out.append(f"  classDef {family} fill:{fill},stroke:{edge},color:{theme.ink}")
        out.append(f"  class {','.join(names)} {family}")
    return "\n".join([*out, ""])


def _entities(*lines: str) -> str:
    """Quote a text, with characters special to Mermaid or HTML as numeric entities."""
    escaped = ["".join(f"#{ord(c)};" if c in '"#<>&\\`' or ord(c) < 32 else c for c in line) for line in lines]
    return '"' + "<br>".join(escaped) + '"'
