"""Normalization and dropout."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, elements, product
from netdsl.declare.arguments import Choice, Flag, Initializer, Integer, Real
from netdsl.declare.declared import keyword, positional
from netdsl.ir.init import Init, ones, zeros
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.window import channel_count, spatial, split_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Training, Weights


class Normalization(Layer):
    """Base class of y = weight (x - mean) / sqrt(var + eps) + bias, with a weight and a bias for each channel."""

    affine: bool
    eps: float = keyword(Real(above=0), 1e-5, doc="added to the variance for numerical stability")
    init: Init = keyword(Initializer(), ones, doc="initializer of the scale")

    def shape(self, *xs: Shape) -> Shape:
        channel_count(xs[0])
        return xs[0]

    def weights(self, x: Shape) -> Iterator[Weight]:
        if self.affine:
            yield Weight("weight", (channel_count(x),), self.init)
            yield Weight("bias", (channel_count(x),), zeros)

    def scale_and_offset(self, x: Value, w: Weights) -> tuple[Value, Value]:
        """Return the weight and the bias, or 1 and 0 if they are not learned."""
        if self.affine:
            return w.weight, w.bias
        one, zero = (ops.constant(x.graph, each, x.dtype, (channel_count(x.shape[1:]),)) for each in (1.0, 0.0))
        return one, zero


@layer("bn")
class BatchNormLayer(Normalization):
    """Batch normalization, per channel: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S]; weight, bias, running_mean, running_var [C]. Inference uses the running mean and
    variance; training uses the batch's, and updates running = (1 - momentum) running + momentum batch, with the
    unbiased variance.
    Conventions: `momentum` is the weight of the current batch, as in PyTorch; in TensorFlow it is 1 - momentum.
    A step in `shards` is normalized shard by shard, unless its `train` block has the line `bn sync on`.
    `init zeros` on the last `bn` of a residual branch starts training with the identity (Goyal et al., 2017).
    Source: Ioffe & Szegedy (2015), algorithms 1 and 2.

    ```net
    input image 64x56x56
    bn
    ```
    """

    momentum: float = keyword(Real(0, 1), 0.1, doc="weight of the current batch in the running statistics")
    affine: bool = keyword(Flag(), True, doc="learn a scale and an offset for each channel")

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield from super().weights(x)
        yield Weight("running_mean", (channel_count(x),), zeros, buffer=True)
        yield Weight("running_var", (channel_count(x),), ones, buffer=True)

    def body(self, x: Value, w: Weights) -> Value:
        return ops.batch_norm(x, *self.scale_and_offset(x, w), w.running_mean, w.running_var, self.eps)

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        if training.frozen:
            return self.body(x, w)
        affine = self.scale_and_offset(x, w)
        if training.shards is None:
            y, mean, var = ops.batch_norm_training(x, *affine, self.eps)
            count = elements(x.shape) // elements(x.shape[1:2])
            unbiased = ops.mul(var, count / (count - 1))
        else:
            y, mean, var, every = ops.sync_batch_norm_training(x, *affine, training.shards, self.eps)
            unbiased = ops.div(ops.mul(var, every), ops.sub(every, 1.0))
        for running, batch in ((w.running_mean, mean), (w.running_var, unbiased)):
            before = ops.mul(training.latest(running), 1 - self.momentum)
            training.set_state(running, ops.add(before, ops.mul(batch, self.momentum)))
        return y


@layer("lrn")
class LocalResponseNormLayer(Layer):
    """Local response normalization: y = x / (k + alpha sum of x^2 over a window of `size` channels)^beta.

    Shapes: [C, *S] -> [C, *S] on one to three spatial axes. With `within on`, the window has `size` positions on each
    spatial axis instead, within the channel.
    Conventions: the formula and the default constants are the paper's. Caffe, PyTorch and ONNX divide the sum by the
    number of elements of the window, as `mean on` does; in Caffe and PyTorch, k defaults to 1. Caffe's `WITHIN_CHANNEL`
    is `within on mean on k 1`.
    Source: Krizhevsky et al. (2012), section 3.3.

    ```net
    input image 96x55x55
    lrn 5
    ```
    """

    size: int = positional(Integer(odd=True), doc="number of channels in the window")
    alpha: float = keyword(Real(above=0, maximum=1e29), 1e-4, doc="coefficient of the sum")
    beta: float = keyword(Real(above=0), 0.75, doc="exponent")
    k: float = keyword(Real(above=0), 2.0, doc="constant added to the scaled sum")
    mean: bool = keyword(Flag(), False, doc="divide the sum by the number of elements of the window")
    within: bool = keyword(Flag(), False, doc="sum over positions around the element, within its channel")

    def shape(self, *xs: Shape) -> Shape:
        product(spatial(xs[0])[1:])
        channel_count(xs[0])
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        count, (first, *rest) = channel_count(x.shape[1:]), x.shape[2:]
        if self.within:
            # Positions beyond the edges add nothing.
            kernel = tuple(min(self.size, 2 * size - 1) if isinstance(size, int) else self.size for size in x.shape[2:])
            share = prod(kernel) / (self.size ** len(kernel) if self.mean else 1)
            return ops.lrn_within(x, kernel, self.alpha * share, self.beta, self.k)
        # onnxruntime allocates `size` channels; those beyond the input's add nothing.
        size = min(self.size, 2 * count - 1)
        alpha = self.alpha * (size / self.size if self.mean else size)
        # onnxruntime supports LRN only on two spatial axes.
        flat = x if len(x.shape) == 4 else ops.reshape(x, (count, first, product(tuple(rest))))
        y = ops.lrn(flat, size, alpha, self.beta, self.k)
        return y if flat is x else ops.reshape(y, (count, first, *rest))


@layer("dropout")
class DropoutLayer(Layer):
    """Dropout: during training, each value is zeroed with probability p and the others are scaled by 1 / (1 - p).

    Shapes: [*] -> [*].
    Conventions: values are scaled during training, so inference is the identity and is left out of the graph.
    `spatial on` drops whole channels (Tompson et al., 2015).
    Source: Srivastava et al. (2014).

    ```net
    input x 4096
    dropout 0.5
    ```
    """

    p: float = positional(Real(0, below=1), doc="probability of being dropped")
    spatial: bool = keyword(Flag(), False, doc="drop whole channels")

    def body(self, x: Value, w: Weights) -> Value:
        return x

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        return ops.dropout(x, self.p, training.key, training.step, 2 if self.spatial else None, training.rows)


@layer("drop_path")
class DropPathLayer(Layer):
    """Stochastic depth: during training, all values of an example are zeroed with probability p, otherwise scaled by
    1 / (1 - p).

    Shapes: [*] -> [*].
    Conventions: at the end of the body of a `skip`, whose branch it drops. Values are scaled during training, so
    inference is the identity and is left out of the graph: torchvision's `StochasticDepth(p, "row")` and timm's
    `DropPath`. The paper scales at inference instead.
    Source: Huang et al. (2016), section 3; Larsson et al. (2017).

    ```net
    input x 64x20
    skip { linear 64; relu; drop_path 0.1 }
    relu
    ```
    """

    p: float = positional(Real(0, below=1), doc="probability of being dropped")

    def body(self, x: Value, w: Weights) -> Value:
        return x

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        return ops.dropout(x, self.p, training.key, training.step, 1, training.rows)


@layer("noise")
class NoiseLayer(Layer):
    """Additive noise: during training, y = x + scale z, with z drawn anew for each element and step.

    Shapes: [*] -> [*]. z is from the standard normal distribution with `normal`, and from -1 up to 1 with `uniform`.
    Conventions: inference is the identity and is left out of the graph; for noise at inference, declare an input. The
    noise depends on the seed, the layer's name and the step, as that of `dropout`. `noise normal 0.1` is Keras'
    GaussianNoise(0.1); `uniform 0.5` is the noise that replaces rounding in compression.
    Source: Bishop (1995); Ballé, Laparra & Simoncelli (2017), section 3, for uniform noise.

    ```net
    input x 784
    noise normal 0.1
    ```
    """

    distribution: str = positional(Choice("normal", "uniform"), doc="distribution of the noise")
    scale: float = positional(Real(0), 1.0, doc="standard deviation, or largest magnitude of uniform noise")

    def body(self, x: Value, w: Weights) -> Value:
        return x

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        if not self.scale:
            return x
        z = ops.noise(x, self.distribution == "normal", training.key, training.step, training.rows)
        return ops.add(x, ops.mul(z, self.scale))


class SampleNorm(Normalization):
    """Base class of normalization by the statistics of each example, identical in training and inference."""

    affine: bool = keyword(Flag(), True, doc="learn a scale and an offset for each channel")


@layer("layernorm")
class LayerNormLayer(SampleNorm):
    """Layer normalization over the channels at each position: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S]; weight, bias [C]. The mean and the biased variance are taken over the C values at each
    position.
    Conventions: as in transformers and ConvNeXt, and as PyTorch's LayerNorm(C) on channels-last data. The paper
    normalizes over all values of an example: the same for a flat input; otherwise use `groupnorm 1`.
    Source: Ba, Kiros & Hinton (2016), eq. 3.

    ```net
    input x 64x20
    layernorm
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return self._normalized(ops.layer_norm, x, w)

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        return self._normalized(ops.layer_norm_training, x, w)

    def _normalized(self, norm: Callable[[Value, Value, Value, float], Value], x: Value, w: Weights) -> Value:
        rank = len(x.shape)
        scale, offset = self.scale_and_offset(x, w)
        if rank == 2:
            return norm(x, scale, offset, self.eps)
        last = ops.transpose(x, (0, *range(2, rank), 1))
        return ops.transpose(norm(last, scale, offset, self.eps), (0, rank - 1, *range(1, rank - 1)))


@layer("rmsnorm")
class RmsNormLayer(Normalization):
    """Root mean square normalization over the channels at each position: y = weight x / sqrt(mean of x^2 + eps).

    Shapes: [C, *S] -> [C, *S]; weight [C]. The mean is taken over the C values at each position.
    Conventions: as in Llama, and as PyTorch's RMSNorm(C) on channels-last data, whose `eps` is the smallest step of the
    type, 1.2e-7, unless given. There is no mean to subtract and no bias.
    Source: Zhang & Sennrich (2019), eq. 4.

    ```net
    input x 64x20
    rmsnorm
    ```
    """

    eps: float = keyword(Real(above=0), 1e-6, doc="added to the mean square for numerical stability")
    affine: bool = keyword(Flag(), True, doc="learn a scale for each channel")

    def weights(self, x: Shape) -> Iterator[Weight]:
        if self.affine:
            yield Weight("weight", (channel_count(x),), self.init)

    def body(self, x: Value, w: Weights) -> Value:
        scale = w.get("weight") or ops.constant(x.graph, 1.0, x.dtype, (channel_count(x.shape[1:]),))
        rank = len(x.shape)
        if rank == 2:
            return ops.rms_norm(x, scale, self.eps)
        last = ops.transpose(x, (0, *range(2, rank), 1))
        return ops.transpose(ops.rms_norm(last, scale, self.eps), (0, rank - 1, *range(1, rank - 1)))


@layer("l2norm")
class L2NormLayer(Layer):
    """L2 normalization over the channels at each position: y = x / sqrt(sum of x^2 + eps).

    Shapes: [C, *S] -> [C, *S]; weight [C] with `scale on`.
    Conventions: `scale on` multiplies each channel by a learned weight, initially 20, as in SSD and Caffe's
    `Normalize`. PyTorch's `normalize` divides by max(norm, 1e-12) instead, the same but for lengths below 1e-4.
    Source: Liu, Rabinovich & Berg (2015), section 3.3; Liu et al. (2016), SSD.

    ```net
    input x 512x38x38
    l2norm scale on
    ```
    """

    eps: float = keyword(Real(above=0), 1e-10, doc="added to the sum of squares for numerical stability")
    scale: bool = keyword(Flag(), False, doc="learn a scale for each channel")
    init: Init = keyword(Initializer(), Init("constant", 20.0), doc="initializer of the scale")

    def weights(self, x: Shape) -> Iterator[Weight]:
        if self.scale:
            yield Weight("weight", (channel_count(x),), self.init)

    def body(self, x: Value, w: Weights) -> Value:
        y = ops.l2_norm(x, 1, self.eps)
        if not self.scale:
            return y
        sides = (1,) * (len(x.shape) - 2)
        return ops.mul(y, ops.reshape(w.weight, (*w.weight.shape, *sides), batch=False) if sides else w.weight)


@layer("instancenorm")
class InstanceNormLayer(SampleNorm):
    """Instance normalization of each channel: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S] on one to three spatial axes; weight, bias [C]. The mean and the biased variance are
    taken over each channel of each example.
    Conventions: scale and offset are learned, as in the paper; PyTorch's default is `affine off`.
    Source: Ulyanov, Vedaldi & Lempitsky (2016), eq. 7.

    ```net
    input x 64x8x8
    instancenorm
    ```
    """

    def shape(self, *xs: Shape) -> Shape:
        spatial(xs[0])
        return super().shape(*xs)

    def body(self, x: Value, w: Weights) -> Value:
        return ops.instance_norm(x, *self.scale_and_offset(x, w), self.eps)


@layer("groupnorm")
class GroupNormLayer(SampleNorm):
    """Group normalization of each group of channels: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S]; weight, bias [C]. The mean and the biased variance are taken over the C / groups
    channels of each group of each example; `groupnorm 1` normalizes over all values of an example.
    Source: Wu & He (2018), eq. 1 to 4.

    ```net
    input x 64x8x8
    groupnorm 32
    ```
    """

    groups: int = positional(Integer(), doc="number of groups that the channels are split into")

    def shape(self, *xs: Shape) -> Shape:
        split_channels(xs[0], self.groups, "groups")
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        width, sizes = split_channels(x.shape[1:], self.groups, "groups"), x.shape[2:]
        # A group becomes one channel. The other axes keep their positions, because Reshape infers only one size.
        wide = (width * product(sizes[:1]), *sizes[1:])
        scale, offset = (ops.constant(x.graph, each, shape=(self.groups,)) for each in (1.0, 0.0))
        y = ops.instance_norm(ops.reshape(x, (self.groups, *wide)), scale, offset, self.eps)
        y = ops.reshape(y, x.shape[1:])
        if not self.affine:
            return y
        each = (*x.shape[1:2], *(1 for _ in sizes))
        weight, bias = (ops.reshape(v, each, batch=False) if sizes else v for v in (w.weight, w.bias))
        return ops.add(ops.mul(y, weight), bias)
