"""Reshapes, transpositions, slices, concatenations and reductions of ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netdsl.base.size import Size
from netdsl.declare.arguments import Word
from netdsl.importing.onnx_constants import index, operand, table_index
from netdsl.importing.onnx_fold import (
    BATCH,
    OnnxNode,
    Unsupported,
    axes_of,
    axis_of,
    resolve_shape,
    slices,
    split_sizes,
    whole,
)
from netdsl.importing.onnx_parts import PARTS, Repeated
from netdsl.importing.onnx_reader import LeftOut, Reader, handles
from netdsl.importing.onnx_values import Moved, fixed_shape, like, ordered, plain, reshaped, settled
from netdsl.importing.onnx_windows import in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim
    from netdsl.importing.flat import FlatLayer


def _constant(value: Any, what: str) -> Any:
    """Return an input that must be a constant. Raises Unsupported."""
    if isinstance(value, Moved):
        raise Unsupported(f"its {what} is computed from the inputs")
    return value


@handles("Transpose", lazy=True)
def _transpose(_: Reader, node: OnnxNode, x: Moved) -> Moved:
    axes = node.get("perm") or [*range(x.rank)][::-1]
    if sorted(axes) != [*range(x.rank)]:
        raise Unsupported("its axes are no permutation")
    return Moved(x.layer, tuple(x.axes[axis] for axis in axes))


@handles("Reshape", lazy=True)
def _reshape(r: Reader, node: OnnxNode, x: Moved, shape: Any = None) -> Moved:
    wanted: list[Dim] = _constant(shape, "shape").tolist() if shape is not None else list(node.get("shape"))
    symbolic = r.net.batch is None or any(isinstance(size, Size) for size in wanted)
    before = list(x.shape) if symbolic else fixed_shape(r.net, x)
    at = x.axes.index((0,)) if (0,) in x.axes else len(wanted)
    if symbolic and at < len(wanted) and not any(isinstance(size, Size) for size in wanted) and wanted[at] in (0, 1):
        # Exporters forget that a batch of one is not the only one.
        rest = [size for axis, size in enumerate(wanted) if axis != at]
        if wanted[at] == 0 or -1 in rest or _same_count(rest, [s for s in x.shape if s != BATCH]):
            wanted[at] = BATCH
    try:
        target = resolve_shape(wanted, before, bool(node.get("allowzero", 0)))
    except IndexError:
        raise Unsupported("its sizes do not fit") from None
    return reshaped(r.net, x, target, node.place)


def _same_count(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    if not all(isinstance(size, int) for size in (*a, *b)):
        return True
    return bool(np.prod(np.array(a, float)) == np.prod(np.array(b, float)))


@handles("Flatten", lazy=True)
def _flatten(_: Reader, node: OnnxNode, x: Moved) -> Moved:
    axis = node.get("axis", 1)
    if (axis if axis >= 0 else axis + x.rank) != 1:
        raise Unsupported("it joins the batch with other axes")
    return Moved(x.layer, (x.axes[0], tuple(axis for joined in x.axes[1:] for axis in joined)))


@handles("Unsqueeze", lazy=True)
def _unsqueeze(r: Reader, node: OnnxNode, x: Moved, given: Any = None) -> Moved:
    axes = axes_of(node, _constant(given, "axes")) or []
    rank = x.rank + len(axes)
    new = sorted({axis_of(axis, rank) for axis in axes})
    lost = r.net.batch == 1 and not any(0 in joined for joined in x.axes)  # a batch of one, which comes back
    added = dict.fromkeys(new, ()) | ({new[0]: (0,)} if lost and new else {})
    kept = iter(x.axes)
    return Moved(x.layer, tuple(added[axis] if axis in added else next(kept) for axis in range(rank)))


@handles("Squeeze", lazy=True)
def _squeeze(r: Reader, node: OnnxNode, x: Moved, given: Any = None) -> Moved:
    axes = axes_of(node, _constant(given, "axes"))
    shape = fixed_shape(r.net, x)
    gone = {axis_of(axis, x.rank) for axis in axes} if axes is not None else {a for a, s in enumerate(shape) if s == 1}
    if any(shape[axis] != 1 for axis in gone):
        raise Unsupported("it removes an axis that is larger than 1")
    return Moved(x.layer, tuple(joined for axis, joined in enumerate(x.axes) if axis not in gone))


@handles("Concat", lazy=True)
def _concat(r: Reader, node: OnnxNode, *xs: Any) -> Moved | None:
    values = [x for x in xs if isinstance(x, Moved)]
    first = next((x for x in values if x.is_simple), None) or settled(r.net, values[0], node.place)
    axis = axis_of(node.get("axis", 1), first.rank)
    if first.order[axis] == 0:
        raise Unsupported("it joins along the batch")
    layers = []
    for name, x in zip(node.inputs, xs, strict=True):
        found = ordered(r.net, x, first.order, node.place) if isinstance(x, Moved) else _param(r, node, name, x, first)
        if found is None:
            return None
        layers.append(found.layer)
    return like(r.add(node, "concat", layers, {"axis": first.order[axis] - 1}), first.order)


def _param(r: Reader, node: OnnxNode, name: str, array: Array, x: Moved) -> Moved | None:
    """Return a constant as a value with the order of axes of another value."""
    if array.ndim != x.rank or array.dtype == object:
        raise Unsupported("a constant of another number of axes")
    if array.shape[x.order.index(0)] != 1:
        raise Unsupported("a constant that differs between the examples of a batch")
    return like(operand(r, node, name, array, x), x.order)


@handles("Expand", lazy=True)
def _expand(r: Reader, _: OnnxNode, x: Moved, shape: Any) -> Any:
    target = _constant(shape, "shape").tolist()
    if len(target) > x.rank:
        raise Unsupported(PARTS[Repeated][0])
    target = [1] * (x.rank - len(target)) + target
    wanted = tuple(
        have if want in (1, have) or (have == BATCH and want == r.batch) else want
        for want, have in zip(target, x.shape, strict=True)
    )
    return x if wanted == x.shape else Repeated(x, wanted)


ENDLESS = 10**9
"""A stop of a slice that is behind the end of every axis, as exporters write it."""


@handles("Slice", lazy=True)
def _slice(r: Reader, node: OnnxNode, x: Moved, *inputs: Any) -> Moved | None:
    for each in inputs:
        _constant(each, "range")
    for axis, (start, stop, step) in slices(node, x.rank, inputs).items():
        size = x.shape[axis]
        if step == 1 and start == 0 and (stop >= ENDLESS or (isinstance(size, int) and stop >= size)):
            continue
        if not isinstance(size, int):
            raise Unsupported("it cuts a size that is known only at run time")
        low, high, _ = slice(start, stop, step).indices(size)
        if step == 1:
            x = _cut(r, node, x, axis, start if start < 0 and high == size and low == size + start else low, high)
            continue
        if step < 1 or size % step or low >= step or high <= size - step + low:
            raise Unsupported(f"its step is {step}")
        split = reshaped(r.net, x, [*x.shape[:axis], size // step, step, *x.shape[axis + 1 :]], node.place)
        part = _cut(r, node, split, axis + 1, low, low + 1)
        x = Moved(part.layer, (*part.axes[: axis + 1], *part.axes[axis + 2 :]))
    return x


def _cut(r: Reader, node: OnnxNode, x: Moved, axis: int, start: int, stop: int) -> Moved:
    """Return a range of an axis of the model's value; a negative start counts from the end. Raises Unsupported."""
    size = x.shape[axis]
    if stop == size and (start == 0 or -start == size):
        return x
    if len(x.axes[axis]) != 1:
        x = settled(r.net, x, node.place)
    (at,) = x.axes[axis]
    if at == 0:
        raise Unsupported("it cuts the batch")
    arguments: dict[str, object] = {"axis": at - 1, "start": start}
    if stop != size:
        arguments["stop"] = stop
    found = like(r.add(node, "slice", [x.layer], arguments), x.axes)
    if found is None:
        raise Unsupported("")
    return found


@handles("Split", lazy=True)
def _split(r: Reader, node: OnnxNode, x: Moved, given: Any = None) -> list[Moved | None]:
    axis = axis_of(node.get("axis", 0), x.rank)
    size = x.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("it splits a size that is known only at run time")
    found: list[Moved | None] = []
    start = 0
    for part in split_sizes(node, size, _constant(given, "sizes")):
        found.append(_cut(r, node, x, axis, start, start + part))
        start += part
    return found


MAX_PARTS = 1000
"""Maximum number of parts of equal size into which a value is split."""


class Parts(NamedTuple):
    """A sequence of parts of a value."""

    values: tuple[Moved | None, ...]


@handles("SplitToSequence", lazy=True)
def _split_to_sequence(r: Reader, node: OnnxNode, x: Moved, given: Any = None) -> Any:
    axis = node.get("axis", 0) % x.rank
    size, sizes = x.shape[axis], _constant(given, "sizes")
    if not isinstance(size, int) or sizes is None:
        raise Unsupported("it splits a size that is known only at run time, or into single elements")
    parts = whole(sizes)
    if sizes.ndim == 0:
        if parts[0] < 1 or size > MAX_PARTS * parts[0]:
            raise Unsupported(f"it has more than {MAX_PARTS} parts")
        parts = [min(parts[0], size - start) for start in range(0, size, parts[0])]
    starts = [sum(parts[:at]) for at in range(len(parts))]
    return Parts(tuple(_cut(r, node, x, axis, a, a + n) for a, n in zip(starts, parts, strict=True)))


@handles("SequenceAt", lazy=True)
def _sequence_at(_reader: Reader, _: OnnxNode, parts: Any, index: Any) -> Moved | None:
    if not isinstance(parts, Parts) or isinstance(index, Moved):
        raise Unsupported("its sequence is no split value, or its index is computed from the inputs")
    return parts.values[int(index)]


@handles("Gather", lazy=True)
def _gather(r: Reader, node: OnnxNode, data: Any, indices: Any) -> Moved | None:
    axis = node.get("axis", 0)
    if isinstance(data, np.ndarray) and isinstance(indices, np.ndarray):
        indices = plain(index(r, node, indices))
    if isinstance(indices, Moved):
        return embedding(r, node, node.inputs[0], data, settled(r.net, indices, node.place), axis)
    x: Moved = data
    axis = axis_of(axis, x.rank)
    size = x.shape[axis]
    chosen = whole(indices)
    if not isinstance(size, int):
        raise Unsupported("it selects from a size that is known only at run time")
    chosen = [index % size for index in chosen]
    if indices.ndim == 0:
        part = _cut(r, node, x, axis, chosen[0], chosen[0] + 1)
        return Moved(part.layer, (*part.axes[:axis], *part.axes[axis + 1 :]))
    if chosen == [*range(size)]:
        return reshaped(r.net, x, [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]], node.place)
    if indices.ndim > 1:
        return _gathered(r, node, settled(r.net, x, node.place), axis, np.array(chosen).reshape(indices.shape))
    if x.axes[axis] != (1,):
        if chosen == [*range(chosen[0], chosen[0] + len(chosen))]:
            return _cut(r, node, x, axis, chosen[0], chosen[-1] + 1)
        x = settled(r.net, x, node.place)
        if x.order[axis] != 1:
            return _nearest(r, node, x, x.order[axis], chosen)
    return like(r.add(node, "select", [x.layer], {"channels": tuple(chosen)}), x.axes)


def _gathered(r: Reader, node: OnnxNode, x: Moved, axis: int, indices: Array) -> Moved | None:
    """Return the elements at constant indices of several axes, which take the place of an axis. Raises Unsupported."""
    at = x.order[axis]
    if at == 0:
        raise Unsupported("it selects from the batch")
    chosen = table_index(r, node, indices)
    found = None if chosen is None else r.add(node, "gather", [x.layer, chosen], {"axis": at - 1})
    order = [each if each < at else each + indices.ndim - 1 for each in x.order]
    return like(found, [*order[:axis], *range(at, at + indices.ndim), *order[axis + 1 :]])


def _nearest(r: Reader, node: OnnxNode, x: Moved, axis: int, chosen: list[int]) -> Moved | None:
    """Return a value resized to the nearest neighbors that are chosen from a spatial axis. Raises Unsupported."""
    sizes, count = list(x.layer.shape), len(chosen)
    size = sizes[axis - 1]
    assert isinstance(size, int)
    rules = {"nearest": [at * size // count for at in range(count)]}
    rules["nearest_exact"] = [(2 * at + 1) * size // (2 * count) for at in range(count)]
    mode = next((mode for mode, rule in rules.items() if rule == chosen), "")
    sizes[axis - 1] = count
    if axis == 0 or not mode or not 2 <= len(sizes) <= 4 or not all(isinstance(each, int) for each in sizes):
        raise Unsupported("it selects from another axis than the channels")
    arguments: dict[str, object] = {"sizes": tuple(sizes[1:]), "mode": Word(mode)}
    return like(r.add(node, "resize", [x.layer], arguments), x.axes)


def embedding(r: Reader, node: OnnxNode, name: str, table: Any, indices: Moved, axis: int = 0) -> Moved | None:
    """Return the rows of a table, a constant of a name, that indices select. Raises Unsupported."""
    if isinstance(table, Moved) or table.ndim != 2 or axis not in (0, -2):
        raise Unsupported("it selects by computed indices")
    if indices.layer.dtype != "i64":
        raise Unsupported("its indices are no integers")
    rows, width = table.shape
    weights = {"weight": r.weight(name)}
    path = name.rpartition(".")[0]
    found = r.add(node, "embedding", [indices.layer], {"vocabulary": rows, "size": width}, weights, path=path)
    return like(found, (*(axis + 1 if axis else 0 for axis in indices.order), 1))


@handles("DepthToSpace", "SpaceToDepth")
def _shuffle(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    x = in_order(r, node, x)
    kind = "pixel_shuffle" if node.op == "DepthToSpace" else "pixel_unshuffle"
    arguments = {"factor": node.get("blocksize"), "order": Word(node.get("mode", "DCR").lower())}
    return plain(r.add(node, kind, [x.layer], arguments))


@handles("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2")
def _reduce(r: Reader, node: OnnxNode, x: Moved, given: Any = None) -> Moved | None:
    axes = axes_of(node, _constant(given, "axes"))
    if axes is None or not axes:
        if node.get("noop_with_empty_axes", 0):
            return x
        raise Unsupported("it reduces the batch")
    named = sorted({axis_of(axis, x.rank) for axis in axes})
    inner = sorted(x.order[axis] for axis in named)
    if inner[0] == 0:
        raise Unsupported("it reduces the batch")
    how = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "max", "ReduceL2": "sum"}[node.op]
    pooled = {"mean": "global_avgpool", "max": "global_maxpool"}.get(how)
    layer: FlatLayer | None = x.layer
    if node.op == "ReduceMin":  # -max(-x)
        layer = r.add(node, "scale", [x.layer], {"a": -1.0})
    elif node.op == "ReduceL2":
        layer = r.add(node, "square", [x.layer])
    if layer is None:
        return None
    if pooled and inner == [*range(2, x.rank)] and len(inner) > 1:
        found = r.add(node, pooled, [layer])
    else:
        found = layer
        for axis in inner:
            found = None if found is None else r.add(node, "reduce", [found], {"how": Word(how), "axis": axis - 1})
    if node.op == "ReduceMin" and found is not None:
        found = r.add(node, "scale", [found], {"a": -1.0})
    elif node.op == "ReduceL2" and found is not None:
        found = r.add(node, "sqrt", [found])
    y = like(found, x.order)
    if y is None or node.get("keepdims", 1):
        return y
    return reshaped(r.net, y, [size for axis, size in enumerate(y.shape) if axis not in named], node.place)


@handles("ArgMax")
def _argmax(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    axis = axis_of(node.get("axis", 0), x.rank)
    at = x.order[axis] - 1
    if at < 0 or node.get("select_last_index", 0):
        raise Unsupported("it compares the examples of a batch, or takes the last of equal elements")
    if x.rank == 2:
        raise LeftOut("the class with the highest score")
    x = in_order(r, node, x)
    found = plain(r.add(node, "argmax", [x.layer], {"axis": axis - 1}))
    if found is None or not node.get("keepdims", 1):
        return found
    sizes = list(found.shape)
    return reshaped(r.net, found, [*sizes[:axis], 1, *sizes[axis:]], node.place)
