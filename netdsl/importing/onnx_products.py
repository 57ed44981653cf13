"""Matrix products of ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.base.shape import product
from netdsl.importing.onnx_fold import OnnxNode, Unsupported
from netdsl.importing.onnx_parts import OneHot
from netdsl.importing.onnx_reader import Reader, handles
from netdsl.importing.onnx_shaping import embedding
from netdsl.importing.onnx_values import Moved, like, plain, reshaped, settled, with_channels
from netdsl.importing.onnx_windows import in_order, is_no_bias

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array


def affine(r: Reader, node: OnnxNode, x: Moved, name: str, weight: Array, bias: Any = None) -> Moved | None:
    """Apply a weight [outputs, inputs] to the last axis of the model's value: a `dense` layer for a flat one."""
    weights = {"weight": r.weight(name, weight)}
    if bias is not None:
        weights["bias"] = bias
    arguments: dict[str, object] = {"units": weight.shape[0], "bias": bias is not None}
    if x.rank == 2 and x.axes[0] == (0,):
        flat = in_order(r, node, x)
        return plain(r.add(node, "dense", [flat.layer], arguments, weights))
    x = with_channels(r.net, x, node.place)
    return like(r.add(node, "linear", [x.layer], arguments, weights), x.axes)


@handles("MatMul", lazy=True)
def _matmul(r: Reader, node: OnnxNode, a: Any, b: Any) -> Moved | None:
    if isinstance(a, OneHot):
        return embedding(r, node, node.inputs[1], b, settled(r.net, a.x, node.place))
    if isinstance(a, Moved) and isinstance(b, np.ndarray) and b.ndim == 2:
        return affine(r, node, a, node.inputs[1], b.T)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        raise Unsupported("one of its factors is a constant that is no weight of the last axis")
    if a.rank != b.rank or a.rank < 3:
        raise Unsupported("its factors have different numbers of axes")
    hidden = (r.net.batch == 1 and not any(0 in joined for x in (a, b) for joined in x.axes)) * 1  # a batch of one
    first, second = (Moved(x.layer, ((0,),) * hidden + x.axes) for x in map(_apart, (a, b)))
    if first.rank != second.rank or (0,) not in first.axes:
        raise Unsupported("its factors have different numbers of axes")
    first, second = in_order(r, node, first), in_order(r, node, second)
    product_of = r.add(node, "matmul", [first.layer, second.layer])
    together, at = [], hidden
    for joined in a.axes[:-2]:
        count = max(len(joined), 1)
        together.append(tuple(range(at, at + count)))
        at += count
    return like(product_of, (*together, (at,), (at + 1,)))


def _apart(x: Moved) -> Moved:
    """Return a value whose axes before the last two are those of its layer's result, one by one."""
    each = (((axis,) for axis in joined) if joined else ((),) for joined in x.axes[:-2])
    return Moved(x.layer, (*(axes for group in each for axes in group), *x.axes[-2:]))


@handles("Gemm", lazy=True)
def _gemm(r: Reader, node: OnnxNode, a: Any, b: Any, c: Any = None) -> Moved | None:
    if not isinstance(a, Moved) or not isinstance(b, np.ndarray) or isinstance(c, Moved) or node.get("transA", 0):
        raise Unsupported("its weights are computed from the inputs, or its input is transposed")
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    weight = b if node.get("transB", 0) else b.T
    weight = weight if alpha == 1 else weight * np.float32(alpha)
    bias = None
    if c is not None and beta and not is_no_bias(r, node):
        rows = c.reshape(-1) if c.size > 1 else np.broadcast_to(c.reshape(-1), (weight.shape[0],))
        if c.ndim > 1 and c.shape[0] != 1:
            raise Unsupported("its bias differs between the examples of a batch")
        bias = r.weight(node.inputs[2], rows if beta == 1 else rows * np.float32(beta))
    if a.rank != 2:
        a = reshaped(r.net, a, [a.shape[0], product(a.shape[1:])], node.place)
    return affine(r, node, a, node.inputs[1], weight, bias)
