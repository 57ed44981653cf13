"""What is known of an ONNX graph's values: constants that derive from others, and how the rest lie in memory."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from netdsl.base.dtypes import ONNX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.weights.onnx_nodes import Node

    Shape = tuple[int, ...]
    Step = tuple[Any, ...]

MOST_AXES = 32
"""Maximum rank of a tensor."""

LONGEST_CHAIN = 32
"""Maximum number of steps between an initializer and its use."""

TYPED = ("cast", "dequantize")
"""Steps that change the type."""

CASTS = ("float16", "float32", "float64")
"""Types to which a Cast of a weight is followed."""


class Constant:
    """A value made of one tensor of the file, `root`, in `steps`; `name` is its last name in the file before it was
    changed, and `values` are its numbers if they are few and whole."""

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
        """NumPy's name of the type that the steps end in; empty where they keep the tensor's own."""
        ends = ("float32" if kind == "dequantize" else rest[0] for kind, *rest in self.steps[::-1] if kind in TYPED)
        return next(ends, "")

    def after(self, shape: Shape, *steps: Step) -> Constant | None:
        """Return the constant changed once more; None at the end of an overlong chain."""
        if len(self.steps) > LONGEST_CHAIN:
            return None
        return Constant(self.root, shape, name=self.name, steps=(*self.steps, *steps), values=self.values)

    def turned(self, axes: list[int]) -> Constant | None:
        """Return the constant with its axes permuted; None where `axes` are no permutation."""
        if sorted(axes) != list(range(len(self.shape))):
            return None
        if axes == sorted(axes):
            return self
        return self.after(tuple(self.shape[axis] for axis in axes), ("transpose", tuple(axes)))

    def reshaped(self, shape: Shape) -> Constant | None:
        """Return the constant in another shape; None where that has another number of elements."""
        if shape == self.shape:
            return self
        return self.after(shape, ("reshape", shape)) if prod(shape) == prod(self.shape) else None


def derived(node: Node, given: Mapping[int, Constant]) -> Constant | None:
    """Return the constant that a node makes of its first input; None where it is none, or cannot be followed."""
    source = given.get(0)
    make = MAKERS.get(node.op)
    return make(source, node, given) if source is not None and make is not None else None


def _identity(source: Constant, node: Node, _: Mapping[int, Constant]) -> Constant:
    name = node.outputs[0] if not source.steps else source.name
    return Constant(source.root, source.shape, name=name, steps=source.steps, values=source.values)


def _cast(source: Constant, node: Node, _: Mapping[int, Constant]) -> Constant | None:
    dtype = ONNX.get(node.integer("to", 0))
    return source.after(source.shape, ("cast", dtype)) if dtype in CASTS else None


def _transpose(source: Constant, node: Node, _: Mapping[int, Constant]) -> Constant | None:
    return source.turned(node.integers("perm") or [*range(len(source.shape))][::-1])


def _reshape(source: Constant, node: Node, given: Mapping[int, Constant]) -> Constant | None:
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


def _flatten(source: Constant, node: Node, _: Mapping[int, Constant]) -> Constant | None:
    axis = node.integer("axis", 1)
    return source.reshaped((prod(source.shape[:axis]), prod(source.shape[axis:])))


def axes_of(node: Node, given: Mapping[int, Constant]) -> list[int] | None:
    """Return the axes that a node names, as an attribute or as an input."""
    found = node.integers("axes")
    return found if found is not None or 1 not in given else given[1].values


def _unsqueeze(source: Constant, node: Node, given: Mapping[int, Constant]) -> Constant | None:
    axes = axes_of(node, given)
    if axes is None:
        return None
    rank = len(source.shape) + len(axes)
    new = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(new) < len(axes):
        return None
    sizes = iter(source.shape)
    return source.reshaped(tuple(1 if axis in new else next(sizes) for axis in range(rank)))


def _squeeze(source: Constant, node: Node, given: Mapping[int, Constant]) -> Constant | None:
    axes, rank = axes_of(node, given), len(source.shape)
    if axes is None and 1 in given:
        return None
    gone = {axis % rank for axis in axes} if axes is not None and rank else set(range(rank))
    kept = (size for axis, size in enumerate(source.shape) if axis not in gone or (axes is None and size != 1))
    return source.reshaped(tuple(kept))


def _dequantize(source: Constant, node: Node, given: Mapping[int, Constant]) -> Constant | None:
    """Follow `(x - zero point) * scale`, with one scale or one for each entry of an axis."""
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


class Info:
    """How a value lies: its `rank`; the axis of its channels, counted from the last, and their number; for each axis
    its place in the layout with channels first (`axes`); `order`, the way in which a map was flattened into it where
    that was not channels first; the layers (`makers`) whose flat outputs it is, `spread` after a reshape has made more
    axes of them."""

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
        """Channels' axis from the last: ONNX's second unless the graph has moved them."""
        if self.channel is not None or self.rank is None:
            return self.channel
        return self.rank - 2

    def _axes(self) -> tuple[int, ...]:
        """Return the places of the axes, derived from the channels' axis where no transposition has set them."""
        assert self.rank is not None
        if self.axes is not None and len(self.axes) == self.rank:
            return self.axes
        first = [*range(self.rank)]
        if self.rank > 2 and self.channel is not None and self.channel < self.rank:
            first.insert(self.rank - 1 - self.channel, first.pop(1))
        return tuple(first)

    def transposed(self, perm: list[int] | None) -> Info:
        """Return the layout after a Transpose."""
        rank = self.rank if self.rank is not None else len(perm or ())
        perm = [*range(rank)][::-1] if perm is None else perm
        if not 0 < rank <= MOST_AXES or sorted(perm) != list(range(rank)):
            return Info()
        known = Info(rank, self.channel, axes=self.axes)._axes()
        axes = tuple(known[axis] for axis in perm)
        channel = self.channel
        if channel is not None and channel < rank:
            channel = rank - 1 - perm.index(rank - 1 - channel)
        return Info(rank, channel, self.size, axes=axes, order=self.order, makers=self.makers, spread=self.spread)

    def reshaped(self, shape: list[int] | None) -> Info:
        """Return the layout after a Reshape or Flatten to a shape, as far as that is known."""
        rank = len(shape) if shape and len(shape) <= MOST_AXES else None
        if self.makers and (rank is None or rank > 2):
            return Info(rank, None, self.size, makers=self.makers, spread=True, order=self.order)
        if self.rank is None or self.rank < 3 or self._axes() == tuple(range(self.rank)):
            size = self.size if self.order else None
            return Info(rank, order=self.order, size=size, makers=self.makers)
        if self.channel == 0 and shape and shape[-1] == self.size:
            return Info(rank, 0, self.size)
        last = self._axes() == (0, *range(2, self.rank), 1)
        return Info(rank, None, self.size, order="last" if last else "mixed")
