"""Formulas of layers and ops as textbook loops in numpy, [N, C, *S] throughout; what the tests hold results against."""

from __future__ import annotations

import numpy as np

from netdsl.ir.op import Op


def rows(x, kernel, strides, pads, dilations=(), fill=0.0):
    """Each window of the last axes, as (place, cells): the textbook loop that the oracles below are made of."""
    rank = len(kernel)
    dilations = dilations or (1,) * rank
    widths = [(0, 0)] * (x.ndim - rank) + list(zip(pads[:rank], pads[rank:], strict=True))
    x = np.pad(x, widths, constant_values=fill)
    sizes = x.shape[-rank:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    out = [len(range(0, size - r + 1, s)) for size, r, s in zip(sizes, reach, strides, strict=True)]
    for place in np.ndindex(*out):
        at = [p * s for p, s in zip(place, strides, strict=True)]
        yield out, place, x[(..., *(slice(a, a + r, d) for a, r, d in zip(at, reach, dilations, strict=True)))]


def conv(x, w, b, strides, pads, dilations, group):
    rank, per = w.ndim - 2, w.shape[0] // group
    y = None
    for out, place, cells in rows(x, w.shape[2:], strides, pads, dilations):
        y = np.zeros((len(x), len(w), *out)) if y is None else y
        for o in range(len(w)):
            c = w.shape[1] * (o // per)
            part = cells[:, c : c + w.shape[1]] * w[o]
            y[(slice(None), o, *place)] = part.sum(axis=tuple(range(1, rank + 2))) + (0 if b is None else b[o])
    return y


def conv_transpose(x, w, strides, pads, output_padding, dilations, group):
    """Each input element adds its multiple of the kernel to the output."""
    rank, per = w.ndim - 2, w.shape[0] // group
    kernel = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    sizes = [(n - 1) * s + k + o for n, s, k, o in zip(x.shape[2:], strides, kernel, output_padding, strict=True)]
    y = np.zeros((len(x), w.shape[1] * group, *sizes))
    for c in range(len(w)):
        for place in np.ndindex(*x.shape[2:]):
            at = [slice(p * s, p * s + k, d) for p, s, k, d in zip(place, strides, kernel, dilations, strict=True)]
            first = w.shape[1] * (c // per)
            element = x[(slice(None), c, *place)].reshape(-1, 1, *(1,) * rank)
            y[(slice(None), slice(first, first + w.shape[1]), *at)] += element * w[c]
    ends = [slice(pads[i], size - pads[rank + i]) for i, size in enumerate(sizes)]
    return y[(..., *ends)]


def pool(x, kernel, strides, pads, how, fill=0.0):
    y = None
    for out, place, cells in rows(x, kernel, strides, pads, fill=fill):
        y = np.zeros((*x.shape[:2], *out)) if y is None else y
        y[(..., *place)] = how(cells, axis=tuple(range(2, x.ndim)))
    return y


def max_pool_gradient(x, dy, kernel, strides, pads):
    """dy goes to the first largest of each window, in row-major order."""
    rank = len(kernel)
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    places = np.pad(np.arange(x.size).reshape(x.shape), widths, constant_values=-1)
    dx = np.zeros(x.size)
    for (_, place, cells), (_, _, where) in zip(
        rows(x, kernel, strides, pads, fill=-np.inf), rows(places, kernel, strides, (0,) * 2 * rank), strict=True
    ):
        for n, c in np.ndindex(x.shape[:2]):
            dx[where[n, c].ravel()[cells[n, c].argmax()]] += dy[(n, c, *place)]
    return dx.reshape(x.shape)


def lrn(x, size, alpha, beta, bias):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        around = x[:, max(0, c - (size - 1) // 2) : c + (size - 1 - (size - 1) // 2) + 1]
        y[:, c] = x[:, c] / (bias + alpha / size * (around**2).sum(axis=1)) ** beta
    return y


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def per_channel(v):
    return v.reshape(1, -1, 1, 1)


def average_of_pads(x, kernel, strides, pads, extra):
    """PyTorch's average that counts padding: what is declared counts, what ceil adds does not."""
    rank = len(kernel)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    return pool(x, kernel, strides, (0,) * rank + extra, np.nanmean, np.nan)


def standard(x, axes, eps):
    """Mean 0 and, but for `eps`, variance 1 over the axes."""
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)


def upsample(x, factors, corners):
    """Interpolation along one spatial axis after the other; beyond the outermost elements it is constant."""
    for axis, factor in enumerate(factors, 2):
        size = x.shape[axis]
        out = np.arange(size * factor)
        at = out * (size - 1) / max(1, size * factor - 1) if corners else (out + 0.5) / factor - 0.5
        places = np.arange(size)
        x = np.apply_along_axis(lambda row, at=at, places=places: np.interp(at, places, row), axis, x)
    return x


def resize(x, sizes, mode, where="half_pixel"):
    """Interpolation along one spatial axis after the other, of the formulas on the layer's page."""
    for axis, many in enumerate(sizes, 2):
        size, i = x.shape[axis], np.arange(many)
        if mode == "nearest":
            x = x.take(i * size // many, axis)
        elif mode == "nearest_exact":
            x = x.take((2 * i + 1) * size // (2 * many), axis)
        else:
            at = {
                "half_pixel": (i + 0.5) * size / many - 0.5,
                "align_corners": i * (size - 1) / max(1, many - 1),
                "asymmetric": i * size / many,
            }[where]
            place = np.arange(-3, size + 3)
            far = np.abs(at[:, None] - place)
            near = np.maximum(0, 1 - far) if mode == "bilinear" else _keys(far)
            row = np.zeros((many, size))
            np.add.at(row, (slice(None), place.clip(0, size - 1)), near)
            x = np.moveaxis(np.tensordot(row, x, (1, axis)), 0, axis)
    return x


def _keys(far, a=-0.75):
    """Keys (1981), eq. 4, with the slope a."""
    inner = (a + 2) * far**3 - (a + 3) * far**2 + 1
    outer = a * (far**3 - 5 * far**2 + 8 * far - 4)
    return np.where(far <= 1, inner, np.where(far < 2, outer, 0))


def grid_sample(x, grid, border=False, corners=False):
    """torch.nn.functional.grid_sample, sample by sample; the grid is [N, 2, *P]."""
    n, channels, *sizes = x.shape
    y = np.zeros((n, channels, *grid.shape[2:]))
    for place in np.ndindex(n, *grid.shape[2:]):
        at = [
            ((g + 1) / 2 * (size - 1)) if corners else ((g + 1) * size - 1) / 2
            for g, size in zip(grid[(place[0], slice(None), *place[1:])], sizes[::-1], strict=True)
        ]
        if border:
            at = [min(max(a, 0), size - 1) for a, size in zip(at, sizes[::-1], strict=True)]
        for i, j in np.ndindex(2, 2):
            column, row = int(np.floor(at[0])) + i, int(np.floor(at[1])) + j
            if 0 <= column < sizes[1] and 0 <= row < sizes[0]:
                weight = (1 - abs(at[0] - column)) * (1 - abs(at[1] - row))
                y[(place[0], slice(None), *place[1:])] += weight * x[place[0], :, row, column]
    return y


def roi_align(x, boxes, bins, samples=2, scale=1.0, aligned=True):
    """RoIAlign of He et al. (2017), sample by sample; the boxes are [N, 4, R]."""
    n, channels, *sizes = x.shape
    y = np.zeros((n, channels, boxes.shape[2], *bins))
    for e, r, *place in np.ndindex(n, boxes.shape[2], *(count * samples for count in bins)):
        begins, ends = np.array(boxes[e, :, r]).reshape(2, 2)[:, ::-1] * scale
        extent = ends - begins if aligned else np.maximum(ends - begins, 1)
        at = begins - aligned / 2 + (np.array(place) + 0.5) * extent / samples / bins
        if all(-1 <= p <= size for p, size in zip(at, sizes, strict=True)):
            near = [np.clip(p, 0, size - 1) - np.arange(size) for p, size in zip(at, sizes, strict=True)]
            down, across = (np.maximum(0, 1 - np.abs(distance)) for distance in near)
            y[(e, slice(None), r, *(p // samples for p in place))] += x[e] @ across @ down / samples**2
    return y


def max_unpool(v, x, kernel, strides, pads):
    """v at the first maximum of each window of x, element by element."""
    y = np.zeros_like(x)
    for place in np.ndindex(*v.shape):
        begins = [max(0, p * s - b) for p, s, b in zip(place[2:], strides, pads, strict=False)]
        ends = [p * s - b + k for p, s, b, k in zip(place[2:], strides, pads, kernel, strict=False)]
        window = x[(*place[:2], *map(slice, begins, ends))]
        at = np.unravel_index(window.argmax(), window.shape)
        y[(*place[:2], *(b + i for b, i in zip(begins, at, strict=True)))] = v[place]
    return y


def pixel_shuffle(x, r):
    """y[c, r*s + i] = x[c*r^d + digits i in base r, s], element by element."""
    rank = x.ndim - 2
    y = np.empty((len(x), x.shape[1] // r**rank, *(size * r for size in x.shape[2:])))
    for place in np.ndindex(*y.shape[1:]):
        channel = place[0]
        for p in place[1:]:
            channel = channel * r + p % r
        y[(slice(None), *place)] = x[(slice(None), channel, *(p // r for p in place[1:]))]
    return y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrent(cell, x, w, r, b, c, lengths=None, states=(), reverse=False):
    """The places of one direction, one example and one step after the other: x [L, N, C], PyTorch's weights ->
    y [L, N, H], and the last states."""
    hidden = r.shape[1]
    states = [np.array(each) for each in states] or [
        np.zeros((x.shape[1], hidden)) for _ in range(1 + (cell == "lstm"))
    ]
    y = np.zeros((*x.shape[:2], hidden))
    for n in range(x.shape[1]):
        places = range(len(x) if lengths is None else lengths[n])
        for t in reversed(places) if reverse else places:
            h = states[0][n]
            p, q = (part.reshape(-1, hidden) for part in (w @ x[t, n] + b, r @ h + c))
            if cell == "lstm":
                i, f, o = (sigmoid(p[at] + q[at]) for at in (0, 1, 3))
                states[1][n] = f * states[1][n] + i * np.tanh(p[2] + q[2])
                h = o * np.tanh(states[1][n])
            elif cell == "gru":
                z = sigmoid(p[1] + q[1])
                h = (1 - z) * np.tanh(p[2] + sigmoid(p[0] + q[0]) * q[2]) + z * h
            else:
                h = np.tanh(p[0] + q[0]) if cell == "rnn" else np.maximum(p[0] + q[0], 0)
            y[t, n] = states[0][n] = h
    return y, *states


GATES = {"lstm": 4, "gru": 3, "rnn": 1, "rnn_relu": 1}


def recurrent_inputs(cell, x, directions, *, hidden=4, bias=True, lengths=False, initial=False):
    """The shapes of what a recurrent op takes: x, the weights of each direction, the lengths, the initial states."""
    rows = GATES[cell] * hidden
    weights = [(rows, x[2]), (rows, hidden), *[(rows,)] * 2 * bias]
    states = [(x[1], directions * hidden)] * (1 + (cell == "lstm"))
    return [x, *weights * directions, *[(x[1],)] * lengths, *states * initial]


def split_inputs(xs, directions, *, bias=True, lengths=False, **_):
    """What `recurrent_inputs` describes: x, a tuple of weights for each direction, the lengths, the initial states."""
    count = 2 + 2 * bias
    weights = [tuple(xs[1 + d * count :][:count]) for d in range(directions)]
    rest = xs[1 + directions * count :]
    return xs[0], weights, rest[0] if lengths else None, tuple(rest[lengths:])


def recurrent_layer(cell, x, weights, lengths, states):
    """y [L, N, D H], and the last states [N, D H], of one direction after the other."""
    found = []
    for d, (w, r, *biases) in enumerate(weights):
        own = [np.split(each, len(weights), 1)[d] for each in states]
        found.append(recurrent(cell, x, w, r, *(biases or (0, 0)), lengths, own, reverse=d == 1))
    return [np.concatenate(each, -1) for each in zip(*found, strict=True)]


def pixel_unshuffle(x, r):
    """y[c*r^d + digits i in base r, s] = x[c, r*s + i], element by element."""
    rank = x.ndim - 2
    y = np.empty((len(x), x.shape[1] * r**rank, *(size // r for size in x.shape[2:])))
    for place in np.ndindex(*x.shape[1:]):
        channel = place[0]
        for p in place[1:]:
            channel = channel * r + p % r
        y[(slice(None), channel, *(p // r for p in place[1:]))] = x[(slice(None), *place)]
    return y


def digits_exchanged(x, groups):
    """Channels g * each + i as i * groups + g."""
    return np.stack(np.split(x, groups, 1), 2).reshape(x.shape)


def standard_ops(base=Op):
    """The ops that all layers share: classes from which none of them derives, whatever else a test has imported."""
    shared = [each for each in base.__subclasses__() if each.__module__.startswith(("netdsl.ops.", "netdsl.ir.op"))]
    own = "nchwc", "quick_gelu", "scaled_sum", "sync_batch_norm"  # of single passes, with tests of their own
    shared = [each for each in shared if each.__module__.removeprefix("netdsl.ops.") not in own]
    return set().union(*map(standard_ops, shared)) if shared else {base}
