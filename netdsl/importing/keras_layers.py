"""The layers of Keras 3 as netdsl's, from their configurations.

Sources: keras/src/layers and keras/src/activations of Keras 3.
"""

from __future__ import annotations

import re
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.calls import sizes_of
from netdsl.importing.flat import FlatLayer, FlatWeight
from netdsl.importing.keras_sequences import attention, embedding, recurrent, shaped
from netdsl.importing.keras_step import ACTIVATIONS, Flattened, KerasStep
from netdsl.weights.keras_graph import FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.importing.flat import Value

    Result = FlatLayer | Flattened | None

UPPER = Word("same_upper")


def per_axis(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def padding(about: Mapping[str, Any], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> object:
    """Return the argument `pad` of a convolution."""
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if about["padding"] == "valid":
        return Word("valid")
    if about["padding"] == "causal":
        return (spans[0], 0)
    odd = all(k % 2 for k in kernel)
    return Word("same") if odd and all(s == 1 for s in stride) else UPPER


def convolution(step: KerasStep, x: FlatLayer) -> Value:
    about, rank = step.about, len(x.shape) - 1
    kernel, stride, dilation = (per_axis(about[key], rank) for key in ("kernel_size", "strides", "dilation_rate"))
    arguments = {"kernel": kernel, "stride": stride, "dilation": dilation, "bias": about["use_bias"]}
    arguments["pad"] = padding(about, kernel, stride, dilation)
    words = ("weight", "bias") if about["use_bias"] else ("weight",)
    if step.call.kind.startswith("depthwise"):
        arguments["multiplier"] = about["depth_multiplier"]
        return step.activated(step.add("dwconv", [x], arguments, step.weights(*words)))
    groups = about.get("groups", 1)
    if groups == about["filters"] == x.shape[0] != 1:
        return step.activated(step.add("dwconv", [x], arguments, step.weights(*words)))
    arguments |= {"channels": about["filters"], "groups": groups}
    return step.activated(step.add("conv", [x], arguments, step.weights(*words)))


def separable(step: KerasStep, x: FlatLayer) -> Value:
    about, rank = step.about, len(x.shape) - 1
    kernel, stride, dilation = (per_axis(about[key], rank) for key in ("kernel_size", "strides", "dilation_rate"))
    arguments = {"kernel": kernel, "stride": stride, "dilation": dilation, "bias": False}
    arguments |= {"pad": padding(about, kernel, stride, dilation), "multiplier": about["depth_multiplier"]}
    y = step.add("dwconv", [x], arguments, {"weight": step.weight("depthwise.weight")}, ".depthwise")
    weights = {"weight": step.weight("pointwise.weight")}
    if about["use_bias"]:
        weights["bias"] = step.weight("pointwise.bias")
    ones = {"kernel": (1,) * rank, "channels": about["filters"], "bias": about["use_bias"]}
    return step.activated(step.add("conv", [y], ones, weights, ".pointwise"))


def deconvolution(step: KerasStep, x: FlatLayer) -> Value:
    about, rank = step.about, len(x.shape) - 1
    kernel, stride, dilation = (per_axis(about[key], rank) for key in ("kernel_size", "strides", "dilation_rate"))
    valid = about["padding"] == "valid"
    if about.get("output_padding") is not None or max(dilation) > 1:
        return step.refuse("a transposed convolution with output_padding or dilation")
    if valid and any(k < s for k, s in zip(kernel, stride, strict=True)):
        return step.refuse("a transposed convolution with gaps")
    arguments = {"kernel": kernel, "channels": about["filters"], "stride": stride, "bias": about["use_bias"]}
    arguments["pad"] = Word("valid") if valid else UPPER
    words = ("weight", "bias") if about["use_bias"] else ("weight",)
    return step.activated(step.add("deconv", [x], arguments, step.weights(*words)))


def dense(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    """A dense layer reads a flattened value as it is, if the columns of its weight are permuted."""
    about = step.about
    weights = step.weights(*(("weight", "bias") if about["use_bias"] else ("weight",)))
    arguments = {"units": about["units"], "bias": about["use_bias"]}
    if not isinstance(x, Flattened):
        return step.activated(step.add("linear" if len(x.shape) > 1 else "dense", [x], arguments, weights))
    if not x.in_order:
        channels, *sizes = sizes_of(x.layer)
        weights["weight"] = _columns(weights["weight"], prod(sizes), channels)
    return step.activated(step.add("dense", [x.layer], arguments, weights))


def _columns(weight: FlatWeight, places: int, channels: int) -> FlatWeight:
    """Return the weight of a dense layer whose columns are [channels, places] instead of [places, channels]."""

    def read() -> Any:
        rows = weight.read().reshape(-1, places, channels)
        return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(weight.shape)

    return FlatWeight(weight.shape, read)


def batch_normalization(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    y = step.plain(x)
    if not _is_channels(step, step.about["axis"], y):
        return step.refuse("a normalization along another axis than the channels")
    weights = step.weights("weight", "bias", "running_mean", "running_var")
    affine = step.about["scale"] or step.about["center"]
    if not affine:
        del weights["weight"], weights["bias"]
    return step.add("bn", [y], {"eps": float(step.about["epsilon"]), "affine": affine}, weights)


def _is_channels(step: KerasStep, axis: Any, x: Value) -> bool:
    (axis,) = axis if isinstance(axis, list) else (axis,)
    return x is not None and axis != 0 and step.axis(axis, x) == 0


def normalization(kind: str, step: KerasStep, x: FlatLayer | Flattened) -> Value:
    y, about = step.plain(x), step.about
    if not _is_channels(step, about["axis"], y) or about.get("rms_scaling"):
        return step.refuse("a normalization along another axis than the channels")
    arguments: dict[str, object] = {"eps": float(about["epsilon"])}
    if kind == "groupnorm":
        arguments["groups"] = about["groups"]
    affine = about["scale"] or about["center"]
    weights = step.weights("weight", "bias") if affine else {}
    return step.add(kind, [y], {**arguments, "affine": affine}, weights)


def constants(step: KerasStep, x: FlatLayer) -> Value:
    """`Normalization`: subtract a mean and divide by a deviation, which are numbers of the file."""
    about, channels = step.about, sizes_of(x)[0]
    if not _is_channels(step, about["axis"], x) or about.get("invert"):
        return step.refuse("a Normalization along another axis than the channels")
    mean, variance = about.get("mean"), about.get("variance")
    if mean is None:
        mean, variance = (
            step.conversion.weights.file.raw(f"{step.call.name}.vars.{at}").reshape(-1).tolist() for at in (0, 1)
        )
    means, variances = (np.broadcast_to(np.asarray(each, float).reshape(-1), channels) for each in (mean, variance))
    deviations = np.maximum(np.sqrt(variances), 1e-7)
    return step.add("normalize", [x], {"mean": tuple(means.tolist()), "std": tuple(deviations.tolist())})


def pooling(kind: str, step: KerasStep, x: FlatLayer) -> Value:
    about, rank = step.about, len(x.shape) - 1
    kernel = per_axis(about["pool_size"], rank)
    stride = per_axis(about["strides"] or kernel, rank)
    arguments: dict[str, object] = {"kernel": kernel}
    if stride != kernel:
        arguments["stride"] = stride
    if about["padding"] == "same":
        arguments["pad"] = UPPER
    return step.add(kind, [x], arguments)


def whole_pooling(kind: str, step: KerasStep, x: FlatLayer) -> Result:
    y = step.add(kind, [x])
    return y if step.about.get("keepdims") or y is None else Flattened(y)


def flatten(step: KerasStep, x: FlatLayer | Flattened) -> Result:
    """Flatten the positions and then the channels, unless a model with the channels first takes them as they are."""
    if isinstance(x, Flattened) or len(x.shape) < 2:
        return x
    in_order = step.channels_first and step.about.get("data_format") != FIRST
    return step.add("flatten", [x]) if in_order else Flattened(x)


def reshape(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    """Reshape with Keras's order of the elements."""
    layer = x.layer if isinstance(x, Flattened) else x
    count, target = prod(sizes_of(layer)), list(step.about["target_shape"])
    if -1 in target:
        target[target.index(-1)] = count // max(1, -prod(target))
    if step.channels_first:
        return step.add("reshape", [step.plain(x)], {"sizes": tuple(target)})
    sizes = (target[-1], *target[:-1])
    channels, places = sizes_of(layer)[0], prod(sizes_of(layer)[1:])
    if channels == 1 or places == 1:  # the order is the same in both
        y: Value = layer
    elif channels == target[-1]:
        return step.add("reshape", [layer], {"sizes": sizes})
    else:
        y = step.add("permute", [layer], {"axes": (*range(1, len(layer.shape)), 0)})
    if len(target) == 1 or target[-1] == 1 or prod(target[:-1]) == 1:
        return step.add("reshape", [y], {"sizes": sizes})
    y = step.add("reshape", [y], {"sizes": tuple(target)})
    return step.add("permute", [y], {"axes": (len(target) - 1, *range(len(target) - 1))})


def permute(step: KerasStep, x: FlatLayer) -> Value:
    """Permute axes: here, axis 0 is Keras's last, and axis i its axis i."""
    rank = len(x.shape)
    if step.channels_first:
        return step.add("permute", [x], {"axes": tuple(dim - 1 for dim in step.about["dims"])})
    order = [dim % rank for dim in step.about["dims"]]  # Keras counts from 1, and its last axis is ours 0
    return step.add("permute", [x], {"axes": (order[-1], *order[:-1])})


def merge(kind: str, step: KerasStep, *xs: FlatLayer | Flattened) -> Result:
    if len(xs) == 1 and step.call.constant is not None:
        return with_constant(kind, step, xs[0], step.call.constant)
    if len(xs) < 2:
        return step.refuse(f"a {step.call.kind} of one value")
    parts = [x.layer for x in xs if isinstance(x, Flattened)]
    if len(parts) == len(xs) and len({part.shape for part in parts}) == 1:
        y = step.add(kind, parts)
        return y and Flattened(y)
    values = [step.plain(x) for x in xs]
    shapes = {x.shape for x in values if x is not None}
    if len({*map(len, shapes)}) > 1:
        return step.refuse(f"a {step.call.kind} of unequal numbers of axes")
    arguments = {"spread": True} if len(shapes) > 1 and kind not in ("mul", "div") else {}
    return step.add(kind, values, arguments)


def with_constant(kind: str, step: KerasStep, x: FlatLayer | Flattened, number: float) -> Result:
    """Add, subtract or multiply by a number, or divide by it."""
    if kind in ("add", "sub") and not (kind == "sub" and step.call.constant_first):
        return elementwise("shift", step, x, b=number if kind == "add" else -number)
    if kind == "mul" or (kind == "div" and number and not step.call.constant_first):
        return elementwise("scale", step, x, a=number if kind == "mul" else 1 / number)
    return step.refuse(f"a {step.call.kind} with a constant")


def layer_scale(step: KerasStep, x: FlatLayer) -> Value:
    """Multiply by a learned number for each channel."""
    sizes = (sizes_of(x)[0], *(1,) * (len(x.shape) - 1))
    gamma = step.add("param", [], {"sizes": sizes}, {"weight": shaped(step.weight("vars.0"), *sizes)})
    return step.net.add("mul", [x, gamma], place=step.call.name)


def average(step: KerasStep, *xs: FlatLayer | Flattened) -> Value:
    return step.add("scale", [step.plain(merge("add", step, *xs))], {"a": 1 / len(xs)})


def scaled_sum(step: KerasStep, x: FlatLayer, y: FlatLayer) -> Value:
    """The sums of Keras's own Inception-ResNet."""
    return step.add("add", [x, step.add("scale", [y], {"a": float(step.about["scale"])})])


def concatenate(step: KerasStep, *xs: FlatLayer | Flattened) -> Value:
    values = [step.plain(x) for x in xs]
    rank = len(values[0].shape) + 1 if values[0] is not None else 1
    if step.about["axis"] % rank == 0 or values[0] is None:
        return step.refuse("a Concatenate of examples", "it changes the size of the batch")
    return step.add("concat", values, {"axis": step.axis(step.about["axis"], values[0])})


def elementwise(kind: str, step: KerasStep, x: FlatLayer | Flattened, **arguments: object) -> Result:
    if isinstance(x, Flattened):
        y = step.add(kind, [x.layer], arguments)
        return y and Flattened(y)
    return step.add(kind, [x], arguments)


def activation(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    return step.activated(step.plain(x))


def operation(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    """An operation of keras.ops, which has the name of an activation."""
    kind, arguments = ACTIVATIONS[step.call.kind] or ("identity", {})
    return step.add(kind, [step.plain(x)], arguments)


def relu(step: KerasStep, x: FlatLayer | Flattened) -> Result:
    top, slope, threshold = (step.about.get(key) or 0.0 for key in ("max_value", "negative_slope", "threshold"))
    if threshold or (top and slope):
        return step.refuse("a ReLU with a threshold, or with both a slope and a maximum")
    if slope:
        return elementwise("leaky_relu", step, x, slope=float(slope))
    if top and top != 6:
        return elementwise("clip", step, x, low=0.0, high=float(top))
    return elementwise("relu6" if top else "relu", step, x)


def leaky_relu(step: KerasStep, x: FlatLayer | Flattened) -> Result:
    slope = step.about.get("negative_slope", step.about.get("alpha"))
    return elementwise("leaky_relu", step, x, slope=float(slope))


def prelu(step: KerasStep, x: FlatLayer) -> Value:
    shared = sorted(step.about.get("shared_axes") or ())
    first = 2 if step.channels_first else 1
    if shared != list(range(first, len(x.shape) + first - 1)):
        return step.refuse("a PReLU with a slope for each position", "give it shared_axes")
    return step.add("prelu", [x], {}, step.weights("weight"))


def softmax(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    y = step.plain(x)
    axis = step.about["axis"]
    if y is None or axis not in (-1, len(y.shape)):
        return step.refuse("a Softmax along another axis than the last")
    return step.add("softmax", [y], {"axis": step.axis(axis, y)})


def dropout(step: KerasStep, x: FlatLayer | Flattened) -> Result:
    spatial = {"spatial": True} if step.call.kind.startswith("spatial") else {}
    return elementwise("dropout", step, x, p=float(step.about["rate"]), **spatial)


def gaussian_noise(step: KerasStep, x: FlatLayer | Flattened) -> Result:
    return elementwise("noise", step, x, distribution=Word("normal"), scale=float(step.about["stddev"]))


def only_training(step: KerasStep, x: FlatLayer | Flattened) -> Result:
    step.net.leave_out(f"a {step.call.kind}", step.call.name, "it has no effect but in training")
    return x


def same(_: KerasStep, x: FlatLayer | Flattened) -> Result:
    return x


def rescaling(step: KerasStep, x: FlatLayer) -> Value:
    factor, offset = step.about["scale"], step.about["offset"]
    if isinstance(factor, list) or isinstance(offset, list):
        factors, offsets = (np.broadcast_to(np.asarray(each, float), sizes_of(x)[:1]) for each in (factor, offset))
        if (factors <= 0).any():
            return step.refuse("a Rescaling by negative factors")
        mean, std = tuple((-offsets / factors).tolist()), tuple((1 / factors).tolist())
        return step.add("normalize", [x], {"mean": mean, "std": std})
    y: Value = x if factor == 1 else step.add("scale", [x], {"a": float(factor)})
    return y if not offset else step.add("shift", [y], {"b": float(offset)})


def upsampling(step: KerasStep, x: FlatLayer) -> Value:
    how = step.about.get("interpolation", "nearest")
    if how not in ("nearest", "bilinear"):
        return step.refuse(f"an UpSampling by {how}")
    factor = per_axis(step.about["size"], len(x.shape) - 1)
    return step.add("upsample", [x], {"factor": factor, **({"how": Word(how)} if how == "bilinear" else {})})


def borders(kind: str, key: str, step: KerasStep, x: FlatLayer) -> Value:
    given = step.about[key]
    sides = [given] if len(x.shape) == 2 else given
    pairs = [(side, side) if isinstance(side, int) else tuple(side) for side in sides]
    return step.add(kind, [x], {"sides": tuple(side for pair in zip(*pairs, strict=True) for side in pair)})


POINTWISE = re.compile("dense|activation|dropout|elu|(batch|layer)_normalization|(leaky_)?re_lu|identity|rescaling")
"""Layers that treat a sequence as each of its elements."""

WINDOWED = re.compile("(depthwise_)?conv[12]d|(max|average)_pooling[12]d")
"""Layers with windows, which get a first axis of size 1 for a sequence."""


class _InTime(KerasStep):
    """A layer with windows that is applied to a sequence: kernels have a first axis of size 1."""

    def weight(self, word: str) -> FlatWeight:
        found = super().weight(word)
        return found if len(found.shape) < 3 else shaped(found, *found.shape[:2], 1, *found.shape[2:])


def time_distributed(step: KerasStep, x: FlatLayer) -> Result:
    """Apply a layer to each element of a sequence."""
    inner, rank = step.call.inner(), len(x.shape)
    if inner.about.get("data_format") == FIRST:
        return step.refuse("a TimeDistributed layer with the channels first")
    if POINTWISE.fullmatch(inner.kind):
        axes = inner.about.get("axis")
        for axis in axes if isinstance(axes, list) else [axes]:
            if axis not in (None, -1, rank - 1):
                return step.refuse("a TimeDistributed normalization along another axis than the channels")
        inner.about = {**inner.about, "axis": -1}
        return CONVERSIONS[inner.kind](KerasStep(step.conversion, inner), x)
    if WINDOWED.fullmatch(inner.kind) and rank == 2 + int(inner.kind[-2]):
        lifted = {key: [1, *per_axis(inner.about[key], rank - 2)] for key in SPREAD if inner.about.get(key) is not None}
        inner.about = {**inner.about, **lifted}
        inner.kind = f"{inner.kind[:-2]}{rank - 1}d"
        return CONVERSIONS[inner.kind](_InTime(step.conversion, inner), x)
    if inner.kind == "flatten":
        y = step.add("permute", [x], {"axes": (*range(2, rank), 0, 1)})
        return step.add("reshape", [y], {"sizes": (prod(sizes_of(x)) // sizes_of(x)[1], x.shape[1])})
    return step.refuse(f"a TimeDistributed {inner.kind}", "apply its layer to the whole sequence")


SPREAD = ("kernel_size", "strides", "dilation_rate", "pool_size")
"""Arguments with a number for each axis."""


def masking(step: KerasStep, _: FlatLayer) -> Value:
    return step.refuse("a Masking layer", "later layers of Keras skip the places that it hides, and netdsl's would not")


LAST_ONLY = frozenset(["attention", "bidirectional", "dense", "embedding", "gru", "layer_scale", "lstm"])
LAST_ONLY |= {"multi_head_attention", "rescaling", "simple_rnn", "time_distributed"}
"""Layers that always have the channels last."""

CONVERSIONS: dict[str, Callable[..., Result]] = {
    "activation": activation,
    "activity_regularization": only_training,
    "add": partial(merge, "add"),
    "alpha_dropout": only_training,
    "average": average,
    "batch_normalization": batch_normalization,
    "bidirectional": recurrent,
    "concatenate": concatenate,
    "custom_scale_layer": scaled_sum,
    "dense": dense,
    "divide": partial(merge, "div"),
    "dropout": dropout,
    "elu": lambda step, x: elementwise("elu", step, x, alpha=float(step.about.get("alpha", 1.0))),
    "embedding": embedding,
    "flatten": flatten,
    "gaussian_dropout": only_training,
    "gaussian_noise": gaussian_noise,
    "group_normalization": partial(normalization, "groupnorm"),
    "gru": recurrent,
    "identity": same,
    "layer_scale": layer_scale,
    "layer_normalization": partial(normalization, "layernorm"),
    "leaky_re_lu": leaky_relu,
    "lstm": recurrent,
    "masking": masking,
    "maximum": partial(merge, "max"),
    "minimum": partial(merge, "min"),
    "multi_head_attention": attention,
    "multiply": partial(merge, "mul"),
    "normalization": constants,
    "p_re_lu": prelu,
    "permute": permute,
    "re_lu": relu,
    "rescaling": rescaling,
    "reshape": reshape,
    "simple_rnn": recurrent,
    "softmax": softmax,
    "stochastic_depth": only_training,
    "subtract": partial(merge, "sub"),
    "time_distributed": time_distributed,
    "true_divide": partial(merge, "div"),
}
"""How each class is converted, from a step and its inputs."""

for _name in ("relu", "relu6", "sigmoid", "silu", "softplus", "softsign", "tanh"):
    CONVERSIONS[_name] = operation

for _rank in (1, 2, 3):
    CONVERSIONS |= {
        f"average_pooling{_rank}d": partial(pooling, "avgpool"),
        f"conv{_rank}d": convolution,
        f"conv{_rank}d_transpose": deconvolution,
        f"cropping{_rank}d": partial(borders, "crop", "cropping"),
        f"depthwise_conv{_rank}d": convolution,
        f"global_average_pooling{_rank}d": partial(whole_pooling, "global_avgpool"),
        f"global_max_pooling{_rank}d": partial(whole_pooling, "global_maxpool"),
        f"max_pooling{_rank}d": partial(pooling, "maxpool"),
        f"separable_conv{_rank}d": separable,
        f"spatial_dropout{_rank}d": dropout,
        f"up_sampling{_rank}d": upsampling,
        f"zero_padding{_rank}d": partial(borders, "pad", "padding"),
    }
