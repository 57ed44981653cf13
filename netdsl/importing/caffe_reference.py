"""Compute what the layers of a Caffe net mean, from their fields and weights alone, in NumPy.

This is the other side of a comparison, and so it uses neither netdsl's layers nor the conversion to them.
Sources: the Forward_cpu of each layer in src/caffe/layers/*.cpp; of the forks, see `caffe_layers`.
"""

from __future__ import annotations

from math import ceil, floor, prod
from typing import TYPE_CHECKING

import numpy as np

from netdsl.importing.caffe_layers import CONVERSIONS
from netdsl.importing.numeric import (
    channelwise,
    convolve,
    deconvolve,
    dense,
    interpolated,
    padded,
    sigmoid,
    softmax,
    windows,
)
from netdsl.importing.recompile import Differs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.importing.caffe import Ref, StoredBlobs
    from netdsl.importing.caffe_model import CaffeLayer, CaffeModel
    from netdsl.importing.flat import Feeds, FlatLayer
    from netdsl.importing.numeric import Floats
    from netdsl.importing.prototxt import Message


class CaffeReference:
    """A net to be run on examples."""

    def __init__(self, model: CaffeModel, sources: list[list[Ref | None]], blobs: StoredBlobs) -> None:
        self.model = model
        self.sources = sources
        self.blobs = blobs
        self.owners: dict[tuple[str, ...], str] = {}
        for layer in model.layers:
            if layer.shared:
                self.owners.setdefault((layer.type, *layer.shared), layer.name)

    def run(self, places: Mapping[FlatLayer, Ref], feeds: Feeds, layers: Sequence[FlatLayer]) -> list[Array | None]:
        """Return the values of layers for inputs with a batch; None for a layer that is a part of one of Caffe's."""
        wanted = [places.get(layer) for layer in layers]
        names = list(self.model.inputs)
        values: dict[Ref, Floats] = {(-1, names.index(name)): np.asarray(x, float) for name, x in feeds.items()}
        last = {ref: at for at, refs in enumerate(self.sources) for ref in refs}
        for index, layer in enumerate(self.model.layers):
            inputs = [values.get(ref) if ref else None for ref in self.sources[index]]
            known = [x for x in inputs if x is not None]
            if len(known) == len(inputs) and inputs and layer.type in CONVERSIONS and not layer.is_loss:
                for at, value in enumerate(self._apply(layer, known)):
                    values[index, at] = value
            for ref in set(self.sources[index]):
                if ref is not None and last[ref] == index and ref not in wanted:
                    values.pop(ref, None)
        return [None if ref is None else values[ref] for ref in wanted]

    def _apply(self, layer: CaffeLayer, inputs: list[Floats]) -> Sequence[Floats]:
        try:
            found = FORWARD[layer.type](Forward(self, layer), *inputs)
        except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
            raise Differs(f"{layer.place} cannot be computed: {error}") from None
        return [found] if isinstance(found, np.ndarray) else found

    def blob(self, layer: CaffeLayer, at: int, shape: tuple[int, ...], role: str) -> Array:
        owner = self.owners.get((layer.type, *layer.shared), layer.name)
        found = self.blobs.get(owner, at, shape, role)
        assert found is not None
        assert not isinstance(found, str)
        return found.read()


class Forward:
    """The parameters of a layer that is computed."""

    def __init__(self, reference: CaffeReference, layer: CaffeLayer) -> None:
        self._reference = reference
        self.layer = layer

    def fields(self, name: str) -> Message:
        return self.layer.fields.message(name)

    def blob(self, at: int, *shape: int, role: str = "weight") -> Array:
        return self._reference.blob(self.layer, at, shape, role)

    def pair(self, fields: Message, name: str, default: int, rank: int = 2) -> list[int]:
        """Return a size of each axis: `name`, `name` without `_size` and `_h` and `_w`."""
        given = fields.integers(name)
        short = name.removesuffix("_size")
        given = given * rank if len(given) == 1 else given or [default] * rank
        if fields.integers(f"{short}_h") or fields.integers(f"{short}_w"):
            given = [fields.integer(f"{short}_h", default), fields.integer(f"{short}_w", default)]
        return given


def convolution(f: Forward, x: Floats) -> Floats:
    fields, rank = f.fields("convolution_param"), x.ndim - 2
    kernel, stride, pad, dilation = (
        f.pair(fields, name, default, rank)
        for name, default in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    outputs = fields.integer("num_output", 0)
    groups = fields.integer("group", x.shape[1] if "Depthwise" in f.layer.type else 1)
    if f.layer.type == "Deconvolution":
        compute, shape = deconvolve, (x.shape[1], outputs // groups, *kernel)
    else:
        compute, shape = convolve, (outputs, x.shape[1] // groups, *kernel)
    y = compute(x, f.blob(0, *shape), stride=stride, before=pad, after=pad, dilation=dilation, groups=groups)
    return y + channelwise(y, f.blob(1, outputs, role="bias")) if fields.flag("bias_term", True) else y


def pooling(f: Forward, x: Floats) -> list[Floats]:
    """Return the pooled values and, as their indices, the input itself."""
    fields = f.fields("pooling_param")
    maximum = fields.word("pool", "MAX") == "MAX"
    if fields.flag("global_pooling", False):
        return [(x.max if maximum else x.mean)((2, 3), keepdims=True), x]
    kernel, stride, pad = (f.pair(fields, n, d) for n, d in (("kernel_size", 0), ("stride", 1), ("pad", 0)))
    down = fields.word("round_mode", "") == "FLOOR" or not fields.flag("ceil_mode", True)
    out, after = [], []
    for size, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        count = (floor if down else ceil)((size + 2 * p - k) / s) + 1
        if any(pad) and (count - 1) * s >= size + p:
            count -= 1
        out.append(count)
        after.append((count - 1) * s + k - size - p)
    y = padded(x, pad, after, -np.inf if maximum else 0.0)
    if maximum:
        found = np.full((*x.shape[:2], *out), -np.inf)
        for _, part in windows(y, kernel, stride, out):
            np.maximum(found, part, out=found)
        return [found, x]
    total = sum(part for _, part in windows(y, kernel, stride, out))
    areas = [
        np.array([min(i * s - p + k, size + p) - (i * s - p) for i in range(n)])
        for size, k, s, p, n in zip(x.shape[2:], kernel, stride, pad, out, strict=True)
    ]
    return [total / np.outer(*areas), x]


def inner_product(f: Forward, x: Floats) -> Floats:
    fields = f.fields("inner_product_param")
    rows, outputs = x.reshape(len(x), -1), fields.integer("num_output", 0)
    if fields.flag("transpose", False):
        y = rows @ f.blob(0, rows.shape[1], outputs).astype(float)
    else:
        y = dense(rows, f.blob(0, outputs, rows.shape[1]))
    return np.asarray(y + f.blob(1, outputs, role="bias") if fields.flag("bias_term", True) else y)


def batch_norm(f: Forward, x: Floats) -> Floats:
    size = x.shape[1]
    factor = float(f.blob(2, 1, role="scale").item())
    share = 1 / factor if factor else 0.0
    mean, var = f.blob(0, size, role="mean") * share, f.blob(1, size, role="variance") * share
    eps = f.fields("batch_norm_param").number("eps", 1e-5)
    return (x - channelwise(x, mean)) / np.sqrt(channelwise(x, var) + eps)


def scale(f: Forward, x: Floats, *by: Floats) -> Floats:
    if by:
        return x * by[0].reshape(*by[0].shape, *(1,) * (x.ndim - by[0].ndim))
    y = x * channelwise(x, f.blob(0, x.shape[1], role="scale"))
    bias = f.fields("scale_param").flag("bias_term", False)
    return y + channelwise(x, f.blob(1, x.shape[1], role="bias")) if bias else y


def bias(f: Forward, x: Floats) -> Floats:
    return x + channelwise(x, f.blob(0, x.shape[1], role="bias"))


def fork_bn(f: Forward, x: Floats) -> Floats:
    fields = f.fields("bn_param")
    weight, offset = (channelwise(x, f.blob(at, x.shape[1], role=role)) for at, role in enumerate(("scale", "bias")))
    if fields.word("bn_mode") == "INFERENCE":
        return x * weight + offset
    mean, var = (channelwise(x, f.blob(at, x.shape[1], role=role)) for at, role in enumerate(("mean", "variance"), 2))
    return weight * (x - mean) / np.sqrt(var + fields.number("eps", 1e-5)) + offset


def eltwise(f: Forward, *xs: Floats) -> Floats:
    fields = f.fields("eltwise_param")
    how = fields.word("operation", "SUM")
    if how == "SUM":
        factors = fields.numbers("coeff") or [1.0] * len(xs)
        return np.asarray(sum(factor * x for x, factor in zip(xs, factors, strict=True)))
    y = xs[0]
    for x in xs[1:]:
        y = np.maximum(y, x) if how == "MAX" else y * x
    return y


def lrn(f: Forward, x: Floats) -> Floats:
    fields = f.fields("lrn_param")
    size, alpha, beta = fields.integer("local_size", 5), fields.number("alpha", 1.0), fields.number("beta", 0.75)
    half = size // 2
    if fields.word("norm_region") == "WITHIN_CHANNEL":
        squares = padded(x * x, (half, half), (half, half))
        total = sum(part for _, part in windows(squares, (size, size), (1, 1), x.shape[2:]))
        return x / (1 + alpha * total / size**2) ** beta
    squares = np.pad(x * x, [(0, 0), (half, half), (0, 0), (0, 0)])
    total = sum(squares[:, k : k + x.shape[1]] for k in range(size))
    return x / (fields.number("k", 1.0) + alpha * total / size) ** beta


def prelu(f: Forward, x: Floats) -> Floats:
    shared = f.fields("prelu_param").flag("channel_shared", False)
    slope = f.blob(0, 1 if shared else x.shape[1], role="slope")
    return np.where(x > 0, x, x * channelwise(x, slope))


def relu(f: Forward, x: Floats) -> Floats:
    return np.where(x > 0, x, x * f.fields("relu_param").number("negative_slope", 0.0))


def elu(f: Forward, x: Floats) -> Floats:
    return np.where(x > 0, x, f.fields("elu_param").number("alpha", 1.0) * np.expm1(np.minimum(x, 0)))


def power(f: Forward, x: Floats) -> Floats:
    return _linear(f.fields("power_param"), x) ** f.fields("power_param").number("power", 1.0)


def _linear(fields: Message, x: Floats) -> Floats:
    return fields.number("shift", 0.0) + fields.number("scale", 1.0) * x


def slices(f: Forward, x: Floats) -> list[Floats]:
    fields = f.fields("slice_param")
    points = fields.integers("slice_point") or len(f.layer.tops)
    return np.split(x, points, (fields.integers("axis", "slice_dim") or [1])[-1])


def flatten(f: Forward, x: Floats) -> Floats:
    fields = f.fields("flatten_param")
    first, last = fields.integer("axis", 1) % x.ndim, fields.integer("end_axis", -1) % x.ndim
    return x.reshape(*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :])


def reshape(f: Forward, x: Floats) -> Floats:
    fields = f.fields("reshape_param")
    dims, first, count = (
        fields.message("shape").integers("dim"),
        fields.integer("axis", 0),
        fields.integer("num_axes", -1),
    )
    first = first if first >= 0 else x.ndim + first + 1
    end = x.ndim if count < 0 else first + count
    sizes = [x.shape[first + at] if size == 0 else size for at, size in enumerate(dims)]
    shape = [*x.shape[:first], *sizes, *x.shape[end:]]
    if shape[0] == 1:  # the file is for a batch of one
        shape[0] = len(x)
    return x.reshape(shape)


def permute(f: Forward, x: Floats) -> Floats:
    order = f.fields("permute_param").integers("order")
    return x.transpose(order + [axis for axis in range(x.ndim) if axis not in order])


def crop(f: Forward, x: Floats, like: Floats) -> Floats:
    fields = f.fields("crop_param")
    offsets, axis = fields.integers("offset") or [0], fields.integer("axis", 2) % x.ndim
    offsets = offsets * (x.ndim - axis) if len(offsets) == 1 else offsets
    cuts = [slice(offset, offset + size) for offset, size in zip(offsets, like.shape[axis:], strict=True)]
    return np.asarray(x[(*(slice(None),) * axis, *cuts)])


def interp(f: Forward, x: Floats, *like: Floats) -> Floats:
    fields = f.fields("interp_param")
    sizes = [fields.integer("height", 0), fields.integer("width", 0)]
    if like:
        sizes = [*like[0].shape[2:]]
    elif not sizes[0]:
        sizes = [(n - 1) // fields.integer("shrink_factor", 1) + 1 for n in x.shape[2:]]
        sizes = [n + (n - 1) * (fields.integer("zoom_factor", 1) - 1) for n in sizes]
    return interpolated(x, sizes)


def normalize(f: Forward, x: Floats) -> Floats:
    fields = f.fields("norm_param")
    axes = (1, 2, 3) if fields.flag("across_spatial", True) else (1,)
    weight = f.blob(0, 1 if fields.flag("channel_shared", True) else x.shape[1], role="scale")
    return np.asarray(
        x / np.sqrt((x * x).sum(axes, keepdims=True) + fields.number("eps", 1e-10)) * channelwise(x, weight)
    )


def upsample(f: Forward, x: Floats, *pooled: Floats) -> Floats:
    """Repeat elements or, given what a max pool of 2x2 read, put each at the first maximum of its window."""
    factor = f.fields("upsample_param").integer("scale", 2)
    y = x.repeat(factor, 2).repeat(factor, 3)
    if not pooled:
        return y
    sizes = pooled[0].shape[2:]
    before = padded(pooled[0], (0, 0), [n * factor - size for n, size in zip(x.shape[2:], sizes, strict=True)], -np.inf)
    parts = before.reshape(*x.shape[:3], factor, x.shape[3], factor).swapaxes(3, 4).reshape(*x.shape, factor**2)
    first = np.eye(factor**2)[parts.argmax(-1)].reshape(*x.shape, factor, factor).swapaxes(3, 4)
    return np.asarray((y * first.reshape(y.shape))[:, :, : sizes[0], : sizes[1]])


def axpy(_: Forward, a: Floats, x: Floats, y: Floats) -> Floats:
    return a.reshape(*x.shape[:2], 1, 1) * x + y


def shuffle(f: Forward, x: Floats) -> Floats:
    groups = f.fields("shuffle_channel_param").integer("group", 1)
    return x.reshape(len(x), groups, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


FORWARD: dict[str, Callable[..., Floats | Sequence[Floats]]] = {
    "AbsVal": lambda _, x: np.abs(x),
    "Axpy": axpy,
    "BN": fork_bn,
    "BNLL": lambda _, x: np.logaddexp(0, x),
    "BatchNorm": batch_norm,
    "Bias": bias,
    "Clip": lambda f, x: np.clip(x, f.fields("clip_param").number("min", 0), f.fields("clip_param").number("max", 0)),
    "Concat": lambda f, *xs: np.concatenate(xs, (f.fields("concat_param").integers("axis", "concat_dim") or [1])[-1]),
    "Convolution": convolution,
    "ConvolutionDepthwise": convolution,
    "Crop": crop,
    "Deconvolution": convolution,
    "DepthwiseConvolution": convolution,
    "Dropout": lambda _, x: x,
    "ELU": elu,
    "Eltwise": eltwise,
    "Exp": lambda f, x: np.exp(_linear(f.fields("exp_param"), x)),
    "Flatten": flatten,
    "InnerProduct": inner_product,
    "Interp": interp,
    "LRN": lrn,
    "Log": lambda f, x: np.log(_linear(f.fields("log_param"), x)),
    "Mish": lambda _, x: x * np.tanh(np.logaddexp(0, x)),
    "Normalize": normalize,
    "PReLU": prelu,
    "Permute": permute,
    "Pooling": pooling,
    "Power": power,
    "ReLU": relu,
    "ReLU6": lambda _, x: np.clip(x, 0, 6),
    "Reshape": reshape,
    "Scale": scale,
    "ShuffleChannel": shuffle,
    "Sigmoid": lambda _, x: sigmoid(x),
    "Slice": slices,
    "Softmax": lambda f, x: softmax(x, f.fields("softmax_param").integer("axis", 1)),
    "Split": lambda f, x: [x] * len(f.layer.tops),
    "Swish": lambda _, x: x * sigmoid(x),
    "TanH": lambda _, x: np.tanh(x),
    "Upsample": upsample,
}
"""How each type of layer is computed."""
