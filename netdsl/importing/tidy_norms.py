"""Rewrite normalizations that are written as means, roots and quotients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.importing.calls import NO_EPS, NO_LIMIT
from netdsl.importing.tidy import Tidier, given, per_channel, replaces, with_constant

if TYPE_CHECKING:
    from netdsl.importing.flat import FlatLayer


MAX_CLIPPED = 1e-10
"""Largest lower limit of a length that becomes the epsilon of an `l2norm`."""


@replaces("div")
def _layer_norm(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """(x - m) / sqrt(mean of (x - m)^2 + eps), with m the mean of the channels."""
    if len(layer.inputs) != 2:
        return None
    centered, root = layer.inputs
    if centered.kind != "sub" or tidier.readers[centered] > 2 or len(centered.inputs) != 2:
        return None
    x, mean = centered.inputs
    if not tidier.is_only(root, "sqrt") or not tidier.is_only(root.inputs[0], "shift"):
        return None
    shift = root.inputs[0]
    variance = shift.inputs[0]
    if not (_is_mean(tidier, mean) and mean.inputs[0] is x and _is_mean(tidier, variance)):
        return None
    square = variance.inputs[0]
    if square.kind not in ("square", "mul") or {*square.inputs} != {centered} or shift.layer.b <= 0:  # type: ignore[attr-defined]
        return None
    return tidier.add(layer, "layernorm", x, {"eps": shift.layer.b, "affine": False})  # type: ignore[attr-defined]


def _is_mean(tidier: Tidier, layer: FlatLayer, how: str = "mean") -> bool:
    """Return whether a layer is the mean, or the sum, of the channels, and read once."""
    return tidier.is_only(layer, "reduce") and layer.layer.how == how and layer.layer.axis == 0  # type: ignore[attr-defined]


@replaces("mul", "div")
def _root_norm(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """x / sqrt(mean of x^2 + eps), or with the sum; or times the reciprocal."""
    if len(layer.inputs) != 2:
        return None
    for x, root in (layer.inputs, layer.inputs[::-1]):
        if layer.kind == "mul":
            if not tidier.is_only(root, "div") or len(root.inputs) != 2:
                continue
            one, root = root.inputs
            if one.kind != "values" or {*one.layer.numbers} != {1.0}:  # type: ignore[attr-defined]
                continue
        elif x is not layer.inputs[0]:
            continue
        shift = root.inputs[0] if tidier.is_only(root, "sqrt") else x
        if not tidier.is_only(shift, "shift") or shift.layer.b <= 0:  # type: ignore[attr-defined]
            continue
        total = shift.inputs[0]
        square = total.inputs[0] if total.kind == "reduce" else x
        if square.kind not in ("square", "mul") or square.inputs not in ((x,), (x, x)):
            continue
        for kind, how in (("rmsnorm", "mean"), ("l2norm", "sum")):
            if _is_mean(tidier, total, how):
                arguments = {"eps": shift.layer.b, "affine": False} if kind == "rmsnorm" else {"eps": shift.layer.b}  # type: ignore[attr-defined]
                return tidier.add(layer, kind, x, arguments)
    return None


@replaces("div")
def _clipped_norm(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """x / max(|x|, e), as PyTorch's `normalize` has it, for an e so small that only |x| of about e tell it from
    x / sqrt(|x|^2 + e^2)."""
    if len(layer.inputs) != 2 or not tidier.is_only(layer.inputs[1], "clip"):
        return None
    x, clip = layer.inputs
    low, root = clip.layer.low, clip.inputs[0]  # type: ignore[attr-defined]
    if not 0 < low <= MAX_CLIPPED or clip.layer.high < NO_LIMIT or not tidier.is_only(root, "sqrt"):  # type: ignore[attr-defined]
        return None
    total = root.inputs[0]
    square = total.inputs[0] if _is_mean(tidier, total, "sum") else x
    if square.kind not in ("square", "mul") or square.inputs not in ((x,), (x, x)):
        return None
    return tidier.add(layer, "l2norm", x, {"eps": max(float(f"{low * low:.6g}"), NO_EPS)})


@replaces("mul")
def _scaled_norm(tidier: Tidier, layer: FlatLayer) -> FlatLayer | None:
    """A factor for each channel behind a normalization without one."""
    found = with_constant(layer)
    if found is None or not tidier.is_only(found[0], "rmsnorm", "l2norm"):
        return None
    norm, constant = found
    weight = per_channel(constant, norm)
    if constant.kind == "values" and {*constant.layer.numbers} == {1.0} and layer.shape == norm.shape:  # type: ignore[attr-defined]
        return norm
    name, without = ("affine", False) if norm.kind == "rmsnorm" else ("scale", False)
    if weight is None or getattr(norm.layer, name) is not without or layer.shape != norm.shape:
        return None
    path = constant.path.rpartition(".")[0] or layer.path
    return tidier.add(layer, norm.kind, norm.inputs[0], {**given(norm), name: True}, {"weight": weight}, path)
