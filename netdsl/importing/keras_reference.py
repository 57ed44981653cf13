"""Compute what the layers of a Keras model mean, from their configurations and weights alone, in NumPy.

This is the other side of a comparison, and so it uses neither netdsl's layers nor the conversion to them. Values and
weights are as Keras has them, with the channels last.
Sources: keras/src/layers, keras/src/ops and keras/src/activations of Keras 3.
"""

from __future__ import annotations

from math import erf, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.importing.numeric import convolve, deconvolve, padded, sigmoid, softmax, windows
from netdsl.importing.recompile import Differs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import Feeds, FlatLayer
    from netdsl.importing.keras_model import KerasCall, KerasModel
    from netdsl.importing.keras_weights import StoredKerasWeights
    from netdsl.importing.numeric import Floats

    Pads = tuple[list[int], list[int]]

_erf = np.vectorize(erf, otypes=[float])

ACTIVATE: dict[str, Callable[[Floats], Floats]] = {
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "exponential": np.exp,
    "gelu": lambda x: x * (1 + _erf(x / np.sqrt(2))) / 2,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid_2": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "linear": lambda x: x,
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "log_softmax": lambda x: np.log(softmax(x, -1)),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softmax": lambda x: softmax(x, -1),
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
}


class KerasReference:
    """A model to be run on examples."""

    def __init__(self, model: KerasModel, weights: StoredKerasWeights) -> None:
        self.model = model
        self.weights = weights

    def run(
        self,
        places: Mapping[FlatLayer, int],
        before: Mapping[FlatLayer, int],
        feeds: Feeds,
        layers: Sequence[FlatLayer],
    ) -> list[Array | None]:
        """Return the values of layers for inputs with a batch: the results of calls, and those `before` an activation.
        None for a layer that is another part of one of Keras's, or a value that it flattens later."""
        wanted = [places.get(layer) for layer in layers]
        inner = {before[layer] for layer in layers if layer in before and layer not in places}
        scores: dict[int, Floats] = {}
        values: dict[int, Floats] = {}
        last = {at: index for index, call in enumerate(self.model.calls) for at in (*call.inputs, *call.named.values())}
        given = dict(feeds)
        for index, call in enumerate(self.model.calls):
            if call.kind == "input_layer":
                if call.name not in given:  # no output depends on it
                    continue
                x = given[call.name]
                first = self.model.channels_first
                values[index] = np.moveaxis(x, 1, -1) if x.ndim > 2 and not first else np.asarray(x)
                continue
            if not all(at in values for at in (*call.inputs, *call.named.values())):
                continue
            named = {key: values[at] for key, at in call.named.items()}
            positional = [values[at] for at in call.inputs]
            try:
                compute = _in_order if self.model.channels_first else computed
                forward = Forward(self.weights, call)
                values[index] = compute(forward, *positional, **named)
            except (TypeError, ValueError, KeyError, IndexError, AttributeError):
                raise Differs(f"`{call.name}` has arguments that Keras refuses") from None
            if index in inner and forward.before is not None:
                scores[index] = forward.before
            for at in {*call.inputs, *call.named.values()}:
                if last[at] == index and at not in wanted:
                    values.pop(at, None)
        show = np.asarray if self.model.channels_first else _with_channels_first
        found = [
            values[at] if at is not None else scores.get(before.get(layer, -1))
            for at, layer in zip(wanted, layers, strict=True)
        ]
        return [None if value is None else show(value) for value in found]


def _with_channels_first(value: Floats) -> Array:
    return np.moveaxis(value, -1, 1) if value.ndim > 2 else value


def computed(f: Forward, *xs: Floats, **named: Floats) -> Floats:
    return FORWARD[f.call.kind](f, *xs, **named)


def _in_order(f: Forward, *xs: Floats, **named: Floats) -> Floats:
    """Compute a layer of a model with the channels first, those that have them with the channels last for that time."""
    normalizes = f.call.kind.endswith("normalization")
    if f.about.get("data_format") != "channels_first" and not normalizes:
        return computed(f, *xs, **named)
    y = computed(f, *(np.moveaxis(x, 1, -1) if x.ndim > 2 else x for x in xs), **named)
    f.before = None if f.before is None else _with_channels_first(f.before)
    return _with_channels_first(y)


class Forward:
    """A call that is computed."""

    def __init__(self, weights: StoredKerasWeights, call: KerasCall) -> None:
        self._weights = weights
        self.call = call
        self.about: Mapping[str, Any] = call.about
        self.before: Floats | None = None

    def raw(self, word: str) -> Floats:
        """Return an array of Keras, by PyTorch's name for it."""
        return self._weights.raw(f"{self.call.name}.{word}").astype(np.float64)

    def activated(self, y: Floats) -> Floats:
        self.before = y
        found = self.about.get("activation") or "linear"
        if isinstance(found, dict):
            found = found["config"] if isinstance(found["config"], str) else found["class_name"]
        return ACTIVATE[found](y)


def per_axis(value: Any, rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)


def sides(about: Mapping[str, Any], sizes: Sequence[int], spans: Sequence[int], stride: Sequence[int]) -> Pads:
    """Return the padding before and after each axis: TensorFlow's for `same`."""
    if about["padding"] == "causal":
        return [spans[0] - 1], [0]
    totals = [0] * len(sizes)
    if about["padding"] == "same":
        counts = [-(-n // s) for n, s in zip(sizes, stride, strict=True)]
        totals = [max((c - 1) * s + k - n, 0) for c, s, k, n in zip(counts, stride, spans, sizes, strict=True)]
    return [total // 2 for total in totals], [total - total // 2 for total in totals]


def _convolved(f: Forward, x: Floats, kernel: Floats, groups: int) -> Floats:
    """Return a convolution with a kernel [*sizes, inputs / groups, outputs]."""
    rank = x.ndim - 2
    stride, dilation = per_axis(f.about["strides"], rank), per_axis(f.about["dilation_rate"], rank)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel.shape[:rank], dilation, strict=True)]
    before, after = sides(f.about, x.shape[1:-1], spans, stride)
    weight = kernel.transpose(rank + 1, rank, *range(rank))
    first = np.moveaxis(x, -1, 1)
    y = convolve(first, weight, stride=stride, before=before, after=after, dilation=dilation, groups=groups)
    return np.moveaxis(y, 1, -1)


def convolution(f: Forward, x: Floats) -> Floats:
    kernel = f.raw("weight")
    if f.call.kind.startswith("depthwise"):
        y = _depthwise(f, x, kernel)
    else:
        y = _convolved(f, x, kernel, f.about.get("groups", 1))
    return f.activated(y + f.raw("bias") if f.about["use_bias"] else y)


def _depthwise(f: Forward, x: Floats, kernel: Floats) -> Floats:
    """Return a convolution of each channel with the kernels [*sizes, channels, multiplier]."""
    channels, multiplier = kernel.shape[-2:]
    return _convolved(f, x, kernel.reshape(*kernel.shape[:-2], 1, channels * multiplier), channels)


def separable(f: Forward, x: Floats) -> Floats:
    y = _depthwise(f, x, f.raw("depthwise.weight")) @ f.raw("pointwise.weight").reshape(-1, f.about["filters"])
    return f.activated(y + f.raw("pointwise.bias") if f.about["use_bias"] else y)


def deconvolution(f: Forward, x: Floats) -> Floats:
    """A kernel is [*sizes, outputs, inputs]; with `same`, the result is cropped to the size times the stride."""
    rank, kernel = x.ndim - 2, f.raw("weight")
    stride = per_axis(f.about["strides"], rank)
    before, after = [0] * rank, [0] * rank
    if f.about["padding"] == "same":
        excess = [k - s for k, s in zip(kernel.shape[:rank], stride, strict=True)]
        before = [max(e, 0) // 2 for e in excess]
        after = [e - b for e, b in zip(excess, before, strict=True)]
    weight = kernel.transpose(rank + 1, rank, *range(rank))
    first = np.moveaxis(x, -1, 1)
    y = np.moveaxis(deconvolve(first, weight, stride=stride, before=before, after=after, dilation=[1] * rank), 1, -1)
    return f.activated(y + f.raw("bias") if f.about["use_bias"] else y)


def dense(f: Forward, x: Floats) -> Floats:
    y = x @ f.raw("weight")
    return f.activated(y + f.raw("bias") if f.about["use_bias"] else y)


def batch_normalization(f: Forward, x: Floats) -> Floats:
    deviation = np.sqrt(f.raw("running_var") + f.about["epsilon"])
    y = (x - f.raw("running_mean")) / deviation
    return _affine(f, y)


def _affine(f: Forward, y: Floats) -> Floats:
    y = y * f.raw("weight") if f.about["scale"] else y
    return y + f.raw("bias") if f.about["center"] else y


def layer_normalization(f: Forward, x: Floats) -> Floats:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return _affine(f, (x - mean) / np.sqrt(var + f.about["epsilon"]))


def group_normalization(f: Forward, x: Floats) -> Floats:
    parts = x.reshape(*x.shape[:-1], f.about["groups"], -1)
    axes = (*range(1, x.ndim - 1), x.ndim)
    mean, var = parts.mean(axes, keepdims=True), parts.var(axes, keepdims=True)
    return _affine(f, ((parts - mean) / np.sqrt(var + f.about["epsilon"])).reshape(x.shape))


def constants(f: Forward, x: Floats) -> Floats:
    mean, variance = f.about.get("mean"), f.about.get("variance")
    if mean is None:  # numbers of the file, which are part of the net's text
        mean, variance = (f._weights.file.raw(f"{f.call.name}.vars.{at}") for at in (0, 1))
    means, variances = (np.asarray(each, float).reshape(-1) for each in (mean, variance))
    return np.asarray((x - means) / np.maximum(np.sqrt(variances), 1e-7))


def pooling(f: Forward, x: Floats) -> Floats:
    rank = x.ndim - 2
    kernel = per_axis(f.about["pool_size"], rank)
    stride = per_axis(f.about["strides"] or kernel, rank)
    before, after = sides(f.about, x.shape[1:-1], kernel, stride)
    first = np.moveaxis(x, -1, 1)
    spaces = zip(first.shape[2:], before, after, kernel, stride, strict=True)
    out = [(n + b + a - k) // s + 1 for n, b, a, k, s in spaces]
    if f.call.kind.startswith("max"):
        y = np.full((*first.shape[:2], *out), -np.inf)
        for _, part in windows(padded(first, before, after, -np.inf), kernel, stride, out):
            y = np.maximum(y, part)
        return np.moveaxis(y, 1, -1)
    counts = sum(part for _, part in windows(padded(np.ones_like(first), before, after), kernel, stride, out))
    total = sum(part for _, part in windows(padded(first, before, after), kernel, stride, out))
    return np.moveaxis(np.asarray(total / counts), 1, -1)


def whole_pooling(f: Forward, x: Floats) -> Floats:
    reduce = x.max if "max" in f.call.kind else x.mean
    return reduce(tuple(range(1, x.ndim - 1)), keepdims=bool(f.about.get("keepdims")))  # type: ignore[no-any-return]


def binary(ufunc: Callable[[Any, Any], Any]) -> Callable[..., Floats]:
    """Return the computation of a merge, or of an operation with a number."""

    def compute(f: Forward, *xs: Floats) -> Floats:
        operands: list[Any] = list(xs)
        if len(xs) == 1:
            operands.insert(0 if f.call.constant_first else 1, f.call.constant)
        y = operands[0]
        for x in operands[1:]:
            y = ufunc(y, x)
        return np.asarray(y)

    return compute


def relu(f: Forward, x: Floats) -> Floats:
    top, slope = f.about.get("max_value"), f.about.get("negative_slope") or 0.0
    y = np.where(x > 0, x, slope * x)
    return y if top is None else np.minimum(y, top)


def leaky_relu(f: Forward, x: Floats) -> Floats:
    return np.where(x > 0, x, f.about.get("negative_slope", f.about.get("alpha")) * x)


def prelu(f: Forward, x: Floats) -> Floats:
    return np.where(x > 0, x, f.raw("weight") * x)


def upsampling(f: Forward, x: Floats) -> Floats:
    for axis, factor in enumerate(per_axis(f.about["size"], x.ndim - 2), 1):
        if f.about.get("interpolation", "nearest") == "nearest":
            x = x.repeat(factor, axis)
            continue
        size = x.shape[axis]
        at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *(1,) * (x.ndim - axis - 1))
        x = np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, size - 1), axis) * share
    return x


def _pairs(given: Any, rank: int) -> list[tuple[int, int]]:
    each = [given] if rank == 1 else [given] * rank if isinstance(given, int) else given
    return [(side, side) if isinstance(side, int) else tuple(side) for side in each]


def zero_padding(f: Forward, x: Floats) -> Floats:
    return np.pad(x, [(0, 0), *_pairs(f.about["padding"], x.ndim - 2), (0, 0)])


def cropping(f: Forward, x: Floats) -> Floats:
    sizes = zip(_pairs(f.about["cropping"], x.ndim - 2), x.shape[1:], strict=False)
    return np.asarray(x[(slice(None), *(slice(before, size - after) for (before, after), size in sizes))])


def recurrent(f: Forward, x: Floats) -> Floats:
    about = f.about
    if f.call.kind != "bidirectional":
        return _sequence(f, f.call.kind, about, x, "")
    inner = about["layer"]
    kind = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}[inner["class_name"]]
    forward = _sequence(f, kind, inner["config"], x, "")
    backward = _sequence(f, kind, inner["config"], x[:, ::-1], "_reverse")
    return np.concatenate([forward, backward[:, ::-1] if backward.ndim > 2 else backward], -1)


def _sequence(f: Forward, kind: str, about: Mapping[str, Any], x: Floats, end: str) -> Floats:
    """Return the outputs of a recurrent layer at each place, or at the last one."""
    kernel, recur = f.raw(f"weight_ih_l0{end}"), f.raw(f"weight_hh_l0{end}")
    units = about["units"]
    bias = f.raw(f"bias_ih_l0{end}") if about["use_bias"] else np.zeros(kernel.shape[1])
    inner = bias[1] if bias.ndim > 1 else np.zeros(kernel.shape[1])
    h = c = np.zeros((len(x), units))
    found = []
    for t in range(x.shape[1]):
        z, r = x[:, t] @ kernel + (bias[0] if bias.ndim > 1 else bias), h @ recur + inner
        if kind == "simple_rnn":
            h = np.tanh(z + r)
        elif kind == "lstm":
            i, forget, g, o = np.split(z + r, 4, 1)
            c = sigmoid(forget) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (zu, zr, zh), (ru, rr, rh) = np.split(z, 3, 1), np.split(r, 3, 1)
            update = sigmoid(zu + ru)
            h = update * h + (1 - update) * np.tanh(zh + sigmoid(zr + rr) * rh)
        found.append(h)
    return np.stack(found, 1) if about["return_sequences"] else h


def attention(f: Forward, query: Floats, value: Floats, key: Floats | None = None) -> Floats:
    def projected(x: Floats, name: str) -> Floats:
        y = np.einsum("btd,dhk->bthk", x, f.raw(f"{name}.vars.0"))
        return np.asarray(y + f.raw(f"{name}.vars.1") if f.about["use_bias"] else y)

    q, k, v = projected(query, "query"), projected(value if key is None else key, "key"), projected(value, "value")
    scores = softmax(np.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(f.about["key_dim"]), -1)
    y = np.einsum("bhij,bjhd,hdo->bio", scores, v, f.raw("attention_output.vars.0"))
    return np.asarray(y + f.raw("attention_output.vars.1") if f.about["use_bias"] else y)


def time_distributed(f: Forward, x: Floats) -> Floats:
    inner = f.call.inner()
    y = computed(Forward(f._weights, inner), x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def same(_: Forward, x: Floats) -> Floats:
    return x


def rescaling(f: Forward, x: Floats) -> Floats:
    return np.asarray(x * np.asarray(f.about["scale"], float) + np.asarray(f.about["offset"], float))


def reshape(f: Forward, x: Floats) -> Floats:
    return x.reshape(len(x), *f.about["target_shape"])


FORWARD: dict[str, Callable[..., Floats]] = {
    "activation": lambda f, x: f.activated(x),
    "activity_regularization": same,
    "add": binary(np.add),
    "alpha_dropout": same,
    "average": lambda _, *xs: sum(xs) / len(xs),
    "batch_normalization": batch_normalization,
    "bidirectional": recurrent,
    "concatenate": lambda f, *xs: np.concatenate(xs, f.about["axis"]),
    "custom_scale_layer": lambda f, x, y: x + f.about["scale"] * y,
    "dense": dense,
    "divide": binary(np.divide),
    "dropout": same,
    "elu": lambda f, x: np.where(x > 0, x, f.about.get("alpha", 1.0) * np.expm1(np.minimum(x, 0))),
    "embedding": lambda f, x: f.raw("weight")[x],
    "flatten": lambda _, x: x.reshape(len(x), prod(x.shape[1:])),
    "gaussian_dropout": same,
    "gaussian_noise": same,
    "group_normalization": group_normalization,
    "gru": recurrent,
    "identity": same,
    "layer_normalization": layer_normalization,
    "layer_scale": lambda f, x: x * f.raw("vars.0"),
    "leaky_re_lu": leaky_relu,
    "lstm": recurrent,
    "maximum": binary(np.maximum),
    "minimum": binary(np.minimum),
    "multi_head_attention": attention,
    "multiply": binary(np.multiply),
    "normalization": constants,
    "p_re_lu": prelu,
    "permute": lambda f, x: x.transpose(0, *f.about["dims"]),
    "re_lu": relu,
    "rescaling": rescaling,
    "reshape": reshape,
    "simple_rnn": recurrent,
    "softmax": lambda _, x: softmax(x, -1),
    "stochastic_depth": same,
    "subtract": binary(np.subtract),
    "time_distributed": time_distributed,
    "true_divide": binary(np.divide),
}
"""How each class is computed."""

for _name in ("relu", "relu6", "sigmoid", "silu", "softplus", "softsign", "tanh"):
    FORWARD[_name] = lambda f, x: ACTIVATE[f.call.kind](x)

for _rank in (1, 2, 3):
    FORWARD |= {
        f"average_pooling{_rank}d": pooling,
        f"conv{_rank}d": convolution,
        f"conv{_rank}d_transpose": deconvolution,
        f"cropping{_rank}d": cropping,
        f"depthwise_conv{_rank}d": convolution,
        f"global_average_pooling{_rank}d": whole_pooling,
        f"global_max_pooling{_rank}d": whole_pooling,
        f"max_pooling{_rank}d": pooling,
        f"separable_conv{_rank}d": separable,
        f"spatial_dropout{_rank}d": same,
        f"up_sampling{_rank}d": upsampling,
        f"zero_padding{_rank}d": zero_padding,
    }
