"""Read the graph of an ONNX model: its nodes, the constants derived from its tensors, and the layouts of its values.

Source: onnx.proto.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.dtypes import ONNX
from netdsl.weights.file import MAX_AXES
from netdsl.weights.protobuf import FIXED32, MESSAGE, VARINT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.weights.protobuf import Protobuf

    Shape = tuple[int, ...]
    Step = tuple[Any, ...]

MAX_GRAPH_DEPTH = 8
"""Maximum nesting of subgraphs that are read."""

NODE, INPUT, VALUE_INFO = 1, 11, 13


class GraphNode:
    """A node: its operator, the names of its inputs and outputs, and its attributes.

    An attribute that is a tensor, dense or sparse, is stored as the offsets of its beginning and end in the file.
    """

    __slots__ = ("attributes", "inputs", "op", "outputs")

    def __init__(self) -> None:
        self.op = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: dict[str, object] = {}

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number, or the default."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int | float) else default

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is an integer, or the default."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int) else default

    def integers(self, name: str) -> list[int] | None:
        """Return an attribute that is a list of integers, or None."""
        found = self.attributes.get(name)
        return found if isinstance(found, list) and all(isinstance(each, int) for each in found) else None


class GraphReader:
    """Reads a graph: its `nodes` in order, those of a subgraph before the node that contains it, and the `ranks` of
    values by name, as far as the file declares them."""

    def __init__(self, wire: Protobuf) -> None:
        self._wire = wire
        self.nodes: list[GraphNode] = []
        self.ranks: dict[str, int] = {}

    def graph(self, begin: int, end: int, other: Callable[[int, int, int], None], depth: int = 0) -> None:
        """Read a graph. `other` is called with the number, begin and end of each field that is not read here."""
        for field, kind, at, stop in self._wire.fields(begin, end):
            if kind != MESSAGE:
                continue
            if field == NODE:
                self.nodes.append(self._node(at, stop, depth))
            elif field in (INPUT, VALUE_INFO):
                self._value(at, stop)
            else:
                other(field, at, stop)

    def _node(self, begin: int, end: int, depth: int) -> GraphNode:
        node = GraphNode()
        domain = ""
        for field, kind, at, stop in self._wire.fields(begin, end):
            if kind != MESSAGE:
                continue
            if field == 1:
                node.inputs.append(self._wire.text(at, stop))
            elif field == 2:
                node.outputs.append(self._wire.text(at, stop))
            elif field == 4:
                node.op = self._wire.text(at, stop)
            elif field == 5:
                self._attribute(node, at, stop, depth)
            elif field == 7:
                domain = self._wire.text(at, stop)
        if domain not in ("", "ai.onnx"):
            node.op = f"{domain}.{node.op}"
        return node

    def _attribute(self, node: GraphNode, begin: int, end: int, depth: int) -> None:
        name = ""
        value: object = None
        integers: list[int] = []
        floats: list[float] = []
        for field, kind, at, stop in self._wire.fields(begin, end):
            if field == 1 and kind == MESSAGE:
                name = self._wire.text(at, stop)
            elif field == 2 and kind == FIXED32:
                value = self._floats(at, stop)[0]
            elif field == 3 and kind == VARINT:
                value = self._wire.integers(at, stop)[0]
            elif field in (5, 22) and kind == MESSAGE:
                value = at, stop
            elif field in (6, 11) and kind == MESSAGE and depth < MAX_GRAPH_DEPTH:
                self.graph(at, stop, lambda *_: None, depth + 1)
            elif field == 7 and kind in (MESSAGE, FIXED32):
                floats += self._floats(at, stop)
            elif field == 8 and kind in (MESSAGE, VARINT):
                integers += self._wire.integers(at, stop)
        node.attributes[name] = integers or floats or value

    def _floats(self, at: int, stop: int) -> list[float]:
        found: list[float] = self._wire.data[at : stop - (stop - at) % 4].view("<f4").astype(np.float64).tolist()
        return found

    def _value(self, begin: int, end: int) -> None:
        """Record the rank of a value from its ValueInfoProto."""
        name = ""
        rank: int | None = None
        for field, kind, at, stop in self._wire.fields(begin, end):
            if field == 1 and kind == MESSAGE:
                name = self._wire.text(at, stop)
            elif field == 2 and kind == MESSAGE:
                rank = self._rank(at, stop)
        if rank is not None:
            self.ranks[name] = rank

    def _rank(self, begin: int, end: int) -> int | None:
        """Return the rank of a TypeProto's tensor; None if it declares no shape."""
        for field, kind, at, stop in self._wire.fields(begin, end):
            if (field, kind) != (1, MESSAGE):
                continue
            for inner, wire, a, b in self._wire.fields(at, stop):
                if (inner, wire) == (2, MESSAGE):
                    rank = sum(dim == 1 for dim, *_ in self._wire.fields(a, b))
                    return rank if rank <= MAX_AXES else None
        return None


MAX_STEPS = 32
"""Maximum number of steps between an initializer and its use."""

TYPED = ("cast", "dequantize")
"""Steps that change the type."""

CASTS = ("float16", "float32", "float64")
"""Target types of the casts that are applied to a weight."""


class Derived:
    """A constant computed from one tensor of the file, `root`, by `steps`.

    `name` is the last name of the unchanged tensor, after nodes Identity. `values` are the elements of a short list of
    integers, which may be a shape or axes.
    """

    __slots__ = ("name", "root", "shape", "steps", "values")

    def __init__(
        self, root: str, shape: Shape, *, name: str = "", steps: tuple[Step, ...] = (), values: list[int] | None = None
    ) -> None:
        self.root = root
        self.shape = shape
        self.name = name or root
        self.steps = steps
        self.values = values

    @property
    def dtype(self) -> str:
        """NumPy name of the type after all steps; empty if they keep the type of the tensor."""
        ends = ("float32" if kind == "dequantize" else rest[0] for kind, *rest in self.steps[::-1] if kind in TYPED)
        return next(ends, "")

    def after(self, shape: Shape, *steps: Step) -> Derived | None:
        """Return the constant after further steps; None if there are too many."""
        if len(self.steps) > MAX_STEPS:
            return None
        return Derived(self.root, shape, name=self.name, steps=(*self.steps, *steps), values=self.values)

    def turned(self, axes: list[int]) -> Derived | None:
        """Return the constant with its axes permuted; None if `axes` is not a permutation."""
        if sorted(axes) != list(range(len(self.shape))):
            return None
        if axes == sorted(axes):
            return self
        return self.after(tuple(self.shape[axis] for axis in axes), ("transpose", tuple(axes)))

    def reshaped(self, shape: Shape) -> Derived | None:
        """Return the constant in another shape; None if the number of elements differs."""
        if shape == self.shape:
            return self
        return self.after(shape, ("reshape", shape)) if prod(shape) == prod(self.shape) else None


def derived(node: GraphNode, given: Mapping[int, Derived]) -> Derived | None:
    """Return the constant that a node computes from the constant at its first input; None if that is not constant, or
    the operator is not supported."""
    source = given.get(0)
    make = MAKERS.get(node.op)
    return make(source, node, given) if source is not None and make is not None else None


def _identity(source: Derived, node: GraphNode, _: Mapping[int, Derived]) -> Derived:
    name = node.outputs[0] if not source.steps else source.name
    return Derived(source.root, source.shape, name=name, steps=source.steps, values=source.values)


def _cast(source: Derived, node: GraphNode, _: Mapping[int, Derived]) -> Derived | None:
    dtype = ONNX.get(node.integer("to", 0))
    return source.after(source.shape, ("cast", dtype)) if dtype in CASTS else None


def _transpose(source: Derived, node: GraphNode, _: Mapping[int, Derived]) -> Derived | None:
    return source.turned(node.integers("perm") or [*range(len(source.shape))][::-1])


def _reshape(source: Derived, node: GraphNode, given: Mapping[int, Derived]) -> Derived | None:
    wanted = node.integers("shape") or (given[1].values if 1 in given else None)
    if wanted is None:
        return None
    if not node.integer("allowzero", 0):
        if any(size == 0 and at >= len(source.shape) for at, size in enumerate(wanted)):
            return None
        wanted = [source.shape[at] if size == 0 else size for at, size in enumerate(wanted)]
    rest = prod(size for size in wanted if size != -1)
    if wanted.count(-1) == 1 and rest > 0:
        wanted = [prod(source.shape) // rest if size == -1 else size for size in wanted]
    return source.reshaped(tuple(wanted)) if all(size >= 0 for size in wanted) else None


def _flatten(source: Derived, node: GraphNode, _: Mapping[int, Derived]) -> Derived | None:
    axis = node.integer("axis", 1)
    return source.reshaped((prod(source.shape[:axis]), prod(source.shape[axis:])))


def axes_of(node: GraphNode, given: Mapping[int, Derived]) -> list[int] | None:
    """Return the axes of a node, from its attribute or, at newer opsets, its second input."""
    found = node.integers("axes")
    return found if found is not None or 1 not in given else given[1].values


def _unsqueeze(source: Derived, node: GraphNode, given: Mapping[int, Derived]) -> Derived | None:
    axes = axes_of(node, given)
    if axes is None:
        return None
    rank = len(source.shape) + len(axes)
    new = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(new) < len(axes):
        return None
    sizes = iter(source.shape)
    return source.reshaped(tuple(1 if axis in new else next(sizes) for axis in range(rank)))


def _squeeze(source: Derived, node: GraphNode, given: Mapping[int, Derived]) -> Derived | None:
    axes, rank = axes_of(node, given), len(source.shape)
    if axes is None and 1 in given:
        return None
    gone = {axis % rank for axis in axes} if axes is not None and rank else set(range(rank))
    kept = (size for axis, size in enumerate(source.shape) if axis not in gone or (axes is None and size != 1))
    return source.reshaped(tuple(kept))


def _dequantize(source: Derived, node: GraphNode, given: Mapping[int, Derived]) -> Derived | None:
    """Return `(x - zero point) * scale`, quantized per tensor or per axis; blocked quantization is not supported."""
    rank = len(source.shape)
    axis = node.integer("axis", 1)
    others = [given[slot] for slot in (1, 2) if slot in given]
    named = sum(map(bool, node.inputs[1:]))
    if node.integer("block_size", 0) or len(others) != named or not others or any(each.steps for each in others):
        return None
    scale = others[0]
    if scale.shape not in ((), (1,)):
        if not -rank <= axis < rank or scale.shape != (source.shape[axis],):
            return None
        axis %= rank
    step: Step = ("dequantize", tuple(each.root for each in others), axis)
    return source.after(source.shape, step)


MAKERS = {
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "DequantizeLinear": _dequantize,
}


class ValueInfo:
    """The layout of a value, as far as it is known.

    - `rank`: the number of axes.
    - `channel`, `size`: the axis of the channels, counted from the last, which is 0, and the number of channels.
    - `axes`: for each axis, its position in the channels-first layout.
    - `order`: how a feature map was flattened into it: empty for channels first, `last`, or `mixed`.
    - `makers`: the layers, a dense one and those after it, whose flat output it is.
    - `spread`: whether a reshape has split that output into several axes.
    """

    __slots__ = ("axes", "channel", "makers", "order", "rank", "size", "spread")

    def __init__(
        self,
        rank: int | None = None,
        channel: int | None = None,
        size: int | None = None,
        *,
        axes: tuple[int, ...] | None = None,
        order: str = "",
        makers: tuple[int, ...] = (),
        spread: bool = False,
    ) -> None:
        self.rank = rank
        self.channel = channel
        self.size = size
        self.axes = axes
        self.order = order
        self.makers = makers
        self.spread = spread

    @property
    def axis(self) -> int | None:
        """The channels' axis, counted from the last: the second from the left (ONNX's default), unless it was moved."""
        if self.channel is not None or self.rank is None:
            return self.channel
        return self.rank - 2

    def _axes(self) -> tuple[int, ...]:
        """Return `axes`, derived from the channels' axis if no Transpose has set them."""
        assert self.rank is not None
        if self.axes is not None and len(self.axes) == self.rank:
            return self.axes
        first = [*range(self.rank)]
        if self.rank > 2 and self.channel is not None and self.channel < self.rank:
            first.insert(self.rank - 1 - self.channel, first.pop(1))
        return tuple(first)

    def transposed(self, perm: list[int] | None) -> ValueInfo:
        """Return the layout after a Transpose."""
        rank = self.rank if self.rank is not None else len(perm or ())
        perm = [*range(rank)][::-1] if perm is None else perm
        if not 0 < rank <= MAX_AXES or sorted(perm) != list(range(rank)):
            return ValueInfo()
        known = ValueInfo(rank, self.channel, axes=self.axes)._axes()
        axes = tuple(known[axis] for axis in perm)
        channel = self.channel
        if channel is not None and channel < rank:
            channel = rank - 1 - perm.index(rank - 1 - channel)
        return ValueInfo(rank, channel, self.size, axes=axes, order=self.order, makers=self.makers, spread=self.spread)

    def reshaped(self, shape: list[int] | None) -> ValueInfo:
        """Return the layout after a Reshape or Flatten to `shape`; None is an unknown shape."""
        rank = len(shape) if shape and len(shape) <= MAX_AXES else None
        if self.makers and (rank is None or rank > 2):
            return ValueInfo(rank, None, self.size, makers=self.makers, spread=True, order=self.order)
        if self.rank is None or self.rank < 3 or self._axes() == tuple(range(self.rank)):
            size = self.size if self.order else None
            return ValueInfo(rank, order=self.order, size=size, makers=self.makers)
        if self.channel == 0 and shape and shape[-1] == self.size:
            return ValueInfo(rank, 0, self.size)
        last = self._axes() == (0, *range(2, self.rank), 1)
        return ValueInfo(rank, None, self.size, order="last" if last else "mixed")
