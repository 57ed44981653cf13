"""The layers of Keras 3 as netdsl's, from their configurations.

Sources: keras/src/layers and keras/src/activations of Keras 3.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.calls import sizes_of
from netdsl.importing.flat import FlatLayer, FlatWeight
from netdsl.importing.keras_step import ACTIVATIONS, Flattened, KerasStep

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
    if not _is_last(step.about["axis"], y):
        return step.refuse("a normalization along another axis than the channels")
    weights = step.weights("weight", "bias", "running_mean", "running_var")
    affine = step.about["scale"] or step.about["center"]
    if not affine:
        del weights["weight"], weights["bias"]
    return step.add("bn", [y], {"eps": float(step.about["epsilon"]), "affine": affine}, weights)


def _is_last(axis: Any, x: Value) -> bool:
    (axis,) = axis if isinstance(axis, list) else (axis,)
    return x is not None and axis in (-1, len(x.shape))


def normalization(kind: str, step: KerasStep, x: FlatLayer | Flattened) -> Value:
    y, about = step.plain(x), step.about
    if not _is_last(about["axis"], y) or about.get("rms_scaling"):
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
    if not _is_last(about["axis"], x) or about.get("invert"):
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


def flatten(_: KerasStep, x: FlatLayer | Flattened) -> Result:
    return Flattened(x) if isinstance(x, FlatLayer) and len(x.shape) > 1 else x


def reshape(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    """Reshape with Keras's order of the elements."""
    layer = x.layer if isinstance(x, Flattened) else x
    count, target = prod(sizes_of(layer)), list(step.about["target_shape"])
    if -1 in target:
        target[target.index(-1)] = count // max(1, -prod(target))
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
    gamma = step.add("param", [], {"sizes": sizes}, {"weight": _shaped(step.weight("vars.0"), *sizes)})
    return step.net.add("mul", [x, gamma], place=step.call.name)


def average(step: KerasStep, *xs: FlatLayer | Flattened) -> Value:
    return step.add("scale", [step.plain(merge("add", step, *xs))], {"a": 1 / len(xs)})


def concatenate(step: KerasStep, *xs: FlatLayer | Flattened) -> Value:
    values = [step.plain(x) for x in xs]
    rank = len(values[0].shape) + 1 if values[0] is not None else 1
    axis = step.about["axis"] % rank
    if axis == 0:
        return step.refuse("a Concatenate of examples", "it changes the size of the batch")
    return step.add("concat", values, {"axis": 0 if axis == rank - 1 else axis})


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
    if shared != list(range(1, len(x.shape))):
        return step.refuse("a PReLU with a slope for each position", "give it shared_axes")
    return step.add("prelu", [x], {}, step.weights("weight"))


def softmax(step: KerasStep, x: FlatLayer | Flattened) -> Value:
    y = step.plain(x)
    if not _is_last(step.about["axis"], y):
        return step.refuse("a Softmax along another axis than the last")
    return step.add("softmax", [y])


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


def embedding(step: KerasStep, x: FlatLayer) -> Value:
    about = step.about
    y: Value = x
    if len(x.shape) > 1:  # words are not channels: their last axis stays the last
        y = step.net.add("permute", [x], {"axes": (*range(1, len(x.shape)), 0)}, place=step.call.name)
    arguments = {"vocabulary": about["input_dim"], "size": about["output_dim"]}
    return step.add("embedding", [y], arguments, step.weights("weight"))


def recurrent(step: KerasStep, x: FlatLayer) -> Value:
    """LSTM, GRU, SimpleRNN, and these in Bidirectional, with the names of their weights in PyTorch."""
    about, kind = step.about, step.call.kind
    both = kind == "bidirectional"
    if both:
        inner = about["layer"]
        kind, about = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}[inner["class_name"]], inner["config"]
        if step.about["merge_mode"] != "concat":
            return step.refuse("a Bidirectional that does not concatenate")
    for key in ("return_state", "go_backwards", "stateful"):
        if about.get(key):
            return step.refuse(f"a recurrent layer with {key}")
    if about.get("activation", "tanh") != "tanh":
        return step.refuse("a recurrent layer with another activation than tanh")
    ends = ["_l0", "_l0_reverse"] if both else ["_l0"]
    words = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if about["use_bias"] else [])]
    weights = step.weights(*(f"{word}{end}" for end in ends for word in words))
    arguments = {"hidden": about["units"], "bias": about["use_bias"], "bidirectional": both}
    arguments["last"] = not about["return_sequences"]
    return step.add({"simple_rnn": "rnn"}.get(kind, kind), [x], arguments, weights)


def attention(step: KerasStep, query: FlatLayer, value: FlatLayer, *more: FlatLayer) -> Value:
    about, key = step.about, more[0] if more else value
    if step.call.named.keys() - {"key", "value", "query"} or about.get("use_gate") or about.get("sliding_window"):
        return step.refuse("a MultiHeadAttention with a mask, a gate or a window")
    if (about.get("attention_axes") or [1]) != [1] or len(query.shape) != 2:
        return step.refuse("a MultiHeadAttention along other axes")
    if "key" in step.call.named:
        key = step.conversion.values[step.call.named["key"]]  # type: ignore[assignment]
    heads, size, bias = about["num_heads"], about["key_dim"], about["use_bias"]
    widths = {"query": size, "key": size, "value": about.get("value_dim") or size}
    parts = []
    for (name, width), x in zip(widths.items(), (query, key, value), strict=True):
        weight = step.weight(f"{name}.vars.0")
        weights = {"weight": _rows(weight, heads * width)}
        if bias:
            weights["bias"] = _shaped(step.weight(f"{name}.vars.1"), heads * width)
        parts.append(step.add("linear", [x], {"units": heads * width, "bias": bias}, weights, f".{name}"))
    y = step.net.add("attention", parts, {"heads": heads}, place=step.call.name)
    out = step.weight("attention_output.vars.0")
    weights = {"weight": _rows(out, out.shape[-1])}
    if bias:
        weights["bias"] = step.weight("attention_output.vars.1")
    return step.add("linear", [y], {"units": out.shape[-1], "bias": bias}, weights, ".output")


def _rows(weight: FlatWeight, units: int) -> FlatWeight:
    """Return a factor [inputs, heads, size], or [heads, size, outputs], as a matrix [units, inputs]."""
    shape = (units, prod(weight.shape) // units)
    return FlatWeight(shape, lambda: np.ascontiguousarray(weight.read().reshape(shape[::-1]).T))


def _shaped(weight: FlatWeight, *shape: int) -> FlatWeight:
    return FlatWeight(shape, lambda: weight.read().reshape(shape))


def time_distributed(step: KerasStep, _: FlatLayer) -> Value:
    return step.refuse("a TimeDistributed layer", "apply its layer to the whole sequence")


CONVERSIONS: dict[str, Callable[..., Result]] = {
    "activation": activation,
    "activity_regularization": only_training,
    "add": partial(merge, "add"),
    "alpha_dropout": only_training,
    "average": average,
    "batch_normalization": batch_normalization,
    "bidirectional": recurrent,
    "concatenate": concatenate,
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
