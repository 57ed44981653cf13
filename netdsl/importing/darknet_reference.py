"""Compute what the sections of a Darknet net mean, from their options and weights alone, in NumPy.

This is the other side of a comparison, and so it uses neither netdsl's layers nor the conversion to them.
Sources: the forward functions in src/*_layer.c, src/blas.c and src/activations.h of pjreddie/darknet and
AlexeyAB/darknet.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.importing.numeric import channelwise, convolve, deconvolve, dense, padded, sigmoid, softmax, windows
from netdsl.importing.recompile import Differs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.importing.darknet_cfg import Section
    from netdsl.importing.darknet_weights import DarknetWeights
    from netdsl.importing.flat import Feeds, FlatLayer
    from netdsl.importing.numeric import Floats

ACTIVATE: dict[str, Callable[[Floats], Floats]] = {
    "elu": lambda x: np.where(x >= 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3)),
    "hardtan": lambda x: np.clip(x, -1, 1),
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "linear": lambda x: x,
    "loggy": lambda x: 2 / (1 + np.exp(-x)) - 1,
    "logistic": sigmoid,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu": lambda x: x * (x > 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "selu": lambda x: 1.0507 * np.where(x >= 0, x, 1.6732 * np.expm1(np.minimum(x, 0))),
    "swish": lambda x: x * sigmoid(x),
    "tanh": lambda x: 2 / (1 + np.exp(-2 * x)) - 1,
}


class DarknetReference:
    """A net to be run on examples. Its weights are taken in the order of a .weights file."""

    def __init__(self, sections: Sequence[Section], weights: DarknetWeights, eps: float | None) -> None:
        self.sections = sections[1:]
        self.weights = weights
        self.eps = eps
        self.values: dict[int, Floats] = {}
        self.index = 0
        self.arrays: dict[int, dict[str, Array]] = {}

    def run(self, places: Mapping[FlatLayer, int], feeds: Feeds, layers: Sequence[FlatLayer]) -> list[Array | None]:
        """Return the values of layers for inputs with a batch; None for a layer that is a part of a section."""
        wanted = [places.get(layer) for layer in layers]
        (given,) = feeds.values()
        self.values = {-1: np.asarray(given, float)}
        last = self._last_readers()
        for index, section in enumerate(self.sections):
            self.index = index
            x = self.values.get(index - 1)
            if section.name == "cost" and x is not None:
                self.values[index] = x
            elif section.name in FORWARD and not section.text("tree") and (x is not None or section.name == "route"):
                try:
                    self.values[index] = FORWARD[section.name](self, section, x)
                except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
                    raise Differs(f"{section.place} cannot be computed: {error}") from None
            for at in [at for at in self.values if last.get(at, at) <= index and at not in wanted and at != index]:
                del self.values[at]
        return [None if at is None else self.values[at] for at in wanted]

    def _last_readers(self) -> dict[int, int]:
        """Return the last section that reads each result."""
        last: dict[int, int] = {}
        for index, section in enumerate(self.sections):
            last[index - 1] = max(index, last.get(index - 1, 0))
            for at in (*section.integers("layers"), *section.integers("from")):
                last[at if at >= 0 else index + at] = index
        return last

    def other(self, at: int) -> Floats:
        return self.values[at if at >= 0 else self.index + at]

    def take(self, name: str, shape: tuple[int, ...], role: str) -> Array:
        """Return an array of the current section, which is taken from the file at its first run."""
        known = self.arrays.setdefault(self.index, {})
        if name not in known:
            found = self.weights.take(shape, role)
            assert found is not None
            known[name] = found.read()
        return known[name]

    def normalized(self, y: Floats, offsets: Array) -> Floats:
        size = (y.shape[1],)
        scales, mean, variance = (
            channelwise(y, self.take(name, size, role))
            for name, role in (("scales", "scale"), ("mean", "mean"), ("variance", "variance"))
        )
        deviation = np.sqrt(variance) + 1e-6 if self.eps is None else np.sqrt(variance + self.eps)
        return (y - mean) / deviation * scales + channelwise(y, offsets)


def activated(section: Section, y: Floats, default: str) -> Floats:
    return ACTIVATE[section.text("activation", default)](y)


def convolutional(r: DarknetReference, s: Section, x: Floats) -> Floats:
    if s.text("share_index"):
        at, index = s.integer("share_index", 0), r.index
        r.arrays[index] = r.arrays[at if at >= 0 else index + at]
    size, count, groups = s.integer("size", 1), s.integer("filters", 1), s.integer("groups", 1)
    stride = s.integer("stride", 1)
    step = [max(s.integer(f"stride_{axis}", stride), 1) for axis in "yx"]
    dilation = 1 if size == 1 else s.integer("dilation", 1)
    pad = (size // 2 if s.integer("pad", 0) else s.integer("padding", 0)) * dilation
    normalize = s.integer("batch_normalize", 0)
    biases = r.take("biases", (count,), "bias")
    if normalize:
        for name, role in (("scales", "scale"), ("mean", "mean"), ("variance", "variance")):
            r.take(name, (count,), role)
    weight = r.take("weights", (count, x.shape[1] // groups, size, size), "weight")
    if s.integer("flipped", 0):
        weight = weight.reshape(-1, count).T.reshape(weight.shape)
    both = (pad, pad)
    y = convolve(x, weight, stride=step, before=both, after=both, dilation=(dilation, dilation), groups=groups)
    y = r.normalized(y, biases) if normalize else y + channelwise(y, biases)
    return activated(s, y, "logistic")


def deconvolutional(r: DarknetReference, s: Section, x: Floats) -> Floats:
    size, count, stride = s.integer("size", 1), s.integer("filters", 1), s.integer("stride", 1)
    pad = size // 2 if s.integer("pad", 0) else s.integer("padding", 0)
    normalize = s.integer("batch_normalize", 0)
    biases = r.take("biases", (count,), "bias")
    if normalize:
        for name, role in (("scales", "scale"), ("mean", "mean"), ("variance", "variance")):
            r.take(name, (count,), role)
    weight = r.take("weights", (x.shape[1], count, size, size), "weight")
    both = (pad, pad)
    y = deconvolve(x, weight, stride=(stride, stride), before=both, after=both, dilation=(1, 1))
    return activated(s, r.normalized(y, biases) if normalize else y + channelwise(y, biases), "logistic")


def connected(r: DarknetReference, s: Section, x: Floats) -> Floats:
    rows, count = x.reshape(len(x), -1), s.integer("output", 1)
    biases = r.take("biases", (count,), "bias")
    weight = r.take("weights", (count, rows.shape[1]), "weight")
    if r.weights.transposed:
        weight = weight.reshape(rows.shape[1], count).T
    y = dense(rows, weight)
    y = r.normalized(y, biases) if s.integer("batch_normalize", 0) else y + biases
    return activated(s, y, "logistic")


def pooled(_r: DarknetReference, s: Section, x: Floats) -> Floats:
    stride = s.integer("stride", 1)
    step = [s.integer(f"stride_{axis}", stride) for axis in "yx"]
    size = s.integer("size", stride)
    padding = s.integer("padding", size - 1)
    before = [padding // 2] * 2
    out = [(n + padding - size) // t + 1 for n, t in zip(x.shape[2:], step, strict=True)]
    after = [(n - 1) * t + size - before[0] - m for n, t, m in zip(out, step, x.shape[2:], strict=True)]
    if s.name == "maxpool":
        y = np.full((*x.shape[:2], *out), -np.inf)
        for _, part in windows(padded(x, before, after, -np.inf), (size, size), step, out):
            y = np.maximum(y, part)
        return y
    inside = padded(np.ones_like(x), before, after)
    total = sum(part for _, part in windows(padded(x, before, after), (size, size), step, out))
    return np.asarray(total / sum(part for _, part in windows(inside, (size, size), step, out)))


def shortcut(r: DarknetReference, s: Section, x: Floats) -> Floats:
    y = x.copy()
    for at in s.integers("from"):
        other = r.other(at)
        step = max(1, other.shape[-1] // y.shape[-1])
        channels = min(other.shape[1], y.shape[1])
        y[:, :channels] += other[:, :channels, ::step, ::step][:, :, : y.shape[2], : y.shape[3]]
    return activated(s, y, "linear")


def route(r: DarknetReference, s: Section, _: Floats | None) -> Floats:
    groups, part = s.integer("groups", 1), s.integer("group_id", 0)
    parts = [np.split(r.other(at), groups, 1)[part] for at in s.integers("layers")]
    return np.concatenate(parts, 1)


def gated(r: DarknetReference, s: Section, x: Floats) -> Floats:
    return activated(s, x * r.other(s.integer("from", 0)), "linear")


def upsample(_: DarknetReference, s: Section, x: Floats) -> Floats:
    stride = s.integer("stride", 2)
    return x.repeat(stride, 2).repeat(stride, 3) * s.number("scale", 1.0)


def soften(_: DarknetReference, s: Section, x: Floats) -> Floats:
    scores = x / s.number("temperature", 1.0)
    if s.number("spatial", 0):
        return softmax(scores, 1)
    rows = scores.reshape(len(x), s.integer("groups", 1), -1)
    flat = softmax(rows, 2).reshape(len(x), -1)
    return flat.reshape(x.shape) if s.integer("groups", 1) == 1 and prod(x.shape[2:]) == 1 else flat


def crop(_: DarknetReference, s: Section, x: Floats) -> Floats:
    height, width = s.integer("crop_height", 1), s.integer("crop_width", 1)
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    y = x[:, :, top : top + height, left : left + width]
    return y if s.integer("noadjust", 0) else y * 2 - 1


def reorg(_: DarknetReference, s: Section, x: Floats) -> Floats:
    """Element (k, j, i) of the result, with the shape of the input, is (k % C, j s + o / s, i s + o % s) of the input
    read as C s x s times larger maps, with C = channels / s^2 and o = k / C."""
    if extra := s.integer("extra", 0):
        return np.pad(x.reshape(len(x), -1), [(0, 0), (0, extra)])
    stride = s.integer("stride", 1)
    channels, height, width = x.shape[1:]
    if s.name == "reorg3d":  # the loops are over the shape of the result
        channels, height, width = channels * stride**2, height // stride, width // stride
    few = channels // stride**2
    flat = x.reshape(len(x), -1)
    k, j, i = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    offset = k // few
    at = i * stride + offset % stride + width * stride * (j * stride + offset // stride + height * stride * (k % few))
    shape = (x.shape[1] * stride**2, x.shape[2] // stride, x.shape[3] // stride)
    return flat[:, at.reshape(-1)].reshape(len(x), *shape)


FORWARD: dict[str, Callable[[DarknetReference, Section, Any], Floats]] = {
    "activation": lambda _, s, x: activated(s, x, "linear"),
    "avgpool": lambda _, __, x: x.mean((2, 3), keepdims=True),
    "connected": connected,
    "convolutional": convolutional,
    "crop": crop,
    "deconvolutional": deconvolutional,
    "dropout": lambda _, __, x: x,
    "empty": lambda _, __, x: x,
    "local_avgpool": pooled,
    "logistic": lambda _, __, x: sigmoid(x),
    "maxpool": pooled,
    "reorg": reorg,
    "reorg3d": reorg,
    "route": route,
    "sam": gated,
    "scale_channels": gated,
    "shortcut": shortcut,
    "softmax": soften,
    "upsample": upsample,
}
"""How each section is computed."""
