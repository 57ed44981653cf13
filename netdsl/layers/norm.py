"""Batch normalization, local response normalization and dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.shape import Shape, elements, product
from netdsl.declare.arguments import Flag, Integer, Real
from netdsl.declare.declared import Misfit, keyword, positional
from netdsl.diagnostics.shape_problems import NeedsNumber
from netdsl.ir.init import ones, zeros
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.window import spatial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Training, Weights


@layer("bn")
class BatchNorm(Layer):
    """Batch normalization, per channel: y = weight (x - mean) / sqrt(var + eps) + bias.

    Shapes: [C, *S] -> [C, *S]; weight, bias, running_mean, running_var [C]. Inference uses the running mean and
    variance; training uses the batch's, and updates running = (1 - momentum) running + momentum batch, with the
    unbiased variance.
    Conventions: `momentum` is the weight of the current batch, as in PyTorch; in TensorFlow it is 1 - momentum.
    Source: Ioffe & Szegedy (2015), algorithms 1 and 2.

    ```net
    input image 64x56x56
    bn
    ```
    """

    eps: float = keyword(Real(above=0), 1e-5, doc="added to the variance for numerical stability")
    momentum: float = keyword(Real(0, 1), 0.1, doc="weight of the current batch in the running statistics")
    affine: bool = keyword(Flag(), True, doc="learn a scale and an offset for each channel")

    def shape(self, *xs: Shape) -> Shape:
        if not isinstance(xs[0][0], int):
            raise Misfit(NeedsNumber)
        return xs[0]

    def weights(self, x: Shape) -> Iterator[Weight]:
        assert isinstance(x[0], int)
        size = (x[0],)
        if self.affine:
            yield Weight("weight", size, ones)
            yield Weight("bias", size, zeros)
        yield Weight("running_mean", size, zeros, buffer=True)
        yield Weight("running_var", size, ones, buffer=True)

    def body(self, x: Value, w: Weights) -> Value:
        return ops.batch_norm(x, *self._affine(x, w), w.running_mean, w.running_var, self.eps)

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        if training.frozen:
            return self.body(x, w)
        y, mean, var = ops.batch_norm_training(x, *self._affine(x, w), self.eps)
        count = elements(x.shape) // elements(x.shape[1:2])
        unbiased = ops.mul(var, count / (count - 1))
        for running, batch in ((w.running_mean, mean), (w.running_var, unbiased)):
            before = ops.mul(training.latest(running), 1 - self.momentum)
            training.set_state(running, ops.add(before, ops.mul(batch, self.momentum)))
        return y

    def _affine(self, x: Value, w: Weights) -> tuple[Value, Value]:
        (size,) = x.shape[1:2]
        assert isinstance(size, int)
        return (
            w.get("weight") or ops.constant(x.graph, 1.0, x.dtype, (size,)),
            w.get("bias") or ops.constant(x.graph, 0.0, x.dtype, (size,)),
        )


@layer("lrn")
class LocalResponseNorm(Layer):
    """Local response normalization: y = x / (k + alpha sum of x^2 over a window of `size` channels)^beta.

    Shapes: [C, *S] -> [C, *S] on one to three spatial axes.
    Conventions: the formula and the default constants are the paper's. Caffe, PyTorch and ONNX divide the sum by the
    size, as `mean on` does; in Caffe and PyTorch, k defaults to 1.
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
    mean: bool = keyword(Flag(), False, doc="divide the sum by the size")

    def shape(self, *xs: Shape) -> Shape:
        product(spatial(xs[0])[1:])
        if not isinstance(xs[0][0], int):
            raise Misfit(NeedsNumber)
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        channels, first, *rest = x.shape[1:]
        assert isinstance(channels, int)
        # onnxruntime allocates `size` channels; those beyond the input's add nothing.
        size = min(self.size, 2 * channels - 1)
        alpha = self.alpha * (size / self.size if self.mean else size)
        # onnxruntime supports LRN only on two spatial axes.
        flat = x if len(x.shape) == 4 else ops.reshape(x, (channels, first, product(tuple(rest))))
        y = ops.lrn(flat, size, alpha, self.beta, self.k)
        return y if flat is x else ops.reshape(y, (channels, first, *rest))


@layer("dropout")
class Dropout(Layer):
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
        return ops.dropout(x, self.p, training.key, training.step, spatial=self.spatial) if self.p else x
