"""The functions that layers' bodies are written in, from all families."""

from __future__ import annotations

from netdsl.ops.arithmetic import add, div, maximum, minimum, mul, sub
from netdsl.ops.base import constant
from netdsl.ops.convolution import conv, conv_transpose
from netdsl.ops.elementwise import absolute as abs
from netdsl.ops.elementwise import (
    cast,
    clip,
    cos,
    elu,
    erf,
    exp,
    hard_sigmoid,
    identity,
    leaky_relu,
    log,
    log_softmax,
    neg,
    prelu,
    relu,
    selu,
    sigmoid,
    sign,
    sin,
    softmax,
    softplus,
    sqrt,
    tanh,
)
from netdsl.ops.indexing import concat, gather, pad, slice
from netdsl.ops.linear import gemm
from netdsl.ops.normalization import batch_norm, instance_norm, layer_norm, lrn
from netdsl.ops.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from netdsl.ops.reduction import reduce_max, reduce_mean, reduce_sum
from netdsl.ops.resampling import depth_to_space, resize
from netdsl.ops.shaping import flatten, reshape, transpose

__all__ = [
    "abs",
    "add",
    "average_pool",
    "batch_norm",
    "cast",
    "clip",
    "concat",
    "constant",
    "conv",
    "conv_transpose",
    "cos",
    "depth_to_space",
    "div",
    "elu",
    "erf",
    "exp",
    "flatten",
    "gather",
    "gemm",
    "global_average_pool",
    "global_max_pool",
    "hard_sigmoid",
    "identity",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "log",
    "log_softmax",
    "lrn",
    "max_pool",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pad",
    "prelu",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "relu",
    "reshape",
    "resize",
    "selu",
    "sigmoid",
    "sign",
    "sin",
    "slice",
    "softmax",
    "softplus",
    "sqrt",
    "sub",
    "tanh",
    "transpose",
]
