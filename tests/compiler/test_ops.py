"""Every op at every opset: the inferred shape and the value are held against onnxruntime and against numpy formulas."""

from __future__ import annotations

import pkgutil
from functools import cache
from math import erf, prod

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from netdsl import ops
from netdsl.backend.emit import OPSETS, check, emit
from netdsl.backend.serialize import to_bytes
from netdsl.base.shape import Size, Undecidable
from netdsl.ir.graph import Graph
from netdsl.ir.op import Macro
from netdsl.lower import cost
from netdsl.ops import api
from netdsl.ops.attending import Attention
from netdsl.ops.batch_training import BnTrain
from netdsl.ops.convolution import Conv, ConvTranspose
from netdsl.ops.linear import Gemm, MatMul
from netdsl.ops.normalization import LnTrain
from netdsl.ops.recurrence import Recurrent
from netdsl.passes.rewrite import expand_macros
from tests.support import oracles
from tests.support.exact import evaluator

N, H, W = Size("N"), Size("H"), Size("W")
X = (N, 4, 5, 6)


def f32(x):
    """Convert a value to float."""
    return ops.cast(x, "f32")


def turned(x, heads, frequencies):
    """Rotations of channels i and i + r/2 of each head, as complex numbers."""
    z, half = x.reshape(*x.shape[:2], heads, -1), len(frequencies)
    angle = np.arange(x.shape[1])[:, None, None] * frequencies
    y = (z[..., :half] + 1j * z[..., half : 2 * half]) * np.exp(1j * angle)
    return np.concatenate([y.real, y.imag, z[..., 2 * half :]], -1).reshape(x.shape)


def unsigned(x):
    return ops.cast(ops.abs(ops.mul(x, 1000)), "u32")


def decay(s, x, y, a):
    """A step that changes its state, and returns a result with the state before."""
    after = ops.add(ops.mul(s, a, 0.5), ops.mul(x, y))
    return [after], [ops.tanh(after), s]


def decayed(s, x, y, a, step):
    """The last state, and the results at their places, of `decay` over rows in steps of 1 or -1."""
    results, before = np.zeros_like(x), np.zeros_like(x)
    for i in range(len(x))[::step]:
        before[i] = s
        s = s * a * 0.5 + x[i] * y[i]
        results[i] = np.tanh(s)
    return s, results, before


RECURRENCES = {
    "": (1, {}),
    "_without_bias": (1, {"bias": False}),
    "_both_ways": (2, {}),
    "_from_a_state": (1, {"initial": True}),
    "_of_lengths": (1, {"lengths": True}),
    "_all": (2, {"lengths": True, "initial": True}),
}
"""Numbers of directions, and what a recurrence has."""


def recurrent(cell, xs, directions, options, part):
    x, weights, lengths, states = oracles.split_inputs(xs, directions, **options)
    lengths = lengths and ops.cast(ops.abs(ops.mul(lengths, 2)), "i64")
    y, last = ops.recurrent(cell, x, weights, lengths, states)
    return [y, *last][part]


def recurrent_oracle(cell, xs, directions, options, part):
    x, weights, lengths, states = oracles.split_inputs(xs, directions, **options)
    lengths = None if lengths is None else np.abs(lengths * 2).astype(int)
    return oracles.recurrent_layer(cell, x, weights, lengths, states)[part]


# name: inputs' shapes (a leading N is the batch), the op, the oracle.
CASES = {
    **{
        name: ([X], function, oracle)
        for name, function, oracle in [
            ("identity", ops.identity, lambda x: x),
            ("abs", ops.abs, np.abs),
            ("neg", ops.neg, lambda x: -x),
            ("sign", ops.sign, np.sign),
            ("exp", ops.exp, np.exp),
            ("sin", ops.sin, np.sin),
            ("cos", ops.cos, np.cos),
            ("erf", ops.erf, np.vectorize(erf)),
            ("relu", ops.relu, lambda x: np.where(x > 0, x, 0)),
            ("sigmoid", ops.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
            ("tanh", ops.tanh, np.tanh),
            ("softplus", ops.softplus, lambda x: np.log1p(np.exp(x))),
            ("silu_training", ops.silu_training, lambda x: x / (1 + np.exp(-x))),
            ("sqrt", lambda x: ops.sqrt(ops.abs(x)), lambda x: np.abs(x) ** 0.5),
            ("log", lambda x: ops.log(ops.abs(x)), lambda x: np.log(np.abs(x))),
            ("reciprocal", ops.reciprocal, lambda x: 1 / x),
            ("power", lambda x: ops.power(ops.abs(x), 1.7), lambda x: np.abs(x) ** 1.7),
            ("square", lambda x: ops.power(x, 2), lambda x: x * x),
            ("arg_max", lambda x: f32(ops.arg_max(x, 2)), lambda x: x.argmax(2)),
            ("arg_max_kept", lambda x: f32(ops.arg_max(x, -1, True)), lambda x: x.argmax(3)[..., None]),
            (
                "arg_max_of_equals",
                lambda x: f32(ops.arg_max(f32(ops.greater(x, 0)), 1)),
                lambda x: (x > 0).argmax(1),
            ),
            ("greater", lambda x: f32(ops.greater(x, 0.3)), lambda x: x > 0.3),
            ("equal", lambda x: f32(ops.equal(ops.relu(x), 0)), lambda x: x <= 0),
            ("greater_or_equal", lambda x: f32(ops.greater_or_equal(ops.relu(x), 0)), lambda x: x == x),
            (
                "logical_and",
                lambda x: f32(ops.logical_and(ops.greater(x, -1), ops.greater(1, x))),
                lambda x: np.abs(x) < 1,
            ),
            (
                "logical_or",
                lambda x: f32(ops.logical_or(ops.greater(x, 1), ops.greater(-1, x))),
                lambda x: np.abs(x) > 1,
            ),
            ("logical_not", lambda x: f32(ops.logical_not(ops.greater(x, 1))), lambda x: x <= 1),
            ("is_nan", lambda x: f32(ops.is_nan(ops.sqrt(x))), lambda x: x < 0),
            ("is_infinite", lambda x: f32(ops.is_infinite(ops.div(x, ops.relu(x)))), lambda x: x <= 0),
            ("is_finite", lambda x: f32(ops.is_finite(ops.add(ops.log(x), ops.div(1, x)))), lambda x: x > 0),
            ("where", lambda x: ops.where(ops.greater(x, 0), x, 7), lambda x: np.where(x > 0, x, 7)),
            ("expand", lambda x: ops.expand(ops.constant(x.graph, [1.0, 2.0]), (3, 2)), lambda _: [[1, 2]] * 3),
            (
                "shift_right",
                lambda x: f32(ops.shift_right(unsigned(x), 3)),
                lambda x: np.abs(x * 1000).astype(np.uint32) >> 3,
            ),
            (
                "bit_xor",
                lambda x: f32(ops.bit_xor(unsigned(x), 0xABCDEF12)),
                lambda x: np.abs(x * 1000).astype(np.uint32) ^ np.uint32(0xABCDEF12),
            ),
            ("range", lambda x: f32(ops.counter(x.graph, 7)), lambda _: np.arange(7)),
            ("zeros", lambda x: ops.zeros(x.graph, (2, 3)), lambda _: np.zeros((2, 3))),
            (
                "one_hot",
                lambda x: ops.one_hot(ops.arg_max(x, 1), 6),
                lambda x: np.eye(6)[x.argmax(1)],
            ),
            (
                "one_hot_channels",
                lambda x: ops.one_hot(ops.arg_max(x, 1), 4, 1),
                lambda x: np.moveaxis(np.eye(4)[x.argmax(1)], -1, 1),
            ),
            ("leaky_relu", lambda x: ops.leaky_relu(x, 0.2), lambda x: np.where(x < 0, 0.2 * x, x)),
            ("elu", lambda x: ops.elu(x, 1.5), lambda x: np.where(x < 0, 1.5 * (np.exp(x) - 1), x)),
            ("selu", ops.selu, lambda x: 1.05070099 * np.where(x < 0, 1.67326324 * (np.exp(x) - 1), x)),
            ("hard_sigmoid", ops.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
            ("clip", lambda x: ops.clip(x, -0.5, 1), lambda x: np.clip(x, -0.5, 1)),
            ("clip_below", lambda x: ops.clip(x, 0.25), lambda x: np.maximum(x, 0.25)),
            ("clip_above", lambda x: ops.clip(x, high=0.25), lambda x: np.minimum(x, 0.25)),
            ("cast", lambda x: ops.cast(ops.cast(x, "i64"), "f32"), np.trunc),
            ("softmax", ops.softmax, lambda x: oracles.softmax(x, 1)),
            ("softmax_last", lambda x: ops.softmax(x, -1), lambda x: oracles.softmax(x, -1)),
            ("log_softmax", ops.log_softmax, lambda x: np.log(oracles.softmax(x, 1))),
            ("number_right", lambda x: ops.sub(ops.mul(x, 2), 1), lambda x: 2 * x - 1),
            ("number_left", lambda x: ops.div(1, ops.add(3, ops.abs(x))), lambda x: 1 / (3 + np.abs(x))),
            ("add_one", ops.add, lambda x: x),
            ("maximum_number", lambda x: ops.maximum(x, 0.5), lambda x: np.maximum(x, 0.5)),
            ("flatten", ops.flatten, lambda x: x.reshape(len(x), -1)),
            ("reshape", lambda x: ops.reshape(x, (10, 12)), lambda x: x.reshape(-1, 10, 12)),
            ("transpose", lambda x: ops.transpose(x, (0, 2, 3, 1)), lambda x: np.moveaxis(x, 1, 3)),
            ("gather", lambda x: ops.gather(x, [2, 0, 2], 1), lambda x: x[:, [2, 0, 2]]),
            ("slice", lambda x: ops.slice(x, (1, 3), (1, -4), (3, None)), lambda x: x[:, 1:3, :, -4:]),
            ("slice_steps", lambda x: ops.slice(x, (3,), (1,), (None,), (2,)), lambda x: x[..., 1::2]),
            ("slice_beyond", lambda x: ops.slice(x, (2,), (3,), (99,)), lambda x: x[:, :, 3:]),
            (
                "pad",
                lambda x: ops.pad(x, (1, 0, 2, 3), 0.5),
                lambda x: np.pad(x, [(0, 0)] * 2 + [(1, 2), (0, 3)], constant_values=0.5),
            ),
            *(
                (
                    f"pad_{mode}",
                    lambda x, mode=mode: ops.pad(x, (1, 0, 2, 3), mode=mode),
                    lambda x, mode=mode: np.pad(x, [(0, 0)] * 2 + [(1, 2), (0, 3)], mode),
                )
                for mode in ("reflect", "edge", "wrap")
            ),
            (
                "pad_channels",
                lambda x: ops.pad(x, (1, 0, 0, 2, 0, 0)),
                lambda x: np.pad(x, [(0, 0), (1, 2), (0, 0), (0, 0)]),
            ),
            ("reduce_mean", lambda x: ops.reduce_mean(x, (1,)), lambda x: x.mean(axis=1, keepdims=True)),
            ("reduce_max", lambda x: ops.reduce_max(x, (2, -1)), lambda x: x.max(axis=(2, 3), keepdims=True)),
            ("reduce_sum", lambda x: ops.reduce_sum(x, (1, 2), keepdims=False), lambda x: x.sum(axis=(1, 2))),
            ("reduce_mean_gone", lambda x: ops.reduce_mean(x, (-1,), False), lambda x: x.mean(axis=-1)),
            ("global_average_pool", ops.global_average_pool, lambda x: x.mean(axis=(2, 3), keepdims=True)),
            ("global_max_pool", ops.global_max_pool, lambda x: x.max(axis=(2, 3), keepdims=True)),
            ("lrn", lambda x: ops.lrn(x, 3, 0.5, 0.75, 2), lambda x: oracles.lrn(x, 3, 0.5, 0.75, 2)),
            (
                "max_pool",
                lambda x: ops.max_pool(x, (2, 3), (2, 1)),
                lambda x: oracles.pool(x, (2, 3), (2, 1), (0,) * 4, np.max),
            ),
            (
                "max_pool_pads",
                lambda x: ops.max_pool(ops.sub(x, 9), (3, 3), (2, 2), (1, 1, 0, 1), extra=(1, 0)),
                lambda x: oracles.pool(x - 9, (3, 3), (2, 2), (1, 1, 1, 1), np.max, -np.inf),
            ),
            (
                "average_pool",
                lambda x: ops.average_pool(x, (3, 2), (2, 1), (1, 0, 1, 1)),
                lambda x: oracles.pool(x, (3, 2), (2, 1), (1, 0, 1, 1), np.nanmean, np.nan),
            ),
            (
                "average_pool_counts_pads",
                lambda x: ops.average_pool(x, (3, 2), (2, 1), (1, 0, 1, 1), count_include_pad=True),
                lambda x: oracles.pool(x, (3, 2), (2, 1), (1, 0, 1, 1), np.mean),
            ),
            (
                "average_pool_ceil",
                lambda x: ops.average_pool(x, (2, 3), (2, 3), extra=(1, 0)),
                lambda x: oracles.pool(x, (2, 3), (2, 3), (0, 0, 1, 0), np.nanmean, np.nan),
            ),
            (
                "average_pool_ceil_counts_pads",
                lambda x: ops.average_pool(x, (4, 3), (3, 2), (1, 1, 1, 1), count_include_pad=True, extra=(0, 1)),
                lambda x: oracles.average_of_pads(x, (4, 3), (3, 2), (1, 1, 1, 1), (0, 1)),
            ),
            (
                "average_pool_ceil_counts_no_pads",
                lambda x: ops.average_pool(x, (2, 3), (2, 3), (0, 0, 0, 0), count_include_pad=True, extra=(1, 0)),
                lambda x: oracles.average_of_pads(x, (2, 3), (2, 3), (0, 0, 0, 0), (1, 0)),
            ),
        ]
    },
    "add": ([X, X], ops.add, lambda a, b: a + b),
    "add_three": ([X, X, X], ops.add, lambda a, b, c: a + b + c),
    "sub": ([X, X, X], ops.sub, lambda a, b, c: a - b - c),
    "mul": ([X, X, X], ops.mul, lambda a, b, c: a * b * c),
    "mul_spreads": ([X, (N, 4, 1, 1)], ops.mul, lambda a, b: a * b),
    "mul_spreads_left": ([(N, 1, 5, 1), X], ops.mul, lambda a, b: a * b),
    "mul_of_ranks": ([X, (4, 1, 1)], ops.mul, lambda a, b: a * b),
    "div": ([X, X], lambda a, b: ops.div(a, ops.exp(b)), lambda a, b: a / np.exp(b)),
    "maximum": ([X, X, X], ops.maximum, lambda *xs: np.max(xs, axis=0)),
    "minimum": ([X, X], ops.minimum, np.minimum),
    "concat": ([X, (N, 2, 5, 6)], lambda *xs: ops.concat(xs), lambda *xs: np.concatenate(xs, 1)),
    "concat_last": ([X, X, X], lambda *xs: ops.concat(xs, -1), lambda *xs: np.concatenate(xs, -1)),
    "prelu": ([X, (4, 1, 1)], ops.prelu, lambda x, s: np.where(x < 0, x * s, x)),
    "softsign": ([X], ops.softsign, lambda x: x / (1 + np.abs(x))),
    "shrink": (
        [X],
        lambda x: ops.shrink(x, 0.4, 0.1),
        lambda x: np.where(x > 0.4, x - 0.1, np.where(x < -0.4, x + 0.1, 0)),
    ),
    "gelu": ([X], ops.gelu, lambda x: x * (1 + np.vectorize(erf)(x / 2**0.5)) / 2),
    "gelu_tanh": (
        [X],
        lambda x: ops.gelu(x, tanh=True),
        lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    ),
    "gelu_training": ([X], ops.gelu_training, lambda x: x * (1 + np.vectorize(erf)(x / 2**0.5)) / 2),
    "gelu_tanh_training": (
        [X],
        lambda x: ops.gelu_training(x, tanh=True),
        lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    ),
    "rms_norm": (
        [X, (6,)],
        lambda x, w: ops.rms_norm(x, w, 0.1),
        lambda x, w: x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 0.1) * w,
    ),
    "gemm": ([(N, 7), (7, 3)], ops.gemm, lambda x, w: x @ w),
    "gemm_trans_a": (
        [(7, 2), (7, 3), (2, 3)],
        lambda x, w, b: ops.gemm(x, w, b, trans_a=True),
        lambda x, w, b: x.T @ w + b,
    ),
    "scatter_add": (
        [(3, 5), (3, 4)],
        lambda x, u: ops.scatter_add(x, ops.constant(x.graph, [0, 1, 1, 4] * 3, "i64", (3, 4)), u, 1),
        lambda x, u: x + u @ np.eye(5)[[0, 1, 1, 4]],
    ),
    "matmul": ([(N, 1, 4, 5), (3, 5, 2)], ops.matmul, lambda a, b: a @ b),
    "gemm_trans_b": (
        [(N, 7), (3, 7), (3,)],
        lambda x, w, b: ops.gemm(x, w, b, trans_b=True),
        lambda x, w, b: x @ w.T + b,
    ),
    "reshape_weight": (
        [X, (4,)],
        lambda x, b: ops.add(x, ops.reshape(b, (4, 1, 1), batch=False)),
        lambda x, b: x + oracles.per_channel(b),
    ),
    "batch_norm": (
        [X, (4,), (4,), (4,), (4,)],
        lambda x, s, b, m, v: ops.batch_norm(x, s, b, m, ops.exp(v), 1e-3),
        lambda x, s, b, m, v: (
            oracles.per_channel(s) * (x - oracles.per_channel(m)) / np.sqrt(oracles.per_channel(np.exp(v)) + 1e-3)
            + oracles.per_channel(b)
        ),
    ),
    **{
        f"batch_norm_training_{name}": (
            [(2, 4, 3, 5), (4,), (4,)],
            lambda x, s, b, i=i: BnTrain(1e-3).expand(x, s, b)[i],
            oracle,
        )
        for i, (name, oracle) in enumerate(
            {
                "y": lambda x, s, b: (
                    oracles.standard(x, (0, 2, 3), 1e-3) * oracles.per_channel(s) + oracles.per_channel(b)
                ),
                "mean": lambda x, *_: x.mean((0, 2, 3)),
                "var": lambda x, *_: x.var((0, 2, 3)),
            }.items()
        )
    },
    "instance_norm": (
        [X, (4,), (4,)],
        lambda x, s, b: ops.instance_norm(x, s, b, 1e-3),
        lambda x, s, b: oracles.standard(x, (2, 3), 1e-3) * oracles.per_channel(s) + oracles.per_channel(b),
    ),
    "layer_norm": (
        [X, (6,), (6,)],
        lambda x, s, b: ops.layer_norm(x, s, b, 1e-3),
        lambda x, s, b: oracles.standard(x, (3,), 1e-3) * s + b,
    ),
    **{
        f"layer_norm_training_{name}": (
            [X, (6,), (6,)],
            lambda x, s, b, i=i: LnTrain(1e-3).expand(x, s, b)[i],
            oracle,
        )
        for i, (name, oracle) in enumerate(
            {
                "y": lambda x, s, b: oracles.standard(x, (3,), 1e-3) * s + b,
                "mean": lambda x, *_: x.mean(3, keepdims=True),
                "inverse": lambda x, *_: (x.var(3, keepdims=True) + 1e-3) ** -0.5,
            }.items()
        )
    },
    "resize": ([X], lambda x: ops.resize(x, (2, 3)), lambda x: x.repeat(2, 2).repeat(3, 3)),
    "resize1d": (
        [(N, 2, W)],
        lambda x: ops.resize(x, (3,), linear=True),
        lambda x: oracles.upsample(x, (3,), corners=False),
    ),
    "resize2d": (
        [(N, 3, H, W)],
        lambda x: ops.resize(x, (2, 3), linear=True),
        lambda x: oracles.upsample(x, (2, 3), corners=False),
    ),
    "resize3d_corners": (
        [(N, 2, 2, 3, 4)],
        lambda x: ops.resize(x, (2, 1, 3), linear=True, corners=True),
        lambda x: oracles.upsample(x, (2, 1, 3), corners=True),
    ),
    **{
        f"resize_to_{mode}_{where}": (
            [(N, 2, H, W)],
            lambda x, mode=mode, where=where: ops.resize_to(x, (4, 9), mode=mode, where=where),
            lambda x, mode=mode, where=where: oracles.resize(
                x, (4, 9), {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode), where
            ),
        )
        for mode in ("nearest", "nearest_exact", "linear", "cubic")
        for where in ("half_pixel", "align_corners", "asymmetric")
    },
    "spread": ([(1, 3), (N, 2)], lambda a, x: ops.spread(a, x)[0], lambda a, x: a.repeat(len(x), 0)),
    "attention": (
        [(N, 3, 8), (N, 5, 4), (N, 5, 6)],
        lambda *xs: ops.attention(*xs, 4, 2, 0.5),
        lambda q, k, v: np.concatenate(
            [
                oracles.softmax(q[..., 2 * h : 2 * h + 2] @ k[..., g : g + 2].swapaxes(1, 2) / 2, -1)
                @ v[..., 3 * (g // 2) : 3 * (g // 2) + 3]
                for h, g in ((0, 0), (1, 0), (2, 2), (3, 2))
            ],
            -1,
        ),
    ),
    "rotate": (
        [(N, H, 18)],
        lambda x: ops.rotate(x, ops.reshape(ops.places(x, 1), (1, H), batch=False), 3, (1.0, 0.3)),
        lambda x: turned(x, 3, np.array([1, 0.3])),
    ),
    "shape_of": ([(N, 2, H, W)], lambda x: f32(ops.shape_of(x, 1, 4)), lambda x: np.array(x.shape[1:])),
    "space_to_depth": (
        [(N, 3, 2 * H, 4)],
        lambda x: ops.space_to_depth(x, 2),
        lambda x: oracles.digits_exchanged(oracles.pixel_unshuffle(x, 2), 3),
    ),
    "top_k": ([X], lambda x: ops.top_k(x, 3, 2)[0], lambda x: -np.sort(-x, 2)[:, :, :3]),
    "top_k_indices": ([X], lambda x: f32(ops.top_k(x, 3, 2)[1]), lambda x: np.argsort(-x, 2)[:, :, :3]),
    "count_to": ([X], lambda x: f32(ops.count_to(ops.shape_of(x, 0, 1), N)), lambda x: np.arange(len(x))),
    "depth_to_space": (
        [(N, 12, H, W)],
        lambda x: ops.depth_to_space(x, 2),
        lambda x: oracles.pixel_shuffle(x, 2),
    ),
    "conv1d": (
        [(N, 2, 9), (3, 2, 3)],
        lambda x, w: ops.conv(x, w, pads=(2, 0), dilations=(2,)),
        lambda x, w: oracles.conv(x, w, None, (1,), (2, 0), (2,), 1),
    ),
    "conv2d": (
        [X, (6, 2, 3, 2), (6,)],
        lambda x, w, b: ops.conv(x, w, b, strides=(2, 1), pads=(1, 0, 2, 1), group=2),
        lambda x, w, b: oracles.conv(x, w, b, (2, 1), (1, 0, 2, 1), (1, 1), 2),
    ),
    "conv3d": (
        [(N, 1, 3, 4, 3), (2, 1, 2, 2, 2)],
        ops.conv,
        lambda x, w: oracles.conv(x, w, None, (1,) * 3, (0,) * 6, (1,) * 3, 1),
    ),
    "conv_depthwise": (
        [X, (4, 1, 3, 3)],
        lambda x, w: ops.conv(x, w, group=4),
        lambda x, w: oracles.conv(x, w, None, (1, 1), (0,) * 4, (1, 1), 4),
    ),
    "conv_of_any_size": (
        [(N, 2, H, W), (3, 2, 3, 3)],
        lambda x, w: ops.conv(x, w, strides=(2, 3), pads=(1, 0, 1, 0)),
        lambda x, w: oracles.conv(x, w, None, (2, 3), (1, 0, 1, 0), (1, 1), 1),
    ),
    "pool_of_any_size": (
        [(N, 2, H, W)],
        lambda x: ops.max_pool(x, (2, 2), (2, 2)),
        lambda x: oracles.pool(x, (2, 2), (2, 2), (0,) * 4, np.max),
    ),
    "slice_of_any_size": (
        [(N, 2, H, W)],
        lambda x: ops.slice(x, (2, 3), (1, -2), (-1, None)),
        lambda x: x[:, :, 1:-1, -2:],
    ),
    "consecutive": ([(N, 2, H)], lambda x: ops.consecutive(x, 2, 1, 3), lambda x: x[:, :, 1:4]),
    "consecutive_from_the_end": ([(N, 2, H)], lambda x: ops.consecutive(x, 2, -3, 2), lambda x: x[:, :, -3:-1]),
    "pad_of_any_size": (
        [(N, 2, H, 3)],
        lambda x: ops.pad(x, (1, 0, 2, 0)),
        lambda x: np.pad(x, [(0, 0)] * 2 + [(1, 2), (0, 0)]),
    ),
    "concat_of_any_sizes": (
        [(N, 2, H), (N, 2, W)],
        lambda *xs: ops.concat(xs, 2),
        lambda *xs: np.concatenate(xs, 2),
    ),
    "concat_of_any_size": ([(N, 2, H), (N, 2, 3)], lambda *xs: ops.concat(xs, 2), lambda *xs: np.concatenate(xs, 2)),
    "flatten_of_any_size": ([(N, 2, H, 3)], ops.flatten, lambda x: x.reshape(len(x), -1)),
    "reshape_keeps_sizes": ([(N, 6, H)], lambda x: ops.reshape(x, (3, 2, H)), lambda x: x.reshape(len(x), 3, 2, -1)),
    **{
        f"{cell}{name}_{part}": (
            oracles.recurrent_inputs(cell, (H, N, 3), count, **options),
            lambda *xs, how=(cell, count, options, i): recurrent(how[0], xs, *how[1:]),
            lambda *xs, how=(cell, count, options, i): recurrent_oracle(how[0], xs, *how[1:]),
        )
        for cell in oracles.GATES
        for name, (count, options) in RECURRENCES.items()
        for i, part in enumerate(["y", "h", "c"][: 2 + (cell == "lstm")])
    },
    "split": ([X], lambda x: ops.split(x, (1, 4), 2)[1], lambda x: x[:, :, 1:]),
    "split_of_any_size": ([(N, 4, H)], lambda x: ops.split(x, (3, 1))[0], lambda x: x[:, :3]),
    **{
        f"scan{name}_{part}": (
            [(4,), (N, 4), (N, 1), (4,)],
            lambda s, x, y, a, i=i, options=options: ops.scan(decay, [s], [x, y], [a], **options)[i],
            lambda s, x, y, a, i=i, step=step: decayed(s, x, y, a, step)[i],
        )
        for name, options, step in [("", {}, 1), ("_reverse", {"reverse": True}, -1)]
        for i, part in enumerate(("state", "slices", "copies"))
    },
    "conv_transpose": (
        [(N, 4, 3, 2), (4, 3, 3, 2), (6,)],
        lambda x, w, b: ops.conv_transpose(x, w, b, strides=(2, 3), pads=(1, 0, 0, 1), output_padding=(1, 0), group=2),
        lambda x, w, b: oracles.conv_transpose(x, w, (2, 3), (1, 0, 0, 1), (1, 0), (1, 1), 2) + oracles.per_channel(b),
    ),
    "conv_transpose1d": (
        [(N, 2, H), (2, 3, 3)],
        lambda x, w: ops.conv_transpose(x, w, dilations=(2,)),
        lambda x, w: oracles.conv_transpose(x, w, (1,), (0, 0), (0,), (2,), 1),
    ),
    **{
        f"grid_sample_{padding}{corners}": (
            [(N, 3, H, 5), (N, 4, W, 2)],
            lambda x, g, padding=padding, corners=corners: ops.grid_sample(x, g, padding, corners),
            lambda x, g, padding=padding, corners=corners: oracles.grid_sample(
                x, np.moveaxis(g, 3, 1), padding == "border", corners
            ),
        )
        for padding in ("zeros", "border")
        for corners in (False, True)
    },
    **{
        f"roi_align_{aligned}": (
            [(N, 3, H, 5), (N, 4, 6)],
            lambda x, b, aligned=aligned: ops.roi_align(x, ops.mul(b, 4), (2, 3), 2, 0.5, aligned),
            lambda x, b, aligned=aligned: oracles.roi_align(x, b * 4, (2, 3), 2, 0.5, aligned),
        )
        for aligned in (False, True)
    },
    "batch_gather": (
        [X],
        lambda x: ops.batch_gather(x, ops.arg_max(x, 1)),
        lambda x: np.stack([each[i] for each, i in zip(x, x.argmax(1), strict=True)]),
    ),
    "max_unpool": (
        [(N, 3, 2, 3), (N, 3, 4, 6)],
        lambda v, x: ops.max_unpool(v, x, (2, 2), (2, 2)),
        lambda v, x: oracles.max_unpool(v, x, (2, 2), (2, 2), (0, 0)),
    ),
}

FROM_OPSET = {"bit_xor": 18}

BATCHES = {2: {"N": 2, "H": 7, "W": 8}, 3: {"N": 3, "H": 6, "W": 11}}


def at(size, sizes):
    """The value of a formula."""
    return size if isinstance(size, int) else size.substitute(sizes)


@cache
def everything(opset=OPSETS[-1]):
    """One graph of all cases, each an output: a session costs time."""
    graph = Graph("ops")
    for name, (shapes, function, _) in CASES.items():
        if opset < FROM_OPSET.get(name, 0):
            continue
        inputs = [graph.input(f"{name}_{i}", shape) for i, shape in enumerate(shapes)]
        y = function(*inputs)
        graph.output(name, y if y.producer else ops.identity(y))
    return graph


@cache
def feeds(batch):
    rng = np.random.default_rng(batch)
    shapes = {name: [at(d, BATCHES[batch]) for d in x.shape] for name, x in everything().inputs.items()}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def expected(name, batch):
    shapes, _, oracle = CASES[name]
    return oracle(*(feeds(batch)[f"{name}_{i}"].astype(np.float64) for i in range(len(shapes))))


@cache
def results(opset):
    from onnxruntime import InferenceSession

    graph = everything(opset)
    emitted = emit(graph, opset=opset)
    check(emitted)
    session = InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])
    found = {b: session.run(None, {x: feeds(b)[x] for x in graph.inputs}) for b in BATCHES}
    return {b: dict(zip(graph.outputs, ys, strict=True)) for b, ys in found.items()}


def alone(name):
    graph = Graph("op")
    shapes, function, _ = CASES[name]
    y = function(*(graph.input(f"{name}_{i}", shape) for i, shape in enumerate(shapes)))
    graph.output("y", y if y.producer else ops.identity(y))
    return graph


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("opset", OPSETS)
def test_op(opset, name):
    if opset < FROM_OPSET.get(name, 0):
        with pytest.raises(AssertionError, match="opset"):
            emit(alone(name), opset=opset)
        return
    for batch, sizes in BATCHES.items():
        y = results(opset)[batch][name]
        assert y.shape == tuple(at(d, sizes) for d in everything().outputs[name].shape)
        np.testing.assert_allclose(y, expected(name, batch), rtol=1e-5, atol=1e-5)


OLD_REFERENCE = tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23)

WRONG_REFERENCE = {
    **{
        name: "the reference of onnx 1.22 knows one direction, and no cell state"
        for name in CASES
        if OLD_REFERENCE and name.startswith(tuple(oracles.GATES)) and ("lstm" in name or "both_ways" in name)
    },
    **{
        name: "onnx's reference ignores lengths, and knows no Relu"
        for name in CASES
        if name.startswith(tuple(oracles.GATES)) and ("relu" in name or "lengths" in name or "_all_" in name)
    },
    **dict.fromkeys(
        ("scan_reverse_state", "scan_reverse_slices", "scan_reverse_copies"),
        "onnx's reference scans from the first slice only",
    ),
    "lrn": "onnx's reference goes through as many channels as the batch has examples",
    "conv_transpose": "onnx's reference knows one group",
    **{
        f"grid_sample_{padding}{corners}": "onnx's reference samples in single precision"
        for padding in ("zeros", "border")
        for corners in (False, True)
    },
    "resize_to_cubic_half_pixel": "onnx's reference has scales in single precision",
    "resize_to_cubic_asymmetric": "onnx's reference has scales in single precision",
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reference", [ReferenceEvaluator, evaluator], ids=["reference", "exact"])
def test_op_in_double_precision(name, reference):
    if name in WRONG_REFERENCE and reference is ReferenceEvaluator:
        pytest.skip(WRONG_REFERENCE[name])
    graph = alone(name)
    model = onnx.load_from_string(to_bytes(emit(graph, float_type="f64"), ()))
    with np.errstate(all="ignore"):
        (y,) = reference(model).run(None, {x: feeds(2)[x].astype(np.float64) for x in graph.inputs})
    assert y.dtype == np.float64
    # An attribute such as epsilon is a float32 in ONNX, at any precision.
    np.testing.assert_allclose(y, expected(name, 2), rtol=1e-6, atol=1e-7)


def test_every_op_has_a_case():
    """An op is a class that nothing derives from; macros, which ONNX lacks, are in test_gradients.py, what the
    blocked layout and adversaries have for themselves in test_blocked.py and test_adversarial_loss.py."""
    used = {type(operation.op) for operation in expand_macros(everything(), OPSETS[-1]).operations}
    leaves = oracles.standard_ops()
    assert {cls for cls in leaves if not issubclass(cls, Macro) or cls.since in OPSETS} == used
    assert all(cls.__doc__ and "ONNX" in cls.__doc__ for cls in used)


@pytest.mark.parametrize(
    ("op", "y", "xs", "macs"),
    [
        (Conv((1, 1), (0,) * 4, (1, 1), 2), (N, 6, 3, 3), [(N, 4, 5, 5), (6, 2, 3, 3)], 6 * 9 * 2 * 9),
        (ConvTranspose((2,), (0, 0), (0,), (1,), 2), (3, 6, 11), [(3, 4, 5), (4, 3, 3)], 4 * 5 * 3 * 3),
        (Gemm(True), (N, 3), [(N, 7), (3, 7)], 21),
        (Gemm(False), (N, 3), [(N, 7), (7, 3), (3,)], 21),
        (MatMul(), (N, 5, 2, 4), [(N, 5, 2, 3), (3, 4)], 120),
        (
            Recurrent("lstm", bias=True, lengths=False, initial=False),
            (9, 2, N, 5),
            [(9, N, 3), (2, 20, 3), (2, 20, 5), (2, 40)],
            9 * 2 * (20 * 3 + 20 * 5),
        ),
    ],
)
def test_macs(op, y, xs, macs):
    assert op.shapes(*xs)[0][1:] == y[1:]
    assert op.macs(y, *xs) == macs


def test_elementwise_ops_cost_nothing():
    graph = everything()
    free = [
        o
        for o in graph.operations
        if not isinstance(o.op, Conv | ConvTranspose | Gemm | MatMul | Attention | Recurrent)
    ]
    assert {o.op.macs(o.outputs[0].shape, *(x.shape for x in o.inputs)) for o in free} == {0}


def test_a_scan_costs_its_steps():
    graph = Graph("g")
    state, x, w = graph.input("s", (1, 4)), graph.input("x", (7, 1, 4)), graph.input("w", (4, 4))
    ops.scan(lambda s, x, w: ([ops.gemm(s, w, x)], []), [state], [x], [w])
    assert cost(graph) == 7 * 16


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.flatten(x),
        lambda x: ops.slice(x, (2,), (0,), (5,)),
    ],
)
def test_sizes_that_no_formula_tells(build):
    with pytest.raises(Undecidable):
        build(Graph("g").input("x", (N, 3, H, W)))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.add(x, ops.constant(x.graph, 0.0, shape=(2,))),
        lambda x: ops.add(x, ops.cast(x, "i64")),
        lambda x: ops.reshape(x, (7,)),
        lambda x: ops.conv(x, ops.constant(x.graph, 0.0, shape=(1, 2, 3, 3))),
        lambda x: ops.gemm(ops.flatten(x), ops.constant(x.graph, 0.0, shape=(2, 2))),
        lambda x: ops.max_pool(x, (2, 2), (2, 2), (2, 0, 0, 0)),
        lambda x: ops.concat([x, ops.max_pool(x, (2, 2), (2, 2))]),
        lambda x: ops.lrn(x, 2),
        lambda x: ops.lrn(ops.flatten(x), 3),
        lambda x: ops.split(x, (1, 1)),
        lambda x: ops.scan(lambda s, x: ([ops.concat([s, x], 0)], []), [x], [x]),
        lambda x: ops.scan(lambda s, _: (ops.batch_norm_training(s, s, s)[:1], []), [ops.flatten(x)], [x]),
    ],
)
def test_impossible_applications_are_asserts(build):
    with pytest.raises(AssertionError):
        build(Graph("g").input("x", (2, 3, 8, 8)))


def test_reshape_of_two_moving_sizes():
    """ONNX finds one size by division and keeps others in their places; more is not to be had without Shape."""
    graph = Graph("g")
    graph.output("y", ops.reshape(graph.input("x", (N, 6, H, W)), (2, 3, H, W)))
    with pytest.raises(AssertionError):
        emit(graph)


def test_gather_counts_its_axis_from_the_end():
    """As OpenVINO needs it: tests/compiler/test_other_tools.py."""
    graph = Graph("g")
    graph.output("y", ops.gather(graph.input("x", X), [2, 0, 1], 1))
    (axis,) = emit(graph).model.graph.node[0].attribute
    assert (axis.name, axis.i) == ("axis", -3)


def test_constants_are_filled_or_listed():
    graph = Graph("g")
    assert ops.constant(graph, 2, "i64").tensor.data == (2,)
    assert ops.constant(graph, 1.5, shape=(2, 2)).tensor.data == (1.5,) * 4
    assert ops.constant(graph, [1, 2, 3, 4], "i64", (2, 2)).shape == (2, 2)
    assert prod(ops.constant(graph, [1, 2], "i64").shape) == 2


def test_cast_to_the_same_type_and_flatten_of_flat_are_nothing():
    x = Graph("g").input("x", (2, 3))
    assert ops.cast(x, "f32") is x
    assert ops.flatten(x) is x
    assert ops.concat([x]) is x


def test_no_module_hides_an_op() -> None:
    """An import of a module sets an attribute of its package, which would replace a function of the same name."""
    assert not {module.name for module in pkgutil.iter_modules(ops.__path__)} & {*vars(api)}
