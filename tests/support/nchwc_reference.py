"""onnxruntime's blocked ops in numpy, as its source has them, for blocks of any size and numbers of any width."""

from __future__ import annotations

import numpy as np
from onnx.reference.op_run import OpRun

from tests.support import oracles


def block_map(x, block):
    """[N, C, H, W] -> the same shape with the channels padded, in blocked memory."""
    n, c, h, w = x.shape
    padded = np.zeros((n, -(-c // block) * block, h, w), x.dtype)
    padded[:, :c] = x
    return np.stack(np.split(padded, padded.shape[1] // block, 1), 1).transpose(0, 1, 3, 4, 2).reshape(padded.shape)


def plain_map(x, block):
    n, c, h, w = x.shape
    return x.reshape(n, c // block, h, w, block).transpose(0, 1, 4, 2, 3).reshape(n, c, h, w)


def plain_kernel(w, block, blocked_inputs):
    o, i, *k = w.shape
    if blocked_inputs:
        cut = w.reshape(o // block, i // block, *k, block, block)
        return cut.transpose(0, 5, 1, 4, 2, 3).reshape(w.shape)
    return w.reshape(o // block, i, *k, block).transpose(0, 4, 1, 2, 3).reshape(w.shape)


def conv(x, w, b, strides, pads, dilations, group):
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    cells = np.lib.stride_tricks.sliding_window_view(x, spans, (2, 3))
    cells = cells[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    cells = cells.reshape(len(x), group, -1, *cells.shape[2:])
    y = np.einsum("ngcpqij,gocij->ngopq", cells, w.reshape(group, -1, *w.shape[1:]), optimize=True)
    return y.reshape(len(x), -1, *y.shape[3:]) + (0 if b is None else b.reshape(-1, 1, 1))


ACTIVATIONS = {
    "": lambda y: y,
    "Relu": lambda y: np.maximum(y, 0),
    "LeakyRelu": lambda y, alpha: np.where(y < 0, alpha * y, y),
    "Clip": np.clip,
    "HardSigmoid": lambda y, alpha, beta: np.clip(alpha * y + beta, 0, 1),
}


def ops_of(size):
    """The ops of a domain whose blocks have that size."""

    class Blocked(OpRun):
        op_domain = "com.microsoft.nchwc"
        block = size

    class ReorderInput(Blocked):
        def _run(self, x, channels_last=None):
            assert x.shape[1] % 4 == 0, x.shape
            return (block_map(x, self.block),)

    class ReorderOutput(Blocked):
        def _run(self, x, channels=None, channels_last=None):
            return (plain_map(x, self.block)[:, :channels],)

    class Conv(Blocked):
        def _run(
            self,
            x,
            w,
            b=None,
            addend=None,
            *,
            activation=None,
            activation_params=None,
            kernel_shape=None,
            strides=None,
            pads=None,
            dilations=None,
            group=None,
            auto_pad=None,
        ):
            few = x.shape[1] // group < self.block
            assert group == 1 or x.shape[1] % self.block == 0
            image = x if group == 1 and few else plain_map(x, self.block)
            kernel = plain_kernel(w, self.block, blocked_inputs=not few)
            y = block_map(conv(image, kernel, b, strides, pads, dilations, group), self.block)
            y = y if addend is None else y + addend
            return (ACTIVATIONS[activation or ""](y, *activation_params or ()).astype(x.dtype),)

    class MaxPool(Blocked):
        def _run(self, x, kernel_shape=None, strides=None, pads=None, **_):
            pooled = oracles.pool(plain_map(x, self.block), kernel_shape, strides, pads, np.max, -np.inf)
            return (block_map(pooled, self.block),)

    class AveragePool(Blocked):
        def _run(self, x, kernel_shape=None, strides=None, pads=None, count_include_pad=None, **_):
            def mean(x):
                return oracles.pool(x, kernel_shape, strides, pads, np.mean, 0.0)

            image = plain_map(x, self.block)
            counted = 1 if count_include_pad else mean(np.ones_like(image))
            return (block_map(mean(image) / counted, self.block),)

    return [ReorderInput, ReorderOutput, Conv, MaxPool, AveragePool]
