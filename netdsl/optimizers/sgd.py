"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl import ops
from netdsl.declare.arguments import Flag, Real
from netdsl.declare.declared import Misfit
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.diagnostics.problem import Help
from netdsl.optimizers.base import Optimizer, Update, keyword, optimizer

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


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
            raise Misfit(Contradiction, at="nesterov", what=what, help=Help("add a momentum, such as `momentum 0.9`"))

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
