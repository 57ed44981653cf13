"""The layers of a net as nested groups: block calls and rounds of loops.

The order is that of the source, so that everything a part reads precedes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from netdsl.ir.net import Net, Output
from netdsl.report.drawing.fold import LOOSE, Folder, Group
from netdsl.report.figures import Figures, LayerFigures

if TYPE_CHECKING:
    from collections.abc import Collection

    from netdsl.ir.net import Node
    from netdsl.report.drawing.fold import Part


FULL, PARTS, ONCE, OUTER, CLOSED = range(5)
"""How much detail there is: everything; no contents of labeled parts of a box; all contents of boxes, but only of the
first of a structure; of these, only those with boxes inside, without labeled parts; or none."""
MAX_ARROWS = 6
"""Maximum number of arrows for one value that a layer reads several times."""
OPERATOR_SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}


class Outline:
    """The groups of a net; `mates` are all the layers that a drawn one stands for, including itself. `closed` are the
    groups without contents, depending on the detail, `reads` the values that each layer is drawn to read, and `named`
    the constants that layers name instead, since many read them."""

    __slots__ = ("closed", "figures", "labels", "mates", "named", "reads", "root", "training")

    def __init__(self, net: Net, *, unfold: bool = False, detail: int = FULL) -> None:
        self.labels = net.labels
        self.figures = Figures(net)
        rows = self.figures.rows
        self.training: set[Node] = set()
        if any(output.training for output in net.outputs.values()):
            inferred = {row.node for row in rows}
            rows = Figures(_whole(net)).rows
            self.training = {row.node for row in rows} - inferred
        self.reads = _drawn_reads(net, rows)
        self.root = _tree(rows)
        self.mates: dict[LayerFigures, list[LayerFigures]] = {row: [row] for row in rows}
        if not unfold:
            folder = Folder(net, rows, self.mates)
            folder.fold(self.root)
            self.reads = _without(folder.merged, self.reads)
        self.named = _named(self.root, self.labels, self.reads)
        self.reads = _without(self.named, self.reads)
        _thin(self.root, self.reads)
        parts = _labeled_parts(net, self.root, self.reads) if detail in (PARTS, OUTER, CLOSED) else set()
        self.closed = parts | (_closed(self.root, detail) if detail > PARTS else set())


Reads = Mapping["Node", "tuple[Node, ...]"]


def _drawn_reads(net: Net, rows: list[LayerFigures]) -> Reads:
    """Return the inputs of each layer, except for those of which it reads only the size, if others read them too."""
    sizes = {row.node: _measured(row.node) for row in rows}
    read = {output.node for output in net.outputs.values()}
    read.update(x for row in rows for x in row.node.inputs if x not in sizes[row.node])
    return {row.node: tuple(x for x in row.node.inputs if x not in sizes[row.node] or x not in read) for row in rows}


def _without(values: set[Node], reads: Reads) -> Reads:
    return {node: tuple(x for x in each if x not in values) for node, each in reads.items()}


def _named(root: Group, labels: frozenset[str], reads: Reads) -> set[Node]:
    """Return the labeled constants that at least three of the drawn layers read as something that has a name."""
    users: dict[Node, list[Node]] = {}
    for row in (part for group in root.nested for part in group.parts if isinstance(part, LayerFigures)):
        for x in reads[row.node]:
            if x.layer.kind in ("param", "values") and x.name in labels:
                users.setdefault(x, []).append(row.node)
    return {x for x, each in users.items() if len(each) >= LOOSE and all(roles(user, (x,)) for user in each)}


def _measured(node: Node) -> set[Node]:
    """Return the inputs of which a layer reads only the size."""
    if node.layer.kind in ("positions", "relative_positions"):
        return {*node.inputs}
    operands, values = node.layer.split(node.inputs)
    return {x for name, x in values.items() if name == "like"} - {*operands}


def roles(node: Node, reads: tuple[Node, ...]) -> dict[Node, str]:
    """Return what the layer takes each of these inputs as, such as `queries` or `keys, values`. For a merge, it is
    nothing, or how often it reads a value, if that is too often for as many arrows."""
    operands, values = node.layer.split(node.inputs)
    names = node.layer.operand_names if len(operands) > 1 else ("",) * len(operands)
    found: dict[Node, list[str]] = {}
    for x, name in (*zip(operands, names, strict=False), *((x, name) for name, x in values.items())):
        if x in reads:
            found.setdefault(x, []).append(name)
    words = {x: ", ".join(filter(None, each)) for x, each in found.items()}
    counts = Counter(operands)
    if counts and max(counts.values()) > MAX_ARROWS and node.layer.kind not in OPERATOR_SIGNS:
        words = {x: f"× {times}" if times > 1 else "" for x, times in counts.items() if x in reads}
    return words if any(words.values()) else {}


def _closed(root: Group, detail: int) -> set[Group]:
    """Return the groups whose contents are not shown. Only calls of blocks are closed, which have a name."""
    known: set[object] = set()
    found: set[Group] = set()
    todo = [root]
    several = len(root.parts) > 2
    while todo:
        group = todo.pop()
        inner = [part for part in group.parts if isinstance(part, Group)]
        named = group.frame is not None and bool(group.frame.name)
        structure = _structure(group)
        if named and (structure in known or (detail >= OUTER and not inner) or (detail == CLOSED and several)):
            found.add(group)
        else:
            known.add(structure)
            todo += reversed(inner)
    return found


def _labeled_parts(net: Net, root: Group, reads: Reads) -> set[Group]:
    """Make groups of the labeled parts of boxes that have one result and at least two stacks, such as an attention with
    its projections; return them."""
    used = {output.node for output in net.outputs.values()}
    found: set[Group] = set()
    for group in root.nested[1:]:
        level = len(group.scopes) + 1
        parts: list[Part] = []
        for label, same in groupby(group.parts, lambda part: _part_label(part, level, net.labels)):  # noqa: B023
            rows = [*same]
            part = Group.of(rows)
            own = {row.node for row in part.rows}
            read = used | {x for node, each in reads.items() if node not in own for x in each}
            if label and len(stacks(rows, reads)) > 1 and len(own & read) == 1:
                found.add(part)
                rows = [part]
            parts += rows
        group.parts = parts
    return found


def _part_label(part: Part, level: int, labels: frozenset[str]) -> str:
    """Return the label with this many words that a layer stands under."""
    words = part.node.name.split(".") if isinstance(part, LayerFigures) else []
    label = ".".join(words[:level])
    return label if len(words) > level and label in labels else ""


def _structure(group: Group) -> object:
    """Return what two calls of a block have in common, apart from numbers: kinds of layers and how they connect."""
    places = {row.node: at for at, row in enumerate(group.rows)}
    rows = tuple((row.node.layer.kind, tuple(places.get(x, -1) for x in row.node.inputs)) for row in group.rows)
    return group.frame and group.frame.name, rows


def _whole(net: Net) -> Net:
    """Return the net with its training outputs as ordinary outputs."""
    outputs = {name: Output(name, each.node, each.span) for name, each in net.outputs.items()}
    return Net(net.name, net.source, inputs=net.inputs, outputs=outputs, nodes=net.nodes)


def _tree(rows: list[LayerFigures]) -> Group:
    root = Group(None)
    path = [root]
    for row in rows:
        frames = list(row.node.frame or ())[::-1]
        kept = 0
        while kept < min(len(frames), len(path) - 1) and path[kept + 1].frame is frames[kept]:
            kept += 1
        del path[kept + 1 :]
        for frame in frames[kept:]:
            group = Group(frame)
            path[-1].parts.append(group)
            path.append(group)
        path[-1].parts.append(row)
        for group in path:
            group.rows.append(row)
    return root


def _thin(root: Group, reads: Reads) -> None:
    """Remove groups without information: single rounds, and boxes around one box."""
    for group in reversed(root.nested):
        group.parts = [kept for part in group.parts for kept in _kept(part, reads)]


def _kept(part: Part, reads: Reads) -> list[Part]:
    if isinstance(part, LayerFigures):
        return [part]
    inner = part.parts[0] if len(part.parts) == 1 else None
    if part.times > 1 and isinstance(inner, Group) and inner.times == 1:
        inner.rounds = [inner, *(each for other in part.rounds[1:] for each in other.parts if isinstance(each, Group))]
        return [inner]
    if part.times == 1 and (not (part.frame and part.frame.name) or len(stacks(part.parts, reads)) == 1):
        return part.parts
    return [part]


def stacks(parts: list[Part], reads: Reads, gives: Collection[Node] = ()) -> list[list[LayerFigures] | Group]:
    """Return the parts, each layer with the following ones that keep its shape: a convolution, its norm, its relu.

    A value that others read, besides the next layer or as `gives`, ends a stack.
    """
    used: dict[Node, int] = {}
    for part in parts:
        rows = part.all_rows if isinstance(part, Group) else [part]
        for x in dict.fromkeys(x for row in rows for x in reads[row.node]):
            used[x] = used.get(x, 0) + 1
    found: list[list[LayerFigures] | Group] = []
    for part in parts:
        before = found[-1] if found else None
        if isinstance(part, Group):
            found.append(part)
        elif (
            isinstance(before, list)
            and reads[part.node] == (before[-1].node,)
            and _adheres(part.node, before[-1].node, used, gives)
        ):
            before.append(part)
        else:
            found.append([part])
    return found


def _adheres(node: Node, before: Node, used: dict[Node, int], gives: Collection[Node]) -> bool:
    if used[before] > 1 or before in gives:
        return False
    same = node.shape == before.shape
    quiet = family(node) in ("norm", "function") or node.layer.kind == "identity"
    return same and quiet and before.layer.kind != "input" and not before.layer.variadic


FAMILIES = {
    "conv": ("conv",),
    "dense": ("dense",),
    "attention": ("attention",),
    "recurrent": ("recurrent",),
    "pool": ("pool",),
    "norm": ("norm", "affine"),
    "function": ("activation", "elementary", "shrinkage"),
    "merge": ("merge",),
    "shape": ("shaping", "resample", "bounds", "indices"),
    "source": ("free", "positions"),
    "input": ("input",),
}
"""Kinds of layers with a color each, by the modules of the layers."""

OF_LAYER = {"matmul": "merge", "rope": "function"}
"""Families of layers that are not those of their modules."""

_FAMILY = {module: name for name, modules in FAMILIES.items() for module in modules}


def family(node: Node) -> str:
    return OF_LAYER.get(node.layer.kind) or _FAMILY[type(node.layer).__module__.rpartition(".")[2]]
