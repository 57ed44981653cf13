"""Layers of Caffe that change shapes, sizes and the order of elements."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from netdsl.declare.arguments import Word
from netdsl.importing.calls import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.importing.caffe_step import Step
    from netdsl.importing.flat import FlatLayer, Value

    Parts = list[Value]


def concat(step: Step, *xs: FlatLayer) -> Value:
    fields = step.parameters("concat_param")
    axis = fields.integer("axis", fields.integer("concat_dim", 1))
    if axis == 0 or axis == -len(xs[0].shape) - 1:
        return step.refuse("a Concat of examples", "it changes the size of the batch")
    return step.add("concat", xs, {"axis": axis - 1 if axis > 0 else axis}) if len(xs) > 1 else xs[0]


def slices(step: Step, x: FlatLayer) -> Value | list[Value]:
    fields = step.parameters("slice_param")
    axis = fields.integer("axis", fields.integer("slice_dim", 1))
    count, points = len(step.layer.tops), fields.integers("slice_point")
    axis = axis - 1 if axis >= 0 else axis + len(x.shape)
    if not 0 <= axis < len(x.shape):
        return step.refuse("a Slice of examples", "it changes the size of the batch")
    size = sizes_of(x)[axis]
    bounds = [0, *(points or [size // count * at for at in range(1, count)]), size]
    if len(bounds) != count + 1 or (not points and size % count):
        return step.refuse("a Slice", f"{len(points)} points for {count} parts of {size}")
    return [
        step.add("slice", [x], {"axis": axis, "start": a, **({} if b == size else {"stop": b})}, inner=count > 1)
        for a, b in pairwise(bounds)
    ]


def flatten(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("flatten_param")
    rank = len(x.shape) + 1
    first, last = (n % rank for n in (fields.integer("axis", 1), fields.integer("end_axis", -1)))
    if not 0 < first <= last < rank:
        return step.refuse("a Flatten of examples", "it changes the size of the batch")
    if (first, last) == (1, rank - 1):
        return step.add("flatten", [x])
    sizes = (*x.shape[: first - 1], prod(sizes_of(x)[first - 1 : last]), *x.shape[last:])
    return step.add("reshape", [x], {"sizes": sizes})


def reshape(step: Step, x: FlatLayer) -> Value:
    """Replace the axes from `axis` on, `num_axes` of them: 0 copies a size, and -1 is what is left."""
    fields = step.parameters("reshape_param")
    dims = fields.message("shape").integers("dim")
    rank, batch = len(x.shape) + 1, -7  # any number but those with a meaning
    first, count = fields.integer("axis", 0), fields.integer("num_axes", -1)
    first = first if first >= 0 else rank + first + 1
    old = [batch, *sizes_of(x)]
    replaced = old[first:] if count == -1 else old[first : first + count]
    if not all(at < len(replaced) for at, size in enumerate(dims) if size == 0):
        return step.refuse("a Reshape", "it copies the size of an axis that its input lacks")
    new = [*old[:first], *(replaced[at] if size == 0 else size for at, size in enumerate(dims))]
    new += old[first + len(replaced) :]
    if new and new[0] == -1 and -1 not in new[1:] and prod(new[1:]) == prod(sizes_of(x)):
        new[0] = batch
    if not new or new[0] not in (batch, 1):
        return step.refuse("a Reshape of examples", "it changes the size of the batch")
    known = prod(size for size in new[1:] if size != -1)
    sizes = tuple(prod(sizes_of(x)) // max(1, known) if size == -1 else size for size in new[1:])
    return step.add("reshape", [x], {"sizes": sizes})


def permute(step: Step, x: FlatLayer) -> Value:
    order = step.parameters("permute_param").integers("order")
    order += [axis for axis in range(len(x.shape) + 1) if axis not in order]
    if order[0] != 0:
        return step.refuse("a Permute of examples", "the batch is not its first axis")
    return step.add("permute", [x], {"axes": tuple(axis - 1 for axis in order[1:])})


def crop(step: Step, x: FlatLayer, like: FlatLayer) -> Value:
    """Keep as much as another blob has of each axis from `axis` on, from its offset on."""
    fields = step.parameters("crop_param")
    axis, offsets = fields.integer("axis", 2), fields.integers("offset")
    rank = len(x.shape) + 1
    axis = axis if axis >= 0 else axis + rank
    if not 0 < axis < rank or len(like.shape) + 1 != rank:
        return step.refuse("a Crop of examples, or like a blob with other axes")
    kept = rank - axis
    offsets = offsets if len(offsets) == kept else [offsets[0] if offsets else 0] * kept
    if axis == 2:
        return step.add("crop", [x], {"offset": tuple(offsets)}, values={"like": like})
    y: Value = x
    for at, offset in zip(range(axis, rank), offsets, strict=True):
        stop = offset + sizes_of(like)[at - 1]
        y = step.add("slice", [y], {"axis": at - 1, "start": offset, "stop": stop}, inner=at < rank - 1)
    return y


def interp(step: Step, x: FlatLayer, *like: FlatLayer) -> Value:
    """Interpolate to a size, to that of another blob, or by factors that keep the corners."""
    fields = step.parameters("interp_param")
    if fields.integer("pad_beg", 0) or fields.integer("pad_end", 0):
        return step.refuse("an Interp with padding")
    arguments = {"mode": Word("bilinear"), "align_corners": True}
    sizes = (fields.integer("height", 0), fields.integer("width", 0))
    shrink, zoom = fields.integer("shrink_factor", 1), fields.integer("zoom_factor", 1)
    if like:
        return step.add("resize", [x], arguments, values={"like": like[0]})
    if not all(sizes):
        small = [(size - 1) // shrink + 1 for size in sizes_of(x)[1:]]
        sizes = tuple(size + (size - 1) * (zoom - 1) for size in small)  # type: ignore[assignment]
    return step.add("resize", [x], {"sizes": sizes, **arguments})


def upsample(step: Step, x: FlatLayer, pooled: FlatLayer | None = None) -> Value:
    """Repeat elements or, with the indices of a max pool, put each where the pool found it."""
    fields = step.parameters("upsample_param")
    factor = fields.integer("scale", 2)
    if pooled is None:
        return step.add("upsample", [x], {"factor": factor})
    if pooled.kind != "maxpool":
        return step.refuse("an Upsample whose indices are those of no max pool")
    before = pooled.inputs[0]
    sizes = zip("hw", sizes_of(x)[1:], strict=True)
    wanted = tuple(
        fields.integer(f"upsample_{axis}", 0) or size * factor - fields.flag(f"pad_out_{axis}", False)
        for axis, size in sizes
    )
    if before.shape[1:] != wanted:
        return step.refuse("an Upsample to another size than that of its max pool's input")
    arguments = {name: getattr(pooled.layer, name) for name in pooled.layer.arguments}
    return step.add("unpool", [x, before], {name: value for name, value in arguments.items() if value is not None})


def shuffle(step: Step, x: FlatLayer) -> Value:
    return step.add("channel_shuffle", [x], {"groups": step.parameters("shuffle_channel_param").integer("group", 1)})


def copies(step: Step, x: FlatLayer) -> list[Value]:
    return [x] * len(step.layer.tops)


SHAPING: dict[str, Callable[..., Value | Parts]] = {
    "Concat": concat,
    "Crop": crop,
    "Flatten": flatten,
    "Interp": interp,
    "Permute": permute,
    "Reshape": reshape,
    "ShuffleChannel": shuffle,
    "Slice": slices,
    "Split": copies,
    "Upsample": upsample,
}
"""How each type of layer is converted, from a step and its inputs."""
