"""Constants of an ONNX model as operands of layers: weights by their names, short lists, and rows of tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.base.limits import RANK
from netdsl.declare.arguments import Word
from netdsl.importing.flat import shortest
from netdsl.importing.notation import WIDTH, written
from netdsl.importing.onnx_fold import OnnxNode, Unsupported
from netdsl.importing.onnx_values import against

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer
    from netdsl.importing.onnx_reader import Reader
    from netdsl.importing.onnx_values import Moved

MAX_INLINE = 4
"""Maximum number of elements of a constant that is written into the text in any case."""

MAX_LISTED = 2**12
"""Maximum number of elements of a constant that is written into the text if its list is short; others are weights."""

HIDDEN = -1e4
"""A score that hides a key: models write -10,000, the least number, or minus infinity."""

MADE_UP = re.compile(r"onnx::|val_|_val|.*/")
"""Names that PyTorch made up, by how they begin, and those of nodes."""

MOVES = frozenset(["Identity", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Expand", "Flatten"])
"""Operators that only rearrange the elements of their first input."""


class Root(NamedTuple):
    """The weight of which a constant has the elements: the axis of the weight that each axis of the constant is, None
    for one of size 1."""

    name: str
    axes: tuple[int | None, ...]


def is_name(name: str) -> bool:
    """Return whether a constant has a name that a person gave it."""
    return "::" not in name and name.replace(".", "_").isidentifier()


def root_of(roots: dict[str, Root], name: str, array: Array) -> Root:
    """Return the weight of which a constant has the elements: by default, itself."""
    return roots.get(name) or Root(name, tuple(range(array.ndim)))


def moved_root(node: OnnxNode, before: Root, x: Array, y: Array) -> Root | None:
    """Return the weight that is rearranged in the result y of a node; None if axes are split or joined."""
    if node.op not in MOVES or not is_name(before.name):
        return None
    if node.op == "Transpose":
        return Root(before.name, tuple(before.axes[at] for at in node.get("perm") or range(x.ndim)[::-1]))
    kept = [axis for axis, size in zip(before.axes, x.shape, strict=True) if size != 1]
    if [size for size in x.shape if size != 1] != [size for size in y.shape if size != 1]:
        return None
    places = iter(kept)
    return Root(before.name, tuple(None if size == 1 else next(places) for size in y.shape))


def is_embedding(r: Reader, node: OnnxNode, table: object, indices: object) -> bool:
    """Return whether a Gather selects rows of a weight by constants that are the same for each example."""
    if node.op != "Gather" or not isinstance(table, np.ndarray) or not isinstance(indices, np.ndarray):
        return False
    is_weight = is_name(node.inputs[0]) and node.inputs[0].endswith(".weight") and node.inputs[0] not in r.roots
    rows = is_weight and table.ndim == 2 and table.dtype.kind == "f" and node.get("axis", 0) in (0, -2)
    whole = indices.dtype.kind in "iu" and indices.ndim == 2 and indices.shape[0] == 1 and indices.size > 0
    return rows and whole and (_is_positions(indices) or _is_short(indices, lines=4))


def _is_positions(indices: Array) -> bool:
    return np.array_equal(indices.reshape(-1), np.arange(indices.size))


def index(r: Reader, node: OnnxNode, indices: Array) -> FlatLayer | None:
    """Return constant indices [1, L] as a layer: `positions` of a value with a last axis of that size, or a list."""
    count = indices.size
    alike = [layer for layer in r.net.layers if layer.shape[-1:] == (count,)]
    if alike and _is_positions(indices):
        source = next((layer for layer in alike if layer.kind == "input"), alike[-1])
        return r.add(node, "positions", [source], path="")
    return _listed(r, node, indices.reshape(-1))


def _listed(r: Reader, node: OnnxNode, indices: Array) -> FlatLayer | None:
    numbers = tuple(float(each) for each in indices.reshape(-1))
    sizes = {} if indices.ndim == 1 else {"sizes": indices.shape}
    return r.add(node, "values", [], {"numbers": numbers, "dtype": Word("i64"), **sizes}, path="")


def table_index(r: Reader, node: OnnxNode, indices: Array) -> FlatLayer | None:
    """Return constant indices of several axes as a layer: `relative_positions` of a value with a last axis of that
    size, or a list. Raises Unsupported."""
    count = indices.shape[0]
    limit = int(indices.reshape(-1)[0])
    alike = [layer for layer in r.net.layers if layer.shape[-1:] == (count,)]
    if alike and indices.shape == (count, count) and limit > 0:
        places = np.arange(count)
        if np.array_equal(indices, np.clip(places - places[:, None], -limit, limit) + limit):
            source = next((layer for layer in alike if layer.kind == "input"), alike[-1])
            return r.add(node, "relative_positions", [source], {"limit": limit}, path="")
    if indices.size > MAX_LISTED:
        raise Unsupported("its indices are too many for a list")
    return _listed(r, node, indices)


def operand(r: Reader, node: OnnxNode, name: str, array: Array, x: Moved) -> FlatLayer | None:
    """Return a constant operand of a value as a layer with the axes of the value's. Raises Unsupported."""
    if array.dtype == object:
        raise Unsupported("it computes with sizes that are known only at run time")
    turned = against(x, array)
    if turned.ndim > RANK:
        raise Unsupported("its constant has too many axes")
    root = root_of(r.roots, name, array)
    made_up = not is_name(root.name) or MADE_UP.match(root.name)
    if turned.size <= MAX_INLINE or (made_up and _is_short(turned)):
        numbers = tuple(float(each) for each in turned.reshape(-1))
        sizes = {} if turned.ndim == 1 else {"sizes": turned.shape}
        return r.add(node, "values", [], {"numbers": numbers, **sizes}, path="")
    if is_name(root.name):
        return _weight(r, node, root, turned, _axes(x, root, array))
    return r.param(node, name, turned)


def _is_short(array: Array, lines: int = 1) -> bool:
    """Return whether the list of a constant fits in some lines."""
    if array.size > MAX_LISTED or array.dtype.kind not in "fiu":
        return False
    flat = array.reshape(-1)
    if len(np.unique(flat[:: max(1, flat.size // 256)])) > WIDTH // 2 * lines:
        return False
    return len(written([shortest(float(each)) for each in flat])) <= WIDTH * 2 // 3 * lines


def _axes(x: Moved, root: Root, array: Array) -> list[int] | None:
    """Return the axes of a weight in the order of those of the value's layer, without axes of size 1; None if some are
    split or joined."""
    found: dict[int, int] = {}
    shift = x.rank - array.ndim
    for at, (axis, size) in enumerate(zip(root.axes, array.shape, strict=True)):
        if size != 1 and axis is not None:
            if len(x.axes[at + shift]) != 1:
                return None
            found[x.axes[at + shift][0]] = axis
    return [found[place] for place in sorted(found)]


def _weight(r: Reader, node: OnnxNode, root: Root, turned: Array, axes: list[int] | None) -> FlatLayer | None:
    """Return a weight of the model as a `param` of its own layout, behind which its axes are permuted."""
    whole = r.values[root.name]
    assert isinstance(whole, np.ndarray)
    if axes is None or axes == sorted(axes):
        return r.param(node, root.name, turned)
    kept = sorted(axes)
    found = r.param(node, root.name, whole.reshape([whole.shape[axis] for axis in kept]))
    if found is not None:
        found = r.add(node, "permute", [found], {"axes": tuple(kept.index(axis) for axis in axes)}, path="")
    if found is not None and found.shape != turned.shape:
        found = r.add(node, "reshape", [found], {"sizes": turned.shape}, path="")
    return found
