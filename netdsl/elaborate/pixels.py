"""Pixel values on their way to the first weights: how large they can still be there, layer by layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit
from netdsl.elaborate.library import ZOO_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netdsl.data.augment import Augmentation
    from netdsl.ir.net import Net, Node
    from netdsl.layers.affine import ScaleLayer

_Range = tuple[float, float]

LARGE_PIXEL = 30.0
"""Largest magnitude that is not reported. Normalized pixels stay below 5, unscaled ones reach 127 or more."""

SMALL_SPREAD = 1 / 50
"""Smallest range that is not reported: that of pixels from 0 to 1 that are divided by 255 again is 1/255."""

_KEPT = (
    *("identity", "dropout", "drop_path", "flatten", "reshape", "permute", "crop", "slice", "select", "reduce"),
    *("upsample", "resize", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("maxpool", "avgpool", "global_avgpool", "adaptive_avgpool", "global_maxpool"),
)
"""Layers whose outputs stay within the range of their input, up to the overshoot of bicubic interpolation."""

RECTIFIERS = frozenset(["relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "hard_swish", "softplus"])
"""Layers that keep large positive values and shrink negative ones."""

BETWEEN = re.compile(r"(?:\s|;|#[^\n]*|\w+:(?!\s*\{))*")
"""Text between an input and the statement that reads it: blanks, comments and a label."""


def unscaled(net: Net, augment: Sequence[Augmentation] = ()) -> tuple[Node, float] | None:
    """Return the first layer with weights that reads large values for images, and the largest magnitude; None if there
    is none, or if a layer with an unknown effect on the range comes first."""
    if len(net.inputs) != 1:
        return None
    for node, (low, high) in _reads(net, _entering(net.inputs[0].layer, augment)):
        if max(-low, high) > LARGE_PIXEL:
            return node, max(-low, high)
    return None


def badly_scaled(net: Net, low: float, high: float) -> tuple[Node, _Range] | None:
    """Return the first layer with weights, and the range that it reads for an input from `low` to `high`, if it reaches
    far from 0, or if layers of the net make it far smaller than that of the input and than 1, as with data scaled
    before."""
    if len(net.inputs) == 1:
        for node, (least, most) in _reads(net, (low, high)):
            is_shrunk = 0 < most - least < SMALL_SPREAD and 30 * (most - least) < high - low
            return (node, (least, most)) if is_shrunk or max(-least, most) > LARGE_PIXEL else None
    return None


def _reads(net: Net, entering: _Range) -> Iterator[tuple[Node, _Range]]:
    """Yield each layer with weights, and the range that it reads as far as it is known, else (0, 0)."""
    ranges: dict[Node, _Range | None] = {}
    for node in net.nodes:
        if node.layer.kind == "input":
            ranges[node] = entering
            continue
        inputs = [ranges[x] for x in node.inputs]
        known = [each for each in inputs if each is not None]
        if node.parameters and node.layer.kind not in ("prelu", *_NORMS):
            yield node, _hull(None, known or [(0.0, 0.0)])
        rule = _RULES.get(node.layer.kind)
        whole = len(known) == len(inputs) or (known and node.layer.kind == "concat")
        ranges[node] = rule(node.layer, known) if rule and whole else None


_NORMS = frozenset(["bn", "layernorm", "rmsnorm", "groupnorm", "instancenorm", "l2norm", "lrn"])


def _entering(entry: Any, augment: Sequence[Augmentation]) -> _Range:
    """Return the range of images at an input: augmented, and normalized as the input declares."""
    found = 0.0, 255.0
    for step in augment:
        if step.kind == "erase":
            found = _hull(step, [found, (step.value, step.value)])  # type: ignore[attr-defined]
    mean, std = getattr(entry, "mean", None), getattr(entry, "std", None)
    ends = [(end - m) / s for end in found for m, s in _pairs(mean or (0.0,), std or (1.0,))]
    return min(ends), max(ends)


def _pairs(mean: tuple[float, ...], std: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return means and standard deviations by channel, with a single one repeated."""
    channels = max(len(mean), len(std))
    return [(mean[i % len(mean)], std[i % len(std)]) for i in range(channels)]


def _scale(layer: ScaleLayer, xs: list[_Range]) -> _Range:
    low, high = sorted(layer.a * end for end in xs[0])
    return low, high


def _normalize(layer: Any, xs: list[_Range]) -> _Range:
    ends = [(end - m) / s for end in xs[0] for m, s in _pairs(layer.mean, layer.std)]
    return min(ends), max(ends)


def _hull(_: object, xs: list[_Range]) -> _Range:
    return min(low for low, _ in xs), max(high for _, high in xs)


_RULES: dict[str, Callable[[Any, list[_Range]], _Range]] = {
    **dict.fromkeys((*_KEPT, "concat", "max", "min"), _hull),
    **dict.fromkeys(RECTIFIERS, lambda _, xs: (max(-1.0, xs[0][0]), xs[0][1])),
    "scale": _scale,
    "shift": lambda layer, xs: (xs[0][0] + layer.b, xs[0][1] + layer.b),
    "normalize": _normalize,
    "pad": lambda layer, xs: (min(layer.value, xs[0][0]), max(layer.value, xs[0][1])),
    "pad_channels": lambda _, xs: (min(0.0, xs[0][0]), max(0.0, xs[0][1])),
    "abs": lambda _, xs: (0.0, max(map(abs, xs[0]))),
    "square": lambda _, xs: (0.0, max(end * end for end in xs[0])),
    "clip": lambda layer, xs: (min(max(xs[0][0], layer.low), layer.high), max(min(xs[0][1], layer.high), layer.low)),
    "relu6": lambda _, xs: (0.0, min(6.0, max(0.0, xs[0][1]))),
    "add": lambda _, xs: (sum(low for low, _ in xs), sum(high for _, high in xs)),
    "sub": lambda _, xs: (xs[0][0] - sum(high for _, high in xs[1:]), xs[0][1] - sum(low for low, _ in xs[1:])),
}
"""The range of a layer's output from those of its inputs, for layers where it is known."""


def scaling(net: Net) -> Edit | None:
    """Return the edit that scales the pixels directly after the input; None if a layer may read the input itself."""
    (entry,) = net.inputs
    readers = [node for node in net.nodes if entry in node.inputs]
    end = max([entry.span.end, *(bound.value_span.end for bound in entry.arguments)])
    source = entry.span.source
    if len(readers) != 1 or source is not net.source or source.name.startswith(ZOO_PREFIX):
        return None
    *_, place = (readers[0].span, *(frame.span for frame in readers[0].frame or ()))
    if place.source is not source or place.start < end:
        return None
    if not BETWEEN.fullmatch(source.text, end, place.start):
        return None
    return Edit(Span(source, end, end), "; scale 1/255")
