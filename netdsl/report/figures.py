"""The figures of a net, per layer and in total, as defined in docs/language.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.base.shape import elements, format_shape
from netdsl.declare.arguments import Dims, Sizes
from netdsl.ir.formula import element_count, largest
from netdsl.lower import cost, live, node_graphs, scratch
from netdsl.report.receptive_field import field_size, input_view, layer_view, state_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.text import Frame, Span
    from netdsl.declare.declared import Argument
    from netdsl.ir.formula import Count, Largest
    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Layer, Net, Node, Parameter
    from netdsl.report.receptive_field import FieldSize, View


def layer_call(layer: Layer, preprocessing: bool = False) -> str:
    """Return the call of a layer with the arguments that differ from its defaults: `conv 3x3 64 stride 2 bias off`.
    The preprocessing of images by an input, which is no part of the graph, is left out by default."""
    words = [layer.kind]
    hidden = () if preprocessing else getattr(layer, "preprocessing", ())
    places = [argument for argument in layer.arguments.values() if not argument.keyword]
    while places and _is_default(places[-1], layer):
        places.pop()
    words += [argument_text(argument, getattr(layer, argument.name)) for argument in places]
    for argument in layer.arguments.values():
        if argument.keyword and argument.name not in hidden and not _is_default(argument, layer):
            words += [argument.name, argument_text(argument, getattr(layer, argument.name))]
    return " ".join(words)


def _is_default(argument: Argument, layer: Layer) -> bool:
    value = getattr(layer, argument.name)
    return type(value) is type(argument.default) and bool(value == argument.default)


def argument_text(argument: Argument, value: Any) -> str:
    """Return the value of an argument as written in the language; a long list is cut with `…`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        if isinstance(argument.kind, (Dims, Sizes)) and (len(value) > 1 or isinstance(argument.kind, Dims)):
            return format_shape(value)
        shown = [f"{each:g}" if isinstance(each, float) else str(each) for each in value[:MAX_ENTRIES_SHOWN]]
        return f"[{', '.join([*shown, *(['…'] if len(value) > MAX_ENTRIES_SHOWN else [])])}]"
    return str(value)


MAX_ENTRIES_SHOWN = 16
"""Maximum number of entries shown of a list."""


def net_call(net: Net) -> str:
    """Return the name of a net with its settings: `resnet(depth = 18)`; one with errors is marked as incomplete."""
    settings = ", ".join(f"{name} = {value}" for name, value in net.settings.items())
    return (f"{net.name}({settings})" if settings else net.name) + ", incomplete" * (net.incomplete is not None)


BYTES_PER_ELEMENT = 4
"""Size of an f32 value."""


class LayerFigures:
    """The figures of one layer.

    `weights` are its weights and running statistics without those shared with an earlier layer, and `params` counts the
    elements of the weights; `bytes` is the size of its output for the given batch. `line` is a line of the net's own
    file, that of the call if the layer comes from another file. `scratch` is the size of what exists only while it
    runs. `field` is an int, "all" or None (unknown), or a list with one of these per axis.
    """

    __slots__ = ("bytes", "call", "field", "line", "macs", "node", "params", "scratch", "weights")

    def __init__(
        self,
        node: Node,
        line: int,
        weights: list[Parameter],
        macs: Count,
        size: Count,
        scratch: Count,
        field: FieldSize | list[FieldSize],
    ) -> None:
        self.node = node
        self.call = layer_call(node.layer)
        self.line = line
        self.weights = weights
        self.params = sum(elements(p.shape) for p in weights if not p.buffer)
        self.macs = macs
        self.bytes = size
        self.scratch = scratch
        self.field = field


class Figures:
    """All figures of a net; `peak_at` is the row with the highest memory use, if known."""

    __slots__ = ("batch", "buffers", "depth", "macs", "net", "params", "peak", "peak_at", "rows", "trainable")

    def __init__(self, net: Net, batch: int = 1) -> None:
        nodes = live(net)
        graphs = list(node_graphs(nodes))
        self.net = net
        self.batch = batch
        self.rows = list(_rows(net, nodes, graphs, batch))
        self.macs: Count = 0
        for row in self.rows:
            self.macs += row.macs
        parameters = {p.name: p for node in nodes for p in node.parameters.values()}.values()
        sizes = [(p, elements(p.shape)) for p in parameters]
        self.params = sum(size for p, size in sizes if not p.buffer)
        self.trainable = sum(size for p, size in sizes if p.trainable)
        self.buffers = sum(size for p, size in sizes if p.buffer)
        self.depth = _depth(self.rows)
        alive = _alive(net, self.rows)
        self.peak: Count | Largest = largest(alive)
        self.peak_at = next((row for row, size in zip(self.rows, alive, strict=True) if size == self.peak), None)


def _rows(net: Net, nodes: list[Node], graphs: list[Graph], batch: int) -> Iterator[LayerFigures]:
    counted: set[str] = set()
    views: dict[Node, View] = {}
    costs: dict[Graph, tuple[Count, Count]] = {}
    for node, graph in zip(nodes, graphs, strict=True):
        if graph not in costs:
            costs[graph] = cost(graph), scratch(graph)
        inputs = [views[x] for x in dict.fromkeys(node.inputs)]
        if node.layer.kind == "state":
            inputs = [*map(state_view, inputs)]
        views[node] = layer_view(graph, inputs) if node.layer.kind != "input" else input_view(node)
        new = [p for p in node.parameters.values() if p.name not in counted]
        counted.update(p.name for p in new)
        size = element_count(node.shape) * (BYTES_PER_ELEMENT * batch)
        macs, inside = costs[graph]
        line = line_in_file(net, node.span, node.frame)
        inside *= BYTES_PER_ELEMENT * batch
        yield LayerFigures(node, line, new, macs, size, inside, field_size(views[node]))


def line_in_file(net: Net, span: Span, frame: Frame | None) -> int:
    """Return the line in the net's own file: of the location itself, or of the call that led to it."""
    spans = [span, *(each.span for each in frame or ())]
    own = next((each for each in spans if each.source is net.source), span)
    return own.source.position(own.start)[0]


def _depth(rows: list[LayerFigures]) -> int:
    """Return the maximum number of layers with a cost on one path."""
    depths: dict[Node, int] = {}
    for row in rows:
        before = max((depths[x] for x in row.node.inputs), default=0)
        depths[row.node] = before + bool(row.macs)
    return max(depths.values())


def _alive(net: Net, rows: list[LayerFigures]) -> list[Count]:
    """Return the bytes in use while each layer runs: what it or later layers read, with inputs, its output and what
    exists only while it runs.

    Inputs exist from the start, and outputs remain to the end.
    """
    last = {row.node: at for at, row in enumerate(rows)}
    for at, row in enumerate(rows):
        last.update(dict.fromkeys(row.node.inputs, at))
    last.update((output.node, len(rows)) for output in net.inference_outputs.values())
    ends: dict[int, list[Count]] = {}
    for row in rows:
        ends.setdefault(last[row.node], []).append(row.bytes)
    alive: Count = 0
    for row in rows:
        alive += row.bytes if row.node.layer.kind == "input" else 0
    found = []
    for at, row in enumerate(rows):
        alive += row.bytes if row.node.layer.kind != "input" else 0
        found.append(alive + row.scratch)
        for size in ends.get(at, ()):
            alive -= size
    return found
