"""Attention of newer opsets of ONNX, which is an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.importing.masks import condition_of
from netdsl.importing.onnx_fold import OnnxNode, Unsupported
from netdsl.importing.onnx_reader import Reader, handles
from netdsl.importing.onnx_values import Moved, ordered, plain, reshaped

if TYPE_CHECKING:
    from netdsl.base.shape import Shape
    from netdsl.importing.flat import FlatLayer


@handles("Attention", lazy=True)
def _attention(r: Reader, node: OnnxNode, q: Moved, k: Moved, v: Moved, mask: Any = None, *past: Any) -> Moved | None:
    """Attention of [N, L, C], or of heads [N, h, L, d]."""
    if any(each is not None for each in past) or any(name in r.needed for name in node.outputs[1:]):
        raise Unsupported("it continues earlier keys and values, or returns others")
    if node.get("softcap", 0.0):
        raise Unsupported("it limits its scores")
    heads: Any = node.get("q_num_heads") or q.shape[1]
    arguments: dict[str, Any] = {"heads": heads, "causal": bool(node.get("is_causal", 0))}
    if node.get("scale") is not None:
        arguments["scale"] = node.get("scale")
    values = _mask(mask, k.shape[-2:-1])
    layers = [_channels(r, node, x) for x in (q, k, v)]
    width: Any = layers[0].shape[0] // heads
    if abs(arguments.get("scale", width**-0.5) * width**0.5 - 1) <= 1e-6:
        arguments.pop("scale", None)
    y = plain(r.add(node, "attention", layers, arguments, values=values))
    if y is None or q.rank == 3:
        return None if y is None else Moved(y.layer, (y.axes[0], y.axes[2], y.axes[1]))
    split = reshaped(r.net, y, [y.shape[0], heads, y.shape[1] // heads, y.shape[2]], node.place)
    return Moved(split.layer, tuple(split.axes[axis] for axis in (0, 1, 3, 2)))


def _channels(r: Reader, node: OnnxNode, x: Moved) -> FlatLayer:
    """Return queries, keys or values as a layer of channels and positions."""
    channels = x.axes[-1] if x.rank == 3 else (*x.axes[1], *x.axes[3])
    return ordered(r.net, Moved(x.layer, (x.axes[0], channels, x.axes[-2])), (0, 1, 2), node.place).layer


def _mask(mask: Any, keys: Shape) -> dict[str, Any]:
    """Return the mask of keys as the value of a keyword. Raises Unsupported."""
    if mask is None:
        return {}
    found = condition_of(mask.layer) if isinstance(mask, Moved) and mask.layer.dtype == "bool" else None
    if found is None or found[0] != "mask" or found[1].shape != keys:
        raise Unsupported("its mask is another than one of keys")
    return {"mask": found[1]}
