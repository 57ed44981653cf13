"""The reference evaluator of `verify`, in float64, with more operators written anew from the oracles.

onnx's own lacks directions and lengths of recurrent layers, and computes the scales of Resize in single precision.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from netdsl.app.verify import exact
from netdsl.app.verify.exact import Gather as Gather
from tests.support import oracles
from tests.support.oracles import grid_sample, resize


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


NEW_OPS = [*exact.NEW_OPS, LSTM, GRU, RNN, Resize, GridSample, MaxUnpool]


def evaluator(model):
    """Runs a model, which may be bytes, as onnx's ReferenceEvaluator does."""
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
    return ReferenceEvaluator(model, new_ops=NEW_OPS)
