"""The layers of a net as nested groups: block calls and rounds of loops, with consecutive equal ones merged.

The order is that of the source, so that everything a part reads precedes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from netdsl.ir.net import Net, Output
from netdsl.report.figures import Figures, LayerFigures

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import TypeAlias

    from netdsl.base.text import Frame
    from netdsl.ir.net import Node

    Part: TypeAlias = "LayerFigures | Group"


FULL, ONCE, OUTER, CLOSED = range(4)
"""How much detail the boxes of block calls have: all their contents; only those of the first of a structure; of these,
only those with boxes inside; or none."""
MAX_ARROWS = 6
"""Maximum number of arrows for one value that a layer reads several times."""
OPERATOR_SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}
LOOSE = 3
"""Minimum number of rounds with different shapes that are drawn as one."""


class Group:
    """The layers of a block call or of a round; without a `frame`, those of the net.

    `rounds` are this group and the equal ones that follow, so that one drawing stands for `times`. If their shapes
    differ, `mates` has the layers that are drawn as one.
    """

    __slots__ = ("frame", "parts", "rounds", "rows")

    def __init__(self, frame: Frame | None) -> None:
        self.frame = frame
        self.parts: list[Part] = []
        self.rows: list[LayerFigures] = []
        self.rounds: list[Group] = [self]

    @property
    def times(self) -> int:
        return len(self.rounds)

    @property
    def last(self) -> Group:
        return self.rounds[-1]

    @property
    def all_rows(self) -> list[LayerFigures]:
        return [row for each in self.rounds for row in each.rows]


class Outline:
    """The groups of a net; `mates` are all the layers that a drawn one stands for, including itself. `closed` are the
    groups without contents, depending on the detail, and `reads` the values that each layer is drawn to read."""

    __slots__ = ("closed", "figures", "labels", "mates", "reads", "root", "training")

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
            _Folder(net, rows, self.mates).fold(self.root)
        _thin(self.root, self.reads)
        self.closed = _closed(self.root, detail)


Reads = Mapping["Node", "tuple[Node, ...]"]


def _drawn_reads(net: Net, rows: list[LayerFigures]) -> Reads:
    """Return the inputs of each layer, except for those of which it reads only the size, if others read them too."""
    sizes = {row.node: _measured(row.node) for row in rows}
    read = {output.node for output in net.outputs.values()}
    read.update(x for row in rows for x in row.node.inputs if x not in sizes[row.node])
    return {row.node: tuple(x for x in row.node.inputs if x not in sizes[row.node] or x not in read) for row in rows}


def _measured(node: Node) -> set[Node]:
    """Return the inputs of which a layer reads only the size."""
    if node.layer.kind == "positions":
        return {*node.inputs}
    operands, values = node.layer.split(node.inputs)
    return {x for name, x in values.items() if name == "like"} - {*operands}


def roles(node: Node, reads: tuple[Node, ...]) -> dict[Node, str]:
    """Return what the layer takes each of these inputs as, such as `queries` or `keys, values`; for a merge, nothing, or
    how often it reads those that it reads too often for as many arrows."""
    operands, values = node.layer.split(node.inputs)
    names = node.layer.operand_names if len(operands) > 1 else ("",) * len(operands)
    found: dict[Node, list[str]] = {}
    for x, name in (*zip(operands, names, strict=False), *((x, name) for name, x in values.items())):
        if x in reads:
            found.setdefault(x, []).append(name)
    words = {x: ", ".join(filter(None, each)) for x, each in found.items()}
    counts = Counter(operands)
    if counts and max(counts.values()) > MAX_ARROWS and node.layer.kind not in OPERATOR_SIGNS:
        words = {x: f"× {counts[x]}" if counts[x] > 1 else "" for x in words}
    return words if any(words.values()) else {}


def _closed(root: Group, detail: int) -> set[Group]:
    """Return the groups whose contents are not shown. Only calls of blocks are closed, which have a name."""
    known: set[object] = set()
    found: set[Group] = set()
    todo = [root]
    several = len(root.parts) > 2
    while detail != FULL and todo:
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


class _Folder:
    """Merges consecutive equal groups that each read what the previous one made."""

    def __init__(self, net: Net, rows: list[LayerFigures], mates: dict[LayerFigures, list[LayerFigures]]) -> None:
        self.mates = mates
        self.at = {row.node: at for at, row in enumerate(rows)}
        self.start: dict[Group, int] = {}
        self.calls: dict[Group, list[object]] = {}
        self.uses: dict[Node, list[Node | None]] = {row.node: [] for row in rows}
        for row in rows:
            for x in row.node.inputs:
                self.uses[x].append(row.node)
        for output in net.outputs.values():
            self.uses[output.node].append(None)

    def fold(self, root: Group) -> None:
        order = [root]
        for group in order:
            order += [part for part in group.parts if isinstance(part, Group)]
        for group in reversed(order):
            group.parts = [*self._folded(group)]

    def _folded(self, group: Group) -> Iterator[Part]:
        run: list[Group] = []
        for part in group.parts:
            if run and isinstance(part, Group) and self._follows(run, part):
                run.append(part)
                continue
            yield from self._joined(run)
            run = [part] if isinstance(part, Group) else []
            if isinstance(part, LayerFigures):
                yield part
        yield from self._joined(run)

    def _joined(self, run: list[Group]) -> Iterator[Group]:
        """Merge rounds with the same figures, and at least three consecutive ones that all differ."""
        parts = [list(same) for _, same in groupby(run, self._figures)]
        for alone, several in groupby(parts, lambda part: len(part) == 1):
            found = list(several)
            if alone and len(found) >= LOOSE:
                found = [[round for part in found for round in part]]
            for first, *others in found:
                first.rounds += others
                for row, *mates in zip(*(each.rows for each in first.rounds), strict=True):
                    self.mates[row] += [mate for other in mates for mate in self.mates[other]]
                yield first

    @staticmethod
    def _figures(group: Group) -> list[object]:
        return [(row.node.shape, row.params, row.macs) for row in group.rows]

    def _follows(self, run: list[Group], part: Group) -> bool:
        """Return whether a group does what the groups of the run do, with the output of the last of them."""
        before = run[-1]
        if self._content(before) != self._content(part):
            return False
        start, begin = self.at[before.rows[0].node], self.at[part.rows[0].node]
        size = len(part.rows)
        if begin != start + size or not self._handed_on(before, begin, begin + size):
            return False
        reads = self._outside(part, begin)
        if not any(start <= x < begin for x in reads):
            return False
        if len(run) == 1:  # the first one reads from elsewhere what the others read from those before them
            return len(set(reads)) == len(set(self._outside(before, start)))
        shifted = [x - size if x >= start else x for x in reads]
        return shifted == self._outside(before, start)

    def _handed_on(self, group: Group, begin: int, end: int) -> bool:
        """Return whether the output of a group is read only in it and in the next one, and there as one value."""
        inside = begin - len(group.rows)
        users = [(row.node, use) for row in group.rows for use in self.uses[row.node]]
        later = {node for node, use in users if use is None or self.at[use] >= begin}
        return len(later) == 1 and all(use is not None and inside <= self.at[use] < end for _, use in users)

    def _outside(self, group: Group, start: int) -> list[int]:
        return [self.at[x] for row in group.rows for x in row.node.inputs if self.at[x] < start]

    def _content(self, group: Group) -> list[object]:
        """Return what makes two groups equal: the same layers, except for their shapes, connected in the same way."""
        found = self.calls.get(group)
        if found is None:
            start = self.at[group.rows[0].node]
            name = group.frame.name if group.frame else ""
            found = self.calls[group] = [
                (name, row.call, row.line, bool(row.params), [max(self.at[x] - start, -1) for x in row.node.inputs])
                for row in group.rows
            ]
        return found


def _thin(root: Group, reads: Reads) -> None:
    """Remove groups without information: single rounds, and boxes around one box."""
    order = [root]
    for group in order:
        order += [part for part in group.parts if isinstance(part, Group)]
    for group in reversed(order):
        group.parts = [kept for part in group.parts for kept in _kept(part, reads)]


def _kept(part: Part, reads: Reads) -> list[Part]:
    if isinstance(part, LayerFigures):
        return [part]
    inner = part.parts[0] if len(part.parts) == 1 else None
    if part.times > 1 and isinstance(inner, Group) and inner.times == 1:
        inner.rounds = [inner, *part.rounds[1:]]  # a round that is one call
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
    "source": ("free",),
    "input": ("input",),
}
"""Kinds of layers with a color each, by the modules of the layers."""

OF_LAYER = {"matmul": "merge", "positions": "source", "rope": "function"}
"""Families of layers that are not those of their modules."""

_FAMILY = {module: name for name, modules in FAMILIES.items() for module in modules}


def family(node: Node) -> str:
    return OF_LAYER.get(node.layer.kind) or _FAMILY[type(node.layer).__module__.rpartition(".")[2]]
