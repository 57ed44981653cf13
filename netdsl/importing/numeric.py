"""Layers in double precision with NumPy alone, to compute what a model of another tool means without netdsl's layers.

Values have a batch and channels first: [N, C, *S]. Windows are sums over the offsets of their kernel.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 2**22
"""Elements of a dense layer's weight that are converted to double precision at a time."""


def windows(
    x: Floats, kernel: Sequence[int], stride: Sequence[int], out: Sequence[int], dilation: Sequence[int] = ()
) -> Iterator[tuple[tuple[int, ...], Floats]]:
    """Yield each offset in the kernel, and the elements of a padded input under it, one for each window."""
    for offset in product(*map(range, kernel)):
        at = zip(offset, stride, out, dilation or (1,) * len(kernel), strict=True)
        cuts = (slice(k * d, k * d + s * (n - 1) + 1, s) for k, s, n, d in at)
        yield offset, x[(slice(None), slice(None), *cuts)]


def _at(rows: Floats, offset: tuple[int, ...]) -> Floats:
    """Return the factors of all groups at an offset in the kernel."""
    for k in reversed(offset):
        rows = rows[..., k]
    return rows


def padded(x: Floats, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Floats:
    """Return an input with a border; negative sizes remove elements."""
    sides = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    y = np.pad(x, [(0, 0), (0, 0), *sides], constant_values=value)
    cuts = (slice(max(-b, 0), size - max(-a, 0)) for b, a, size in zip(before, after, y.shape[2:], strict=True))
    return y[(slice(None), slice(None), *cuts)]


def convolve(
    x: Floats,
    weight: NDArray[np.floating[Any]],
    *,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Floats:
    """Return a convolution with a weight [outputs, inputs / groups, *kernel], without a bias."""
    x = padded(x, before, after)
    kernel = weight.shape[2:]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    out = [(size - span) // s + 1 for size, span, s in zip(x.shape[2:], spans, stride, strict=True)]
    count, channels = x.shape[:2]
    rows = weight.astype(np.float64).reshape(groups, -1, channels // groups, *kernel)
    y = np.zeros((count, groups, rows.shape[1], int(np.prod(out))))
    for offset, part in windows(x, kernel, stride, out, dilation):
        columns = part.reshape(count, groups, channels // groups, -1)
        factor = _at(rows, offset)
        y += factor * columns if channels == groups else factor @ columns
    return y.reshape(count, -1, *out)


def deconvolve(
    x: Floats,
    weight: NDArray[np.floating[Any]],
    *,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Floats:
    """Return a transposed convolution with a weight [inputs, outputs / groups, *kernel], without a bias."""
    count, channels, *sizes = x.shape
    kernel = weight.shape[2:]
    whole = [s * (n - 1) + d * (k - 1) + 1 for n, s, k, d in zip(sizes, stride, kernel, dilation, strict=True)]
    rows = weight.astype(np.float64).reshape(groups, channels // groups, -1, *kernel)
    y = np.zeros((count, groups * rows.shape[2], *whole))
    columns = x.reshape(count, groups, channels // groups, -1)
    for offset, part in windows(y, kernel, stride, sizes, dilation):
        factor = np.swapaxes(_at(rows, offset), 1, 2)
        part += (factor @ columns).reshape(part.shape)  # a view of y
    return padded(y, [-b for b in before], [-a for a in after])


def dense(x: Floats, weight: NDArray[np.floating[Any]]) -> Floats:
    """Return x W^T for rows x and a weight [outputs, inputs]."""
    step = max(1, ROWS // max(1, weight.shape[1]))
    parts = [x @ weight[i : i + step].astype(np.float64).T for i in range(0, len(weight), step)]
    return np.concatenate(parts, axis=-1)


def channelwise(x: Floats, values: NDArray[np.floating[Any]]) -> Floats:
    """Return one number per channel in a shape that fits an input [N, C, *S]."""
    return values.astype(np.float64).reshape(1, -1, *(1,) * (x.ndim - 2))


def softmax(x: Floats, axis: int) -> Floats:
    e: Floats = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def interpolated(x: Floats, sizes: Sequence[int]) -> Floats:
    """Return a bilinear interpolation whose corners are those of the input."""
    for axis, size in enumerate(sizes, 2):
        last = x.shape[axis] - 1
        at = np.arange(size) * (last / (size - 1) if size > 1 else 0.0)
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *(1,) * (x.ndim - axis - 1))
        x = np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, last), axis) * share
    return x
