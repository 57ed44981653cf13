"""The sections of Darknet as netdsl's layers.

Sources: src/*_layer.c, src/blas.c and src/activations.h of pjreddie/darknet and AlexeyAB/darknet.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.calls import conv, is_same, pool, sizes_of
from netdsl.importing.flat import FlatWeight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.importing.darknet import Conversion
    from netdsl.importing.flat import FlatLayer, Value

_DCR = Word("dcr")

ACTIVATIONS: dict[str, tuple[tuple[str, dict[str, object]], ...]] = {
    "elu": (("elu", {}),),
    "gelu": (("gelu", {"tanh": True}),),
    "hardtan": (("hard_tanh", {}),),
    "leaky": (("leaky_relu", {"slope": 0.1}),),
    "linear": (),
    "loggy": (("scale", {"a": 0.5}), ("tanh", {})),
    "logistic": (("sigmoid", {}),),
    "mish": (("mish", {}),),
    "relie": (("leaky_relu", {"slope": 0.01}),),
    "relu": (("relu", {}),),
    "relu6": (("relu6", {}),),
    "selu": (("elu", {"alpha": 1.6732}), ("scale", {"a": 1.0507})),
    "swish": (("silu", {}),),
    "tanh": (("tanh", {}),),
}
"""Layers that compute an activation; `loggy` is 2 / (1 + exp(-x)) - 1, the tanh of x / 2."""

REFUSED = (
    "xnor",
    "binary",
    "bin_output",
    "antialiasing",
    "sway",
    "rotate",
    "stretch",
    "stretch_sway",
    "coordconv",
    "cbn",
)
"""Options of a convolution that make it another one."""


def activated(c: Conversion, x: Value, default: str) -> Value:
    name = c.section.text("activation", default)
    if name == "ramp":
        return c.add("add", [c.add("relu", [x]), c.add("scale", [x], {"a": 0.1})])
    if name not in ACTIVATIONS:
        return c.refuse(f"the activation {name}", "netdsl has no such layer")
    for kind, arguments in ACTIVATIONS[name]:
        x = c.add(kind, [x], arguments)
    return x


def statistics(c: Conversion, size: int) -> dict[str, FlatWeight | None]:
    """Take the scales, the means and the variances of a normalization."""
    roles = {"weight": "scale", "running_mean": "mean", "running_var": "variance"}
    return {name: c.weights.take((size,), role) for name, role in roles.items()}


def normalized(
    c: Conversion,
    x: Value,
    bias: FlatWeight | None,
    found: Mapping[str, FlatWeight | None],
    shares: FlatLayer | None = None,
) -> Value:
    variance = found["running_var"]
    if c.eps is None and variance is not None:
        variance = FlatWeight(variance.shape, partial(_widened, variance))
    given = {**found, "bias": bias, "running_var": variance}
    eps = 1e-20 if c.eps is None else c.eps
    return c.add("bn", [x], {"eps": eps}, {} if shares else known(given), shares)


def _widened(variance: FlatWeight) -> Array:
    """Return variances whose roots are (sqrt(var) + 1e-6)."""
    return ((np.sqrt(variance.read().astype(np.float64)) + 1e-6) ** 2).astype(np.float32)


def known(weights: Mapping[str, FlatWeight | None]) -> dict[str, FlatWeight]:
    """Return weights, or none if the model came without."""
    found = {name: weight for name, weight in weights.items() if weight is not None}
    return found if len(found) == len(weights) else {}


def convolutional(c: Conversion, x: FlatLayer) -> Value:
    section = c.section
    inputs = sizes_of(x)[0]
    size, filters, groups = section.integer("size", 1), section.integer("filters", 1), section.integer("groups", 1)
    normalize = section.integer("batch_normalize", 0)
    stride = section.integer("stride", 1)
    strides = tuple(n if (n := section.integer(f"stride_{axis}", -1)) > 0 else stride for axis in "yx")
    dilation = section.integer("dilation", 1) if size > 1 else 1
    padding = section.integer("padding", 0)
    padding = size // 2 if section.integer("pad", 0) else padding
    for option in REFUSED:
        if section.integer(option, 0):
            c.refuse(f"[convolutional] with {option}", "it is another convolution")
    if len(x.shape) != 3 or min(size, filters, groups, dilation, *strides) < 1 or inputs % groups or filters % groups:
        return c.refuse("[convolutional]", f"{filters} filters of size {size} in {groups} groups do not fit its input")
    if dilation > 1 and 2 * padding != size - 1:
        return c.refuse("[convolutional] with dilation", "its size is not that of its windows")
    shared = section.text("share_index")
    owner = c.shared.get(_at(c, section.integer("share_index", 0))) if shared else (None, None)
    if owner is None:
        return c.refuse("[convolutional] with share_index", "the section of that number is no convolution")
    shape = (filters, inputs // groups, size, size)
    bias = weight = None
    found: Mapping[str, FlatWeight | None] = {}
    if not shared:
        bias = c.weights.take((filters,), "bias")
        found = statistics(c, filters) if normalize else {}
        weight = c.weights.take(shape, "weight")
        if section.integer("flipped", 0) and weight is not None:
            weight = FlatWeight(shape, partial(_turned, weight, prod(shape[1:]), filters))
    given = {"weight": weight, **({} if normalize else {"bias": bias})}
    y = conv(
        c.net,
        x,
        known(given),
        kernel=(size, size),
        outputs=filters,
        stride=strides,
        pads=(padding * dilation,) * 4,
        dilation=(dilation, dilation),
        groups=groups,
        bias=not normalize,
        place=c.place,
    )
    if y is not None and owner[0] is not None:
        if not is_same(y, owner[0]):
            return c.refuse("[convolutional] with share_index", "it differs otherwise from the section of that number")
        y.shares = owner[0]
    z = normalized(c, y, bias, found or _NONE, owner[1]) if normalize else y
    c.shared[c.index] = owner if shared else (y, z if normalize else None)
    return activated(c, z, "logistic")


_NONE: dict[str, FlatWeight | None] = {"weight": None, "running_mean": None, "running_var": None}


def _at(c: Conversion, index: int) -> int:
    return index if index >= 0 else c.index + index


def _turned(weight: FlatWeight, rows: int, columns: int) -> Array:
    """Return a matrix [rows, columns] that is stored as its transposed one, in the shape of the weight."""
    return np.ascontiguousarray(weight.read().reshape(rows, columns).T).reshape(weight.shape)


def deconvolutional(c: Conversion, x: FlatLayer) -> Value:
    section = c.section
    size, filters, stride = section.integer("size", 1), section.integer("filters", 1), section.integer("stride", 1)
    normalize, padding = section.integer("batch_normalize", 0), section.integer("padding", 0)
    padding = size // 2 if section.integer("pad", 0) else padding
    bias = c.weights.take((filters,), "bias")
    found = statistics(c, filters) if normalize else {}
    weight = c.weights.take((sizes_of(x)[0], filters, size, size), "weight")
    arguments = {"kernel": size, "channels": filters, "stride": stride, "pad": padding, "bias": not normalize}
    y = c.add("deconv", [x], arguments, known({"weight": weight, **({} if normalize else {"bias": bias})}))
    return activated(c, normalized(c, y, bias, found) if normalize else y, "logistic")


def connected(c: Conversion, x: FlatLayer) -> Value:
    section = c.section
    outputs, normalize = section.integer("output", 1), section.integer("batch_normalize", 0)
    inputs = prod(sizes_of(x))
    bias = c.weights.take((outputs,), "bias")
    weight = c.weights.take((outputs, inputs), "weight")
    if c.weights.transposed and weight is not None:
        weight = FlatWeight((outputs, inputs), partial(_turned, weight, inputs, outputs))
    given = {"weight": weight, **({} if normalize else {"bias": bias})}
    y = c.add("dense", [x], {"units": outputs, "bias": not normalize}, known(given))
    return activated(c, normalized(c, y, bias, statistics(c, outputs)) if normalize else y, "logistic")


def batchnorm(c: Conversion, _: FlatLayer) -> Value:
    """AlexeyAB's has biases in front of its scales, and pjreddie's has none in a file."""
    return c.refuse("[batchnorm]", "whether its biases are in a .weights file depends on the program")


def maxpool(c: Conversion, x: FlatLayer) -> Value:
    section = c.section
    stride = section.integer("stride", 1)
    strides = tuple(section.integer(f"stride_{axis}", stride) for axis in "yx")
    size = section.integer("size", stride)
    padding = section.integer("padding", size - 1)
    for option in ("maxpool_depth", "antialiasing", "maxpool_zero_nonmax"):
        if section.integer(option, 0):
            return c.refuse(f"[maxpool] with {option}")
    before, after = padding // 2, []
    for length, step in zip(sizes_of(x)[1:], strides, strict=True):
        windows = (length + padding - size) // max(1, step) + 1
        read = (windows - 1) * step + size - before - length  # beyond the end, by the last window
        after.append(max(0, min(read, padding - before)))
    kind = "avgpool" if section.name == "local_avgpool" else "maxpool"
    kernel = (size, size)
    return pool(c.net, kind, x, kernel=kernel, stride=strides, pads=(before, before, *after), place=c.place)


def avgpool(c: Conversion, x: FlatLayer) -> Value:
    return c.add("global_avgpool", [x])


def shortcut(c: Conversion, x: FlatLayer) -> Value:
    """Add earlier results. One of another size is subsampled, and only the channels that both have are added."""
    section = c.section
    if section.text("weights_type", "none") != "none":
        return c.refuse("[shortcut] with weights")
    numbers = section.integers("from")
    if not numbers:
        return c.refuse("[shortcut] without from")
    others = [_fitted(c, c.earlier(at), x) for at in numbers]
    alpha, beta = section.number("alpha", 1.0), section.number("beta", 1.0)
    if (alpha, beta) != (1.0, 1.0):
        return c.refuse("[shortcut] with alpha or beta")
    return activated(c, c.add("add", [x, *others]), "linear")


def _fitted(c: Conversion, x: Value, like: FlatLayer) -> Value:
    """Return a value with the shape of another: subsampled, and with channels left out or added."""
    if x is None or x.shape == like.shape:
        return x
    if len(x.shape) != 3 or len(like.shape) != 3:
        return c.refuse("[shortcut] of unequal shapes")
    (channels, *sizes), (wanted, *targets) = sizes_of(x), sizes_of(like)
    step = max(1, sizes[1] // targets[1])
    if step != max(1, sizes[0] // targets[0]) or any(a < b for a, b in zip(sizes, targets, strict=True)):
        return c.refuse("[shortcut] of unequal shapes", "it would set some elements only")
    y: Value = x
    if step > 1:
        y = c.add("maxpool", [y], {"kernel": 1, "stride": step})
    if y is not None and list(y.shape[1:]) != targets:
        y = c.add("crop", [y], {"to": tuple(targets), "offset": 0})
    if channels > wanted:
        return c.add("slice", [y], {"axis": 0, "start": 0, "stop": wanted})
    return c.add("pad_channels", [y], {"before": 0, "after": wanted - channels}) if channels < wanted else y


def route(c: Conversion, _: Value) -> Value:
    section = c.section
    groups, part = section.integer("groups", 1), section.integer("group_id", 0)
    numbers = section.integers("layers")
    if not numbers:
        return c.refuse("[route] without layers")
    if not 0 <= part < groups:
        return c.refuse("[route] with groups", f"there is no group {part} of {groups}")
    values = [c.earlier(at) for at in numbers]
    if groups > 1:
        values = [_part(c, x, groups, part) for x in values]
    return c.add("concat", values) if len(values) > 1 else values[0]


def _part(c: Conversion, x: Value, groups: int, part: int) -> Value:
    if x is None:
        return None
    channels = sizes_of(x)[0]
    width = channels // groups
    if channels % groups:
        return c.refuse("[route] with groups", f"{groups} do not divide {channels} channels")
    stop = {} if part == groups - 1 else {"stop": (part + 1) * width}
    return c.add("slice", [x], {"axis": 0, "start": part * width, **stop})


def scale_channels(c: Conversion, x: FlatLayer) -> Value:
    return _gated(c, x)


def sam(c: Conversion, x: FlatLayer) -> Value:
    return _gated(c, x)


def _gated(c: Conversion, x: FlatLayer) -> Value:
    """Multiply by an earlier result; a number for each channel, or for each position, is spread."""
    numbers = c.section.integers("from")
    if len(numbers) != 1:
        return c.refuse(f"[{c.section.name}] without from")
    return activated(c, c.add("mul", [c.earlier(numbers[0]), x]), "linear")


def activation(c: Conversion, x: FlatLayer) -> Value:
    return activated(c, x, "linear")


def logistic(c: Conversion, x: FlatLayer) -> Value:
    return c.add("sigmoid", [x])


def upsample(c: Conversion, x: FlatLayer) -> Value:
    stride, scale = c.section.integer("stride", 2), c.section.number("scale", 1.0)
    if stride < 1:
        return c.refuse("[upsample] with a negative stride")
    y = c.add("upsample", [x], {"factor": stride})
    return y if scale == 1 else c.add("scale", [y], {"a": scale})


def dropout(c: Conversion, x: FlatLayer) -> Value:
    if c.section.integer("dropblock", 0):
        c.net.leave_out("dropblock", c.place, "elements are dropped one by one instead")
    return c.add("dropout", [x], {"p": c.section.number("probability", 0.2)})


def softmax(c: Conversion, x: FlatLayer) -> Value:
    """Apply a softmax to all values, to groups of them, or at each position."""
    section = c.section
    groups, temperature = section.integer("groups", 1), section.number("temperature", 1.0)
    spatial = section.number("spatial", 0)
    count = prod(sizes_of(x))
    if groups < 1 or count % groups or temperature <= 0:
        return c.refuse("[softmax]", f"{groups} groups do not divide {count} values")
    y: Value = x if temperature == 1 else c.add("scale", [x], {"a": 1 / temperature})
    if groups > 1:
        y = c.add("reshape", [y], {"sizes": (groups, count // groups)})
        return c.add("flatten", [c.add("softmax", [y], {"axis": 1})])
    if not spatial and prod(sizes_of(x)[1:]) > 1:
        y = c.add("flatten", [y])
    return c.add("softmax", [y])


def crop(c: Conversion, x: FlatLayer) -> Value:
    """Keep the center, and map pixels from 0..1 to -1..1."""
    section = c.section
    for option in ("flip", "angle", "saturation", "exposure", "shift"):
        section.text(option)
    sizes = (section.integer("crop_height", 1), section.integer("crop_width", 1))
    y = c.add("crop", [x], {"to": sizes})
    return y if section.integer("noadjust", 0) else c.add("shift", [c.add("scale", [y], {"a": 2.0})], {"b": -1.0})


def reorg(c: Conversion, x: FlatLayer) -> Value:
    """Move positions into channels; [reorg] first reads the same numbers as fewer channels of a larger map."""
    section = c.section
    stride, extra = section.integer("stride", 1), section.integer("extra", 0)
    if section.integer("reverse", 0) or section.integer("flatten", 0):
        return c.refuse("[reorg] with reverse or flatten")
    if extra:
        return c.add("pad_channels", [c.add("flatten", [x])], {"before": 0, "after": extra})
    if len(x.shape) != 3 or stride < 1 or any(size % stride for size in sizes_of(x)[1:]):
        return c.refuse("[reorg]", f"{stride} does not divide its sizes")
    channels, height, width = sizes_of(x)
    arguments = {"factor": stride, "order": _DCR}
    if section.name == "reorg3d" or stride == 1:
        return c.add("pixel_unshuffle", [x], arguments)
    if channels % stride**2:
        return c.refuse("[reorg]", f"{stride**2} does not divide {channels} channels")
    y = c.add("reshape", [x], {"sizes": (channels // stride**2, height * stride, width * stride)})
    y = c.add("pixel_unshuffle", [y], arguments)
    return c.add("reshape", [y], {"sizes": (channels * stride**2, height // stride, width // stride)})


def same(_: Conversion, x: FlatLayer) -> Value:
    return x


SECTIONS: dict[str, Callable[[Conversion, Any], Value]] = {
    "activation": activation,
    "avgpool": avgpool,
    "batchnorm": batchnorm,
    "connected": connected,
    "convolutional": convolutional,
    "crop": crop,
    "deconvolutional": deconvolutional,
    "dropout": dropout,
    "empty": same,
    "local_avgpool": maxpool,
    "logistic": logistic,
    "maxpool": maxpool,
    "reorg": reorg,
    "reorg3d": reorg,
    "route": route,
    "sam": sam,
    "scale_channels": scale_channels,
    "shortcut": shortcut,
    "softmax": softmax,
    "upsample": upsample,
}
"""How each section is converted."""
