"""The layers of Caffe and of its forks as netdsl's.

Sources: src/caffe/layers/*.cpp and caffe.proto of BVLC/caffe; of forks: weiliu89/caffe (Normalize, Permute),
alexgkendall/caffe-segnet (Upsample, BN), hszhao/PSPNet (Interp, BN), hujie-frank/SENet (Axpy), and
farmingyard/ShuffleNet (ShuffleChannel).
"""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.importing.caffe_shaping import SHAPING
from netdsl.importing.caffe_step import axis_sizes, learned, scaled, zeros
from netdsl.importing.calls import conv, pool, sizes_of
from netdsl.importing.flat import FlatWeight

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.importing.caffe_model import CaffeLayer
    from netdsl.importing.caffe_shaping import Parts
    from netdsl.importing.caffe_step import Step
    from netdsl.importing.flat import FlatLayer, Value

FILLERS = frozenset(("weight_filler", "bias_filler", "filler", "scale_filler", "slope_filler", "engine"))
"""Parameters that have no effect on a trained net."""
WINDOW = {"stride": 1, "pad": 0, "dilation": 1}
POOLS = {"MAX": "maxpool", "0": "maxpool", "AVE": "avgpool", "1": "avgpool"}
ELTWISE = {"PROD": "mul", "0": "mul", "SUM": "add", "1": "add", "MAX": "max", "2": "max"}
POWER = {"power": 1.0, "scale": 1.0, "shift": 0.0}
POWERS = {1.0: "", 2.0: "square", 0.5: "sqrt"}
"""Layers that compute a power, by its exponent."""


def convolution(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("convolution_param")
    inputs, *spatial = sizes_of(x)
    rank = len(spatial)
    kernel = axis_sizes(fields, "kernel_size", "kernel", rank, None)
    stride, pad, dilation = (axis_sizes(fields, name, name, rank, default) for name, default in WINDOW.items())
    outputs, bias = fields.integer("num_output", 0), fields.flag("bias_term", True)
    groups = fields.integer("group", inputs if "depthwise" in step.layer.type.lower() else 1)
    fields.words("force_nd_im2col")
    if not kernel or not stride or not pad or not dilation or fields.integer("axis", 1) != 1:
        return step.refuse(f"a {step.layer.type}", f"its window does not fit an input with {rank} axes")
    if min(outputs, groups) < 1 or inputs % groups or outputs % groups:
        return step.refuse(f"a {step.layer.type}", f"{outputs} outputs in {groups} groups of {inputs} channels")
    transposed = step.layer.type == "Deconvolution"
    shape = (inputs, outputs // groups, *kernel) if transposed else (outputs, inputs // groups, *kernel)
    given = {"weight": step.weight(0, shape), **({"bias": step.weight(1, (outputs,), "bias")} if bias else {})}
    if transposed:
        arguments = {"kernel": kernel, "channels": outputs, "stride": stride, "pad": pad * 2, "dilation": dilation}
        return step.add("deconv", [x], {**arguments, "groups": groups, "bias": bias}, step.weights(**given))
    return conv(
        step.net,
        x,
        step.weights(**given),
        kernel=kernel,
        outputs=outputs,
        stride=stride,
        pads=pad * 2,
        dilation=dilation,
        groups=groups,
        bias=bias,
        path=step.path,
        place=step.place,
    )


def pooling(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("pooling_param")
    method = fields.word("pool", "MAX")
    if method not in POOLS:
        return step.refuse(f"Pooling by {method}", "netdsl pools by the maximum or the mean")
    kind = POOLS[method]
    whole = fields.flag("global_pooling", False)
    kernel = axis_sizes(fields, "kernel_size", "kernel", 2, None)
    stride, pad = axis_sizes(fields, "stride", "stride", 2, 1), axis_sizes(fields, "pad", "pad", 2, 0)
    floor = fields.word("round_mode", "CEIL") in ("FLOOR", "1") or not fields.flag("ceil_mode", True)
    if whole:
        return step.add(f"global_{kind}", [x])
    if not kernel or not stride or not pad or len(x.shape) != 3:
        return step.refuse("a Pooling", "it has no kernel, or its input is no image")
    both = list(zip(sizes_of(x)[1:], kernel, stride, pad, strict=True))
    if not floor and not any(pad) and any(ceil((n - k) / s) * s >= n for n, k, s, _ in both):
        return step.refuse("a Pooling", "its last window lies beyond its input, where Caffe computes -3.4e38 or 0/0")
    needed = not floor and any((n + 2 * p - k) % s for n, k, s, p in both)
    return pool(
        step.net,
        kind,
        x,
        kernel=kernel,
        stride=stride,
        pads=pad * 2,
        ceil=needed,
        count_pad=True,
        path=step.path,
        place=step.place,
    )


def inner_product(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("inner_product_param")
    outputs, bias, inputs = fields.integer("num_output", 0), fields.flag("bias_term", True), prod(sizes_of(x))
    transposed = fields.flag("transpose", False)
    if fields.integer("axis", 1) != 1:
        return step.refuse("an InnerProduct along another axis than 1")
    if transposed:
        stored = step.weight(0, (inputs, outputs))
        weight = stored and FlatWeight((outputs, inputs), lambda: np.ascontiguousarray(stored.read().T))
    else:
        weight = step.weight(0, (outputs, inputs))
    given = {"weight": weight, **({"bias": step.weight(1, (outputs,), "bias")} if bias else {})}
    return step.add("dense", [x], {"units": outputs, "bias": bias}, step.weights(**given))


def batch_norm(step: Step, x: FlatLayer, scale: CaffeLayer | None = None) -> Value:
    """Add a `bn`, which includes the Scale that follows. A third blob divides the statistics."""
    fields = step.parameters("batch_norm_param")
    if not fields.flag("use_global_stats", True):
        return step.refuse("a BatchNorm with the statistics of its batch", "its results depend on the other examples")
    fields.number("moving_average_fraction", 0.999)  # of the training
    size = sizes_of(x)[:1]
    factor = step.weight(2, (1,), "scale")

    def divided(stored: FlatWeight | None) -> FlatWeight | None:
        if stored is None or factor is None:
            return None
        return FlatWeight(size, lambda: (stored.read() * (1 / f if (f := factor.read().item()) else 0)).astype("f4"))

    mean, var = divided(step.weight(0, size, "mean")), divided(step.weight(1, size, "variance"))
    given = {"running_mean": mean, "running_var": var}
    arguments = {"eps": fields.number("eps", 1e-5), "affine": scale is not None}
    if scale is not None:
        bias = scale.parameters("scale_param").flag("bias_term", False)
        given["weight"] = step.weight_of(scale, 0, size, "scale")
        given["bias"] = step.weight_of(scale, 1, size, "bias") if bias else mean and zeros(*size)
    return step.add("bn", [x], arguments, step.weights(**given))


def scale(step: Step, x: FlatLayer, gate: FlatLayer | None = None) -> Value:
    """Multiply by a number for each channel, which is learned or another value, and add one."""
    fields = step.parameters("scale_param")
    axis, axes, bias = fields.integer("axis", 1), fields.integer("num_axes", 1), fields.flag("bias_term", False)
    if gate is not None:
        if bias or axis != 0:
            return step.refuse("a Scale by another blob, with a bias or not from axis 0 on")
        return step.add("mul", [x, step.spread(gate, like=x)])
    if axis not in (1, -len(x.shape)) or axes != 1:
        return step.refuse("a Scale along other axes than the channels")
    return scaled(step, x, "scale", bias)


def bias_layer(step: Step, x: FlatLayer, *others: FlatLayer) -> Value:
    fields = step.parameters("bias_param")
    if others or fields.integer("axis", 1) != 1 or fields.integer("num_axes", 1) != 1:
        return step.refuse("a Bias of another blob, or along other axes than the channels")
    return scaled(step, x, None, True)


def fork_bn(step: Step, x: FlatLayer) -> Value:
    """SegNet's BN in INFERENCE mode has a factor and an offset; PSPNet's also the statistics, in four blobs."""
    fields = step.parameters("bn_param")
    fields.words("momentum", "frozen", "moving_average")
    mode, eps, size = fields.word("bn_mode", ""), fields.number("eps", 1e-5), (sizes_of(x)[0],)
    if mode == "INFERENCE":
        return scaled(step, x, "scale", True)
    if mode:
        return step.refuse("a BN in mode " + mode, "its results depend on the other examples; convert it to INFERENCE")
    roles = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    given = {name: step.weight(at, size, role) for at, (name, role) in enumerate(roles.items())}
    return step.add("bn", [x], {"eps": eps}, step.weights(**given))


def eltwise(step: Step, *xs: FlatLayer) -> Value:
    fields = step.parameters("eltwise_param")
    how, factors = fields.word("operation", "SUM"), fields.numbers("coeff")
    fields.words("stable_prod_grad")
    if how not in ELTWISE:
        return step.refuse(f"an Eltwise by {how}")
    kind = ELTWISE[how]
    if len({x.shape for x in xs}) > 1:
        return step.refuse("an Eltwise of unequal shapes")
    if kind != "add" or not factors:
        return step.add(kind, xs)
    if len(factors) != len(xs):
        return step.refuse("an Eltwise", f"{len(factors)} coefficients for {len(xs)} inputs")
    if len(xs) == 2 and factors == [1.0, -1.0]:
        return step.add("sub", xs)
    parts = [x if f == 1 else step.add("scale", [x], {"a": f}, inner=True) for x, f in zip(xs, factors, strict=True)]
    return step.add("add", parts)


def lrn(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("lrn_param")
    region, k = fields.word("norm_region", "ACROSS_CHANNELS"), fields.number("k", 1.0)
    within = region in ("WITHIN_CHANNEL", "1")
    arguments = {
        "size": fields.integer("local_size", 5),
        "alpha": fields.number("alpha", 1.0),
        "beta": fields.number("beta", 0.75),
        "k": 1.0 if within else k,
        "mean": True,
    }
    return step.add("lrn", [x], {**arguments, **({"within": True} if within else {})})


def activation(kind: str, parameters: str = "", **arguments: tuple[str, float]) -> Callable[[Step, FlatLayer], Value]:
    """Return the conversion of a layer that is one of ours; `arguments` are its fields, with their defaults."""

    def convert(step: Step, x: FlatLayer) -> Value:
        fields = step.parameters(parameters or "none")
        found = {name: fields.number(field, default) for name, (field, default) in arguments.items()}
        return step.add(kind, [x], found)

    return convert


def relu(step: Step, x: FlatLayer) -> Value:
    slope = step.parameters("relu_param").number("negative_slope", 0.0)
    return step.add("leaky_relu", [x], {"slope": slope}) if slope else step.add("relu", [x])


def prelu(step: Step, x: FlatLayer) -> Value:
    shared = step.parameters("prelu_param").flag("channel_shared", False)
    weight = step.weight(0, (1 if shared else sizes_of(x)[0],), "slope")
    return step.add("prelu", [x], {"shared": shared}, step.weights(weight=weight))


def swish(step: Step, x: FlatLayer) -> Value:
    beta = step.parameters("swish_param").number("beta", 1.0)
    return step.add("silu", [x]) if beta == 1 else step.refuse("a Swish with another beta than 1")


def power(step: Step, x: FlatLayer) -> Value:
    """Compute (shift + scale x)^power."""
    fields = step.parameters("power_param")
    exponent, factor, offset = (fields.number(name, default) for name, default in POWER.items())
    if exponent not in POWERS:
        return step.refuse(f"a Power with exponent {exponent:g}", "netdsl has squares and square roots")
    return _chain(step, x, factor, offset, POWERS[exponent])


def exponential(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("exp_param")
    base, factor, offset = fields.number("base", -1.0), fields.number("scale", 1.0), fields.number("shift", 0.0)
    return _chain(step, x, factor, offset, "exp") if base == -1 else step.refuse("an Exp with another base than e")


def logarithm(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("log_param")
    base, factor, offset = fields.number("base", -1.0), fields.number("scale", 1.0), fields.number("shift", 0.0)
    return _chain(step, x, factor, offset, "log") if base == -1 else step.refuse("a Log with another base than e")


def _chain(step: Step, x: Value, factor: float, offset: float, last: str) -> Value:
    """Apply `scale`, `shift` and a layer, as far as they do anything."""
    calls = [("scale", {"a": factor}, factor != 1), ("shift", {"b": offset}, offset != 0), (last, {}, last != "")]
    needed = [call[:2] for call in calls if call[2]] or [("identity", {})]
    for at, (kind, arguments) in enumerate(needed, 1):
        x = step.add(kind, [x], arguments, inner=at < len(needed))
    return x


def dropout(step: Step, x: FlatLayer) -> Value:
    fields = step.parameters("dropout_param")
    ratio = fields.number("dropout_ratio", 0.5)
    if not fields.flag("scale_train", True):
        return step.refuse("a Dropout that scales in the TEST phase")
    if fields.flag("sample_weights_test", False):
        return step.refuse("a Dropout that also drops in the TEST phase", "its results are random")
    return step.add("dropout", [x], {"p": ratio})


def softmax(step: Step, x: FlatLayer) -> Value:
    axis = step.parameters("softmax_param").integer("axis", 1)
    if axis in (0, -len(x.shape) - 1):
        return step.refuse("a Softmax over examples", "it mixes those of a batch")
    return step.add("softmax", [x], {"axis": axis - 1 if axis > 0 else axis})


def normalize(step: Step, x: FlatLayer) -> Value:
    """Divide by the length at each position, or of the whole, and multiply by learned numbers."""
    fields = step.parameters("norm_param")
    whole, shared = fields.flag("across_spatial", True), fields.flag("channel_shared", True)
    size, eps = sizes_of(x)[0], fields.number("eps", 1e-10)
    if not whole and not shared:
        weights = step.weights(weight=step.weight(0, (size,), "scale"))
        return step.add("l2norm", [x], {"eps": eps, "scale": True}, weights)
    y: Value = step.add("flatten", [x], inner=True) if whole else x
    y = step.add("l2norm", [y], {"eps": eps}, inner=True)
    if whole:
        y = step.add("reshape", [y], {"sizes": x.shape}, inner=True)
    if y is None or not shared:
        return y and scaled(step, y, "scale", False)
    return step.add("mul", [y, learned(step, step.weight(0, (1,), "scale"), *(1,) * len(x.shape))])


def axpy(step: Step, a: FlatLayer, x: FlatLayer, y: FlatLayer) -> Value:
    """Compute a x + y, with a number for each channel."""
    return step.add("add", [step.add("mul", [x, step.spread(a, like=x)], inner=True), y])


CONVERSIONS: dict[str, Callable[..., Value | Parts]] = {
    **SHAPING,
    "AbsVal": activation("abs"),
    "Axpy": axpy,
    "BN": fork_bn,
    "BNLL": activation("softplus"),
    "BatchNorm": batch_norm,
    "Bias": bias_layer,
    "Clip": activation("clip", "clip_param", low=("min", 0.0), high=("max", 0.0)),
    "Convolution": convolution,
    "ConvolutionDepthwise": convolution,
    "Deconvolution": convolution,
    "DepthwiseConvolution": convolution,
    "Dropout": dropout,
    "ELU": activation("elu", "elu_param", alpha=("alpha", 1.0)),
    "Eltwise": eltwise,
    "Exp": exponential,
    "InnerProduct": inner_product,
    "LRN": lrn,
    "Log": logarithm,
    "Mish": activation("mish"),
    "Normalize": normalize,
    "PReLU": prelu,
    "Pooling": pooling,
    "Power": power,
    "ReLU": relu,
    "ReLU6": activation("relu6"),
    "Scale": scale,
    "Sigmoid": activation("sigmoid"),
    "Softmax": softmax,
    "Swish": swish,
    "TanH": activation("tanh"),
}
"""How each type of layer is converted, from a step and its inputs."""
