"""Optimizers, which declare their arguments and the update of a weight in ops."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Protocol

from netdsl import ops
from netdsl.base.shape import elements
from netdsl.declare.arguments import Flag, Real
from netdsl.declare.declared import Declared, keyword, registrar
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.diagnostics.problem import Misfit, Suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.graph import Value

OPTIMIZERS: dict[str, type[Optimizer]] = {}
"""Optimizers by name."""

optimizer = registrar(OPTIMIZERS)


class Update(Protocol):
    """The update of one weight in one step."""

    @property
    def rate(self) -> Value:
        """The scheduled learning rate of this step, an f32 scalar."""

    @property
    def step(self) -> Value:
        """The number of this step, counted from 1, an f32 scalar."""

    @property
    def decays(self) -> bool:
        """Whether weight decay applies to this weight."""

    def slot(self, name: str, initial: float = 0.0) -> Value:
        """Return the state with this name, of the weight's shape; it equals `initial` before the first step."""

    def set_state(self, name: str, value: Value) -> None:
        """Set the value of a slot after the step."""


class Optimizer(Declared):
    """An optimizer with its arguments. Immutable, except for the cached scalars shared by all weights of a graph.

    A subclass's docstring has the formula, source and an example: w is a weight, g its gradient, r the scheduled
    learning rate, t the number of the step, counted from 1.
    """

    kind: ClassVar[str] = ""
    lr: float
    decay: float = keyword(Real(0), 0.0, doc="weight decay")
    clip: float | None = keyword(Real(above=0), None, doc="maximum norm of all gradients together")
    clip_value: float | None = keyword(Real(above=0), None, doc="maximum absolute value of a gradient element")

    def update(self, w: Value, g: Value, t: Update) -> Value:
        """Return the weight after the step."""
        raise NotImplementedError

    def scalars(self, t: Update) -> tuple[Value, ...]:
        """Return scalars that depend only on the learning rate and the step, and are shared by all weights."""
        return ()

    def shared(self, t: Update) -> tuple[Value, ...]:
        """Return the scalars, computed once per graph."""
        known: tuple[Value, tuple[Value, ...]] | None = self.__dict__.get("_known")
        if known is None or known[0] is not t.rate:
            known = (t.rate, self.scalars(t))
            self.__dict__["_known"] = known
        return known[1]

    def clipped(self, gradients: Sequence[Value]) -> list[Value]:
        """Return the gradients of all weights, clipped by `clip_value` and then by `clip`."""
        found = list(gradients)
        if self.clip_value is not None:
            found = clip_values(found, self.clip_value)
        return clip_norm(found, self.clip) if self.clip is not None else found

    def decayed(self, w: Value, g: Value, t: Update) -> Value:
        """Return g + decay w, the gradient of the loss plus decay/2 |w|^2."""
        return ops.add(g, ops.mul(w, self.decay)) if self.decay and t.decays else g


NORM_EPSILON = 1e-6
"""Added to the norm for numerical stability, as in PyTorch."""


SHORT = 2**13
"""Maximum number of elements of a vector that is copied rather than squared in an operation of its own."""


def clip_norm(gradients: Sequence[Value], norm: float) -> list[Value]:
    """Return all gradients times min(1, norm/(|g| + 1e-6)), where |g| is their joint Euclidean norm.

    Conventions: as PyTorch's `clip_grad_norm_`. Source: Pascanu, Mikolov & Bengio (2013), algorithm 1.
    """
    if not gradients:
        return []
    squares = [ops.reduce_sum(ops.mul(g, g), range(len(g.shape)), keepdims=False) for g in _joined(gradients)]
    length = ops.sqrt(ops.add(*squares) if len(squares) > 1 else squares[0])
    scale = ops.minimum(ops.div(norm, ops.add(length, NORM_EPSILON)), 1.0)
    return [ops.mul(g, scale) for g in gradients]


def _joined(gradients: Sequence[Value]) -> list[Value]:
    """Return the same numbers in fewer values: short vectors, such as the gradients of all biases, are concatenated."""
    short = {g: None for g in gradients if len(g.shape) == 1 and elements(g.shape) <= SHORT}
    return [ops.concat([*short], 0), *(g for g in gradients if g not in short)] if short else [*gradients]


def clip_values(gradients: Sequence[Value], limit: float) -> list[Value]:
    """Return gradients with each element clamped to [-limit, limit], as PyTorch's `clip_grad_value_`."""
    return [ops.clip(g, -limit, limit) for g in gradients]


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


@optimizer("sgd")
class Sgd(Optimizer):
    """Stochastic gradient descent with momentum: v <- m v + g + d w; w <- w - r v.

    With `nesterov on`, w <- w - r (g + d w + m v) with the new v. Here r is the scheduled learning rate, m is
    `momentum`, and d is `decay`.
    Conventions: as PyTorch's `SGD`: the learning rate multiplies the velocity, so that a change takes effect at once.
    In Krizhevsky et al. (2012) and Caffe, it multiplies the gradient inside the velocity.
    Source: Robbins & Monro (1951); Polyak (1964); Nesterov (1983); Sutskever et al. (2013), equations 1 to 4.

    ```net
    net mlp { input x 784; scale 1/255; dense 100; relu; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer sgd lr 0.1 momentum 0.9 decay 5e-4 }
    ```
    """

    lr: float = keyword(Real(above=0), 0.01, doc="learning rate")
    momentum: float = keyword(Real(0, below=1), 0.0, doc="momentum factor")
    nesterov: bool = keyword(Flag(), False, doc="use Nesterov momentum")

    def validate(self) -> None:
        if self.nesterov and not self.momentum:
            what = "`nesterov on` has no effect without momentum"
            raise Misfit(
                Contradiction, at="nesterov", what=what, help=Suggestion("add a momentum, such as `momentum 0.9`")
            )

    def update(self, w: Value, g: Value, t: Update) -> Value:
        if not self.momentum:
            return ops.sub(w, ops.mul(self.decayed(w, g, t), t.rate))
        kept = ops.mul(t.slot("velocity"), self.momentum)
        decay = [ops.mul(w, self.decay)] if self.decay and t.decays else []
        velocity = ops.add(g, *decay, kept)
        t.set_state("velocity", velocity)
        if self.nesterov:
            return ops.sub(w, ops.mul(ops.add(g, *decay, ops.mul(velocity, self.momentum)), t.rate))
        return ops.sub(w, ops.mul(velocity, t.rate))
