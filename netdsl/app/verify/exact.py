"""onnx's reference evaluator, with operators in NumPy where its own are wrong, in single precision or very slow.

Wrong are grouped ConvTranspose, LRN of fewer examples than channels, and GlobalMaxPool of other than two axes. Erf is
computed in single precision, and so is Gelu. MaxPool of stride 1 fails at odd paddings, Scan for reversed slices,
ScatterElements for five axes, and in onnx 1.22 Gather for indices that are not contiguous. Convolutions and pools go
element by element.
"""

from __future__ import annotations

from itertools import product
from math import erf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_scan import Scan as ForwardScan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto

    from netdsl.base.dtypes import Array

    Results = tuple[Array, ...]


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int] | None = None,
    fill: float = 0.0,
) -> Array:
    """[N, C, *S] -> [N, C, *P, *K]."""
    rank = len(kernel)
    dilations = dilations or (1,) * rank
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=fill)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    seen = sliding_window_view(x, spans, tuple(range(2, rank + 2)))
    found: Array = seen[(slice(None),) * 2 + tuple(slice(None, None, s) for s in (*strides, *dilations))]
    return found


def explicit_pads(
    auto_pad: str | None,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] | None = None,
) -> Sequence[int]:
    """Return the paddings of a window, before and then after each axis, as `auto_pad` or `pads` states them."""
    rank = len(kernel)
    if auto_pad in (None, "", "NOTSET", "VALID"):
        return (pads or (0,) * 2 * rank) if auto_pad != "VALID" else (0,) * 2 * rank
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations or (1,) * rank, strict=True)]
    both = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(sizes, strides, spans, strict=True)]
    less, more = [each // 2 for each in both], [each - each // 2 for each in both]
    return (*less, *more) if auto_pad == "SAME_UPPER" else (*more, *less)


class Conv(OpRun):
    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> Results:
        rank = w.ndim - 2
        kernel, strides = w.shape[2:], strides or (1,) * rank
        pads = explicit_pads(auto_pad, pads, x.shape[2:], kernel, strides, dilations)
        seen = windows(x, kernel, strides, pads, dilations)
        axes = (1, *range(rank + 2, 2 * rank + 2)), tuple(range(1, rank + 2))
        width, per = w.shape[1], len(w) // group
        parts = [
            np.tensordot(seen[:, g * width : (g + 1) * width], w[g * per : (g + 1) * per], axes) for g in range(group)
        ]
        y = np.moveaxis(np.concatenate(parts, -1), -1, 1)
        return (y if b is None else y + b.reshape(-1, *(1,) * rank),)


class ConvTranspose(OpRun):
    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> Results:
        if output_shape or auto_pad not in (None, "", "NOTSET"):
            raise NotImplementedError("ConvTranspose with output_shape or auto_pad")
        kernel = w.shape[2:]
        rank = len(kernel)
        strides, dilations, pads = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * 2 * rank
        more = output_padding or (0,) * rank
        sizes = [
            (n - 1) * s + (k - 1) * d + 1 + o
            for n, s, k, d, o in zip(x.shape[2:], strides, kernel, dilations, more, strict=True)
        ]
        per = len(w) // group
        y = np.zeros((len(x), w.shape[1] * group, *sizes), x.dtype)
        for tap in product(*map(range, kernel)):
            factor: Array = w.reshape(*w.shape[:2], -1)[..., np.ravel_multi_index(tap, kernel)]
            rows = [slice(g * per, (g + 1) * per) for g in range(group)]
            parts = [np.tensordot(x[:, each], factor[each], (1, 0)) for each in rows]
            at: Any = [
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilations, x.shape[2:], strides, strict=True)
            ]
            y[(..., *at)] += np.moveaxis(np.concatenate(parts, -1), -1, 1)
        cut: Any = [slice(pads[i], size - pads[rank + i]) for i, size in enumerate(sizes)]
        y = y[(..., *cut)]
        return (y if b is None else y + b.reshape(-1, *(1,) * rank),)


class MaxPool(OpRun):
    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int = 0,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        storage_order: int = 0,
        strides: Sequence[int] | None = None,
    ) -> Results:
        if ceil_mode or storage_order:
            raise NotImplementedError("MaxPool with ceil_mode or storage_order")
        rank = len(kernel_shape)
        strides = strides or (1,) * rank
        pads = explicit_pads(auto_pad, pads, x.shape[2:], kernel_shape, strides, dilations)
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        seen = windows(x, kernel_shape, strides, pads, dilations, lowest)
        y = seen.max(axis=tuple(range(-rank, 0)))
        if len(self.onnx_node.output) == 1:
            return (y,)
        places = np.arange(x.size, dtype=np.int64).reshape(x.shape)
        places = windows(places, kernel_shape, strides, pads, dilations, -1)
        first = seen.reshape(*y.shape, -1).argmax(-1)[..., None]
        return y, np.take_along_axis(places.reshape(*y.shape, -1), first, -1)[..., 0]


class AveragePool(OpRun):
    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int = 0,
        count_include_pad: int = 0,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> Results:
        if ceil_mode:
            raise NotImplementedError("AveragePool with ceil_mode")
        rank = len(kernel_shape)
        strides = strides or (1,) * rank
        pads = explicit_pads(auto_pad, pads, x.shape[2:], kernel_shape, strides, dilations)
        axes = tuple(range(-rank, 0))
        ones = np.ones_like(x[:1, :1])
        counts = windows(ones, kernel_shape, strides, pads, dilations, float(count_include_pad)).sum(axis=axes)
        return (windows(x, kernel_shape, strides, pads, dilations).sum(axis=axes) / counts,)


class GlobalMaxPool(OpRun):
    def _run(self, x: Array) -> Results:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LRN(OpRun):
    def _run(self, x: Array, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int = 1) -> Results:
        half = (size - 1) // 2
        padded = np.pad(x**2, [(0, 0), (half, size - 1 - half), *[(0, 0)] * (x.ndim - 2)])
        return (x / (bias + alpha / size * sliding_window_view(padded, size, 1).sum(axis=-1)) ** beta,)


def _erf(x: Array) -> Array:
    found: Array = np.vectorize(erf, otypes=[x.dtype])(x)
    return found


class Erf(OpRun):
    def _run(self, x: Array) -> Results:
        return (_erf(x),)


class Gelu(OpRun):
    def _run(self, x: Array, approximate: str = "none") -> Results:
        if approximate == "tanh":
            return (x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)
        return (x / 2 * (1 + _erf(x / np.sqrt(2))),)


class Gather(OpRun):
    def _run(self, x: Array, indices: Array, axis: int = 0) -> Results:
        return (np.take(x, indices, axis),)


class ScatterElements(OpRun):
    def _run(
        self, data: Array, indices: Array, updates: Array, axis: int = 0, reduction: str | None = "none"
    ) -> Results:
        y = data.copy()
        places: list[Array] = list(np.ix_(*map(np.arange, indices.shape)))
        places[axis] = indices
        if reduction == "add":
            np.add.at(y, tuple(places), updates)
        elif reduction in ("none", None):
            y[tuple(places)] = updates
        else:
            raise NotImplementedError(f"ScatterElements with the reduction {reduction}")
        return (y,)


for cls in (Conv, ConvTranspose, MaxPool, AveragePool, GlobalMaxPool, LRN, Erf, Gelu):
    cls.op_domain = ""


class Scan(ForwardScan):
    """onnx's, which turns the slices around before and after."""

    def __init__(self, onnx_node: NodeProto, run_params: dict[str, Any]) -> None:
        node = NodeProto()
        node.CopyFrom(onnx_node)
        turned = [each for each in node.attribute if each.name.endswith("_directions")]
        if len({direction for each in turned for direction in each.ints}) > 1:
            raise NotImplementedError("Scan in both directions")
        for each in turned:
            node.attribute.remove(each)
        self.turned = any(direction for each in turned for direction in each.ints)
        super().__init__(node, run_params)  # type: ignore[no-untyped-call]

    def _run(self, *args: Array, **options: Any) -> Results:
        states = len(args) - self.num_scan_inputs  # type: ignore[attr-defined]
        if self.turned:
            args = (*args[:states], *(x[::-1] for x in args[states:]))
        results: Results = super()._run(*args, **options)  # type: ignore[no-untyped-call]
        return (*results[:states], *(y[::-1] for y in results[states:])) if self.turned else results


NEW_OPS: list[type[Any]] = [
    Conv,
    ConvTranspose,
    MaxPool,
    AveragePool,
    GlobalMaxPool,
    LRN,
    Erf,
    Gelu,
    Gather,
    ScatterElements,
    Scan,
]


def evaluator(model: ModelProto | str) -> ReferenceEvaluator:
    """Return what runs a model, or the model of a file, as onnx's ReferenceEvaluator does."""
    return ReferenceEvaluator(model, new_ops=NEW_OPS)
