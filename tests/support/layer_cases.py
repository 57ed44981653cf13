"""What each layer must compute: calls on inputs of every rank, and numpy's word for their results.

Oracles are written from the formulas on the layers' pages, with paddings and sizes worked out by hand; they take the
input, [N, C, *S] in float64, and the layer's weights.
"""

from __future__ import annotations

from functools import partial
from math import erf

import numpy as np

from tests.support import oracles


def wide(v, x):
    """A value for each channel, ready to meet x."""
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))


def conv(strides, pads, dilations=None, group=1):
    ones = (1,) * len(strides)
    return lambda x, w: oracles.conv(x, w["weight"], w.get("bias"), strides, pads, dilations or ones, group)


def bordered(mode, strides, pads, dilations=None, group=1):
    rank = len(strides)
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    inner = conv(strides, (0,) * 2 * rank, dilations, group)
    return lambda x, w: inner(np.pad(x, widths, mode=mode), w)


def deconv(strides, pads, more=None, dilations=None, group=1):
    ones = (1,) * len(strides)
    more, dilations = more or (0,) * len(strides), dilations or ones

    def oracle(x, w):
        y = oracles.conv_transpose(x, w["weight"], strides, pads, more, dilations, group)
        return y + wide(w["bias"], y)

    return oracle


def maxpool(kernel, strides, pads):
    return lambda x, _: oracles.pool(x, kernel, strides, pads, np.max, -np.inf)


def unpooled(kernel, strides, pads, extra=None):
    """A pool, times three, put back where the maxima are."""
    rank = len(kernel)
    ends = [p + e for p, e in zip(pads[rank:], extra or (0,) * rank, strict=True)]

    def oracle(x, _):
        v = 3 * oracles.pool(x, kernel, strides, (*pads[:rank], *ends), np.max, -np.inf)
        return oracles.max_unpool(v, x, kernel, strides, pads)

    return oracle


def avgpool(kernel, strides, pads):
    return lambda x, _: oracles.pool(x, kernel, strides, pads, np.nanmean, np.nan)


def counted(kernel, strides, pads, extra):
    return lambda x, _: oracles.average_of_pads(x, kernel, strides, pads, extra)


def adaptive(*sizes):
    def oracle(x, _):
        for axis, count in enumerate(sizes, 2):
            n = x.shape[axis]
            parts = [x.take(range(i * n // count, -(-(i + 1) * n // count)), axis) for i in range(count)]
            x = np.concatenate([part.mean(axis=axis, keepdims=True) for part in parts], axis)
        return x

    return oracle


def bn(eps=1e-5):
    def oracle(x, w):
        y = (x - wide(w["running_mean"], x)) / np.sqrt(wide(w["running_var"], x) + eps)
        return y * wide(w["weight"], x) + wide(w["bias"], x) if "weight" in w else y

    return oracle


def lrn(size, alpha=1e-4, beta=0.75, k=2.0, mean=False):
    def oracle(x, _):
        total = np.zeros_like(x)
        for c in range(x.shape[1]):
            total[:, c] = (x[:, max(0, c - size // 2) : c + size // 2 + 1] ** 2).sum(axis=1)
        return x / (k + alpha * total / (size if mean else 1)) ** beta

    return oracle


def lrn_within(size, alpha=1e-4, beta=0.75, k=2.0, mean=False):
    def oracle(x, _):
        axes = range(2, x.ndim)
        padded = np.pad(x**2, [(0, 0), (0, 0), *((size // 2, size // 2) for _ in axes)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size,) * len(axes), tuple(axes))
        total = windows.sum(axis=tuple(range(x.ndim, x.ndim + len(axes))))
        return x / (k + alpha * total / (size ** len(axes) if mean else 1)) ** beta

    return oracle


def l2norm(x, w, eps=1e-10):
    y = x / np.sqrt((x**2).sum(axis=1, keepdims=True) + eps)
    return y * wide(w["weight"], y) if w else y


def affine(y, w):
    return y * wide(w["weight"], y) + wide(w["bias"], y) if w else y


def layernorm(x, w, eps=1e-5):
    return affine(oracles.standard(x, 1, eps), w)


def rmsnorm(x, w, eps=1e-6):
    y = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + eps)
    return y * wide(w["weight"], y) if w else y


def instancenorm(x, w, eps=1e-5):
    return affine(oracles.standard(x, tuple(range(2, x.ndim)), eps), w)


def groupnorm(groups, eps=1e-5):
    return lambda x, w: affine(oracles.standard(x.reshape(len(x), groups, -1), 2, eps).reshape(x.shape), w)


def each(function):
    return lambda x, _: function(x)


def prelu(x, w):
    return np.where(x >= 0, x, x * (wide(w["weight"], x) if w["weight"].size > 1 else w["weight"]))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def upsample(*factors, corners=False):
    return lambda x, _: oracles.upsample(x, factors, corners)


def resize(*sizes, mode="nearest", where="half_pixel"):
    return lambda x, _: oracles.resize(x, sizes, mode, where)


def repeated(*factors):
    def oracle(x, _):
        for axis, factor in enumerate(factors, 2):
            x = x.repeat(factor, axis)
        return x

    return oracle


def pad(befores, afters, mode="constant", **values):
    widths = [(0, 0), (0, 0), *zip(befores, afters, strict=True)]
    return lambda x, _: np.pad(x, widths, mode, **values)


def reshape(*sizes):
    return lambda x, _: x.reshape(len(x), *sizes)


def transpose(*axes):
    return lambda x, _: x.transpose(0, *axes)


def gathered(x):
    """For each example, the channels at the indices of the two largest ones at each position."""
    return np.stack([each[i] for each, i in zip(x, np.argsort(-x, 1, "stable")[:, :2], strict=True)])


def reduce(how, axis):
    return lambda x, _: how(x, axis=axis, keepdims=True)


gelu = np.vectorize(lambda x: x * (1 + erf(x / 2**0.5)) / 2)
gelu_tanh = lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2  # noqa: E731
SELU = (1.0507009873554805, 1.6732632423543772)
"""Klambauer et al. (2017), eq. 14: lambda and alpha."""


def linear(x, w):
    return np.einsum("uc,nc...->nu...", w["weight"], x) + (wide(w["bias"], x) if "bias" in w else 0)


ANY_RANK = {
    "linear 5": linear,
    "linear 3 bias off": linear,
    "relu": each(lambda x: np.maximum(x, 0)),
    "softmax": each(lambda x: oracles.softmax(x, 1)),
    "log_softmax": each(lambda x: np.log(oracles.softmax(x, 1))),
    "softmax axis (-1)": each(lambda x: oracles.softmax(x, x.ndim - 1)),
    "log_softmax axis (-1)": each(lambda x: np.log(oracles.softmax(x, x.ndim - 1))),
    "l2norm": l2norm,
    "l2norm eps 0.5 scale on": partial(l2norm, eps=0.5),
    "rmsnorm": rmsnorm,
    "rmsnorm eps 0.5 affine off": partial(rmsnorm, eps=0.5),
    "drop_path 0.1": each(lambda x: x),
    "glu": each(lambda x: x[:, : x.shape[1] // 2] * sigmoid(x[:, x.shape[1] // 2 :])),
    "bn": bn(),
    "layernorm": layernorm,
    "layernorm eps 0.5 affine off": partial(layernorm, eps=0.5),
    "groupnorm 2": groupnorm(2),
    "prelu": prelu,
    "prelu shared on": prelu,
    "channel_shuffle 2": each(lambda x: np.stack(np.split(x, 2, 1), 2).reshape(x.shape)),
    "pad_channels 1 2": each(lambda x: np.pad(x, [(0, 0), (1, 2)] + [(0, 0)] * (x.ndim - 2))),
    "select [2, 0, -1, 2]": each(lambda x: x[:, [2, 0, -1, 2]]),
    "slice 0 1 3": each(lambda x: x[:, 1:3]),
    "slice (-1) (-3)": each(lambda x: x[..., -3:]),
    "reduce sum 0": reduce(np.sum, 1),
    "top_k 3": each(lambda x: -np.sort(-x, 1)[:, :3]),
    "i: top_k_indices 2; from x; gather i": each(lambda x: -np.sort(-x, 1)[:, :2] if x.ndim == 2 else gathered(x)),
    "top_k 2 (-1)": each(lambda x: -np.sort(-x, -1)[..., :2]),
    "top_k_indices 3": each(lambda x: np.argsort(-x, 1, "stable")[:, :3]),
    "argmax (-1)": each(lambda x: x.argmax(-1)),
    "reduce max (-1)": reduce(np.max, -1),
    "flatten": each(lambda x: x.reshape(len(x), -1)),
    "concat { } { relu }": each(lambda x: np.concatenate([x, np.maximum(x, 0)], 1)),
    "concat axis (-1) { } { relu }": each(lambda x: np.concatenate([x, np.maximum(x, 0)], -1)),
}

SPATIAL = {
    "instancenorm": instancenorm,
    "instancenorm eps 0.1 affine off": partial(instancenorm, eps=0.1),
    "lrn 3 alpha 0.5": lrn(3, 0.5),
    "lrn 3 alpha 0.5 beta 0.6 k 1 mean on": lrn(3, 0.5, 0.6, 1.0, mean=True),
    "lrn 3 alpha 0.5 within on": lrn_within(3, 0.5),
    "lrn 7 alpha 0.5 beta 0.6 k 1 mean on within on": lrn_within(7, 0.5, 0.6, 1.0, mean=True),
    "global_avgpool": each(lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)),
    "global_maxpool": each(lambda x: x.max(axis=tuple(range(2, x.ndim)), keepdims=True)),
    "adaptive_avgpool 1": each(lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)),
    "add spread on { } { global_avgpool } { reduce max 0 }": each(
        lambda x: x + x.mean(axis=tuple(range(2, x.ndim)), keepdims=True) + x.max(axis=1, keepdims=True)
    ),
    "sub spread on { reduce mean 0 } { }": each(lambda x: x.mean(axis=1, keepdims=True) - x),
    "max spread on { } { global_avgpool }": each(
        lambda x: np.maximum(x, x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))
    ),
    "min spread on { reduce mean 0 } { global_avgpool }": each(
        lambda x: np.minimum(x.mean(axis=1, keepdims=True), x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))
    ),
    "mul { global_avgpool; sigmoid }": each(lambda x: x * sigmoid(x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))),
}

ELEMENTWISE = {
    "relu6": each(lambda x: np.clip(x, 0, 6)),
    "leaky_relu": each(lambda x: np.where(x < 0, 0.01 * x, x)),
    "leaky_relu 0.2": each(lambda x: np.where(x < 0, 0.2 * x, x)),
    "elu": each(lambda x: np.where(x < 0, np.expm1(x), x)),
    "elu 1.5": each(lambda x: np.where(x < 0, 1.5 * np.expm1(x), x)),
    "selu": each(lambda x: SELU[0] * np.where(x < 0, SELU[1] * np.expm1(x), x)),
    "gelu": each(gelu),
    "gelu tanh on": each(gelu_tanh),
    "mish": each(lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "celu": each(lambda x: np.where(x < 0, np.expm1(x), x)),
    "celu 0.5": each(lambda x: np.where(x < 0, 0.5 * np.expm1(2 * x), x)),
    "hard_tanh": each(lambda x: np.clip(x, -1, 1)),
    "softsign": each(lambda x: x / (1 + np.abs(x))),
    "log_sigmoid": each(lambda x: np.log(sigmoid(x))),
    "hard_shrink": each(lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    "hard_shrink 0": each(lambda x: x),
    "soft_shrink 0.3": each(lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.3, 0)),
    "tanh_shrink": each(lambda x: x - np.tanh(x)),
    "threshold 0.1": each(lambda x: np.where(x > 0.1, x, 0)),
    "threshold (-0.5) value 3": each(lambda x: np.where(x > -0.5, x, 3)),
    "silu": each(lambda x: x * sigmoid(x)),
    "hard_swish": each(lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "sigmoid": each(sigmoid),
    "hard_sigmoid": each(lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "tanh": each(np.tanh),
    "softplus": each(lambda x: np.log1p(np.exp(x))),
    "sign": each(np.sign),
    "step": each(lambda x: np.where(x > 0, 1.0, 0.0)),
    "scale 0; step": each(np.zeros_like),
    "square": each(np.square),
    "abs": each(np.abs),
    "abs; sqrt": each(lambda x: np.abs(x) ** 0.5),
    "abs; log": each(lambda x: np.log(np.abs(x))),
    "exp": each(np.exp),
    "sin": each(np.sin),
    "cos": each(np.cos),
    "clip (-0.5) 1": each(lambda x: np.clip(x, -0.5, 1)),
    "scale 2/3": each(lambda x: x * 2 / 3),
    "shift (-0.5)": each(lambda x: x - 0.5),
    "identity": each(lambda x: x),
    "dropout 0.5": each(lambda x: x),
    "noise normal 0.5": each(lambda x: x),
    "noise uniform": each(lambda x: x),
    "dropout 0.5 spatial on": each(lambda x: x),
    "add { } { relu } { tanh }": each(lambda x: x + np.maximum(x, 0) + np.tanh(x)),
    "sub { relu } { tanh }": each(lambda x: np.maximum(x, 0) - np.tanh(x)),
    "mul { relu } { tanh }": each(lambda x: np.maximum(x, 0) * np.tanh(x)),
    "div { exp }": each(lambda x: x / np.exp(x)),
    "max { } { tanh } { scale 2 }": each(lambda x: np.max([x, np.tanh(x), 2 * x], axis=0)),
    "min { } { tanh }": each(lambda x: np.minimum(x, np.tanh(x))),
}

PLANE = {
    "matmul { permute [0, 2, 1] } { relu }": each(lambda x: np.einsum("nckp,nckq->ncpq", x, np.maximum(x, 0))),
    "matmul { slice 0 1 2 } { permute [0, 2, 1] }": each(lambda x: np.einsum("npk,ncqk->ncpq", x[:, 1], x)),
    "matmul { slice 0 1 2; permute [0, 2, 1] }": each(lambda x: np.einsum("ncpk,nqk->ncpq", x, x[:, 1])),
    "conv 3x3 6": conv((1, 1), (1, 1, 1, 1)),
    "conv 3x3": conv((1, 1), (1, 1, 1, 1)),
    "conv 3x3 6 stride 2": conv((2, 2), (1, 1, 1, 1)),
    "conv 3x3 6 stride [2, 3] pad [1, 0, 2, 1]": conv((2, 3), (1, 0, 2, 1)),
    "conv 3x2 6 pad valid": conv((1, 1), (0, 0, 0, 0)),
    "conv 3x2 6 pad 2": conv((1, 1), (2, 2, 2, 2)),
    "conv 5x3 6 dilation 2": conv((1, 1), (4, 2, 4, 2), (2, 2)),
    "conv 3x3 6 stride 2 pad same_upper": conv((2, 2), (1, 0, 1, 1)),
    "conv 3x3 6 stride 2 pad same_lower": conv((2, 2), (1, 1, 1, 0)),
    "conv 2x4 6 pad same_upper": conv((1, 1), (0, 1, 1, 2)),
    "conv 2x4 6 pad same_lower": conv((1, 1), (1, 2, 0, 1)),
    "conv 2x2 6 stride 3 pad same_upper": conv((3, 3), (0, 0, 0, 0)),
    "conv 3x3 6 groups 2": conv((1, 1), (1, 1, 1, 1), group=2),
    "conv 5x3 6 pad_mode reflect": bordered("reflect", (1, 1), (2, 1, 2, 1)),
    "conv 4x3 6 stride 2 pad same_upper pad_mode edge": bordered("edge", (2, 2), (1, 0, 2, 1)),
    "conv 3x3 6 dilation 2 groups 2 pad_mode wrap": bordered("wrap", (1, 1), (2, 2, 2, 2), (2, 2), 2),
    "dwconv 3x3 pad_mode edge": bordered("edge", (1, 1), (1, 1, 1, 1), group=4),
    "conv 1x1 6 bias off": conv((1, 1), (0, 0, 0, 0)),
    "conv 3x3 8 groups 4 dilation [1, 2] pad [1, 2, 1, 2]": conv((1, 1), (1, 2, 1, 2), (1, 2), 4),
    "dwconv 3x3": conv((1, 1), (1, 1, 1, 1), group=4),
    "dwconv 5x5 multiplier 2 stride 2 bias off": conv((2, 2), (2, 2, 2, 2), group=4),
    "deconv 3x3 6": deconv((1, 1), (1, 1, 1, 1)),
    "deconv 2x2 6": deconv((1, 1), (1, 1, 0, 0)),
    "deconv 2x2 6 stride 2": deconv((2, 2), (0, 0, 0, 0)),
    "deconv 3x3 6 stride 2": deconv((2, 2), (1, 1, 1, 1), (1, 1)),
    "deconv 4x4 6 stride 2": deconv((2, 2), (1, 1, 1, 1)),
    "deconv 5x4 6 stride 2": deconv((2, 2), (2, 1, 2, 1), (1, 0)),
    "deconv 5x5 6 stride 2 pad same_upper": deconv((2, 2), (1, 1, 2, 2)),
    "deconv 5x5 6 stride 2 pad same_lower": deconv((2, 2), (2, 2, 1, 1)),
    "deconv 1x1 6 stride 3": deconv((3, 3), (0, 0, 0, 0), (2, 2)),
    "deconv 3x3 6 stride 2 pad 0": deconv((2, 2), (0, 0, 0, 0)),
    "deconv 3x3 6 stride 2 pad valid output_pad 1": deconv((2, 2), (0, 0, 0, 0), (1, 1)),
    "deconv 3x2 6 stride [2, 3] pad [1, 0, 0, 1] output_pad [1, 2] groups 2": deconv(
        (2, 3), (1, 0, 0, 1), (1, 2), group=2
    ),
    "deconv 3x3 6 stride 2 dilation 2": deconv((2, 2), (2, 2, 2, 2), (1, 1), (2, 2)),
    "maxpool 2x2": maxpool((2, 2), (2, 2), (0, 0, 0, 0)),
    "shift (-9); maxpool 3x3 stride 2 pad 1": each(
        lambda x: oracles.pool(x - 9, (3, 3), (2, 2), (1, 1, 1, 1), np.max, -np.inf)
    ),
    "maxpool 2; scale 3; unpool 2 x": unpooled((2, 2), (2, 2), (0,) * 4),
    "maxpool 2x3 stride 3 pad [1, 0, 0, 1] ceil on; scale 3; unpool 2x3 stride 3 pad [1, 0, 0, 1] ceil on x": unpooled(
        (2, 3), (3, 3), (1, 0, 0, 1), (1, 0)
    ),
    "maxpool 3 stride 1 pad same": maxpool((3, 3), (1, 1), (1, 1, 1, 1)),
    "maxpool 3x3 stride 2 ceil on": maxpool((3, 3), (2, 2), (0, 0, 0, 1)),
    "maxpool 2x2 stride 3 ceil on": maxpool((2, 2), (3, 3), (0, 0, 0, 0)),
    "maxpool 2x2 stride 3 pad 1 ceil on": maxpool((2, 2), (3, 3), (1, 1, 1, 1)),
    "avgpool 3x2": avgpool((3, 2), (3, 2), (0, 0, 0, 0)),
    "avgpool 3x3 stride 2 pad 1": avgpool((3, 3), (2, 2), (1, 1, 1, 1)),
    "avgpool 3x3 stride 2 pad 1 count_pad on": counted((3, 3), (2, 2), (1, 1, 1, 1), (0, 0)),
    "avgpool 3x3 stride 2 ceil on": avgpool((3, 3), (2, 2), (0, 0, 0, 1)),
    "avgpool 3x3 stride 2 ceil on count_pad on": counted((3, 3), (2, 2), (0, 0, 0, 0), (0, 1)),
    "avgpool 3x3 stride 2 pad 1 ceil on count_pad on": counted((3, 3), (2, 2), (1, 1, 1, 1), (0, 1)),
    "avgpool 2x4 stride 1 pad same_upper": avgpool((2, 4), (1, 1), (0, 1, 1, 2)),
    "adaptive_avgpool 3x4": avgpool((3, 2), (3, 2), (0, 0, 0, 0)),
    "adaptive_avgpool [4, 3]": adaptive(4, 3),
    "adaptive_avgpool [1, 5]": adaptive(1, 5),
    "adaptive_avgpool [9, 11]": adaptive(9, 11),
    "bn eps 0.1 affine off": bn(0.1),
    "scale 9; lrn 5": each(lambda x: lrn(5)(9 * x, {})),
    "groupnorm 1 eps 0.1 affine off": groupnorm(1, 0.1),
    "normalize mean [0.1, 0.2, 0.3, 0.4] std [1, 2, 3, 4]": each(
        lambda x: (x - wide(np.array([0.1, 0.2, 0.3, 0.4]), x)) / wide(np.array([1, 2, 3, 4]), x)
    ),
    "dense 5": lambda x, w: x.reshape(len(x), -1) @ w["weight"].T + w["bias"],
    "reduce mean 1": reduce(np.mean, 2),
    "reshape 12x24": reshape(12, 24),
    "reshape [?, 6]": reshape(48, 6),
    "permute [2, 0, 1]": transpose(3, 1, 2),
    "permute [1, -1, 0]": transpose(2, 3, 1),
    "pad [1, 0, 2, 3]": pad((1, 0), (2, 3)),
    "pad 1 value (-2)": pad((1, 1), (1, 1), constant_values=-2),
    "pad [8, 0, 2, 3] mode reflect": pad((8, 0), (2, 3), "reflect"),
    "pad [1, 0, 12, 3] mode edge": pad((1, 0), (12, 3), "edge"),
    "pad [1, 0, 9, 3] mode wrap": pad((1, 0), (9, 3), "wrap"),
    "pad 0": each(lambda x: x),
    "crop [1, 0, 2, 3]": each(lambda x: x[:, :, 1:-2, :-3]),
    "crop 1": each(lambda x: x[:, :, 1:-1, 1:-1]),
    "crop 0": each(lambda x: x),
    "crop to 4x7": each(lambda x: x[:, :, 2:6, :7]),
    "crop to 4x3 offset [5, 1]": each(lambda x: x[:, :, 5:, 1:4]),
    "y: maxpool 2; from x; crop like y": each(lambda x: x[:, :, 2:6, 2:6]),
    "y: maxpool 2; resize like x mode bilinear": each(
        lambda x: oracles.resize(oracles.pool(x, (2, 2), (2, 2), (0,) * 4, np.max), (9, 8), "bilinear")
    ),
    "slice 1 2 (-1)": each(lambda x: x[:, :, 2:-1]),
    "slice 2 (-6) 4": each(lambda x: x[:, :, :, -6:4]),
    "upsample 2": repeated(2, 2),
    "upsample [1, 3] nearest": repeated(1, 3),
    "upsample 2 bilinear": upsample(2, 2),
    "upsample [3, 2] bilinear align on": upsample(3, 2, corners=True),
    "resize 5x14": resize(5, 14),
    "resize 5x14 mode nearest_exact": resize(5, 14, mode="nearest_exact"),
    "resize 5x14 mode bilinear": resize(5, 14, mode="bilinear"),
    "resize 1x17 mode bilinear align_corners on": resize(1, 17, mode="bilinear", where="align_corners"),
    "resize 20x3 mode bilinear asymmetric on": resize(20, 3, mode="bilinear", where="asymmetric"),
    "resize 5x14 mode bicubic": resize(5, 14, mode="bicubic"),
    "resize 14x3 mode bicubic align_corners on": resize(14, 3, mode="bicubic", where="align_corners"),
    "resize 9x20 mode bicubic asymmetric on": resize(9, 20, mode="bicubic", where="asymmetric"),
    "pixel_shuffle 2": each(lambda x: oracles.pixel_shuffle(x, 2)),
    "pixel_shuffle 2 order dcr": each(lambda x: oracles.pixel_shuffle(oracles.digits_exchanged(x, 4), 2)),
    "slice 1 0 8; pixel_unshuffle 2": each(lambda x: oracles.pixel_unshuffle(x[:, :, :8], 2)),
    "slice 1 0 8; pixel_unshuffle 4 order dcr": each(
        lambda x: oracles.digits_exchanged(oracles.pixel_unshuffle(x[:, :, :8], 4), 4)
    ),
    "argmax": each(lambda x: x.argmax(1)),
    "slice 1 0 1; i: argmax; from x; gather axis (-1) i": each(
        lambda x: np.stack([each[..., i] for each, i in zip(x, x[:, :, 0].argmax(1)[:, None], strict=True)])
    ),
    "g: slice 0 0 2; from x; grid_sample g": each(lambda x: oracles.grid_sample(x, x[:, :2])),
    "grid_sample padding border align_corners on { slice 0 1 3; slice 1 2 6 }": each(
        lambda x: oracles.grid_sample(x, x[:, 1:3, 2:6], True, True)
    ),
    "b: { reshape [4, 72]; slice 1 0 6 }; from x; roi_align 2x3 scale 3 b": each(
        lambda x: oracles.roi_align(x, x.reshape(len(x), 4, 72)[:, :, :6], (2, 3), scale=3)
    ),
    "div { global_maxpool }": each(lambda x: x / x.max(axis=(2, 3), keepdims=True)),
    "concat axis 1 { } { crop [3, 0, 0, 0] }": each(lambda x: np.concatenate([x, x[:, :, 3:]], 2)),
}

FREE = {
    "mul { } { gamma: param [8, 1] }": lambda x, w: x * w["gamma"],
    "concat axis 1 { cls: param [8, 1] } { }": lambda x, w: np.concatenate(
        [np.broadcast_to(w["cls"], (len(x), 8, 1)), x], 2
    ),
    "free: param 2x3": lambda x, w: np.broadcast_to(w["free"], (len(x), 2, 3)),
    "values [1, 2, -0.5]": lambda x, _: np.broadcast_to(np.array([1, 2, -0.5]), (len(x), 3)),
}


def attention(heads, kv, causal=False, masked=None):
    """Attention of joint channels along the last axis: keys that `masked` has as 0 are not seen."""

    def oracle(x, _):
        n, channels, *between, length = x.shape
        d = channels // (heads + 2 * kv)
        x = np.moveaxis(x.reshape(n, -1, d, *between, length), (1, 2), (-3, -2))
        q, k, v = x[..., :heads, :, :], x[..., heads : heads + kv, :, :], x[..., heads + kv :, :, :]
        k, v = (part.repeat(heads // kv, -3) for part in (k, v))
        scores = np.exp(np.einsum("...di,...dj->...ij", q, k) / d**0.5)
        seen = np.tri(length) if causal else np.ones((length, length))
        seen = seen * (1 if masked is None else np.array(masked) != 0)
        total = (scores * seen).sum(-1, keepdims=True)
        p = scores * seen / np.where(total == 0, 1, total)
        y = np.einsum("...ij,...dj->...di", p, v)
        return np.moveaxis(y, (-3, -2), (1, 2)).reshape(n, heads * d, *between, length)

    return oracle


def rope(x, heads):
    """Rotations of channels i and i + d/2 of each head, as complex numbers."""
    n, c, length = x.shape
    a, b = np.moveaxis(x.reshape(n, heads, 2, -1, length), 2, 0)
    d = c // heads
    turn = np.exp(1j * np.arange(length) * (10000.0 ** (-2 * np.arange(d // 2) / d))[:, None])
    y = (a + 1j * b) * turn
    return np.stack([y.real, y.imag], 2).reshape(x.shape)


ATTENTION = {
    "attention 2 kv 1": attention(2, 1),
    "attention 2 kv 1 causal on": attention(2, 1, causal=True),
}

TIED = {
    "i: values [0, 1, 2] dtype i64; e: embedding 3 8; from x; linear 3 bias off tied e": lambda x, w: np.einsum(
        "vc,ncl->nvl", w["weight"], x
    ),
}

LINE = TIED | {
    "rope 2": each(lambda x: rope(x, 2)),
    "relative_positions 2; embedding 5 3": lambda x, w: np.broadcast_to(
        [[w["weight"][min(max(j - i, -2), 2) + 2] for j in range(9)] for i in range(9)], (len(x), 9, 9, 3)
    ).transpose(0, 3, 1, 2),
    "positions; embedding 9 8": lambda x, w: np.broadcast_to(w["weight"].T, x.shape),
    "m: values [0, 0, 1, 1, 0, 1, 1, 1, 1] dtype i64; from x; attention 2 kv 1 mask m causal on": attention(
        2, 1, causal=True, masked=[0, 0, 1, 1, 0, 1, 1, 1, 1]
    ),
    "matmul { } { values [1, 0, 2] * 6 [9, 2] }": each(lambda x: x @ np.array([1.0, 0, 2] * 6).reshape(9, 2)),
    "add { } { values [0] * 4 + [1] * 5 dtype i64; embedding 2 8 }": lambda x, w: (
        x + w["weight"].T[:, [0] * 4 + [1] * 5]
    ),
    "conv 3 4": conv((1,), (1, 1)),
    "conv 2 4 dilation 4 pad [4, 0]": conv((1,), (4, 0), (4,)),
    "conv 3 4 stride 2 pad same_upper": conv((2,), (1, 1)),
    "conv 4 4 pad same_lower": conv((1,), (2, 1)),
    "dwconv 3": conv((1,), (1, 1), group=8),
    "deconv 4 6 stride 2": deconv((2,), (1, 1)),
    "deconv 3 6 stride 2 groups 2": deconv((2,), (1, 1), (1,), group=2),
    "deconv 2 6": deconv((1,), (1, 0)),
    "maxpool 2 stride 2 ceil on": maxpool((2,), (2,), (0, 1)),
    "maxpool 4; scale 3; unpool 4 x": unpooled((4,), (4,), (0, 0)),
    "maxpool 17 pad 12; scale 3; unpool 17 pad 12 x": unpooled((17,), (17,), (12, 12)),
    "avgpool 4 stride 3 pad 1 ceil on count_pad on": counted((4,), (3,), (1, 1), (2,)),
    "avgpool 3 pad same": avgpool((3,), (3,), (1, 1)),
    "adaptive_avgpool 4": adaptive(4),
    "conv 7 4 pad_mode reflect": bordered("reflect", (1,), (3, 3)),
    "pad [2, 1]": pad((2,), (1,)),
    "pad [2, 5] mode reflect": pad((2,), (5,), "reflect"),
    "crop [1, 2]": each(lambda x: x[:, :, 1:-2]),
    "upsample 3": repeated(3),
    "upsample 3 bilinear": upsample(3),
    "resize 7": resize(7),
    "resize 31 mode bilinear": resize(31, mode="bilinear"),
    "pixel_shuffle 4": each(lambda x: oracles.pixel_shuffle(x, 4)),
    "pixel_shuffle 4 order dcr": each(lambda x: oracles.pixel_shuffle(oracles.digits_exchanged(x, 4), 4)),
    "pixel_unshuffle 3": each(lambda x: oracles.pixel_unshuffle(x, 3)),
    "pixel_unshuffle 3 order dcr": each(lambda x: oracles.digits_exchanged(oracles.pixel_unshuffle(x, 3), 8)),
    "reshape [4, ?, 3]": reshape(4, 6, 3),
    "permute [1, 0]": transpose(2, 1),
    "dense 3": lambda x, w: x.reshape(len(x), -1) @ w["weight"].T + w["bias"],
}

SPACE = ATTENTION | {
    "conv 3x1x2 4 stride [1, 2, 1] pad [1, 0, 0, 1, 0, 1]": conv((1, 2, 1), (1, 0, 0, 1, 0, 1)),
    "conv 3 4 groups 2": conv((1, 1, 1), (1,) * 6, group=2),
    "dwconv 2x2x2 stride 2 pad same_upper": conv((2, 2, 2), (0, 0, 0, 0, 1, 0), group=8),
    "deconv 2 4 stride 2": deconv((2, 2, 2), (0,) * 6),
    "deconv 3x3x4 4 stride [1, 2, 2]": deconv((1, 2, 2), (1,) * 6, (0, 1, 0)),
    "maxpool 2; scale 3; unpool 2 x": unpooled((2, 2, 2), (2, 2, 2), (0,) * 6),
    "maxpool 2 ceil on": maxpool((2, 2, 2), (2, 2, 2), (0, 0, 0, 0, 1, 0)),
    "avgpool 3 stride 2 pad 1": avgpool((3, 3, 3), (2, 2, 2), (1,) * 6),
    "avgpool 3 stride 2 pad 1 count_pad on": counted((3, 3, 3), (2, 2, 2), (1,) * 6, (0, 0, 0)),
    "adaptive_avgpool 2x1x3": adaptive(2, 1, 3),
    "adaptive_avgpool 2x5x3": adaptive(2, 5, 3),
    "conv 3 4 pad_mode edge": bordered("edge", (1, 1, 1), (1,) * 6),
    "dwconv 3 stride 2 pad_mode reflect": bordered("reflect", (2, 2, 2), (1,) * 6, group=8),
    "pad [1, 0, 0, 0, 2, 1]": pad((1, 0, 0), (0, 2, 1)),
    "pad [1, 3, 0, 2, 4, 1] mode reflect": pad((1, 3, 0), (2, 4, 1), "reflect"),
    "crop [1, 0, 0, 0, 2, 1]": each(lambda x: x[:, :, 1:, :-2, :-1]),
    "upsample [1, 2, 3]": repeated(1, 2, 3),
    "upsample [1, 2, 2] bilinear": upsample(1, 2, 2),
    "resize 3x7x6 mode nearest_exact": resize(3, 7, 6, mode="nearest_exact"),
    "resize 3x7x2 mode bilinear": resize(3, 7, 2, mode="bilinear"),
    "resize 3x7x6 mode bilinear align_corners on": resize(3, 7, 6, mode="bilinear", where="align_corners"),
    "upsample 2 bilinear align on": upsample(2, 2, 2, corners=True),
    "pixel_shuffle 2": each(lambda x: oracles.pixel_shuffle(x, 2)),
    "upsample [1, 2, 1]; pixel_unshuffle 2": each(lambda x: oracles.pixel_unshuffle(x.repeat(2, 3), 2)),
    "upsample [1, 2, 1]; pixel_unshuffle 2 order dcr": each(
        lambda x: oracles.digits_exchanged(oracles.pixel_unshuffle(x.repeat(2, 3), 2), 8)
    ),
}

FLAT = {
    "dense 5": lambda x, w: x @ w["weight"].T + w["bias"],
    "dense 5 bias off": lambda x, w: x @ w["weight"].T,
    "reshape 3x4": reshape(3, 4),
    "reshape [2, ?, 2]": reshape(2, 3, 2),
    "permute [0]": each(lambda x: x),
    "normalize mean [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] std [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]": each(
        lambda x: (x - 1) / 2
    ),
}

WORDS = {
    "embedding 20 5": lambda x, w: w["weight"][x].swapaxes(1, 2),
    "slice 0 2; embedding 20 5; relu": lambda x, w: np.maximum(w["weight"][x[:, 2:]].swapaxes(1, 2), 0),
    "concat { } { select [0, 1] }": each(lambda x: np.concatenate([x, x[:, :2]], 1)),
    "flatten; identity; reshape 1x7": reshape(1, 7),
    "reshape 1x7; crop [2, 1]; permute [1, 0]": each(lambda x: x[:, 2:-1, None]),
}

MOVING_PLANE = {
    "linear 5": linear,
    "conv 3x3 4 stride 2": conv((2, 2), (1, 1, 1, 1)),
    "conv 3x2 4 pad same_upper": conv((1, 1), (1, 0, 1, 1)),
    "deconv 3x3 4 stride 2": deconv((2, 2), (1, 1, 1, 1), (1, 1)),
    "maxpool 3x3 stride 2 pad 1": maxpool((3, 3), (2, 2), (1, 1, 1, 1)),
    "maxpool 2; scale 3; unpool 2 x": unpooled((2, 2), (2, 2), (0,) * 4),
    "groupnorm 2": groupnorm(2),
    "groupnorm 8": groupnorm(8),
    "upsample 2 bilinear": upsample(2, 2),
    "resize 4x13": resize(4, 13),
    "resize 4x13 mode nearest_exact": resize(4, 13, mode="nearest_exact"),
    "resize 4x13 mode bilinear": resize(4, 13, mode="bilinear"),
    "resize 4x13 mode bicubic align_corners on": resize(4, 13, mode="bicubic", where="align_corners"),
    "upsample 3": repeated(3, 3),
    "pixel_shuffle 2": each(lambda x: oracles.pixel_shuffle(x, 2)),
    "crop [1, 0, 2, 3]": each(lambda x: x[:, :, 1:-2, :-3]),
    "crop to 4x6": each(lambda x: x[:, :, (x.shape[2] - 4) // 2 :, (x.shape[3] - 6) // 2 :][:, :, :4, :6]),
    "crop to 4x5 offset 1": each(lambda x: x[:, :, 1:5, 1:6]),
    "y: crop [1, 2, 2, 0]; from x; crop like y": each(lambda x: x[:, :, 1:-2, 1:-1]),
    "y: maxpool 2; from x; crop like y": each(
        lambda x: x[:, :, (x.shape[2] + 1) // 2 // 2 :, (x.shape[3] + 1) // 2 // 2 :][
            :, :, : x.shape[2] // 2, : x.shape[3] // 2
        ]
    ),
    "y: maxpool 2; from x; crop like y offset [3, 2]": each(
        lambda x: x[:, :, 3 : 3 + x.shape[2] // 2, 2 : 2 + x.shape[3] // 2]
    ),
    **{
        f"maxpool 2; resize like x mode {mode}{more}": each(
            lambda x, mode=mode, where=where: oracles.resize(
                oracles.pool(x, (2, 2), (2, 2), (0,) * 4, np.max), x.shape[2:], mode, where
            )
        )
        for mode, more, where in (
            ("nearest", "", ""),
            ("nearest_exact", "", ""),
            ("bilinear", " align_corners on", "align_corners"),
            ("bicubic", "", "half_pixel"),
        )
    },
    "pad [1, 0, 2, 3]": pad((1, 0), (2, 3)),
    "pad [1, 0, 2, 3] mode reflect": pad((1, 0), (2, 3), "reflect"),
    "conv 3x3 4 pad_mode wrap": bordered("wrap", (1, 1), (1,) * 4),
    "slice 1 2 (-1)": each(lambda x: x[:, :, 2:-1]),
    "slice 1 1 3": each(lambda x: x[:, :, 1:3]),
    "slice 2 (-3) (-1)": each(lambda x: x[..., -3:-1]),
    "permute [1, 2, 0]": transpose(2, 3, 1),
    "reduce mean 2": reduce(np.mean, 3),
    "layernorm": layernorm,
    "rmsnorm": rmsnorm,
    "softmax axis 2": each(lambda x: oracles.softmax(x, 3)),
    "gelu tanh on": each(gelu_tanh),
    "glu": each(lambda x: x[:, :4] * sigmoid(x[:, 4:])),
    "prelu": prelu,
    "lrn 3 alpha 0.5": lrn(3, 0.5),
    "lrn 3 alpha 0.5 within on": lrn_within(3, 0.5),
    "l2norm scale on": l2norm,
    "global_avgpool; dense 3": lambda x, w: x.mean(axis=(2, 3)) @ w["weight"].T + w["bias"],
    "concat axis 1 { } { crop [3, 0, 0, 0] }": each(lambda x: np.concatenate([x, x[:, :, 3:]], 2)),
    "argmax 1": each(lambda x: x.argmax(2)),
    "roi_align 2 scale 4 samples 3 aligned off { slice 0 0 4; reduce mean 2; reshape [4, ?] }": each(
        lambda x: oracles.roi_align(x, x[:, :4].mean(3), (2, 2), 3, 4, False)
    ),
    "grid_sample { slice 0 0 2 }": each(lambda x: oracles.grid_sample(x, x[:, :2])),
    "top_k 2 2": each(lambda x: -np.sort(-x, 3)[..., :2]),
    "add { } { maxpool 3x3 stride 1 pad same }": each(
        lambda x: x + oracles.pool(x, (3, 3), (1, 1), (1,) * 4, np.max, -np.inf)
    ),
}

MOVING_TWICE = {
    "pixel_unshuffle 2": each(lambda x: oracles.pixel_unshuffle(x, 2)),
    "pixel_unshuffle 4 order dcr": each(lambda x: oracles.digits_exchanged(oracles.pixel_unshuffle(x, 4), 8)),
}

MOVING_CEIL = {
    "linear 5": linear,
    "maxpool 3 stride 2 ceil on": lambda x, w: maxpool((3,), (2,), (0, (x.shape[2] - 3) % 2))(x, w),
    "avgpool 3 stride 2 ceil on": lambda x, w: avgpool((3,), (2,), (0, (x.shape[2] - 3) % 2))(x, w),
    "avgpool 4 stride 2 pad 1 ceil on count_pad on": lambda x, w: counted((4,), (2,), (1, 1), (x.shape[2] % 2,))(x, w),
    "lrn 3 alpha 0.5": lrn(3, 0.5),
    "pixel_shuffle 2": each(lambda x: oracles.pixel_shuffle(x, 2)),
    "reshape [2, 4, ?]": each(lambda x: x.reshape(len(x), 2, 4, -1)),
    "reshape [?, 2]": each(lambda x: x.reshape(len(x), -1, 2)),
    "flatten": each(lambda x: x.reshape(len(x), -1)),
    "concat axis 1 { } { }": each(lambda x: np.concatenate([x, x], 2)),
}

MOVING_SPACE = {
    "linear 3 bias off": linear,
    "pixel_shuffle 2": each(lambda x: oracles.pixel_shuffle(x, 2)),
    "groupnorm 2": groupnorm(2),
    "upsample 2 bilinear": upsample(2, 2, 2),
    "layernorm": layernorm,
    "conv 3 2": conv((1, 1, 1), (1,) * 6),
}


def recurrent(cell, *, layers=1, directions=("",), last=False, state=False, initial=False):
    """A stack of recurrent layers, one example and one place after the other; from the mean over the places."""

    def oracle(x, w):
        y, found = np.moveaxis(x, 2, 0), []
        for at in range(layers):
            names = [(f"weight_ih_l{at}{end}", f"weight_hh_l{at}{end}") for end in directions]
            weights = [
                [w[name] for name in (*both, *(n.replace("weight", "bias") for n in both)) if name in w]
                for both in names
            ]
            y, *states = oracles.recurrent_layer(cell, y, weights, None, [x.mean(2)] * initial)
            found.append(states)
        if state:
            return np.concatenate([each[i] for i in range(len(found[0])) for each in found], 1)
        return found[-1][0] if last else np.moveaxis(y, 0, 2)

    return oracle


BOTH = ("", "_reverse")

MOVING_LINE = {
    "d: relative_positions 2; from x; gather axis 1 d": each(
        lambda x: np.stack([x[:, :, np.clip(np.arange(x.shape[2]) - i, -2, 2) + 2] for i in range(x.shape[2])], 2)
    ),
    "gru 5 bidirectional on": recurrent("gru", directions=BOTH),
    "lstm 5 layers 2 last on": recurrent("lstm", layers=2, last=True),
    "matmul { permute [1, 0] }": each(lambda x: np.einsum("nik,njk->nij", x, x)),
}

MULTIPLES = {
    "conv 3 4 stride 2 pad same_upper": conv((2,), (0, 1)),
    "conv 3 4 stride 4 pad same_lower": conv((4,), (0, 0)),
    "conv 8 4 stride 4 pad same_lower": conv((4,), (2, 2)),
}

PIXELS = {
    "scale 1/255": each(lambda x: x / 255),
    "conv 3x3 2": conv((1, 1), (1,) * 4),
    "identity": each(lambda x: x),
}

RECURRENT = {
    "rnn 3": recurrent("rnn"),
    "rnn 3 act relu bias off bidirectional on last on": recurrent("rnn_relu", directions=BOTH, last=True),
    "r: rnn 3 layers 2; state r": recurrent("rnn", layers=2, state=True),
    "gru 5": recurrent("gru"),
    "gru 5 layers 3 bidirectional on dropout 0.5": recurrent("gru", layers=3, directions=BOTH),
    "gru 5 bias off last on": recurrent("gru", last=True),
    "s: { reduce mean (-1); flatten }; from x; gru 8 initial s": recurrent("gru", initial=True),
    "s: { reduce mean (-1); flatten }; from x; r: rnn 4 bidirectional on initial s; state r": recurrent(
        "rnn", directions=BOTH, initial=True, state=True
    ),
    "lstm 5": recurrent("lstm"),
    "lstm 5 bias off bidirectional on": recurrent("lstm", directions=BOTH),
    "lstm 5 layers 2 bidirectional on last on": recurrent("lstm", layers=2, directions=BOTH, last=True),
    "r: lstm 5 layers 2 bidirectional on; state r": recurrent("lstm", layers=2, directions=BOTH, state=True),
}

GROUPS = {
    "x 12": ANY_RANK | FLAT,
    "x 8x9": ATTENTION | FREE | ANY_RANK | SPATIAL | LINE | RECURRENT,
    "x 4x9x8": ANY_RANK | SPATIAL | ELEMENTWISE | PLANE,
    "x 8x4x5x6": ANY_RANK | SPATIAL | SPACE,
    "x 7 dtype i64": WORDS,
    "x 3x4x4 dtype u8": PIXELS,
    "x 3x4x4 dtype f16": PIXELS,
    "x [8, ?H, ?W]": MOVING_PLANE,
    "x [8, 4*?H, 8*?W]": MOVING_TWICE,
    "x [8, 2*?D, 4*?H, 2*?W]": {"pixel_unshuffle 2": each(lambda x: oracles.pixel_unshuffle(x, 2))},
    "x [8, ?H]": ATTENTION | FREE | MOVING_CEIL | MOVING_LINE,
    "x [8, ?D, ?H, ?W]": MOVING_SPACE,
    "x [8, 4*?H]": MULTIPLES,
}
"""Calls and oracles by the input that they are applied to."""

SIZES = ({"N": 1, "D": 2, "H": 6, "W": 7}, {"N": 3, "D": 3, "H": 9, "W": 6})
"""What runs with: the batch, and what sizes known only at run time turn out to be."""
