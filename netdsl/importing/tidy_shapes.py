"""Rewrite paddings, parts, joins and positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.declare.arguments import Word
from netdsl.importing.tidy import Tidier, given, replaces

if TYPE_CHECKING:
    from netdsl.importing.flat import FlatLayer


@replaces("conv", "dwconv")
def _padded(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Zeros around the input of a convolution without padding."""
    pad = layer.inputs[0]
    if pad.kind != "pad" or layer.layer.pad not in (0, "valid") or layer.shares is not None:  # type: ignore[attr-defined]
        return None
    if pad.layer.mode != "constant" or pad.layer.value:  # type: ignore[attr-defined]
        return None
    return tidier.add(layer, layer.kind, pad.inputs[0], {**given(layer), "pad": pad.layer.sides}, layer.weights)  # type: ignore[attr-defined]


@replaces("resize")
def _resized(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """The nearest neighbors along one axis, and then along another."""
    inner, mode = layer.inputs[0], layer.layer.mode  # type: ignore[attr-defined]
    if not tidier.is_only(inner, "resize") or not mode.startswith("nearest") or inner.layer.mode != mode:  # type: ignore[attr-defined]
        return None
    if len(inner.inputs) + len(layer.inputs) > 2:
        return None
    (x,) = inner.inputs
    if any(a != b != c for a, b, c in zip(x.shape, inner.shape, layer.shape, strict=True)):
        return None
    return tidier.add(layer, "resize", x, {"sizes": layer.shape[1:], "mode": Word(mode)})


@replaces("slice")
def _unpadded(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A convolution without a part of its padding, as causal ones are written."""
    conv = layer.inputs[0]
    if not tidier.is_only(conv, "conv", "dwconv") or conv.shares is not None or conv.layer.pad_mode != "zeros":  # type: ignore[attr-defined]
        return None
    window = conv.layer.window(conv.inputs[0].shape)  # type: ignore[attr-defined]
    ((axis, cut),) = _removed(layer).items()
    if axis == 0 or cut is None or window.stride[axis - 1] != 1:
        return None
    pads, count = list(window.pads), len(window.stride)
    for side, number in zip((axis - 1, count + axis - 1), cut, strict=True):
        pads[side] -= number
    if min(pads) < 0:
        return None
    return tidier.add(conv, conv.kind, conv.inputs[0], {**given(conv), "pad": tuple(pads)}, conv.weights)


@replaces("slice")
def _cropped(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Ranges of several spatial axes, one after another."""
    inner = layer.inputs[0]
    if not tidier.is_only(inner, "slice", "crop") or not 3 <= len(layer.shape) <= 4:
        return None
    if inner.kind == "crop" and inner.layer.sides is None:  # type: ignore[attr-defined]
        return None
    cut = {axis: ends for each in (inner, layer) for axis, ends in _removed(each).items()}
    if 0 in cut or len(cut) < len(_removed(inner)) + 1 or None in cut.values():
        return None
    both = [cut.get(axis) or (0, 0) for axis in range(1, len(layer.shape))]
    sides = [before for before, _ in both] + [after for _, after in both]
    return tidier.add(layer, "crop", inner.inputs[0], {"sides": tuple(sides)})


def _removed(layer: FlatLayer) -> dict[int, tuple[int, int] | None]:
    """Return how many elements a `slice` or a `crop` removes at both ends of an axis, by axis; None where that is known
    only at run time."""
    shape, made = layer.inputs[0].shape, layer.layer
    if layer.kind == "crop":
        count = len(shape) - 1
        sides = made.sides if isinstance(made.sides, tuple) else (made.sides,) * 2 * count  # type: ignore[attr-defined]
        ends = zip(sides[:count], sides[count:], strict=True)
        return {axis: each for axis, each in enumerate(ends, 1) if any(each)}
    axis = made.axis % len(shape)  # type: ignore[attr-defined]
    size = shape[axis]
    if not isinstance(size, int):
        return {axis: None}
    first, last, _ = slice(made.start, made.stop).indices(size)  # type: ignore[attr-defined]
    return {axis: (first, size - last)}


@replaces("reshape")
def _shuffled(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Channels split into groups, which are exchanged with their channels, and joined again."""
    turned = layer.inputs[0]
    if not tidier.is_only(turned, "permute") or not tidier.is_only(turned.inputs[0], "reshape"):
        return None
    split = turned.inputs[0]
    (x,) = split.inputs
    rest = [*range(2, len(split.shape))]
    swaps = turned.layer.axes == (1, 0, *rest)  # type: ignore[attr-defined]
    if not swaps or x.shape != layer.shape or split.shape[2:] != x.shape[1:]:
        return None
    return tidier.add(layer, "channel_shuffle", x, {"groups": split.shape[0]})


@replaces("concat")
def _rejoined(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Neighboring parts of a value, one behind the other."""
    parts: list[Any] = [each.layer for each in layer.inputs]
    axis = layer.layer.axis % len(layer.shape)  # type: ignore[attr-defined]
    source = layer.inputs[0].inputs[0] if layer.inputs[0].kind == "slice" else layer
    if any(x.kind != "slice" or x.inputs[0] is not source or x.layer.axis % len(x.shape) != axis for x in layer.inputs):  # type: ignore[attr-defined]
        return None
    end = start = parts[0].start
    for part, x in zip(parts, layer.inputs, strict=True):
        if part.start != end or start < 0 or not isinstance(size := x.shape[axis], int):
            return None
        end += size
    if layer.shape == source.shape:
        return source
    stop = {"stop": end} if end != source.shape[axis] else {}
    return tidier.add(layer, "slice", source, {"axis": axis, "start": start, **stop})


@replaces("add")
def _positioned(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """Embeddings of positions, beside values of another input of that length than the one that positions count."""
    for at, embedded in enumerate(layer.inputs):
        if not tidier.is_only(embedded, "embedding") or not tidier.is_only(embedded.inputs[0], "positions"):
            continue
        places = embedded.inputs[0]
        source = next((x for x in layer.inputs if x is not embedded), places)
        while source.inputs:
            source = source.inputs[0]
        if source.kind != "input" or source is places.inputs[0] or source.shape[-1:] != places.shape:
            continue
        counted = tidier.add(places, "positions", source)
        if counted is None:
            return None
        found = tidier.add(embedded, "embedding", counted, given(embedded), embedded.weights)
        if found is not None:
            inputs = (*layer.inputs[:at], found, *layer.inputs[at + 1 :])
            return tidier.net.add("add", inputs, given(layer), path=layer.path, place=layer.place)
    return None
