"""Layouts of values in memory: plain, or with some axes split into blocks, which come last."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.ops.base import known
from netdsl.ops.nchwc import reorder_input, reorder_output

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value


class Layout:
    """Layout of a value of a plain `shape` whose `axes` are zero-padded to multiples of `block` and split into blocks.

    The value is declared with the padded shape. In memory, the number of the block takes the place of each split axis,
    and positions within blocks come last, those of the last axis first: [O/B, I/B, H, W, B of I, B of O] for a kernel
    with axes 0 and 1 split.
    """

    __slots__ = ("axes", "block", "shape")

    def __init__(self, shape: Shape, block: int = 1, axes: tuple[int, ...] = ()) -> None:
        self.shape = known(shape)
        self.block = block if axes else 1
        self.axes = axes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<{list(self.shape)} in blocks of {self.block} along {self.axes}>"

    @property
    def _key(self) -> tuple[object, ...]:
        return self.shape, self.block, self.axes

    @property
    def plain(self) -> bool:
        return not self.axes

    @property
    def padded(self) -> tuple[int, ...]:
        """The shape that the value is declared with."""
        return tuple(-(-n // self.block) * self.block if i in self.axes else n for i, n in enumerate(self.shape))

    @property
    def has_padding(self) -> bool:
        return self.padded != self.shape

    @property
    def split(self) -> tuple[int, ...]:
        """The padded shape with the axes split: [N, C/B, B, H, W]."""
        pairs = ((n // self.block, self.block) if i in self.axes else (n,) for i, n in enumerate(self.padded))
        return tuple(chain.from_iterable(pairs))

    @property
    def perm(self) -> tuple[int, ...]:
        """The permutation from the split shape to the order in memory."""
        outer, inner, at = [], [], 0
        for axis in range(len(self.shape)):
            outer.append(at)
            at += 1
            if axis in self.axes:
                inner.append(at)
                at += 1
        return *outer, *inner[::-1]

    @property
    def memory(self) -> tuple[int, ...]:
        """Return the shape in memory: [N, C/B, H, W, B]."""
        return tuple(self.split[i] for i in self.perm)

    @property
    def moves(self) -> bool:
        """Return whether the order in memory differs from the plain one; axes of size 1 do not matter."""
        order = [i for i in self.perm if self.split[i] > 1]
        return order != sorted(order)

    def encode(self, array: Array) -> Array:
        """Return a plain array in stored order, with the padded shape."""
        import numpy as np

        after = [(0, p - n) for n, p in zip(self.shape, self.padded, strict=True)]
        cut = np.pad(np.asarray(array), after).reshape(self.split).transpose(self.perm)
        return np.ascontiguousarray(cut).reshape(self.padded)

    def decode(self, array: Array) -> Array:
        """Return a stored array in the plain shape."""
        import numpy as np

        back = np.asarray(array).reshape(self.memory).transpose(_inverse(self.perm)).reshape(self.padded)
        return np.ascontiguousarray(back[tuple(slice(n) for n in self.shape)])

    def mask(self) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """Return a mask of the elements that are not padding, as a shape that broadcasts over memory and its
        elements."""
        import numpy as np

        pairs = enumerate(zip(self.shape, self.padded, strict=True))
        narrow = Layout(tuple(1 if n == p and i not in self.axes else n for i, (n, p) in pairs), self.block, self.axes)
        stored = narrow.encode(np.ones(narrow.shape, bool)).reshape(narrow.memory)
        return stored.shape, tuple(map(bool, stored.reshape(-1)))


def blocked_map(shape: Shape, block: int) -> Layout:
    """Return the layout of a map [N, C, *S] with its channels in blocks."""
    return _simplest(Layout(shape, block, (1,)))


def kernel(shape: Shape, block: int) -> Layout:
    """Return the layout of a kernel [O, C, *K] over blocked channels."""
    return _simplest(Layout(shape, block, (0, 1)))


def narrow_kernel(shape: Shape, block: int) -> Layout:
    """Return the layout of a kernel [O, C, *K] over few plain channels or of a depthwise convolution: only O in
    blocks."""
    return _simplest(Layout(shape, block, (0,)))


def vector(shape: Shape, block: int) -> Layout:
    """Return the layout of a vector [C] with one number per channel."""
    return _simplest(Layout(shape, block, (0,)))


def _simplest(layout: Layout) -> Layout:
    """Return the plain layout if the layout differs from it in neither order nor size."""
    return layout if layout.moves or layout.has_padding else Layout(layout.shape)


def to_layout(x: Value, layout: Layout) -> Value:
    """Convert a plain value to a layout."""
    if layout.plain:
        return x
    is_map = layout.axes == (1,) and len(x.shape) == 4 and x.dtype == "f32" and layout.moves
    if layout.has_padding and not (is_map and layout.shape[1] % 4 == 0):
        more = [p - n for n, p in zip(layout.shape, layout.padded, strict=True)]
        x = _padded(x, more)
    if is_map:
        return reorder_input(x, layout.block)
    if not layout.moves:
        return x
    x = ops.transpose(ops.reshape(x, layout.split, batch=False), layout.perm)
    return ops.reshape(x, layout.padded, batch=False)


def to_plain(x: Value, layout: Layout) -> Value:
    """Convert a value in a layout to the plain one."""
    if layout.plain:
        return x
    if layout.axes == (1,) and len(x.shape) == 4 and x.dtype == "f32" and layout.moves:
        return reorder_output(x, layout.shape[1])
    if layout.moves:
        x = ops.transpose(ops.reshape(x, layout.memory, batch=False), _inverse(layout.perm))
        x = ops.reshape(x, layout.padded, batch=False)
    if layout.has_padding:
        axes = [i for i, (n, p) in enumerate(zip(layout.shape, layout.padded, strict=True)) if n != p]
        x = ops.slice(x, axes, [0] * len(axes), [layout.shape[i] for i in axes])
    return x


def _padded(x: Value, more: list[int]) -> Value:
    if x.dtype != "bool":
        return ops.pad(x, [0] * len(more) + more)
    return ops.cast(_padded(ops.cast(x, "u8"), more), "bool")


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(i) for i in range(len(perm)))
