"""Adam and related optimizers, which scale each weight's step by the magnitude of its gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.declare.arguments import Real
from netdsl.optimizers.base import Optimizer, Update, keyword, optimizer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


def one_minus_power(base: float, t: Value) -> Value:
    """Return 1 - base^t for 0 <= base < 1 without cancellation: 2u/(1 + u) with u = tanh(-t ln(base) / 2)."""
    if base == 0:
        return ops.constant(t.graph, 1.0, t.dtype)
    u = ops.tanh(ops.mul(t, -math.log(base) / 2))
    return ops.div(ops.mul(u, 2.0), ops.add(u, 1.0))


@optimizer("adam")
class Adam(Optimizer):
    """Adaptive moment estimation: g <- g + d w; m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
    w <- w - r m' / (sqrt(v') + eps).

    Here m' = m/(1 - b1^t) and v' = v/(1 - b2^t) in step t, r is the scheduled learning rate, b1 is `beta1`, b2 is
    `beta2`, and d is `decay`.
    Conventions: as PyTorch's `Adam`. The state holds m/(1 - b1) and v/(1 - b2), which takes fewer passes over memory;
    the factors are folded into the learning rate and eps.
    Source: Kingma & Ba (2015), algorithm 1, and section 2 for the order of the computation.

    ```net
    net mlp { input x 784; scale 1/255; dense 100; relu; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer adam lr 1e-3 }
    ```
    """

    lr: float = keyword(Real(above=0), 1e-3, doc="learning rate")
    beta1: float = keyword(Real(0, below=1), 0.9, doc="coefficient of the running mean of the gradient")
    beta2: float = keyword(Real(0, below=1), 0.999, doc="coefficient of the running mean of the squared gradient")
    eps: float = keyword(Real(0), 1e-8, doc="added to the denominator for numerical stability")

    def scalars(self, t: Update) -> tuple[Value, ...]:
        """Return the learning rate and eps, rescaled for the stored moments."""
        root = ops.sqrt(ops.mul(one_minus_power(self.beta2, t.step), 1 / (1 - self.beta2)))
        rate = ops.div(ops.mul(t.rate, root, 1 - self.beta1), one_minus_power(self.beta1, t.step))
        return rate, ops.mul(root, self.eps)

    def update(self, w: Value, g: Value, t: Update) -> Value:
        return self._step(w, self.decayed(w, g, t), t)

    def _step(self, w: Value, g: Value, t: Update) -> Value:
        rate, eps, *_ = self.shared(t)
        mean = ops.add(ops.mul(t.slot("mean"), self.beta1), g)
        square = ops.add(ops.mul(t.slot("square"), self.beta2), ops.mul(g, g))
        t.set_state("mean", mean)
        t.set_state("square", square)
        return ops.sub(w, ops.mul(ops.div(mean, ops.add(ops.sqrt(square), eps)), rate))


@optimizer("adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay: w <- (1 - r d) w, then an Adam step with the gradient of the loss alone.

    Here r is the scheduled learning rate and d is `decay`.
    Conventions: as PyTorch's `AdamW`; the decay is multiplied by the learning rate.
    Source: Loshchilov & Hutter (2019), algorithm 2.

    ```net
    net mlp { input x 784; scale 1/255; dense 100; relu; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer adamw lr 1e-3 decay 0.05 { except bias bn } }
    ```
    """

    decay: float = keyword(Real(0), 1e-2, doc="decoupled weight decay")

    def scalars(self, t: Update) -> tuple[Value, ...]:
        return (*super().scalars(t), ops.sub(1.0, ops.mul(t.rate, self.decay)))

    def update(self, w: Value, g: Value, t: Update) -> Value:
        return self._step(ops.mul(w, self.shared(t)[2]) if self.decay and t.decays else w, g, t)


@optimizer("rmsprop")
class RmsProp(Optimizer):
    """RMSprop, which divides the gradient by its root mean square: g <- g + d w; v <- a v + (1 - a) g^2;
    u <- m u + g/(sqrt(v) + eps); w <- w - r u.

    Here r is the scheduled learning rate, a is `alpha`, m is `momentum`, and d is `decay`.
    Conventions: as PyTorch's `RMSprop` with centered=False. The state holds v/(1 - a) and u sqrt(1 - a); the factors
    are folded into the learning rate and eps.
    Source: Tieleman & Hinton (2012), lecture 6.5.

    ```net
    net mlp { input x 784; scale 1/255; dense 100; relu; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer rmsprop lr 1e-3 }
    ```
    """

    lr: float = keyword(Real(above=0), 1e-2, doc="learning rate")
    alpha: float = keyword(Real(0, below=1), 0.99, doc="coefficient of the running mean of the squared gradient")
    eps: float = keyword(Real(0), 1e-8, doc="added to the denominator for numerical stability")
    momentum: float = keyword(Real(0, below=1), 0.0, doc="momentum factor")

    def scalars(self, t: Update) -> tuple[Value, ...]:
        """Return the learning rate, rescaled for the stored mean square."""
        return (ops.mul(t.rate, (1 - self.alpha) ** -0.5),)

    def update(self, w: Value, g: Value, t: Update) -> Value:
        (rate,) = self.shared(t)
        g = self.decayed(w, g, t)
        square = ops.add(ops.mul(t.slot("square"), self.alpha), ops.mul(g, g))
        t.set_state("square", square)
        u = ops.div(g, ops.add(ops.sqrt(square), self.eps * (1 - self.alpha) ** -0.5))
        if self.momentum:
            u = ops.add(ops.mul(t.slot("velocity"), self.momentum), u)
            t.set_state("velocity", u)
        return ops.sub(w, ops.mul(u, rate))
