"""onnx's reference in float64, with what it has wrong, in single precision or very slow written anew in numpy.

Wrong are grouped ConvTranspose, LRN of fewer examples than channels, and GlobalMaxPool of other than two axes; Erf is
computed in single precision, as are Gelu and the scales of Resize; MaxPool of stride 1 fails at odd paddings;
convolutions and pools go element by element.
In onnx 1.22, Gather fails for indices that are not contiguous, and ScatterElements for five axes.
"""

from __future__ import annotations

from math import erf

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_scan import Scan as ForwardScan

from tests.support import oracles
from tests.support.oracles import grid_sample, resize


def windows(x, kernel, strides, pads, dilations=None, fill=0.0):
    """[N, C, *S] -> [N, C, *P, *K]."""
    rank = len(kernel)
    dilations = dilations or (1,) * rank
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=fill)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    seen = sliding_window_view(x, spans, tuple(range(2, rank + 2)))
    return seen[(slice(None),) * 2 + tuple(slice(None, None, s) for s in (*strides, *dilations))]


class Conv(OpRun):
    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
        rank = w.ndim - 2
        seen = windows(x, w.shape[2:], strides or (1,) * rank, pads or (0,) * 2 * rank, dilations)
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
        x,
        w,
        b=None,
        auto_pad=None,
        dilations=None,
        group=1,
        kernel_shape=None,
        output_padding=None,
        output_shape=None,
        pads=None,
        strides=None,
    ):
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
        for tap in np.ndindex(*kernel):
            parts = [
                np.tensordot(
                    x[:, g * per : (g + 1) * per], w[(slice(g * per, (g + 1) * per), slice(None), *tap)], (1, 0)
                )
                for g in range(group)
            ]
            at = [
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilations, x.shape[2:], strides, strict=True)
            ]
            y[(..., *at)] += np.moveaxis(np.concatenate(parts, -1), -1, 1)
        y = y[(..., *(slice(pads[i], size - pads[rank + i]) for i, size in enumerate(sizes)))]
        return (y if b is None else y + b.reshape(-1, *(1,) * rank),)


class MaxPool(OpRun):
    def _run(
        self, x, auto_pad=None, ceil_mode=0, dilations=None, kernel_shape=None, pads=None, storage_order=0, strides=None
    ):
        rank = len(kernel_shape)
        seen = windows(x, kernel_shape, strides or (1,) * rank, pads or (0,) * 2 * rank, dilations, -np.inf)
        y = seen.max(axis=tuple(range(-rank, 0)))
        if len(self.onnx_node.output) == 1:
            return (y,)
        places = np.arange(x.size, dtype=np.int64).reshape(x.shape)
        places = windows(places, kernel_shape, strides or (1,) * rank, pads or (0,) * 2 * rank, dilations, -1)
        first = seen.reshape(*y.shape, -1).argmax(-1)[..., None]
        return y, np.take_along_axis(places.reshape(*y.shape, -1), first, -1)[..., 0]


class AveragePool(OpRun):
    def _run(
        self,
        x,
        auto_pad=None,
        ceil_mode=0,
        count_include_pad=0,
        dilations=None,
        kernel_shape=None,
        pads=None,
        strides=None,
    ):
        rank = len(kernel_shape)
        given = kernel_shape, strides or (1,) * rank, pads or (0,) * 2 * rank
        axes = tuple(range(-rank, 0))
        counts = windows(np.ones_like(x), *given, fill=float(count_include_pad)).sum(axis=axes)
        return (windows(x, *given).sum(axis=axes) / counts,)


class GlobalMaxPool(OpRun):
    def _run(self, x):
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LRN(OpRun):
    def _run(self, x, alpha=1e-4, beta=0.75, bias=1.0, size=None):
        half = (size - 1) // 2
        padded = np.pad(x**2, [(0, 0), (half, size - 1 - half), (0, 0), (0, 0)])
        return (x / (bias + alpha / size * sliding_window_view(padded, size, 1).sum(axis=-1)) ** beta,)


class Erf(OpRun):
    def _run(self, x):
        return (np.vectorize(erf, otypes=[x.dtype])(x),)


class Gelu(OpRun):
    def _run(self, x, approximate="none"):
        if approximate == "tanh":
            return (x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)
        return (x / 2 * (1 + np.vectorize(erf, otypes=[x.dtype])(x / np.sqrt(2))),)


for cls in (Conv, ConvTranspose, MaxPool, AveragePool, GlobalMaxPool, LRN, Erf, Gelu):
    cls.op_domain = ""


class Resize(OpRun):
    def _run(
        self,
        x,
        roi=None,
        scales=None,
        sizes=None,
        antialias=None,
        axes=None,
        coordinate_transformation_mode=None,
        cubic_coeff_a=None,
        exclude_outside=None,
        extrapolation_value=None,
        keep_aspect_ratio_policy=None,
        mode=None,
        nearest_mode=None,
    ):
        many = sizes[2:] if sizes is not None else (np.array(x.shape) * scales).astype(int)[2:]
        mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        return (resize(x, many, mode, coordinate_transformation_mode),)


class MaxUnpool(OpRun):
    def _run(self, x, indices, shape=None, kernel_shape=None, pads=None, strides=None):
        if shape is None:
            shape = (*x.shape[:2], *(n * k for n, k in zip(x.shape[2:], kernel_shape, strict=True)))
        y = np.zeros(shape, x.dtype)
        y.reshape(-1)[indices.reshape(-1)] = x.reshape(-1)
        return (y,)


class GridSample(OpRun):
    def _run(self, x, grid, align_corners=None, mode=None, padding_mode=None):
        assert mode in ("bilinear", "linear"), mode
        y = grid_sample(x, np.moveaxis(grid, 3, 1), padding_mode == "border", bool(align_corners))
        return (y.astype(x.dtype),)


class Gather(OpRun):
    def _run(self, x, indices, axis=0):
        return (np.take(x, indices, axis),)


class ScatterElements(OpRun):
    def _run(self, data, indices, updates, axis=0, reduction="none"):
        y = data.copy()
        places = list(np.ix_(*map(np.arange, indices.shape)))
        places[axis] = indices
        if reduction == "add":
            np.add.at(y, tuple(places), updates)
        else:
            assert reduction == "none", reduction
            y[tuple(places)] = updates
        return (y,)


class Scan(ForwardScan):
    """onnx's, with the slices turned around before and behind it."""

    def __init__(self, onnx_node, run_params):
        node = NodeProto()
        node.CopyFrom(onnx_node)
        turned = [each for each in node.attribute if each.name.endswith("_directions")]
        for each in turned:
            node.attribute.remove(each)
        self.turned = bool(turned)
        super().__init__(node, run_params)

    def _run(self, *args, **options):
        states = len(args) - self.num_scan_inputs
        if self.turned:
            args = (*args[:states], *(x[::-1] for x in args[states:]))
        results = super()._run(*args, **options)
        return (*results[:states], *(y[::-1] for y in results[states:])) if self.turned else results


class Recurrence(OpRun):
    cell, order = "", ()

    def _run(
        self,
        x,
        w,
        r,
        b=None,
        lengths=None,
        *states,
        activations=None,
        direction=None,
        hidden_size=None,
        linear_before_reset=None,
        **_,
    ):
        cell = "rnn_relu" if activations and activations[0] == "Relu" else self.cell
        rows = np.concatenate([np.arange(hidden_size) + at * hidden_size for at in self.order])
        b = np.zeros((len(w), 2 * w.shape[1])) if b is None else b
        found = []
        for d in range(len(w)):
            biases = (part[rows] for part in np.split(b[d], 2))
            initial = [each[d] for each in states]
            found.append(oracles.recurrent(cell, x, w[d][rows], r[d][rows], *biases, lengths, initial, reverse=d == 1))
        y, *last = (np.stack(each) for each in zip(*found, strict=True))
        return np.moveaxis(y, 0, 1), *last


class LSTM(Recurrence):
    cell, order = "lstm", (0, 2, 3, 1)


class GRU(Recurrence):
    cell, order = "gru", (1, 0, 2)


class RNN(Recurrence):
    cell, order = "rnn", (0,)


NEW_OPS = [
    LSTM,
    GRU,
    RNN,
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
    Resize,
    GridSample,
    MaxUnpool,
    Scan,
]


def evaluator(model):
    """Runs a model, which may be bytes, as onnx's ReferenceEvaluator does."""
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
    return ReferenceEvaluator(model, new_ops=NEW_OPS)
