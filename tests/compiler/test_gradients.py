"""Gradients of all ops: in float64 against central differences, in float32 on onnxruntime too."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netdsl import ops
from netdsl.backend.emit import check, emit
from netdsl.backend.serialize import to_bytes
from netdsl.ir.graph import Graph
from netdsl.ir.op import Macro
from netdsl.ops.base import apply
from netdsl.ops.shaping import Spread
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import differentiable, expand_macros, prune
from tests.support import oracles
from tests.support.exact import evaluator

X = (2, 3, 4, 5)


def attend(*xs, **options):
    return ops.attention(*xs, drop=lambda p: p, **options)


# name: inputs' shapes, the op.
CASES = {
    **{
        name: ([X], function)
        for name, function in [
            ("identity", ops.identity),
            ("abs", ops.abs),
            ("neg", ops.neg),
            ("sign", lambda x: ops.add(ops.sign(x), x)),
            ("exp", ops.exp),
            ("sin", ops.sin),
            ("cos", ops.cos),
            ("sqrt", lambda x: ops.sqrt(ops.abs(x))),
            ("log", lambda x: ops.log(ops.abs(x))),
            ("reciprocal", ops.reciprocal),
            ("power", lambda x: ops.power(ops.abs(x), 1.7)),
            ("power_of_three", lambda x: ops.power(x, 3)),
            ("square", lambda x: ops.power(x, 2)),
            ("relu", ops.relu),
            ("sigmoid", ops.sigmoid),
            ("tanh", ops.tanh),
            ("softplus", ops.softplus),
            ("silu_training", ops.silu_training),
            ("leaky_relu", lambda x: ops.leaky_relu(x, 0.2)),
            ("leaky_relu_falls", lambda x: ops.leaky_relu(x, -0.2)),
            ("elu", lambda x: ops.elu(x, 0.7)),
            ("elu_falls", lambda x: ops.elu(x, -0.7)),
            ("selu", ops.selu),
            ("hard_sigmoid", lambda x: ops.hard_sigmoid(x, 0.7, 0.4)),
            ("clip", lambda x: ops.clip(x, -1, 0.7)),
            ("clip_relu6", lambda x: ops.clip(x, 0, 1.3)),
            ("clip_below", lambda x: ops.clip(x, low=0.3)),
            ("clip_above", lambda x: ops.clip(x, high=0.3)),
            ("clip_not", ops.clip),
            ("softmax", ops.softmax),
            ("softmax_last", lambda x: ops.softmax(x, -1)),
            ("log_softmax", ops.log_softmax),
            ("cast", lambda x: ops.cast(ops.cast(x, "f64"), "f32")),
            ("cast_of_integers", lambda x: ops.mul(x, ops.cast(ops.cast(x, "i64"), "f32"))),
            ("numbers", lambda x: ops.div(1, ops.add(ops.mul(ops.sub(x, 2), x), 3))),
            ("add_of_one_twice", lambda x: ops.add(x, x, ops.mul(x, x))),
            ("maximum_number", lambda x: ops.maximum(x, 0.5)),
            ("reduce_mean", lambda x: ops.reduce_mean(x, (1, -1))),
            ("reduce_mean_gone", lambda x: ops.reduce_mean(x, (-1,), False)),
            ("reduce_max", lambda x: ops.reduce_max(x, (2, -1))),
            ("reduce_max_gone", lambda x: ops.reduce_max(x, (1,), False)),
            ("reduce_sum", lambda x: ops.reduce_sum(x, (1, 2))),
            ("reduce_sum_gone", lambda x: ops.reduce_sum(x, (1, -1), False)),
            ("flatten", ops.flatten),
            ("reshape", lambda x: ops.reshape(x, (10, 6))),
            ("transpose", lambda x: ops.transpose(x, (2, 0, 3, 1))),
            ("expand", lambda x: ops.expand(ops.reduce_sum(x, (1, 3)), (3, 2, 3, 4, 5))),
            ("where", lambda x: ops.where(ops.greater(x, 0.4), ops.mul(x, 2), ops.neg(x))),
        ]
    },
    "erf": ([X], ops.erf),
    "add": ([X, (3, 1, 5), (1,)], ops.add),
    "sub": ([X, (2, 1, 4, 1), ()], ops.sub),
    "mul": ([(4, 5), X, (2, 3, 1, 1)], ops.mul),
    "div": ([(3, 4, 1), X], ops.div),
    "maximum": ([X, X, (3, 1, 5)], ops.maximum),
    "minimum": ([X, (2, 1, 4, 1)], ops.minimum),
    "where_spreads": ([X, (4, 1)], lambda x, a: ops.where(ops.greater(x, a), x, a)),
    "prelu": ([X, (3, 1, 1)], ops.prelu),
    "prelu_of_one": ([X, (1,)], ops.prelu),
    "gemm": ([(2, 3), (3, 4), (4,)], ops.gemm),
    "gemm_trans_a": ([(3, 2), (3, 4)], lambda a, b: ops.gemm(a, b, trans_a=True)),
    "gemm_trans_b": ([(2, 3), (4, 3), (4,)], lambda a, b, c: ops.gemm(a, b, c, trans_b=True)),
    "gemm_trans_both": ([(3, 2), (4, 3), (2, 4)], lambda a, b, c: ops.gemm(a, b, c, trans_a=True, trans_b=True)),
    "concat": ([X, (2, 1, 4, 5), X], lambda *xs: ops.concat(xs)),
    "spread": ([(1, 3), (2, 4), (1, 2)], lambda *xs: ops.concat(ops.spread(*xs))),
    "attention": ([(2, 4, 8), (2, 5, 4), (2, 5, 6)], lambda *xs: attend(*xs, 4, 2, 0.6)),
    "attention_causal_biased": (
        [(2, 3, 4), (2, 3, 4), (2, 3, 6), (1, 2, 3, 3)],
        lambda q, k, v, b: attend(q, k, v, 2, 2, 0.6, causal=True, bias=b),
    ),
    "attention_hides": (
        [(2, 3, 2, 4), (2, 3, 2, 2), (2, 3, 2, 2), (2, 3, 1, 1, 2)],
        lambda q, k, v, m: attend(q, k, v, 2, 1, 1.3, mask=ops.greater(m, 0), hides=True),
    ),
    **{
        f"rotate{interleaved}": (
            [(2, 3, 12)],
            lambda x, interleaved=interleaved: ops.rotate(
                x, ops.constant(x.graph, [0, 2, 5], "i64", (1, 3)), 2, (1.0, 0.3), interleaved=interleaved
            ),
        )
        for interleaved in (False, True)
    },
    "spread_to_unknown": (
        [(1, 3), (2, 3)],
        lambda x, like: ops.mul(
            apply(Spread(2), x, ops.concat([ops.shape_of(like, 0, 1), ops.constant(x.graph, [1], "i64")], 0)), like
        ),
    ),
    "concat_last": ([(2, 3), (2, 4)], lambda *xs: ops.concat(xs, -1)),
    "split": ([X], lambda x: ops.split(x, (1, 3), 2)[0]),
    "split_all": ([X], lambda x: ops.mul(*ops.split(x, (2, 2), 2))),
    "slice": ([X], lambda x: ops.slice(x, (1, 3), (1, -4), (3, None))),
    "slice_steps": ([X], lambda x: ops.slice(x, (2, 3), (0, 1), (None, 4), (3, 2))),
    "slice_beyond": ([X], lambda x: ops.slice(x, (2,), (-9,), (99,))),
    "pad": ([X], lambda x: ops.pad(x, (1, 0, 2, 3), 0.5)),
    **{
        f"pad_{mode}": ([X], lambda x, mode=mode: ops.pad(x, (1, 0, 3, 4), mode=mode))
        for mode in ("reflect", "edge", "wrap")
    },
    "padded": ([X], lambda x: ops.padded(x, (1, -1, -2, 3))),
    "gather": ([X], lambda x: ops.gather(x, [2, 0, 2], 1)),
    "gather_permutes": ([X], lambda x: ops.gather(x, [2, 0, 1], 1)),
    "gather_one": ([X], lambda x: ops.gather(x, ops.constant(x.graph, 1, "i64"), 2)),
    "gather_embeds": ([(5, 3)], lambda x: ops.gather(x, ops.constant(x.graph, [0, 4, 4, 1, 0, 4], "i64", (2, 3)), 0)),
    "consecutive": ([X], lambda x: ops.consecutive(x, 2, -3, 2)),
    "gather_last": ([X], lambda x: ops.gather(x, ops.constant(x.graph, [0, 4, -1, 1], "i32", (2, 2)), -1)),
    "batch_norm": (
        [X, (3,), (3,), (3,), (3,)],
        lambda x, s, b, m, v: ops.batch_norm(x, s, b, m, ops.add(ops.abs(v), 0.3), 1e-3),
    ),
    "batch_norm_flat": (
        [(4, 3), (3,), (3,)],
        lambda x, s, b: ops.batch_norm(x, s, b, *(ops.constant(x.graph, v, shape=(3,)) for v in (0.3, 0.7))),
    ),
    "batch_norm_training": ([X, (3,), (3,)], lambda *xs: ops.batch_norm_training(*xs)[0]),
    "batch_norm_training_flat": ([(5, 3), (3,), (3,)], lambda *xs: ops.batch_norm_training(*xs)[0]),
    "batch_norm_training_in_space": ([(2, 3, 2, 2, 2), (3,), (3,)], lambda *xs: ops.batch_norm_training(*xs)[0]),
    "batch_norm_training_large": ([(2, 2, 24, 23), (2,), (2,)], lambda *xs: ops.batch_norm_training(*xs)[0]),
    "affine": ([X, (3,), (3,)], ops.affine),
    "dot_by_channel": ([X, X], ops.dot_by_channel),
    "dot_by_channel_large": ([(2, 2, 24, 23), (2, 2, 24, 23)], ops.dot_by_channel),
    "instance_norm": ([X, (3,), (3,)], ops.instance_norm),
    "instance_norm1d": ([(2, 3, 7), (3,), (3,)], ops.instance_norm),
    "layer_norm": ([X, (5,), (5,)], ops.layer_norm),
    "layer_norm_training": ([X, (5,), (5,)], ops.layer_norm_training),
    "layer_norm_training_flat": ([(4, 5), (5,), (5,)], ops.layer_norm_training),
    "lrn": ([(3, 3, 2, 3)], lambda x: ops.lrn(x, 3, 0.5, 0.75, 2)),
    "lrn_of_other_power": ([(6, 6, 1, 2)], lambda x: ops.lrn(x, 5, 0.5, 0.6, 2)),
    "resize": ([(2, 3, 4, 2)], lambda x: ops.resize(x, (2, 3))),
    "resize1d": ([(2, 3, 4)], lambda x: ops.resize(x, (3,), linear=True)),
    "resize2d": ([(2, 3, 4, 2)], lambda x: ops.resize(x, (2, 3), linear=True)),
    "resize3d_corners": ([(1, 2, 2, 3, 4)], lambda x: ops.resize(x, (2, 1, 3), linear=True, corners=True)),
    "resize_of_one": ([(2, 3, 1, 2)], lambda x: ops.resize(x, (2, 2), linear=True, corners=True)),
    **{
        f"resize_to_{mode}_{where}": (
            [(2, 2, 5, 4)],
            lambda x, mode=mode, where=where: ops.resize_to(x, (3, 9), mode=mode, where=where),
        )
        for mode in ("nearest", "nearest_exact", "linear", "cubic")
        for where in ("half_pixel", "align_corners", "asymmetric")
    },
    "space_to_depth": ([(2, 3, 4, 6)], lambda x: ops.space_to_depth(x, 2)),
    "top_k": ([X], lambda x: ops.top_k(x, 2, 1)[0]),
    **{
        f"grid_sample_{padding}{corners}": (
            [(2, 3, 4, 5), (2, 3, 4, 2)],
            lambda x, g, padding=padding, corners=corners: ops.grid_sample(x, g, padding, corners),
        )
        for padding in ("zeros", "border")
        for corners in (False, True)
    },
    "roi_align": (
        [(2, 3, 4, 5), (2, 4, 3)],
        lambda x, b: ops.roi_align(x, ops.mul(b, 2), (2, 2), 2, 0.7, True, composed=True),
    ),
    "batch_gather": ([X], lambda x: ops.batch_gather(x, ops.constant(x.graph, [2, 0, 2, 1, 1, -1], "i64", (2, 3)))),
    "max_unpool": ([(2, 3, 2, 3), (2, 3, 4, 6)], lambda v, x: ops.max_unpool(v, x, (2, 2), (2, 2))),
    "depth_to_space": ([(2, 12, 2, 3)], lambda x: ops.depth_to_space(x, 2)),
    "global_average_pool": ([X], ops.global_average_pool),
    "global_max_pool": ([X], ops.global_max_pool),
    **{
        f"{kind}_pool_{name}": ([shape], lambda x, pool=pool, options=options: pool(x, **options))
        for kind, pool in [("max", ops.max_pool), ("average", ops.average_pool)]
        for name, shape, options in [
            ("apart", (2, 3, 4, 6), {"kernel": (2, 3), "strides": (2, 3)}),
            ("apart_with_rest", (2, 3, 5, 5), {"kernel": (2, 2), "strides": (2, 2)}),
            ("overlapping", (2, 3, 7, 6), {"kernel": (3, 3), "strides": (2, 1)}),
            ("padded", (2, 3, 5, 6), {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 0, 0, 2)}),
            ("same", (2, 3, 4, 5), {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}),
            ("with_gaps", (2, 3, 7, 7), {"kernel": (2, 2), "strides": (3, 3)}),
            ("ceil", (2, 3, 5, 6), {"kernel": (2, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "extra": (0, 1)}),
            ("1d", (2, 3, 7), {"kernel": (3,), "strides": (2,)}),
            ("3d", (1, 2, 4, 3, 4), {"kernel": (2, 2, 3), "strides": (2, 1, 2), "pads": (0, 1, 0, 0, 0, 1)}),
        ]
    },
    "average_pool_counts_pads": (
        [X],
        lambda x: ops.average_pool(x, (3, 2), (2, 1), (1, 0, 1, 1), count_include_pad=True),
    ),
    "average_pool_counts_pads_same": (
        [X],
        lambda x: ops.average_pool(x, (3, 3), (1, 1), (1, 0, 1, 1), count_include_pad=True),
    ),
    "average_pool_ceil_counts_pads": (
        [X],
        lambda x: ops.average_pool(x, (4, 3), (3, 2), (1, 1, 1, 1), count_include_pad=True, extra=(0, 1)),
    ),
    "softsign": ([(2, 9)], ops.softsign),
    "shrink": ([(2, 9)], lambda x: ops.shrink(x, 0.4, 0.1)),
    "gelu": ([(2, 9)], ops.gelu),
    "gelu_tanh": ([(2, 9)], lambda x: ops.gelu(x, tanh=True)),
    "gelu_training": ([(2, 9)], ops.gelu_training),
    "gelu_tanh_training": ([(2, 9)], lambda x: ops.gelu_training(x, tanh=True)),
    "rms_norm": ([(2, 3, 4), (4,)], lambda x, w: ops.rms_norm(x, w, 0.1)),
    "matmul": ([(2, 4), (4, 3)], ops.matmul),
    "matmul_of_large": ([(2, 7, 6), (2, 6, 2)], ops.matmul),
    "matmul_spreads_large": ([(1, 7, 6), (3, 6, 1)], ops.matmul),
    "matmul_spreads": ([(2, 1, 3, 4), (5, 4, 2)], ops.matmul),
}

RECURRENCES = {
    "": (1, {}),
    "_without_bias": (1, {"bias": False}),
    "_both_ways": (2, {}),
    "_all": (2, {"lengths": True, "initial": True}),
}


def recurrent(cell, xs, directions, options):
    """All results of a recurrence in one value."""
    xs = list(xs)
    if options.get("lengths"):  # no gradient: the third sequence is empty
        xs.insert(1 + 4 * directions, ops.constant(xs[0].graph, [4, 2, 0], "i64"))
    y, last = ops.recurrent_training(cell, *oracles.split_inputs(xs, directions, **options))
    return ops.concat([ops.reshape(y, (y.shape[0] * y.shape[1], y.shape[2]), batch=False), *last], 0)


# name: the image, the kernel, attributes.
CONVOLUTIONS = {
    "1d": ((2, 3, 9), (4, 3, 3), {}),
    "1d_all": ((2, 4, 11), (6, 2, 3), {"strides": (3,), "pads": (2, 1), "dilations": (2,), "group": 2}),
    "2d": ((2, 3, 5, 7), (4, 3, 3, 2), {}),
    "2d_of_one": ((2, 3, 4, 5), (4, 3, 1, 1), {}),
    "2d_of_one_strides": ((2, 3, 5, 6), (4, 3, 1, 1), {"strides": (2, 3)}),
    "2d_gray": ((2, 1, 5, 7), (4, 1, 3, 2), {"pads": (1, 1, 1, 0)}),
    "2d_strides": ((2, 3, 8, 9), (4, 3, 3, 3), {"strides": (2, 3), "pads": (1, 0, 0, 2)}),
    "2d_patches": ((2, 3, 4, 7), (4, 3, 2, 3), {"strides": (2, 3)}),
    "2d_unread": ((2, 3, 9, 9), (4, 3, 2, 2), {"strides": (4, 3)}),
    "2d_unread_padding": ((2, 3, 6, 6), (4, 3, 2, 2), {"strides": (3, 3), "pads": (1, 1, 1, 1)}),
    "2d_dilations": ((2, 3, 7, 9), (4, 3, 3, 2), {"dilations": (2, 3), "pads": (1, 2, 2, 1)}),
    "2d_dilations_strides": ((2, 3, 9, 9), (4, 3, 3, 3), {"dilations": (2, 2), "strides": (3, 2), "pads": (2,) * 4}),
    "2d_large_kernel": ((2, 3, 5, 5), (4, 3, 5, 4), {}),
    "2d_larger_than_the_image": ((2, 3, 3, 3), (4, 3, 5, 5), {"pads": (2, 2, 1, 1)}),
    "2d_much_padding": ((2, 3, 3, 3), (4, 3, 2, 2), {"pads": (3, 4, 3, 2), "strides": (1, 2)}),
    "2d_many_channels": ((1, 17, 4, 4), (18, 17, 3, 3), {"pads": (1, 1, 1, 1)}),
    "2d_many_channels_much_padding": ((1, 16, 3, 3), (2, 16, 2, 2), {"pads": (3, 2, 2, 3)}),
    "2d_very_many_channels": ((1, 224, 2, 2), (200, 224, 3, 3), {"pads": (1, 1, 1, 1)}),
    "2d_groups": ((2, 4, 6, 5), (6, 2, 3, 3), {"group": 2}),
    "2d_groups_all": (
        (2, 4, 9, 8),
        (6, 2, 3, 2),
        {"group": 2, "strides": (2, 3), "pads": (0, 1, 2, 1), "dilations": (2, 3)},
    ),
    "2d_groups_of_one_output": ((2, 6, 5, 5), (3, 2, 3, 3), {"group": 3}),
    "2d_depthwise": ((2, 3, 6, 5), (3, 1, 3, 3), {"group": 3, "pads": (1, 1, 1, 1)}),
    "2d_depthwise_strides": ((2, 3, 7, 6), (3, 1, 3, 3), {"group": 3, "strides": (2, 2), "pads": (1, 0, 1, 1)}),
    "2d_depthwise_several": ((2, 3, 7, 6), (6, 1, 3, 2), {"group": 3, "strides": (2, 1), "dilations": (1, 2)}),
    "3d": ((1, 2, 4, 3, 5), (3, 2, 2, 3, 2), {"strides": (2, 1, 2), "pads": (0, 1, 0, 1, 0, 1)}),
    "3d_all": (
        (2, 4, 5, 4, 6),
        (4, 2, 2, 2, 3),
        {"group": 2, "dilations": (2, 1, 2), "strides": (1, 2, 2), "pads": (1, 0, 1, 0, 1, 0)},
    ),
}


CASES |= {
    f"{cell}{name}": (
        [
            shape
            for at, shape in enumerate(oracles.recurrent_inputs(cell, (5, 3, 2), count, hidden=3, **options))
            if at != 1 + 4 * count or not options.get("lengths")
        ],
        lambda *xs, how=(cell, count, options): recurrent(how[0], xs, *how[1:]),
    )
    for cell in oracles.GATES
    for name, (count, options) in RECURRENCES.items()
}
CASES["lstm_last_state"] = ([(5, 3, 2), (12, 2), (12, 3)], lambda x, *ws: ops.recurrent_training("lstm", x, [ws])[1][1])


CASES |= {
    f"conv{name}": (
        [x, w, w[:1]],
        lambda x, w, b, options=options: ops.conv(x, w, b, **options),
    )
    for name, (x, w, options) in CONVOLUTIONS.items()
}

DECONVOLUTIONS = {
    "1d": ((2, 3, 5), (3, 2, 3), {"strides": (2,)}),
    "2d": ((2, 3, 4, 5), (3, 2, 3, 2), {}),
    "2d_strides": ((2, 3, 3, 4), (3, 2, 3, 2), {"strides": (2, 3), "pads": (1, 0, 0, 1), "output_padding": (1, 2)}),
    "2d_dilations": ((2, 3, 3, 4), (3, 2, 3, 2), {"dilations": (2, 2), "strides": (2, 1), "output_padding": (1, 0)}),
    "2d_groups": ((2, 4, 3, 2), (4, 3, 3, 2), {"strides": (2, 3), "pads": (1, 0, 0, 1), "group": 2}),
    "3d": ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), {"strides": (2, 1, 2)}),
}


CASES |= {
    f"conv_transpose{name}": (
        [x, w, (w[1] * options.get("group", 1),)],
        lambda x, w, b, options=options: ops.conv_transpose(x, w, b, **options),
    )
    for name, (x, w, options) in DECONVOLUTIONS.items()
}

NO_GRADIENTS = {
    "AttentionOperator",  # only inference emits it
    "CountTo",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "And",
    "Or",
    "Not",
    "IsNaN",
    "IsInf",
    "BitwiseXor",
    "ShiftRight",
    "ArgMax",
    "BatchNormalizationTraining",
    "OneHot",
    "Range",
    "Recurrent",
    "Scan",
    "RotaryEmbedding",  # as AttentionOperator
    "ScatterElements",
}


def numbers(rng, shape, shift):
    """No two are closer than a hundredth, and none so close to 0 or to another bend in the cases."""
    count = int(np.prod(shape))
    spaced = (rng.permutation(count) - count // 2) * max(0.02, 3 / count)
    return (spaced + shift).reshape(shape)


@cache
def differentiated(name):
    """The graph of a case: what goes into it, its result, and the gradients of the sum of that times `r`."""
    shapes, function = CASES[name]
    graph = Graph(name)
    xs = [graph.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    y = function(*xs)
    loss = ops.mul(y, graph.input("r", y.shape))
    if y.shape:
        loss = ops.reduce_sum(loss, range(len(y.shape)), keepdims=False)
    graph.output("y", y)
    for i, dx in enumerate(gradients(loss, xs)):
        if dx is not None:
            graph.output(f"d{i}", ops.identity(dx))
    return prune(expand_macros(graph))


@pytest.mark.parametrize("cell", oracles.GATES)
@pytest.mark.parametrize("name", RECURRENCES)
def test_recurrences_of_inference_have_a_form_with_gradients(cell, name):
    count, options = RECURRENCES[name]
    graph = Graph(name)
    shapes = oracles.recurrent_inputs(cell, (5, 3, 2), count, hidden=3, **options)
    at = 1 + 4 * count
    xs = [graph.input(f"x{i}", s, "i64" if options.get("lengths") and i == at else "f32") for i, s in enumerate(shapes)]
    y, last = ops.recurrent(cell, *oracles.split_inputs(xs, count, **options))
    for i, value in enumerate((y, *last)):
        graph.output(f"y{i}", value)
    rng = np.random.default_rng(0)
    fed = {x: rng.standard_normal(shape) for x, shape in zip(graph.inputs, shapes, strict=True)}
    if options.get("lengths"):
        fed[f"x{at}"] = np.array([4, 2, 0])
    before, after = (
        evaluator(to_bytes(emit(each, float_type="f64"), ())).run(None, fed)
        for each in (graph, prune(expand_macros(differentiable(graph))))
    )
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@cache
def exactly(name):
    return evaluator(to_bytes(emit(differentiated(name), float_type="f64"), ()))


@cache
def feeds(name):
    rng = np.random.default_rng(sum(map(ord, name)))
    inputs = differentiated(name).inputs.items()
    return {x: numbers(rng, value.shape, 0.0113 - i * 0.0037) for i, (x, value) in enumerate(inputs)}


@cache
def in_double_precision(name):
    names = [each for each in differentiated(name).outputs if each.startswith("d")]
    return dict(zip(names, exactly(name).run(names, feeds(name)), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_limits_of_differences(name):
    fed, h = feeds(name), 1e-6
    rng = np.random.default_rng(1)
    for key, dx in in_double_precision(name).items():
        x = key.replace("d", "x")
        assert dx.shape == fed[x].shape
        for _ in range(3):
            direction = rng.standard_normal(dx.shape)
            ahead, behind = (exactly(name).run(["y"], fed | {x: fed[x] + step * direction})[0] for step in (h, -h))
            difference = np.sum((ahead - behind) * fed["r"]) / (2 * h)
            scale = np.linalg.norm(dx) * np.linalg.norm(direction)
            assert abs(difference - np.sum(dx * direction)) <= 1e-6 * scale + 1e-9, (
                x,
                difference,
                np.sum(dx * direction),
            )


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_single_precision(name):
    from onnxruntime import InferenceSession

    emitted = emit(differentiated(name))
    check(emitted)
    session = InferenceSession(to_bytes(emitted, ()), providers=["CPUExecutionProvider"])
    fed = {x: v.astype(np.float32) for x, v in feeds(name).items()}
    expected = in_double_precision(name)
    for dx, exact in zip(session.run(list(expected), fed), expected.values(), strict=True):
        np.testing.assert_allclose(dx, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@st.composite
def convolutions(draw):
    """An image, a kernel and attributes that fit, of one to three axes."""
    rank = draw(st.integers(1, 3))

    def some(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    group, width, per = draw(st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 2, 1), (2, 1, 3), (3, 1, 1), (3, 1, 2)]))
    kernel, strides, dilations = some(1, 4), some(1, 4), some(1, 3)
    befores, afters = some(0, 3), some(0, 3)
    sizes = tuple(
        max(1, (k - 1) * d + 1 - b - a) + draw(st.integers(0, 5))
        for k, d, b, a in zip(kernel, dilations, befores, afters, strict=True)
    )
    options = {"strides": strides, "pads": befores + afters, "dilations": dilations, "group": group}
    return (draw(st.integers(1, 3)), group * width, *sizes), (group * per, width, *kernel), options


IN_PADDING = [
    ((1, 3, 1, 1, 1), (2, 3, 1, 1, 1), {"strides": (2, 1, 1), "pads": (1, 0, 0, 0, 0, 0)}),
    ((2, 3, 2), (3, 1, 1), {"strides": (7,), "pads": (3, 0), "group": 3}),
]
"""Convolutions whose windows see nothing of the image."""


@example(IN_PADDING[0])
@example(IN_PADDING[1])
@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_gradients_of_convolutions_are_their_adjoints(drawn):
    """A convolution is linear in both: <r, conv(v, w)> = <dx, v>, and <r, conv(x, v)> = <dw, v>, for any v."""
    shape, kernel, options = drawn
    graph = Graph("conv")
    x, w = graph.input("x", shape), graph.input("w", kernel)
    y = ops.conv(x, w, **options)
    r = graph.input("r", y.shape)
    loss = ops.reduce_sum(ops.mul(y, r), range(len(shape)), keepdims=False)
    for name, dx in zip("xw", gradients(loss, [x, w]), strict=True):
        graph.output(f"d{name}", dx)
    graph.output("y", y)
    run = evaluator(to_bytes(emit(prune(expand_macros(graph)), float_type="f64"), ()))
    rng = np.random.default_rng(0)
    fed = {name: rng.standard_normal(value.shape) for name, value in graph.inputs.items()}
    found = dict(zip("xw", run.run(["dx", "dw"], fed), strict=True))
    for name, dx in found.items():
        v = rng.standard_normal(dx.shape)
        (through,) = run.run(["y"], fed | {name: v})
        assert np.sum(fed["r"] * through) == pytest.approx(np.sum(dx * v), rel=1e-9, abs=1e-9)


TIES = [
    ((1, 1, 4, 4), {"kernel": (2, 2), "strides": (2, 2)}),
    ((1, 2, 5, 6), {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    ((2, 1, 5, 4), {"kernel": (3, 2), "strides": (1, 1)}),
    ((1, 1, 3, 3, 4), {"kernel": (2, 2, 2), "strides": (1, 1, 2)}),
]


@pytest.mark.parametrize(("shape", "options"), TIES)
def test_the_first_of_several_largest_takes_the_gradient(shape, options):
    rng = np.random.default_rng(0)
    for _ in range(5):
        values = rng.integers(0, 2, shape).astype(np.float64)
        graph = Graph("ties")
        x = graph.input("x", shape)
        y = ops.max_pool(x, **options)
        weights = graph.input("r", y.shape)
        loss = ops.reduce_sum(ops.mul(y, weights), range(len(shape)), keepdims=False)
        graph.output("dx", gradients(loss, [x])[0])
        given = rng.standard_normal(y.shape)
        model = to_bytes(emit(expand_macros(prune(graph)), float_type="f64"), ())
        (dx,) = evaluator(model).run(None, {"x": values, "r": given})
        pads = options.get("pads", (0, 0) * (len(shape) - 2))
        np.testing.assert_allclose(dx, oracles.max_pool_gradient(values, given, **options | {"pads": pads}))


def test_embeddings_add_up_whatever_the_threads():
    from onnxruntime import InferenceSession

    graph = Graph("embedding")
    table, indices, r = graph.input("x", (3, 64)), graph.input("i", (4000,), "i64"), graph.input("r", (4000, 64))
    loss = ops.reduce_sum(ops.mul(ops.gather(table, indices, 0), r), (0, 1), keepdims=False)
    graph.output("dx", gradients(loss, [table])[0])
    session = InferenceSession(to_bytes(emit(prune(graph)), ()), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    places, given = rng.integers(0, 3, 4000), rng.standard_normal((4000, 64)).astype(np.float32)
    expected = np.zeros((3, 64))
    np.add.at(expected, places, given)
    for _ in range(3):
        (dx,) = session.run(None, {"x": np.zeros((3, 64), np.float32), "i": places, "r": given})
        np.testing.assert_allclose(dx, expected, atol=1e-3)


def test_equals_share_the_gradient_of_a_maximum():
    graph = Graph("ties")
    a, b = graph.input("a", (3,)), graph.input("b", (3,))
    loss = ops.reduce_sum(ops.maximum(a, b), (0,), keepdims=False)
    for x, dx in zip("ab", gradients(loss, [a, b]), strict=True):
        graph.output(f"d{x}", dx)
    da, db = evaluator(to_bytes(emit(prune(graph)), ())).run(
        None, {"a": np.float32([0, 1, 2]), "b": np.float32([1, 1, 1])}
    )
    assert (da.tolist(), db.tolist()) == ([0, 0.5, 1], [1, 0.5, 0])


def test_every_op_has_a_gradient_that_is_tested():
    leaves = oracles.standard_ops()
    used = {type(operation.op) for name in CASES for operation in differentiated(name).operations}
    assert {cls.__name__ for cls in leaves - used if not issubclass(cls, Macro)} <= NO_GRADIENTS
