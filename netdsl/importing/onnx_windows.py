"""Convolutions, pools and normalizations of ONNX."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.calls import NO_EPS, conv, pool
from netdsl.importing.flat import FlatWeight
from netdsl.importing.onnx_fold import OnnxNode, Unsupported, axis_of
from netdsl.importing.onnx_parts import Maxima
from netdsl.importing.onnx_reader import Reader, handles
from netdsl.importing.onnx_values import (
    Moved,
    is_joined,
    like,
    ordered,
    plain,
    quotient,
    reshaped,
    settled,
    with_channels,
)
from netdsl.importing.tidy import given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Dim


RANKS = 4
"""Maximum number of axes of a value, with the batch, to which an axis of size 1 can be added for padding."""


def in_order(r: Reader, node: OnnxNode, x: Moved) -> Moved:
    """Return a value with its axes in order. Raises Unsupported."""
    return ordered(r.net, x, range(x.rank), node.place)


def _pads(
    node: OnnxNode, x: Moved, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int] | Word:
    """Return the explicit padding of a window, or `same_upper` for sizes known only at run time. Raises Unsupported."""
    rule = node.get("auto_pad", "NOTSET")
    if rule in ("NOTSET", ""):
        return list(node.get("pads") or [0] * (2 * len(kernel)))
    if rule == "VALID":
        return [0] * (2 * len(kernel))
    if rule == "SAME_UPPER" and not all(isinstance(size, int) for size in x.shape[2:]):
        return Word("same_upper")
    before, after = [], []
    for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        if not isinstance(size, int):
            raise Unsupported(f"auto_pad {rule} of a size that is known only at run time")
        total = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
        before.append(total // 2 if rule == "SAME_UPPER" else total - total // 2)
        after.append(total - before[-1])
    return before + after


def _weights(r: Reader, node: OnnxNode, bias: Array | None) -> dict[str, FlatWeight]:
    weights = {"weight": r.weight(node.inputs[1])}
    if bias is not None:
        weights["bias"] = r.weight(node.inputs[2])
    return weights


CONSTANT = re.compile(r"onnx::|val_|_val|/|\d+$|.*/constant(_\d+)?$")
"""Names of constants that are no weights, as PyTorch and netdsl write them."""


def _is_constant(r: Reader, name: str, number: float) -> bool:
    """Return whether a value is this number everywhere, and no weight."""
    value = r.values[name]
    return isinstance(value, np.ndarray) and CONSTANT.match(name) is not None and bool((value == number).all())


def is_no_bias(r: Reader, node: OnnxNode) -> bool:
    """Return whether the bias of a node is zeros that an exporter has made up."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    found = bool(name) and _is_constant(r, name, 0)
    if found:
        r.fixed.add(name)
    return found


@handles("Conv")
def _conv(r: Reader, node: OnnxNode, x: Moved, weight: Any, bias: Any = None) -> Moved | None:
    x = in_order(r, node, x)
    if isinstance(weight, Moved) or isinstance(bias, Moved):
        raise Unsupported("its weights are computed from the inputs")
    if is_no_bias(r, node):
        bias = None
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    stride, dilation = node.get("strides") or ones, node.get("dilations") or ones
    return plain(
        conv(
            r.net,
            x.layer,
            _weights(r, node, bias),
            kernel=kernel,
            outputs=weight.shape[0],
            stride=stride,
            pads=_pads(node, x, kernel, stride, dilation),
            dilation=dilation,
            groups=node.get("group", 1),
            bias=bias is not None,
            path=r.path(node),
            place=node.place,
        )
    )


@handles("ConvTranspose")
def _deconv(r: Reader, node: OnnxNode, x: Moved, weight: Any, bias: Any = None) -> Moved | None:
    x = in_order(r, node, x)
    if isinstance(weight, Moved) or isinstance(bias, Moved):
        raise Unsupported("its weights are computed from the inputs")
    if is_no_bias(r, node):
        bias = None
    if node.get("output_shape") or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", ""):
        raise Unsupported("its padding follows from the size of its output")
    kernel = tuple(weight.shape[2:])
    groups = node.get("group", 1)
    arguments = {
        "kernel": kernel if len(kernel) > 1 else kernel[0],
        "channels": weight.shape[1] * groups,
        "stride": tuple(node.get("strides") or (1,) * len(kernel)),
        "pad": tuple(node.get("pads") or (0,) * (2 * len(kernel))),
        "output_pad": tuple(node.get("output_padding") or (0,) * len(kernel)),
        "dilation": tuple(node.get("dilations") or (1,) * len(kernel)),
        "groups": groups,
        "bias": bias is not None,
    }
    return plain(r.add(node, "deconv", [x.layer], arguments, _weights(r, node, bias)))


@handles("MaxPool", "AveragePool")
def _pool(r: Reader, node: OnnxNode, x: Moved) -> Any:
    x = in_order(r, node, x)
    kernel = node.get("kernel_shape")
    ones = [1] * len(kernel)
    stride, dilation = node.get("strides") or ones, node.get("dilations") or ones
    if any(d != 1 for d in dilation):
        raise Unsupported("its window is dilated")
    pads = _pads(node, x, kernel, stride, dilation)
    if {*kernel, *stride} == {1} and not any(pads) and len(node.outputs) == 1:  # adaptive, to the size of its input
        return x
    found = pool(
        r.net,
        "maxpool" if node.op == "MaxPool" else "avgpool",
        x.layer,
        kernel=kernel,
        stride=stride,
        pads=pads,
        ceil=bool(node.get("ceil_mode", 0)),
        count_pad=bool(node.get("count_include_pad", 0)),
        path=r.path(node),
        place=node.place,
    )
    maxima = None if found is None or node.get("storage_order", 0) else Maxima(found)
    return [plain(found), maxima] if len(node.outputs) > 1 else plain(found)


@handles("MaxUnpool")
def _unpool(r: Reader, node: OnnxNode, x: Moved, maxima: Any, shape: Any = None) -> Moved | None:
    if not isinstance(maxima, Maxima) or isinstance(shape, Moved):
        raise Unsupported("its indices are not those of a pool, or its sizes are computed from the inputs")
    (before,) = maxima.pool.inputs
    x = in_order(r, node, x)
    kernel = node.get("kernel_shape")
    stride, pads = node.get("strides") or [1] * len(kernel), node.get("pads") or [0] * (2 * len(kernel))
    sizes = [
        (size - 1) * s + k - a - b
        for size, s, k, a, b in zip(x.shape[2:], stride, kernel, pads, pads[len(kernel) :], strict=False)
    ]
    wanted = sizes if shape is None else shape.tolist()[2:]
    if list(before.shape[1:]) != wanted:
        raise Unsupported("its result has another shape than what was pooled")
    return plain(r.add(node, "unpool", [x.layer, before], given(maxima.pool)))


@handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    x = in_order(r, node, x)
    return plain(r.add(node, "global_avgpool" if "Average" in node.op else "global_maxpool", [x.layer]))


@handles("LRN")
def _lrn(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    arguments: dict[str, object] = {
        "size": node.get("size"),
        "alpha": node.get("alpha", 1e-4),
        "beta": node.get("beta", 0.75),
        "k": node.get("bias", 1.0),
        "mean": True,
    }
    x = in_order(r, node, x)
    return plain(r.add(node, "lrn", [x.layer], arguments))


def _affine(r: Reader, node: OnnxNode) -> tuple[dict[str, object], dict[str, FlatWeight]]:
    """Return the arguments and weights of a normalization for its scale and offset, inputs 1 and 2. For `affine off`,
    exporters write constants, ones and zeros."""
    names = list(filter(None, node.inputs[1:3]))
    if all(_is_constant(r, name, number) for name, number in zip(names, (1, 0), strict=False)):
        r.fixed.update(names)
        return {"affine": False}, {}
    scale = r.weight(names[0])
    if len(names) > 1:
        return {}, {"weight": scale, "bias": r.weight(names[1])}
    zero = np.zeros(scale.shape, np.float32)
    return {}, {"weight": scale, "bias": FlatWeight(zero.shape, lambda: zero)}


@handles("BatchNormalization")
def _batch_norm(r: Reader, node: OnnxNode, x: Moved, *_: Any) -> Moved | None:
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        raise Unsupported("it is in training mode")
    if not node.get("spatial", 1):
        raise Unsupported("it normalizes each position by itself")
    x = in_order(r, node, x)
    affine, weights = _affine(r, node)
    weights |= {"running_mean": r.weight(node.inputs[3]), "running_var": r.weight(node.inputs[4])}
    return plain(r.add(node, "bn", [x.layer], {"eps": node.get("epsilon", 1e-5), **affine}, weights))


@handles("InstanceNormalization")
def _instance_norm(r: Reader, node: OnnxNode, x: Moved, *_: Any) -> Moved | None:
    x = in_order(r, node, x)
    affine, weights = _affine(r, node)
    arguments = {"eps": node.get("epsilon", 1e-5), **affine}
    source, groups = x.layer, x.layer.shape[0]
    while source.kind == "reshape":
        source = source.inputs[0]
    if affine and source.shape and source.shape[0] != groups and quotient(source.shape[0], groups) is not None:
        found = plain(r.add(node, "groupnorm", [source], {"groups": groups, **arguments}))
        return found and reshaped(r.net, found, x.shape, node.place)
    return plain(r.add(node, "instancenorm", [x.layer], arguments, weights))


@handles("LayerNormalization", "RMSNormalization", lazy=True)
def _layer_norm(r: Reader, node: OnnxNode, x: Moved, *_: Any) -> Moved | None:
    if node.get("axis", -1) not in (-1, x.rank - 1):
        raise Unsupported("it normalizes over more than one axis")
    if any(node.outputs[1:]):
        raise Unsupported("its statistics are read")
    turned = with_channels(r.net, settled(r.net, x, node.place) if is_joined(x) else x, node.place)
    affine, weights = _affine(r, node)
    kind = "layernorm" if node.op == "LayerNormalization" else "rmsnorm"
    if kind == "rmsnorm":
        weights.pop("bias", None)
    found = r.add(node, kind, [turned.layer], {"eps": node.get("epsilon", 1e-5), **affine}, weights)
    return like(found, turned.axes)


@handles("Pad")
def _pad(r: Reader, node: OnnxNode, x: Moved, given: Any = None, value: Any = None, axes: Any = None) -> Moved | None:
    if any(isinstance(each, Moved) for each in (given, value, axes)):
        raise Unsupported("its sizes are computed from the inputs")
    pads = given.tolist() if given is not None else list(node.get("pads") or node.get("paddings"))
    if axes is not None:
        named = [axis_of(int(axis), x.rank) for axis in axes.tolist()]
        both = [0] * (2 * x.rank)
        for at, axis in enumerate(named):
            both[axis], both[x.rank + axis] = pads[at], pads[len(named) + at]
        pads = both
    number = float(value.reshape(-1)[0]) if value is not None and value.size else float(node.get("value", 0.0))
    mode = node.get("mode", "constant")
    sides = {x.order[axis]: (int(pads[axis]), int(pads[x.rank + axis])) for axis in range(x.rank)}
    if any(sides[0]) or any(side < 0 for both in sides.values() for side in both):
        raise Unsupported("it pads the batch, or removes elements")
    found, order = x.layer, x.axes
    if any(sides[1]) and (mode != "constant" or number):
        # The channels become positions of a new axis.
        if x.rank > RANKS:
            raise Unsupported("it pads the channels with other values than 0")
        found = settled(r.net, Moved(found, ((0,), (), *((axis,) for axis in range(1, x.rank)))), node.place).layer
        order = tuple((axis + 1 if axis else 0,) for axis in x.order)
        sides = {axis + 1 if axis else 0: both for axis, both in sides.items()} | {1: (0, 0)}
    if any(sides[1]):
        padded = r.add(node, "pad_channels", [found], {"before": sides[1][0], "after": sides[1][1]})
        if padded is None:
            return None
        found = padded
    spatial = [sides[axis] for axis in range(2, len(found.shape) + 1)]
    if any(map(any, spatial)):
        arguments: dict[str, object] = {"sides": tuple([a for a, _ in spatial] + [b for _, b in spatial])}
        if mode != "constant":
            arguments["mode"] = Word(mode)
        elif number:
            arguments["value"] = number
        padded = r.add(node, "pad", [found], arguments)
        if padded is None:
            return None
        found = padded
    return like(found, order)


@handles("Upsample", "Resize")
def _resize(r: Reader, node: OnnxNode, x: Moved, *inputs: Any) -> Moved | None:
    """Add `upsample` for whole factors, and `resize` for others or where the model has sizes that are known."""
    x = in_order(r, node, x)
    before = x.layer.shape[1:]
    after, by_size = _target(node, x, inputs)
    mode, where = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    if node.op == "Upsample" or (node.op == "Resize" and r.opset < 11):
        where = "asymmetric"
    if node.get("antialias", 0) or node.get("exclude_outside", 0):
        raise Unsupported("it samples with antialiasing, or without what lies outside")
    factors = [quotient(a, b) for a, b in zip(after, before, strict=True)]
    factor = tuple(factors) if len({*factors}) > 1 else factors[0]
    is_whole = all(isinstance(factor, int) for factor in factors)
    upsamples = is_whole and not (by_size and all(isinstance(size, int) for size in after))
    if where == "pytorch_half_pixel" and all(size != 1 for size in after):
        where = "half_pixel"
    arguments: dict[str, object] = {"sizes": tuple(after)}
    if mode == "nearest":
        rounding = node.get("nearest_mode", "floor" if where == "asymmetric" and r.opset < 11 else "round_prefer_floor")
        exact = (where, rounding) == ("asymmetric", "floor")
        if (upsamples and exact) or (is_whole and where == "half_pixel" and "round" in rounding):
            return plain(r.add(node, "upsample", [x.layer], {"factor": factor}))
        if not exact:
            raise Unsupported(f"it takes the nearest neighbors by {where}, {rounding}")
    elif mode in ("linear", "cubic", "bilinear"):
        if mode == "cubic" and abs(node.get("cubic_coeff_a", -0.75) + 0.75) > 1e-6:
            raise Unsupported("its cubic kernel is another than that with a = -0.75")
        if where not in ("half_pixel", "align_corners", "asymmetric"):
            raise Unsupported(f"it samples by {where}")
        arguments["mode"] = Word("bicubic" if mode == "cubic" else "bilinear")
        if mode != "cubic" and upsamples and where != "asymmetric":
            more = {"factor": factor, "how": Word("bilinear"), "align": where == "align_corners"}
            return plain(r.add(node, "upsample", [x.layer], more))
        if where != "half_pixel":
            arguments[where] = True
    return plain(r.add(node, "resize", [x.layer], arguments))


def _target(node: OnnxNode, x: Moved, inputs: Sequence[Any]) -> tuple[list[Dim], bool]:
    """Return the spatial sizes of a Resize's result, and whether they are given, rather than scales. Raises
    Unsupported."""
    if any(isinstance(each, Moved) for each in inputs):
        raise Unsupported("its sizes are computed from the inputs")
    if node.get("axes") is not None and [axis_of(axis, x.rank) for axis in node.get("axes")] != [*range(x.rank)]:
        raise Unsupported("it names axes")
    sizes = inputs[2] if len(inputs) > 2 and inputs[2] is not None and inputs[2].size else None
    if sizes is not None:
        if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise Unsupported("it keeps the aspect ratio")
        return list(sizes.tolist()[2:]), True
    scales = inputs[1] if len(inputs) > 1 else inputs[0] if inputs else node.get("scales")
    if scales is None or not len(scales):
        scales = [1, 1, node.get("height_scale", 1), node.get("width_scale", 1)]
    if len(scales) != x.rank or any(scale != 1 for scale in list(scales)[:2]):
        raise Unsupported("it scales the batch or the channels")
    sizes = [_scaled(node, size, scale) for size, scale in zip(x.shape[2:], list(scales)[2:], strict=True)]
    return sizes, False


def _scaled(node: OnnxNode, size: Dim, scale: float) -> Dim:
    """Return a scaled size. Raises Unsupported if elements are not sampled where the sizes would sample them."""
    if float(scale).is_integer():
        return size * int(scale)
    if not isinstance(size, int):
        raise Unsupported("it scales a size that is known only at run time")
    exact = float(np.float32(size) * np.float32(scale))  # as onnxruntime computes it
    after = int(exact)
    nearest = node.get("mode", "nearest") == "nearest"
    at = np.arange(after)
    if after == exact or node.get("coordinate_transformation_mode") == "align_corners":
        return after
    if nearest and after and np.array_equal((at / scale).astype(int), at * size // after):
        return after
    raise Unsupported(f"it scales {size} elements by {scale:.6g}, which is not the quotient of two sizes")


@handles("LpNormalization")
def _lp_norm(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    axis = axis_of(node.get("axis", -1), x.rank)
    if node.get("p", 2) != 2 or x.order[axis] != 1:
        raise Unsupported("it is no L2 norm over the channels")
    return like(r.add(node, "l2norm", [x.layer], {"eps": NO_EPS}), x.order)
