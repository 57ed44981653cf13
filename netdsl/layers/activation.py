"""Activation functions."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import Shape
from netdsl.declare.arguments import Flag, Initializer, Integer, Real
from netdsl.declare.declared import keyword, positional
from netdsl.ir.init import Init
from netdsl.layers.base import Layer, Weight, layer
from netdsl.layers.window import axis_of, channel_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Value
    from netdsl.layers.base import Training, Weights


TAIL = 0.99
"""Share of its limit from which a function that approaches it counts as saturated."""
SELU_LIMIT = 1.7580993408473766
"""The negative limit of `selu`."""


@layer("sigmoid")
class SigmoidLayer(Layer):
    """Logistic function: y = 1 / (1 + exp(-x)).

    Shapes: [*] -> [*].
    Source: Rumelhart, Hinton & Williams (1986), eq. 2.

    ```net
    input x 784
    sigmoid
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return 1 - TAIL, TAIL

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sigmoid(x)


@layer("hard_sigmoid")
class HardSigmoidLayer(Layer):
    """Piecewise linear approximation of the logistic function: y = min(max(x / 6 + 1/2, 0), 1).

    Shapes: [*] -> [*].
    Conventions: the slope is 1/6, as in PyTorch and MobileNet v3; the default of ONNX and older Keras versions is 0.2.
    Source: Courbariaux et al. (2015), eq. 3; Howard et al. (2019), section 5.2.

    ```net
    input x 784
    hard_sigmoid
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return 0, 1

    def body(self, x: Value, w: Weights) -> Value:
        return ops.hard_sigmoid(x)


@layer("tanh")
class TanhLayer(Layer):
    """Hyperbolic tangent: y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    Shapes: [*] -> [*].
    Source: LeCun et al. (1998), appendix A.

    ```net
    input x 784
    tanh
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return -TAIL, TAIL

    def body(self, x: Value, w: Weights) -> Value:
        return ops.tanh(x)


@layer("hard_tanh")
class HardTanhLayer(Layer):
    """Piecewise linear approximation of tanh: y = min(max(x, -1), 1).

    Shapes: [*] -> [*].
    Conventions: the limits are PyTorch's defaults; `clip` has others.
    Source: Collobert (2004).

    ```net
    input x 784
    hard_tanh
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return -1, 1

    def body(self, x: Value, w: Weights) -> Value:
        return ops.clip(x, -1.0, 1.0)


@layer("softsign")
class SoftsignLayer(Layer):
    """Softsign: y = x / (1 + |x|).

    Shapes: [*] -> [*].
    Source: Bergstra et al. (2009); Glorot & Bengio (2010), section 3.

    ```net
    input x 784
    softsign
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return -TAIL, TAIL

    def body(self, x: Value, w: Weights) -> Value:
        return ops.softsign(x)


@layer("sign")
class SignLayer(Layer):
    """Sign function: y = -1 if x < 0, 0 if x = 0, and 1 if x > 0.

    Shapes: [*] -> [*].
    Source: Minsky & Papert (1969).

    ```net
    input x 784
    sign
    ```
    """

    differentiable = False

    def body(self, x: Value, w: Weights) -> Value:
        return ops.sign(x)


@layer("step")
class StepLayer(Layer):
    """Heaviside step function: y = 1 if x > 0, otherwise 0.

    Shapes: [*] -> [*].
    Source: McCulloch & Pitts (1943); Rosenblatt (1958).

    ```net
    input x 784
    step
    ```
    """

    differentiable = False

    def body(self, x: Value, w: Weights) -> Value:
        return ops.relu(ops.sign(x))


@layer("relu")
class ReluLayer(Layer):
    """Rectified linear unit: y = max(x, 0).

    Shapes: [*] -> [*].
    Source: Nair & Hinton (2010).

    ```net
    input x 784
    relu
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return 0, inf

    def body(self, x: Value, w: Weights) -> Value:
        return ops.relu(x)


@layer("relu6")
class Relu6Layer(Layer):
    """Rectified linear unit capped at 6: y = min(max(x, 0), 6).

    Shapes: [*] -> [*].
    Source: Krizhevsky (2010).

    ```net
    input x 784
    relu6
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return 0, 6

    def body(self, x: Value, w: Weights) -> Value:
        return ops.clip(x, 0.0, 6.0)


@layer("leaky_relu")
class LeakyReluLayer(Layer):
    """Leaky rectified linear unit: y = x if x >= 0, otherwise slope x.

    Shapes: [*] -> [*].
    Conventions: the default slope, 0.01, is PyTorch's; DCGAN uses 0.2 and Darknet 0.1, and Keras' default is 0.3.
    Source: Maas, Hannun & Ng (2013).

    ```net
    input x 784
    leaky_relu 0.2
    ```
    """

    slope: float = positional(Real(), 0.01, doc="slope for negative values")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.leaky_relu(x, self.slope)


@layer("prelu")
class PReluLayer(Layer):
    """Leaky rectified linear unit with a learned slope for each channel: y = x if x >= 0, otherwise weight x.

    Shapes: [C, *S] -> [C, *S]; weight [C], or [1] with `shared on`.
    Conventions: slopes are initialized to 0.25, as in the paper and PyTorch; PyTorch shares one slope by default.
    Source: He et al. (2015), eq. 1.

    ```net
    input x 64x8x8
    prelu
    ```
    """

    shared: bool = keyword(Flag(), False, doc="share one slope between all channels")
    init: Init = keyword(Initializer(), Init("constant", 0.25), doc="initializer of the slopes")

    def shape(self, *xs: Shape) -> Shape:
        if not self.shared:
            channel_count(xs[0])
        return xs[0]

    def weights(self, x: Shape) -> Iterator[Weight]:
        yield Weight("weight", (1 if self.shared else channel_count(x),), self.init)

    def body(self, x: Value, w: Weights) -> Value:
        spatial = (1,) * (len(x.shape) - 2)
        slopes = w.weight
        return ops.prelu(x, ops.reshape(slopes, (*slopes.shape, *spatial), batch=False) if spatial else slopes)


@layer("elu")
class EluLayer(Layer):
    """Exponential linear unit: y = x if x > 0, otherwise alpha (exp(x) - 1).

    Shapes: [*] -> [*].
    Source: Clevert, Unterthiner & Hochreiter (2016), eq. 15.

    ```net
    input x 784
    elu
    ```
    """

    alpha: float = positional(Real(), 1.0, doc="scale for negative values; the output approaches -alpha")

    @property
    def saturation(self) -> tuple[float, float]:
        return (-self.alpha * TAIL if self.alpha > 0 else -inf), inf

    def body(self, x: Value, w: Weights) -> Value:
        return ops.elu(x, self.alpha)


@layer("selu")
class SeluLayer(Layer):
    """Scaled exponential linear unit: y = 1.0507 x if x > 0, otherwise 1.0507 * 1.6733 (exp(x) - 1).

    Shapes: [*] -> [*].
    Conventions: the constants are the paper's, in full precision. Initialize the weights as in the paper: with
    `normal(1 / sqrt(inputs))`, or with `xavier_normal` if the layer has as many inputs as outputs.
    Source: Klambauer et al. (2017), eq. 2 and 14.

    ```net
    input x 784
    selu
    ```
    """

    @property
    def saturation(self) -> tuple[float, float]:
        return -SELU_LIMIT * TAIL, inf

    def body(self, x: Value, w: Weights) -> Value:
        return ops.selu(x)


@layer("celu")
class CeluLayer(Layer):
    """Continuously differentiable exponential linear unit: y = x if x > 0, otherwise alpha (exp(x / alpha) - 1).

    Shapes: [*] -> [*].
    Source: Barron (2017), eq. 2.

    ```net
    input x 784
    celu
    ```
    """

    alpha: float = positional(Real(above=0), 1.0, doc="scale for negative values; the output approaches -alpha")

    @property
    def saturation(self) -> tuple[float, float]:
        return -self.alpha * TAIL, inf

    def body(self, x: Value, w: Weights) -> Value:
        if self.alpha == 1:
            return ops.elu(x)
        # The quotient can overflow where x is positive.
        return ops.where(ops.greater(x, 0), x, ops.mul(ops.elu(ops.mul(x, 1 / self.alpha)), self.alpha))


@layer("gelu")
class GeluLayer(Layer):
    """Gaussian error linear unit: y = x Phi(x) = x (1 + erf(x / sqrt(2))) / 2.

    Shapes: [*] -> [*].
    Conventions: the default is the exact form, as in PyTorch and BERT. `tanh on` is the approximation
    x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 of GPT-2 and PyTorch's `approximate="tanh"`, off by up to 0.0005.
    Source: Hendrycks & Gimpel (2016), section 2.

    ```net
    input x 784
    gelu
    ```
    """

    tanh: bool = keyword(Flag(), False, doc="use the tanh approximation")

    def body(self, x: Value, w: Weights) -> Value:
        return ops.gelu(x, tanh=self.tanh)

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        return ops.gelu_training(x, tanh=self.tanh)


@layer("silu")
class SiluLayer(Layer):
    """Sigmoid linear unit (SiLU, swish): y = x / (1 + exp(-x)).

    Shapes: [*] -> [*].
    Source: Elfwing, Uchibe & Doya (2018); Ramachandran, Zoph & Le (2017).

    ```net
    input x 784
    silu
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.mul(x, ops.sigmoid(x))

    def train(self, x: Value, w: Weights, training: Training) -> Value:
        return ops.silu_training(x)


@layer("hard_swish")
class HardSwishLayer(Layer):
    """Piecewise approximation of swish: y = x min(max(x + 3, 0), 6) / 6.

    Shapes: [*] -> [*].
    Source: Howard et al. (2019), section 5.2.

    ```net
    input x 784
    hard_swish
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.mul(x, ops.hard_sigmoid(x))


@layer("mish")
class MishLayer(Layer):
    """Mish: y = x tanh(log(1 + exp(x))).

    Shapes: [*] -> [*].
    Source: Misra (2019), eq. 1.

    ```net
    input x 784
    mish
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.mul(x, ops.tanh(ops.softplus(x)))


@layer("softplus")
class SoftplusLayer(Layer):
    """Softplus, a smooth rectifier: y = log(1 + exp(x)).

    Shapes: [*] -> [*].
    Source: Dugas et al. (2001).

    ```net
    input x 784
    softplus
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.softplus(x)


@layer("log_sigmoid")
class LogSigmoidLayer(Layer):
    """Logarithm of the logistic function: y = -log(1 + exp(-x)).

    Shapes: [*] -> [*].
    Conventions: computed without overflow, unlike `sigmoid; log`.

    ```net
    input x 784
    log_sigmoid
    ```
    """

    def body(self, x: Value, w: Weights) -> Value:
        return ops.neg(ops.softplus(ops.neg(x)))


@layer("softmax")
class SoftmaxLayer(Layer):
    """Softmax over an axis, by default the channels: y[c] = exp(x[c]) / sum of exp(x).

    Shapes: [*] -> [*].
    Conventions: the default is what the classes of a classifier need; PyTorch has no default, and Keras and ONNX take
    the last axis, `axis (-1)`, as attention does.
    Source: Bridle (1990).

    ```net
    input x 784
    softmax
    ```
    """

    axis: int = keyword(Integer(-SIZE), 0, doc="axis to sum over; the batch is not counted")

    def shape(self, *xs: Shape) -> Shape:
        axis_of(self.axis, xs[0])
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        return ops.softmax(x, axis=axis_of(self.axis, x.shape[1:]) + 1)


@layer("log_softmax")
class LogSoftmaxLayer(Layer):
    """Log-softmax over an axis, by default the channels: y[c] = x[c] - log(sum of exp(x)).

    Shapes: [*] -> [*].
    Conventions: the default is what the classes of a classifier need; PyTorch has no default, and Keras and ONNX take
    the last axis, `axis (-1)`.
    Source: Bridle (1990).

    ```net
    input x 784
    log_softmax
    ```
    """

    axis: int = keyword(Integer(-SIZE), 0, doc="axis to sum over; the batch is not counted")

    def shape(self, *xs: Shape) -> Shape:
        axis_of(self.axis, xs[0])
        return xs[0]

    def body(self, x: Value, w: Weights) -> Value:
        return ops.log_softmax(x, axis=axis_of(self.axis, x.shape[1:]) + 1)
