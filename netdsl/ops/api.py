"""The functions of all families that layer bodies are written with."""

from __future__ import annotations

from netdsl.ops.activations import (
    clip,
    elu,
    hard_sigmoid,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    selu,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from netdsl.ops.arithmetic import add, div, maximum, minimum, mul, sub, sum_to
from netdsl.ops.base import constant
from netdsl.ops.batch_training import batch_norm_training
from netdsl.ops.comparison import (
    equal,
    greater,
    greater_or_equal,
    is_finite,
    is_infinite,
    is_nan,
    logical_and,
    logical_not,
    logical_or,
    where,
)
from netdsl.ops.convolution import conv, conv_transpose
from netdsl.ops.convolution_gradients import conv_dw, conv_dx
from netdsl.ops.elementwise import abs, cast, cos, erf, exp, identity, log, neg, power, reciprocal, sign, sin, sqrt
from netdsl.ops.indexing import concat, gather, pad, padded, slice
from netdsl.ops.linear import gemm, matmul
from netdsl.ops.normalization import affine, batch_norm, instance_norm, layer_norm, lrn
from netdsl.ops.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from netdsl.ops.pooling_gradients import max_pool_dx
from netdsl.ops.random import bit_xor, counter, dropout, shift_right
from netdsl.ops.reduction import arg_max, dot_by_channel, reduce_max, reduce_mean, reduce_sum, sum_by_channel
from netdsl.ops.resampling import depth_to_space, resize
from netdsl.ops.scattering import one_hot, scatter_add, spaced, zeros
from netdsl.ops.shaping import expand, flatten, reshape, transpose

__all__ = [
    "abs",
    "add",
    "affine",
    "arg_max",
    "average_pool",
    "batch_norm",
    "batch_norm_training",
    "bit_xor",
    "cast",
    "clip",
    "concat",
    "constant",
    "conv",
    "conv_dw",
    "conv_dx",
    "conv_transpose",
    "cos",
    "counter",
    "depth_to_space",
    "div",
    "dot_by_channel",
    "dropout",
    "elu",
    "equal",
    "erf",
    "exp",
    "expand",
    "flatten",
    "gather",
    "gemm",
    "global_average_pool",
    "global_max_pool",
    "greater",
    "greater_or_equal",
    "hard_sigmoid",
    "identity",
    "instance_norm",
    "is_finite",
    "is_infinite",
    "is_nan",
    "layer_norm",
    "leaky_relu",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "lrn",
    "matmul",
    "max_pool",
    "max_pool_dx",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "one_hot",
    "pad",
    "padded",
    "power",
    "prelu",
    "reciprocal",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "relu",
    "reshape",
    "resize",
    "scatter_add",
    "selu",
    "shift_right",
    "sigmoid",
    "sign",
    "sin",
    "slice",
    "softmax",
    "softplus",
    "spaced",
    "sqrt",
    "sub",
    "sum_by_channel",
    "sum_to",
    "tanh",
    "transpose",
    "where",
    "zeros",
]
